"""Live states: opened for a stream, looked at beside it, handed over to another run and back."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from forecaster.errors import ConfigError, DataError, StateError
from forecaster.forecast import Forecast, State, Stepper
from forecaster.frequency import Frequency
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.jobs.speakers import Warm, stepper_of
from forecaster.jobs.whole import write_json, write_whole
from forecaster.models.network import torch_threads
from forecaster.series import Panel
from forecaster.streaming.conformal import Calibrated, CalibrationConfig, Prior
from forecaster.streaming.directory import FILE, lock_directory, peek, told_of
from forecaster.streaming.engine import Engine
from forecaster.streaming.labels import Labels
from forecaster.streaming.lateness import NEVER
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.state import StateStore
from forecaster.streaming.vitals import Coverage, Vitals, vitals

BESIDE = ".next"  # of a state that is handed over: the one to come

Say = Callable[[str], None]


@dataclass(frozen=True)
class Speaker:
    """Who speaks in a stream: a run's forecaster, ready to step, its intervals calibrated or not."""

    run: Run
    name: str | None
    stepper: Stepper
    warm: Warm
    frequency: Frequency

    @classmethod
    def of(cls, run: Run, home: Home, name: str | None, *, config: StreamingConfig | None = None, say: Say) -> "Speaker":
        """A run's forecaster by name, its network without one; raises ConfigError as `stepper_of` does."""
        config = config or run.config.streaming
        stepper, warm = stepper_of(run, home, name, say=say)
        panel = PanelStore(home.panels).load(run.facts.panel)
        if not config.calibrate:
            return cls(run, name, stepper, warm, panel.frequency)
        calibrated = _calibrated(run, stepper, warm, panel, config.calibration, say=say)
        return cls(run, name, calibrated, partial(calibrated.warm, build=warm), panel.frequency)

    @classmethod
    def of_state(cls, state: Path, home: Home, *, say: Say) -> "Speaker":
        """Whoever a state belongs to; raises StateError where that is not known any more."""
        owner = peek(state)["owner"]
        if "run" not in owner:
            raise StateError(f"state in {state} does not say which run it belongs to; expected one of `forecast stream`.")
        run = Run.open(owner["run"], home)
        calibration = owner["calibration"]
        update: dict[str, Any] = {"calibrate": calibration is not None}
        if calibration is not None:
            update["calibration"] = CalibrationConfig.model_validate(calibration)
        return cls.of(run, home, owner["forecaster"], config=run.config.streaming.model_copy(update=update), say=say)

    @property
    def owner(self) -> dict[str, Any]:
        """What a state keeps, to be opened again by."""
        calibration = self.stepper.config.model_dump(mode="json") if isinstance(self.stepper, Calibrated) else None
        return {"run": str(self.run.path), "forecaster": self.name, "calibration": calibration}

    @property
    def coverage(self) -> Coverage | None:
        """What tells, of states, the share of values inside each interval lately; None where nothing is calibrated."""
        stepper = self.stepper
        if not isinstance(stepper, Calibrated):
            return None

        def pooled(state: State) -> dict[str, float]:
            found = stepper.coverage_of(state).pooled()
            return {f"{nominal:.0%}": round(share, 4) for nominal, share in found.items() if share == share}

        return pooled

    def identity(self, config: StreamingConfig) -> dict[str, Any]:
        """What a store of this speaker is opened with."""
        return {
            "fingerprint": self.stepper.fingerprint,
            "frequency": self.frequency,
            "state_size": self.stepper.state_size,
            "window": config.window(self.frequency),
        }


def _calibrated(run: Run, stepper: Stepper, warm: Warm, panel: Panel, config: CalibrationConfig, *, say: Say) -> Calibrated:
    """The stepper, calibrated; what its series begin with is learned once from the panel as it was in training, and kept."""
    told = repr((stepper.fingerprint, sorted(config.model_dump().items())))
    path = run.path / "live" / f"calibration-{hashlib.sha256(told.encode()).hexdigest()[:12]}.json"
    try:
        kept = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        say(f"calibrating on the history of {len(panel):,} series")
        calibrated = Calibrated.fitted(stepper, run.known_part(panel), build=warm, config=config)
        write_json(path, calibrated.tracker.prior.to_dict())
        return calibrated
    except (OSError, orjson.JSONDecodeError) as error:
        raise StateError(f"{path} is damaged ({str(error).splitlines()[0]}). Remove it: it is made again.") from error
    return Calibrated(stepper, config, Prior.from_dict(kept))


@contextmanager
def open_live(
    speaker: Speaker, home: Home, state: Path, *, config: StreamingConfig, cold: bool, rebuild: bool, say: Say
) -> Iterator[Engine]:
    """The engine of a state, which begins with the history of the run's panel where it is new, unless `cold`.

    With `rebuild`, what is there is moved aside first. One thread, since a step is too small to share. Raises StateError when
    the state belongs to another model, is damaged, or is in use.
    """
    finish_handover(state)
    if rebuild and state.exists():
        with told_of(state):
            os.close(lock_directory(state))  # whoever streams into it would go on in the folder of the new one
        aside = state.with_name(f"{state.name}.{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}")
        state.rename(aside)
        say(f"the state that was in {state} is now in {aside}")
    with torch_threads(1), StateStore.open(state, **speaker.identity(config), owner=speaker.owner) as store:
        engine = Engine(speaker.stepper, speaker.frequency, store, config)
        if len(engine.series):
            say(f"{len(engine.series):,} series go on from {state}")
        elif not cold:
            added = engine.warm(PanelStore(home.panels).load(speaker.run.facts.panel), build=speaker.warm)
            say(f"state in {state} made from the history of {added:,} series")
        yield engine


@contextmanager
def look_at(state: Path, home: Home, *, say: Say) -> Iterator[tuple[Engine, Speaker]]:
    """The engine of a state as it stands, to read alone, while its stream goes on.

    Raises StateError where there is none, it is damaged, or its run is gone.
    """
    finish_handover(state)
    speaker = Speaker.of_state(state, home, say=say)
    config = speaker.run.config.streaming.model_copy(update={"revision_window": peek(state)["identity"]["window"]})
    with torch_threads(1), StateStore.look(state, **speaker.identity(config)) as store:
        yield Engine(speaker.stepper, speaker.frequency, store, config), speaker


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
        return Forecast(ids, origins, speaker.stepper.quantiles, values, speaker.frequency, {}), speaker


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
        told["warming"] = bool(series.counts[slot] < engine.warming_steps)
        told["recent"] = dict(zip(names, [None if np.isnan(y) else float(y) for y in values], strict=True))
        return told


def export(state: Path, home: Home, out: Path, *, say: Say) -> int:
    """Write `table_of` a state as Parquet; how many series. Raises DataError when the file cannot be written."""
    if out.suffix != ".parquet":
        raise ConfigError(f"--out {str(out)!r}: expected a name that ends in .parquet. Give it that suffix.")
    with look_at(state, home, say=say) as (engine, _):
        table = table_of(engine)
    try:
        write_whole(out, lambda path: table.to_parquet(path, index=False))
    except OSError as error:
        raise DataError(f"--out {out}: cannot be written ({error.strerror}). Choose a folder that can be written to.") from error
    return len(table)


def prune(state: Path, home: Home, *, silent_for: int, anyway: bool = False, say: Say) -> list[str]:
    """Forget series that have been silent for so many positions; returns their ids.

    Raises StateError while a stream holds the state, and, unless `anyway`, where more than half of the series would go.
    """
    finish_handover(state)
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


def finish_handover(state: Path) -> None:
    """End a hand-over that was cut off between its two renamings; the new state is whole then."""
    beside = state.with_name(state.name + BESIDE)
    if not state.exists() and beside.exists():
        beside.rename(state)
