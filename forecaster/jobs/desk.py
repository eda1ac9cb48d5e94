"""Words between a hand-over and the stream that is to make it: a folder in that of the state, with a request and its answer.

One hand-over at a time has the desk, by a lock that dies with its process. A stream looks there between micro-batches. Nothing
here is needed after a power cut, so nothing is synced.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

from forecaster.errors import StateError
from forecaster.jobs.locks import take_lock
from forecaster.streaming.directory import is_alive, told_of
from forecaster.streaming.heir import SavedSeries

FOLDER = "handover"
HELLO, FOLLOW, SWITCH = "hello", "follow", "switch"


@dataclass(frozen=True)
class Request:
    """What a hand-over asks of a stream: whether it is there, to keep its log from now on, or to switch.

    `owner` is who is to have the state, `saved` what of its series lies in the desk's folder.
    """

    asks: str
    owner: dict[str, Any]
    saved: SavedSeries | None = None
    process: int = field(default_factory=os.getpid)
    moment: int = field(default_factory=time.time_ns)


@dataclass(frozen=True)
class Answer:
    """What a stream says to a request: that it is done, or why it will not be; `pause_ms` is how long a switch held it up."""

    to: int
    error: str | None = None
    pause_ms: float | None = None


class Desk:
    """The folder of a state's hand-overs: `beside` for the series that are to come, `former` for a copy of the state before."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER
        self.beside, self.former = self.folder / "beside", self.folder / "former"
        self._request, self._answer = self.folder / "request.json", self.folder / "answer.json"

    # -- who asks --------------------------------------------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """Leave a request; another one of this hand-over is replaced."""
        _put(self._request, asdict(request))

    def answer_to(self, request: Request) -> Answer | None:
        """What the stream said, if it has."""
        found = _read(self._answer)
        return Answer(**found) if found and found["to"] == request.moment else None

    def last_sign(self) -> float:
        """When the stream last gave a sign of life."""
        try:
            return self._answer.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def clear(self) -> None:
        """Take everything back that was asked, and what lay there for it."""
        for path in (self._request, self._answer):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.beside, ignore_errors=True)

    # -- who is asked ----------------------------------------------------------------------------------------------------

    def request(self) -> Request | None:
        """What is asked of the stream; nothing where who asked is gone."""
        found = _read(self._request)
        try:
            if not found or not is_alive(found["process"]):
                return None
            saved = found.pop("saved")
            return Request(**found, saved=SavedSeries(**saved | {"checksums": tuple(saved["checksums"])}) if saved else None)
        except (TypeError, KeyError):  # in the words of another version
            return None

    def answer(self, answer: Answer) -> None:
        """Say what became of a request; where the disk refuses that, a stream has worse to tell soon."""
        with suppress(StateError):
            _put(self._answer, asdict(answer))

    def give_sign(self) -> None:
        """Let who asked know that it is being worked at."""
        with suppress(OSError):
            self._answer.touch()


@contextmanager
def desk_of(state: Path) -> Iterator[Desk]:
    """The desk of a state, for one hand-over alone. Raises StateError while there is another, or the disk refuses."""
    desk = Desk(state)
    with told_of(state):
        desk.folder.mkdir(exist_ok=True)
        lock = (desk.folder / "lock").open("a+", encoding="utf-8")
    with lock:
        if (holder := take_lock(lock)) is not None:
            raise StateError(f"state in {state} is being handed over by process {holder} already. Wait for that one, or end it.")
        desk.clear()
        try:
            yield desk
        finally:
            desk.clear()


def _put(path: Path, tree: dict[str, Any]) -> None:
    beside = path.with_suffix(".part")
    with told_of(path.parent.parent):
        beside.write_bytes(orjson.dumps(tree))
        beside.replace(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):  # none, or of somebody who died in the middle of a sentence
        return None
    return found
