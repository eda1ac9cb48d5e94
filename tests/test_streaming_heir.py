"""A model that follows another's stream, and takes it over."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_streaming_engine import dead_letters, feed_of, kept, line, open_store, some_panel, stream
from test_streaming_steppers import NUMBERED, SeasonalRing, Smoothing

from forecaster.errors import StateError
from forecaster.forecast import Stepper
from forecaster.series import Panel
from forecaster.streaming.arrivals import Arrivals, read_arrivals
from forecaster.streaming.directory import identity_of
from forecaster.streaming.engine import Engine
from forecaster.streaming.heir import Heir
from forecaster.streaming.live import FeedPosition, LiveSeries
from forecaster.streaming.settings import StreamingConfig

WINDOW = 4
OTHER = Smoothing(alpha=0.6, fingerprint="smoothing-0.6")
OWNER = {"run": "other"}


def batches(feed: bytes, size: int) -> list[Arrivals]:
    """A feed in micro-batches of so many lines."""
    lines = feed.splitlines(keepends=True)
    return [
        read_arrivals(lines[n : n + size], NUMBERED, first_line=n + 1, feed=FeedPosition(min(n + size, len(lines))))
        for n in range(0, len(lines), size)
    ]


def heir_of(stepper: Stepper, panel: Panel | None = None) -> Heir:
    heir = Heir(stepper, LiveSeries(stepper.state_size, window=WINDOW))
    if panel is not None:
        heir.warm(panel)
    return heir


def take_over(engine: Engine, heir: Heir, folder: Path) -> None:
    """The whole of it, as a stream does it: saved, loaded, brought up to now, switched."""
    saved = heir.save(folder)
    heir = Heir.load(folder, saved, heir.stepper, engine.series.ids, window=WINDOW)
    heir.follow(engine.store.blocks_after(heir.batch))
    identity = identity_of(heir.stepper.fingerprint, NUMBERED, heir.stepper.state_size, WINDOW)
    engine.change_model(heir, folder, saved, name="other", identity=identity, owner=OWNER)


def told(series: LiveSeries) -> dict[str, tuple[object, ...]]:
    """All that is held of each series, whatever slot it has."""
    arrays = [getattr(series, name) for name in LiveSeries.ARRAYS]
    return {unique_id: tuple(array[slot].tobytes() for array in arrays) for unique_id, slot in series.slots.items()}


@pytest.mark.parametrize("behind", [0, 3])
def test_a_model_that_follows_goes_on_from_what_the_stream_took_in_last(tmp_path, behind):
    panel = some_panel()
    stream(tmp_path / "old", feed_of(panel, missing=True), window=WINDOW)
    heir = heir_of(SeasonalRing(), panel.drop_last(behind))  # the panel is a little behind the stream
    with open_store(tmp_path / "old", Smoothing(), window=WINDOW) as store:
        old = Engine(Smoothing(), NUMBERED, store)
        assert heir.out_of_reach(old.series) == []
        heir.adopt(old.series, batch=old.store.batch)
        progress = old.progress
        take_over(old, heir, tmp_path / "beside")
        assert old.progress == progress
    _, expected, _ = stream(tmp_path / "stepped", feed_of(panel, missing=True), stepper=SeasonalRing(), window=WINDOW)
    assert kept(tmp_path / "old", SeasonalRing(), window=WINDOW) == expected


def test_a_follower_believes_the_stream_where_its_history_differs(tmp_path):
    feed = b"".join(line("a", ds, float(ds)) for ds in range(1, 12))
    stream(tmp_path / "old", feed + line("a", 10, -1.0), window=WINDOW)
    history = Panel(("a",), np.array([1]), np.array([0, 11]), np.arange(1.0, 12.0), NUMBERED)
    heir = heir_of(OTHER, history)
    with open_store(tmp_path / "old", Smoothing(), window=WINDOW) as store:
        old = Engine(Smoothing(), NUMBERED, store)
        heir.adopt(old.series, batch=old.store.batch)
    stream(tmp_path / "stepped", feed + line("a", 10, -1.0), stepper=OTHER, window=WINDOW)
    with open_store(tmp_path / "stepped", OTHER, window=WINDOW) as store:
        assert told(heir.series) == told(Engine(OTHER, NUMBERED, store).series)


def test_a_follower_says_which_series_it_could_not_follow_back(tmp_path):
    feed = b"".join(line("a", ds, 1.0) for ds in range(30)) + b"".join(line("b", ds, 1.0) for ds in range(25, 30))
    stream(tmp_path / "old", feed, window=WINDOW)
    with open_store(tmp_path / "old", Smoothing(), window=WINDOW) as store:
        old, heir = Engine(Smoothing(), NUMBERED, store), heir_of(OTHER)
        assert heir.out_of_reach(old.series) == ["a"]
        heir.adopt(old.series, batch=old.store.batch)
        assert heir.series.positions[:2].tolist() == [29, 29]
        assert heir.series.counts[:2].tolist() == [2 * WINDOW, 5]


def test_a_follower_also_passes_over_more_than_a_feed_may_leave_out(tmp_path):
    stream(tmp_path / "old", b"".join(line("a", ds, 1.0) for ds in range(2000)), window=WINDOW)
    heir = heir_of(OTHER, Panel(("a",), np.array([0]), np.array([0, 1]), np.ones(1), NUMBERED))
    with open_store(tmp_path / "old", Smoothing(), window=WINDOW) as store:
        old = Engine(Smoothing(), NUMBERED, store)
        assert heir.out_of_reach(old.series) == ["a"]
        heir.adopt(old.series, batch=old.store.batch)
        assert (heir.series.positions[0], heir.series.counts[0]) == (1999, 1 + 2 * WINDOW)


def messy_feed() -> bytes:
    """Late, revised, missing and malformed ones, and series that begin on the way, one of which history knows."""
    generator, lines = np.random.default_rng(7), []
    for position in range(40):
        for b in range(4 + position // 10):
            ds = max(position - int(generator.integers(0, 6)) * (generator.random() < 0.3), 0)
            lines.append(line(f"s{b}", ds, None if generator.random() < 0.05 else round(float(generator.normal()), 3)))
        lines += [b"{\n"] * (position % 9 == 4)
    return b"".join(lines)


@pytest.mark.parametrize("adopted", [1, 4, 9])
@pytest.mark.parametrize("switched", [10, 17])
def test_a_model_that_took_over_stands_as_if_it_had_stepped_all_along(tmp_path, adopted, switched):
    feed = messy_feed()
    with open_store(tmp_path / "live", Smoothing(), window=WINDOW) as store:
        engine, heir = Engine(Smoothing(), NUMBERED, store, StreamingConfig()), heir_of(OTHER)
        for number, arrivals in enumerate(batches(feed, 10), 1):
            engine.advance(arrivals)
            if number == 1:
                engine.store.keeps_log_after = engine.store.batch
                heir.adopt(engine.series, batch=engine.store.batch)
            if number == adopted:
                heir.follow(engine.store.blocks_after(heir.batch))
                saved = heir.save(tmp_path / "beside")
            if number == switched:
                heir = Heir.load(tmp_path / "beside", saved, OTHER, engine.series.ids, window=WINDOW)
                heir.follow(engine.store.blocks_after(heir.batch))
                identity = identity_of(OTHER.fingerprint, NUMBERED, OTHER.state_size, WINDOW)
                engine.change_model(heir, tmp_path / "beside", saved, name="other", identity=identity, owner=OWNER)
        at_the_end, progress = told(engine.series), engine.progress
    with open_store(tmp_path / "stepped", OTHER, window=WINDOW) as store:
        stepped = Engine(OTHER, NUMBERED, store)
        for arrivals in batches(feed, 10):
            stepped.advance(arrivals)
        assert (at_the_end, progress) == (told(stepped.series), stepped.progress)
    assert dead_letters(tmp_path / "live") == dead_letters(tmp_path / "stepped")
    with open_store(tmp_path / "live", OTHER, window=WINDOW) as store:
        again = Engine(OTHER, NUMBERED, store)
        assert (told(again.series), again.progress) == (at_the_end, progress)


def test_history_may_know_more_than_the_stream_has_come_to(tmp_path):
    panel = some_panel()
    feed = feed_of(panel, missing=True)
    half = len(batches(feed, 10)) // 2
    with open_store(tmp_path / "live", Smoothing(), window=WINDOW) as store:
        engine, heir = Engine(Smoothing(), NUMBERED, store), heir_of(OTHER, panel)
        for number, arrivals in enumerate(batches(feed, 10)):
            engine.advance(arrivals)
            if number == half:
                heir.adopt(engine.series, batch=engine.store.batch)
                take_over(engine, heir, tmp_path / "beside")
        assert engine.name == "other"
        expected = heir_of(OTHER, panel)
        assert told(engine.series) == told(expected.series)


def test_the_log_is_kept_for_who_follows_and_dropped_again(tmp_path, monkeypatch):
    monkeypatch.setattr("forecaster.streaming.state.LEAST_LOG", 5)
    monkeypatch.setattr("forecaster.streaming.state.LOG_PER_SERIES", 1)
    feed = b"".join(line(f"s{b}", ds, float(ds)) for ds in range(20) for b in range(3))
    with open_store(tmp_path, Smoothing(), window=WINDOW) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        first, *rest = batches(feed, 3)
        engine.advance(first)
        store.keeps_log_after = 1
        for arrivals in rest:
            engine.advance(arrivals)
        assert [block.batch for block in store.blocks_after(1)] == list(range(2, 21))
        store.keeps_log_after = None
        store.snapshot(engine.series)
        assert list(store.blocks_after(20)) == []
        with pytest.raises(StateError, match="lacks block 2 of its log"):
            list(store.blocks_after(1, upto=20))


def test_a_file_that_is_not_what_was_saved_is_refused(tmp_path):
    heir = heir_of(OTHER, some_panel())
    saved = heir.save(tmp_path)
    with pytest.raises(ValueError, match="checksum"):
        Heir.load(tmp_path, replace(saved, checksums=(1,)), OTHER, (), window=WINDOW)
