"""A stream killed at any point where it touches the disk, again and again, held against one that nobody killed.

A child is forked for each life, so that what takes long to import is imported once. Every call that could tear something is
counted (statements to SQLite, writes, syncs, renames, truncations, removals), before and after; at a given count the child kills
itself with SIGKILL, and so nothing of it runs any more: no handler, no flush, no rollback.
"""

import os
import resource
import signal
import sqlite3
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

Life = Callable[[], None]  # the stream, from wherever it is to the end of its feed

FAILED = 3


@dataclass
class Soak:
    """What the lives of a stream came to: kills by the point where they fell, in the order of their first one."""

    kills: Counter[str] = field(default_factory=Counter)
    lives: int = 0

    @property
    def killed(self) -> int:
        """How often it was killed."""
        return sum(self.kills.values())


def soak(live: Life, *, kills: int, seed: int, most_points: int, at_random_ms: float = 0.0) -> Soak:
    """Let a stream live until it ends by itself, killing it at least so many times as long as it has something left to do.

    Each life ends at a point drawn from the first `most_points`; with `at_random_ms`, every other one at a moment drawn from as
    many milliseconds. Raises AssertionError when a life fails by itself.
    """
    generator = np.random.default_rng(seed)
    found = Soak()
    while True:
        found.lives += 1
        target, delay = 0, 0.0
        if found.killed < kills:
            if at_random_ms and found.lives % 2:
                delay = float(generator.uniform(0, at_random_ms)) / 1000
            else:
                target = int(generator.integers(1, most_points + 1))
        point = one_life(live, target=target, delay=delay)
        if point is None:
            return found
        found.kills[point] += 1


def one_life(live: Life, *, target: int = 0, delay: float = 0.0, file_bytes: int = 0) -> str | None:
    """Fork a child that lives; where it was killed, or None when it came to its end.

    `target` is the count of the point at which it kills itself, `delay` the seconds after which its parent does. With
    `file_bytes`, no file may grow beyond that: the disk is full, and the child must say so and leave.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _live(live, writing, target=target, file_bytes=file_bytes)
    os.close(writing)
    if delay:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    if os.WIFSIGNALED(status):
        return said.strip() or "at some moment"
    assert os.WEXITSTATUS(status) == 0, said
    return None


def _live(live: Life, writing: int, *, target: int, file_bytes: int) -> None:
    """The child: never returns."""
    try:
        if file_bytes:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        with points(writing, target):
            live()
    except BaseException:  # noqa: BLE001 - its words go to the parent
        os.write(writing, traceback.format_exc().encode())
        os._exit(FAILED)
    os._exit(0)


@contextmanager
def points(writing: int, target: int) -> Iterator[None]:
    """Count the calls that touch the disk, and kill this process at the one with the number `target`, saying which it was."""
    count = 0

    def hit(name: str) -> None:
        nonlocal count
        count += 1
        if count == target:
            _write(writing, name.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    class Counted(sqlite3.Connection):
        def execute(self, statement: str, *given: object) -> sqlite3.Cursor:
            name = " ".join(statement.split()[:3])
            hit(f"before {name}")
            done = super().execute(statement, *given)
            hit(f"after {name}")
            return done

    def connect(*given: object, **named: object) -> sqlite3.Connection:
        return _connect(*given, factory=Counted, **named)

    _write, _connect = os.write, sqlite3.connect
    patched = [(os, name) for name in ("write", "fsync", "ftruncate", "truncate", "replace", "rename", "unlink")]
    before = {(where, name): getattr(where, name) for where, name in patched}

    def counted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def around(*given: object, **named: object) -> object:
            hit(f"before {name}")
            done = call(*given, **named)
            hit(f"after {name}")
            return done

        return around

    sqlite3.connect = connect
    for (where, name), call in before.items():
        setattr(where, name, counted(name, call))
    try:
        yield
    finally:
        sqlite3.connect = _connect
        for (where, name), call in before.items():
            setattr(where, name, call)


def flip_bytes(folder: Path, load: Callable[[], bytes], *, times: int, seed: int) -> dict[str, Counter[str]]:
    """Flip one byte of one file, load, put it back, so many times each: how often it was refused, and how often not in the way.

    `load` gives what the state holds as bytes, or raises ForecasterError. Raises AssertionError when it gives other bytes.
    """
    from forecaster.errors import ForecasterError

    generator = np.random.default_rng(seed)
    whole = load()
    found: dict[str, Counter[str]] = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name not in ("lock", "state.sqlite-shm")):
        content = path.read_bytes()
        outcome = found.setdefault(path.name, Counter())
        for at in generator.integers(0, len(content), size=times if content else 0):
            path.write_bytes(content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :])
            try:
                same = load() == whole
            except ForecasterError:
                outcome["refused"] += 1
            else:
                assert same, f"byte {at} of {path.name} was flipped, and the state was another one"
                outcome["not in the way"] += 1
            path.write_bytes(content)
    return found


if __name__ == "__main__":
    sys.exit("run tests/test_streaming_crashes.py, or benchmarks/soak.py")
