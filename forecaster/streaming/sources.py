"""Where observations come from: lines on a stream, or a stored panel again.

A source yields micro-batches and says with each how far the feed was taken in. A feed that is *whole* is given from its
beginning each time: what was committed is then passed over, after a checksum has shown that it is the same feed.
"""

import os
import select
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.series import Panel
from forecaster.streaming.arrivals import LONGEST_LINE, Arrivals, read_arrivals
from forecaster.streaming.labels import Labels
from forecaster.streaming.lateness import Arrival, DeadLetter
from forecaster.streaming.live import FeedPosition

CHUNK_BYTES = 1 << 16
POLL_SECONDS = 0.1  # how soon a stop is noticed while the feed is silent
ROW = np.dtype([("series", "<i8"), ("position", "<i8"), ("y", "<f8")])


def never() -> bool:
    """A stop flag that is not set."""
    return False


# -- lines on a stream -------------------------------------------------------------------------------------------------------


def read_ndjson(
    stream: BinaryIO,
    frequency: Frequency,
    *,
    max_batch: int,
    max_latency_ms: float = 0.0,
    committed: FeedPosition = FeedPosition(),  # noqa: B008 - frozen
    is_whole: bool = False,
    should_stop: Callable[[], bool] = never,
) -> Iterator[Arrivals]:
    """Micro-batches of at most `max_batch` lines, each yielded `max_latency_ms` after its first line at the latest.

    A whole feed is passed over up to `committed`; StateError is raised when those lines are not the ones that were taken in.
    A last line without a newline is read; one that is cut off in the middle becomes a dead letter and does not count as taken
    in, so that the feed can be sent again with the line complete.
    """
    lines = LineBatches(stream, max_batch=max_batch, max_latency_ms=max_latency_ms, should_stop=should_stop)
    seen, first_line = FeedPosition() if is_whole else committed, 1
    for batch in lines:
        passed = min(max(committed.lines - seen.lines, 0), len(batch))
        if passed:
            seen = seen.after(_joined(batch[:passed]), lines=passed)
            _check_passed(seen, committed)
        rest = batch[passed:]
        if rest:
            seen = seen.after(_joined(rest), lines=len(rest))
            yield read_arrivals(rest, frequency, first_line=first_line + passed, feed=seen)
        first_line += len(batch)
    if not should_stop():
        _check_end(seen, committed)
    if lines.cut_off.strip() and seen.lines >= committed.lines:
        letter = DeadLetter(first_line, Arrival.MALFORMED, "the feed ends within this line. Send it again.", lines.cut_off)
        yield _without_observations((letter,), seen)


class LineBatches:
    """The complete lines of a stream in batches: as many as there are when the stream pauses, and never a long wait.

    Only the first `LONGEST_LINE + 1` bytes of a line are kept, so that a stream without newlines does not fill the memory.
    Once iterated, `cut_off` holds the beginning of a line that never ended.
    """

    def __init__(self, stream: BinaryIO, *, max_batch: int, max_latency_ms: float, should_stop: Callable[[], bool]) -> None:
        self.cut_off = b""
        self._stream = stream
        self._descriptor = _descriptor_of(stream)
        self._max_batch = max_batch
        self._max_latency = max_latency_ms / 1000
        self._should_stop = should_stop
        self._lines: list[bytes] = []

    def __iter__(self) -> Iterator[list[bytes]]:
        deadline = 0.0
        while not self._should_stop():
            wait = max(0.0, deadline - time.monotonic()) if self._lines else POLL_SECONDS
            if self._is_ready(wait):
                chunk = self._read()
                if not chunk:
                    break
                if not self._lines:
                    deadline = time.monotonic() + self._max_latency
                self._cut(chunk)
            while len(self._lines) >= self._max_batch:
                yield self._take(self._max_batch)
            if self._lines and time.monotonic() >= deadline:
                yield self._take(len(self._lines))
        if _is_json(self.cut_off):
            self._lines.append(self.cut_off)
            self.cut_off = b""
        while self._lines:
            yield self._take(self._max_batch)

    def _is_ready(self, wait: float) -> bool:
        if self._descriptor is None:
            return True
        ready, _, _ = select.select([self._descriptor], [], [], min(wait, POLL_SECONDS))
        return bool(ready)

    def _read(self) -> bytes:
        return self._stream.read(CHUNK_BYTES) if self._descriptor is None else os.read(self._descriptor, CHUNK_BYTES)

    def _cut(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        whole = [(self.cut_off + first)[: LONGEST_LINE + 1], *others]
        self.cut_off = whole.pop()
        self._lines.extend(whole)

    def _take(self, count: int) -> list[bytes]:
        batch, self._lines = self._lines[:count], self._lines[count:]
        return batch


def _descriptor_of(stream: BinaryIO) -> int | None:
    try:
        return stream.fileno()
    except (AttributeError, OSError):  # a stream in memory, which never makes anyone wait
        return None


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def _joined(lines: list[bytes]) -> bytes:
    return b"\n".join(lines) + b"\n"


# -- a panel again -----------------------------------------------------------------------------------------------------------


def replay(
    panel: Panel,
    start: int | None = None,
    *,
    max_batch: int | None = None,
    committed: FeedPosition = FeedPosition(),  # noqa: B008 - frozen
    is_whole: bool = False,
    should_stop: Callable[[], bool] = never,
) -> Iterator[Arrivals]:
    """The panel's values from position `start` on in the order of time, missing ones too, series in the order of their ids.

    A micro-batch is one position of all series, or `max_batch` values. Lines count values; a whole panel is passed over like
    a whole feed.
    """
    rows = _rows_in_time(panel, start)
    seen = FeedPosition() if is_whole else committed
    offset = committed.lines - seen.lines
    if offset:
        seen = seen.after(rows[:offset].tobytes(), lines=min(offset, len(rows)))
        _check_end(seen, committed)
        _check_passed(seen, committed)
    labels = Labels(panel.frequency)
    for first, stop in _batches(rows, offset, max_batch):
        if should_stop():
            return
        batch = rows[first:stop]
        seen = seen.after(batch.tobytes(), lines=len(batch))
        yield _replayed(panel, batch, first, feed=seen, labels=labels)


def _rows_in_time(panel: Panel, start: int | None) -> NDArray[np.void]:
    rows = np.empty(len(panel.values), ROW)
    rows["series"] = np.repeat(np.arange(len(panel)), panel.lengths)
    rows["position"] = np.arange(len(rows)) + (panel.starts - panel.offsets[:-1])[rows["series"]]
    rows["y"] = panel.values
    rows = rows[np.argsort(rows["position"], kind="stable")]
    return rows if start is None else rows[rows["position"] >= start]


def _batches(rows: NDArray[np.void], offset: int, max_batch: int | None) -> Iterator[tuple[int, int]]:
    if max_batch is None:
        cuts = np.flatnonzero(np.diff(rows["position"])) + 1
        edges = [offset, *cuts[cuts > offset].tolist(), len(rows)]
    else:
        edges = [*range(offset, len(rows), max_batch), len(rows)]
    yield from ((first, stop) for first, stop in pairwise(edges) if first < stop)


def _replayed(panel: Panel, batch: NDArray[np.void], first: int, *, feed: FeedPosition, labels: Labels) -> Arrivals:
    def original(i: int) -> bytes:
        label = labels.read(batch["position"][i : i + 1])[0]
        return orjson.dumps({"unique_id": panel.ids[batch["series"][i]], "ds": label, "y": float(batch["y"][i])})

    return Arrivals(
        ids=[panel.ids[b] for b in batch["series"].tolist()],
        positions=batch["position"].copy(),
        values=batch["y"].copy(),
        lines=np.arange(first + 1, first + 1 + len(batch)),
        rejected=(),
        feed=feed,
        original=original,
    )


# -- a feed that was taken in before -----------------------------------------------------------------------------------------


def _check_passed(seen: FeedPosition, committed: FeedPosition) -> None:
    if seen.lines == committed.lines and seen != committed:
        raise StateError(
            f"the first {committed.lines:,} lines of this feed are not those that the state took in; expected the same feed "
            "from its beginning. Send only what is new, and do not declare the feed whole."
        )


def _check_end(seen: FeedPosition, committed: FeedPosition) -> None:
    if seen.lines < committed.lines:
        raise StateError(
            f"this feed ends at line {seen.lines:,}, and the state took in {committed.lines:,}; expected the same feed from its "
            "beginning. Send only what is new, and do not declare the feed whole."
        )


def _without_observations(letters: tuple[DeadLetter, ...], feed: FeedPosition) -> Arrivals:
    nothing = np.empty(0, np.int64)
    return Arrivals((), nothing, np.empty(0), nothing, letters, feed, original=lambda _: b"")
