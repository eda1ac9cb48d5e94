"""Tables as feeds: an Arrow IPC stream as it comes, an Arrow or a Parquet file again, perhaps at its own pace.

Lines count rows. In a file, the offset of a feed's position counts rows too.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from forecaster.errors import ConfigError, DataError
from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import Arrivals, nothing
from forecaster.streaming.arrivals_arrow import COLUMNS, ArrowRows
from forecaster.streaming.committed import begin_at, check_end, check_passed
from forecaster.streaming.follow import FeedFile, another_file
from forecaster.streaming.lateness import Arrival, DeadLetter
from forecaster.streaming.lines import POLL_SECONDS, StreamBytes
from forecaster.streaming.live import FeedPosition
from forecaster.streaming.replay import Pace

ARROW_FILE = b"ARROW1"
ARRIVED = "arrival"  # the column of a replayed table that says when a row came, where that is known
DAMAGES = (
    pa.ArrowException,
    OSError,
    MemoryError,
    OverflowError,
)  # what pyarrow raises over bytes that are not as they should be
Stop = Callable[[], bool]
Batches = Iterator[pa.RecordBatch]


class _StoppedError(Exception):
    """A stop was asked for within a message."""


class PatientBytes:
    """The bytes of a stream, waited for; a stop is noticed while it is silent."""

    closed = False

    def __init__(self, stream: BinaryIO, *, should_stop: Stop) -> None:
        self.feed = StreamBytes(stream)
        self._should_stop = should_stop

    def read(self, count: int = -1) -> bytes:
        """So many bytes, fewer only at the end."""
        parts: list[bytes] = []
        while count > 0:
            if self._should_stop():
                raise _StoppedError
            if self.feed.wait(POLL_SECONDS):
                parts.append(self.feed.read(count))
                if not parts[-1]:
                    break
                count -= len(parts[-1])
        return b"".join(parts)

    def flush(self) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing: whoever opened the stream closes it."""


# -- as it comes -------------------------------------------------------------------------------------------------------------


def read_arrow(
    stream: BinaryIO,
    frequency: Frequency,
    *,
    max_batch: int,
    max_latency_ms: float = 0.0,
    committed: FeedPosition = FeedPosition(),  # noqa: B008 - frozen
    is_whole: bool = False,
    should_stop: Stop = lambda: False,
) -> Iterator[Arrivals]:
    """Micro-batches of at most `max_batch` rows of an Arrow IPC stream, each yielded `max_latency_ms` after its first row came.

    A whole feed is passed over up to `committed`; StateError is raised when those rows are not the ones that were taken in. A
    record batch that is cut off or damaged becomes a dead letter, and ends the feed. Raises DataError when the stream is none of
    Arrow's, or lacks a column.
    """
    source = PatientBytes(stream, should_stop=should_stop)
    try:
        reader = pa.ipc.open_stream(pa.PythonFile(source, mode="r"))
    except _StoppedError:
        return
    except DAMAGES as error:
        raise _no_arrow("the feed", error) from error
    rows, seen, row = ArrowRows(reader.schema, frequency), begin_at(committed, is_whole=is_whole), 1
    batches = _as_they_come(reader, source, max_batch=max_batch, max_latency_ms=max_latency_ms, should_stop=should_stop)
    try:
        for batch in batches:
            passed = min(max(committed.lines - seen.lines, 0), len(batch))
            if passed:
                seen = rows.read(batch.slice(0, passed), first_line=row, feed=seen).feed
                check_passed(seen, committed)
            if passed < len(batch):
                arrivals = rows.read(batch.slice(passed), first_line=row + passed, feed=seen)
                seen = arrivals.feed
                yield arrivals
            row += len(batch)
    except (*DAMAGES, _StoppedError) as error:
        yield _ends_within(row, seen, error)
        return
    if not should_stop():
        check_end(seen, committed)


def _as_they_come(
    reader: pa.RecordBatchReader, source: PatientBytes, *, max_batch: int, max_latency_ms: float, should_stop: Stop
) -> Batches:
    """Record batches cut and joined to at most `max_batch` rows; none waits for long. What came before a fault comes first."""
    pending: list[pa.RecordBatch] = []
    deadline, fault = 0.0, None
    while fault is None and not should_stop():
        wait = max(0.0, deadline - time.monotonic()) if pending else POLL_SECONDS
        if source.feed.wait(min(wait, POLL_SECONDS)):
            if not pending:
                deadline = time.monotonic() + max_latency_ms / 1000
            try:
                pending.append(reader.read_next_batch())
            except StopIteration:
                break
            except (*DAMAGES, _StoppedError) as error:
                fault = error
        yield from _cut(pending, max_batch)
        if pending and time.monotonic() >= deadline:
            yield _join(pending)
            pending = []
    if sum(map(len, pending)):
        yield _join(pending)
    if fault is not None:
        raise fault


def _cut(pending: list[pa.RecordBatch], size: int) -> Batches:
    """Full cuts off the front of what is pending, which keeps the rest."""
    while sum(map(len, pending)) >= size:
        if len(pending[0]) < size:
            pending[:] = [_join(pending)]
        yield pending[0].slice(0, size)
        rest = pending[0].slice(size)
        pending[:1] = [rest] if len(rest) else []


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    whole = pa.Table.from_batches(batches).combine_chunks().to_batches()
    assert len(whole) == 1, "rows of a micro-batch fit into one record batch"
    return whole[0]


# -- from a file -------------------------------------------------------------------------------------------------------------


def read_table(
    path: Path,
    frequency: Frequency,
    *,
    is_parquet: bool,
    max_batch: int,
    speed: float | None = None,
    committed: FeedPosition = FeedPosition(),  # noqa: B008 - frozen
    is_another: bool = False,
    should_stop: Stop = lambda: False,
) -> Iterator[Arrivals]:
    """Micro-batches of an Arrow or Parquet file, from the row where it was left.

    Arrow comes in the order of its rows; Parquet, and anything with a `speed`, in the order of the column `arrival` where there
    is one and of ds otherwise, equals in the order of their rows. With `speed`, what happened at one moment comes that many times
    as fast as it did. Raises StateError when the file is another one than the state knows, unless `is_another`, DataError when it
    is no such file, or lacks a column, ConfigError when there is no pace.
    """
    with FeedFile(path) as file:
        if is_another or not committed.token:
            skipped = 0
        elif file.is_it(committed):
            skipped = committed.offset
        else:
            raise another_file(path, committed)
        seen = replace(committed, offset=skipped, token=file.token())
    schema, batches = _parquet(path) if is_parquet else _arrow(path)
    if is_parquet or speed is not None:
        batches = _in_time(pa.Table.from_batches(batches, schema), skipped, speed, frequency, should_stop=should_stop)
        skipped = 0
    rows = ArrowRows(schema, frequency)
    try:
        for batch in _from(batches, skipped, max_batch, is_cut_already=speed is not None):
            if should_stop():
                return
            arrivals = rows.read(batch, first_line=seen.lines + 1, feed=seen)
            seen = replace(arrivals.feed, offset=seen.offset + len(batch))
            yield replace(arrivals, feed=seen)
    except DAMAGES as error:
        yield _ends_within(seen.lines + 1, seen, error)


def _arrow(path: Path) -> tuple[pa.Schema, Batches]:
    try:
        source = pa.OSFile(str(path))
        is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
        source.seek(0)
        if not is_file:
            reader = pa.ipc.open_stream(source)
            return reader.schema, iter(reader)
        whole = pa.ipc.open_file(source)
        return whole.schema, (whole.get_batch(n) for n in range(whole.num_record_batches))
    except DAMAGES as error:
        raise _no_arrow(str(path), error) from error


def _parquet(path: Path) -> tuple[pa.Schema, Batches]:
    try:
        names = pyarrow.parquet.read_schema(path).names
        table = pyarrow.parquet.read_table(path, columns=[name for name in (*COLUMNS, ARRIVED) if name in names])
    except DAMAGES as error:
        raise DataError(f"{path} is not Parquet ({_first_line(error)}). Name a Parquet file, or say what it is.") from error
    return table.schema, iter(table.combine_chunks().to_batches())


def _from(batches: Batches, skipped: int, size: int, *, is_cut_already: bool) -> Batches:
    """The batches behind so many rows, cut to `size`, or as they are where they keep a pace."""
    pending: list[pa.RecordBatch] = []
    for batch in batches:
        left = batch.slice(min(skipped, len(batch)))
        skipped -= len(batch) - len(left)
        if len(left):
            pending.append(left)
            yield from _cut(pending, size)
        if is_cut_already and pending:
            yield _join(pending)
            pending = []
    if pending:
        yield _join(pending)


def _in_time(table: pa.Table, skipped: int, speed: float | None, frequency: Frequency, *, should_stop: Stop) -> Batches:
    """The rows of a table in the order of time, those of one moment together where they keep a pace."""
    clock = ARRIVED if ARRIVED in table.column_names else "ds"
    if clock in table.column_names:
        table = table.take(pc.sort_indices(table, sort_keys=[(clock, "ascending")]))
    table = table.slice(skipped).combine_chunks()
    if speed is None:
        yield from table.to_batches()
        return
    if frequency.is_numbered:
        raise ConfigError("--speed needs dates, and this panel counts steps. Leave it out, to replay as fast as possible.")
    try:
        moments = table[clock].cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy()
    except (pa.ArrowException, KeyError) as error:
        raise DataError(f"{clock} holds no times ({_first_line(error)}). Replay the file without --speed.") from error
    pace = Pace(speed, should_stop=should_stop)
    edges = [0, *(np.flatnonzero(np.diff(moments)) + 1).tolist(), len(moments)] if len(moments) else []
    for first, stop in pairwise(edges):
        if not pace.wait(int(moments[first])):
            return
        yield from table.slice(first, stop - first).to_batches()


# -- what is no table --------------------------------------------------------------------------------------------------------


def _ends_within(row: int, seen: FeedPosition, error: Exception) -> Arrivals:
    told = f" ({_first_line(error)})" if str(error) else ""
    reason = f"the feed ends within the record batch that begins here, or it is damaged{told}. Send it again from here."
    return nothing((DeadLetter(row, Arrival.MALFORMED, reason, b""),), seen)


def _no_arrow(name: str, error: Exception) -> DataError:
    return DataError(f"{name} is no Arrow IPC stream ({_first_line(error)}). Send one, or say with --format what it is.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
