"""Feeds and forecasts in every format, read and written by the door that a stream uses, and by others."""

import contextlib
import csv
import io
import json
import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forecaster.errors import ConfigError, DataError, StateError
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.series import Panel
from forecaster.streaming.arrivals import Arrivals, CodedIds, place, read_arrivals
from forecaster.streaming.arrivals_csv import CsvRows
from forecaster.streaming.dates import Dates
from forecaster.streaming.dead_letters import DeadLetters
from forecaster.streaming.edges import open_sink, open_source
from forecaster.streaming.live import FeedPosition, LiveForecast

HOURLY = Frequency("h")
NUMBERED = Frequency("step", is_numbered=True)
BERLIN = Frequency("h", "Europe/Berlin")


def told(arrivals: list[Arrivals]) -> list[tuple]:
    """Everything that some micro-batches say, whatever they were cut into."""
    good = [
        (int(line), unique_id, int(position), repr(float(y)), batch.original(n))
        for batch in arrivals
        for n, (line, unique_id, position, y) in enumerate(
            zip(batch.lines, batch.ids, batch.positions, batch.values, strict=True)
        )
    ]
    bad = [(letter.line, letter.arrival, letter.reason, letter.original) for batch in arrivals for letter in batch.rejected]
    return sorted(good + bad, key=lambda row: row[0])


def frame(series: int = 3, hours: int = 8) -> pd.DataFrame:
    stamps = pd.date_range("2024-01-01", periods=hours, freq="h")
    generator = np.random.default_rng(5)
    rows = [(f"s{b}", ds, float(generator.normal())) for ds in stamps for b in range(series)]
    return pd.DataFrame(rows, columns=["unique_id", "ds", "y"])


def write(folder: Path, suffix: str, rows: pd.DataFrame) -> Path:
    """The rows as a feed, by the hand of another library."""
    path = folder / f"feed.{suffix}"
    table = pa.Table.from_pandas(rows, preserve_index=False)
    if suffix == "csv":
        rows.to_csv(path, index=False)
    elif suffix == "ndjson":
        rows.assign(ds=rows["ds"].astype(str)).to_json(path, orient="records", lines=True, double_precision=15)
    elif suffix == "parquet":
        rows.to_parquet(path)
    elif suffix == "feather":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    return path


# -- the same in every format ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "arrow", "feather", "parquet"])
def test_a_feed_says_the_same_in_every_format(tmp_path, suffix):
    rows = frame()
    path = write(tmp_path, suffix, rows)
    batches = list(open_source(path, HOURLY, max_batch=5))
    assert [unique_id for batch in batches for unique_id in batch.ids] == rows["unique_id"].tolist()
    positions = np.concatenate([batch.positions for batch in batches])
    assert (HOURLY.timestamps(positions) == pd.DatetimeIndex(rows["ds"])).all()
    assert np.concatenate([batch.values for batch in batches]) == pytest.approx(rows["y"].to_numpy(), abs=1e-14)  # pandas' JSON
    assert not any(batch.rejected for batch in batches)
    assert max(len(batch) for batch in batches) == 5


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "arrow", "feather", "parquet"])
def test_a_file_is_read_on_from_every_place_where_it_can_be_left(tmp_path, suffix):
    path = write(tmp_path, suffix, frame())
    batches = list(open_source(path, HOURLY, max_batch=5))
    for n, batch in enumerate(batches):
        rest = list(open_source(path, HOURLY, max_batch=5, committed=batch.feed))
        assert told(rest) == told(batches[n + 1 :])
        assert [left.feed for left in rest] == [left.feed for left in batches[n + 1 :]]


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "arrow", "feather", "parquet"])
def test_another_file_of_the_same_name_is_refused_until_its_place_is_forgotten(tmp_path, suffix):
    committed = list(open_source(write(tmp_path, suffix, frame()), HOURLY, max_batch=5))[1].feed
    path = write(tmp_path, suffix, frame().iloc[::-1])
    with pytest.raises(StateError, match="is not the file that the state has taken in"):
        list(open_source(path, HOURLY, committed=committed))
    read = list(open_source(path, HOURLY, committed=replace(committed, offset=0, token="")))
    assert sum(map(len, read)) == len(frame())
    assert read[-1].feed.lines > committed.lines


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "arrow"])
def test_a_whole_feed_is_passed_over_up_to_what_was_taken_in_and_checked(tmp_path, suffix):
    path = write(tmp_path, suffix, frame())
    data = path.read_bytes()
    batches = list(open_source(io.BytesIO(data), HOURLY, format=suffix, max_batch=5))
    committed = batches[1].feed
    for spec in (io.BytesIO(data), path):
        rest = list(open_source(spec, HOURLY, format=suffix, max_batch=7, committed=committed, is_whole=True))
        assert told(rest) == told(batches[2:])
        assert rest[-1].feed == batches[-1].feed  # the checksum does not depend on the micro-batches
    other = write(tmp_path, suffix, frame().iloc[::-1])
    with pytest.raises(StateError, match="are not those that the state took in"):
        list(open_source(other, HOURLY, committed=committed, is_whole=True))
    short = write(tmp_path, suffix, frame().iloc[:4])
    with pytest.raises(StateError, match="this feed ends at line"):
        list(open_source(short, HOURLY, committed=committed, is_whole=True))


# -- JSON --------------------------------------------------------------------------------------------------------------------

ODD_VALUES = st.sampled_from(
    [
        "1",
        "-0.0",
        "1e5",
        "1e31",
        "-1e31",
        "1e400",
        "null",
        "true",
        '"1"',
        "[1]",
        "{}",
        "NaN",
        "Infinity",
        "01",
        "123456789012345678901",
    ]
)
IDS = st.sampled_from(['"a"', '" a "', '"ä"', '""', '" "', "7", "7.0", "null", '"\\u0041"', '"\\ud800"', "[]"])
STAMPS = st.sampled_from(["1", "2", "9007199254740993", "1.0", '"1"', "null", "true", "99999999999999999999"])
PLAIN = st.builds(
    lambda unique_id, ds, y: json.dumps({"unique_id": unique_id, "ds": ds, "y": y}).encode(),
    st.sampled_from("abc"),
    st.integers(0, 5),
    st.one_of(st.floats(-1e30, 1e30), st.integers(-(2**70), 2**70), st.none()),
)
ODD = st.one_of(
    st.builds(lambda u, ds, y: f'{{"unique_id":{u},"ds":{ds},"y":{y}}}'.encode(), IDS, STAMPS, ODD_VALUES),
    st.builds(lambda u, ds: f'{{"ds": {ds}, "unique_id": {u}, "x": [1, {{}}]}}\r'.encode(), IDS, STAMPS),
    st.sampled_from(
        [b"", b" ", b"{", b"[1]", b'"a"', b"{}", b"\xff", b'{"ds": 1}', b'\xef\xbb\xbf{"unique_id":"a","ds":1,"y":1}']
    ),
    st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(PLAIN, PLAIN, PLAIN, ODD), max_size=12))
@example([b'{"unique_id":"a","ds":1,"y":null}', b'{"unique_id":"a","ds":2,"y":2e30}'])
def test_lines_are_read_alike_at_once_and_one_by_one(lines):
    def read(some: list[bytes], first_line: int) -> Arrivals:
        return read_arrivals(some, NUMBERED, first_line=first_line, feed=FeedPosition())

    carefully = told([read([b"{", *lines], 1)])[1:]  # one odd line, and its whole stretch is read with care
    at_once = told([read(lines, 2)])
    one_by_one = told([read([line], n) for n, line in enumerate(lines, 2)])
    assert at_once == carefully == one_by_one


# -- CSV ---------------------------------------------------------------------------------------------------------------------

CELLS = st.sampled_from(["a", " a ", "", "b;c", "7", "ä", '"a"', '"a,b"', '"', "unique_id"])
NUMBERS = st.sampled_from(
    [
        "1.5",
        " 2 ",
        "",
        "NA",
        "nan",
        "NaN",
        "null",
        "-1",
        "+1",
        "1e5",
        "1e31",
        "inf",
        "1_000",
        "0x10",
        ".5",
        "5.",
        "x",
        "1,5",
        "1d3",
        "١",
    ]
)
STEPS = st.sampled_from(["1", " 2 ", "+3", "007", "0x1F", "", "1.0", "x", "1_0", "99999999999999999999", "٣"])
ROWS = st.one_of(
    st.builds(lambda n, u, y: f"{y},{n},{u}".encode(), st.integers(0, 9), st.sampled_from("abc"), st.floats(-1e30, 1e30)),
    st.builds(lambda ds, u, y: f"{y},{ds},{u}".encode(), STEPS, CELLS, NUMBERS),
    st.sampled_from(
        [b"", b"\r", b"y,ds,unique_id", b"1,2", b"1,2,a,", b"1,2,a\r", b"1,2,\xff", b"1,2,a\rb", b'1,2,"a', b"\xef\xbb\xbf1,2,a"]
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, max_size=2), st.just([b"1.5,1,a"] * 40))
def test_rows_are_read_alike_at_once_and_one_by_one(few, plain):
    rows = [*few, *plain]  # a few rows are never read at once

    def read(some: list[bytes], first_line: int = 2) -> list[tuple]:
        form = CsvRows(is_numbered=True)
        form.begin(b"y,ds,unique_id")
        fields = form.read(some, first_line=first_line)
        return told([place(fields, some, Dates(NUMBERED), first_line=first_line, feed=FeedPosition())])

    at_once = read(rows)
    carefully = read([*rows, b'"'])[:-1]  # one odd row, and its whole stretch is read with care
    one_by_one = [row for n, line in enumerate(rows, 2) for row in read([line], n)]
    assert at_once == carefully == one_by_one


def test_columns_of_csv_come_in_any_order_with_others_between_and_rows_that_are_none_are_kept_as_they_came():
    feed = (
        b"\xef\xbb\xbfweather,y,ds,unique_id\r\n"
        b'rain,1.5,2024-01-01 00:00,"store, the first"\r\n'
        b"sun,,2024-01-01T01:00,b\r\n"
        b"sun,many,2024-01-01T01:00,c\r\n"
        b"sun,2,2024-01-01T01:30,c\r\n"
        b"sun,2,2024-01-01T01:00\r\n"
        b"weather,y,ds,unique_id\r\n"
        b"sun,3,2024-01-01T02:00,b"
    )
    (batch,) = open_source(io.BytesIO(feed), HOURLY, format="csv", max_batch=100, max_latency_ms=1e6)
    assert batch.ids == ("store, the first", "b", "b")
    assert batch.values.tolist() == pytest.approx([1.5, np.nan, 3.0], nan_ok=True)
    assert batch.original(0) == b'rain,1.5,2024-01-01 00:00,"store, the first"\r'
    assert [(letter.line, letter.arrival.label, letter.original) for letter in batch.rejected] == [
        (4, "malformed", b"sun,many,2024-01-01T01:00,c\r"),
        (5, "misaligned", b"sun,2,2024-01-01T01:30,c\r"),
        (6, "malformed", b"sun,2,2024-01-01T01:00\r"),
    ]
    assert "expected a number, or nothing where it is missing" in batch.rejected[0].reason
    assert "the row has 3 cells; expected 4" in batch.rejected[2].reason


def test_a_feed_without_a_header_is_refused_with_what_it_began_with():
    with pytest.raises(DataError, match=r"begins with 'a,2024-01-01,1'; expected a header"):
        list(open_source(io.BytesIO(b"a,2024-01-01,1\n"), HOURLY, format="csv"))


# -- Arrow -------------------------------------------------------------------------------------------------------------------


def as_stream(batch: pa.RecordBatch, *, cuts: int = 1000) -> io.BytesIO:
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, batch.schema) as writer:
        for first in range(0, len(batch), cuts):
            writer.write_batch(batch.slice(first, cuts))
    return io.BytesIO(stream.getvalue())


def arrow(unique_id, ds, y) -> pa.RecordBatch:
    return pa.record_batch([unique_id, ds, y], names=["unique_id", "ds", "y"])


@pytest.mark.parametrize(
    "ids",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
    ids=str,
)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_columns_of_any_type_say_the_same_as_lines_of_json(ids, unit):
    rows = frame()
    batch = arrow(pa.array(rows["unique_id"]).cast(ids), pa.array(rows["ds"]).cast(pa.timestamp(unit)), pa.array(rows["y"]))
    lines = [orjson.dumps({"unique_id": u, "ds": ds.isoformat(), "y": y}) for u, ds, y in rows.itertuples(index=False)]
    expected = read_arrivals(lines, HOURLY, first_line=1, feed=FeedPosition())
    found = list(open_source(as_stream(batch, cuts=5), HOURLY, format="arrow", max_batch=7, max_latency_ms=1e6))
    assert [len(part) for part in found] == [7, 7, 7, 3]
    assert [unique_id for part in found for unique_id in part.ids] == list(expected.ids)
    assert np.concatenate([part.positions for part in found]).tolist() == expected.positions.tolist()
    assert np.concatenate([part.values for part in found]).tolist() == expected.values.tolist()
    assert np.concatenate([part.lines for part in found]).tolist() == expected.lines.tolist()


def test_ids_that_came_as_codes_stay_codes_of_the_same_names():
    ids = pa.array(["b", "a", "b", "a"]).dictionary_encode()
    batch = arrow(ids, pa.array([1, 1, 2, 2]), pa.array([1, 2, 3, None]))
    parts = list(open_source(as_stream(batch, cuts=2), NUMBERED, format="arrow", max_batch=2))
    assert all(isinstance(part.ids, CodedIds) for part in parts)
    assert parts[0].ids.names is parts[1].ids.names
    assert [list(part.ids) for part in parts] == [["b", "a"], ["b", "a"]]
    assert parts[1].values.tolist() == pytest.approx([3.0, np.nan], nan_ok=True)


def test_times_are_read_on_the_clock_they_were_written_on():
    utc = pd.date_range("2024-10-26 22:00", periods=6, freq="h")  # through the end of summer time
    local = pa.array(utc).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us", "Europe/Berlin"))
    naive = pa.array(utc.tz_localize("UTC").tz_convert("Europe/Berlin").tz_localize(None))
    names, values = pa.array(["a"] * 6), pa.array(np.arange(6.0))
    (aware,) = open_source(as_stream(arrow(names, local, values)), BERLIN, format="arrow")
    assert (BERLIN.timestamps(aware.positions) == utc).all()
    (clock,) = open_source(as_stream(arrow(names, naive, values)), BERLIN, format="arrow")
    assert clock.lines.tolist() == [1, 2, 5, 6]  # the clock shows 02:00 twice
    assert "twice or never" in clock.rejected[0].reason
    with pytest.raises(DataError, match="in the time zone Europe/Berlin, and this panel's clock has none"):
        list(open_source(as_stream(arrow(names, local, values)), HOURLY, format="arrow"))


def test_rows_that_are_no_observations_become_dead_letters_that_can_be_mended():
    ids = pa.array(["a", None, " ", "b", "c", "d", "e"])
    ds = pa.array([0, 0, 0, 1800, None, 2**45, 3600]).cast(pa.timestamp("s"))
    y = pa.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, np.inf])
    (batch,) = open_source(as_stream(arrow(ids, ds, y)), HOURLY, format="arrow")
    assert list(batch.ids) == ["a"]
    reasons = {letter.line: (letter.arrival.label, letter.reason) for letter in batch.rejected}
    assert [reasons[n][0] for n in range(2, 8)] == ["malformed", "malformed", "misaligned", "malformed", "malformed", "malformed"]
    for line, reason in {
        2: "unique_id is empty",
        4: "between steps of 'h'",
        5: "ds is null",
        6: "a year from",
        7: "y is inf",
    }.items():
        assert reason in reasons[line][1]
    assert orjson.loads(batch.rejected[2].original) == {"unique_id": "b", "ds": "1970-01-01 00:30:00", "y": 4.0}


@pytest.mark.parametrize(
    ("columns", "told_what"),
    [
        ({"unique_id": ["a"], "y": [1.0]}, "expected one ds"),
        ({"unique_id": [1.5], "ds": [1], "y": [1.0]}, "unique_id is of type double"),
        ({"unique_id": ["a"], "ds": ["x"], "y": [1.0]}, "this panel counts steps"),
        ({"unique_id": ["a"], "ds": [1], "y": ["1.0"]}, "y is of type string"),
    ],
)
def test_columns_that_cannot_be_observations_are_refused_at_once(columns, told_what):
    with pytest.raises(DataError, match=told_what):
        list(open_source(as_stream(pa.record_batch(columns)), NUMBERED, format="arrow"))


def test_a_stream_that_is_cut_off_is_read_up_to_there_and_one_that_is_none_is_refused():
    batch = arrow(pa.array(["a"] * 10), pa.array(np.arange(10)), pa.array(np.arange(10.0)))
    data = as_stream(batch, cuts=4).getvalue()
    for cut in (40, 250, 400):  # inside a message, as further ones are
        stream = io.BytesIO(data[: len(data) - cut])
        parts = list(open_source(stream, NUMBERED, format="arrow", max_batch=100, max_latency_ms=1e6))
        taken = sum(map(len, parts))
        assert taken in (4, 8)
        assert "ends within the record batch" in parts[-1].rejected[0].reason
        assert parts[-1].feed.lines == taken
    with pytest.raises(DataError, match="is no Arrow IPC stream"):
        list(open_source(io.BytesIO(b'{"unique_id": "a"}\n' * 100), NUMBERED, format="arrow"))


def test_streams_one_after_another_are_one_feed(tmp_path):
    batch = arrow(pa.array(["a"] * 5), pa.array(np.arange(5)), pa.array(np.arange(5.0)))
    (tmp_path / "days.arrows").write_bytes(2 * as_stream(batch).getvalue())
    other = as_stream(arrow(pa.array(["a"]), pa.array([1]), pa.array([1]))).getvalue()
    for spec in (tmp_path / "days.arrows", io.BytesIO(2 * as_stream(batch).getvalue())):
        parts = list(open_source(spec, NUMBERED, format="arrow"))
        assert [ds for part in parts for ds in part.positions.tolist()] == [*range(5), *range(5)]
    for spec in (tmp_path / "mixed.arrows", io.BytesIO(as_stream(batch).getvalue() + other)):
        (tmp_path / "mixed.arrows").write_bytes(as_stream(batch).getvalue() + other)
        *_, last = open_source(spec, NUMBERED, format="arrow")
        assert "another stream follows, of another schema" in last.rejected[0].reason


def test_small_record_batches_share_a_micro_batch_whatever_their_codes_are():
    stream = io.BytesIO()
    parts = [
        arrow(pa.array(list(names)).dictionary_encode(), pa.array([n, n]), pa.array([n, n]))
        for n, names in enumerate(["ab", "cb"])
    ]
    with pa.ipc.new_stream(stream, parts[0].schema) as writer:
        for part in [*parts, parts[0].slice(0, 0), *parts]:
            writer.write_batch(part)
    source = open_source(io.BytesIO(stream.getvalue()), NUMBERED, format="arrow", max_batch=100, max_latency_ms=1e6)
    (batch,) = source
    assert list(batch.ids) == ["a", "b", "c", "b"] * 2
    assert batch.positions.tolist() == [0, 0, 1, 1] * 2


def test_a_stop_is_noticed_within_a_record_batch():
    read_end, write_end = os.pipe()
    data = as_stream(arrow(pa.array(["a"] * 5), pa.array(np.arange(5)), pa.array(np.arange(5.0)))).getvalue()
    stop = threading.Event()
    with open(read_end, "rb") as stream, open(write_end, "wb", buffering=0) as writer:
        writer.write(data[:-60])
        threading.Timer(0.2, stop.set).start()
        parts = list(open_source(stream, NUMBERED, format="arrow", should_stop=stop.is_set))
    assert sum(map(len, parts)) == 0
    assert "ends within the record batch" in parts[0].rejected[0].reason


def test_damaged_rows_do_not_crash_a_stream():
    data = bytearray(as_stream(arrow(pa.array(["a", "b"]), pa.array([1, 2]), pa.array([1.0, 2.0]))).getvalue())
    generator = np.random.default_rng(3)
    for _ in range(300):
        flipped = bytearray(data)
        flipped[generator.integers(len(data))] ^= 1 << int(generator.integers(8))
        with contextlib.suppress(DataError):
            list(open_source(io.BytesIO(bytes(flipped)), NUMBERED, format="arrow"))


# -- Parquet and panels ------------------------------------------------------------------------------------------------------


def test_parquet_is_replayed_in_the_order_of_arrival_where_that_is_known(tmp_path):
    rows = frame(series=2, hours=3)
    rows["arrival"] = rows["ds"].iloc[::-1].to_numpy()
    rows.to_parquet(tmp_path / "arrived.parquet")
    read = list(open_source(tmp_path / "arrived.parquet", HOURLY))
    expected = rows.sort_values("arrival", kind="stable")
    assert [unique_id for batch in read for unique_id in batch.ids] == expected["unique_id"].tolist()
    assert np.concatenate([batch.values for batch in read]).tolist() == expected["y"].tolist()


def test_a_table_with_codes_and_holes_is_replayed(tmp_path):
    rows = frame(series=2, hours=2)
    rows["unique_id"] = rows["unique_id"].astype("category")
    rows["ds"] = rows["ds"].dt.strftime("%Y-%m-%dT%H:%M").astype("category")
    rows["arrival"] = [pd.Timestamp("2024-01-02"), pd.NaT, pd.Timestamp("2024-01-01"), pd.NaT]
    rows.to_parquet(tmp_path / "feed.parquet")
    for speed in (None, 1e9):
        batches = list(open_source(tmp_path / "feed.parquet", HOURLY, speed=speed))
        assert [unique_id for batch in batches for unique_id in batch.ids] == ["s0", "s0", "s1", "s1"]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "panel"])
def test_a_replay_keeps_the_pace_it_is_told(tmp_path, kind):
    rows = frame(series=2, hours=4)
    spec = Panel.from_frame(rows, HOURLY) if kind == "panel" else write(tmp_path, kind, rows)
    batches, times = [], []
    for batch in open_source(spec, HOURLY, speed=3600 / 0.05):
        batches.append(batch)
        times.append(time.monotonic())
    assert [len(batch) for batch in batches] == [2, 2, 2, 2]
    assert times[-1] - times[0] >= 0.14  # three hours at 50 ms each
    stopped = list(open_source(spec, HOURLY, speed=1e-6, should_stop=iter([False] * 4 + [True] * 99).__next__))
    assert len(stopped) <= 1
    assert sum(map(len, open_source(spec, HOURLY, speed=0.0))) == 8
    with pytest.raises(ConfigError, match="speed is -1"):
        list(open_source(spec, HOURLY, speed=-1.0))
    numbered = Panel.from_frame(rows.assign(ds=rows["ds"].dt.hour), NUMBERED)
    with pytest.raises(ConfigError, match="--speed needs dates"):
        list(open_source(numbered, NUMBERED, speed=1.0))


# -- what goes together ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "given", "told_what"),
    [
        ("feed.xlsx", {}, "ends in no known suffix"),
        ("feed.ndjson", {"format": "xml"}, "xml is no format here; choose ndjson"),
        ("feed.ndjson", {"speed": 2.0}, "--speed does not go with that"),
        ("feed.parquet", {"follow": True}, "--follow does not go with that"),
        ("-", {"speed": 2.0}, "--speed does not go with that"),
        ("redis://localhost/x", {"is_whole": True}, "--from-start does not go with that"),
    ],
)
def test_what_does_not_go_together_is_told(spec, given, told_what):
    with pytest.raises(ConfigError, match=told_what):
        open_source(spec, HOURLY, **given)


def test_a_feed_that_is_not_there_is_told():
    for name in ("nowhere.ndjson", "nowhere.csv", "nowhere.arrow", "nowhere.parquet"):
        with pytest.raises(DataError, match="cannot be read"):
            list(open_source(name, HOURLY))
    with pytest.raises(DataError, match="dead letters nowhere cannot be read"):
        list(open_source("nowhere", HOURLY, format="dead_letters"))
    with pytest.raises(ConfigError, match="needs a file"):
        list(open_source(io.BytesIO(), HOURLY, format="parquet"))


# -- dead letters ------------------------------------------------------------------------------------------------------------


def test_dead_letters_that_were_mended_are_observations_again(tmp_path):
    feed = b'{"unique_id": "a", "ds": 1, "y": Infinity}\n{"unique_id": "b", "ds": 2, "y": "x"}\n\xff\n{"unique_id": "c", "ds": 3'
    letters = DeadLetters(tmp_path / "dead.ndjson", committed_bytes=0)
    for batch in open_source(io.BytesIO(feed), NUMBERED):
        letters.write(batch.rejected)
    mended = [json.loads(line) for line in letters.path.read_bytes().splitlines()]
    assert [letter["line"] for letter in mended] == [1, 2, 3, 4]
    mended[0]["original"] = mended[0]["original"].replace("Infinity", "null")
    mended[1]["original"] = "b,2,1.5"  # a row of CSV does as well
    committed = FeedPosition(4, 5, 6, "file:1:2:3")
    letters.path.write_text("".join(json.dumps(letter) + "\n" for letter in mended) + "not a letter\n")
    (batch,) = open_source(letters.path, NUMBERED, format="dead_letters", committed=committed)
    assert (batch.ids, batch.positions.tolist(), batch.feed) == (("a", "b"), [1, 2], committed)
    assert [letter.line for letter in batch.rejected] == [3, 4, 5]
    assert [letter.original for letter in batch.rejected] == [b"\xff", b'{"unique_id": "c", "ds": 3', b"not a letter"]
    assert "expected a dead letter with its original" in batch.rejected[2].reason


# -- forecasts ---------------------------------------------------------------------------------------------------------------


def forecasts(first: int, count: int = 5, *, frequency: Frequency = HOURLY, horizon: int = 3) -> LiveForecast:
    generator = np.random.default_rng(first)
    ids = tuple(['"a", or %s', "b", "ä", "7"][n % 4] for n in range(count))
    values = np.sort(generator.normal(size=(count, horizon, 3)), axis=2)
    values[:1, 0, 0] = np.nan
    forecast = Forecast(ids, np.arange(first, first + count), (0.1, 0.5, 0.975), values, frequency, {})
    return LiveForecast(forecast, np.arange(count), np.arange(count) % 2 == 0)


def emit(path: Path, parts: list[LiveForecast], *, committed: int = 0, frequency: Frequency = HOURLY) -> list[int]:
    """The lengths after each part; closed as a stream does that ends well."""
    sink = open_sink(path, frequency, committed_bytes=committed)
    lengths = []
    for part in parts:
        sink.emit(part)
        sink.sync()
        lengths.append(sink.length)
    sink.close()
    return lengths


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "arrow"])
def test_a_file_of_forecasts_goes_on_from_every_length_that_was_committed_as_if_nothing_had_happened(tmp_path, suffix):
    parts = [forecasts(first) for first in (0, 10, 20)]
    lengths = [0, *emit(tmp_path / f"whole.{suffix}", parts)]
    whole = (tmp_path / f"whole.{suffix}").read_bytes()
    for n, length in enumerate(lengths):
        for torn in (length, length + 1, len(whole)):
            path = tmp_path / f"torn.{suffix}"
            path.write_bytes(whole[:torn])
            emit(path, parts[n:], committed=length)
            assert path.read_bytes() == whole


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "arrow"])
def test_a_file_that_is_not_as_it_was_left_is_refused_and_one_that_is_gone_is_begun_anew(tmp_path, suffix):
    path = tmp_path / "deep" / f"out.{suffix}"
    (length,) = emit(path, [forecasts(0)])
    whole = path.read_bytes()
    path.write_bytes(whole[: length - 1])
    with pytest.raises(StateError, match="expected the file as it was left"):
        open_sink(path, HOURLY, committed_bytes=length)
    path.unlink()
    emit(path, [forecasts(0)], committed=length)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("suffix", ["csv", "arrow"])
def test_a_file_of_another_models_forecasts_is_refused(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    (length,) = emit(path, [forecasts(0)])
    changed = forecasts(10, horizon=4)
    changed = LiveForecast(
        Forecast(changed.forecast.ids, changed.forecast.origins, (0.2, 0.5, 0.9), changed.forecast.values, HOURLY, {}),
        changed.counts,
        changed.is_warming,
    )
    with pytest.raises(StateError, match=r"expected the (rows|forecasts) of one model"):
        emit(path, [changed], committed=length)


@pytest.mark.parametrize("frequency", [HOURLY, BERLIN, NUMBERED], ids=["hourly", "berlin", "numbered"])
def test_csv_is_the_frame_of_the_forecast(tmp_path, frequency):
    live = forecasts(475_000, frequency=frequency)
    emit(tmp_path / "out.csv", [live], frequency=frequency)
    with (tmp_path / "out.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    expected = live.forecast.to_frame()
    assert header == list(expected.columns)
    assert [row[0] for row in rows] == expected["unique_id"].tolist()
    for column, at in (("ds", 1), ("origin", 2)):
        stamps = [int(row[at]) if frequency.is_numbered else pd.Timestamp(row[at]) for row in rows]
        assert stamps == expected[column].tolist()
    numbers = [[float(cell or "nan") for cell in row[3:]] for row in rows]
    np.testing.assert_array_equal(numbers, expected.iloc[:, 3:].to_numpy(float))


@pytest.mark.parametrize("frequency", [HOURLY, BERLIN, NUMBERED], ids=["hourly", "berlin", "numbered"])
def test_arrow_holds_what_was_forecast(tmp_path, frequency):
    parts = [forecasts(475_000, frequency=frequency), forecasts(475_100, frequency=frequency)]
    emit(tmp_path / "out.arrow", parts, frequency=frequency)
    table = pa.ipc.open_stream(tmp_path / "out.arrow").read_all()
    assert table.schema.metadata[b"frequency"] == frequency.alias.encode()
    assert table["unique_id"].to_pylist() == [unique_id for part in parts for unique_id in part.forecast.ids]
    origins = np.concatenate([part.forecast.origins for part in parts])
    assert table["origin"].to_pylist() == frequency.labels(origins).tolist()
    for q, name in enumerate(("q0.1", "q0.5", "q0.975")):
        values = np.stack([np.array(row, dtype=float) for row in table[name].to_pylist()])
        np.testing.assert_array_equal(values, np.concatenate([part.forecast.values[:, :, q] for part in parts]))
    assert table["count"].to_pylist() == [*range(5), *range(5)]


def test_a_pipe_gets_what_a_file_gets(tmp_path):
    parts = [forecasts(0), forecasts(10)]
    for suffix in ("ndjson", "csv", "arrow"):
        emit(tmp_path / f"out.{suffix}", parts)
        stream = io.BytesIO()
        sink = open_sink(stream, HOURLY, format=suffix)
        assert not sink.is_cut_back
        for part in parts:
            sink.emit(part)
        sink.close()
        assert stream.getvalue() == (tmp_path / f"out.{suffix}").read_bytes()


def test_a_stream_without_forecasts_writes_nothing(tmp_path):
    for suffix in ("ndjson", "csv", "arrow"):
        emit(tmp_path / f"out.{suffix}", [forecasts(0, count=0)])
        assert (tmp_path / f"out.{suffix}").read_bytes() == b""


@pytest.mark.parametrize("suffix", ["ndjson", "csv", "arrow"])
def test_a_reader_that_left_does_not_keep_a_sink_from_closing(suffix):
    read_end, write_end = os.pipe()
    stream = open(write_end, "wb")  # noqa: SIM115 - closed below, when its reader is gone
    with contextlib.closing(stream):
        sink = open_sink(stream, HOURLY, format=suffix)
        sink.emit(forecasts(0))
        os.close(read_end)
        sink.close()
        again = open_sink(stream, HOURLY, format=suffix)
        with pytest.raises(BrokenPipeError):
            again.emit(forecasts(0))
        again.close()


def test_a_named_pipe_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "feed")
    writer = threading.Thread(target=lambda: (tmp_path / "feed").write_bytes(b'{"unique_id": "a", "ds": 1, "y": 2}\n'))
    writer.start()
    (batch,) = open_source(tmp_path / "feed", NUMBERED, format="ndjson")
    writer.join()
    assert batch.ids == ("a",)
    sink = open_sink("/dev/null", HOURLY, format="csv")
    sink.emit(forecasts(0))
    sink.close()
    assert not sink.is_cut_back


def test_a_disk_that_refuses_is_told(tmp_path):
    full = open_sink("/dev/full", HOURLY, format="arrow")
    with pytest.raises(StateError, match=r"forecasts cannot be written \(No space left"), contextlib.closing(full):
        full.emit(forecasts(0))
    with pytest.raises(StateError, match="expected room and permission"):
        open_sink(tmp_path, HOURLY, format="ndjson")
