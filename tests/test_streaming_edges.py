"""Where a stream meets the world: pipes, pauses, closed readers, kills."""

import contextlib
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import orjson
import pytest
from test_streaming_steppers import HOURLY, NUMBERED, Smoothing

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import LONGEST_LINE
from forecaster.streaming.edges import open_source
from forecaster.streaming.engine import Engine
from forecaster.streaming.intake import Intake
from forecaster.streaming.lines import JsonLines, LineBatches
from forecaster.streaming.live import LiveSeries
from forecaster.streaming.sinks import NdjsonSink
from forecaster.streaming.state import StateStore
from forecaster.streaming.stream import stream_forecasts

CHILD = Path(__file__).parent / "test_streaming_steppers.py"


def open_store(directory: Path, frequency: Frequency = NUMBERED) -> StateStore:
    return StateStore.open(directory, fingerprint="smoothing-0.3", frequency=frequency, state_size=3)


def batches(stream, *, max_batch: int = 3, max_latency_ms: float = 20, should_stop=lambda: False) -> LineBatches:
    intake = Intake(max_batch=max_batch, max_latency_ms=max_latency_ms, should_stop=should_stop)
    return LineBatches(stream, JsonLines(), intake)


# -- reading -----------------------------------------------------------------------------------------------------------------


def test_lines_come_in_batches_of_the_size_asked_for():
    assert list(batches(io.BytesIO(b"a\nb\nc\nd\n\ne"), max_latency_ms=1e6)) == [[b"a", b"b", b"c"], [b"d", b""]]
    assert list(batches(io.BytesIO(b"1\n2"), max_latency_ms=1e6)) == [[b"1", b"2"]]


def test_a_line_typed_into_a_pipe_is_answered_while_the_pipe_stays_open():
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as stream, open(write_end, "wb", buffering=0) as writer:
        source = iter(batches(stream))
        for text in (b"first", b"second"):
            writer.write(text[:2])
            writer.write(text[2:] + b"\n")
            began = time.monotonic()
            assert next(source) == [text]
            assert time.monotonic() - began < 2  # 20 ms and a busy machine
        writer.write(b"third\nfourth\n")
        assert next(source) == [b"third", b"fourth"]


def test_a_stop_is_noticed_while_the_feed_is_silent_and_what_was_read_is_drained():
    read_end, write_end = os.pipe()
    stop = threading.Event()
    with open(read_end, "rb") as stream, open(write_end, "wb", buffering=0) as writer:
        writer.write(b"one\ntwo\nthr")
        source = batches(stream, max_latency_ms=1e6, should_stop=stop.is_set)
        threading.Timer(0.2, stop.set).start()
        assert list(source) == [[b"one", b"two"]]
        assert source.cut_off == b"thr"


def test_a_line_without_an_end_does_not_fill_the_memory():
    source = open_source(io.BytesIO(b"x" * (5 * LONGEST_LINE) + b"\n" + b'{"unique_id": "a", "ds": 1}\n'), NUMBERED, max_batch=10)
    arrivals = list(source)
    (letter,) = [letter for batch in arrivals for letter in batch.rejected]
    assert "longer than 1,000,000 bytes" in letter.reason
    assert len(letter.original) == 1_000
    assert [unique_id for batch in arrivals for unique_id in batch.ids] == ["a"]


# -- a reader that leaves ----------------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_ends_the_stream_after_the_commit(tmp_path):
    feed = b"".join(b'{"unique_id": "a", "ds": %d, "y": 1}\n' % ds for ds in range(20))
    read_end, write_end = os.pipe()
    os.close(read_end)
    writer = open(write_end, "wb")  # noqa: SIM115 - closed below, when its reader is gone
    with open_store(tmp_path) as store, contextlib.closing(writer):
        engine = Engine(Smoothing(), NUMBERED, store)
        summary = stream_forecasts(open_source(io.BytesIO(feed), NUMBERED, max_batch=5), engine, NdjsonSink(writer, NUMBERED))
        assert summary.reader_left
        assert summary.counts["unknown"] + summary.counts["next"] == engine.progress.feed.lines == 5
    with open_store(tmp_path) as store:
        assert Engine(Smoothing(), NUMBERED, store).series.positions[0] == 4


def test_forecasts_that_the_disk_refuses_end_the_stream_with_one_sentence(tmp_path):
    feed = io.BytesIO(b'{"unique_id": "a", "ds": 1, "y": 1}\n')
    with open("/dev/full", "wb") as full, open_store(tmp_path) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        with pytest.raises(StateError, match="forecasts cannot be written"):
            stream_forecasts(open_source(feed, NUMBERED, max_batch=5), engine, NdjsonSink(full, NUMBERED))


def test_an_engine_that_failed_goes_no_further(tmp_path):
    batches = [next(open_source(io.BytesIO(b"{\n"), NUMBERED, max_batch=5)) for _ in range(2)]
    with open_store(tmp_path) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        (tmp_path / "dead_letters.ndjson").mkdir()
        with pytest.raises(StateError, match="dead letters cannot be written"):
            engine.advance(batches[0])
        (tmp_path / "dead_letters.ndjson").rmdir()
        with pytest.raises(StateError, match="is closed, after a failure"):
            engine.advance(batches[1])


def test_a_stream_needs_no_torch():
    script = "import sys, forecaster.streaming.stream, forecaster.streaming.edges; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


# -- kills -------------------------------------------------------------------------------------------------------------------


def stream_in_a_child(directory: Path, feed: bytes, *, kill_after: int | None) -> bytes:
    """Feed a child process; kill it once it has written so many forecasts. What it wrote, up to the last whole line."""
    child = subprocess.Popen(
        [sys.executable, str(CHILD), str(directory), "40"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin
    assert child.stdout

    def send() -> None:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(feed)
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()

    sender = threading.Thread(target=send)
    sender.start()
    out = b""
    while kill_after is None or out.count(b"\n") < kill_after:
        chunk = os.read(child.stdout.fileno(), 1 << 14)
        if not chunk:
            break
        out += chunk
    if kill_after is not None:
        child.kill()
        out += child.stdout.read()
    sender.join()
    child.wait()
    assert child.stderr
    complaints = child.stderr.read().decode()
    child.stdout.close()
    child.stderr.close()
    assert kill_after is not None or child.returncode == 0, complaints
    return out[: out.rfind(b"\n") + 1]


def hourly_feed(*, series: int = 8, hours: int = 150) -> bytes:
    generator = np.random.default_rng(11)
    stamps = np.datetime_as_string(np.datetime64("2024-01-01T00") + np.arange(hours), unit="s").tolist()
    rows = [(f"s{b}", ds, float(generator.normal())) for ds in stamps for b in range(series) if generator.random() > 0.05]
    rows.insert(400, ("s1", "2024-01-01T00:30:00", 1.0))  # misaligned
    rows.insert(700, ("s1", stamps[0], 1.0))  # late
    return b"".join(orjson.dumps({"unique_id": u, "ds": ds, "y": y}) + b"\n" for u, ds, y in rows)


def test_a_stream_killed_again_and_again_ends_where_an_unbroken_one_does(tmp_path):
    feed = hourly_feed()
    with open_store(tmp_path / "unbroken", HOURLY) as store:
        engine, out = Engine(Smoothing(), HOURLY, store), io.BytesIO()
        stream_forecasts(open_source(io.BytesIO(feed), HOURLY, max_batch=1000), engine, NdjsonSink(out, HOURLY))
        expected, progress = engine.series, engine.progress
    written = [stream_in_a_child(tmp_path / "killed", feed, kill_after=lines) for lines in (1, 150, 420, None)]
    with open_store(tmp_path / "killed", HOURLY) as store:
        engine = Engine(Smoothing(), HOURLY, store)
        series, found = engine.series, engine.progress
    assert series.ids == expected.ids
    for name in LiveSeries.ARRAYS:
        assert getattr(series, name)[: len(series)].tobytes() == getattr(expected, name)[: len(series)].tobytes()
    assert found == progress
    letters = [(tmp_path / name / "dead_letters.ndjson").read_bytes() for name in ("unbroken", "killed")]
    assert letters[0] == letters[1]
    assert letters[0].count(b"\n") == 2
    lines = b"".join(written).splitlines()
    every = set(out.getvalue().splitlines())
    assert set(lines) <= every
    assert len(lines) == len(set(lines)) >= len(every) - 3 * 40  # a kill costs the forecasts of one micro-batch at most


@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_a_kill_while_the_state_is_made_leaves_nothing_in_the_way(tmp_path, seconds):
    child = subprocess.Popen([sys.executable, str(CHILD), str(tmp_path), "40"], stdin=subprocess.PIPE)
    deadline = time.monotonic() + 20
    while not (tmp_path / "lock").exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(seconds)
    child.kill()
    child.communicate()
    with open_store(tmp_path, HOURLY) as store:
        assert len(Engine(Smoothing(), HOURLY, store).series) == 0
