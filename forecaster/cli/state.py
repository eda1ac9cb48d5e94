"""`forecast state`: live states looked at, exported, pruned and handed over."""

from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli.app import Json, mistakes_told

state = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Look at live states, also while their streams go on; export, prune and hand them over.

    `forecast state list`

    `forecast state inspect state/RUN`

    `forecast state handover state/RUN ANOTHER-RUN`""",
)

Anyway = Annotated[bool, typer.Option("--anyway", help="Do it, though much is lost: values taken for missing, or most series.")]
Wait = Annotated[float, typer.Option(min=1, metavar="SECONDS", help="For a sign of life of a running stream.")]
StateFolder = Annotated[Path, typer.Argument(metavar="STATE", help="The folder of a state, such as state/RUN.")]


@state.command("list")
def list_states(json: Json = False) -> None:
    """Every state under state/: whose it is, how far it came, how large it is."""
    with mistakes_told():
        from forecaster.jobs.home import Home
        from forecaster.jobs.states import states_in
        from forecaster.terminal import Talk, print_json, print_lines

        found = states_in(Home.here().states, say=Talk().say)
        if json:
            print_json({"states": [entry.to_dict() for entry in found]})
        else:
            print_lines([entry.line() for entry in found] or ["no states yet; forecast stream RUN makes one"])


@state.command("inspect")
def inspect_state(
    folder: StateFolder,
    series: Annotated[str | None, typer.Option(help="One series, with its last values.")] = None,
    json: Json = False,
) -> None:
    """What a stream has taken in, which series lag, and what it would do at a restart; or one of its series."""
    with mistakes_told():
        from forecaster.jobs.home import Home
        from forecaster.jobs.states import describe_series, describe_state
        from forecaster.terminal import Talk, print_json, print_lines

        talk, home = Talk(), Home.here()
        if series is None:
            looked = describe_state(folder, home, say=talk.say)
            print_json(looked.to_dict()) if json else print_lines(looked.lines())
        else:
            one = describe_series(folder, home, series, say=talk.say)
            print_json(one) if json else print_lines([f"{name}: {value}" for name, value in one.items()])


@state.command("export")
def export_state(
    folder: StateFolder, out: Annotated[Path, typer.Option(help="A .parquet file: a row for each series.")], json: Json = False
) -> None:
    """Write a table of the live series, with their state vectors, as Parquet."""
    with mistakes_told():
        from forecaster.jobs.home import Home
        from forecaster.jobs.states import export
        from forecaster.terminal import Talk, print_json

        talk = Talk()
        rows = export(folder, Home.here(), out, say=talk.say)
        print_json({"state": str(folder), "out": str(out), "series": rows}) if json else talk.say(f"{rows:,} series in {out}")


@state.command("prune")
def prune_state(
    folder: StateFolder,
    silent_for: Annotated[int, typer.Option(min=1, help="Forget series that many positions behind nine of ten others.")],
    anyway: Anyway = False,
    json: Json = False,
) -> None:
    """Forget series that have been silent for long; the stream must be stopped."""
    with mistakes_told():
        from forecaster.jobs.home import Home
        from forecaster.jobs.states import prune
        from forecaster.terminal import Talk, print_json

        talk = Talk()
        gone = prune(folder, Home.here(), silent_for=silent_for, anyway=anyway, say=talk.say)
        if json:
            print_json({"state": str(folder), "forgotten": gone})
        else:
            talk.say(f"{len(gone):,} series forgotten" + (f": {', '.join(gone[:5])}" if gone else ""))


@state.command("handover")
def hand_over_state(
    folder: StateFolder,
    run: Annotated[str, typer.Argument(metavar="RUN", help="The run that takes over.")],
    forecaster: Annotated[str | None, typer.Option(help="In place of its network: champions, or a baseline.")] = None,
    calibrate: Annotated[bool | None, typer.Option("--calibrate/--no-calibrate", help="Correct intervals online.")] = None,
    anyway: Anyway = False,
    wait: Wait = 60.0,
    json: Json = False,
) -> None:
    """Give a live state to another run: made beside, compared, then switched, while its stream goes on, or stopped.

    The new state comes from the run's panel and from what the stream took in last, stands at the same place in the feed and in
    the output, and the former one is kept: `forecast state handback STATE`.
    """
    with mistakes_told():
        from forecaster.jobs.handover import hand_over
        from forecaster.jobs.home import Home
        from forecaster.jobs.live import Speaker
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json, print_lines

        talk, home = Talk(), Home.here()
        opened = Run.open(run, home)
        config = opened.config.streaming
        if calibrate is not None:
            config = config.model_copy(update={"calibrate": calibrate})
        speaker = Speaker.of(opened, home, forecaster, config=config, say=talk.say)
        done = hand_over(folder, speaker, home, anyway=anyway, wait_seconds=wait, say=talk.say)
        print_json(done.to_dict()) if json else print_lines(done.lines())


@state.command("handback")
def hand_back_state(folder: StateFolder, anyway: Anyway = False, wait: Wait = 60.0, json: Json = False) -> None:
    """Give a state back to the run that had it before, brought up to where the stream is now; it goes on, or is stopped."""
    with mistakes_told():
        from forecaster.jobs.handover import hand_back
        from forecaster.jobs.home import Home
        from forecaster.terminal import Talk, print_json, print_lines

        talk = Talk()
        done = hand_back(folder, Home.here(), anyway=anyway, wait_seconds=wait, say=talk.say)
        print_json(done.to_dict()) if json else print_lines(done.lines())
