"""What a hand-over does: makes the series of the model to come, brings them to where the stream is, compares, and has it switch.

It is done in the process of who asks. A stream that holds the state is asked for three things (`desk.py`): whether it is there,
to keep its log while these series read along, and to switch (`takeover.py`). Where nobody holds the state, the switch is made
here.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from forecaster.errors import StateError
from forecaster.ingest import PanelStore
from forecaster.jobs.desk import FOLLOW, SWITCH, Answer, Desk, Request
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker
from forecaster.jobs.takeover import FEW, ROUNDS
from forecaster.streaming.directory import InUseError, copy_state, holder_of, identity_of, is_alive, lock_directory, peek, told_of
from forecaster.streaming.engine import Engine
from forecaster.streaming.heir import Heir, SavedSeries
from forecaster.streaming.lateness import NEVER
from forecaster.streaming.live import LiveSeries
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.state import StateStore

BEFORE = "previous"  # in the state's folder: the state as it was before the last hand-over
COMPARED = 1_000  # series whose forecasts are compared
WAIT_SECONDS = 60.0  # for a sign of life of the stream
POLL_SECONDS = 0.05

Say = Callable[[str], None]


@dataclass(frozen=True)
class Handover:
    """A state in the hands of another run: who had it, who has it, and what that changes.

    `cut` are series with values that nobody held and that were taken for missing; `moved` is the median change of the medians,
    in units of the former 80 % interval, over all series and leads. `pause_ms` is how long the stream was held up, None where
    none was running.
    """

    state: str
    before: dict[str, Any]
    after: dict[str, Any]
    series: int
    cut: list[str]
    moved: float | None
    pause_ms: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The hand-over as JSON knows it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The hand-over as a reader wants it."""
        lines = [f"{self.state}: {self.series:,} series, from run {_label(self.before)} to run {_label(self.after)}"]
        if self.moved is not None:
            lines.append(f"  the medians moved by {self.moved:.0%} of the former 80 % interval, at the median")
        if self.cut:
            lines.append(
                f"  {len(self.cut):,} series have values taken for missing before the last ones: {', '.join(self.cut[:5])}"
                + (", …" if len(self.cut) > 5 else "")
            )
        if self.pause_ms is not None:
            lines.append(f"  the stream goes on; the switch held it up for {self.pause_ms:,.0f} ms")
        return lines


class StreamEndedError(Exception):
    """The stream that was asked is gone."""


@dataclass(frozen=True)
class Errand:
    """One hand-over: the state, who has it and who is to have it, and how."""

    state: Path
    desk: Desk
    former: Speaker
    speaker: Speaker
    config: StreamingConfig
    anyway: bool
    wait_seconds: float
    say: Say

    def heir(self, home: Home) -> Heir:
        """The speaker's series, from what it left when it last had the state, or from history where that knows more."""
        stepper, window = self.speaker.stepper, self.config.window(self.speaker.frequency)
        heir = Heir(stepper, LiveSeries(stepper.state_size, window=window))
        panel, before = PanelStore(home.panels).load(self.speaker.run.facts.panel), self.state / BEFORE
        if before.exists() and peek(before)["identity"] == self.identity:
            with StateStore.look(before, **self.speaker.identity(self.config)) as store:
                left = Engine(stepper, self.speaker.frequency, store, self.config).series
            ends = dict(zip(panel.ids, panel.ends.tolist(), strict=True))
            is_ahead = [left.positions[slot] >= ends.get(unique_id, NEVER) for slot, unique_id in enumerate(left.ids)]
            heir = Heir(stepper, left.select(np.flatnonzero(is_ahead)))
        added = heir.warm(panel, build=self.speaker.warm)
        self.say(f"{self.speaker.label}: {added:,} series made from history, beside the state")
        return heir

    def switch_here(self, heir: Heir) -> Handover:
        """Switch a state that no stream holds; raises InUseError where one does."""
        with StateStore.open(self.state, **self.former.identity(self.config)) as store:
            engine = Engine(self.former.stepper, self.former.frequency, store, self.config)
            done = self.catch_up(heir, engine)
            saved = self.save(heir)
            engine.change_model(
                heir, self.desk.beside, saved, name=self.speaker.label, identity=self.identity, owner=self.speaker.owner
            )
            return done

    def switch_there(self, heir: Heir) -> Handover:
        """Have the stream that holds the state switch."""
        self.ask(FOLLOW)
        with StateStore.look(self.state, **self.former.identity(self.config)) as store:
            done = self.catch_up(heir, Engine(self.former.stepper, self.former.frequency, store, self.config))
            for _ in range(ROUNDS):
                if heir.follow(store.blocks_after(heir.batch)) <= FEW:
                    break
        answer = self.ask(SWITCH, self.save(heir))
        return replace(done, pause_ms=answer.pause_ms)

    def catch_up(self, heir: Heir, stream: Engine) -> Handover:
        """Bring the heir to where a stream is, and compare; raises StateError where it cannot follow there."""
        cut = heir.out_of_reach(stream.series)
        if cut and not self.anyway:
            raise StateError(_too_far(self.state, self.speaker, cut))
        heir.adopt(stream.series, batch=stream.store.batch)
        moved = _moved(stream, heir)
        if moved is not None:
            self.say(f"caught up; the medians move by {moved:.0%} of the former 80 % interval, at the median")
        return Handover(str(self.state), self.former.owner, self.speaker.owner, len(heir.series), cut, moved)

    def save(self, heir: Heir) -> SavedSeries:
        """Lay the heir's series on the desk, and a copy of the state as it is now."""
        copy_state(self.state, self.desk.former)
        with told_of(self.state):
            return heir.save(self.desk.beside)

    @property
    def identity(self) -> dict[str, Any]:
        """That of the state when the speaker has it."""
        told = self.speaker.identity(self.config)
        return identity_of(told["fingerprint"], told["frequency"], told["state_size"], told["window"])

    def is_held(self) -> bool:
        """Whether a process holds the state."""
        try:
            with told_of(self.state):
                os.close(lock_directory(self.state))
        except InUseError:
            return True
        return False

    def ask(self, asks: str, saved: SavedSeries | None = None) -> Answer:
        """Ask the stream, and wait for its answer. Raises StateError where it says no or nothing."""
        owner = self.speaker.owner | {"run": str(self.speaker.run.path.resolve())}
        request = Request(asks, owner, saved)
        self.desk.ask(request)
        sign, since = self.desk.last_sign(), time.monotonic()
        while (answer := self.desk.answer_to(request)) is None:
            if not is_alive(holder_of(self.state)):
                raise StreamEndedError
            if (latest := self.desk.last_sign()) != sign:
                sign, since = latest, time.monotonic()
            if time.monotonic() - since > self.wait_seconds:
                self.desk.clear()
                raise StateError(self._silent())
            time.sleep(POLL_SECONDS)
        if answer.error is not None:
            raise StateError(answer.error)
        return answer

    def _silent(self) -> str:
        if is_of(self.state, self.speaker.owner):
            return f"state in {self.state} was handed over to {self.speaker.label}, and its stream fell silent then. Look at it."
        return (
            f"process {holder_of(self.state)} holds {self.state} and gave no sign for {self.wait_seconds:g} s; expected a stream "
            "that answers. Give it longer with --wait, or end it: a state that nobody holds is handed over at once."
        )


def is_of(state: Path, owner: dict[str, Any]) -> bool:
    """Whether a state belongs to this owner."""
    return _signature(peek(state)["owner"]) == _signature(owner)


def _signature(owner: dict[str, Any]) -> tuple[Any, ...]:
    return Path(owner.get("run", "")).name, owner.get("forecaster"), owner.get("calibration")


def _label(owner: dict[str, Any]) -> str:
    return Path(owner["run"]).name + (f"/{owner['forecaster']}" if owner["forecaster"] else "")


def _too_far(state: Path, speaker: Speaker, cut: list[str]) -> str:
    named = ", ".join(map(repr, cut[:3])) + (", …" if len(cut) > 3 else "")
    return (
        f"{len(cut):,} series of {state} ({named}) have moved on too far: between the end of panel "
        f"{speaker.run.facts.panel!r} and the last values that the state keeps, some are missing. Ingest what the stream "
        "took in, or take them for missing with --anyway."
    )


def _moved(before: Engine, after: Heir) -> float | None:
    """The median change of the medians, in units of the former 80 % interval; None where it has none, or no width."""
    own, other = before.stepper.quantiles, after.stepper.quantiles
    ids = before.series.ids[:COMPARED]
    if not ids or not {0.1, 0.9} <= set(own):
        return None
    slots = np.arange(len(ids))
    again = np.array([after.series.slots[unique_id] for unique_id in ids])
    old = before.stepper.forecast(before.series.state[slots], before.series.positions[slots])
    new = after.stepper.forecast(after.series.state[again], after.series.positions[again])
    leads = min(old.shape[1], new.shape[1])
    change = np.abs(new[:, :leads, other.index(0.5)] - old[:, :leads, own.index(0.5)])
    width = old[:, :leads, own.index(0.9)] - old[:, :leads, own.index(0.1)]
    is_wide = np.isfinite(change) & (width > 0)
    return float(np.median(change[is_wide] / width[is_wide])) if is_wide.any() else None
