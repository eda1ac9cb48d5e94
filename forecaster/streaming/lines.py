"""The complete lines of a stream or a file, in batches."""

import os
import select
import time
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol

import orjson

from forecaster.streaming.arrivals import LONGEST_LINE, Fields, read_json_lines
from forecaster.streaming.intake import Intake

CHUNK_BYTES = 1 << 17
POLL_SECONDS = 0.1  # how soon a stop is noticed while the feed is silent


class ByteFeed(Protocol):
    """Bytes that come when they come."""

    def wait(self, seconds: float) -> bool:
        """Whether `read` has something to say, perhaps that the feed has ended; at most so many seconds later."""

    def read(self) -> bytes:
        """The next bytes; none at the end."""


class LineFormat(Protocol):
    """How a line is an observation."""

    def begin(self, line: bytes) -> None:
        """Take note of the first line of a feed, which is read as well."""

    def read(self, lines: Sequence[bytes], *, first_line: int) -> Fields:
        """What lines say."""

    def is_whole_line(self, line: bytes) -> bool:
        """Whether a last line that has no newline is whole."""


class JsonLines:
    """A JSON object a line."""

    def begin(self, line: bytes) -> None:
        """Nothing: the first line is like the others."""

    def read(self, lines: Sequence[bytes], *, first_line: int) -> Fields:
        """What lines say."""
        return read_json_lines(lines, first_line=first_line)

    def is_whole_line(self, line: bytes) -> bool:
        """Whether it is JSON."""
        try:
            orjson.loads(line)
        except orjson.JSONDecodeError:
            return False
        return True


class StreamBytes:
    """The bytes of a pipe, a terminal, or a stream in memory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        try:
            self._descriptor: int | None = stream.fileno()
        except (AttributeError, OSError):  # a stream in memory, which never makes anyone wait
            self._descriptor = None

    def wait(self, seconds: float) -> bool:
        """Whether there is something to read, or the stream has ended."""
        if self._descriptor is None:
            return True
        return bool(select.select([self._descriptor], [], [], seconds)[0])

    def read(self, most: int = CHUNK_BYTES) -> bytes:
        """What there is, `most` bytes of it; none at the end."""
        return self._stream.read(most) if self._descriptor is None else os.read(self._descriptor, most)


class OverlongLine(bytes):
    """The beginning of a line that was too long to keep; `size` bytes were there."""

    size = 0


class LineBatches:
    """The complete lines of a stream in batches: as many as there are when the stream pauses, and never a long wait.

    Only the first `LONGEST_LINE + 1` bytes of a line are kept, so that a stream without newlines does not fill the memory.
    Once iterated, `cut_off` holds the beginning of a line that never ended, and `has_ended` tells whether the feed did, or a stop
    was asked for. `form` takes note of the first line, and says whether a last one without a newline counts.
    """

    def __init__(self, stream: BinaryIO | ByteFeed, form: LineFormat, intake: Intake) -> None:
        self.cut_off, self.has_ended = b"", False
        self._feed: ByteFeed = stream if hasattr(stream, "wait") else StreamBytes(stream)
        self._max_batch = intake.max_batch
        self._max_latency = intake.max_latency_ms / 1000
        self._should_stop = intake.should_stop
        self._form = form
        self._has_begun = False
        self._lines: list[bytes] = []
        self._dropped = 0  # bytes of the line that is cut off, beyond those that are kept

    def __iter__(self) -> Iterator[list[bytes]]:
        deadline = 0.0
        while not self._should_stop():
            wait = max(0.0, deadline - time.monotonic()) if self._lines else POLL_SECONDS
            if self._feed.wait(min(wait, POLL_SECONDS)):
                chunk = self._feed.read()
                if not chunk:
                    self.has_ended = True
                    break
                if not self._lines:
                    deadline = time.monotonic() + self._max_latency
                self._cut(chunk)
            while len(self._lines) >= self._max_batch:
                yield self._take(self._max_batch)
            if self._lines and time.monotonic() >= deadline:
                yield self._take(len(self._lines))
        if self.has_ended and self._form.is_whole_line(self.cut_off):
            self._lines.append(self.cut_off)
            self.cut_off = b""
        while self._lines:
            yield self._take(self._max_batch)

    def _cut(self, chunk: bytes) -> None:
        first, *others = chunk.split(b"\n")
        whole = [self.cut_off + first, *others]
        size = len(whole[0]) + self._dropped
        if size > LONGEST_LINE:
            overlong = OverlongLine(whole[0][: LONGEST_LINE + 1])
            overlong.size = size
            whole[0] = overlong
        self.cut_off = whole.pop()
        self._dropped = size - len(self.cut_off) if not whole else 0
        self._lines.extend(whole)
        if whole and not self._has_begun:
            self._has_begun = True
            self._form.begin(whole[0])

    def _take(self, count: int) -> list[bytes]:
        batch, self._lines = self._lines[:count], self._lines[count:]
        return batch


def joined(lines: list[bytes]) -> bytes:
    """Lines as they came, as far as they were kept."""
    return b"\n".join(lines) + b"\n"


def size_of(lines: list[bytes]) -> int:
    """How many bytes lines took up in their feed, newlines included."""
    size = sum(map(len, lines)) + len(lines)
    return size + sum(line.size - len(line) for line in lines if type(line) is OverlongLine)
