"""A NATS JetStream stream as a feed, and as a place for forecasts.

A message of a feed is an observation as a line of NDJSON. The position is kept by our own store, not by a durable consumer: it is
the sequence number of the last message taken in.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import Arrivals, place, read_json_lines
from forecaster.streaming.brokers import (
    address_of,
    another_feed,
    dropped_feed,
    missing_library,
    next_messages,
    others_write,
    shorter_feed,
    told,
    unreadable,
    unwritable,
)
from forecaster.streaming.dates import Dates
from forecaster.streaming.intake import Intake
from forecaster.streaming.labels import Labels
from forecaster.streaming.lines import joined
from forecaster.streaming.live import FeedPosition, LiveForecast
from forecaster.streaming.sinks import json_lines

if TYPE_CHECKING:
    from nats.js.api import StreamInfo

KIND = "nats"
NUMBER = "Nats-Msg-Id"  # the header that counts the forecasts of a state, and by which the server knows a repeat
EXPECTED_STREAM = "Nats-Expected-Stream"
EXPECTED_BEFORE, EXPECTED_NUMBER = "Nats-Expected-Last-Sequence", "Nats-Expected-Last-Msg-Id"
PATIENCE_SECONDS = 20.0  # how long a server may take to answer
IDLE_SECONDS = 300.0  # how long it keeps a consumer that asks for nothing

Answer = TypeVar("Answer")


def read_nats(spec: str, frequency: Frequency, intake: Intake, *, follow: bool = True) -> Iterator[Arrivals]:
    """Micro-batches of the messages of `nats://HOST:PORT/STREAM`, from behind the one that was committed.

    Without `follow`, it ends with the last message there is. Lines count messages. Raises StateError when the state took in
    another feed or messages behind it are gone, DataError when the server cannot be asked or has no such stream.
    """
    server = Server(spec)
    seen, dates = intake.committed, Dates(frequency, floored=intake.floored)
    try:
        at = last_message(intake.committed, server.stream)
        server.connect()
        _check_kept(server.info(), server.stream, at)
        messages = Messages(server, behind=at)
        while not intake.should_stop():
            batch = messages.next_batch(intake)
            if not batch:
                if not follow and messages.is_at_end():
                    return
                continue
            lines = [message.data or b"null" for message in batch]
            at, first_line = batch[-1].metadata.sequence.stream, seen.lines + 1
            after = seen.after(joined(lines), lines=len(lines))
            seen = replace(after, offset=seen.offset, token=f"{KIND}:{server.stream}:{at}")
            yield place(read_json_lines(lines, first_line=first_line), lines, dates, first_line=first_line, feed=seen)
    except server.faults as error:
        raise unreadable(spec, told(error)) from error
    finally:
        server.close()


def last_message(committed: FeedPosition, stream: str) -> int:
    """The number of the message behind which to go on, 0 for the beginning; raises StateError for another feed.

    >>> last_message(FeedPosition(9, token="nats:loads:12"), "loads")
    12
    """
    if not committed.token:
        return 0
    name, _, at = committed.token.rpartition(":")
    if name != f"{KIND}:{stream}":
        raise another_feed(name, f"the NATS stream {stream!r}")
    return int(at)


def _check_kept(info: "StreamInfo", stream: str, at: int) -> None:
    """Raises StateError where the stream is another one by now, or has lost messages behind `at`."""
    last, first, where = info.state.last_seq, info.state.first_seq, f"the NATS stream {stream!r}"
    if last < at:
        raise shorter_feed(where, f"ends with message {last:,}, and the state took in {at:,}")
    if at and first > at + 1:
        raise dropped_feed(where, f"begins with message {first:,}, and the state took in those up to {at:,}")


class Messages:
    """The messages of a stream behind a place, in order, in batches. The server keeps no place for us."""

    def __init__(self, server: "Server", *, behind: int) -> None:
        from nats.js import api

        self._server, self._at = server, behind
        self._waiting: deque[Any] = deque()
        begin = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=behind + 1,
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=IDLE_SECONDS,
            mem_storage=True,
        )
        self._pull: Any = server.ask(server.js.pull_subscribe(">", stream=server.stream, config=begin))

    def next_batch(self, intake: Intake) -> list[Any]:
        """The messages that are there, and what comes within the latency; none where nothing comes soon."""
        batch = next_messages(self._fetch, intake)
        if batch:
            self._at = batch[-1].metadata.sequence.stream
        return batch

    def is_at_end(self) -> bool:
        """Whether nothing is there that was not handed on."""
        info = self._server.ask(self._pull.consumer_info())
        return not self._waiting and info.num_pending == 0 and info.delivered.stream_seq <= self._at

    def _fetch(self, most: int, seconds: float) -> list[Any]:
        if not self._waiting:
            with suppress(asyncio.TimeoutError):
                self._waiting.extend(self._server.ask(self._pull.fetch(most, timeout=seconds)))  # more, where some were late
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]


# -- forecasts ---------------------------------------------------------------------------------------------------------------


class NatsSink:
    """Forecasts as messages of a NATS stream: each once, as long as nobody else writes to it and the server keeps what it took.

    A message is the line that NDJSON would have, on the stream's first subject (`forecast` in place of a wildcard). Its header
    `Nats-Msg-Id` says that it is the N-th forecast of this state. What was emitted, but not committed when the process was
    killed, is emitted again with the same number, and passed over where it is there already; and the server takes a message only
    right behind the one before. So forecasts are emitted before the commit, and `length` counts them.

    Raises StateError when the stream is not there, holds something else, or cannot be written to.
    """

    is_cut_back = False
    is_repeatable = True

    def __init__(self, spec: str, frequency: Frequency, *, committed: int = 0) -> None:
        self._server = Server(spec)
        self._labels = Labels(frequency)
        self.length = committed
        try:
            self._server.connect()
            info = self._server.info()
            self._last = info.state.last_seq
            self._top = self._number_of(self._last) if info.state.messages else 0
            self._subject = _subject_of(info, spec)
        except (*self._server.faults, DataError) as error:
            self._server.close()
            raise unwritable(spec, told(error)) from error
        except BaseException:
            self._server.close()
            raise

    def emit(self, live: LiveForecast) -> None:
        """Add the forecasts; raises StateError when the server refuses."""
        if not len(live):
            return
        lines = [line.rstrip(b"\n") for line in json_lines(live, self._labels)]
        repeated = min(max(self._top - self.length, 0), len(lines))
        try:
            for number, line in enumerate(lines[:repeated], self.length + 1):
                self._check_same(number, line)
            self._server.ask(self._publish(lines[repeated:], first=self.length + repeated + 1))
        except self._server.faults as error:
            raise unwritable(self._server.spec, told(error)) from error
        self.length += len(lines)

    def sync(self) -> None:
        """Nothing: a message was taken when the server answered; how durable it is, its `sync_interval` decides."""

    def close(self) -> None:
        """Close the connection."""
        self._server.close()

    async def _publish(self, lines: list[bytes], *, first: int) -> None:
        inbox = self._server.client.new_inbox()
        answers = await self._server.client.subscribe(inbox)
        for number, line in enumerate(lines, first):
            headers = {NUMBER: str(number), EXPECTED_STREAM: self._server.stream}
            headers[EXPECTED_BEFORE] = str(self._last + number - first)
            if number > first:  # so that none is taken once the one before was refused
                headers[EXPECTED_NUMBER] = str(number - 1)
            await self._server.client.publish(self._subject, line, reply=inbox, headers=headers)
        for number in range(first, first + len(lines)):
            self._check_taken((await answers.next_msg(PATIENCE_SECONDS)).data, number)
        self._last += len(lines)
        await answers.unsubscribe()

    def _check_taken(self, answer: bytes, number: int) -> None:
        taken: dict[str, Any] = orjson.loads(answer) if answer else {"error": {"description": "nobody takes the subject"}}
        if "error" in taken:
            raise unwritable(self._server.spec, f"forecast {number:,}: {taken['error']['description']}")
        if taken.get("duplicate"):  # one that the stream does not hold any more, or not where it belongs
            raise others_write(f"the NATS stream {self._server.stream!r}", number)

    def _number_of(self, sequence: int) -> int:
        """The number of the forecast that is a message; StateError where it is none."""
        number = (self._message(sequence).headers or {}).get(NUMBER, "")
        if not number.isdigit():
            raise unwritable(self._server.spec, "it holds messages that are no forecasts of ours; name another stream")
        return int(number)

    def _check_same(self, number: int, line: bytes) -> None:
        message = self._message(self._last - self._top + number)
        if (message.headers or {}).get(NUMBER) != str(number) or message.data != line:
            raise others_write(f"the NATS stream {self._server.stream!r}", number)

    def _message(self, sequence: int) -> Any:
        return self._server.ask(self._server.js.get_msg(self._server.stream, seq=sequence))


def _subject_of(info: "StreamInfo", spec: str) -> str:
    if not info.config.subjects:
        raise unwritable(spec, "it has no subject of its own; name a stream that is no mirror")
    return ".".join("forecast" if token in "*>" else token for token in info.config.subjects[0].split("."))


# -- the server --------------------------------------------------------------------------------------------------------------


class Server:
    """A connection for one stream. Its loop turns in a thread of its own: also while a stream is silent, pings are answered."""

    def __init__(self, spec: str) -> None:
        try:
            import nats.errors
        except ImportError:
            raise missing_library(KIND) from None
        self.spec = spec
        self._servers, self.stream = address_of(spec, "stream")
        self.faults = (nats.errors.Error, OSError, asyncio.TimeoutError)
        self.client: Any = None
        self.js: Any = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=KIND, daemon=True)

    def connect(self) -> None:
        """Raises one of `faults` where nobody answers."""
        import nats

        once = {"allow_reconnect": False, "max_reconnect_attempts": 1, "reconnect_time_wait": 0, "connect_timeout": 10}

        async def connected() -> Any:
            return await nats.connect(f"{KIND}://{self._servers}", error_cb=_ignore, **once)

        self._thread.start()
        self.client = self.ask(connected())
        self.js = self.client.jetstream(timeout=PATIENCE_SECONDS)

    def info(self) -> "StreamInfo":
        """How the stream stands; raises DataError where there is none."""
        from nats.js.errors import NotFoundError, ServiceUnavailableError

        try:
            return self.ask(self.js.stream_info(self.stream))  # type: ignore[no-any-return]
        except NotFoundError:
            raise DataError(f"the NATS server has no stream {self.stream!r}. Create it, or mend the name.") from None
        except ServiceUnavailableError:
            raise DataError("the NATS server keeps no streams. Start it with JetStream (-js).") from None

    def ask(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """What comes of work for the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """Let go of everything; closing twice is fine."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            if self.client is not None:
                with suppress(*self.faults):
                    self.ask(self.client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()


async def _ignore(_: Exception) -> None:
    """Nothing: whoever asks next is told, and the client would print a traceback."""
