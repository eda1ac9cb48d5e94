"""The runs as a registry: what there is, what came from what, who serves, and what may go."""

import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forecaster.errors import ConfigError, ForecasterError, StateError
from forecaster.jobs.home import Clock, Home, wall_clock
from forecaster.jobs.runs import Run
from forecaster.jobs.service import Service, put_back, put_in_service, service_of, services
from forecaster.streaming.directory import FILE, peek

SCORES = ("owa", "mase", "smape", "coverage_80")
QUIET_SECONDS = 86_400  # a state that was written to more recently may belong to a stream that is alive
ABANDONED_SECONDS = 14 * 86_400  # after which a training that was cut off will not go on


@dataclass(frozen=True)
class Entry:
    """One run in the list: who it is, whether it serves, what it descends from, and what it scored."""

    run: str
    panel: str
    serves: str  # "current", "previous" or ""
    created: str
    known_through: str
    model: str
    parent: str | None
    scores: dict[str, float | None]
    size_mb: float


def list_runs(home: Home, *, panel: str | None = None) -> list[Entry]:
    """The finished runs, those of one panel or all, the latest last; one that is damaged is left out."""
    entries = []
    for path in home.runs.glob("*/run.json"):
        try:
            run = Run.open(str(path.parent), home)
        except ForecasterError:
            continue
        if panel in (None, run.facts.panel):
            entries.append(_entry(run, home))
    return sorted(entries, key=lambda entry: (entry.created, entry.run))


def show_run(run: Run, home: Home) -> dict[str, Any]:
    """What `forecast runs show` tells: the facts, the scores, and who served before and after."""
    entry = _entry(run, home)
    served = [asdict(change) for change in service_of(run.facts.panel, home).changes if change.run == run.path.name]
    return {
        **asdict(entry),
        **{name: value for name, value in asdict(run.facts).items() if name not in ("panel", "model_fingerprint")},
        "lineage": lineage(run, home),
        "served": served,
        "config": run.config.model_dump(mode="json"),
    }


def lineage(run: Run, home: Home) -> list[str]:
    """The run, the one that served when it was trained, and so on; a run that is gone ends the line."""
    line, parent = [run.path.name], run.facts.parent
    while parent is not None and parent not in line:
        line.append(parent)
        try:
            parent = Run.open(parent, home).facts.parent
        except ForecasterError:
            break
    return line


def diff_runs(one: Run, other: Run) -> list[dict[str, Any]]:
    """Where two runs differ: a row for each fact, setting and score, with its value in both."""
    trees = [
        {
            **{f"facts.{name}": value for name, value in asdict(run.facts).items() if name not in ("versions", "command")},
            **_flat(run.facts.versions, "versions"),
            **_flat(run.config.model_dump(mode="json"), "config"),
            **{f"scores.{name}": value for name, value in _scores(run).items()},
        }
        for run in (one, other)
    ]
    keys = dict.fromkeys([*trees[0], *trees[1]])
    first, second = trees
    return [
        {"what": key, one.path.name: first.get(key), other.path.name: second.get(key)}
        for key in keys
        if first.get(key) != second.get(key)
    ]


def promote(run: Run, home: Home, *, why: str = "by hand", clock: Clock = wall_clock) -> Service:
    """Let a run serve its panel. Raises StateError when its weights are not whole, so that a broken one never serves."""
    from forecaster.models.checkpoint import load_recurrent

    load_recurrent(run.deployed_weights)
    return put_in_service(run.facts.panel, run.path.name, home, at=clock().isoformat(timespec="seconds"), why=why)


def rollback(panel: str, home: Home, *, why: str = "by hand", clock: Clock = wall_clock) -> Service:
    """Let the run that served before serve again; done twice, all is as it was.

    Raises ConfigError when there is none, StateError when it is not whole any more.
    """
    from forecaster.models.checkpoint import load_recurrent

    before = service_of(panel, home)
    if before.previous is not None:
        load_recurrent(Run.open(before.previous, home).deployed_weights)
    return put_back(panel, home, at=clock().isoformat(timespec="seconds"), why=why)


def prune(home: Home, *, keep: int, panel: str | None = None, live: Sequence[str] = (), dry_run: bool = False) -> list[str]:
    """Remove all but the last `keep` runs of each panel, with their states; the names of those that go.

    A run that serves or served before it stays, and so does one whose state was written to within the last day, or that a state
    of another name speaks by: one under `state/`, or one of `live`, which are paths under the home.
    Raises ConfigError for a `keep` below 1.
    """
    if keep < 1:
        raise ConfigError(f"--keep is {keep}; expected 1 or more.")
    entries, speaking = list_runs(home, panel=panel), _speaking(home, live)
    gone = []
    for name in dict.fromkeys(entry.panel for entry in entries):
        of_panel = [entry for entry in entries if entry.panel == name]
        old = [entry.run for entry in of_panel[:-keep] if not entry.serves and entry.run not in speaking]
        gone += [run for run in old if not _is_alive(home.states / run)]
    if not dry_run:
        _clear(home.runs / ".removed")
        _drop_abandoned(home)
        for run in gone:
            _remove(home.runs / run, home.runs / ".removed" / run)
            _remove(home.states / run, home.runs / ".removed" / f"{run}.state")
        _clear(home.runs / ".removed")
    return gone


def panel_in_service(home: Home, panel: str | None) -> str:
    """The panel that was named, or the only one that is served; raises ConfigError when that is not one."""
    if panel is not None:
        return panel
    names = [service.panel for service in services(home)]
    if len(names) != 1:
        raise ConfigError(f"{len(names)} panels are served here ({', '.join(names[:5]) or 'none yet'}). Say which with --panel.")
    return names[0]


def _entry(run: Run, home: Home) -> Entry:
    facts, service = run.facts, service_of(run.facts.panel, home)
    name = run.path.name
    serves = "current" if service.current == name else "previous" if service.previous == name else ""
    size = sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    return Entry(
        name,
        facts.panel,
        serves,
        facts.created,
        facts.known_through,
        facts.model_fingerprint,
        facts.parent,
        _scores(run),
        round(size / 1e6, 2),
    )


def _scores(run: Run) -> dict[str, float | None]:
    """What the run's network scored in its own evaluation; empty before there was one."""
    for kind in ("actuals", "evaluation"):
        try:
            rows = json.loads((run.path / f"{kind}.json").read_text())["leaderboard"]
            row = next(row for row in rows if row["forecaster"] == run.config.model.cell)
        except (OSError, ValueError, KeyError, StopIteration):
            continue
        return {name: row.get(name) for name in SCORES}
    return {}


def _flat(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    """A tree as one level, its keys joined by dots.

    >>> _flat({"model": {"layers": 1}}, "config")
    {'config.model.layers': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}") if isinstance(value, dict) else {f"{prefix}.{key}": value}
    return flat


def _speaking(home: Home, live: Sequence[str]) -> set[str]:
    """The runs that live states of other names belong to; a state that cannot be read is nobody's."""
    places = {*(path.parent for path in home.states.glob(f"*/{FILE}")), *(home.path / state for state in live)}
    runs = set()
    for place in places:
        with contextlib.suppress(StateError):
            run = Path(peek(place)["owner"].get("run", "")).name
            runs |= {run} - {place.name}
    return runs


def _is_alive(state: Path) -> bool:
    """Whether a stream may still be stepping a state: something there was written within the last day."""
    return state.exists() and time.time() - _last_written(state) < QUIET_SECONDS


def _drop_abandoned(home: Home) -> None:
    """Remove what is left of trainings that were cut off long ago, by other data than there is now."""
    for folder in (home.runs / ".unfinished").glob("*"):
        if folder.is_dir() and time.time() - _last_written(folder) > ABANDONED_SECONDS:
            _clear(folder)
            folder.with_name(f"{folder.name}.lock").unlink(missing_ok=True)


def _last_written(folder: Path) -> float:
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)


def _remove(folder: Path, aside: Path) -> None:
    """Take a folder out of sight in one rename; `_clear` frees its place."""
    if folder.exists():
        aside.parent.mkdir(exist_ok=True)
        folder.rename(aside)


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
