"""The state of every live series across restarts, in SQLite.

One transaction for each micro-batch writes the series that moved, how far the feed was taken in, and the counters. What is
committed survives a kill and a power cut; every row carries its own checksum, because SQLite checks none.
"""

import fcntl
import json
import os
import sqlite3
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.streaming.live import FeedPosition, LiveSeries, Progress

SCHEMA_VERSION = 1
FILE = "state.sqlite"
ROWS_AT_ONCE = 10_000
WIRE = np.dtype("<f4")  # the state's numbers on disk, whatever the machine

CREATE_META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
CREATE_SERIES = """
CREATE TABLE series (
    slot INTEGER PRIMARY KEY, unique_id TEXT NOT NULL UNIQUE, position INTEGER NOT NULL, count INTEGER NOT NULL,
    y REAL, state BLOB NOT NULL, checksum INTEGER NOT NULL
)
"""
UPSERT = """
INSERT INTO series VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (slot) DO UPDATE SET
    position = excluded.position, count = excluded.count, y = excluded.y, state = excluded.state, checksum = excluded.checksum
"""


class StateStore:
    """State in `directory/state.sqlite`, held by one process at a time; open it with `StateStore.open`, as a context manager.

    A commit that fails closes the store: what memory holds is then ahead of the disk, and only a new start is sound.
    """

    def __init__(self, directory: Path, connection: sqlite3.Connection, lock: int, *, state_size: int) -> None:
        self.directory = directory
        self.state_size = state_size
        self._connection: sqlite3.Connection | None = connection
        self._lock = lock

    @classmethod
    def open(cls, directory: Path, *, fingerprint: str, frequency: Frequency, state_size: int) -> Self:
        """The store of a directory, made if there is none, for one model (by its fingerprint) and one frequency.

        Raises StateError when the directory cannot be written, another process holds it, the file is damaged or none of
        ours, or its state belongs to another model, frequency, state size or version of this program.
        """
        identity = {
            "schema": SCHEMA_VERSION,
            "fingerprint": fingerprint,
            "frequency": asdict(frequency),
            "state_size": state_size,
        }
        with _told_of(directory):
            directory.mkdir(parents=True, exist_ok=True)
            lock = _lock_directory(directory)
        try:
            with _told_of(directory):
                connection = _connect(directory, identity)
        except BaseException:
            os.close(lock)
            raise
        return cls(directory, connection, lock, state_size=state_size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of the lock; closing twice is fine."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            os.close(self._lock)

    def load(self) -> tuple[LiveSeries, Progress]:
        """Everything that was committed; raises StateError when a row is damaged."""
        series = LiveSeries(self.state_size)
        with _told_of(self.directory):
            progress = self._read_progress()
            cursor = self._open_connection().execute("SELECT * FROM series ORDER BY slot")
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                self._load_rows(series, rows)
        if len(series) != progress.series:
            raise _damaged(self.directory, f"holds {len(series)} series where {progress.series} were committed")
        return series, progress

    def commit(self, series: LiveSeries, slots: NDArray[np.int64], progress: Progress) -> None:
        """Write the series in these slots [N] and the progress, all or nothing; raises StateError and closes when it cannot."""
        connection = self._open_connection()
        try:
            with _told_of(self.directory):
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(UPSERT, _rows(series, slots))
                connection.execute("INSERT OR REPLACE INTO meta VALUES ('progress', ?)", (_seal(asdict(progress)),))
                connection.execute("COMMIT")
        except BaseException:
            self.close()  # which rolls back
            raise

    def _load_rows(self, series: LiveSeries, rows: list[tuple[int, str, int, int, float | None, bytes, int]]) -> None:
        width = self.state_size * WIRE.itemsize
        for n, (slot, unique_id, position, count, y, blob, checksum) in enumerate(rows, start=len(series)):
            if slot != n or len(blob) != width or _row_checksum(unique_id, position, count, y, blob) != checksum:
                raise _damaged(self.directory, f"has a damaged row: series {unique_id!r}, slot {slot}")
        _, ids, positions, counts, ys, blobs, _ = zip(*rows, strict=True)
        slots = series.add(ids, np.frombuffer(b"".join(blobs), WIRE).reshape(len(rows), self.state_size))
        series.positions[slots], series.counts[slots] = positions, counts
        series.y[slots] = np.array(ys, dtype=np.float64)

    def _read_progress(self) -> Progress:
        row = self._open_connection().execute("SELECT value FROM meta WHERE name = 'progress'").fetchone()
        if row is None:
            return Progress()
        fields = _unseal(self.directory, row[0])
        return Progress(**{**fields, "feed": FeedPosition(**fields["feed"])})

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StateError(f"state in {self.directory} is closed, after a failure or by its owner. Open it again.")
        return self._connection


# -- rows and their checksums ------------------------------------------------------------------------------------------------


def _rows(series: LiveSeries, slots: NDArray[np.int64]) -> Iterator[tuple[int, str, int, int, float | None, bytes, int]]:
    width = series.state.shape[1] * WIRE.itemsize
    blobs = series.state[slots].astype(WIRE).tobytes()
    y = series.y[slots] + 0.0  # SQLite keeps no negative zero, and the checksum must not see one either
    columns = (slots.tolist(), series.positions[slots].tolist(), series.counts[slots].tolist(), y.tolist())
    for n, (slot, position, count, last) in enumerate(zip(*columns, strict=True)):
        unique_id, blob = series.ids[slot], blobs[n * width : (n + 1) * width]
        value = last if last == last else None
        yield slot, unique_id, position, count, value, blob, _row_checksum(unique_id, position, count, value, blob)


def _row_checksum(unique_id: str, position: int, count: int, y: float | None, blob: bytes) -> int:
    head = struct.pack("<qqd?", position, count, 0.0 if y is None else y, y is None)
    return zlib.crc32(blob, zlib.crc32(unique_id.encode(), zlib.crc32(head)))


def _seal(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x} {text}"


def _unseal(directory: Path, sealed: str) -> dict[str, Any]:
    checksum, _, text = sealed.partition(" ")
    if f"{zlib.crc32(text.encode()):08x}" != checksum:
        raise _damaged(directory, "has a damaged record of what wrote it or how far it came")
    fields: dict[str, Any] = json.loads(text)
    return fields


# -- the directory -----------------------------------------------------------------------------------------------------------


def _lock_directory(directory: Path) -> int:
    """A descriptor that holds the directory's lock until it is closed; the file says who holds it."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StateError(
            f"state in {directory} is in use by process {holder}. Stop that stream first, or give this one another directory."
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _connect(directory: Path, identity: dict[str, Any]) -> sqlite3.Connection:
    if not (directory / FILE).exists():
        if (directory / f"{FILE}-wal").exists():
            raise _damaged(directory, f"has {FILE}-wal but no {FILE}")
        _create(directory, identity)
    connection = sqlite3.connect(directory / FILE, isolation_level=None, check_same_thread=False)
    try:
        row = connection.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()
        if row is None:
            raise _damaged(directory, "does not say what wrote it")
        _check_identity(directory, _unseal(directory, row[0]), identity)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _create(directory: Path, identity: dict[str, Any]) -> None:
    """An empty store, written beside and renamed, so that a file of that name is always a whole one."""
    beside = directory / f"{FILE}.part"
    beside.unlink(missing_ok=True)
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with closing(sqlite3.connect(beside, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN")
        connection.execute(CREATE_META)
        connection.execute(CREATE_SERIES)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [("identity", _seal(identity)), ("created", created)])
        connection.execute("COMMIT")
    beside.replace(directory / FILE)
    folder = os.open(directory, os.O_RDONLY)
    os.fsync(folder)  # the new name must not be lost by a power cut that keeps later commits
    os.close(folder)


def _check_identity(directory: Path, found: dict[str, Any], expected: dict[str, Any]) -> None:
    if found["schema"] != expected["schema"]:
        raise StateError(
            f"state in {directory} has schema version {found['schema']}; this program reads {expected['schema']}. "
            "Use the version that wrote it, or begin again in another directory."
        )
    if found["fingerprint"] != expected["fingerprint"]:
        raise StateError(
            f"state in {directory} was written by model {found['fingerprint']}, this stream runs {expected['fingerprint']}. "
            "Load that model, or begin again in another directory."
        )
    if found["frequency"] != expected["frequency"]:
        raise StateError(
            f"state in {directory} counts time by {_named(found['frequency'])}, this stream by {_named(expected['frequency'])}. "
            "Take the panel it was made from, or begin again in another directory."
        )
    if found["state_size"] != expected["state_size"]:
        raise StateError(
            f"state in {directory} has {found['state_size']} numbers a series, this model carries {expected['state_size']}. "
            "Load the model that wrote it, or begin again in another directory."
        )


def _named(frequency: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in frequency.items() if value)


def _damaged(directory: Path, what: str) -> StateError:
    return StateError(
        f"state in {directory} {what}; expected what the last commit wrote. "
        "Put back a copy of the directory, or move it away and begin again from the stored panel."
    )


@contextmanager
def _told_of(directory: Path) -> Iterator[None]:
    """Turn what the disk or SQLite refuses into a StateError that says what to do."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        if "malformed" in str(error) or "no such table" in str(error):
            raise _damaged(directory, f"cannot be read ({error})") from error
        raise StateError(
            f"state in {directory} cannot be read or written ({error}); expected a folder with room and permission to write. "
            "Mend that and start again: all that was committed is kept."
        ) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(directory, f"cannot be read ({error})") from error
