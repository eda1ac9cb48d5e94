"""Frequencies are found in the data, as pandas itself makes them."""

import io

import numpy as np
import pandas as pd
import pytest

from forecaster.errors import DataError
from forecaster.ingest import IngestPolicies, PanelStore, ingest_files

ALIASES = [
    *("s", "min", "5min", "15min", "30min", "h", "6h", "D", "2D", "B", "W-SUN", "W-WED", "W-SAT", "14D", "MS", "ME", "6MS"),
    *("QS-JAN", "QS-FEB", "QE-DEC", "QE-NOV", "QE-OCT", "YS-JAN", "YS-APR", "YE-DEC", "YE-JUN"),
]


@pytest.fixture
def ingest(tmp_path):
    """Ingests a frame, through bytes."""

    def from_frame(frame, **arguments):
        data = io.BytesIO(frame.to_csv(index=False).encode())
        return ingest_files(["-"], "demand", store=PanelStore(tmp_path), stdin=data, **arguments)

    return from_frame


def series(times, name="a"):
    return pd.DataFrame({"unique_id": name, "ds": times, "y": np.arange(len(times), dtype=float)})


@pytest.mark.parametrize("alias", ALIASES)
def test_a_regular_calendar_is_found(alias, ingest):
    report = ingest(series(pd.date_range("2021-03-04 00:00", periods=40, freq=alias)))
    assert report.frequency.alias == alias
    assert report.share_explained == 1
    assert (report.positions, report.missing) == (40, 0)
    assert report.frequency_found.startswith(f"{alias}, inferred; one step explains 100.0 %")


@pytest.mark.parametrize("alias", ALIASES)
def test_a_calendar_with_holes_is_found_all_the_same(alias, ingest):
    times = pd.date_range("2021-03-04", periods=60, freq=alias)
    kept = np.random.default_rng(5).random(60) > 0.15
    kept[[0, -1]] = True
    report = ingest(series(times[kept]))
    assert report.frequency.alias == alias
    assert (report.positions, report.missing) == (60, 60 - kept.sum())


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Africa/Cairo"])
@pytest.mark.parametrize("alias", ["h", "D", "W-MON", "MS", "QE-DEC"])
def test_a_zone_keeps_its_calendar_across_clock_changes(alias, zone, ingest):
    times = pd.date_range("2023-06-01", periods=500 if alias == "h" else 40, freq=alias, tz=zone)
    report = ingest(series([time.isoformat() for time in times]), time_zone=zone)
    assert (report.frequency.alias, report.frequency.time_zone) == (alias, zone)
    assert (report.positions, report.missing) == (len(times), 0)


def test_a_grid_that_begins_off_the_hour_keeps_its_phase(ingest):
    report = ingest(series(pd.date_range("2024-01-01 00:04", periods=30, freq="5min")))
    assert report.frequency.phase == 4 * 60_000_000_000
    assert report.first == "2024-01-01 00:04:00"


def test_a_given_frequency_that_nothing_steps_by_is_remarked(ingest):
    report = ingest(series(pd.date_range("2024-01-01", periods=30)), freq="h")
    assert report.notes == ("no two neighbouring times are one step of --freq h apart; without it the step is found",)


def test_days_and_business_days_differ_by_the_weekend(ingest):
    assert ingest(series(pd.date_range("2024-01-01", periods=5))).frequency.alias == "D"


@pytest.mark.parametrize(
    ("steps", "stride", "phase"), [(range(1, 9), 1, 0), (range(5, 95, 10), 10, 5), ([0, 4, 10, 14, 20], 2, 0)]
)
def test_numbered_steps_have_a_stride(steps, stride, phase, ingest):
    frequency = ingest(series(list(steps))).frequency
    assert (frequency.alias, frequency.is_numbered, frequency.stride, frequency.phase) == ("step", True, stride, phase)


def test_numbers_that_look_like_dates_are_dates_unless_steps_are_asked_for(ingest, tmp_path):
    days = series([20240130, 20240131, 20240201])
    report = ingest(days, dry_run=True)
    assert (report.frequency.alias, report.notes) == (
        "D",
        ("whole numbers such as 20240130 are read as dates %Y%m%d; --freq step keeps them",),
    )
    assert ingest(days, freq="step", dry_run=True).frequency.is_numbered


def test_quarters_in_words_are_dates(ingest):
    assert ingest(series(["2023Q1", "2023Q2", "2023-Q3", "2023 q4", "2024Q1"])).frequency.alias == "QS-JAN"


def test_series_of_different_frequencies_are_named_in_groups(ingest):
    frames = [series(pd.date_range("2024-01-01", periods=9), f"day {n}") for n in range(5)]
    frames += [series(pd.date_range("2024-01-01", periods=9, freq="MS"), "month")]
    with pytest.raises(
        DataError, match=r"5 series step by D \('day 0', 'day 1', 'day 2', …\), 1 series step by a month \('month'\)"
    ):
        ingest(pd.concat(frames))


def test_a_given_frequency_counts_all_on_one_grid(ingest):
    frames = [
        series(pd.date_range("2024-01-01", periods=9), "day"),
        series(pd.date_range("2024-01-01", periods=9, freq="h"), "hour"),
    ]
    report = ingest(pd.concat(frames), freq="h")
    assert report.frequency_found.startswith("h, given")
    assert report.positions == 8 * 24 + 1 + 9


def test_months_on_the_fifteenth_can_be_floored(ingest):
    times = pd.date_range("2024-01-01", periods=9, freq="MS") + pd.Timedelta(days=14)
    report = ingest(series(times), freq="MS", policies=IngestPolicies(misaligned="floor"))
    assert (report.positions, report.faults.count("misaligned")) == (9, 9)


def test_an_unknown_alias_is_named(ingest):
    with pytest.raises(DataError, match="frequency 'fortnight' is not one that can be counted in"):
        ingest(series(pd.date_range("2024-01-01", periods=9)), freq="fortnight")


def test_a_frequency_of_steps_is_not_for_dates(ingest):
    with pytest.raises(DataError, match="'step' is for numbered steps, and these timestamps are dates"):
        ingest(series(pd.date_range("2024-01-01", periods=9)), freq="step")
