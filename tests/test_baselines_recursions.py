"""The recursions against statsmodels, with the same parameters."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.holtwinters import ExponentialSmoothing, SimpleExpSmoothing
from statsmodels.tsa.seasonal import seasonal_decompose
from statsmodels.tsa.statespace.sarimax import SARIMAX
from statsmodels.tsa.stattools import acf, kpss

from forecaster.baselines import BASELINES
from forecaster.baselines.arima import kpss_statistic
from forecaster.baselines.seasonality import find_season, is_seasonal
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

Z = 1.2815515655446004  # the 0.9 quantile of the normal distribution


def one_series(values: np.ndarray, start: int = 0) -> Panel:
    return Panel(("a",), np.array([start]), np.array([0, len(values)]), values, Frequency("step", is_numbered=True))


def at(panel: Panel, known: list[int]) -> Origins:
    return Origins(np.zeros(len(known), dtype=np.int64), np.array(known))


def mean_and_scale(name: str, panel: Panel, known: list[int], *, horizon: int, numbers: dict[str, float | str]) -> tuple:
    m = int(numbers["season_length"])
    row = {"unique_id": "a", "fallback": "", "sigma_naive": 1.0, "sigma_seasonal": 1.0, **numbers}
    fitted = BASELINES[name](season_length=m).from_frame(pd.DataFrame([row]))
    forecast = fitted.predict(panel, horizon, quantiles=(0.5, 0.9), origins=at(panel, known))
    assert forecast.notes == {}
    return forecast.median, (forecast.values[:, :, 1] - forecast.median) / Z


def wavy(count: int = 60, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 50 + np.resize([0.0, 8.0, -6.0, 2.0], count) + np.cumsum(rng.normal(0.1, 1, count))


@pytest.mark.parametrize("trend", ["none", "linear", "damped"])
@pytest.mark.parametrize("form", ["none", "additive", "multiplicative"])
@pytest.mark.parametrize("start", [0, 3])
def test_holt_winters_forecasts_equal_those_of_statsmodels(trend: str, form: str, start: int) -> None:
    y = wavy()
    alpha, beta, gamma, phi = 0.3, 0.1, 0.25, 0.9
    first = {"none": np.zeros(4), "additive": np.array([0, 8.0, -6, 2]), "multiplicative": np.array([1, 1.16, 0.88, 1.04])}[form]
    options = {"trend": "add", "damped_trend": trend == "damped", "initial_trend": 0.2} if trend != "none" else {}
    if form != "none":
        options |= {"seasonal": form[:3], "seasonal_periods": 4, "initial_seasonal": first}
    model = ExponentialSmoothing(y, initialization_method="known", initial_level=49.0, **options)
    weights = {"smoothing_level": alpha} | ({"smoothing_trend": beta} if trend != "none" else {})
    weights |= ({"damping_trend": phi} if trend == "damped" else {}) | ({"smoothing_seasonal": gamma} if form != "none" else {})
    result = model.fit(optimized=False, **weights)
    numbers = {
        "season_length": 4.0,
        "form": form,
        "start": float(start),
        "alpha": alpha,
        "beta": beta if trend != "none" else 0.0,
        "gamma": gamma if form != "none" else 0.0,
        "phi": phi if trend == "damped" else 1.0,
        "level": 49.0,
        "trend": 0.2 if trend != "none" else 0.0,
        "sigma": 1.0,
        **{f"season_{(start + k) % 4}": value for k, value in enumerate(first)},
    }
    panel = one_series(y, start)
    one_step, _ = mean_and_scale("holt_winters", panel, list(range(1, 60)), horizon=1, numbers=numbers)
    np.testing.assert_allclose(one_step[:, 0], np.asarray(result.fittedvalues)[1:], rtol=1e-8)
    many, _ = mean_and_scale("holt_winters", panel, [60], horizon=11, numbers=numbers)
    # at leads m, 2m, … statsmodels takes the season as it was before its last update; its ETSModel, below, does not
    checked = np.arange(1, 12) % 4 != 0 if form != "none" else np.full(11, True)
    np.testing.assert_allclose(many[0][checked], result.forecast(11)[checked], rtol=1e-8)


@pytest.mark.parametrize("is_damped", [False, True])
def test_holt_winters_variances_equal_those_of_the_innovations_model(is_damped: bool) -> None:
    y = wavy()
    alpha, beta, gamma, phi = 0.3, 0.2, 0.25, 0.9 if is_damped else 1.0
    first = np.array([0, 8.0, -6, 2])
    model = ETSModel(
        pd.Series(y),
        error="add",
        trend="add",
        damped_trend=is_damped,
        seasonal="add",
        seasonal_periods=4,
        initialization_method="known",
        initial_level=49.0,
        initial_trend=0.2,
        initial_seasonal=first,
    )
    result = model.smooth(np.r_[alpha, alpha * beta, gamma, [phi] if is_damped else []])
    prediction = result.get_prediction(start=60, end=70)
    names = {"alpha": alpha, "beta": beta, "gamma": gamma, "phi": phi, "level": 49.0, "trend": 0.2, "start": 0.0}
    season = {f"season_{k}": value for k, value in enumerate(first)}
    numbers = {"season_length": 4.0, "form": "additive", "sigma": float(np.sqrt(result.mse)), **names, **season}
    mean, scale = mean_and_scale("holt_winters", one_series(y), [60], horizon=11, numbers=numbers)
    np.testing.assert_allclose(mean[0], prediction.predicted_mean, rtol=1e-8)
    np.testing.assert_allclose(scale[0] ** 2, prediction.forecast_variance, rtol=1e-8)


def test_simple_smoothing_is_fitted_and_walked_as_by_statsmodels() -> None:
    y = np.random.default_rng(2).normal(0, 1, 80).cumsum() + np.random.default_rng(4).normal(0, 2, 80)
    result = SimpleExpSmoothing(y, initialization_method="estimated").fit()
    panel = one_series(y)
    fitted = BASELINES["ses"](season_length=1).fit(panel)
    forecast = fitted.predict(panel, 3, quantiles=(0.5, 0.9), origins=at(panel, list(range(1, 81))))
    np.testing.assert_allclose(forecast.median[:-1, 0], np.asarray(result.fittedvalues)[1:], rtol=1e-8)
    np.testing.assert_allclose(forecast.median[-1], result.forecast(3), rtol=1e-8)
    alpha, sigma = result.params["smoothing_level"], np.sqrt(np.mean(np.asarray(result.resid) ** 2))
    growth = ((forecast.values[-1, :, 1] - forecast.median[-1]) / (Z * sigma)) ** 2
    np.testing.assert_allclose(growth, 1 + np.arange(3) * alpha**2, rtol=1e-8)


ORDERS = [((2, 0, 1), 3.0), ((1, 1, 2), 0.05), ((0, 1, 1), 0.0), ((3, 1, 0), 0.1), ((1, 2, 1), 0.0), ((0, 0, 0), 1.0)]


@pytest.mark.parametrize(("order", "constant"), ORDERS)
@pytest.mark.parametrize("has_gaps", [False, True])
def test_arima_forecasts_equal_those_of_statsmodels(order: tuple[int, int, int], constant: float, has_gaps: bool) -> None:
    p, d, q = order
    ar, ma, sigma = np.array([0.5, 0.2, -0.1])[:p], np.array([0.4, 0.2])[:q], 0.7
    y = np.random.default_rng(5).normal(0, sigma, 160)
    for _ in range(d):
        y = y.cumsum()
    y = y + constant * (np.arange(160) if d == 1 else 1)
    if has_gaps:
        y[[20, 21, 22, 90, 119]] = np.nan
    free = y - constant * (np.arange(160) if d == 1 else 1) - (y[0] - 0.0 if d else 0.0)
    model = SARIMAX(free[:120], order=order)
    result = model.smooth(np.r_[ar, ma, sigma**2]).get_forecast(12)
    offset = constant * (np.arange(120, 132) if d == 1 else np.ones(12)) + (y[0] if d else 0.0)
    numbers = {
        "season_length": 1.0,
        "form": "none",
        "season_0": 0.0,
        "d": float(d),
        "constant": constant,
        "sigma": sigma,
        **{f"ar_{lag}": float(np.r_[ar, np.zeros(3)][lag - 1]) for lag in (1, 2, 3)},
        **{f"ma_{lag}": float(np.r_[ma, np.zeros(3)][lag - 1]) for lag in (1, 2, 3)},
    }
    mean, scale = mean_and_scale("arima", one_series(y), [50, 120], horizon=12, numbers=numbers)
    # the unknown first level has variance 1e6 here and there, but once in units of the innovations
    np.testing.assert_allclose(mean[1], result.predicted_mean + offset, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(scale[1], result.se_mean, rtol=1e-6)


def test_arima_finds_a_process_that_it_was_given() -> None:
    rng = np.random.default_rng(11)
    noise = rng.normal(0, 2, 2001)
    y = 100 + np.cumsum(noise[1:] + 0.6 * noise[:-1])
    fitted = BASELINES["arima"](season_length=1).fit(one_series(y))
    numbers = fitted.to_frame().iloc[0]
    assert numbers["d"] == 1.0
    assert numbers["sigma"] == pytest.approx(2.0, rel=0.05)
    psi = numbers["ar_1"] + numbers["ma_1"]  # what an innovation still does one step later
    assert psi == pytest.approx(0.6, abs=0.08)


def test_the_season_is_that_of_a_classical_decomposition_by_phase() -> None:
    y = wavy()
    expected = seasonal_decompose(y, model="multiplicative", period=4).seasonal[:4]
    season = find_season(y, start=3, season_length=4)
    assert season.form == "multiplicative"
    np.testing.assert_allclose(season.indices[[3, 0, 1, 2]], expected)
    assert find_season(y - 50, start=3, season_length=4).form == "additive"
    assert find_season(y[:11], start=3, season_length=4).form == "none"


def test_the_seasonality_test_uses_the_autocorrelations_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        y = np.resize([0.0, 0.8, -0.5], 30) + rng.normal(0, 1, 30)
        correlations = acf(y, nlags=3, fft=False)[1:]
        limit = 1.645 * np.sqrt((1 + 2 * (correlations[:2] ** 2).sum()) / 30)
        assert is_seasonal(y, 3) == (abs(correlations[2]) > limit)


@pytest.mark.filterwarnings("ignore::statsmodels.tools.sm_exceptions.InterpolationWarning")
def test_the_kpss_statistic_is_that_of_statsmodels() -> None:
    for seed, count in ((0, 30), (1, 200), (2, 900)):
        y = np.random.default_rng(seed).normal(0, 1, count).cumsum()
        assert kpss_statistic(y) == pytest.approx(kpss(y, nlags=int(3 * np.sqrt(count) / 13), result_object=False)[0], rel=1e-10)
