"""Calibrated intervals hold what they promise."""

from statistics import NormalDist

import numpy as np
import pytest
from conformal_doubles import LastValue, Normal, Z, panel_of, walks

from forecaster.forecast import State, warm_state
from forecaster.series import Values
from forecaster.streaming.conformal import Calibrated, CalibrationConfig


def live_coverage(stepper: Calibrated, y: Values, *, last: int) -> tuple[Values, State]:
    """The share of truths y [B, T] inside each interval [L, 2] (95 %, 80 %) of all forecasts made in the last positions."""
    state, hits, counts = stepper.initial_state(len(y)), np.zeros((stepper.horizon, 2)), np.zeros(stepper.horizon)
    pairs = [(q, len(stepper.quantiles) - 1 - q) for q in range(2)]
    for t in range(y.shape[1]):
        position = np.full(len(y), t)
        state = stepper.step(state, y[:, t], position)
        if t < y.shape[1] - last:
            continue
        future = y[:, t + 1 : t + 1 + stepper.horizon]
        said = stepper.forecast(state, position)[:, : future.shape[1]]
        for i, (low, high) in enumerate(pairs):
            hits[: future.shape[1], i] += ((said[:, :, low] <= future) & (future <= said[:, :, high])).sum(axis=0)
        counts[: future.shape[1]] += len(y)
    return hits / np.maximum(counts, 1)[:, None], state


@pytest.mark.parametrize(("mean", "deviation"), [(0, 1), (0, 4), (0, 0.25), (1.5, 1), (-2, 3)])
def test_a_forecaster_that_is_wrong_about_spread_or_mean_is_put_right(mean: float, deviation: float) -> None:
    y = np.random.default_rng(0).normal(size=(20, 1_600))
    stepper = Calibrated(Normal(mean, deviation))
    coverage, state = live_coverage(stepper, y, last=800)
    assert np.abs(coverage - (0.95, 0.8)).max() < 0.015
    learned = stepper.forecast(state, np.full(20, 1_599)).mean(axis=(0, 1))
    assert learned[3] == pytest.approx(0, abs=0.1)
    assert learned[[1, 5]] == pytest.approx(Z[[1, 5]], abs=0.1)
    assert learned[[0, 6]] == pytest.approx(Z[[0, 6]], abs=0.2)


def test_coverage_holds_over_time_for_data_that_are_out_to_break_it() -> None:
    random, length = np.random.default_rng(1), 5_000
    level = np.repeat(random.normal(0, 3, 10), 500)
    size = np.exp(np.sin(np.arange(length) / 300) + 2 * (np.arange(length) // 2_000 % 2))
    adversary = level + size * random.standard_t(2, size=length)
    coverage, _ = live_coverage(Calibrated(Normal(horizon=1)), adversary[None, :], last=length - 1)
    # a bend moves from 1 to its bounds by 4 in logarithms at most, a miss moves it by 0.04 or more: 4 / (0.04 * 5,000) a side
    assert coverage[0] == pytest.approx((0.95, 0.8), abs=0.02)
    raw = [(np.abs(adversary) <= z).mean() for z in Z[[6, 5]]]
    assert np.abs(np.array(raw) - (0.95, 0.8)).min() > 0.1


@pytest.mark.parametrize("horizon", [1, 3, 12, 24])
def test_a_plain_loop_that_keeps_every_forecast_learns_the_same(horizon: int) -> None:
    """The formulas of the module, in float64 and with exp, for one series whose forecasts are all kept whole."""
    config = CalibrationConfig(rate=0.02, bias_rate=0.004, coverage_memory=30, scale_memory=40)
    stepper = Calibrated(Normal(0.5, 2, horizon=horizon, quantiles=(0.1, 0.5, 0.9)), config)
    y, schedule = np.random.default_rng(2).normal(size=400), stepper.tracker.schedule
    knots, blocks = [block[-1] for block in schedule.blocks], len(schedule.blocks)
    basis = np.stack([np.interp(np.arange(1, horizon + 1), knots, np.eye(blocks)[g]) for g in range(blocks)], axis=1)
    kernel = config.sharing ** np.abs(np.subtract.outer(np.arange(blocks), np.arange(blocks)))
    low, shift, high = np.ones(blocks), np.zeros(blocks), np.ones(blocks)
    scale, misses, count, waiting = 1.0, np.array([0.1, 0.5, 0.1]), 0, []
    half = 2 * NormalDist().inv_cdf(0.9)
    usual = np.sqrt(2 / np.pi) / NormalDist().inv_cdf(0.9)
    for t, truth in enumerate(y):
        for forecast, lead in [(forecast, lead) for forecast, lead, due in waiting if due == t]:
            count += 1
            beyond = np.array([truth < forecast[0], truth > forecast[1], truth > forecast[2]], dtype=float)
            misses += (beyond - misses) / min(count, 30)
            scale += (min(abs(truth - forecast[1]) / half / usual, 3) - scale) / min(count + 10, 40)
            scale = max(scale, 0.1)
            share = basis[lead - 1] @ kernel
            low *= np.exp(share * 0.02 * (beyond[0] - 0.1) / 0.3)
            high *= np.exp(share * 0.02 * (beyond[2] - 0.1) / 0.3)
            haste = 40 * min(count / 30, 1) * max(abs(2 * misses[1] - 1) - 0.5, 0)
            shift += share * 0.004 * 2 * (beyond[1] - 0.5) * (1 + haste)
        if t % schedule.spacing == 0:
            for lead in schedule.kept_leads[t % schedule.period // schedule.spacing]:
                bend = basis[lead - 1]
                median = 0.5 + half * bend @ shift
                waiting.append(
                    ((median - half * scale * bend @ low, median, median + half * scale * bend @ high), lead, t + lead)
                )
    said = stepper.forecast(warm_state(stepper, panel_of(y)), np.array([len(y) - 1]))[0]
    median = 0.5 + half * basis @ shift
    plain = np.stack([median - half * scale * basis @ low, median, median + half * scale * basis @ high], axis=1)
    assert said == pytest.approx(plain, abs=2e-3)  # exp is taken to its third order, in float32


def test_coverage_as_it_is_read_from_a_state_is_the_one_that_was_achieved() -> None:
    y = np.random.default_rng(3).normal(size=(300, 400))
    stepper = Calibrated(Normal(0, 3), CalibrationConfig(rate=1e-6, scale_memory=10**9, bias_rate=0))
    _, state = live_coverage(stepper, y, last=1)
    coverage = stepper.coverage_of(state)
    assert coverage.nominal == (0.95, 0.8)
    inside = [1 - 2 * NormalDist().cdf(-3 * NormalDist().inv_cdf(1 - q)) for q in (0.025, 0.1)]
    assert list(coverage.pooled().values()) == pytest.approx(inside, abs=0.003)
    assert np.isnan(stepper.coverage_of(stepper.initial_state(2)).achieved).all()
    assert all(np.isnan(share) for share in stepper.coverage_of(stepper.initial_state(0)).pooled().values())


def test_a_young_series_begins_with_what_the_panel_asked_for() -> None:
    random = np.random.default_rng(4)
    panel = panel_of(*random.normal(size=(30, 200)))
    stepper = Calibrated.fitted(Normal(2, 5), panel)
    first = stepper.forecast(stepper.initial_state(1), np.array([-1]))[0]
    assert first[:, 3] == pytest.approx(0, abs=0.25)
    assert first[:, [1, 5]] == pytest.approx(np.broadcast_to(Z[[1, 5]], (6, 2)), abs=0.35)
    coverage, _ = live_coverage(stepper, random.normal(size=(200, 20)), last=20)
    assert coverage[:5].mean(axis=0) == pytest.approx((0.95, 0.8), abs=0.03)


def test_after_a_change_of_spread_intervals_follow_within_days() -> None:
    y = np.random.default_rng(5).normal(size=(50, 1_200))
    y[:, 600:] *= 4
    stepper = Calibrated(Normal(horizon=24))
    state = stepper.initial_state(50)
    widths = []
    for t in range(1_200):
        state = stepper.step(state, y[:, t], np.full(50, t))
        if t in (599, 800, 1_199):
            said = stepper.forecast(state, np.full(50, t))
            widths.append((said[:, :, 5] - said[:, :, 1]).mean() / (Z[5] - Z[1]))
    assert widths[0] == pytest.approx(1, abs=0.1)
    assert widths[1] == pytest.approx(4, abs=0.8)
    assert widths[2] == pytest.approx(4, abs=0.4)


def test_a_level_of_a_billion_takes_no_precision_from_the_scores() -> None:
    y = np.random.default_rng(6).normal(size=(20, 300))
    near, far = (warm_state(Calibrated(Normal(level, 2)), panel_of(*(y + level))) for level in (1e3, 1e9))
    learned = slice(1, 1 + Calibrated(Normal()).tracker.bends.stop)
    assert far[:, learned] == pytest.approx(near[:, learned], abs=1e-4)


@pytest.mark.parametrize("deviation", [1.0, 4.0])
def test_what_was_never_negative_is_not_forecast_to_be(deviation: float) -> None:
    y = np.abs(np.random.default_rng(7).standard_cauchy(size=(10, 500)))
    inner = Normal(3.0, deviation)
    stepper = Calibrated(inner)
    state = warm_state(stepper, panel_of(*y))
    said, plain = stepper.forecast(state, np.full(10, 499)), inner.forecast(state, np.full(10, 499))
    assert said[plain >= 0].min() >= 0
    below = stepper.step(state, np.full(10, -1.0), np.full(10, 500))
    assert stepper.forecast(below, np.full(10, 500))[:, :, 0].min() < 0


def test_quantiles_that_do_not_cross_do_not_cross_after_any_bends() -> None:
    random = np.random.default_rng(8)
    stepper = Calibrated(LastValue())
    state, panel = warm_state(stepper, walks(30)), walks(30)
    bends = slice(2 + stepper.tracker.bends.start, 2 + stepper.tracker.bends.stop)
    state[:, bends] = np.exp(random.normal(0, 2, size=state[:, bends].shape)).clip(0.02, 50)
    said = stepper.forecast(state, panel.ends)
    assert (np.diff(said, axis=2) >= 0).all()


def test_forecasts_that_are_not_finite_are_passed_on_and_never_scored() -> None:
    stepper = Calibrated(LastValue())
    state = warm_state(stepper, panel_of(np.full(40, np.nan)))
    assert np.isnan(stepper.forecast(state, np.array([39]))).all()
    assert stepper.coverage_of(state).scores[0] == 0


def test_values_beyond_what_a_state_can_hold_do_no_harm() -> None:
    stepper = Calibrated(Normal())
    y = np.zeros((3, 60))
    y[0, 30], y[1, 30], y[2, 30] = 1e300, -1e300, 1e38
    state = warm_state(stepper, panel_of(*y))
    assert np.isfinite(state[:, : 1 + stepper.tracker.bends.stop]).all()
    assert np.isfinite(stepper.forecast(state, np.full(3, 59))).all()
    wild = Calibrated(Normal(0, 1e200))
    assert wild.coverage_of(warm_state(wild, panel_of(*y))).scores.tolist() == [0, 0, 0]


def test_no_series_and_one_sided_quantiles_are_fine() -> None:
    stepper = Calibrated(Normal(2, quantiles=(0.5, 0.9)))
    nobody = stepper.initial_state(0)
    assert stepper.step(nobody, np.empty(0), np.empty(0, np.int64)).shape == nobody.shape
    assert stepper.forecast(nobody, np.empty(0, np.int64)).shape == (0, 6, 2)
    y = np.random.default_rng(9).normal(size=(20, 2_000))
    said = stepper.forecast(warm_state(stepper, panel_of(*y)), np.full(20, 1_999)).mean(axis=(0, 1))
    assert said == pytest.approx([0, NormalDist().inv_cdf(0.9)], abs=0.15)
    assert stepper.coverage_of(nobody).nominal == ()


def test_a_constant_series_stays_what_it_is() -> None:
    stepper = Calibrated(LastValue())
    state = warm_state(stepper, panel_of(np.full(500, 7.0)))
    assert stepper.forecast(state, np.array([499])) == pytest.approx(7.0)
    assert np.isfinite(state[:, : 2 + stepper.tracker.bends.stop]).all()
