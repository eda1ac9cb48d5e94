"""Positions and timestamps are two names of one thing; pandas' own date ranges are the truth."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import DataError
from forecaster.frequency import DAY_NS, Frequency, phase_of

ALIASES = [
    "s",
    "5min",
    "15min",
    "h",
    "6h",
    "D",
    "2D",
    "B",
    "W-SUN",
    "W-WED",
    "W-SAT",
    "MS",
    "ME",
    "2MS",
    "QS-FEB",
    "QE-DEC",
    "QE-NOV",
]
ALIASES += ["QS", "QE", "YS", "YE", "YS-APR", "YE-JUN"]
ZONES = [None, "UTC", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kathmandu", "Africa/Cairo", "UTC+02:00"]
numbers = st.lists(st.integers(-3_000, 30_000), min_size=1, max_size=20)


def on_grid(alias, start="2019-03-03", periods=60, zone=None):
    """A date range of pandas, as naive UTC, and the frequency that counts it."""
    times = pd.date_range(start, periods=periods, freq=alias, tz=zone)
    utc = times.tz_convert("UTC").tz_localize(None) if zone else times
    clock = times.tz_localize(None) if alias not in ("s", "5min", "15min", "h", "6h") else utc
    return utc, Frequency(alias, zone, phase=phase_of(alias, clock))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("alias", ALIASES)
def test_a_date_range_of_pandas_lies_at_consecutive_positions(alias, zone):
    times, frequency = on_grid(alias, zone=zone)
    positions = frequency.positions(times)
    assert list(np.diff(positions)) == [1] * 59
    assert frequency.is_aligned(times).all()
    np.testing.assert_array_equal(np.asarray(frequency.timestamps(positions)), times.to_numpy())


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("alias", ALIASES)
@given(shares=st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=15, deadline=None)
def test_positions_come_back_from_their_timestamps(alias, zone, shares):
    frequency = Frequency(alias, zone)
    first, last = frequency.positions(pd.DatetimeIndex(["1800-01-01", "2200-01-01"]))
    array = np.asarray([first + round(share * (last - first)) for share in shares])
    stamps = frequency.timestamps(array)
    np.testing.assert_array_equal(frequency.positions(stamps), array)
    assert frequency.is_aligned(stamps).all()


@given(positions=numbers, stride=st.integers(1, 1_000), phase=st.integers(-50, 50))
def test_numbered_positions_come_back_from_their_numbers(positions, stride, phase):
    frequency = Frequency("step", is_numbered=True, stride=stride, phase=phase)
    array = np.asarray(positions)
    np.testing.assert_array_equal(frequency.positions(frequency.timestamps(array)), array)


@pytest.mark.parametrize("alias", ALIASES)
def test_later_times_have_no_earlier_position(alias):
    times = pd.date_range("2023-01-01", periods=3_000, freq="7h")
    assert (np.diff(Frequency(alias).positions(times)) >= 0).all()


@pytest.mark.parametrize("alias", ["15min", "h", "D", "B", "W-SUN", "MS", "QS"])
def test_a_time_between_two_grid_points_counts_as_the_earlier_and_is_not_aligned(alias):
    times, frequency = on_grid(alias)
    between = times + pd.Timedelta(seconds=1)
    np.testing.assert_array_equal(frequency.positions(between), frequency.positions(times))
    assert not frequency.is_aligned(between).any()


def test_days_of_a_zone_are_counted_across_a_clock_change():
    days = pd.date_range("2024-03-29", periods=5, freq="D", tz="Europe/Berlin").tz_convert("UTC").tz_localize(None)
    assert list(np.diff(days) / np.timedelta64(1, "h")) == [24, 24, 23, 24]
    assert list(np.diff(Frequency("D", "Europe/Berlin").positions(days))) == [1, 1, 1, 1]


def test_labels_are_on_the_clock_of_the_zone():
    frequency = Frequency("h", "Asia/Kathmandu")
    label = frequency.labels(frequency.positions(pd.DatetimeIndex(["2024-01-01 00:00"]))).iloc[0]
    assert str(label) == "2024-01-01 05:45:00+05:45"


@pytest.mark.parametrize(
    ("alias", "season_lengths", "horizon"),
    [
        ("5min", (288, 2016), 96),
        ("15min", (96, 672), 96),
        ("h", (24, 168), 48),
        ("6h", (4, 28), 8),
        ("D", (7,), 14),
        ("B", (5,), 10),
        ("W-SUN", (52,), 13),
        ("MS", (12,), 18),
        ("2MS", (6,), 6),
        ("QE-DEC", (4,), 8),
        ("YS", (), 6),
    ],
)
def test_seasons_and_horizons_follow_from_the_calendar(alias, season_lengths, horizon):
    frequency = Frequency(alias)
    assert (frequency.season_lengths, frequency.horizon) == (season_lengths, horizon)
    assert frequency.season_length == (season_lengths[0] if season_lengths else 1)


def test_a_phase_puts_most_times_on_the_grid():
    times = pd.DatetimeIndex(["2024-01-01 00:04", "2024-01-01 00:09", "2024-01-01 00:15"])
    frequency = Frequency("5min", phase=phase_of("5min", times))
    assert list(frequency.is_aligned(times)) == [True, True, False]
    assert phase_of("W-SAT", pd.DatetimeIndex(["2024-01-06"])) == 2 * DAY_NS
    assert phase_of("h", pd.DatetimeIndex([])) == 0


@pytest.mark.parametrize("alias", ["fortnight", "", "2B", "SMS", "BME", "C"])
def test_an_alias_that_cannot_be_counted_is_refused(alias):
    with pytest.raises(DataError, match="is not one that can be counted in; use a pandas alias such as h, 15min, D"):
        Frequency(alias)


def test_steps_are_numbers():
    with pytest.raises(DataError, match="frequency 'step' is for numbered steps"):
        Frequency("step")
    with pytest.raises(DataError, match="stride is 0; expected 1 or more"):
        Frequency("step", is_numbered=True, stride=0)
