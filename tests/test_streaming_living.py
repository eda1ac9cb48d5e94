"""A stream that is looked at, followed by another model, and pruned."""

import io

import numpy as np
import pytest
from test_streaming_engine import dead_letters, kept, line, open_store, stream
from test_streaming_steppers import HOURLY, NUMBERED, Smoothing

from forecaster.streaming.arrivals import read_arrivals
from forecaster.streaming.edges import open_source
from forecaster.streaming.engine import Engine
from forecaster.streaming.live import FeedPosition
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.sinks import NdjsonSink
from forecaster.streaming.state import StateStore
from forecaster.streaming.stream import stream_forecasts
from forecaster.streaming.vitals import Pulse, Vitals, vitals

WINDOW = 4


def test_silent_series_are_forgotten_and_the_others_go_on(tmp_path):
    feed = line("a", 1, 1.0) + line("b", 1, 2.0) + line("a", 9, 1.0) + line("c", 8, 3.0)
    _, before, _ = stream(tmp_path, feed, window=WINDOW)
    with open_store(tmp_path, Smoothing(), window=WINDOW) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        assert engine.prune(silent_for=6) == ["b"]
        assert engine.prune(silent_for=6) == []
    after = kept(tmp_path, Smoothing(), window=WINDOW)
    assert after == {unique_id: before[unique_id] for unique_id in ("a", "c")}
    _, _, summary = stream(tmp_path, line("b", 10, 1.0) + line("c", 9, 1.0), window=WINDOW)
    assert (summary.counts["unknown"], summary.counts["next"], summary.series) == (1, 1, 3)


def test_who_looks_at_a_stream_leaves_its_dead_letters_alone(tmp_path):
    stream(tmp_path, b"{\n" + line("a", 1, 1.0))
    with (tmp_path / "dead_letters.ndjson").open("ab") as file:
        file.write(b'{"line": "not committed yet"}\n')
    with StateStore.look(tmp_path, fingerprint="smoothing-0.3", frequency=NUMBERED, state_size=3) as store:
        Engine(Smoothing(), NUMBERED, store)
    assert len(dead_letters(tmp_path)) == 2


def test_the_vitals_name_the_series_that_lag(tmp_path):
    feed = b"".join(line("a", ds, 1.0) for ds in range(10)) + line("b", 2, 1.0) + line("c", 8, None) + b"{\n"
    stream(tmp_path, feed)
    with open_store(tmp_path, Smoothing()) as store:
        found = vitals(Engine(Smoothing(), NUMBERED, store, StreamingConfig(warming_steps=2)))
    assert (found.series, found.warming, found.newest, found.lag_most, found.lag_median) == (3, 2, 9, 7, 1.0)
    assert found.slowest == {"b": 2, "c": 8, "a": 9}
    assert (found.counts["malformed"], found.dead, found.missing, found.forecasts) == (1, 1, 1, 12)
    assert found.to_dict()["lines"] == 13


def test_the_vitals_of_a_stream_that_has_seen_nothing_are_defined(tmp_path):
    with open_store(tmp_path, Smoothing(), frequency=HOURLY) as store:
        found = vitals(Engine(Smoothing(), HOURLY, store))
    assert (found.series, found.newest, found.lag_most, found.slowest) == (0, None, 0, {})


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, [1, 2, 3]), (3600.0, [])])
def test_a_pulse_is_told_no_more_often_than_was_asked(tmp_path, seconds, expected):
    told: list[Vitals] = []
    with open_store(tmp_path, Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        source = open_source(io.BytesIO(b"".join(line("a", ds, 1.0) for ds in range(3))), NUMBERED, max_batch=1)
        pulse = Pulse(told.append, seconds=seconds, coverage=lambda state: {"0.8": float(np.isfinite(state).all())})
        stream_forecasts(source, engine, NdjsonSink(io.BytesIO(), NUMBERED), pulse=pulse)
    assert [found.lines for found in told] == expected
    assert all(found.coverage == {"0.8": 1.0} and found.rate > 0 for found in told)


def test_a_feed_that_falls_silent_shows_as_one(tmp_path):
    told: list[Vitals] = []
    times = iter([0.0, 0.9, 2.0, 3.1, 4.2])
    with open_store(tmp_path, Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        pulse = Pulse(told.append, seconds=1.0, clock=lambda: next(times))
        engine.advance(read_arrivals([line("a", 1, 1.0)], NUMBERED, first_line=1, feed=FeedPosition(1)))
        pulse.beat(engine, 1, 0.001)
        assert told == []  # too soon
        for _ in range(3):
            pulse.idle(engine)
    assert [found.lines for found in told] == [1, 1, 1]
    assert told[0].rate > told[1].rate > told[2].rate


def placed(engine: Engine) -> tuple[str, str, int, FeedPosition]:
    progress = engine.progress
    return progress.source, progress.output, progress.output_bytes, progress.feed


def test_another_feed_begins_at_its_beginning_and_a_pipe_changes_nothing(tmp_path):
    with open_store(tmp_path, Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        engine.settle(source="a.ndjson", output="out.ndjson")
        engine.take_in(read_arrivals([line("a", 1, 1.0)], NUMBERED, first_line=1, feed=FeedPosition(1, 7, 99, "x")))
        engine.commit(output_bytes=12)
        stands = placed(engine)
        engine.settle(source="a.ndjson", output="out.ndjson")
        engine.settle()
        assert placed(engine) == stands == ("a.ndjson", "out.ndjson", 12, FeedPosition(1, 7, 99, "x"))
        engine.take_in(read_arrivals([line("a", 2, 1.0)], NUMBERED, first_line=2, feed=FeedPosition(2, 8, 99, "x")))
        engine.commit()  # to a pipe
        assert placed(engine) == ("a.ndjson", "out.ndjson", 12, FeedPosition(2, 8, 99, "x"))
        engine.settle(source="b.ndjson", output="other.ndjson")
    with open_store(tmp_path, Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        assert placed(engine) == ("b.ndjson", "other.ndjson", 0, FeedPosition(2, 8))
        engine.take_in(read_arrivals([line("a", 3, 1.0)], NUMBERED, first_line=1, feed=FeedPosition(3, 8, 5, "y")))
        engine.commit()
        engine.settle(source="b.ndjson", is_new=True)
        assert placed(engine)[3] == FeedPosition(3, 8)


def test_a_source_that_was_read_before_is_read_on(tmp_path):
    with open_store(tmp_path, Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        engine.settle(source="a.ndjson")
        engine.take_in(read_arrivals([line("a", 1, 1.0)], NUMBERED, first_line=1, feed=FeedPosition(1, 7, 99, "x")))
        engine.commit()
        engine.settle(source="typo.ndjson")
        assert engine.progress.feed == FeedPosition(1, 7)
        engine.settle(source="a.ndjson")
    with open_store(tmp_path, Smoothing()) as store:
        assert Engine(Smoothing(), NUMBERED, store).progress.feed == FeedPosition(1, 7, 99, "x")


def test_one_wrong_date_makes_nobody_silent(tmp_path):
    feed = b"".join(line(f"s{b}", 30, 1.0) for b in range(6)) + line("bogus", 900_000, 1.0)
    stream(tmp_path, feed)
    with open_store(tmp_path, Smoothing()) as store:
        assert Engine(Smoothing(), NUMBERED, store).prune(silent_for=20) == []


def test_a_feed_of_repetitions_does_not_fill_the_log(tmp_path, monkeypatch):
    monkeypatch.setattr("forecaster.streaming.state.LEAST_LOG", 20)
    stream(tmp_path, line("a", 1, 1.0))
    with open_store(tmp_path, Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        for _ in range(100):
            engine.advance(read_arrivals([line("a", 1, 1.0)], NUMBERED, first_line=1, feed=FeedPosition(2)))
        assert engine.logged <= 1
        assert store._open_connection().execute("SELECT count(*) FROM log").fetchone()[0] < 25
