"""`forecast runs`: what there is, what came from what, who serves, and what may go."""

from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.cli.app import Json, RunName, mistakes_told

runs = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="The registry of runs: list, show, diff, promote, rollback, prune.",
)

OfPanel = Annotated[str | None, typer.Option("--panel", help="The panel; may be left out where only one is served.")]


@runs.command("list")
def list_(
    panel: Annotated[str | None, typer.Option(help="Only the runs of this panel.")] = None,
    json: Json = False,
) -> None:
    """The finished runs, the latest last: which one serves, what it descends from, what it scored.

    `forecast runs list --panel sales`
    """
    with mistakes_told():
        from dataclasses import asdict

        from forecaster.jobs.home import Home
        from forecaster.jobs.registry import list_runs
        from forecaster.terminal import print_json, print_lines

        entries = list_runs(Home.here(), panel=panel)
        rows = [
            (e.run, e.panel, e.serves, e.created[:16], e.known_through, e.parent or "", _score(e.scores), f"{e.size_mb:.1f} MB")
            for e in entries
        ]
        header = ("run", "panel", "serves", "created", "known through", "parent", "score", "size")
        print_json({"runs": [asdict(entry) for entry in entries]}) if json else print_lines(_table([header, *rows]))


@runs.command()
def show(run: RunName, json: Json = False) -> None:
    """One run: its data, settings and code, what it descends from, what it scored, and when it served.

    `forecast runs show sales@current`
    """
    with mistakes_told():
        from forecaster.jobs.home import Home
        from forecaster.jobs.registry import show_run
        from forecaster.jobs.runs import Run
        from forecaster.terminal import print_json, print_lines

        home = Home.here()
        facts = show_run(Run.open(run, home), home)
        print_json(facts) if json else print_lines(_facts(facts))


@runs.command()
def diff(
    one: RunName, other: Annotated[str, typer.Argument(metavar="OTHER", help="The run to compare with.")], json: Json = False
) -> None:
    """Where two runs differ: data, settings, code, packages and scores.

    `forecast runs diff sales@previous sales@current`
    """
    with mistakes_told():
        from forecaster.jobs.home import Home
        from forecaster.jobs.registry import diff_runs
        from forecaster.jobs.runs import Run
        from forecaster.terminal import print_json, print_lines

        home = Home.here()
        first, second = Run.open(one, home), Run.open(other, home)
        found = diff_runs(first, second)
        rows = [tuple(_short(value) for value in row.values()) for row in found]
        header = ("", first.path.name, second.path.name)
        print_json({"runs": list(header[1:]), "differences": found}) if json else print_lines(_table([header, *rows]))


LiveState = Annotated[
    Path | None,
    typer.Option(metavar="STATE", help="A live state that goes with it, handed over while its stream goes on, or stopped."),
]


@runs.command()
def promote(
    run: RunName,
    why: Annotated[str, typer.Option(help="Kept with the change.")] = "by hand",
    state: LiveState = None,
    json: Json = False,
) -> None:
    """Let a run serve its panel, from now on; the one that did becomes the previous one.

    `forecast runs promote sales-20240501-021500 --state state/live`
    """
    with mistakes_told():
        from forecaster.jobs.handover import follow
        from forecaster.jobs.home import Home
        from forecaster.jobs.registry import promote as promote_run
        from forecaster.jobs.runs import Run
        from forecaster.jobs.warm import warm_live
        from forecaster.terminal import Talk

        home, talk = Home.here(), Talk()
        opened = Run.open(run, home)
        taken = follow(state, opened, home, say=talk.say).to_dict() if state else None
        service = promote_run(opened, home, why=why)
        _tell_service(service, taken or warm_live(opened, home, say=talk.say), json)


@runs.command()
def rollback(
    panel: OfPanel = None,
    why: Annotated[str, typer.Option(help="Kept with the change.")] = "by hand",
    state: LiveState = None,
    json: Json = False,
) -> None:
    """Let the previous run serve again, with its live state; typed twice, all is as it was.

    `forecast runs rollback --panel sales --state state/live`
    """
    with mistakes_told():
        from forecaster.jobs.handover import follow
        from forecaster.jobs.home import Home
        from forecaster.jobs.registry import panel_in_service
        from forecaster.jobs.registry import rollback as roll_back
        from forecaster.jobs.runs import Run
        from forecaster.jobs.warm import warm_live
        from forecaster.terminal import Talk

        home, talk = Home.here(), Talk()
        name, taken = panel_in_service(home, panel), None
        if state:
            taken = follow(state, Run.open(f"{name}@previous", home), home, say=talk.say).to_dict()
        service = roll_back(name, home, why=why)
        _tell_service(service, taken or warm_live(Run.open(str(service.current), home), home, say=talk.say), json)


@runs.command()
def prune(
    keep: Annotated[int, typer.Option(help="How many of each panel stay; those in service always do.")] = 10,
    panel: Annotated[str | None, typer.Option(help="Only the runs of this panel.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which would go.")] = False,
    json: Json = False,
) -> None:
    """Remove old runs and their live states.

    `forecast runs prune --keep 5 --dry-run`
    """
    with mistakes_told():
        from forecaster.jobs.home import Home
        from forecaster.jobs.registry import prune as prune_runs
        from forecaster.terminal import print_json, print_lines

        gone = prune_runs(Home.here(), keep=keep, panel=panel, dry_run=dry_run)
        if json:
            print_json({"removed": gone, "dry_run": dry_run})
        else:
            print_lines([*gone, f"{len(gone)} runs {'would go' if dry_run else 'removed'}"])


def _tell_service(service: Any, warmed: dict[str, Any], json: bool) -> None:
    from forecaster.terminal import print_json, print_lines

    told = {"panel": service.panel, "current": service.current, "previous": service.previous, "state": warmed["state"]}
    print_json(told) if json else print_lines(
        [f"{service.panel}: {service.current} serves, {service.previous or 'none'} before it"]
    )


def _score(scores: dict[str, Any]) -> str:
    """The first score that is there."""
    return next((f"{name.upper()} {value:.3f}" for name, value in scores.items() if value is not None), "")


def _facts(facts: dict[str, Any]) -> list[str]:
    """A line for each fact; the configuration stays in its file."""
    lines = []
    for name, value in facts.items():
        if name in ("config", "versions"):
            continue
        shown = " <- ".join(value) if name == "lineage" else _short(value)
        lines.append(f"{name.replace('_', ' '):<18} {shown}")
    return lines


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return "; ".join(_short(inner) for inner in value)
    return f"{value:.4g}" if isinstance(value, float) else "-" if value is None or value == "" else str(value)


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows as columns of text."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
