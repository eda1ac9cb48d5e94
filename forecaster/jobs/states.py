"""Live states looked at beside their streams: listed, described, asked for forecasts, exported, pruned."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.errors import ConfigError, DataError, StateError
from forecaster.forecast import Forecast
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker, look_at
from forecaster.jobs.predict import tell_notes
from forecaster.jobs.whole import write_whole
from forecaster.models.network import torch_threads
from forecaster.streaming.directory import FILE, peek
from forecaster.streaming.engine import Engine
from forecaster.streaming.labels import Labels
from forecaster.streaming.lateness import NEVER
from forecaster.streaming.state import StateStore
from forecaster.streaming.stepping import Indices
from forecaster.streaming.vitals import Vitals, chooser_of, vitals

Say = Callable[[str], None]


def forecast_live(state: Path, home: Home, *, only: Sequence[str], say: Say) -> tuple[Forecast, Speaker]:
    """What a live state says of its series, each from the last position it came to; the stream is not disturbed.

    Raises DataError for a series that does not live, StateError as `look_at` does.
    """
    with look_at(state, home, say=say) as (engine, speaker):
        series = engine.series
        unknown = [unique_id for unique_id in only if unique_id not in series.slots]
        if unknown:
            raise DataError(f"series {unknown[0]!r} does not live in {state}, which has {len(series):,}. Check its name.")
        begun = np.flatnonzero(series.positions[: len(series)] != NEVER)
        slots = np.array([series.slots[unique_id] for unique_id in only], dtype=np.int64) if only else begun
        values = speaker.stepper.forecast(series.state[slots], series.positions[slots])
        ids = tuple(series.ids[slot] for slot in slots.tolist())
        origins = series.positions[slots].copy()
        notes = dict(zip(ids, _told(engine, slots), strict=True))
        notes = {unique_id: note for unique_id, note in notes.items() if note}
        tell_notes(notes, say=say)
        return Forecast(ids, origins, speaker.stepper.quantiles, values, speaker.frequency, notes), speaker


@dataclass(frozen=True)
class StateEntry:
    """A state as its records tell, without reading what it holds."""

    path: str
    run: str | None
    forecaster: str | None
    series: int
    lines: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON knows it."""
        return asdict(self)

    def line(self) -> str:
        """The entry as a reader wants it."""
        who = f"run {Path(self.run).name}" if self.run else "of no run"
        speaker = f" ({self.forecaster})" if self.forecaster else ""
        return f"{self.path}: {who}{speaker}, {self.series:,} series, {self.lines:,} lines taken in, {self.bytes / 1e6:,.1f} MB"


def states_in(folder: Path, *, say: Say = lambda _: None) -> list[StateEntry]:
    """The states under a folder, by name; of one that cannot be read, `say` is told why."""
    entries = []
    for path in sorted(folder.glob(f"*/{FILE}")):
        try:
            records = peek(path.parent)
        except StateError as error:
            say(str(error))
            continue
        progress = records.get("progress", {"series": 0, "feed": {"lines": 0}})
        size = sum(_size_of(file) for file in path.parent.iterdir())
        owner = records["owner"]
        lines = progress["feed"]["lines"]
        entries.append(StateEntry(str(path.parent), owner.get("run"), owner.get("forecaster"), progress["series"], lines, size))
    return entries


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # a snapshot that was just replaced
        return 0


@dataclass(frozen=True)
class StateLook:
    """One state: whose it is, and how its stream does."""

    state: str
    owner: dict[str, Any]
    window: int
    vitals: Vitals

    def to_dict(self) -> dict[str, Any]:
        """The look as JSON knows it."""
        return {"state": self.state, "owner": self.owner, "window": self.window, **self.vitals.to_dict()}

    def lines(self) -> list[str]:
        """The look as a reader wants it."""
        run, speaker = Path(self.owner["run"]).name, self.owner["forecaster"] or "its network"
        return [f"{self.state}: run {run}, {speaker}; the last {self.window} positions may still change", *self.vitals.text()]


def describe_state(state: Path, home: Home, *, say: Say) -> StateLook:
    """How the stream of a state does; raises StateError as `look_at` does."""
    with look_at(state, home, say=say) as (engine, speaker):
        return StateLook(str(state), speaker.owner, engine.series.window, vitals(engine, coverage=speaker.coverage))


def describe_series(state: Path, home: Home, unique_id: str, *, say: Say) -> dict[str, Any]:
    """One live series, with its last values; raises DataError where it does not live, StateError as `look_at` does."""
    with look_at(state, home, say=say) as (engine, _):
        series, labels = engine.series, Labels(engine.frequency)
        if unique_id not in series.slots:
            raise DataError(f"series {unique_id!r} does not live in {state}, which has {len(series):,}. Check its name.")
        slot = series.slots[unique_id]
        first, last = int(series.firsts[slot]), int(series.positions[slot])
        told: dict[str, Any] = {"unique_id": unique_id, "values": int(series.counts[slot])}
        if last == NEVER:
            return told
        shown = np.arange(max(first, last - series.recent.shape[1] + 1), last + 1)
        values = series.known_values(np.full(len(shown), slot), shown)
        names = [str(label) for label in labels.read(shown)]
        told |= {"first": labels.read(series.firsts[[slot]])[0], "last": names[-1], "behind": engine.progress.newest - last}
        if spoken := _told(engine, np.array([slot]))[0]:
            told["speaking"] = spoken
        told["warming"] = bool(series.counts[slot] < engine.warming_steps)
        told["recent"] = dict(zip(names, [None if np.isnan(y) else float(y) for y in values], strict=True))
        return told


def _told(engine: Engine, slots: Indices) -> list[str]:
    """Of each slot why its champion does not speak; nothing where it does, or where there is but one voice."""
    chosen = chooser_of(engine.stepper, engine.series.state[slots])
    return chosen[0].told(chosen[1]) if chosen else [""] * len(slots)


def export(state: Path, home: Home, out: Path, *, say: Say) -> int:
    """Write `table_of` a state as Parquet; how many series. Raises DataError when the file cannot be written."""
    if out.suffix != ".parquet":
        raise ConfigError(f"--out {str(out)!r}: expected a name that ends in .parquet. Give it that suffix.")
    with look_at(state, home, say=say) as (engine, _):
        table = table_of(engine)
    try:
        write_whole(out, lambda path: table.to_parquet(path, index=False))
    except OSError as error:
        raise DataError(f"--out {out}: cannot be written ({error.strerror}). Name a file in a folder of yours.") from error
    return len(table)


def prune(state: Path, home: Home, *, silent_for: int, anyway: bool = False, say: Say) -> list[str]:
    """Forget series that have been silent for so many positions; returns their ids.

    Raises StateError while a stream holds the state, and, unless `anyway`, where more than half of the series would go.
    """
    speaker = Speaker.of_state(state, home, say=say)
    config = speaker.run.config.streaming.model_copy(update={"revision_window": peek(state)["identity"]["window"]})
    with torch_threads(1), StateStore.open(state, **speaker.identity(config)) as store:
        engine = Engine(speaker.stepper, speaker.frequency, store, config)
        gone = int(engine.silent(silent_for=silent_for).sum())
        if 2 * gone > len(engine.series) and not anyway:
            raise StateError(
                f"{gone:,} of the {len(engine.series):,} series in {state} have been silent for more than {silent_for:,} "
                "positions; expected half at most. Give a longer --silent-for, or forget them with --anyway."
            )
        return engine.prune(silent_for=silent_for)


def table_of(engine: Engine) -> pd.DataFrame:
    """A row for each live series: unique_id, first and last time, values seen, positions behind the newest, and the state."""
    series = engine.series
    begun = np.flatnonzero(series.positions[: len(series)] != NEVER)
    labels = Labels(engine.frequency)
    return pd.DataFrame(
        {
            "unique_id": [series.ids[slot] for slot in begun.tolist()],
            "first": labels.read(series.firsts[begun]),
            "last": labels.read(series.positions[begun]),
            "values": series.counts[begun],
            "behind": engine.progress.newest - series.positions[begun],
            "warming": series.counts[begun] < engine.warming_steps,
            "state": list(series.state[begun]),
        }
    )
