"""An Arrow IPC stream as a feed, taken in as it comes. Lines count rows."""

import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa

from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import Arrivals, nothing
from forecaster.streaming.arrivals_arrow import ArrowRows
from forecaster.streaming.committed import begin_at, check_end, check_passed
from forecaster.streaming.intake import Intake
from forecaster.streaming.lateness import Arrival, DeadLetter
from forecaster.streaming.lines import POLL_SECONDS, StreamBytes
from forecaster.streaming.live import FeedPosition

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
        self._next = b""

    def has_more(self) -> bool:
        """Whether anything follows; waits until that is known."""
        self._next = self._next or self.read(1)
        return bool(self._next)

    def read(self, count: int = -1) -> bytes:
        """So many bytes, fewer only at the end."""
        parts, self._next = [self._next], b""
        count -= len(parts[0])
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


def read_arrow(stream: BinaryIO, frequency: Frequency, intake: Intake, *, is_whole: bool = False) -> Iterator[Arrivals]:
    """Micro-batches of the rows of an Arrow IPC stream.

    A whole feed is passed over up to what was committed; StateError is raised when those rows are not the ones that were taken
    in. A record batch that is cut off or damaged becomes a dead letter, and ends the feed. Raises DataError when the stream is
    none of Arrow's, or lacks a column.
    """
    committed, source = intake.committed, PatientBytes(stream, should_stop=intake.should_stop)
    try:
        reader = _open(source)
    except _StoppedError:
        return
    except DAMAGES as error:
        raise no_arrow("the feed", error) from error
    rows, seen, row = ArrowRows(reader.schema, frequency, floored=intake.floored), begin_at(committed, is_whole=is_whole), 1
    try:
        for batch in _as_they_come(reader, source, intake):
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
        yield ends_within(row, seen, error)
        return
    if not intake.should_stop():
        check_end(seen, committed)


def _as_they_come(reader: pa.RecordBatchReader, source: PatientBytes, intake: Intake) -> Batches:
    """Record batches cut and joined to at most `max_batch` rows; none waits for long. What came before a fault comes first."""
    pending, schema, deadline = Pending(intake.max_batch), reader.schema, 0.0
    fault: BaseException | None = None
    while fault is None and not intake.should_stop():
        wait = max(0.0, deadline - time.monotonic()) if pending.rows else POLL_SECONDS
        if source.feed.wait(min(wait, POLL_SECONDS)):
            if not pending.rows:
                deadline = time.monotonic() + intake.max_latency_ms / 1000
            try:
                pending.add(reader.read_next_batch())
            except StopIteration:  # another stream may follow
                yield from pending.rest()
                try:
                    if not source.has_more():
                        return
                    reader = _open(source)
                    if not reader.schema.equals(schema):
                        raise pa.ArrowInvalid("another stream follows, of another schema")
                except (*DAMAGES, _StoppedError) as error:
                    fault = error
            except (*DAMAGES, _StoppedError) as error:
                fault = error
        yield from pending.full()
        if time.monotonic() >= deadline:
            yield from pending.rest()
    yield from pending.rest()
    if fault is not None:
        raise fault


def _open(source: PatientBytes) -> pa.RecordBatchReader:
    return pa.ipc.open_stream(pa.PythonFile(source, mode="r"))


class Pending:
    """Record batches that wait to be cut, and joined, to `size` rows."""

    def __init__(self, size: int) -> None:
        self.rows = 0
        self._size = size
        self._batches: list[pa.RecordBatch] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Wait with the others."""
        if len(batch):
            self._batches.append(batch)
            self.rows += len(batch)

    def full(self) -> Batches:
        """What can be cut to the full size."""
        while self.rows >= self._size:
            if len(self._batches[0]) < self._size:
                self._batches = [_join(self._batches)]
            first, left = self._batches[0].slice(0, self._size), self._batches[0].slice(self._size)
            self._batches[:1] = [left] if len(left) else []
            self.rows -= len(first)
            yield first

    def rest(self) -> Batches:
        """What is left."""
        batches, self._batches, self.rows = self._batches, [], 0
        if batches:
            yield _join(batches)


def _join(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    whole = pa.Table.from_batches(batches).combine_chunks().to_batches()
    assert len(whole) == 1, "rows of a micro-batch fit into one record batch"
    return whole[0]


# -- what is no table ------------------------------------------------------------------------------------------------------


def ends_within(row: int, seen: FeedPosition, error: Exception) -> Arrivals:
    """A dead letter for what came behind the last row that could be read."""
    told = f" ({first_line_of(error)})" if str(error) else ""
    reason = f"the feed ends within the record batch that begins here, or it is damaged{told}. Send it again from here."
    return nothing((DeadLetter(row, Arrival.MALFORMED, reason, b""),), seen)


def no_arrow(name: str, error: Exception) -> DataError:
    """What to say of a feed that is not Arrow's."""
    return DataError(f"{name} is no Arrow IPC stream ({first_line_of(error)}). Send one, or say with --format what it is.")


def first_line_of(error: Exception) -> str:
    """What pyarrow says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
