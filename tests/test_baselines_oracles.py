"""Live baselines against statsmodels on the same 200 later values, a tenth of them missing, to 1e-8.

What is missing is a step without an error, so statsmodels' smoothers, which know no missing values, are given our own one-step
forecast in its place; its Kalman filter is given the gap.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from statsmodels.regression.linear_model import OLS
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from statsmodels.tsa.forecasting.theta import ThetaModel
from statsmodels.tsa.holtwinters import ExponentialSmoothing
from statsmodels.tsa.seasonal import STL
from statsmodels.tsa.statespace.sarimax import SARIMAX

from forecaster.baselines import BASELINES
from forecaster.baselines.ets import fit_innovations
from forecaster.frequency import Frequency
from forecaster.series import Panel

STEPS = Frequency("step", is_numbered=True)
Z = 1.2815515655446004  # the 0.9 quantile of the normal distribution
M, KNOWN, LATER, HORIZON = 4, 80, 200, 7
TOLERANCE = {"rtol": 1e-8, "atol": 1e-8}

gaps = pytest.mark.parametrize("has_gaps", [False, True], ids=["whole", "gaps"])


def wavy(seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    count = KNOWN + LATER
    season = np.resize([0.0, 8.0, -6.0, 2.0], count) + rng.normal(0, 0.6, (count // M, M)).cumsum(axis=0).ravel()
    return 60 + season + 0.05 * np.arange(count) + rng.normal(0, 0.9, count).cumsum() + rng.normal(0, 1, count)


def wandering() -> np.ndarray:
    return 60 + np.random.default_rng(3).normal(0, 0.7, KNOWN + LATER).cumsum()


def with_gaps(y: np.ndarray) -> np.ndarray:
    later = np.arange(len(y)) >= KNOWN
    y = y.copy()
    y[later & (np.random.default_rng(2).random(len(y)) < 0.1)] = np.nan
    y[150:159] = np.nan
    return y


def one_series(values: np.ndarray) -> Panel:
    return Panel(("a",), np.array([0]), np.array([0, len(values)]), values, STEPS)


@dataclass(frozen=True)
class Said:
    """Means and standard deviations [T, L] after each of the later values."""

    mean: np.ndarray
    scale: np.ndarray
    numbers: dict[str, float]


def live(name: str, y: np.ndarray, *, numbers: dict[str, float | str] | None = None) -> Said:
    """A baseline fitted to the first values, or with the numbers given, then stepped through the others."""
    history = one_series(y[:KNOWN])
    baseline = BASELINES[name](season_length=M)
    common = {"unique_id": "a", "fallback": "", "sigma_naive": 1.0, "sigma_seasonal": 1.0, "season_length": 4.0, "start": 0.0}
    baseline = baseline.fit(history) if numbers is None else baseline.from_frame(pd.DataFrame([common | numbers]))
    stepper = baseline.stepper(STEPS, horizon=HORIZON, quantiles=(0.5, 0.9))
    state, said = stepper.warm(history), []
    said.append(stepper.forecast(state, np.array([KNOWN - 1]))[0])
    for t in range(KNOWN, len(y)):
        state = stepper.step(state, y[t : t + 1], np.array([t]))
        said.append(stepper.forecast(state, np.array([t]))[0])
    median, upper = np.moveaxis(np.stack(said), 2, 0)
    return Said(median, (upper - median) / Z, baseline.to_frame().iloc[0].to_dict())


def filled(y: np.ndarray, said: Said) -> np.ndarray:
    """What is missing among the later values, as it was forecast one step before."""
    y = y.copy()
    missing = np.flatnonzero(np.isnan(y))
    y[missing] = said.mean[missing - KNOWN, 0]
    return y


def season_of(numbers: dict[str, float]) -> np.ndarray:
    return np.array([numbers[f"season_{phase}"] for phase in range(M)])


def innovations(y: np.ndarray, numbers: dict[str, float], *, form: str) -> tuple:
    """One-step means, means at the end of the values, and the result of statsmodels with the same numbers."""
    alpha, beta, gamma, phi = (numbers[name] for name in ("alpha", "beta", "gamma", "phi"))
    options: dict[str, object] = {"error": "add", "trend": "add", "damped_trend": phi < 1, "initial_trend": numbers["trend"]}
    if form != "none":
        options |= {"seasonal": form[:3], "seasonal_periods": M, "initial_seasonal": season_of(numbers)}
    model = ETSModel(pd.Series(y), initialization_method="known", initial_level=numbers["level"], **options)
    result = model.smooth(np.r_[alpha, alpha * beta, [gamma] if form != "none" else [], [phi] if phi < 1 else []])
    return np.asarray(result.fittedvalues), np.asarray(result.forecast(HORIZON)), result


def holt_winters(y: np.ndarray, numbers: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """One-step means, and means at the end of the values, of statsmodels' Holt-Winters with the same factors."""
    options = {"trend": "add", "damped_trend": True, "initial_trend": numbers["trend"], "initial_level": numbers["level"]}
    options |= {"seasonal": "mul", "seasonal_periods": M, "initial_seasonal": season_of(numbers)}
    weights = {"smoothing_level": numbers["alpha"], "smoothing_trend": numbers["beta"], "damping_trend": numbers["phi"]}
    model = ExponentialSmoothing(y, initialization_method="known", **options)
    result = model.fit(optimized=False, smoothing_seasonal=numbers["gamma"], **weights)
    return np.asarray(result.fittedvalues), np.asarray(result.forecast(HORIZON))


@gaps
@pytest.mark.parametrize("name", ["ses", "holt", "damped", "theta", "stl_ets"])
def test_smoothing_of_an_adjusted_series_equals_statsmodels(name: str, has_gaps: bool) -> None:
    y = with_gaps(wavy()) if has_gaps else wavy()
    said = live(name, y)
    index = np.resize(season_of(said.numbers), len(y) + HORIZON)
    is_factor = said.numbers["form"] == "multiplicative"
    whole = filled(y, said)
    adjusted = whole / index[: len(y)] if is_factor else whole - index[: len(y)]
    one_step, ahead, _ = innovations(adjusted, said.numbers, form="none")
    restored = one_step * index[: len(y)] if is_factor else one_step + index[: len(y)]
    later = ahead * index[len(y) :] if is_factor else ahead + index[len(y) :]
    np.testing.assert_allclose(said.mean[:-1, 0], restored[KNOWN:], **TOLERANCE)
    np.testing.assert_allclose(said.mean[-1], later, **TOLERANCE)


@gaps
@pytest.mark.parametrize("name", ["holt_winters", "holt_winters_additive", "holt_winters_multiplicative", "ets"])
def test_smoothing_with_a_season_inside_equals_statsmodels(name: str, has_gaps: bool) -> None:
    y = with_gaps(wavy()) if has_gaps else wavy()
    said = live(name, y)
    form = str(said.numbers["form"])
    assert form != "none"
    if form == "multiplicative" and name != "ets":
        one_step, ahead = holt_winters(filled(y, said), said.numbers)
        compared = np.arange(1, HORIZON + 1) % M != 0  # there it takes the season as it was before its last update
    else:
        one_step, ahead, result = innovations(filled(y, said), said.numbers, form=form)
        compared = np.full(HORIZON, True)
    np.testing.assert_allclose(said.mean[:-1, 0], one_step[KNOWN:], **TOLERANCE)
    np.testing.assert_allclose(said.mean[-1][compared], ahead[compared], **TOLERANCE)
    if form == "additive":  # of factors, statsmodels simulates the variance
        variance = result.get_prediction(start=len(y), end=len(y) + HORIZON - 1).forecast_variance / result.mse
        np.testing.assert_allclose((said.scale[-1] / said.numbers["sigma"]) ** 2, variance, **TOLERANCE)


@pytest.mark.parametrize("error", ["add", "mul"])
@pytest.mark.parametrize("trend", ["none", "damped", "linear"])
@pytest.mark.parametrize("form", ["none", "additive", "multiplicative"])
def test_every_innovations_model_is_stepped_as_statsmodels_smooths(error: str, trend: str, form: str) -> None:
    y = wavy()
    found = fit_innovations(y[:KNOWN], 0, season_length=M, form=form, error=error, trend=trend)
    said = live("ets", y, numbers=found.numbers("ETS", 0) | {"sigma": 1.0})
    options: dict[str, object] = {"error": error, "initialization_method": "known", "initial_level": found.level}
    weights = [found.alpha]
    if trend != "none":
        options |= {"trend": "add", "damped_trend": trend == "damped", "initial_trend": found.slope}
        weights += [found.alpha * found.beta]
    if form != "none":
        options |= {"seasonal": form[:3], "seasonal_periods": M, "initial_seasonal": found.season.indices}
        weights += [found.gamma]
    weights += [found.phi] if trend == "damped" else []
    result = ETSModel(pd.Series(y), **options).smooth(np.array(weights))
    np.testing.assert_allclose(result.fittedvalues[:KNOWN], found.fitted, **TOLERANCE)
    np.testing.assert_allclose(said.mean[:-1, 0], result.fittedvalues[KNOWN:], **TOLERANCE)
    np.testing.assert_allclose(said.mean[-1], result.forecast(HORIZON), **TOLERANCE)


ORDERS = [
    ((2, 0, 1), 60.0),
    ((1, 1, 2), 0.05),
    ((0, 1, 1), 0.0),
    ((3, 1, 0), 0.1),
    ((1, 2, 1), 0.0),
    ((0, 0, 0), 60.0),
    ((0, 2, 3), 0.0),
]


@gaps
@pytest.mark.parametrize(("order", "constant"), ORDERS)
def test_arima_equals_the_filter_of_statsmodels(order: tuple[int, int, int], constant: float, has_gaps: bool) -> None:
    y = with_gaps(wandering()) if has_gaps else wandering()
    p, d, q = order
    ar, ma = np.array([0.5, 0.2, -0.1])[:p], np.array([0.4, 0.2, 0.1])[:q]
    offset = constant * (np.arange(len(y) + HORIZON) if d == 1 else 1.0) + (y[0] if d else 0.0) * np.ones(len(y) + HORIZON)
    free = y - offset[: len(y)]
    result = SARIMAX(free[:KNOWN], order=order, loglikelihood_burn=0).smooth(np.r_[ar, ma, 1.0])
    numbers = {"form": "none", "d": float(d), "constant": constant, "sigma": 1.0, **{f"season_{k}": 0.0 for k in range(M)}}
    for name, weights in (("ar", ar), ("ma", ma)):
        numbers |= {f"{name}_{lag}": float(weights[lag - 1]) if lag <= len(weights) else 0.0 for lag in (1, 2, 3)}
    said = live("arima", y, numbers=numbers)
    extended = result.append(free[KNOWN:])
    one_step = np.asarray(extended.predict(KNOWN, len(y) - 1)) + offset[KNOWN : len(y)]
    ahead = extended.get_forecast(HORIZON)
    np.testing.assert_allclose(said.mean[:-1, 0], one_step, **TOLERANCE)
    np.testing.assert_allclose(said.mean[-1], ahead.predicted_mean + offset[len(y) :], **TOLERANCE)
    np.testing.assert_allclose(said.scale[-1], ahead.se_mean, **TOLERANCE)


def test_arima_of_a_fit_steps_as_statsmodels_appends() -> None:
    y = with_gaps(wavy())
    said = live("arima", y)
    numbers = said.numbers
    season = season_of(numbers)
    index = np.resize(season, len(y) + HORIZON)
    is_factor = numbers["form"] == "multiplicative"
    d = int(numbers["d"])
    adjusted = y / index[: len(y)] if is_factor else y - index[: len(y)]
    offset = numbers["constant"] * (np.arange(len(y) + HORIZON) if d == 1 else np.ones(len(y) + HORIZON)) + (
        adjusted[0] if d else 0.0
    )
    model = SARIMAX((adjusted - offset[: len(y)]) / numbers["sigma"], order=(3, d, 3))
    result = model.smooth(np.r_[[numbers[f"{name}_{lag}"] for name in ("ar", "ma") for lag in (1, 2, 3)], 1.0])
    ahead = np.asarray(result.forecast(HORIZON)) * numbers["sigma"] + offset[len(y) :]
    later = ahead * index[len(y) :] if is_factor else ahead + index[len(y) :]
    np.testing.assert_allclose(said.mean[-1], later, **TOLERANCE)


def test_theta_forecasts_as_statsmodels_does() -> None:
    y = wavy()
    found = ThetaModel(pd.Series(y[:KNOWN]), period=M, method="multiplicative").fit()
    np.testing.assert_allclose(live("theta", y).mean[0], np.asarray(found.forecast(HORIZON)), **TOLERANCE)


def test_the_held_season_is_the_last_one_of_stl() -> None:
    y = wavy()
    said = live("stl_ets", y)
    seasonal = STL(y[:KNOWN], period=M).fit().seasonal
    np.testing.assert_allclose(season_of(said.numbers), seasonal[-M:], **TOLERANCE)  # 80 values are whole seasons


@gaps
def test_the_mean_equals_a_regression_on_a_constant(has_gaps: bool) -> None:
    y = with_gaps(wavy()) if has_gaps else wavy()
    said = live("mean", y)
    for t in (0, 50, LATER):
        seen = y[: KNOWN + t][np.isfinite(y[: KNOWN + t])]
        found = OLS(seen, np.ones(len(seen))).fit().get_prediction([[1.0]])
        np.testing.assert_allclose(said.mean[t], np.full(HORIZON, found.predicted_mean), **TOLERANCE)
        np.testing.assert_allclose(said.scale[t], np.full(HORIZON, found.se_obs), **TOLERANCE)


def test_the_drift_equals_a_regression_of_the_changes_on_a_constant() -> None:
    y = wavy()
    said = live("drift", y)
    lead = np.arange(1, HORIZON + 1)
    for t in (0, 50, LATER):
        changes = np.diff(y[: KNOWN + t])
        found = OLS(changes, np.ones(len(changes))).fit()
        np.testing.assert_allclose(said.mean[t], y[KNOWN + t - 1] + lead * found.params[0], **TOLERANCE)
        variance = found.mse_resid * lead + found.cov_params()[0, 0] * lead**2
        np.testing.assert_allclose(said.scale[t] ** 2, variance, **TOLERANCE)


def test_the_drift_across_gaps_is_the_line_from_the_first_value_to_the_last() -> None:
    y = with_gaps(wavy())
    said = live("drift", y)
    last = np.flatnonzero(np.isfinite(y))[-1]
    slope = (y[last] - y[0]) / last
    np.testing.assert_allclose(said.mean[-1], y[last] + slope * (len(y) - 1 - last + np.arange(1, HORIZON + 1)), **TOLERANCE)


@gaps
def test_the_naive_forecasts_are_the_last_values_observed(has_gaps: bool) -> None:
    y = with_gaps(wavy()) if has_gaps else wavy()
    series = pd.Series(y)
    naive, seasonal = live("naive", y), live("seasonal_naive", y)
    np.testing.assert_array_equal(naive.mean[:, 0], series.ffill().to_numpy()[KNOWN - 1 :])
    by_phase = series.groupby(np.arange(len(y)) % M).ffill().shift(M - 1).to_numpy()
    np.testing.assert_array_equal(seasonal.mean[:, 0], by_phase[KNOWN - 1 :])
    naive2 = live("naive2", y)
    index = season_of(naive2.numbers)[np.arange(len(y) + 1) % M]
    adjusted = pd.Series(y / index[:-1]).ffill().to_numpy()
    np.testing.assert_allclose(naive2.mean[:, 0], adjusted[KNOWN - 1 :] * index[KNOWN:], **TOLERANCE)
