"""Seasonal ARIMA: the recursion against statsmodels' filter, the fit against what made the data and statsmodels' likelihood."""

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.statespace.sarimax import SARIMAX

from forecaster.baselines import BASELINES
from forecaster.baselines.parameters import Sample
from forecaster.baselines.seasonal_arima import (
    Order,
    Weights,
    estimate,
    fit_sarima,
    long_polynomial,
    one_step_errors,
    short_polynomial,
)
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

STEPS = Frequency("step", is_numbered=True)
M = 4
CASES = {
    "airline": (Order(0, 1, 1, 0, 1, 1, M, False), [], [-0.4], [], [-0.5]),
    "seasonal ar": (Order(1, 0, 0, 1, 0, 0, M, True), [0.5], [], [0.6], []),
    "all of it": (Order(2, 1, 1, 1, 1, 1, M, False), [0.5, -0.3], [0.4], [0.3], [-0.6]),
    "drift": (Order(1, 0, 1, 0, 1, 0, M, True), [0.6], [0.3], [], []),
    "no season": (Order(3, 1, 2, 0, 0, 0, 1, True), [0.4, -0.2, 0.1], [0.3, 0.2], [], []),
}
every_case = pytest.mark.parametrize("case", CASES)


def weights_of(case: str, constant: float = 0.3) -> Weights:
    order, *parts = CASES[case]
    return Weights(order, *(np.array(part) for part in parts), constant if order.has_constant else 0.0)


def parameters_of(weights: Weights, sigma: float = 1.0) -> dict:
    is_level = weights.order.d + weights.order.seasonal_d == 0
    table = {
        "short": (short_polynomial(weights)[1:], 5),
        "long": (long_polynomial(weights)[1:], 2),
        "ma": (weights.ma, 3),
        "seasonal_ma": (weights.seasonal_ma, 1),
    }
    numbers = {f"{name}_{k}": float(v[k - 1]) if k <= len(v) else 0.0 for name, (v, n) in table.items() for k in range(1, n + 1)}
    mean, drift = (weights.constant, 0.0) if is_level else (0.0, weights.constant)
    common = {"fallback": "", "season_length": float(M), "sigma_naive": 1.0, "sigma_seasonal": 1.0, "start": 0.0}
    return common | numbers | {"m": float(weights.order.m), "mean": mean, "drift": drift, "sigma": sigma, "model": "x"}


def stepper_of(weights: Weights, horizon: int = 9):
    frame = pd.DataFrame([{"unique_id": "a"} | parameters_of(weights)])
    fitted = BASELINES["sarima"](season_length=M).from_frame(frame)
    return fitted.stepper(STEPS, horizon=horizon, quantiles=(0.1, 0.5, 0.9))


def statsmodels_of(weights: Weights, y: np.ndarray):
    """statsmodels' filter with the same weights; the constant stands where it has it."""
    order = weights.order
    is_level = order.d + order.seasonal_d == 0
    seasonal = (order.seasonal_p, order.seasonal_d, order.seasonal_q, order.m if order.m > 1 else 0)
    shifted = y - weights.constant if is_level else y
    model = SARIMAX(
        shifted,
        order=(order.p, order.d, order.q),
        seasonal_order=seasonal if order.m > 1 else (0, 0, 0, 0),
        trend="c" if order.has_constant and not is_level else None,
    )
    drift = [weights.constant] if order.has_constant and not is_level else []
    x = np.r_[drift, weights.ar, weights.ma, weights.seasonal_ar, weights.seasonal_ma, 1.0]
    return model.filter(x), (weights.constant if is_level else 0.0)


def simulated(weights: Weights, count: int, seed: int = 0) -> np.ndarray:
    """A slow loop over the definition."""
    short, long = short_polynomial(weights), long_polynomial(weights)
    m, e = weights.order.m, np.random.default_rng(seed).normal(size=count + 400)
    season = np.zeros(len(long) * m if len(long) > 1 else 1)
    season[: len(long) * m : m] = long if len(long) > 1 else 1.0
    left = np.convolve(short, np.trim_zeros(season, "b"))
    own = np.zeros(1 + m * len(weights.seasonal_ma))
    own[0] = 1.0
    if len(weights.seasonal_ma):
        own[m] = weights.seasonal_ma[0]
    right = np.convolve(np.r_[1.0, weights.ma], own)
    is_level = weights.order.d + weights.order.seasonal_d == 0
    y = np.zeros(count + 400)
    for t in range(len(left) + len(right), len(y)):
        y[t] = -left[1:] @ y[t - 1 : t - len(left) : -1] + right @ e[t : t - len(right) : -1]
        y[t] += 0.0 if is_level else weights.constant
    return y[400:] + (weights.constant if is_level else 0.0)


@every_case
def test_after_a_while_forecasts_are_those_of_statsmodels_to_1e_8(case):
    weights, count, ahead = weights_of(case), 260, 200
    y = simulated(weights, count + ahead)
    stepper = stepper_of(weights)
    state = stepper.warm(Panel(("a",), np.zeros(1, int), np.array([0, count]), y[:count], STEPS))
    theirs, level = statsmodels_of(weights, y[:count])
    for t in range(count, count + ahead):
        at = np.array([t])
        state = stepper.step(state, y[t : t + 1], at)
        if t % 20 == 0 or t == count:
            theirs = theirs.append(y[theirs.nobs : t + 1] - level)
            said = theirs.get_forecast(9)
            own = stepper.forecast(state, at)[0]
            np.testing.assert_allclose(own[:, 1], said.predicted_mean + level, rtol=1e-8, atol=1e-8 * np.abs(y).max())
            spread = (own[:, 2] - own[:, 1]) / 1.2815515655446004
            np.testing.assert_allclose(spread, said.se_mean, rtol=1e-6)


@pytest.mark.parametrize("case", ["seasonal ar"])
def test_without_moving_averages_missing_values_cost_nothing(case):
    weights = weights_of(case)
    y = simulated(weights, 120)
    y[[40, 41, 60, 77, 78, 79]] = np.nan
    stepper = stepper_of(weights)
    state = stepper.warm(Panel(("a",), np.zeros(1, int), np.array([0, 120]), y, STEPS))
    theirs, level = statsmodels_of(weights, y)
    np.testing.assert_allclose(stepper.forecast(state, np.array([119]))[0, :, 1], theirs.forecast(9) + level, rtol=1e-8)


@every_case
def test_after_missing_values_the_recursion_comes_back_to_the_filter(case):
    weights = weights_of(case)
    y = simulated(weights, 400)
    y[[200, 201, 202, 230]] = np.nan
    stepper = stepper_of(weights)
    state = stepper.warm(Panel(("a",), np.zeros(1, int), np.array([0, 400]), y, STEPS))
    theirs, level = statsmodels_of(weights, y)
    own, said = stepper.forecast(state, np.array([399]))[0, :, 1], theirs.forecast(9) + level
    np.testing.assert_allclose(
        own, said, atol=1e-6 * np.nanmax(np.abs(y))
    )  # 0.6 to the power of 42 seasons: 1e-9, times its size


def test_what_is_fitted_is_what_is_stepped():
    weights = weights_of("all of it")
    y = simulated(weights, 120)
    stepper = stepper_of(weights, horizon=1)
    state, errors = stepper.initial_state(0), []
    state = stepper.warm(Panel(("a",), np.zeros(1, int), np.array([0, 1]), y[:1], STEPS))
    for t in range(1, 120):
        errors.append(y[t] - stepper.forecast(state, np.array([t - 1]))[0, 0, 1])
        state = stepper.step(state, y[t : t + 1], np.array([t]))
    differenced = np.diff(y[M:] - y[:-M])
    first = 3 + M
    np.testing.assert_allclose(one_step_errors(differenced, weights, first), np.array(errors)[M + first :], atol=1e-8)


@pytest.mark.parametrize("case", ["airline", "seasonal ar", "no season"])
def test_estimates_are_as_likely_as_those_of_maximum_likelihood(case):
    weights = weights_of(case)
    y = simulated(weights, 600, seed=2)
    order = weights.order
    rest = y[order.m :] - y[: -order.m] if order.seasonal_d else y
    found = estimate(np.diff(rest, n=order.d), order)
    seasonal = (order.seasonal_p, order.seasonal_d, order.seasonal_q, order.m) if order.m > 1 else (0, 0, 0, 0)
    trend = "c" if order.has_constant else None
    best = SARIMAX(y, order=(order.p, order.d, order.q), seasonal_order=seasonal, trend=trend).fit(disp=0)
    ours = np.r_[found.ar, found.ma, found.seasonal_ar, found.seasonal_ma]
    x = np.r_[best.params[: 1 if trend else 0], ours, found.sigma**2]
    assert best.model.loglike(x) > best.llf - 5.0  # of about 850, with their constant, which ours has not been fitted with
    assert found.sigma == pytest.approx(best.params[-1] ** 0.5, rel=0.02)


def test_a_season_that_returns_is_differenced_and_forecast():
    rng = np.random.default_rng(5)
    y = np.resize([10.0, 30.0, 20.0, 50.0, 5.0, 8.0], 120) + 0.3 * np.arange(120) + rng.normal(0, 0.5, 120)
    found = fit_sarima(Sample(y, 0, 6))
    assert ",1," in str(found["model"]).split(")")[1]
    panel = Panel(("a",), np.zeros(1, int), np.array([0, 120]), y, STEPS)
    fitted = BASELINES["sarima"](season_length=6).fit(panel)
    said = fitted.predict(panel, 12, quantiles=(0.5,), origins=Origins.back(panel)).median[0]
    truth = np.resize([10.0, 30.0, 20.0, 50.0, 5.0, 8.0], 12) + 0.3 * np.arange(120, 132)
    assert np.abs(said - truth).max() < 2.0
    assert fitted.fit_report[0].fallback is None
