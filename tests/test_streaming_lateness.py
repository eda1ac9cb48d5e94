"""What a line becomes, and what an observation is to its series."""

import numpy as np
import orjson
import pytest

from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import LONGEST_LINE, place_dates, read_arrivals
from forecaster.streaming.lateness import NEVER, Arrival, classify_arrivals
from forecaster.streaming.live import FeedPosition

HOURLY = Frequency("h")
NUMBERED = Frequency("step", is_numbered=True)
BERLIN = Frequency("h", time_zone="Europe/Berlin")
BERLIN_DAILY = Frequency("D", time_zone="Europe/Berlin")
HAVANA_DAILY = Frequency("D", time_zone="America/Havana")  # where clocks change at midnight


def read(*lines: bytes, frequency: Frequency = NUMBERED):
    return read_arrivals(lines, frequency, first_line=1, feed=FeedPosition(len(lines)))


def position(ds: str | int, frequency: Frequency):
    return place_dates([ds], frequency)[ds]


def hour(text: str) -> int:
    return int(np.datetime64(text, "h").astype(int))


@pytest.mark.parametrize(
    ("last_position", "known_y", "at", "y", "expected"),
    [
        (5, 1.0, 6, 9.0, Arrival.NEXT),
        (5, 1.0, 7, 9.0, Arrival.GAP),
        (5, 1.0, 8, 9.0, Arrival.GAP),
        (5, 1.0, 9, 9.0, Arrival.TOO_FAR),
        (5, 1.0, 5, 1.0, Arrival.DUPLICATE),
        (5, np.nan, 5, np.nan, Arrival.DUPLICATE),
        (5, 1.0, 5, 2.0, Arrival.REVISION),
        (5, 1.0, 5, np.nan, Arrival.REVISION),
        (5, np.nan, 5, 1.0, Arrival.LATE),
        (5, np.nan, 4, 1.0, Arrival.LATE),
        (5, 3.0, 4, 1.0, Arrival.REVISION),
        (5, 1.0, 4, 1.0, Arrival.DUPLICATE),
        (5, 1.0, 3, 2.0, Arrival.REVISION),
        (5, 1.0, 2, 1.0, Arrival.TOO_LATE),
        (1, 9.0, 0, 9.0, Arrival.LATE),
        (NEVER, np.nan, -(10**15), 1.0, Arrival.UNKNOWN),
        (NEVER, np.nan, 10**15, np.nan, Arrival.UNKNOWN),
    ],
)
def test_an_observation_is_told_by_what_its_series_was_stepped_through(last_position, known_y, at, y, expected):
    codes = classify_arrivals(
        np.array([at]),
        np.array([y]),
        last_positions=np.array([last_position]),
        first_positions=np.array([1 if last_position != NEVER else NEVER]),
        known_y=np.array([known_y]),
        max_gap=2,
        window=3,
    )
    assert Arrival(codes[0]) is expected


@pytest.mark.parametrize("y", [b"NaN", b"null", b" NaN "])
def test_a_value_that_is_no_number_is_missing_as_json_or_as_python_writes_it(y: bytes):
    arrivals = read(b'{"unique_id": "a", "y":' + y + b', "ds": 1}')
    assert np.isnan(arrivals.values).tolist() == [True]
    assert not arrivals.rejected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b"[1, 2]", "the line is [1, 2]; expected a JSON object"),
        (b'{"ds": 1, "y": 2}', "unique_id is missing; found ['ds', 'y']"),
        (b'{"unique_id": "a", "y": 2}', "ds is missing"),
        (b'{"unique_id": "  ", "ds": 1, "y": 2}', "unique_id is '  '; expected text that is not empty"),
        (b'{"unique_id": true, "ds": 1, "y": 2}', "unique_id is True"),
        (b'{"unique_id": null, "ds": 1, "y": 2}', "unique_id is None"),
        (b'{"unique_id": "a", "ds": true, "y": 2}', "ds is True"),
        (b'{"unique_id": "a", "ds": 1.5, "y": 2}', "ds is 1.5"),
        (b'{"unique_id": "a", "ds": "2024-01-01", "y": 2}', "this panel counts steps"),
        (b'{"unique_id": "a", "ds": 18446744073709551615, "y": 2}', "expected no more than 2**53"),
        (b'{"unique_id": "a", "ds": 1, "y": true}', "y is True; expected a number"),
        (b'{"unique_id": "a", "ds": 1, "y": "2"}', "y is '2'; expected a number"),
        (b'{"unique_id": "a", "ds": 1, "y": [2]}', "y is [2]"),
        (b'{"unique_id": "a", "ds": NaN, "y": 1}', "Write null for a missing value"),
        (b'{"unique_id": "a", "ds": 1, "y": -Infinity}', "Send a finite one"),
        (b'{"unique_id": "a", "ds": 1, "y": 1e999}', "Send a finite one"),
        (b'{"unique_id": "a", "ds": 1, "y": 1e31}', "y is 1e+31; expected no more than 1e+30"),
        (b'{"unique_id": "a", "ds": 1, "y": 1' + b"0" * 40 + b"}", "Rescale the series"),
        (b"[" * 5_000, "is not JSON"),
        (b"x" * (LONGEST_LINE + 1), "the line is longer than 1,000,000 bytes"),
    ],
)
def test_a_line_that_is_no_observation_says_why(line, reason):
    arrivals = read(line)
    assert len(arrivals) == 0
    (letter,) = arrivals.rejected
    assert letter.arrival is Arrival.MALFORMED
    assert reason in letter.reason
    assert letter.original == line[:1_000] if len(line) > LONGEST_LINE else letter.original == line


def test_a_missing_value_may_be_null_or_left_out():
    arrivals = read(b'{"unique_id": "a", "ds": 1, "y": null}', b'{"unique_id": "a", "ds": 2}')
    assert arrivals.positions.tolist() == [1, 2]
    assert np.isnan(arrivals.values).all()


def test_ids_are_trimmed_and_numbers_are_ids_too():
    arrivals = read(b'{"unique_id": " a\\t", "ds": 1, "y": 1}', b'{"unique_id": 7, "ds": 1, "y": 1}')
    assert arrivals.ids == ("a", "7")


def test_blank_lines_carriage_returns_and_a_byte_order_mark_are_passed_over():
    arrivals = read(b'\xef\xbb\xbf{"unique_id": "a", "ds": 1, "y": 1}\r', b"", b" \r", b'{"unique_id": "a", "ds": 2, "y": 1}\r')
    assert arrivals.lines.tolist() == [1, 4]
    assert not arrivals.rejected


@pytest.mark.parametrize(
    ("ds", "frequency", "expected"),
    [
        ("2024-01-01T05:00", HOURLY, hour("2024-01-01T05")),
        (" 2024-01-01 05:00:00 ", HOURLY, hour("2024-01-01T05")),
        ("2024-01-01T05:00:00Z", HOURLY, hour("2024-01-01T05")),
        ("2024-01-01T05:00", BERLIN, hour("2024-01-01T04")),
        ("2024-07-01T05:00", BERLIN, hour("2024-07-01T03")),
        ("2024-07-01T05:00-02:00", BERLIN, hour("2024-07-01T07")),
        ("2024-10-27T02:00+02:00", BERLIN, hour("2024-10-27T00")),
        ("2024-10-27T02:00+01:00", BERLIN, hour("2024-10-27T01")),
        ("2024-10-27", BERLIN_DAILY, 20023),
        ("2024-10-26T22:00Z", BERLIN_DAILY, 20023),
        ("2024-03-10", HAVANA_DAILY, 19792),  # begins at 01:00
        ("2024-11-03", HAVANA_DAILY, 20030),  # has two midnights
        ("2024-02", Frequency("MS"), 649),
        ("2024-02-29", Frequency("ME"), 649),
        (17, Frequency("step", is_numbered=True, stride=5, phase=2), 3),
    ],
)
def test_a_date_has_the_position_that_its_clock_gives_it(ds, frequency, expected):
    assert position(ds, frequency) == expected


@pytest.mark.parametrize(
    ("ds", "frequency", "arrival", "reason"),
    [
        ("2024-01-01T05:20", HOURLY, Arrival.MISALIGNED, "the one before is 2024-01-01 05:00:00"),
        ("2024-01-06", Frequency("B"), Arrival.MISALIGNED, "the one before is 2024-01-05"),
        (18, Frequency("step", is_numbered=True, stride=5, phase=2), Arrival.MISALIGNED, "the one before is 17"),
        ("2024-10-27T02:00", BERLIN, Arrival.MALFORMED, "shows this ds twice or never"),
        ("2024-03-31T02:00", BERLIN, Arrival.MALFORMED, "shows this ds twice or never"),
        ("2024-01-01T05:00+02:00", HOURLY, Arrival.MALFORMED, "no time zone"),
        (1704067200, HOURLY, Arrival.MALFORMED, "this panel has dates"),
        ("now", HOURLY, Arrival.MALFORMED, "expected ISO 8601"),
        ("01/02/2024", HOURLY, Arrival.MALFORMED, "expected ISO 8601"),
        ("0000-00-00", HOURLY, Arrival.MALFORMED, "expected ISO 8601"),
        ("0001-01-01", HOURLY, Arrival.MALFORMED, "expected a year from 1678 to 2200"),
        ("9999-12-31T23:00-12:00", BERLIN, Arrival.MALFORMED, "expected a year from 1678 to 2200"),
        ("", HOURLY, Arrival.MALFORMED, "expected ISO 8601"),
    ],
)
def test_a_date_without_a_position_says_why(ds, frequency, arrival, reason):
    place = position(ds, frequency)
    assert place.arrival is arrival
    assert reason in place.reason


def test_many_dates_of_all_kinds_are_placed_like_each_alone():
    stamps = ["2024-10-27T01:00", "2024-10-27T02:00", "2024-10-27T02:00+01:00", "soon", "2024-10-27T03:30", "2024-10-27T04:00"]
    assert place_dates(stamps, BERLIN) == {ds: position(ds, BERLIN) for ds in stamps}


def test_dead_letters_of_a_batch_stand_in_the_order_of_its_lines():
    lines = [orjson.dumps({"unique_id": "a", "ds": ds, "y": 1}) for ds in ("soon", "2024-01-01T00:30", "2024-01-01")]
    arrivals = read(lines[1], b"{", lines[0], lines[2], b"[]", frequency=HOURLY)
    assert [letter.line for letter in arrivals.rejected] == [1, 2, 3, 5]
    assert arrivals.original(0) == lines[2]
