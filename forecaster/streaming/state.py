"""The state of every live series across restarts: a log of what was taken in, in SQLite, and snapshots beside it.

One transaction for each micro-batch writes its block of the log, how far the feed was taken in, and the counters. Every so often
a shard of the series is written as a snapshot, and the log before the oldest shard is dropped. What is committed survives a kill
and a power cut; every block, snapshot and record carries its own checksum, because SQLite checks none.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from forecaster.errors import StateError
from forecaster.forecast import State
from forecaster.frequency import Frequency, Positions
from forecaster.series import Values
from forecaster.streaming.directory import FILE, connect, identity_of, lock_directory, seal, stamped, sync_directory, told_of
from forecaster.streaming.live import LiveSeries, Progress
from forecaster.streaming.log import Block
from forecaster.streaming.restoring import Apply, blocks_after, read_records, remove_strays, restore
from forecaster.streaming.shards import SHARD, Snapshots, shard_count, write_shard
from forecaster.streaming.stepping import Indices

LOG_PER_SERIES = 8  # observations that wait in the log for the snapshot of their shard
LEAST_LOG = 20_000


class StateStore:
    """State in a directory, held by one process at a time; open it with `StateStore.open`, as a context manager.

    A commit that fails closes the store: what memory holds is then ahead of the disk, and only a new start is sound.
    """

    def __init__(
        self, directory: Path, connection: sqlite3.Connection, lock: int | None, *, state_size: int, window: int
    ) -> None:
        self.directory = directory
        self.state_size = state_size
        self.window = window
        self._connection: sqlite3.Connection | None = connection
        self._lock = lock
        self._is_read_only = lock is None
        self.batch = 0  # the last one that was committed
        self.keeps_log_after: int | None = None  # a batch from which on the log is wanted, also where no snapshot needs it
        self._snapshots = Snapshots()
        self._logged: dict[int, int] = {}  # observations in each block of the log
        self._since = 0  # observations since the last snapshot; a block without any counts for one

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        fingerprint: str,
        frequency: Frequency,
        state_size: int,
        window: int = 0,
        owner: dict[str, Any] | None = None,
    ) -> Self:
        """The store of a directory, made if there is none, for one model (by its fingerprint), frequency and window.

        `owner` is kept with a new one, for `peek`: whatever its maker wants to know of it.
        Raises StateError when the directory cannot be written, another process holds it, the file is damaged or none of
        ours, or its state belongs to another model, frequency, state size, window or version of this program.
        """
        identity = identity_of(fingerprint, frequency, state_size, window)
        with told_of(directory):
            directory.mkdir(parents=True, exist_ok=True)
            lock = lock_directory(directory)
        try:
            with told_of(directory):
                connection = connect(directory, identity, owner=owner)
        except BaseException:
            os.close(lock)
            raise
        return cls(directory, connection, lock, state_size=state_size, window=window)

    @classmethod
    def look(cls, directory: Path, *, fingerprint: str, frequency: Frequency, state_size: int, window: int = 0) -> Self:
        """The store of a directory to read alone, also while another process streams into it.

        Raises StateError as `open` does, and where there is none.
        """
        if not (directory / FILE).exists():
            raise StateError(f"there is no state in {directory}; expected what a stream left. Check the name, or stream first.")
        identity = identity_of(fingerprint, frequency, state_size, window)
        with told_of(directory):
            connection = connect(directory, identity, read_only=True)
        return cls(directory, connection, None, state_size=state_size, window=window)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file and of the lock; closing twice is fine."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- reading ---------------------------------------------------------------------------------------------------------

    def load(self, begin: Callable[[int], State], apply: Apply) -> tuple[LiveSeries, Progress]:
        """Everything that was committed: the snapshots, and the log since then taken in again by `apply`.

        `begin` gives the state of so many series of which nothing was taken in.

        Raises StateError when a block, a snapshot or a record is damaged or missing. Who only looks begins again where the stream
        replaced a snapshot meanwhile.
        """
        size = {"state_size": self.state_size, "window": self.window}
        while True:
            connection = self._open_connection()
            with told_of(self.directory):
                before = read_records(self.directory, connection).snapshots
            try:
                kept = restore(self.directory, connection, **size, begin=begin, apply=apply)
                break
            except StateError:
                connection.rollback()
                with told_of(self.directory):
                    if not self._is_read_only or read_records(self.directory, connection).snapshots == before:
                        raise
        self.batch, self._snapshots, self._logged = kept.records.batch, kept.records.snapshots, kept.logged
        if not self._is_read_only:
            remove_strays(self.directory, self._snapshots)
        return kept.series, kept.records.progress

    def blocks_after(self, batch: int, *, upto: int | None = None) -> Iterator[Block]:
        """The log from after a batch to its end, or to the batch that is named; raises StateError where it has a hole."""
        return blocks_after(self.directory, self._open_connection(), batch, upto=upto)

    # -- writing ---------------------------------------------------------------------------------------------------------

    def commit(
        self,
        series: LiveSeries,
        progress: Progress,
        *,
        new: Sequence[str] = (),
        slots: Indices,
        positions: Positions,
        values: Values,
    ) -> None:
        """Write the accepted observations [N] and the progress, all or nothing; then, if it is time, a snapshot of one shard.

        `new` are the ids that came with them, the last ones of `series`. Raises StateError, and closes, when the disk refuses:
        nothing of them is then kept, or all of it where it refused the snapshot, and says so.
        """
        block = Block(self.batch + 1, len(series) - len(new), new, slots, positions, values)
        with self._transaction() as connection:
            self._write_block(connection, block, progress)
        self.batch = block.batch
        self._logged[block.batch] = len(slots)
        self._since += max(len(slots), 1)
        if self._since >= max(LOG_PER_SERIES * min(len(series), SHARD), LEAST_LOG):
            shards = range(shard_count(len(series)))
            try:
                self.snapshot(series, [min(shards, key=self._snapshots.follows)] if shards else [])
            except StateError as error:
                raise StateError(f"{error} That was a snapshot: what came last is committed as well.") from error

    def snapshot(
        self,
        series: LiveSeries,
        shards: Sequence[int] | None = None,
        progress: Progress | None = None,
        *,
        is_all: bool = False,
    ) -> None:
        """Write these shards (all, if none are named) as they are now, and drop the log that no shard needs any more.

        With `progress`, that is committed with them: so a state made from history begins. With `is_all` the shards are all
        that there is from now on. Raises StateError, and closes, when the disk refuses; what was committed before stands.
        """
        shards = range(shard_count(len(series))) if shards is None else shards
        batch = self.batch + (progress is not None)
        before = self._snapshots
        written = {} if is_all else dict(before.shards)
        with self._transaction() as connection:
            for shard in shards:
                written[shard] = (batch, write_shard(self.directory / before.name(shard, batch), series, shard))
            sync_directory(self.directory)
            follows = replace(before, shards=written).follows
            dropped = min((follows(shard) for shard in range(shard_count(len(series)))), default=batch)
            after = replace(before, shards=written, dropped=dropped)
            self._write_record(connection, "shards", after.record())
            if progress is not None:
                self._write_block(connection, _nothing(batch, len(series)), progress)
            kept = dropped if self.keeps_log_after is None else min(dropped, self.keeps_log_after)
            connection.execute("DELETE FROM log WHERE batch <= ?", (kept,))
        self._snapshots, self.batch, self._since = after, batch, 0
        self._logged = {logged: count for logged, count in self._logged.items() if logged > dropped}
        for name in before.names() - after.names():
            (self.directory / name).unlink(missing_ok=True)

    def change_model(
        self,
        identity: dict[str, Any],
        owner: dict[str, Any],
        files: Sequence[tuple[Path, int]],
        block: Block,
        progress: Progress,
    ) -> None:
        """Let another model have the state: its snapshots, moved here from elsewhere, and what it took in since they were made.

        All or nothing, in one transaction; a kill before it leaves the state as it was. Raises StateError when the disk refuses.
        """
        before, follows = self._snapshots, self.batch
        shards = {shard: (follows, checksum) for shard, (_, checksum) in enumerate(files)}
        after = Snapshots(shards, dropped=follows, generation=before.generation + 1)
        with told_of(self.directory):
            for shard, (path, _) in enumerate(files):
                path.replace(self.directory / after.name(shard, follows))
            sync_directory(self.directory)
        block = replace(block, batch=follows + 1)
        with self._transaction() as connection:
            for name, fields in (("identity", identity), ("owner", stamped(owner)), ("shards", after.record())):
                self._write_record(connection, name, fields)
            connection.execute("DELETE FROM log")
            self._write_block(connection, block, progress)
        self.state_size, self.batch, self._snapshots = identity["state_size"], block.batch, after
        self._logged, self._since, self.keeps_log_after = {block.batch: len(block.slots)}, len(block.slots), None
        for name in before.names():
            (self.directory / name).unlink(missing_ok=True)

    @property
    def is_open(self) -> bool:
        """Whether it can still be written to."""
        return self._connection is not None

    @property
    def logged(self) -> int:
        """Observations that a restart would have to take in again, at least."""
        return sum(self._logged.values())

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._open_connection()
        try:
            with told_of(self.directory):
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
        except BaseException:
            self.close()  # which rolls back
            raise

    def _write_block(self, connection: sqlite3.Connection, block: Block, progress: Progress) -> None:
        connection.execute("INSERT INTO log VALUES (?, ?)", (block.batch, block.pack()))
        self._write_record(connection, "progress", progress.to_dict() | {"batch": block.batch})

    def _write_record(self, connection: sqlite3.Connection, name: str, fields: dict[str, Any]) -> None:
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, seal(fields)))

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StateError(f"state in {self.directory} is closed, after a failure or by its owner. Open it again.")
        return self._connection


def _nothing(batch: int, series: int) -> Block:
    """The block of a commit that brought no observation: shards that wait for their snapshot find the log without a hole."""
    none = np.empty(0, np.int64)
    return Block(batch, series, (), none, none, np.empty(0))
