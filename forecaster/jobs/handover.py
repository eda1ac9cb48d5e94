"""A live state handed over to another run, and back."""

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forecaster.errors import StateError
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.live import BESIDE, Speaker, finish_handover
from forecaster.jobs.runs import Run
from forecaster.models.network import torch_threads
from forecaster.streaming.directory import peek
from forecaster.streaming.engine import DEAD_LETTERS, Engine
from forecaster.streaming.state import StateStore

BEFORE = ".previous"
MAKING = ".making"  # of the state to come, until it is whole
COMPARED = 1_000  # series whose forecasts are compared

Say = Callable[[str], None]


@dataclass(frozen=True)
class Handover:
    """A state in the hands of another run: who had it, who has it, and what that changes.

    `cut` are series with values that nobody held and that were taken for missing; `moved` is the median change of the medians,
    in units of the former 80 % interval, over all series and leads.
    """

    state: str
    before: dict[str, Any]
    after: dict[str, Any]
    series: int
    cut: list[str]
    moved: float | None

    def to_dict(self) -> dict[str, Any]:
        """The hand-over as JSON knows it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The hand-over as a reader wants it."""
        lines = [f"{self.state}: {self.series:,} series, from run {self.before['run']} to run {self.after['run']}"]
        if self.moved is not None:
            lines.append(f"  the medians moved by {self.moved:.0%} of the former 80 % interval, at the median")
        if self.cut:
            lines.append(
                f"  {len(self.cut):,} series have values taken for missing before the last ones: {', '.join(self.cut[:5])}"
                + (", …" if len(self.cut) > 5 else "")
            )
        return lines


def hand_over(state: Path, speaker: Speaker, home: Home, *, anyway: bool = False, say: Say) -> Handover:
    """Give a live state to another speaker: made beside from history and from what the stream took in last, then switched.

    The former one is kept beside, for `hand_back`. Raises StateError while a stream holds the state, and, unless `anyway`, where
    values lie between the panel's end and what the state still knows: they would be taken for missing.
    """
    finish_handover(state)
    former = Speaker.of_state(state, home, say=say)
    if speaker.frequency != former.frequency:
        raise StateError(
            f"state in {state} counts time as run {former.run.path.name!r} does, run {speaker.run.path.name!r} does otherwise. "
            "Train a run on the same panel."
        )
    window = peek(state)["identity"]["window"]
    config = speaker.run.config.streaming.model_copy(update={"revision_window": window})
    beside = _begin_beside(state, speaker)
    with torch_threads(1), StateStore.open(state, **former.identity(config)) as held:
        before = Engine(former.stepper, former.frequency, held, config)
        with StateStore.open(beside, **speaker.identity(config), owner=speaker.owner) as store:
            engine = Engine(speaker.stepper, speaker.frequency, store, config)
            engine.warm(PanelStore(home.panels).load(speaker.run.facts.panel), build=speaker.warm)
            cut = engine.out_of_reach(before.series)
            if cut and not anyway:
                raise StateError(_too_far(state, speaker, cut))
            engine.adopt(before.series, before.progress)
            if (letters := state / DEAD_LETTERS).exists():
                shutil.copy2(letters, beside / DEAD_LETTERS)
            moved = _moved(before, engine)
        held.close_file()
        whole = state.with_name(state.name + BESIDE)
        _remove(whole)
        beside.rename(whole)
        _remove(state.with_name(state.name + BEFORE))
        state.rename(state.with_name(state.name + BEFORE))
        whole.rename(state)
    return Handover(str(state), former.owner, speaker.owner, len(engine.series), cut, moved)


def hand_back(state: Path, home: Home, *, anyway: bool = False, say: Say) -> Handover:
    """Give a state back to who had it before; raises StateError where there was nobody, and as `hand_over` does."""
    former = state.with_name(state.name + BEFORE)
    if not former.exists():
        raise StateError(f"there is no state before the one in {state}; expected one that was handed over.")
    return hand_over(state, Speaker.of_state(former, home, say=say), home, anyway=anyway, say=say)


def follow(state: Path, run: Run, home: Home, *, say: Say) -> Handover:
    """Give a live state to another run, with the forecaster and the calibration that it had; raises StateError as `hand_over`."""
    finish_handover(state)
    owner = peek(state)["owner"]
    config = run.config.streaming.model_copy(update={"calibrate": owner.get("calibration") is not None})
    return hand_over(state, Speaker.of(run, home, owner.get("forecaster"), config=config, say=say), home, say=say)


def _too_far(state: Path, speaker: Speaker, cut: list[str]) -> str:
    named = ", ".join(map(repr, cut[:3])) + (", …" if len(cut) > 3 else "")
    return (
        f"{len(cut):,} series of {state} ({named}) have moved on too far: between the end of panel "
        f"{speaker.run.facts.panel!r} and the last values that the state keeps, some are missing. Ingest what the stream "
        "took in, or take them for missing with --anyway."
    )


def _begin_beside(state: Path, speaker: Speaker) -> Path:
    """The folder of the state to come: empty, or what the same model left when it last handed over."""
    beside, former = (state.with_name(state.name + suffix) for suffix in (MAKING, BEFORE))
    _remove(beside)
    if former.exists() and peek(former)["identity"]["fingerprint"] == speaker.stepper.fingerprint:
        shutil.copytree(former, beside)
    return beside


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _moved(before: Engine, after: Engine) -> float | None:
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
