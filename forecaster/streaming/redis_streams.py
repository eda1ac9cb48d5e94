"""A Redis stream as a feed, and as a place for forecasts.

An entry of a feed has the field `json`, an observation as a line of NDJSON, or the fields unique_id, ds and y. The position is
kept by our own store, not by a consumer group: it is the id of the last entry taken in.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import orjson

from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import Arrivals, place, read_json_lines
from forecaster.streaming.arrivals_csv import MISSING, NUMBER, STEP
from forecaster.streaming.brokers import (
    another_feed,
    dropped_feed,
    missing_library,
    no_stream,
    others_write,
    shorter_feed,
    told,
    unreadable,
    unwritable,
)
from forecaster.streaming.dates import Dates
from forecaster.streaming.intake import Intake
from forecaster.streaming.labels import Labels
from forecaster.streaming.lines import POLL_SECONDS, joined
from forecaster.streaming.live import FeedPosition, LiveForecast
from forecaster.streaming.sinks import json_lines

KIND = "redis"
BEGINNING = "0-0"


def read_redis(spec: str, frequency: Frequency, intake: Intake, *, follow: bool = True) -> Iterator[Arrivals]:
    """Micro-batches of the entries of `redis://HOST:PORT/STREAM`, from behind the one that was committed.

    Without `follow`, it ends with the last entry there is. Lines count entries. Raises StateError when the state took in another
    feed or entries behind it were deleted, DataError when the server cannot be asked.
    """
    redis, client, stream = _connect(spec)
    at, passed = last_entry(intake.committed, stream)
    seen, dates = intake.committed, Dates(frequency, floored=intake.floored)
    try:
        passed = _check_kept(redis, client, stream, at, passed)
        while not intake.should_stop():
            entries = _entries(client, stream, at, intake)
            if entries:
                at, passed = entries[-1][0].decode(), passed + len(entries)
                lines = [_line(fields, frequency) for _, fields in entries]
                first_line = seen.lines + 1
                after = seen.after(joined(lines), lines=len(lines))
                seen = replace(after, offset=seen.offset, token=f"{KIND}:{stream}:{at}:{passed}")
                fields = read_json_lines(lines, first_line=first_line)
                yield place(fields, lines, dates, first_line=first_line, feed=seen)
            elif not follow:
                return
    except redis.exceptions.RedisError as error:
        raise unreadable(spec, told(error)) from error
    finally:
        client.close()


def last_entry(committed: FeedPosition, stream: str) -> tuple[str, int]:
    """The entry behind which to go on, and how many there were up to it; raises StateError for another feed."""
    if not committed.token:
        return BEGINNING, 0
    name, entry, passed = committed.token.rsplit(":", 2)
    if name != f"{KIND}:{stream}":
        raise another_feed(name, f"the Redis stream {stream!r}")
    return entry, int(passed)


def _entries(client: Any, stream: str, at: str, intake: Intake) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries after `at`: those that are there, and what comes within the latency."""
    entries: list[tuple[bytes, dict[bytes, bytes]]] = []
    wait, deadline = POLL_SECONDS, 0.0
    while len(entries) < intake.max_batch and not intake.should_stop():
        block = max(1, int(min(wait, POLL_SECONDS) * 1000))
        found = client.xread({stream: entries[-1][0] if entries else at}, count=intake.max_batch - len(entries), block=block)
        if found:
            deadline = deadline or time.monotonic() + intake.max_latency_ms / 1000
            entries += (found[0] if isinstance(found, list) else next(iter(found.items())))[1]
        wait = deadline - time.monotonic()
        if wait <= 0:
            break
    return entries


def _check_kept(redis: ModuleType, client: Any, stream: str, at: str, passed: int) -> int:
    """How many entries there were up to `at`; StateError when the stream is another one by now, or has lost entries behind it."""
    try:
        info = client.xinfo_stream(stream)
    except redis.exceptions.ResponseError:  # no such stream, yet
        return passed
    lost = int(info.get("entries-added", 0)) - int(info["length"])  # before Redis 7, nobody counts
    if at == BEGINNING:
        return max(lost, 0)
    last, first = _text(info["last-generated-id"]), info.get("first-entry")
    if _order(last) < _order(at):
        raise shorter_feed(f"the Redis stream {stream!r}", f"ends with entry {last}, and the state took in {at}")
    is_gone = first is None or _order(_text(first[0])) > _order(at)
    if is_gone and lost > passed:
        found = f"has dropped {lost:,} entries, and the state took in {passed:,}, up to {at}"
        raise dropped_feed(f"the Redis stream {stream!r}", found)
    return passed


def _line(fields: dict[bytes, bytes], frequency: Frequency) -> bytes:
    """An entry as a line of JSON."""
    if b"json" in fields:
        return fields[b"json"]
    cells: dict[str, object] = {name.decode(errors="replace"): text.decode(errors="replace") for name, text in fields.items()}
    y, ds = str(cells.get("y", "")).strip(), str(cells.get("ds", "")).strip()
    if y in MISSING:
        cells["y"] = None
    elif NUMBER.fullmatch(y):
        cells["y"] = float(y)
    if frequency.is_numbered and STEP.fullmatch(ds):
        cells["ds"] = int(ds)
    return orjson.dumps(cells)


# -- forecasts ---------------------------------------------------------------------------------------------------------------


class RedisSink:
    """Forecasts as entries of a Redis stream: each once, as long as nobody else writes to it and the server keeps what it took.

    An entry has the field `json`, the line that NDJSON would have, and the id `N-0`: it is the N-th forecast of this state. What
    was emitted, but not committed when the process was killed, is emitted again with the same number, and passed over where it
    is there already. So forecasts are emitted before the commit, and `length` counts them.

    Raises StateError when the stream holds something else, or cannot be written to.
    """

    is_cut_back = False
    is_repeatable = True

    def __init__(self, spec: str, frequency: Frequency, *, committed: int = 0) -> None:
        self._spec = spec
        self._redis, self._client, self._stream = _connect(spec)
        self._labels = Labels(frequency)
        self.length = committed
        try:
            self._top = self._last_number()
        except self._redis.exceptions.RedisError as error:
            raise unwritable(self._spec, told(error)) from error

    def emit(self, live: LiveForecast) -> None:
        """Add the forecasts; raises StateError when the server refuses."""
        if not len(live):
            return
        lines = [line.rstrip(b"\n") for line in json_lines(live, self._labels)]
        numbers = range(self.length + 1, self.length + 1 + len(lines))
        try:
            pipeline = self._client.pipeline(transaction=False)
            for number, line in zip(numbers, lines, strict=True):
                if number <= self._top:
                    self._check_same(number, line)
                else:
                    pipeline.xadd(self._stream, {"json": line}, id=f"{number}-0")
            pipeline.execute()
        except self._redis.exceptions.RedisError as error:
            raise unwritable(self._spec, told(error)) from error
        self.length += len(lines)

    def sync(self) -> None:
        """Nothing: an entry was taken when the server answered; how durable it is, the server's `appendfsync` decides."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _last_number(self) -> int:
        try:
            info = self._client.xinfo_stream(self._stream)
        except self._redis.exceptions.ResponseError:  # no such stream, yet
            return 0
        return _order(_text(info["last-generated-id"]))[0]

    def _check_same(self, number: int, line: bytes) -> None:
        found = self._client.xrange(self._stream, f"{number}-0", f"{number}-0")
        if not found or found[0][1].get(b"json") != line:
            raise others_write(f"the Redis stream {self._stream!r}", number)


# -- the server --------------------------------------------------------------------------------------------------------------


def _connect(spec: str) -> tuple[ModuleType, Any, str]:
    """The library, a client, and the name of the stream; the address may end in a database and the stream, `/0/STREAM`."""
    try:
        import redis
    except ImportError:
        raise missing_library("redis") from None
    parts = urlsplit(spec)
    database, _, stream = parts.path.strip("/").rpartition("/")
    if not parts.hostname or not stream or not (database or "0").isdigit():
        raise no_stream(spec, "stream")
    address = urlunsplit((parts.scheme, parts.netloc, f"/{database or 0}", parts.query, ""))
    return redis, redis.Redis.from_url(address, socket_connect_timeout=10), stream


def _order(entry: str) -> tuple[int, int]:
    first, _, second = entry.partition("-")
    return int(first), int(second or 0)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
