"""The state of every live series across restarts: a log of what was taken in, in SQLite, and snapshots beside it.

One transaction for each micro-batch writes its block of the log, how far the feed was taken in, and the counters. Every so often
a shard of the series is written as a snapshot, and the log before the oldest shard is dropped. What is committed survives a kill
and a power cut; every block, snapshot and record carries its own checksum, because SQLite checks none.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from forecaster.errors import StateError
from forecaster.forecast import State
from forecaster.frequency import Frequency, Positions
from forecaster.series import Values
from forecaster.streaming.directory import (
    FILE,
    connect,
    damaged,
    identity_of,
    lock_directory,
    seal,
    sync_directory,
    told_of,
    unseal,
)
from forecaster.streaming.live import FeedPosition, LiveSeries, Progress
from forecaster.streaming.log import Block, unpack
from forecaster.streaming.shards import SHARD, Snapshots, read_shard, shard_count, write_shard
from forecaster.streaming.stepping import Indices

LOG_PER_SERIES = 8  # observations that wait in the log for the snapshot of their shard
LEAST_LOG = 20_000

Apply = Callable[[LiveSeries, Indices, Positions, Values], None]


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
        self.close_file()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close_file(self) -> None:
        """Let go of the file alone: the directory can be moved, and nobody else streams into it meanwhile."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # -- reading ---------------------------------------------------------------------------------------------------------

    def load(self, begin: Callable[[int], State], apply: Apply) -> tuple[LiveSeries, Progress]:
        """Everything that was committed: the snapshots, and the log since then taken in again by `apply`.

        `begin` gives the state of so many series of which nothing was taken in.

        Raises StateError when a block, a snapshot or a record is damaged or missing. Who only looks begins again where the stream
        replaced a snapshot meanwhile.
        """
        while True:
            try:
                return self._load(begin, apply)
            except StateError:
                if not self._is_read_only or not self._has_moved_on():
                    raise

    def _load(self, begin: Callable[[int], State], apply: Apply) -> tuple[LiveSeries, Progress]:
        series, self._logged = LiveSeries(self.state_size, window=self.window), {}
        connection = self._open_connection()
        with told_of(self.directory):
            connection.execute("BEGIN")  # one view of the log and of what the snapshots are, whoever writes meanwhile
            progress = self._read_records()
            series.add([""] * progress.series, begin(progress.series))
            snapshots = self._snapshots.shards.items()
            for shard, (batch, checksum) in sorted(snapshots, key=lambda entry: entry[1][0]):  # the next to go first
                self._read_snapshot(series, shard, batch, checksum)
            self._replay(series, apply)
            connection.execute("COMMIT")
        if not self._is_read_only:
            self._remove_strays()
        series.slots = {unique_id: slot for slot, unique_id in enumerate(series.ids)}
        if len(series.slots) != progress.series or "" in series.slots:
            raise damaged(self.directory, f"does not know the names of all of its {progress.series} series")
        return series, progress

    def _has_moved_on(self) -> bool:
        """Whether other snapshots are committed by now than those that were to be read."""
        read = self._snapshots
        with told_of(self.directory):
            self._open_connection().rollback()
            self._read_records()
        return self._snapshots != read

    def _read_records(self) -> Progress:
        rows = dict(self._open_connection().execute("SELECT name, value FROM meta WHERE name IN ('progress', 'shards')"))
        if "progress" not in rows:
            return Progress()
        fields = unseal(self.directory, rows["progress"])
        self.batch = fields.pop("batch")
        if "shards" in rows:
            self._snapshots = Snapshots.of_record(unseal(self.directory, rows["shards"]))
        return Progress(**{**fields, "feed": FeedPosition(**fields["feed"])})

    def _remove_strays(self) -> None:
        """Remove snapshots that a kill left before they were committed, or after they were replaced."""
        committed = self._snapshots.names()
        for path in self.directory.glob("shard-*"):
            if path.name not in committed:
                path.unlink(missing_ok=True)

    def _read_snapshot(self, series: LiveSeries, shard: int, batch: int, checksum: int) -> None:
        path = self.directory / self._snapshots.name(shard, batch)
        try:
            ids = read_shard(path, series, shard, checksum)
        except FileNotFoundError:
            raise damaged(self.directory, f"lacks its snapshot {path.name}") from None
        except ValueError:
            raise damaged(self.directory, f"has a damaged snapshot {path.name}") from None
        series.ids[shard * SHARD : shard * SHARD + len(ids)] = ids

    def _replay(self, series: LiveSeries, apply: Apply) -> None:
        """Take in the log again: of each block, what the snapshot of its shard does not hold yet."""
        follows = np.array([self._snapshots.follows(shard) for shard in range(shard_count(len(series)))], dtype=np.int64)
        for block in self.blocks_after(int(follows.min(initial=self.batch)), upto=self.batch):
            series.ids[block.first_slot : block.first_slot + len(block.ids)] = block.ids
            is_new = follows[block.slots // SHARD] < block.batch
            apply(series, block.slots[is_new], block.positions[is_new], block.values[is_new])
            self._logged[block.batch] = len(block.slots)

    def blocks_after(self, batch: int, *, upto: int | None = None) -> Iterator[Block]:
        """The log from after a batch to its end, or to the batch that is named; raises StateError where it has a hole."""
        cursor = self._open_connection().execute("SELECT batch, block FROM log WHERE batch > ? ORDER BY batch", (batch,))
        with told_of(self.directory):
            for number, data in cursor:
                try:
                    block = unpack(data)
                except ValueError:
                    raise damaged(self.directory, f"has a damaged block {number} in its log") from None
                batch += 1
                if number != batch or block.batch != batch:
                    raise damaged(self.directory, f"lacks block {batch} of its log")
                yield block
        if upto is not None and batch != upto:
            raise damaged(self.directory, f"lacks block {batch + 1} of its log")

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
        self._write_record(connection, "progress", asdict(progress) | {"batch": block.batch})

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
