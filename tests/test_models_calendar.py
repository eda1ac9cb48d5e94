"""The calendar says of a position what people would say of its date."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.errors import ConfigError
from forecaster.frequency import Frequency
from forecaster.models.calendar import Calendar, check_country, harmonics_of


def row(calendar, time):
    """The inputs at one time, given in UTC."""
    position = calendar.frequency.positions(pd.DatetimeIndex([time]))
    return dict(zip(calendar.columns, calendar.at(position)[0].tolist(), strict=True))


def holiday(frequency, country, *times):
    calendar = Calendar(frequency, (), country)
    return calendar.holidays(frequency.positions(pd.DatetimeIndex(times))).tolist()


def test_the_day_is_the_local_one_on_both_sides_of_a_clock_change():
    calendar = Calendar(Frequency("h", "Europe/Berlin"), ("day", "week"))
    winter, summer = row(calendar, "2024-03-30 11:00"), row(calendar, "2024-03-31 10:00")  # noon in Berlin
    assert winter["day_cos1"] == summer["day_cos1"] == -1
    assert (winter["day_sin1"], summer["day_cos2"]) == (pytest.approx(0, abs=1e-7), 1)
    evening = row(calendar, "2024-03-31 22:00")  # Monday has begun in Berlin
    assert (evening["week_sin1"], evening["week_cos1"], evening["day_cos1"]) == (0, 1, 1)


@pytest.mark.parametrize(
    "frequency", [Frequency("h"), Frequency("D"), Frequency("D", "Asia/Tokyo"), Frequency("MS"), Frequency("ME")]
)
def test_a_date_lies_in_the_same_place_of_every_year(frequency):
    calendar = Calendar(frequency, ("year",))
    march = [row(calendar, f"{year}-03-01" if frequency.alias != "ME" else f"{year}-03-31") for year in (1999, 2000, 2023, 2024)]
    assert march[0] == march[1] == march[2] == march[3]
    angle = np.arctan2(march[0]["year_sin1"], march[0]["year_cos1"])
    assert angle == pytest.approx(2 * np.pi * 60 / 366, abs=0.02 if frequency.time_zone else 1e-6)


def test_leap_day_lies_between_its_neighbours():
    calendar = Calendar(Frequency("D"), ("year",))
    days = [row(calendar, f"2024-{day}")["year_sin1"] for day in ("02-28", "02-29", "03-01")]
    assert days == sorted(days)
    assert len(set(days)) == 3


def test_a_frequency_shows_the_cycles_that_it_resolves():
    shown = {alias: Calendar(Frequency(alias), ("day", "week", "year")).columns for alias in ("15min", "D", "B", "QS", "YS")}
    waves = {alias: sorted({column[:-1].rstrip("sinco") for column in columns}) for alias, columns in shown.items()}
    assert waves == {
        "15min": ["day_", "week_", "year_"],
        "D": ["week_", "year_"],
        "B": ["week_", "year_"],
        "QS": ["year_"],
        "YS": [],
    }
    assert len(shown["QS"]) == 2
    assert harmonics_of(Frequency("12h"), "day") == 0


def test_christmas_is_a_holiday_in_germany_and_in_the_united_states():
    hours = Frequency("h", "Europe/Berlin")
    eve, first, last, after = ["2024-12-24 22:00", "2024-12-24 23:00", "2024-12-26 22:00", "2024-12-26 23:00"]
    assert holiday(hours, "DE", eve, first, last, after) == [0, 1, 1, 0]
    days = ["2024-07-04", "2024-12-24", "2024-12-25", "2024-12-26", "2021-12-24", "2021-11-25"]
    assert holiday(Frequency("D"), "US", *days) == [1, 0, 1, 0, 1, 1]  # observed on the 24th where the 25th is a Saturday
    assert holiday(Frequency("D"), "DE", *days) == [0, 0, 1, 1, 0, 0]


def test_a_part_of_a_country_has_holidays_of_its_own():
    assert holiday(Frequency("D"), "DE", "2024-08-15") == [0]
    assert holiday(Frequency("D"), check_country("de-by"), "2024-01-06") == [1]


def test_weeks_and_months_count_their_holidays():
    assert holiday(Frequency("MS"), "DE", "2024-12-01", "2024-11-01", "2024-05-01") == [2, 0, 3]
    assert holiday(Frequency("ME"), "DE", "2024-12-31", "2024-11-30") == [2, 0]
    weeks = Frequency("W-MON", phase=4 * 86_400_000_000_000)
    assert holiday(weeks, "DE", "2024-12-23", "2024-12-30", "2024-12-16") == [2, 1, 0]
    assert holiday(Frequency("B"), "DE", "2024-12-25", "2024-12-27") == [1, 0]


def test_holidays_of_far_years_are_known_without_the_ones_between():
    assert holiday(Frequency("D"), "US", "1955-12-25", "2089-12-25", "2089-12-24") == [1, 1, 0]


@given(positions=st.lists(st.integers(0, 600_000), max_size=50))
def test_a_position_has_the_same_bits_in_any_batch(positions):
    calendar = Calendar(Frequency("h", "America/New_York"), ("day", "week", "year"), "US")
    whole = calendar.at(np.array(positions, dtype=np.int64))
    assert whole.shape == (len(positions), 13)
    for n, position in enumerate(positions):
        np.testing.assert_array_equal(calendar.at(np.array([position]))[0], whole[n])


@pytest.mark.parametrize(
    ("country", "expected"),
    [
        (
            "Germny",
            r"country 'Germny' has no known holidays; expected a code such as DE, US or US-CA; did you mean DE \(Germany\)",
        ),
        ("XX", r"country 'XX' has no known holidays; expected a code"),
        ("DE-XX", r"'XX' is no part of DE; choose BB, BE, BW, BY"),
    ],
)
def test_a_country_that_is_none_is_named_with_those_that_are_near(country, expected):
    with pytest.raises(ConfigError, match=expected):
        check_country(country)
