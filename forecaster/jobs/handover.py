"""A live state handed over to another run, and back, while its stream goes on or while it is stopped."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from forecaster.errors import StateError
from forecaster.jobs.desk import HELLO, Desk, desk_of
from forecaster.jobs.errand import BEFORE, WAIT_SECONDS, Errand, Handover, StreamEndedError, is_of
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker
from forecaster.jobs.runs import Run
from forecaster.models.network import torch_threads
from forecaster.streaming.directory import InUseError, peek, told_of

__all__ = ["Handover", "follow", "hand_back", "hand_over"]

Say = Callable[[str], None]


def hand_over(
    state: Path, speaker: Speaker, home: Home, *, anyway: bool = False, wait_seconds: float = WAIT_SECONDS, say: Say
) -> Handover:
    """Give a live state to another speaker: made beside from history and from what the stream took in last, then switched.

    A stream that is running goes on with it, at the same place in its feed and its output. The former state is kept, for
    `hand_back`; where the speaker has the state already, nothing is done. Raises StateError where another hand-over is under way,
    where who holds the state gives no sign for so many seconds, and, unless `anyway`, where values lie between the panel's end
    and what the state still knows: they would be taken for missing.
    """
    with _begun(state) as desk:
        return _handed_over(state, desk, speaker, home, anyway=anyway, wait_seconds=wait_seconds, say=say)


def hand_back(state: Path, home: Home, *, anyway: bool = False, wait_seconds: float = WAIT_SECONDS, say: Say) -> Handover:
    """Give a state back to who had it before; raises StateError where there was nobody, and as `hand_over` does."""
    with _begun(state) as desk:
        if not (state / BEFORE).exists():
            raise StateError(f"there is no state before the one in {state}; expected one that was handed over.")
        speaker = Speaker.of_state(state / BEFORE, home, say=say)
        return _handed_over(state, desk, speaker, home, anyway=anyway, wait_seconds=wait_seconds, say=say)


def follow(state: Path, run: Run, home: Home, *, say: Say) -> Handover:
    """Give a live state to another run, with the forecaster and the calibration that it had; raises StateError as `hand_over`."""
    owner = peek(state)["owner"]
    config = run.config.streaming.model_copy(update={"calibrate": owner.get("calibration") is not None})
    return hand_over(state, Speaker.of(run, home, owner.get("forecaster"), config=config, say=say), home, say=say)


@contextmanager
def _begun(state: Path) -> Iterator[Desk]:
    """The desk of a state; what was before the last hand-over is in its place when it is opened, and when it is left."""
    peek(state)
    with desk_of(state) as desk:
        _keep_former(state, desk)
        try:
            yield desk
        finally:
            _keep_former(state, desk)


def _keep_former(state: Path, desk: Desk) -> None:
    """Put the copy of the former state in its place if the state was handed over since, also by who was killed then."""
    if not desk.former.exists():
        return
    if is_of(state, peek(desk.former)["owner"]):
        shutil.rmtree(desk.former)
        return
    shutil.rmtree(state / BEFORE, ignore_errors=True)
    with told_of(state):
        desk.former.rename(state / BEFORE)


def _handed_over(
    state: Path, desk: Desk, speaker: Speaker, home: Home, *, anyway: bool, wait_seconds: float, say: Say
) -> Handover:
    former = Speaker.of_state(state, home, say=say)
    if is_of(state, speaker.owner):
        return Handover(str(state), former.owner, speaker.owner, peek(state)["progress"]["series"], [], None)
    if speaker.frequency != former.frequency:
        raise StateError(
            f"state in {state} counts time as run {former.run.path.name!r} does, run {speaker.run.path.name!r} does otherwise. "
            "Train a run on the same panel."
        )
    config = speaker.run.config.streaming.model_copy(update={"revision_window": peek(state)["identity"]["window"]})
    errand = Errand(state, desk, former, speaker, config, anyway, wait_seconds, say)
    if errand.is_held():
        _check_alike(former, speaker)
        with suppress(StreamEndedError):
            errand.ask(HELLO)
    with torch_threads(1):
        heir = errand.heir(home)
        while not is_of(state, speaker.owner):
            try:
                return errand.switch_here(heir)
            except InUseError:
                pass
            try:
                return errand.switch_there(heir)
            except StreamEndedError:
                say("the stream ended meanwhile; going on without it")
        return Handover(str(state), former.owner, speaker.owner, len(heir.series), [], None)


def _check_alike(former: Speaker, speaker: Speaker) -> None:
    """Refuse a change in what a running stream's readers get."""
    shapes = [(one.stepper.horizon, one.stepper.quantiles) for one in (former, speaker)]
    if shapes[0] != shapes[1]:
        told = [f"{horizon} leads of {', '.join(f'{q:g}' for q in quantiles)}" for horizon, quantiles in shapes]
        raise StateError(
            f"run {speaker.run.path.name!r} forecasts {told[1]}, the running stream's readers get {told[0]}. Train it alike, or "
            "stop the stream, hand over, and begin another output."
        )
