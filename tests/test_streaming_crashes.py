"""A stream that is killed wherever it touches the disk ends as one that nobody killed."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import orjson
import pytest
from crashes import flip_bytes, one_life, soak
from test_streaming_engine import line
from test_streaming_steppers import NUMBERED, Smoothing

from forecaster.errors import StateError
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.directory import FILE, identity_of, peek
from forecaster.streaming.edges import open_sink, open_source
from forecaster.streaming.engine import Engine
from forecaster.streaming.heir import Heir
from forecaster.streaming.live import LiveSeries
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.state import StateStore
from forecaster.streaming.stream import stream_forecasts

WINDOW = 5
ONE, OTHER = Smoothing(), Smoothing(alpha=0.6, fingerprint="smoothing-0.6")
SWITCHED = 325  # lines


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


def open_store(folder: Path, stepper: Smoothing = ONE) -> StateStore:
    return StateStore.open(folder, fingerprint=stepper.fingerprint, frequency=NUMBERED, state_size=3, window=WINDOW)


def stream(folder: Path, feed: Path, *, name: str = "") -> None:
    with open_store(folder) as store:
        engine = Engine(ONE, NUMBERED, store, StreamingConfig(max_batch=25), name=name)
        sink = open_sink(folder / "out.ndjson", NUMBERED, committed_bytes=engine.progress.output_bytes)
        source = open_source(feed, NUMBERED, committed=engine.progress.feed, max_batch=25)
        stream_forecasts(source, engine, sink)
        sink.close()


def content(folder: Path, stepper: Smoothing = ONE) -> bytes:
    """All that the state holds."""
    with open_store(folder, stepper) as store:
        engine = Engine(stepper, NUMBERED, store)
        series, count = engine.series, len(engine.series)
        arrays = [getattr(series, name)[:count].tobytes() for name in LiveSeries.ARRAYS]
        return repr((engine.progress, series.ids)).encode() + b"".join(arrays)


def switch(engine: Engine) -> None:
    """Give the stream to another model, as it is."""
    beside = engine.store.directory / "beside"
    heir = Heir(OTHER, LiveSeries(OTHER.state_size, window=WINDOW))
    heir.adopt(engine.series, batch=engine.store.batch)
    saved = heir.save(beside)
    heir = Heir.load(beside, saved, OTHER, engine.series.ids, window=WINDOW)
    identity = identity_of(OTHER.fingerprint, NUMBERED, OTHER.state_size, WINDOW)
    engine.change_model(heir, beside, saved, name="other", identity=identity, owner={})


def stream_and_switch(folder: Path, feed: Path) -> None:
    """A stream that gives itself to another model after so many lines, if it has not."""
    is_other = (folder / FILE).exists() and peek(folder)["identity"]["fingerprint"] == OTHER.fingerprint
    stepper = OTHER if is_other else ONE
    with open_store(folder, stepper) as store:
        engine = Engine(stepper, NUMBERED, store, StreamingConfig(max_batch=25), name="other" if is_other else "one")

        def switched(source: Iterator[Arrivals]) -> Iterator[Arrivals]:
            while True:
                if engine.name == "one" and engine.progress.feed.lines >= SWITCHED:
                    switch(engine)
                if (arrivals := next(source, None)) is None:
                    return
                yield arrivals

        sink = open_sink(folder / "out.ndjson", NUMBERED, committed_bytes=engine.progress.output_bytes)
        source = open_source(feed, NUMBERED, committed=engine.progress.feed, max_batch=25)
        stream_forecasts(switched(source), engine, sink)
        sink.close()


def left(folder: Path, stepper: Smoothing = ONE) -> tuple[bytes, bytes, bytes]:
    return content(folder, stepper), (folder / "out.ndjson").read_bytes(), (folder / "dead_letters.ndjson").read_bytes()


def test_kills_at_any_point_change_no_byte_of_what_is_left(tmp_path, feed):
    stream(tmp_path / "unbroken", feed)
    found = soak(lambda: stream(tmp_path / "killed", feed), kills=80, seed=1, most_points=50)
    assert left(tmp_path / "killed") == left(tmp_path / "unbroken")
    assert found.killed >= 25
    assert {"before COMMIT", "after COMMIT"} & set(found.kills)


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_a_switch_killed_at_any_point_is_made_whole_or_not_at_all(tmp_path, feed, step):
    lines = feed.read_bytes().splitlines(keepends=True)
    feed.write_bytes(b"".join(lines[:SWITCHED]))
    stream_until_there = tmp_path / "until"
    stream(stream_until_there, feed, name="one")
    feed.write_bytes(b"".join(lines[: SWITCHED + 30]))
    shutil.copytree(stream_until_there, tmp_path / "unbroken")
    stream_and_switch(tmp_path / "unbroken", feed)
    expected = left(tmp_path / "unbroken", OTHER)
    kills: dict[str, set[str]] = {}
    for target in count(1, step):
        killed = Path(shutil.copytree(stream_until_there, tmp_path / f"killed{target}"))
        point = one_life(lambda at=killed: stream_and_switch(at, feed), target=target)
        if point is None:
            break
        kills.setdefault(peek(killed)["identity"]["fingerprint"], set()).add(point)
        stream_and_switch(killed, feed)
        assert left(killed, OTHER) == expected, point
        shutil.rmtree(killed)
    assert len(kills) == 2
    if step == 1:
        assert {"before replace", "after replace", "after DELETE FROM log", "before COMMIT"} <= kills[ONE.fingerprint]
        assert {"after COMMIT", "after unlink"} <= kills[OTHER.fingerprint]
    assert {row["model"] for row in map(orjson.loads, expected[1].splitlines())} == {"one", "other"}


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
