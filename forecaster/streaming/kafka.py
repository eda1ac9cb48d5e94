"""A Kafka topic as a feed, and as a place for forecasts.

A message of a feed is an observation as a line of NDJSON. The position is kept by our own store, not by a consumer group: it is
the next offset of every partition.
"""

import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

from forecaster.errors import DataError, StateError
from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import Arrivals, place, read_json_lines
from forecaster.streaming.brokers import (
    address_of,
    another_feed,
    dropped_feed,
    missing_library,
    next_messages,
    others_write,
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

KIND = "kafka"
NUMBER = "number"  # the header that counts the forecasts of a state
PATIENCE_SECONDS = 20.0  # how long a broker may take to answer
MOST_REPEATED = 1_000_000  # forecasts of one micro-batch, at most: no other is emitted again
SETTINGS = {"client.id": "forecaster", "log_level": 0}


def read_kafka(spec: str, frequency: Frequency, intake: Intake, *, follow: bool = True) -> Iterator[Arrivals]:
    """Micro-batches of the messages of `kafka://HOST:PORT/TOPIC`, each partition from where it was committed.

    Without `follow`, it ends with the last messages there are. Lines count messages. Raises StateError when the state took in
    another feed or messages that were not taken in are gone, DataError when the broker cannot be asked.
    """
    kafka, servers, topic = _address(spec)
    offsets = committed_offsets(intake.committed, topic)
    consumer = _consumer(kafka, servers)
    seen, dates = intake.committed, Dates(frequency, floored=intake.floored)
    try:
        open_parts = _assign(kafka, consumer, topic, offsets)
        while not intake.should_stop() and (follow or open_parts):
            found = next_messages(consumer.consume, intake)
            messages = [message for message in found if not _is_end(kafka, message, topic)]
            open_parts -= {message.partition() for message in found if message.error() is not None}
            if not messages:
                continue
            for message in messages:
                offsets[message.partition()] = message.offset() + 1
            lines = [message.value() or b"null" for message in messages]
            first_line = seen.lines + 1
            after = seen.after(joined(lines), lines=len(lines))
            seen = replace(after, offset=seen.offset, token=_token(topic, offsets))
            fields = read_json_lines(lines, first_line=first_line)
            yield place(fields, lines, dates, first_line=first_line, feed=seen)
    except kafka.KafkaException as error:
        raise unreadable(spec, told(error)) from error
    finally:
        consumer.close()


def committed_offsets(committed: FeedPosition, topic: str) -> dict[int, int]:
    """The next offset of every partition of which something was taken in; raises StateError for another feed.

    >>> committed_offsets(FeedPosition(9, token="kafka:loads:0=4,2=5"), "loads")
    {0: 4, 2: 5}
    """
    if not committed.token:
        return {}
    name, _, parts = committed.token.rpartition(":")
    if name != f"{KIND}:{topic}":
        raise another_feed(name, f"the Kafka topic {topic!r}")
    pairs = (part.split("=") for part in parts.split(","))
    return {int(part): int(offset) for part, offset in pairs}


def _token(topic: str, offsets: dict[int, int]) -> str:
    return f"{KIND}:{topic}:" + ",".join(f"{part}={offset}" for part, offset in sorted(offsets.items()))


def _assign(kafka: ModuleType, consumer: Any, topic: str, offsets: dict[int, int]) -> set[int]:
    """Begin every partition where it was left, and return them; StateError when something behind that is gone."""
    parts = _partitions(kafka, consumer, topic)
    for part in parts:
        low, _ = consumer.get_watermark_offsets(kafka.TopicPartition(topic, part), timeout=PATIENCE_SECONDS)
        if offsets.setdefault(part, low) < low:
            raise _gone(topic, part, f"begins with offset {low:,}, and the state took in those before {offsets[part]:,}")
    consumer.assign([kafka.TopicPartition(topic, part, offsets[part]) for part in parts])
    return set(parts)


def _gone(topic: str, part: int, found: str) -> StateError:
    return dropped_feed(f"partition {part} of the Kafka topic {topic!r}", found)


def _is_end(kafka: ModuleType, message: Any, topic: str) -> bool:
    """Whether it is no message, but the end of its partition; raises when it is an error."""
    error = message.error()
    if error is None:
        return False
    if error.code() == kafka.KafkaError._PARTITION_EOF:
        return True
    if error.code() == kafka.KafkaError._AUTO_OFFSET_RESET:
        raise _gone(topic, message.partition(), "does not reach to where the state left it")
    raise kafka.KafkaException(error)


# -- forecasts ---------------------------------------------------------------------------------------------------------------


class KafkaSink:
    """Forecasts as messages of a Kafka topic: each once, as long as nobody else writes to it and the brokers keep what they took.

    A message has the id of the series as its key, the line that NDJSON would have as its value, and a header `number`: it is the
    N-th forecast of this state. Those of one series lie in one partition, in order. What was emitted, but not committed when the
    process was killed, is emitted again with the same number, and passed over where it is there already; a reader can tell
    a repeat all the same: in a partition, numbers rise. So forecasts are emitted before the commit, and `length` counts them.

    Raises StateError when the topic holds something else, or cannot be written to.
    """

    is_cut_back = False
    is_repeatable = True

    def __init__(self, spec: str, frequency: Frequency, *, committed: int = 0) -> None:
        self._spec = spec
        self._kafka, servers, self._topic = _address(spec)
        settings = {"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True, "linger.ms": 5}
        self._producer = self._kafka.Producer({**SETTINGS, **settings})
        self._labels = Labels(frequency)
        self._refusals: list[str] = []
        self.length = committed
        consumer = _consumer(self._kafka, servers)  # which, unlike a producer, makes no topic that is not there
        try:
            self._count = len(_partitions(self._kafka, consumer, self._topic))
            self._there = self._repeats(consumer)
        except (self._kafka.KafkaException, DataError) as error:
            raise unwritable(self._spec, told(error)) from error
        finally:
            consumer.close()

    def emit(self, live: LiveForecast) -> None:
        """Hand the forecasts over; raises StateError when the broker refuses."""
        if not len(live):
            return
        lines = json_lines(live, self._labels)
        for number, (unique_id, line) in enumerate(zip(live.forecast.ids, lines, strict=True), self.length + 1):
            value = line.rstrip(b"\n")
            if number in self._there:
                self._check_same(number, value)
            else:
                self._send(number, unique_id.encode(), value)
        self.length += len(lines)

    def sync(self) -> None:
        """Return once the brokers have taken what was emitted; raises StateError when they do not."""
        left = self._producer.flush(PATIENCE_SECONDS)
        if left or self._refusals:
            raise unwritable(self._spec, self._refusals[0] if self._refusals else f"{left:,} forecasts were not taken in time")

    def close(self) -> None:
        """Wait for what was emitted."""
        self.sync()

    def _send(self, number: int, key: bytes, value: bytes) -> None:
        message = {"key": key, "value": value, "headers": {NUMBER: str(number)}, "partition": zlib.crc32(key) % self._count}
        while True:
            try:
                self._producer.produce(self._topic, **message, on_delivery=self._note)
                break
            except BufferError:  # the queue is full
                self._producer.poll(POLL_SECONDS)
            except self._kafka.KafkaException as error:
                raise unwritable(self._spec, told(error)) from error
        self._producer.poll(0)

    def _note(self, error: Any, _: Any) -> None:
        if error is not None:
            self._refusals.append(error.str())

    def _check_same(self, number: int, value: bytes) -> None:
        if self._there.pop(number) != zlib.crc32(value):
            raise others_write(f"the Kafka topic {self._topic!r}", number)

    def _repeats(self, consumer: Any) -> dict[int, int]:
        """The numbers, and checksums, of forecasts that are there and were not committed."""
        there: dict[int, int] = {}
        for part in range(self._count):
            at = self._kafka.TopicPartition(self._topic, part)
            low, high = consumer.get_watermark_offsets(at, timeout=PATIENCE_SECONDS)
            last = self._read_on(consumer, part, max(low, high - 1))[-1:] if high > low else []
            ahead = last[0][0] - self.length if last else 0
            if ahead > MOST_REPEATED:
                raise unwritable(self._spec, f"it is {ahead:,} forecasts ahead of this state; name another topic")
            if ahead > 0:
                there.update(self._read_on(consumer, part, max(low, high - ahead)))
        return {number: checksum for number, checksum in there.items() if number > self.length}

    def _read_on(self, consumer: Any, part: int, first: int) -> list[tuple[int, int]]:
        """The numbers and checksums of the forecasts in a partition, from an offset to its end."""
        consumer.assign([self._kafka.TopicPartition(self._topic, part, first)])
        found: list[tuple[int, int]] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for message in consumer.consume(10_000, POLL_SECONDS):
                if _is_end(self._kafka, message, self._topic):
                    return found
                number = dict(message.headers() or ()).get(NUMBER)
                if number is None:
                    raise unwritable(self._spec, "it holds messages that are no forecasts of ours; name another topic")
                found.append((int(number), zlib.crc32(message.value() or b"")))
                deadline = time.monotonic() + PATIENCE_SECONDS
        raise unwritable(self._spec, "its last messages could not be read in time")


# -- the broker --------------------------------------------------------------------------------------------------------------


def _address(spec: str) -> tuple[ModuleType, str, str]:
    """The library, the brokers, and the topic."""
    try:
        import confluent_kafka
    except ImportError:
        raise missing_library("kafka") from None
    return confluent_kafka, *address_of(spec, "topic")


def _consumer(kafka: ModuleType, servers: str) -> Any:
    """A consumer whose positions are ours to keep, and that says where a partition ends."""
    ours = {"group.id": "forecaster", "enable.auto.commit": False, "auto.offset.reset": "error", "enable.partition.eof": True}
    return kafka.Consumer({**SETTINGS, **ours, "bootstrap.servers": servers, "fetch.wait.max.ms": 100})


def _partitions(kafka: ModuleType, client: Any, topic: str) -> list[int]:
    try:
        found = client.list_topics(topic, timeout=PATIENCE_SECONDS).topics[topic]
    except kafka.KafkaException as error:
        raise DataError(f"the broker of the topic {topic!r} does not answer ({told(error)}). See that it is up.") from error
    if found.error is not None or not found.partitions:
        raise DataError(f"the broker has no topic {topic!r}. Create it, or mend the name.")
    return sorted(found.partitions)
