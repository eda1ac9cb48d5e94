"""The engine held against `warm_state`, however the feed is cut, stopped and sent again."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_streaming_steppers import HOURLY, NUMBERED, SeasonalRing, Smoothing

from forecaster.errors import DataError, StateError
from forecaster.forecast import warm_state
from forecaster.frequency import Frequency
from forecaster.series import Panel
from forecaster.streaming.accounts import FORECASTS, MISSING, NOT_FINITE
from forecaster.streaming.arrivals import CodedIds, read_arrivals
from forecaster.streaming.edges import open_source
from forecaster.streaming.engine import Engine
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.sinks import NdjsonSink
from forecaster.streaming.state import StateStore
from forecaster.streaming.stream import stream_forecasts


def open_store(directory: Path, stepper, frequency: Frequency = NUMBERED, window: int = 0) -> StateStore:
    return StateStore.open(
        directory, fingerprint=stepper.fingerprint, frequency=frequency, state_size=stepper.state_size, window=window
    )


def line(unique_id: str, ds: int | str, y: float | None) -> bytes:
    return orjson.dumps({"unique_id": unique_id, "ds": ds, "y": y}) + b"\n"


def stream(directory: Path, feed: bytes, *, stepper=None, frequency=NUMBERED, is_whole=False, window=0, **settings):
    """What a stream over a feed wrote, its live series, its summary."""
    stepper = stepper or Smoothing()
    config = StreamingConfig(**settings)
    out = io.BytesIO()
    with open_store(directory, stepper, frequency, window) as store:
        engine = Engine(stepper, frequency, store, config)
        source = open_source(
            io.BytesIO(feed), frequency, max_batch=config.max_batch, committed=engine.progress.feed, is_whole=is_whole
        )
        summary = stream_forecasts(source, engine, NdjsonSink(out, frequency))
    return out.getvalue(), kept(directory, stepper, frequency, window), summary


def kept(directory: Path, stepper, frequency=NUMBERED, window=0) -> dict[str, tuple[int, int, bytes]]:
    """Of each series the last position, the number of values and the state; and all else that is carried, as bytes."""
    with open_store(directory, stepper, frequency, window) as store:
        series = Engine(stepper, frequency, store).series
        return {
            unique_id: (
                int(series.positions[slot]),
                int(series.counts[slot]),
                series.state[slot].tobytes(),
                *(getattr(series, name)[slot].tobytes() for name in ("firsts", "recent", "kept_positions", "kept")),
            )
            for unique_id, slot in series.slots.items()
        }


def dead_letters(directory: Path) -> list[dict]:
    path = directory / "dead_letters.ndjson"
    return [orjson.loads(text) for text in path.read_bytes().splitlines()] if path.exists() else []


def some_panel(*, seed: int = 3, frequency: Frequency = NUMBERED) -> Panel:
    generator = np.random.default_rng(seed)
    values = generator.normal(10, 3, size=60).round(2)
    values[[4, 5, 21, 33, 34, 35]] = np.nan
    return Panel(("a", "b", "c"), np.array([0, 3, 7]), np.array([0, 20, 45, 60]), values, frequency)


def feed_of(panel: Panel, *, missing: bool = False) -> bytes:
    """The panel's values in the order of time, as lines; the missing ones as null, or left out."""
    rows = panel.to_frame().sort_values(["ds", "unique_id"])
    return b"".join(
        line(row.unique_id, row.ds, None if np.isnan(row.y) else row.y)
        for row in rows.itertuples()
        if missing or not np.isnan(row.y)
    )


# -- parity ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stepper", [Smoothing(), SeasonalRing()], ids=["smoothing", "ring"])
@pytest.mark.parametrize("max_batch", [1, 7, 1000])
@pytest.mark.parametrize("missing", [True, False], ids=["null", "gaps"])
def test_the_stream_ends_in_the_state_that_the_whole_history_gives(tmp_path, stepper, max_batch, missing):
    panel = some_panel()
    _, series, summary = stream(tmp_path, feed_of(panel, missing=missing), stepper=stepper, max_batch=max_batch)
    oracle = warm_state(stepper, panel)
    assert {unique_id: state for unique_id, (_, _, state, *_) in series.items()} == {
        unique_id: oracle[b].tobytes() for b, unique_id in enumerate(panel.ids)
    }
    assert [series[unique_id][0] for unique_id in panel.ids] == panel.ends.tolist()
    assert (summary.missing == 6) is missing
    assert (summary.counts["gap"] > 0) is not missing


MESSY = b"".join(
    [
        line("a", 1, 1.0) + line("a", 2, 2.0) + line("b", 1, 5.0) + line("a", 2, 2.0),  # a duplicate
        line("a", 2, 2.5) + line("a", 1, 1.0) + b"{\n" + b"\xff\n" + b"\n" + line("a", 5, 3.0),
        line("a", 10**6, 1.0) + line("b", 2, None) + line("b", 2, None) + line("b", 3, 1e-3),
        line("c", -4, 1e30) + line("a", 6, True) + line("a", 6, 7.25) + line("a", 5, 3.0),
    ]
)


def test_how_the_feed_is_cut_changes_nothing(tmp_path):
    results = {}
    for max_batch in (1, 2, 7, 1000):
        directory = tmp_path / str(max_batch)
        out, series, summary = stream(directory, MESSY, max_batch=max_batch)
        results[max_batch] = (out, series, summary.counts, (directory / "dead_letters.ndjson").read_bytes())
    assert results[1] == results[2] == results[7] == results[1000]


def test_every_arrival_is_counted_and_what_was_not_stepped_says_why(tmp_path):
    _, series, summary = stream(tmp_path, MESSY)
    assert {name: count for name, count in summary.counts.items() if count} == {
        "next": 4, "gap": 1, "unknown": 3, "duplicate": 2, "too_late": 3, "too_far": 1, "malformed": 3,
    }  # fmt: skip
    assert (summary.missing, summary.series) == (1, 3)
    letters = dead_letters(tmp_path)
    assert [(letter["line"], letter["arrival"]) for letter in letters] == [
        (5, "too_late"), (6, "too_late"), (7, "malformed"), (8, "malformed"), (11, "too_far"), (16, "malformed"),
        (18, "too_late"),
    ]  # fmt: skip
    assert letters[0]["reason"].startswith("series 'a': 2 came when 2 had been stepped, 0 later; expected one of the last 0")
    assert letters[1]["reason"].startswith("series 'a': 1 came when 2 had been stepped, 1 later")
    assert letters[4]["reason"].startswith("series 'a': 1000000 lies 999,995 steps after 5; expected at most 1,000 missing")
    assert letters[4]["original"].encode() + b"\n" == line("a", 10**6, 1.0)
    assert letters[3]["original_base64"] == "/w=="
    assert series["a"][:2] == (6, 4)


STRAYS = b"".join(
    [
        line("a", 1, 1.0) + line("b", 99, 1.0) + line("b", 12, 1.0) + line("b", 99, 2.0),  # b begins late, and is then a gap
        line("a", 2, 1.0) + line("c", 110, 1.0) + line("d", 110, 1.0) + line("c", 50, 1.0) + line("a", 3, 1.0),
    ]
)


def test_a_series_that_would_begin_far_after_all_others_does_not_move_the_newest_position(tmp_path):
    _, series, summary = stream(tmp_path, STRAYS, max_ahead=11, max_gap=100)
    assert (summary.counts["far_off"], summary.counts["unknown"], summary.counts["next"], summary.behind) == (1, 4, 2, 2)
    letter, late = dead_letters(tmp_path)
    assert (letter["line"], letter["arrival"], late["line"], late["arrival"]) == (2, "far_off", 8, "too_late")
    assert "series 'b': it would begin with 99, 98 steps after 1, the newest of any series (without one" in letter["reason"]
    assert "expected at most 11. Mend the date" in letter["reason"]
    assert {unique_id: position for unique_id, (position, *_) in series.items() if isinstance(position, int)} == {
        "a": 3, "b": 99, "c": 110, "d": 110,
    }  # fmt: skip


def test_what_is_far_off_is_so_however_the_feed_is_cut(tmp_path):
    results = {}
    for max_batch in (1, 2, 3, 1000):
        directory = tmp_path / str(max_batch)
        out, series, summary = stream(directory, STRAYS, max_batch=max_batch, max_ahead=11, max_gap=100)
        results[max_batch] = (out, series, summary.counts, (directory / "dead_letters.ndjson").read_bytes())
    assert results[1] == results[2] == results[3] == results[1000]


def test_how_far_ahead_a_series_may_begin_is_as_far_as_a_gap_unless_it_is_said(tmp_path):
    feed = line("a", 1, 1.0) + line("b", 1_002, 1.0) + line("a", 2, 1.0)
    assert stream(tmp_path / "unsaid", feed)[2].counts["far_off"] == 1
    _, series, summary = stream(tmp_path / "said", feed, max_ahead=1_001)
    assert (summary.counts["far_off"], series["b"][0]) == (0, 1_002)


@pytest.mark.parametrize("max_batch", [1, 100])
def test_a_first_date_of_all_is_held_against_the_present_and_later_ones_against_the_first(tmp_path, max_batch):
    feed = [("a", "2187-05-01T00:00"), ("a", "2017-05-01T00:00"), ("b", "2025-05-01T00:00"), ("b", "2017-05-01T01:00")]
    lines = b"".join(line(unique_id, ds, 1.0) for unique_id, ds in feed)
    _, series, summary = stream(tmp_path, lines, frequency=HOURLY, max_batch=max_batch)
    assert (summary.counts["far_off"], summary.counts["unknown"]) == (2, 2)
    first, second = dead_letters(tmp_path)
    assert (first["line"], second["line"]) == (1, 3)
    assert "series 'a': it would begin with 2187-05-01T00:00:00" in first["reason"]
    assert "steps after 2017-05-01T00:00:00" in second["reason"]
    assert series["b"][0] == series["a"][0] + 1


def test_an_observation_of_a_settled_position_leaves_the_state_untouched(tmp_path):
    _, before, _ = stream(tmp_path, line("a", 1, 1.0) + line("a", 2, 2.0))
    _, after, _ = stream(tmp_path, line("a", 1, 9.0) + line("a", 2, 3.0) + line("a", 2, 2.0))
    assert before == after


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_any_interleaving_in_any_chunks_with_any_stops_equals_the_oracle(data, tmp_path_factory):
    lengths = data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    gaps = st.integers(1, 4)
    value = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))
    queues = [
        [
            (f"s{b}", position, data.draw(value))
            for position in np.cumsum(data.draw(st.lists(gaps, min_size=n, max_size=n))).tolist()
        ]
        for b, n in enumerate(lengths)
    ]
    order = data.draw(st.permutations([b for b, n in enumerate(lengths) for _ in range(n)]))
    heads = [iter(queue) for queue in queues]
    rows = [next(heads[b]) for b in order]
    directory = tmp_path_factory.mktemp("interleaved")
    stops = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=2)))
    for first, stop in zip([0, *stops], [*stops, len(rows)], strict=True):
        _, series, _ = stream(
            directory,
            b"".join(line(*row) for row in rows[first:stop]),
            max_batch=data.draw(st.integers(1, 9)),
            stepper=Smoothing(),
        )
    ids, positions, values = zip(*rows, strict=True)
    panel = Panel.from_positions(
        np.array(ids, dtype=object),
        np.array(positions),
        values=np.array(values, dtype=np.float64),
        frequency=NUMBERED,
    )
    oracle = warm_state(Smoothing(), panel)
    assert {u: s for u, (_, _, s, *_) in series.items()} == {u: oracle[b].tobytes() for b, u in enumerate(panel.ids)}


def test_a_stop_and_a_restart_give_the_forecasts_of_a_stream_that_was_never_stopped(tmp_path):
    feed = feed_of(some_panel())
    lines = feed.splitlines(keepends=True)
    unbroken, series, _ = stream(tmp_path / "unbroken", feed)
    first, _, _ = stream(tmp_path / "broken", b"".join(lines[:23]), max_batch=5)
    second, broken, summary = stream(tmp_path / "broken", b"".join(lines[23:]), max_batch=3)
    assert first + second == unbroken
    assert broken == series
    assert summary.forecasts == len(lines) - 23


def test_a_feed_sent_again_leaves_the_state_untouched(tmp_path):
    feed = feed_of(some_panel())
    _, before, _ = stream(tmp_path, feed)
    out, after, summary = stream(tmp_path, feed)
    assert before == after
    assert out == b""
    assert (summary.counts["duplicate"], summary.counts["too_late"]) == (3, 51)


# -- what arrives late -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_batch", [1, 3, 1000])
def test_a_late_value_and_a_revision_give_the_state_of_a_feed_that_was_right_from_the_start(tmp_path, max_batch):
    right = b"".join(line("a", ds, float(ds * ds % 7)) for ds in range(1, 12))
    arrived = [*range(2, 6), 1, 7, 8, 6, 9, 10, 11]
    wrong = b"".join(line("a", ds, -5.0 if ds in (4, 10) else float(ds * ds % 7)) for ds in arrived)
    _, expected, _ = stream(tmp_path / "right", right, window=8)
    _, found, summary = stream(tmp_path / "wrong", wrong + line("a", 4, 2.0) + line("a", 10, 2.0), window=8, max_batch=max_batch)
    assert found == expected
    assert (summary.counts["late"], summary.counts["revision"], summary.counts["too_late"]) == (2, 2, 0)


def test_a_revision_is_forecast_again_from_the_last_position(tmp_path):
    feed = line("a", 1, 1.0) + line("a", 2, 2.0) + line("a", 3, 3.0)
    out, _, _ = stream(tmp_path / "revised", feed + line("a", 2, 9.0), window=4)
    expected, _, _ = stream(tmp_path / "right", feed.replace(b"2.0", b"9.0"), window=4)
    assert orjson.loads(out.splitlines()[-1]) == orjson.loads(expected.splitlines()[-1])
    assert orjson.loads(out.splitlines()[-1])["origin"] == 3


def test_what_is_sent_again_within_the_window_is_a_duplicate(tmp_path):
    feed = b"".join(line("a", ds, float(ds)) for ds in range(1, 9))
    _, before, _ = stream(tmp_path, feed, window=5)
    _, after, summary = stream(tmp_path, feed, window=5)
    assert before == after
    assert (summary.counts["duplicate"], summary.counts["too_late"]) == (5, 3)
    assert "3 later" not in dead_letters(tmp_path)[0]["reason"]
    assert "expected one of the last 5 positions, which may still change" in dead_letters(tmp_path)[0]["reason"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_order_within_the_window_ends_in_the_state_of_the_final_data_in_order(data, tmp_path_factory):
    window = data.draw(st.integers(1, 6))
    final = [
        (f"s{b}", position, data.draw(st.one_of(st.none(), st.integers(-9, 9).map(float))))
        for b in range(2)
        for position in range(data.draw(st.integers(1, 25)))
        if position == 0 or data.draw(st.integers(0, 3))
    ]
    arrivals, newest = [], {}
    for unique_id, position, y in final:
        for _ in range(data.draw(st.integers(0, 2))):
            wrong = data.draw(st.one_of(st.none(), st.integers(10, 12).map(float)))
            arrivals.append((position, len(arrivals), unique_id, position, wrong))
        latest = min(max(p for u, p, _ in final if u == unique_id), position + window - 1)
        arrivals.append((data.draw(st.integers(position, latest)), len(arrivals) + 0.5, unique_id, position, y))
        newest[unique_id] = position
    rows = [(unique_id, position, y) for _, _, unique_id, position, y in sorted(arrivals)]
    directory = tmp_path_factory.mktemp("revised")
    stops = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=2)))
    for first, stop in zip([0, *stops], [*stops, len(rows)], strict=True):
        feed = b"".join(line(*row) for row in rows[first:stop])
        every = data.draw(st.sampled_from([0, 1]))  # a forecast wants the state at once, or nobody does
        _, found, summary = stream(directory, feed, window=window, max_batch=data.draw(st.integers(1, 30)), emit_every=every)
        assert summary.counts["too_late"] == 0
    _, expected, _ = stream(tmp_path_factory.mktemp("right"), b"".join(line(*row) for row in final), window=window)
    assert found == expected


def test_an_unknown_series_is_refused_where_none_is_to_begin(tmp_path):
    stream(tmp_path, line("a", 1, 1.0))
    _, series, summary = stream(tmp_path, line("b", 1, 1.0) + line("a", 2, 1.0), unknown="refuse")
    assert list(series) == ["a"]
    assert (summary.counts["stranger"], summary.counts["next"]) == (1, 1)
    assert "is not one of the stream's series" in dead_letters(tmp_path)[0]["reason"]


def test_an_observation_behind_another_series_is_stepped_and_counted(tmp_path):
    feed = line("a", 5, 1.0) + line("b", 3, 1.0) + line("a", 6, 1.0) + line("b", 4, 1.0)
    counted = [stream(tmp_path / str(n), feed, max_batch=n)[2].behind for n in (1, 2, 3, 4)]
    assert counted == [2, 2, 2, 2]


# -- a feed that is given from its beginning ---------------------------------------------------------------------------------


def test_a_whole_feed_is_passed_over_up_to_the_committed_line(tmp_path):
    lines = MESSY.splitlines(keepends=True)
    unbroken, series, summary = stream(tmp_path / "unbroken", MESSY)
    first, _, _ = stream(tmp_path / "grown", b"".join(lines[:9]), is_whole=True)
    second, grown, again = stream(tmp_path / "grown", MESSY, is_whole=True, max_batch=4)
    assert first + second == unbroken
    assert grown == series
    assert dead_letters(tmp_path / "grown") == dead_letters(tmp_path / "unbroken")
    assert sum(again.counts.values()) == sum(summary.counts.values()) - 8


def test_another_feed_is_not_taken_for_the_whole_one(tmp_path):
    stream(tmp_path, line("a", 1, 1.0) + line("a", 2, 2.0))
    with pytest.raises(StateError, match=r"the first 2 lines of this feed are not those that the state took in"):
        stream(tmp_path, line("a", 1, 1.0) + line("a", 2, 2.5) + line("a", 3, 1.0), is_whole=True)
    with pytest.raises(StateError, match=r"this feed ends at line 1, and the state took in 2"):
        stream(tmp_path, line("a", 1, 1.0), is_whole=True)


def test_a_last_line_needs_no_newline_and_a_torn_one_is_read_when_it_is_whole(tmp_path):
    feed = line("a", 1, 1.0) + line("a", 2, 2.0)
    _, _, summary = stream(tmp_path, feed[:-4], is_whole=True)
    assert (summary.counts["unknown"], summary.counts["malformed"]) == (1, 1)
    assert "ends within this line" in dead_letters(tmp_path)[0]["reason"]
    _, series, summary = stream(tmp_path, feed[:-1], is_whole=True)
    assert (summary.counts["next"], series["a"][0]) == (1, 2)


# -- forecasts ---------------------------------------------------------------------------------------------------------------


def test_a_forecast_is_the_stepper_s_own_and_says_whence_and_whither(tmp_path):
    feed = line("a", "2024-01-01T00:00", 1.5) + line("a", "2024-01-01T01:00", 2.5)
    out, _, _ = stream(tmp_path, feed, frequency=HOURLY, warming_steps=2)
    state = warm_state(Smoothing(), Panel(("a",), np.array([0]), np.array([0, 2]), np.array([1.5, 2.5]), HOURLY))
    expected = Smoothing().forecast(state, np.array([1]))[0]
    first, second = [orjson.loads(text) for text in out.splitlines()]
    assert (first["count"], first["warming"]) == (1, True)
    assert second == {
        "unique_id": "a",
        "origin": "2024-01-01T01:00:00",
        "count": 2,
        "warming": False,
        "ds": ["2024-01-01T02:00:00", "2024-01-01T03:00:00"],
        "q0.1": expected[:, 0].tolist(),
        "q0.5": expected[:, 1].tolist(),
        "q0.9": expected[:, 2].tolist(),
    }


def test_times_are_written_with_the_offset_of_the_panel_s_clock(tmp_path):
    frequency = Frequency("h", time_zone="Europe/Berlin")
    out, _, _ = stream(tmp_path, line("a", "2024-10-26T23:00Z", 1.0), frequency=frequency)
    forecast = orjson.loads(out)
    assert forecast["origin"] == "2024-10-27T01:00:00+02:00"
    assert forecast["ds"] == ["2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00"]


@pytest.mark.parametrize(("every", "origins"), [(0, []), (1, [1, 2, 3, 4, 5, 6]), (2, [2, 5]), (3, [3, 6])])
def test_a_forecast_is_made_with_every_kth_value(tmp_path, every, origins):
    feed = b"".join(line("a", ds, None if ds == 4 else 1.0) for ds in range(1, 7))
    if every == 3:
        feed = feed.replace(b"null", b"1.0")
    out, _, _ = stream(tmp_path, feed, emit_every=every)
    assert [orjson.loads(text)["origin"] for text in out.splitlines()] == origins


def test_a_forecast_that_is_no_number_is_null_and_counted(tmp_path):
    out, _, summary = stream(tmp_path, line("a", 1, 1.0), stepper=SeasonalRing())
    assert orjson.loads(out)["q0.5"] == [None, None, None, 1.0]
    assert summary.not_finite == 1
    assert "1 forecasts had numbers that are none; they stand as null" in summary.lines()


# -- warm starts and replays -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [0, 1, 4, 9, 30])
def test_a_warm_start_is_the_state_that_stepping_gives(tmp_path, window):
    panel = some_panel()
    _, stepped, _ = stream(tmp_path / "stepped", feed_of(panel, missing=True), window=window)
    with open_store(tmp_path / "warm", Smoothing(), window=window) as store:
        assert Engine(Smoothing(), NUMBERED, store).warm(panel) == 3
    assert kept(tmp_path / "warm", Smoothing(), window=window) == stepped


def test_a_warm_start_keeps_the_series_that_live_and_adds_the_others(tmp_path):
    _, before, _ = stream(tmp_path, line("b", 100, 1.0))
    with open_store(tmp_path, Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        assert engine.warm(some_panel()) == 2
        assert engine.warm(some_panel()) == 0
        assert engine.progress.feed.lines == 1
    series = kept(tmp_path, Smoothing())
    assert series["b"] == before["b"]
    assert sorted(series) == ["a", "b", "c"]


def test_a_panel_of_another_frequency_warms_nothing(tmp_path):
    with open_store(tmp_path, Smoothing()) as store, pytest.raises(DataError, match="Warm it from its own panel"):
        Engine(Smoothing(), NUMBERED, store).warm(some_panel(frequency=HOURLY))


@pytest.mark.parametrize("max_batch", [1, 4, 1000])
def test_a_replayed_panel_is_the_feed_of_its_values(tmp_path, max_batch):
    panel = some_panel()
    fed, series, _ = stream(tmp_path / "fed", feed_of(panel, missing=True))
    out = io.BytesIO()
    with open_store(tmp_path / "replayed", Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        batches = list(open_source(panel, NUMBERED, max_batch=max_batch))
        stream_forecasts(batches[:3], engine, NdjsonSink(out, NUMBERED))
        rest = open_source(panel, NUMBERED, max_batch=max_batch, committed=engine.progress.feed, is_whole=True)
        stream_forecasts(rest, engine, NdjsonSink(out, NUMBERED))
        assert engine.progress.counts[MISSING] == 6
        assert engine.progress.counts[FORECASTS] == 60
        assert engine.progress.counts[NOT_FINITE] == 0
    assert out.getvalue() == fed
    assert kept(tmp_path / "replayed", Smoothing()) == series


def test_another_panel_is_not_taken_for_the_whole_one(tmp_path):
    with open_store(tmp_path, Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        stream_forecasts(open_source(some_panel(), NUMBERED), engine, NdjsonSink(io.BytesIO(), NUMBERED))
        with pytest.raises(StateError, match="not those that the state took in"):
            next(open_source(some_panel(seed=4), NUMBERED, committed=engine.progress.feed, is_whole=True))


def test_ids_that_come_as_codes_are_the_series_that_their_names_say(tmp_path):
    panel = some_panel()
    with open_store(tmp_path / "coded", Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        for batch in open_source(panel, NUMBERED, max_batch=7):
            assert isinstance(batch.ids, CodedIds)
            engine.advance(batch)
            engine.advance(read_arrivals([line(f"x{len(batch)}", 1, 1.0)], NUMBERED, first_line=1, feed=batch.feed))
    with open_store(tmp_path / "named", Smoothing()) as store:
        engine = Engine(Smoothing(), NUMBERED, store)
        for batch in open_source(panel, NUMBERED, max_batch=7):
            engine.advance(replace(batch, ids=list(batch.ids)))
            engine.advance(read_arrivals([line(f"x{len(batch)}", 1, 1.0)], NUMBERED, first_line=1, feed=batch.feed))
    assert kept(tmp_path / "coded", Smoothing()) == kept(tmp_path / "named", Smoothing())
