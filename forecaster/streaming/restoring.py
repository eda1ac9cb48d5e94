"""A state read from its directory: the snapshots of its series, and the log since then taken in again."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from forecaster.forecast import State
from forecaster.frequency import Positions
from forecaster.series import Values
from forecaster.streaming.directory import damaged, told_of, unseal
from forecaster.streaming.live import FeedPosition, LiveSeries, Progress
from forecaster.streaming.log import Block, unpack
from forecaster.streaming.shards import Snapshots, read_shard, shard_count, shard_of
from forecaster.streaming.stepping import Indices

Apply = Callable[[LiveSeries, Indices, Positions, Values], None]


@dataclass(frozen=True)
class Records:
    """What a state says of itself: how far it came, with which batch, and which snapshots it has."""

    progress: Progress = field(default_factory=Progress)
    batch: int = 0
    snapshots: Snapshots = field(default_factory=Snapshots)


@dataclass(frozen=True)
class Restored:
    """A state as it was committed; `logged` are the observations in each block that was taken in again."""

    series: LiveSeries
    records: Records
    logged: dict[int, int]


def read_records(directory: Path, connection: sqlite3.Connection) -> Records:
    """The records as they stand; raises StateError where one is damaged."""
    rows = dict(connection.execute("SELECT name, value FROM meta WHERE name IN ('progress', 'shards')"))
    if "progress" not in rows:
        return Records()
    fields = unseal(directory, rows["progress"])
    batch = fields.pop("batch")
    snapshots = Snapshots.of_record(unseal(directory, rows["shards"])) if "shards" in rows else Snapshots()
    return Records(Progress(**{**fields, "feed": FeedPosition(**fields["feed"])}), batch, snapshots)


def restore(
    directory: Path, connection: sqlite3.Connection, *, state_size: int, window: int, begin: Callable[[int], State], apply: Apply
) -> Restored:
    """Everything that was committed; raises StateError when a block, a snapshot or a record is damaged or missing."""
    series, logged = LiveSeries(state_size, window=window), {}
    with told_of(directory):
        connection.execute("BEGIN")  # one view of the log and of what the snapshots are, whoever writes meanwhile
        records = read_records(directory, connection)
        snapshots, count = records.snapshots, records.progress.series
        series.add([""] * count, begin(count))
        for shard, (batch, checksum) in sorted(snapshots.shards.items(), key=lambda entry: entry[1][0]):  # the next to go first
            _read_snapshot(directory / snapshots.name(shard, batch), series, shard, checksum)
        follows = np.array([snapshots.follows(shard) for shard in range(shard_count(count))], dtype=np.int64)
        for block in blocks_after(directory, connection, int(follows.min(initial=records.batch)), upto=records.batch):
            series.ids[block.first_slot : block.first_slot + len(block.ids)] = block.ids
            is_new = follows[shard_of(block.slots)] < block.batch  # what the snapshot of its shard does not hold yet
            apply(series, block.slots[is_new], block.positions[is_new], block.values[is_new])
            logged[block.batch] = len(block.slots)
        connection.execute("COMMIT")
    series.slots = {unique_id: slot for slot, unique_id in enumerate(series.ids)}
    if len(series.slots) != count or "" in series.slots:
        raise damaged(directory, f"does not know the names of all of its {count} series")
    return Restored(series, records, logged)


def blocks_after(directory: Path, connection: sqlite3.Connection, batch: int, *, upto: int | None = None) -> Iterator[Block]:
    """The log from after a batch to its end, or to the batch that is named; raises StateError where it has a hole."""
    with told_of(directory):
        for number, data in connection.execute("SELECT batch, block FROM log WHERE batch > ? ORDER BY batch", (batch,)):
            try:
                block = unpack(data)
            except ValueError:
                raise damaged(directory, f"has a damaged block {number} in its log") from None
            batch += 1
            if number != batch or block.batch != batch:
                raise damaged(directory, f"lacks block {batch} of its log")
            yield block
    if upto is not None and batch != upto:
        raise damaged(directory, f"lacks block {batch + 1} of its log")


def remove_strays(directory: Path, snapshots: Snapshots) -> None:
    """Remove snapshots that a kill left before they were committed, or after they were replaced."""
    committed = snapshots.names()
    for path in directory.glob("shard-*"):
        if path.name not in committed:
            path.unlink(missing_ok=True)


def _read_snapshot(path: Path, series: LiveSeries, shard: int, checksum: int) -> None:
    try:
        read_shard(path, series, shard, checksum)
    except FileNotFoundError:
        raise damaged(path.parent, f"lacks its snapshot {path.name}") from None
    except ValueError:
        raise damaged(path.parent, f"has a damaged snapshot {path.name}") from None
