"""The smoothing that the network starts from, held against statsmodels and against its formulas in a slow loop."""

import numpy as np
import pytest
from statsmodels.datasets import co2, macrodata
from statsmodels.tsa.holtwinters import ExponentialSmoothing

from forecaster.models.holt_winters import HoltWinters, choose_smoothing
from forecaster.models.scaler import ERROR, SEASONS, SLOPE, SMOOTH, Scaler

NAN = float("nan")
HORIZON = 15


def scaler_with(base: HoltWinters) -> Scaler:
    return Scaler("signed", (base.length,), base, ring_size=2 * base.length + 9, least_spread=1e-6)


def walk(base: HoltWinters, y: np.ndarray) -> tuple[Scaler, np.ndarray]:
    """The scaler, and its states [T, S] after each value of one series."""
    scaler = scaler_with(base)
    state, states = scaler.initial_state(1), []
    for value in y:
        state = scaler.step(state, np.array([value]))
        states.append(state[0])
    return scaler, np.array(states)


def monthly_co2() -> np.ndarray:
    """The mean of each month, of which some have none."""
    return np.asarray(co2.load_pandas().data["co2"].resample("MS").mean())


@pytest.mark.parametrize(("level", "slope", "damping"), [(0.3, 0.1, 0.9), (0.8, 0.05, 1.0), (1.0, 0.3, 0.98)])
@pytest.mark.parametrize("name", ["realgdp", "infl", "unemp"])
def test_a_damped_trend_is_that_of_statsmodels(name: str, level: float, slope: float, damping: float) -> None:
    y = macrodata.load_pandas().data[name].to_numpy(dtype=float)
    scaler, states = walk(HoltWinters(level, slope, 0.0, damping, length=1), y)
    grown = 10  # from then on 1 / age is below every weight of a level
    theirs = ExponentialSmoothing(
        y[grown:],
        trend="add",
        damped_trend=True,
        initialization_method="known",
        initial_level=float(states[grown - 1, SMOOTH]),
        initial_trend=float(states[grown - 1, SLOPE]),
    ).fit(smoothing_level=level, smoothing_trend=slope, damping_trend=damping, optimized=False)
    size = np.abs(y).max()  # ours is float32, whose rounding is that of the level
    np.testing.assert_allclose(states[grown:, SMOOTH], theirs.level, atol=3e-6 * size)
    np.testing.assert_allclose(states[grown:, SLOPE], theirs.trend, atol=3e-6 * size)
    np.testing.assert_allclose(states[grown:, ERROR], theirs.resid, atol=3e-6 * size)
    np.testing.assert_allclose(scaler.base_forecast(states[-1:], HORIZON)[0], theirs.forecast(HORIZON), atol=2e-5 * size)


def test_an_additive_season_is_that_of_statsmodels() -> None:
    level, slope, season, damping = 0.4, 0.1, 0.5, 0.95
    y = monthly_co2()[-180:]
    assert not np.isnan(y).any()
    scaler, states = walk(HoltWinters(level, slope, season, damping, length=12), y)
    grown = 36  # from then on every season is seen with its own weight
    before = states[grown - 1]
    theirs = ExponentialSmoothing(
        y[grown:],
        trend="add",
        damped_trend=True,
        seasonal="add",
        seasonal_periods=12,
        initialization_method="known",
        initial_level=float(before[SMOOTH]),
        initial_trend=float(before[SLOPE]),
        initial_seasonal=before[SEASONS : scaler.ring].astype(float),
    ).fit(  # their season moves by the error before the level has moved, ours by what is left of it: (1 - level) of that
        smoothing_level=level,
        smoothing_trend=slope,
        smoothing_seasonal=season * (1 - level),
        damping_trend=damping,
        optimized=False,
    )
    np.testing.assert_allclose(states[grown:, SMOOTH], theirs.level, rtol=2e-6)  # float32
    np.testing.assert_allclose(states[grown:, ERROR], theirs.resid, atol=5e-4)
    np.testing.assert_allclose(states[grown:, scaler.ring - 1], theirs.season, atol=5e-4)
    # their forecast a whole season ahead repeats the last season as it was before the last value; ours has seen it
    np.testing.assert_allclose(scaler.base_forecast(states[-1:], 11)[0], theirs.forecast(11), rtol=3e-6)


@pytest.mark.parametrize("base", [HoltWinters(0.2, 0.05, 0.3, 0.9, length=12), HoltWinters(0.02, 0.1, 0.0, 1.0, length=1)])
def test_from_the_first_value_on_it_is_what_a_slow_loop_says(base: HoltWinters) -> None:
    y = monthly_co2()[:160] - 315
    y[:3], y[[20, 21, 50]], y[70:95] = NAN, NAN, NAN
    scaler, states = walk(base, y)
    level = slope = age = 0.0
    season = dict.fromkeys(range(base.length), 0.0)
    for t, value in enumerate(y):
        if age == 0 and np.isnan(value):
            continue
        age += 1
        expected, now = level + base.damping * slope, t % base.length
        error = 0.0 if np.isnan(value) else value - season[now] - expected
        moved = expected + max(base.level, 1 / age) * error
        slope *= base.damping
        if not np.isnan(value):
            if age > max(base.length, 2):
                slope += base.slope * (moved - level - slope)
            if base.length > 1:
                season[now] += max(base.season, 1 / ((age - 1) // base.length + 1)) * (value - moved - season[now])
        level = moved
        ahead, drift, factor = [], 0.0, base.damping
        for lead in range(1, HORIZON + 1):
            drift += factor * slope
            factor *= base.damping
            ahead.append(level + drift + season[(t + lead) % base.length])
        np.testing.assert_allclose(scaler.base_forecast(states[t, None], HORIZON)[0], ahead, rtol=1e-4, atol=1e-3)  # float32
        np.testing.assert_allclose(states[t, ERROR], 0.0 if age == 1 else error, atol=1e-3)


def rows(*series: np.ndarray) -> np.ndarray:
    """Series beside each other [B, T], NaN after the shorter ones."""
    table = np.full((len(series), max(map(len, series))), np.nan, dtype=np.float32)
    for row, one in zip(table, series, strict=True):
        row[: len(one)] = one
    return table


def test_a_season_is_found() -> None:
    random = np.random.default_rng(0)
    seasonal = [np.tile(random.normal(0, 3, 7), 12) + random.normal(0, 0.5, 84) for _ in range(5)]
    assert choose_smoothing(rows(*seasonal), horizon=7, lengths=(1, 7)).length == 7


def test_a_trend_is_found() -> None:
    random = np.random.default_rng(0)
    lines = [random.uniform(1, 3) * np.arange(60.0) + random.normal(0, 2, 60) for _ in range(5)]
    chosen = choose_smoothing(rows(*lines), horizon=8, lengths=(1,))
    assert chosen.slope > 0
    assert chosen.damping >= 0.98


def test_a_random_walk_is_followed_at_once() -> None:
    walks = np.random.default_rng(0).normal(0, 1, (30, 120)).cumsum(axis=1)
    chosen = choose_smoothing(rows(*walks), horizon=8, lengths=(1, 7))
    assert chosen.length == 1
    assert chosen.level >= 0.85
    assert chosen.slope <= 0.03


def test_noise_round_a_mean_is_averaged() -> None:
    noise = np.random.default_rng(0).normal(5, 1, (10, 120))
    chosen = choose_smoothing(rows(*noise), horizon=8, lengths=(1, 7))
    assert chosen.length == 1
    assert chosen.level <= 0.03


@pytest.mark.parametrize("unit", [1e-33, 1e-6, 1e29])
def test_the_unit_of_a_series_does_not_matter(unit: float) -> None:
    walks = rows(*np.random.default_rng(0).normal(0, 1, (5, 60)).cumsum(axis=1))
    chosen = choose_smoothing(walks, horizon=4, lengths=(1, 7))
    assert choose_smoothing(walks * np.float32(unit), horizon=4, lengths=(1, 7)) == chosen


def test_one_series_in_a_large_unit_does_not_choose_for_all() -> None:
    random = np.random.default_rng(1)
    walks, noise = random.normal(0, 1, (20, 80)).cumsum(axis=1), 1e9 * random.normal(0, 1, 80)
    assert choose_smoothing(rows(*walks, noise), horizon=4, lengths=(1,)).level >= 0.7


def test_a_season_is_not_chosen_where_no_forecast_with_it_was_judged() -> None:
    walks = np.random.default_rng(0).normal(0, 1, (20, 24)).cumsum(axis=1)
    chosen = choose_smoothing(rows(*walks), horizon=18, lengths=(1, 12))
    assert chosen.length == 1
    assert chosen.level >= 0.7  # what the values say, by the leads there are


@pytest.mark.parametrize(
    "series",
    [[1.0], [1.0, 2.0], [1.0, NAN, NAN, 2.0], [5.0] * 40, [0.0] * 40, [NAN] * 40],
    ids=["one value", "two values", "two values and a gap", "a constant", "zeros", "all missing"],
)
def test_where_nothing_can_be_learned_the_smoothing_is_an_ordinary_one(series: list[float]) -> None:
    chosen = choose_smoothing(rows(np.array(series)), horizon=7, lengths=(1, 7))
    assert chosen == HoltWinters(level=0.7, slope=0.03, season=0.1, damping=0.95, length=1)


def test_missing_values_and_still_series_are_passed_over() -> None:
    random = np.random.default_rng(0)
    holed = np.tile(random.normal(0, 3, 7), 12) + random.normal(0, 0.3, 84)
    holed[random.random(84) < 0.2] = NAN
    chosen = choose_smoothing(rows(holed, np.full(84, 3.0), np.full(84, NAN), np.array([1.0])), horizon=7, lengths=(1, 7))
    assert chosen.length == 7
