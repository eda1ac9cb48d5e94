"""Fits of many series: what is kept is not fitted again, what takes too long is stopped and said."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecaster.baselines import BASELINES, Baseline, BaselinesConfig, Method, make_baselines
from forecaster.baselines.fitting import OutOfTime
from forecaster.baselines.memory import NAIVE
from forecaster.baselines.parameters import Sample
from forecaster.baselines.smoothing_fits import choose_smoother, fit_form, held_back
from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

STEPS = Frequency("step", is_numbered=True)
QUANTILES = (0.1, 0.5, 0.9)
calls: list[int] = []


def panel_of(count: int = 3, *, changed: int = -1) -> Panel:
    rng = np.random.default_rng(4)
    values = 50 + rng.normal(0, 1, (count, 40)).cumsum(axis=1)
    if changed >= 0:
        values[changed, -1] += 1
    ids = tuple(f"s{b}" for b in range(count))
    return Panel(ids, np.zeros(count, np.int64), np.arange(count + 1) * 40, values.ravel(), STEPS)


def fit_and_count(sample: Sample) -> dict[str, float | str]:
    calls.append(len(sample.values))
    return {"model": "counted", "weight": float(sample.values[-1]) / 3}


COUNTED = Method("counted", fit_and_count, NAIVE)


def test_a_second_fit_with_a_cache_fits_nothing_and_finds_the_same(tmp_path: Path) -> None:
    config = BaselinesConfig(names=("ses", "arima", "naive"), jobs=1, season_length=4)
    first, again = ([baseline.fit(panel_of()) for baseline in make_baselines(config, cache=tmp_path / "fits")] for _ in range(2))
    for one, other in zip(first, again, strict=True):
        pd.testing.assert_frame_equal(one.to_frame(), other.to_frame())
        assert one.fit_report == other.fit_report  # the seconds are those of the first fit
    calls.clear()
    for _ in range(2):
        Baseline(COUNTED, season_length=4, cache=tmp_path).fit(panel_of())
    assert len(calls) == 3


def test_only_what_changed_is_fitted_again(tmp_path: Path) -> None:
    calls.clear()
    told: list[tuple[int, int, str]] = []
    baseline = Baseline(COUNTED, season_length=4, cache=tmp_path, progress=lambda *event: told.append(event))
    baseline.fit(panel_of())
    changed = baseline.fit(panel_of(4, changed=1))
    assert len(calls) == 3 + 2  # the changed series and the new one
    assert told[3:] == [(3, 4, "counted"), (4, 4, "counted")]
    values = panel_of(4, changed=1).values.reshape(4, -1)[:, -1]
    np.testing.assert_array_equal(changed.to_frame()["weight"], values / 3)
    replace(baseline, season_length=5).fit(panel_of())
    replace(baseline, max_seconds_per_series=9.0).fit(panel_of())
    assert len(calls) == 5 + 6  # other settings are other fits


def test_a_damaged_line_of_the_cache_is_fitted_again(tmp_path: Path) -> None:
    baseline = Baseline(COUNTED, season_length=4, cache=tmp_path)
    whole = baseline.fit(panel_of())
    path = tmp_path / "counted.ndjson"
    path.write_bytes(path.read_bytes()[:-40])  # a kill while the last line was written
    calls.clear()
    pd.testing.assert_frame_equal(baseline.fit(panel_of()).to_frame(), whole.to_frame())
    assert len(calls) == 1
    baseline.fit(panel_of())
    assert len(calls) == 1


def test_a_cache_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"kept fits in .*counted\.ndjson: cannot be read or written"):
        Baseline(COUNTED, season_length=4, cache=tmp_path / "file").fit(panel_of())


def work(seconds: float) -> None:
    """Keep the processor at work; a fit that waits for it is not slow."""
    began = time.process_time()
    while time.process_time() - began < seconds:
        sum(range(1_000))


def fit_slowly(sample: Sample) -> dict[str, float | str]:
    work(5)
    return {"model": "slow"}


def fit_until_stopped(sample: Sample) -> dict[str, float | str]:
    try:
        work(5)
    except OutOfTime:
        return {"model": "half", "remark": "the time for its fit was over after 1 forms"}
    return {"model": "slow"}


def test_a_fit_that_takes_too_long_falls_back_and_says_so() -> None:
    panel = panel_of(1)
    fitted = Baseline(Method("slow", fit_slowly, NAIVE), season_length=4, max_seconds_per_series=0.1).fit(panel)
    forecast = fitted.predict(panel, 3, quantiles=QUANTILES, origins=Origins.back(panel))
    assert forecast.notes["s0"] == "slow: the fit took longer than 0.1 s; seasonal naive instead"
    assert fitted.fit_report[0].seconds < 2


def test_a_search_that_is_stopped_keeps_what_it_found_and_says_so() -> None:
    panel = panel_of(1)
    fitted = Baseline(Method("half", fit_until_stopped, NAIVE), season_length=4, max_seconds_per_series=0.1).fit(panel)
    assert fitted.fit_report[0].remark == "the time for its fit was over after 1 forms"
    forecast = fitted.predict(panel, 3, quantiles=QUANTILES, origins=Origins.back(panel))
    assert forecast.notes["s0"] == "half: the time for its fit was over after 1 forms"


@pytest.mark.parametrize("name", ["holt_winters", "ets", "arima"])
def test_no_time_at_all_is_a_fallback_with_its_reason(name: str) -> None:
    panel = panel_of(1)
    BASELINES[name](season_length=4).fit(panel)  # what it needs is imported
    fitted = BASELINES[name](season_length=4, max_seconds_per_series=1e-4).fit(panel)
    forecast = fitted.predict(panel, 3, quantiles=QUANTILES, origins=Origins.back(panel))
    assert "the time for its fit was over" in forecast.notes["s0"] or "the fit took longer than" in forecast.notes["s0"]
    assert np.isfinite(forecast.values).all()


def test_progress_names_the_slowest_series() -> None:
    told: list[str] = []

    def fit(sample: Sample) -> dict[str, float | str]:
        work(2.1 if sample.values[0] == panel_of(2).values[40] else 0)
        return {"model": "sleepy"}

    Baseline(Method("sleepy", fit, NAIVE), season_length=4, progress=lambda done, total, word: told.append(word)).fit(panel_of(3))
    assert told == ["sleepy", "sleepy, slowest s1 2 s", "sleepy, slowest s1 2 s"]


def test_a_long_season_is_judged_by_what_it_forecasts() -> None:
    assert (held_back(240, 24), held_back(239, 24), held_back(400, 12)) == (48, 0, 0)
    rng = np.random.default_rng(6)
    season = np.resize(8 * np.sin(2 * np.pi * np.arange(24) / 24), 360)
    y = 60 + season + rng.normal(0, 1, 360)
    found, remark = choose_smoother(y, 0, season_length=24, forms=("none", "additive", "multiplicative"), fit=fit_form)
    assert (found.season.form != "none", remark) == (True, "")
    assert found.aicc == pytest.approx(fit_form(y, 0, season=found.season, trend=found.trend).aicc, abs=2)  # of all values
