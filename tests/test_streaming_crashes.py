"""A stream that is killed wherever it touches the disk ends as one that nobody killed."""

from pathlib import Path

import numpy as np
import pytest
from crashes import flip_bytes, one_life, soak
from test_streaming_engine import line
from test_streaming_steppers import NUMBERED, Smoothing

from forecaster.errors import StateError
from forecaster.streaming.edges import open_sink, open_source
from forecaster.streaming.engine import Engine
from forecaster.streaming.live import LiveSeries
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.state import StateStore
from forecaster.streaming.stream import stream_forecasts

WINDOW = 5


@pytest.fixture
def feed(tmp_path) -> Path:
    """A feed with all that can go wrong in one."""
    generator = np.random.default_rng(4)
    lines = []
    for position in range(40):
        for b in range(12):
            ds = max(position - int(generator.integers(0, 8)) * (generator.random() < 0.2), 0)
            lines.append(line(f"s{b}", ds, None if generator.random() < 0.05 else round(float(generator.normal()), 3)))
        if position % 9 == 4:
            lines += [b"{\n", line("s1", 10**6, 1.0)]
        if position == 20:
            lines.append(line("new", 3, 1.0))
    path = tmp_path / "feed.ndjson"
    path.write_bytes(b"".join(lines))
    return path


@pytest.fixture(autouse=True)
def many_snapshots(monkeypatch):
    monkeypatch.setattr("forecaster.streaming.state.LEAST_LOG", 60)
    monkeypatch.setattr("forecaster.streaming.state.LOG_PER_SERIES", 1)
    monkeypatch.setattr("forecaster.streaming.state.SHARD", 5)
    monkeypatch.setattr("forecaster.streaming.shards.SHARD", 5)


def open_store(folder: Path) -> StateStore:
    return StateStore.open(folder, fingerprint="smoothing-0.3", frequency=NUMBERED, state_size=3, window=WINDOW)


def stream(folder: Path, feed: Path) -> None:
    with open_store(folder) as store:
        engine = Engine(Smoothing(), NUMBERED, store, StreamingConfig(max_batch=25))
        sink = open_sink(folder / "out.ndjson", NUMBERED, committed_bytes=engine.progress.output_bytes)
        source = open_source(feed, NUMBERED, committed=engine.progress.feed, max_batch=25)
        stream_forecasts(source, engine, sink)
        sink.close()


def content(folder: Path) -> bytes:
    """All that the state holds."""
    with open_store(folder) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        series, count = engine.series, len(engine.series)
        arrays = [getattr(series, name)[:count].tobytes() for name in LiveSeries.ARRAYS]
        return repr((engine.progress, series.ids)).encode() + b"".join(arrays)


def left(folder: Path) -> tuple[bytes, bytes, bytes]:
    return content(folder), (folder / "out.ndjson").read_bytes(), (folder / "dead_letters.ndjson").read_bytes()


def test_kills_at_any_point_change_no_byte_of_what_is_left(tmp_path, feed):
    stream(tmp_path / "unbroken", feed)
    found = soak(lambda: stream(tmp_path / "killed", feed), kills=80, seed=1, most_points=50)
    assert left(tmp_path / "killed") == left(tmp_path / "unbroken")
    assert found.killed >= 25
    assert {"before COMMIT", "after COMMIT"} & set(found.kills)


def test_a_disk_that_is_full_time_and_again_loses_nothing(tmp_path, feed):
    stream(tmp_path / "unbroken", feed)
    refusals = 0
    for limit in range(40_000, 400_000, 40_000):
        try:
            one_life(lambda: stream(tmp_path / "full", feed), file_bytes=limit)
        except AssertionError as error:
            if StateError.__name__ not in str(error):  # the child's last words
                raise
            refusals += 1
    one_life(lambda: stream(tmp_path / "full", feed))
    assert left(tmp_path / "full") == left(tmp_path / "unbroken")
    assert refusals


def test_no_flipped_byte_is_ever_taken_for_state(tmp_path, feed):
    stream(tmp_path, feed)
    found = flip_bytes(tmp_path, lambda: content(tmp_path), times=60, seed=2)
    shards = [outcome for name, outcome in found.items() if name.startswith("shard-")]
    assert shards
    assert all(outcome["refused"] == 60 for outcome in shards)
    assert found["state.sqlite"]["refused"]
