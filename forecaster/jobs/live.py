"""Live states: who speaks in one, and how it is opened, for a stream or beside it."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from forecaster.errors import StateError
from forecaster.forecast import State, Stepper
from forecaster.frequency import Frequency
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.jobs.speakers import Warm, stepper_of
from forecaster.jobs.whole import write_json
from forecaster.models.network import torch_threads
from forecaster.streaming.conformal import Calibrated, CalibrationConfig, Prior
from forecaster.streaming.directory import FILE, lock_directory, peek, sync_directory, told_of
from forecaster.streaming.engine import Engine
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.state import StateStore
from forecaster.streaming.vitals import Coverage

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
        frequency = Frequency(**PanelStore(home.panels).manifest(run.facts.panel).frequency)
        if not config.calibrate:
            return cls(run, name, stepper, warm, frequency)
        calibrated = _calibrated(run, home, stepper, warm, config.calibration, say=say)
        return cls(run, name, calibrated, partial(calibrated.warm, build=warm), frequency)

    @classmethod
    def of_state(cls, state: Path, home: Home, *, say: Say) -> "Speaker":
        """Whoever a state belongs to; raises StateError where that is not known any more."""
        owner = peek(state)["owner"]
        if "run" not in owner:
            raise StateError(f"state in {state} does not say which run it belongs to; expected one of `forecast stream`.")
        return cls.of_owner(owner, home, say=say)

    @classmethod
    def of_owner(cls, owner: Mapping[str, Any], home: Home, *, say: Say) -> "Speaker":
        """Whoever `owner` tells of; raises ConfigError or StateError where the run is gone, or not whole."""
        run, calibration = Run.open(owner["run"], home), owner["calibration"]
        update: dict[str, Any] = {"calibrate": calibration is not None}
        if calibration is not None:
            update["calibration"] = CalibrationConfig.model_validate(calibration)
        return cls.of(run, home, owner["forecaster"], config=run.config.streaming.model_copy(update=update), say=say)

    @property
    def label(self) -> str:
        """What forecasts are signed with: the run, and the forecaster where that is not its network."""
        return self.run.path.name + (f"/{self.name}" if self.name else "")

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


def _calibrated(run: Run, home: Home, stepper: Stepper, warm: Warm, config: CalibrationConfig, *, say: Say) -> Calibrated:
    """The stepper, calibrated; what its series begin with is learned once from the panel as it was in training, and kept."""
    told = repr((stepper.fingerprint, sorted(config.model_dump().items())))
    path = run.path / "live" / f"calibration-{hashlib.sha256(told.encode()).hexdigest()[:12]}.json"
    try:
        kept = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        panel = run.known_part(PanelStore(home.panels).load(run.facts.panel))
        say(f"calibrating on the history of {len(panel):,} series")
        calibrated = Calibrated.fitted(stepper, panel, build=warm, config=config)
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
    if rebuild and state.exists():
        with told_of(state):
            os.close(lock_directory(state))  # whoever streams into it would go on in the folder of the new one
        say(f"the state that was in {state} is now in {_moved_aside(state)}")
    _check_run(state, speaker)
    with torch_threads(1), StateStore.open(state, **speaker.identity(config), owner=speaker.owner) as store:
        engine = Engine(speaker.stepper, speaker.frequency, store, config, name=speaker.label)
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
    with torch_threads(1):
        for is_last in (False, True):
            try:
                engine, speaker = _looked_at(state, home, say=say)
                break
            except StateError:  # perhaps it was handed over in this very moment
                if is_last:
                    raise
        with engine.store:
            yield engine, speaker


def _looked_at(state: Path, home: Home, *, say: Say) -> tuple[Engine, Speaker]:
    speaker = Speaker.of_state(state, home, say=say)
    records = peek(state)
    kept = {"revision_window": records["identity"]["window"]}
    if (steps := records.get("progress", {}).get("warming_steps")) is not None:
        kept["warming_steps"] = steps  # the stream may have been told another number than its run
    config = speaker.run.config.streaming.model_copy(update=kept)
    store = StateStore.look(state, **speaker.identity(config))
    try:
        return Engine(speaker.stepper, speaker.frequency, store, config, name=speaker.label), speaker
    except BaseException:
        store.close()
        raise


def _moved_aside(state: Path) -> Path:
    """Where a state is by now: beside where it was, under a name that no other has."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for number in count(1):
        aside = state.with_name(f"{state.name}.{stamp}" + (f"-{number}" if number > 1 else ""))
        if not aside.exists():
            with told_of(state):
                state.rename(aside)
                sync_directory(aside.parent)
            return aside
    raise AssertionError("count ends")


def _check_run(state: Path, speaker: Speaker) -> None:
    """Say who has the state by now, where it was handed over to another run."""
    if not (state / FILE).exists():
        return
    records, own = peek(state), speaker.run.path.name
    name = Path(records["owner"].get("run", own)).name
    if name != own and records["identity"]["fingerprint"] != speaker.stepper.fingerprint:
        raise StateError(
            f"state in {state} belongs to run {name!r}, this stream runs {own!r}. Stream that run, or hand the state over with "
            "`forecast state handover`."
        )
