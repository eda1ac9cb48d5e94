"""The journal of a night: which steps ended, on what, and how. A step that ended on the same is not taken again."""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from forecaster.errors import StateError
from forecaster.jobs.home import Home
from forecaster.jobs.locks import take_lock
from forecaster.jobs.whole import write_json

Outcome = Literal["done", "failed"]


class OverlapError(StateError):
    """Another night of the same panel is under way."""


@dataclass(frozen=True)
class Record:
    """One step: on what it worked (a fingerprint), how it ended, how long it took, and what came of it."""

    key: str
    outcome: Outcome
    seconds: float
    result: dict[str, Any]


@dataclass
class Journal:
    """The records of one night, on disk after every step; `is_fresh` says that this process took at least one."""

    folder: Path
    panel: str
    night: str
    steps: dict[str, Record] = field(default_factory=dict)
    is_fresh: bool = False

    @classmethod
    def open(cls, home: Home, panel: str, night: str) -> "Journal":
        """The journal of a night, as far as it came; a damaged one begins again, since every step may be taken twice."""
        folder = home.nights / panel / night
        journal = cls(folder, panel, night)
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            journal.steps = {name: Record(**record) for name, record in json.loads(journal.path.read_bytes())["steps"].items()}
        return journal

    @property
    def path(self) -> Path:
        return self.folder / "journal.json"

    def take(self, name: str, key: str, work: Callable[[], dict[str, Any]]) -> Record:
        """The record of a step: the one that is there, if it is done and was taken on the same, else that of `work` done now."""
        there = self.steps.get(name)
        if there is not None and there.key == key and there.outcome == "done":
            return there
        began = time.monotonic()
        result = work()
        return self.record(name, Record(key, "done", round(time.monotonic() - began, 3), result))

    def record(self, name: str, record: Record) -> Record:
        """Keep a record, on disk before anything else happens. Raises OSError."""
        self.steps.pop(name, None)  # so that the steps stand in the order in which they ended
        self.steps[name] = record
        self.is_fresh = True
        self.write()
        return record

    def write(self) -> None:
        tree = {"panel": self.panel, "night": self.night, "steps": {name: asdict(step) for name, step in self.steps.items()}}
        write_json(self.path, tree)

    def result(self, name: str) -> dict[str, Any]:
        """What came of a step; empty where it was not taken, or failed."""
        step = self.steps.get(name)
        return step.result if step is not None and step.outcome == "done" else {}


def key_of(*parts: object) -> str:
    """Twelve hexadecimal digits that change with any of the parts, which JSON can hold.

    >>> key_of("a", 1) == key_of("a", 1), key_of("a", 1) == key_of("a", 2)
    (True, False)
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:12]


@contextmanager
def one_night(home: Home, panel: str) -> Iterator[None]:
    """Alone at a panel's nights; the lock dies with its process. Raises OverlapError when another process is at it."""
    folder = home.nights / panel
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("a+")
    except OSError as error:
        raise StateError(f"{folder}: no night can be written there ({error.strerror}). Set $FORECASTER_HOME.") from error
    with lock:
        if holder := take_lock(lock):
            raise OverlapError(
                f"process {holder} is at a night of panel {panel!r}. This one leaves it alone; wait for it, or stop it."
            )
        yield
