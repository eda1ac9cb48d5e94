"""The baselines as forecasters: what goes in, what comes out, and what they say when a series cannot be forecast."""

import io
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from forecaster.baselines import BASELINES, Baseline, BaselinesConfig, Method, make_baselines
from forecaster.baselines.memory import NAIVE
from forecaster.baselines.parameters import Sample
from forecaster.baselines.vector import Fields
from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

STEPS = Frequency("step", is_numbered=True)
QUANTILES = (0.1, 0.5, 0.9)
DATA = Path(os.environ.get("FORECASTER_DATA", Path(__file__).parents[2] / "shared" / "data"))

everyone = pytest.mark.parametrize("name", list(BASELINES))
FITTED = [name for name in BASELINES if name not in ("naive", "seasonal_naive", "naive2", "mean", "drift")]
fitting = pytest.mark.parametrize("name", FITTED)


def panel_of(start: int = 0, **series: list[float] | np.ndarray) -> Panel:
    ids = np.repeat(np.array(list(series), dtype=object), [len(values) for values in series.values()])
    positions = np.concatenate([np.arange(len(values)) + start for values in series.values()])
    return Panel.from_positions(ids, positions, values=np.concatenate(list(series.values())).astype(float), frequency=STEPS)


def seasonal_panel(seed: int = 7, count: int = 72, start: int = 5) -> Panel:
    rng = np.random.default_rng(seed)
    season = np.array([0.0, 6.0, 9.0, -8.0, -7.0, 0.0])
    series = {
        name: 60 + 0.3 * np.arange(count - b) + np.resize(season, count - b) + np.cumsum(rng.normal(0, 1.0, count - b))
        for b, name in enumerate(("a", "b", "c"))
    }
    return panel_of(start, **series)


FITS: dict[tuple[str, str], Baseline] = {}


def fit(name: str, panel: Panel) -> Baseline:
    """The baseline with a season of six steps, fitted once for all tests."""
    key = name, panel.fingerprint
    if key not in FITS:
        FITS[key] = BASELINES[name](season_length=6).fit(panel)
    return FITS[key]


def forecast_at(baseline: Baseline, panel: Panel, known: list[int], horizon: int = 7) -> np.ndarray:
    rows = [(b, k) for b in range(len(panel)) for k in known]
    index, counts = np.array(rows).T
    return baseline.predict(panel, horizon, quantiles=QUANTILES, origins=Origins(index, counts)).values


# -- every baseline ------------------------------------------------------------------------------------------------------


@everyone
def test_values_after_an_origin_change_nothing(name: str) -> None:
    panel = seasonal_panel()
    fitted = fit(name, panel)
    known = [1, 3, 20, 41]
    values = panel.values.copy()
    for b in range(3):
        values[panel.offsets[b] + 41 : panel.offsets[b + 1]] *= -100
    changed = replace(panel, values=values)
    np.testing.assert_array_equal(forecast_at(fitted, changed, known), forecast_at(fitted, panel, known))
    alone = [forecast_at(fitted, panel, [k]) for k in known]
    np.testing.assert_array_equal(np.stack(alone, axis=1).reshape(-1, 7, 3), forecast_at(fitted, panel, known))


@everyone
def test_the_order_of_the_series_changes_nothing(name: str) -> None:
    panel = seasonal_panel()
    turned = panel_of(5, **dict(zip("abc", (panel.series(b) for b in (2, 1, 0)), strict=True)))
    first = fit(name, panel)
    second = fit(name, turned)
    a, b = (forecast_at(one, some, [30, 60]).reshape(3, 2, 7, 3) for one, some in ((first, panel), (second, turned)))
    np.testing.assert_allclose(a, b[::-1], rtol=1e-12)  # sums over series of other lengths may round in another order


@everyone
def test_rows_come_in_the_order_of_the_origins(name: str) -> None:
    panel = seasonal_panel()
    fitted = fit(name, panel)
    origins = Origins(np.array([2, 0, 2, 1]), np.array([70, 12, 30, 71]))
    forecast = fitted.predict(panel, 4, quantiles=(0.9, 0.5), origins=origins)
    assert forecast.ids == ("c", "a", "c", "b")
    assert forecast.quantiles == (0.5, 0.9)
    np.testing.assert_array_equal(forecast.origins, 5 + origins.known - 1)
    for row in range(4):
        one = Origins(origins.index[row : row + 1], origins.known[row : row + 1])
        np.testing.assert_allclose(
            fitted.predict(panel, 4, quantiles=(0.5, 0.9), origins=one).values[0], forecast.values[row], rtol=1e-12
        )


@everyone
def test_parameters_survive_a_file(name: str) -> None:
    panel = seasonal_panel()
    fitted = fit(name, panel)
    file = io.BytesIO()
    fitted.to_frame().to_parquet(file)
    loaded = BASELINES[name](season_length=6).from_frame(pd.read_parquet(file))
    np.testing.assert_array_equal(forecast_at(loaded, panel, [40]), forecast_at(fitted, panel, [40]))


@everyone
def test_hard_series_are_forecast_or_the_reason_is_said(name: str) -> None:
    rng = np.random.default_rng(3)
    gappy = 20 + np.resize([0.0, 5.0, -5.0, 1.0], 60) + rng.normal(0, 1, 60)
    gappy[[0, 7, 8, 9, 10, 11, 40, 59]] = np.nan
    panel = panel_of(
        constant=np.full(40, 7.0),
        empty=np.full(9, np.nan),
        gappy=gappy,
        huge=rng.normal(0, 1, 40) * 1e200,
        negative=-50 + np.resize([0.0, 5.0, -5.0, 1.0], 60) + rng.normal(0, 1, 60),
        one=np.array([3.0]),
        short=np.array([3.0, 4.0, 3.5]),
        zeros=np.zeros(30),
    )
    fitted = BASELINES[name](season_length=4).fit(panel)
    forecast = fitted.predict(panel, 9, quantiles=QUANTILES, origins=Origins.back(panel))
    values = dict(zip(forecast.ids, forecast.values, strict=True))
    assert np.isnan(values.pop("empty")).all()
    assert "no value was observed" in forecast.notes["empty"]
    assert all(np.isfinite(each).all() and (np.diff(each, axis=1) >= 0).all() for each in values.values())
    np.testing.assert_array_equal(values["constant"], 7.0)
    np.testing.assert_array_equal(values["zeros"], 0.0)
    np.testing.assert_array_equal(values["one"], 3.0)
    assert -100 < values["negative"].min() <= values["negative"].max() < 0
    if name in FITTED:
        assert forecast.notes["constant"] == f"{name}: all values are equal; seasonal naive instead"
        assert forecast.notes["short"].startswith(f"{name}: 3 values observed, ")
        assert "gappy" not in forecast.notes


@everyone
def test_a_series_that_the_fit_did_not_see_is_fitted_up_to_its_first_origin(name: str) -> None:
    panel = seasonal_panel()
    fitted = fit(name, panel.select([0, 2]))
    forecast = fitted.predict(panel, 7, quantiles=QUANTILES, origins=Origins(np.array([1, 1]), np.array([50, 60])))
    assert forecast.notes["b"] == f"{name}: not seen by the fit; fitted on its values up to its first origin"
    known = fit(name, panel.select([1]).drop_last(21))
    np.testing.assert_allclose(forecast.values, forecast_at(known, panel.select([1]), [50, 60]), rtol=1e-12)


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "mean"])  # which never forgets
def test_a_panel_may_begin_earlier_or_later_than_the_one_that_was_fitted(name: str) -> None:
    panel = seasonal_panel(count=150)
    fitted = fit(name, panel)
    tail = panel_of(5 + 31, **{panel.ids[b]: panel.series(b)[31:] for b in range(3)})
    whole, later = forecast_at(fitted, panel, [145]), forecast_at(fitted, tail, [145 - 31])
    assert np.abs(later - whole).max() < 2.0  # the level has forgotten its start, the phase of the season is the same


# -- quantiles and gaps --------------------------------------------------------------------------------------------------


def test_naive_quantiles_widen_with_the_root_of_the_lead_and_of_a_gap() -> None:
    panel = panel_of(a=[1.0, 3.0, 2.0, 4.0, np.nan, np.nan])
    forecast = BASELINES["naive"]().fit(panel).predict(panel, 3, quantiles=(0.5, 0.9), origins=Origins.back(panel, (2, 0)))
    sigma = np.sqrt((4 + 1 + 4) / 3)
    np.testing.assert_allclose(forecast.values[:, :, 0], 4.0)
    widths = (forecast.values[:, :, 1] - 4.0) / (1.2815515655446004 * sigma)
    np.testing.assert_allclose(widths**2, [[1, 2, 3], [3, 4, 5]])


def test_seasonal_naive_quantiles_widen_with_the_root_of_the_seasons() -> None:
    panel = panel_of(a=[1.0, 5.0, 2.0, 7.0, np.nan, 6.0])
    forecast = (
        BASELINES["seasonal_naive"](season_length=2)
        .fit(panel)
        .predict(panel, 4, quantiles=(0.5, 0.9), origins=Origins.back(panel))
    )
    np.testing.assert_allclose(forecast.median, [[2.0, 6.0, 2.0, 6.0]])
    sigma = np.sqrt((1 + 4 + 1) / 3)
    widths = (forecast.values[0, :, 1] - forecast.values[0, :, 0]) / (1.2815515655446004 * sigma)
    np.testing.assert_allclose(widths**2, [2, 1, 3, 2])


def test_seasonal_naive_before_a_season_is_over_is_naive() -> None:
    panel = panel_of(a=[1.0, 5.0, 2.0, 7.0])
    seasonal, naive = (BASELINES[name](season_length=3).fit(panel) for name in ("seasonal_naive", "naive"))
    np.testing.assert_array_equal(forecast_at(seasonal, panel, [1, 2]), forecast_at(naive, panel, [1, 2]))


@fitting
def test_after_a_gap_the_forecast_is_the_one_made_before_it(name: str) -> None:
    panel = seasonal_panel()
    fitted = fit(name, panel)
    values = panel.values.copy()
    values[panel.offsets[1] - 4 : panel.offsets[1]] = np.nan
    gappy = replace(panel, values=values)
    count = len(panel.series(0))
    whole = fitted.predict(panel, 7, quantiles=QUANTILES, origins=Origins(np.array([0]), np.array([count - 4]))).values[0]
    after_gap = fitted.predict(gappy, 3, quantiles=QUANTILES, origins=Origins(np.array([0]), np.array([count]))).values[0]
    np.testing.assert_allclose(after_gap, whole[4:], rtol=1e-9)


# -- what went wrong is said ---------------------------------------------------------------------------------------------


def fit_that_fails(sample: Sample) -> dict[str, float | str]:
    warnings.warn("steep", RuntimeWarning, stacklevel=1)
    raise ValueError("no minimum")


def fit_nothing(sample: Sample) -> dict[str, float | str]:
    return {"model": "nothing"}


def paths_to_the_moon(fields: Fields, position: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    shape = (len(position), horizon)
    return np.full(shape, 1e9), np.ones(shape)


MOON = replace(NAIVE, paths=paths_to_the_moon)


def test_a_fit_that_fails_falls_back_and_its_warnings_are_counted() -> None:
    panel = seasonal_panel()
    fitted = Baseline(Method("steep", fit_that_fails, MOON), season_length=6).fit(panel)
    forecast = fitted.predict(panel, 7, quantiles=QUANTILES, origins=Origins.back(panel))
    seasonal = BASELINES["seasonal_naive"](season_length=6).fit(panel)
    expected = seasonal.predict(panel, 7, quantiles=QUANTILES, origins=Origins.back(panel))
    np.testing.assert_array_equal(forecast.values, expected.values)
    assert forecast.notes["a"] == "steep: the fit failed (ValueError: no minimum); seasonal naive instead"
    report = fitted.fit_report[0]
    assert (report.unique_id, report.is_converged, report.warning_count) == ("a", False, 1)
    assert report.warnings == {"RuntimeWarning: steep": 1}
    assert report.fallback == "the fit failed (ValueError: no minimum)"


def test_a_forecast_far_from_all_values_falls_back() -> None:
    panel = seasonal_panel()
    fitted = Baseline(Method("moon", fit_nothing, MOON), season_length=6).fit(panel)
    forecast = fitted.predict(panel, 7, quantiles=QUANTILES, origins=Origins.back(panel))
    assert forecast.values.max() < 1e3
    assert forecast.notes["a"] == "moon: a forecast was not finite, or far from all values before it; seasonal naive instead"


def test_processes_find_the_parameters_that_one_finds() -> None:
    panel = seasonal_panel()
    method = replace(BASELINES["holt_winters"]().method, seconds_each=100.0)
    told: list[tuple[int, int, str]] = []
    apart = Baseline(method, season_length=6, jobs=2, progress=lambda *event: told.append(event)).fit(panel)
    alone = BASELINES["holt_winters"](season_length=6).fit(panel)
    pd.testing.assert_frame_equal(apart.to_frame(), alone.to_frame())
    assert [(done, total) for done, total, _ in told] == [(1, 3), (2, 3), (3, 3)]
    assert all(word.startswith("holt_winters") for _, _, word in told)  # on a busy machine the slowest series is named
    assert [fit.unique_id for fit in apart.fit_report] == ["a", "b", "c"]


def test_warnings_stay_inside_worker_processes(capfd: pytest.CaptureFixture[str]) -> None:
    method = Method("steep", fit_that_fails, MOON, seconds_each=100.0)
    fitted = Baseline(method, season_length=6, jobs=2).fit(seasonal_panel())
    assert sum(fit.warning_count for fit in fitted.fit_report) == 3
    assert capfd.readouterr() == ("", "")


def test_bad_requests_are_refused() -> None:
    panel = seasonal_panel()
    fitted = BASELINES["naive"](season_length=6).fit(panel)
    with pytest.raises(DataError, match=r"horizon is 0; expected 1 or more\."):
        fitted.predict(panel, 0, quantiles=QUANTILES, origins=Origins.back(panel))
    with pytest.raises(DataError, match=r"series 'b': an origin after 99 values, and the panel holds 71\."):
        fitted.predict(panel, 1, quantiles=QUANTILES, origins=Origins(np.array([1]), np.array([99])))
    with pytest.raises(DataError, match=r"naive was fitted with season length 6, and this panel's is 4\."):
        replace(fitted, season_length=4).predict(panel, 1, quantiles=QUANTILES, origins=Origins.back(panel))


def test_a_configuration_makes_baselines_in_its_order() -> None:
    made = make_baselines(BaselinesConfig(names=("arima", "naive"), jobs=1, season_length=6))
    assert [baseline.name for baseline in made] == ["arima", "naive"]
    assert {baseline.season_length for baseline in made} == {6}
    with pytest.raises(ValidationError, match="names"):
        BaselinesConfig.model_validate({"names": ["naiv"]})


def test_no_origins_and_an_empty_panel_give_an_empty_forecast() -> None:
    empty = Panel((), np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0), STEPS)
    nowhere = Origins(np.empty(0, np.int64), np.empty(0, np.int64))
    for name in BASELINES:
        for panel in (empty, seasonal_panel()):
            values = fit(name, panel).predict(panel, 3, quantiles=QUANTILES, origins=nowhere).values
            assert values.shape == (0, 3, 3)


def test_importing_the_room_is_quick() -> None:
    code = "import sys, forecaster.baselines; sys.exit(any(name in sys.modules for name in ('statsmodels', 'joblib', 'scipy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# -- the M4 competition --------------------------------------------------------------------------------------------------

PUBLISHED = {  # sMAPE and MASE from the competition's evaluation sheet
    "hourly": {"naive": (43.003, 11.608), "seasonal_naive": (13.912, 1.193), "naive2": (18.383, 2.395), "ses": (18.094, 2.385)},
    "weekly": {"naive": (9.161, 2.777), "seasonal_naive": (9.161, 2.777), "naive2": (9.161, 2.777), "ses": (9.012, 2.685)},
}


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the M4 files were not found in {DATA}; FORECASTER_DATA names their folder")
@pytest.mark.parametrize(("group", "alias", "horizon", "m"), [("hourly", "h", 48, 24), ("weekly", "W-SUN", 13, 1)])
def test_the_published_m4_scores_are_reproduced(group: str, alias: str, horizon: int, m: int) -> None:
    train, test = (pd.read_parquet(DATA / f"m4_{group}_{part}.parquet") for part in ("train", "test"))
    panel = Panel.from_frame(train, Frequency(alias, is_numbered=True))
    y = Panel.from_frame(test, panel.frequency).values.reshape(-1, horizon)
    scale = np.array([np.abs(panel.series(b)[m:] - panel.series(b)[:-m]).mean() for b in range(len(panel))])
    for name, (smape, mase) in PUBLISHED[group].items():
        fitted = BASELINES[name](season_length=m).fit(panel)
        f = fitted.predict(panel, horizon, quantiles=(0.5,), origins=Origins.back(panel)).median
        scores = (200 * np.abs(y - f) / (np.abs(y) + np.abs(f))).mean(), (np.abs(y - f).mean(axis=1) / scale).mean()
        if name == "ses":
            assert scores == pytest.approx((smape, mase), rel=1e-3)  # the optimiser is another one
        else:
            assert (round(scores[0], 3), round(scores[1], 3)) == (smape, mase)
