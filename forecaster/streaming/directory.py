"""The directory that holds a state: its lock, its database and what that says of itself, and how a fault is told."""

import fcntl
import json
import os
import shutil
import sqlite3
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.streaming.shards import Snapshots

SCHEMA_VERSION = 2
FILE = "state.sqlite"
PAGE_BYTES = 1 << 12  # most commits are of few observations, and each writes two pages at least
COPY_TRIES = 20

CREATE_META = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
CREATE_LOG = "CREATE TABLE log (batch INTEGER PRIMARY KEY, block BLOB NOT NULL)"


def seal(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True)
    return f"{zlib.crc32(text.encode()):08x} {text}"


def unseal(directory: Path, sealed: str) -> dict[str, Any]:
    checksum, _, text = sealed.partition(" ")
    if f"{zlib.crc32(text.encode()):08x}" != checksum:
        raise damaged(directory, "has a damaged record of what wrote it or how far it came")
    fields: dict[str, Any] = json.loads(text)
    return fields


def copy_state(directory: Path, to: Path) -> None:
    """Another folder with a state as it stands, without its dead letters, while its stream goes on.

    Snapshots are never changed once they are written, so they are the same files where the disk can have that. Raises StateError.
    """
    part = to.with_suffix(".part")
    with told_of(directory):
        for _ in range(COPY_TRIES):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            with (
                closing(sqlite3.connect(_place(directory, "ro"), uri=True)) as source,
                closing(sqlite3.connect(part / FILE)) as target,
            ):
                source.backup(target)
                row = target.execute("SELECT value FROM meta WHERE name = 'shards'").fetchone()
            try:
                for name in Snapshots.of_record(unseal(directory, row[0])).names() if row else ():
                    _link(directory / name, part / name)
            except FileNotFoundError:  # the stream has just replaced one
                continue
            sync_directory(part)
            shutil.rmtree(to, ignore_errors=True)
            part.rename(to)
            return
    raise StateError(f"state in {directory} changes too fast to be copied. Try again when its stream is calmer.")


def _link(file: Path, to: Path) -> None:
    try:
        os.link(file, to)
    except FileNotFoundError:
        raise
    except OSError:  # a disk that has no links
        shutil.copy2(file, to)


# -- the directory -----------------------------------------------------------------------------------------------------------


class InUseError(StateError):
    """A state that another process holds."""


def is_alive(process: int) -> bool:
    """Whether there is such a process on this machine, as far as one can see."""
    try:
        os.kill(process, 0)
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except ProcessLookupError:
        return False
    except OSError:  # another user's, or a system without /proc
        return True
    return status.rpartition(")")[2].split()[:1] != ["Z"]  # ended, and nobody has asked how


def lock_directory(directory: Path) -> int:
    """A descriptor that holds the directory's lock until it is closed; the file says who holds it.

    Raises InUseError while another process does.
    """
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise InUseError(
            f"state in {directory} is in use by process {holder}. Stop that stream first, or give this one another directory."
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def holder_of(directory: Path) -> int:
    """The process that last took the directory's lock; 0 where it did not say."""
    try:
        return int((directory / "lock").read_bytes() or b"0")
    except (OSError, ValueError):
        return 0


def peek(directory: Path) -> dict[str, dict[str, Any]]:
    """The records of a state as they stand, whoever holds it: identity, owner, and progress and shards once there are any.

    Raises StateError where there is none, or it is damaged.
    """
    if not (directory / FILE).exists():
        raise StateError(f"there is no state in {directory}; expected what a stream left. Check the name, or stream first.")
    with told_of(directory), closing(sqlite3.connect(_place(directory, "ro"), uri=True)) as connection:
        return {name: unseal(directory, value) for name, value in connection.execute("SELECT name, value FROM meta")}


def identity_of(fingerprint: str, frequency: Frequency, state_size: int, window: int) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "fingerprint": fingerprint,
        "frequency": asdict(frequency),
        "state_size": state_size,
        "window": window,
    }


def connect(
    directory: Path, identity: dict[str, Any], *, read_only: bool = False, owner: dict[str, Any] | None = None
) -> sqlite3.Connection:
    """A connection to the directory's database, made if there is none; raises StateError where it is not of this identity."""
    if not (directory / FILE).exists():
        if (directory / f"{FILE}-wal").exists():
            raise damaged(directory, f"has {FILE}-wal but no {FILE}")
        _create(directory, identity, owner or {})
    place = _place(directory, "ro" if read_only else "rwc")
    connection = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False)
    try:
        row = connection.execute("SELECT value FROM meta WHERE name = 'identity'").fetchone()
        if row is None:
            raise damaged(directory, "does not say what wrote it")
        _check_identity(directory, unseal(directory, row[0]), identity)
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        connection.close()
        raise
    return connection


def _place(directory: Path, mode: str) -> str:
    return f"file:{quote(str((directory / FILE).resolve()))}?mode={mode}"


def _create(directory: Path, identity: dict[str, Any], owner: dict[str, Any]) -> None:
    """An empty store, written beside and renamed, so that a file of that name is always a whole one."""
    beside = directory / f"{FILE}.part"
    beside.unlink(missing_ok=True)
    with closing(sqlite3.connect(beside, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN")
        connection.execute(CREATE_META)
        connection.execute(CREATE_LOG)
        rows = [("identity", seal(identity)), ("owner", seal(stamped(owner)))]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        connection.execute("COMMIT")
    beside.replace(directory / FILE)
    sync_directory(directory)


def stamped(owner: dict[str, Any]) -> dict[str, Any]:
    """An owner with the time from which on it has the state."""
    return owner | {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def sync_directory(directory: Path) -> None:
    """A new name must not be lost by a power cut that keeps later commits."""
    folder = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
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
    if found["window"] != expected["window"]:
        raise StateError(
            f"state in {directory} keeps {found['window']} positions open to revisions, this stream {expected['window']}. "
            f"Set streaming.revision_window={found['window']}, or begin again in another directory."
        )


def _named(frequency: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in frequency.items() if value)


def damaged(directory: Path, what: str) -> StateError:
    return StateError(
        f"state in {directory} {what}; expected what the last commit wrote. "
        "Put back a copy of the directory, or begin again from the stored panel with `forecast stream RUN --rebuild`."
    )


@contextmanager
def told_of(directory: Path) -> Iterator[None]:
    """Turn what the disk or SQLite refuses into a StateError that says what to do."""
    try:
        yield
    except (sqlite3.OperationalError, OSError) as error:
        if "malformed" in str(error) or "no such table" in str(error):
            raise damaged(directory, f"cannot be read ({error})") from error
        raise StateError(
            f"state in {directory} cannot be read or written ({error}); expected a folder with room and permission to write. "
            "Mend that and start again: all that was committed is kept."
        ) from error
    except sqlite3.DatabaseError as error:
        raise damaged(directory, f"cannot be read ({error})") from error
