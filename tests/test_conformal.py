"""Calibrated intervals hold what they promise, and their state is a pure function of what was observed."""

import json
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import pytest

from forecaster.errors import ConfigError, StateError
from forecaster.forecast import State, warm_state
from forecaster.frequency import Frequency, Positions
from forecaster.series import Panel, Values
from forecaster.streaming.conformal import Calibrated, CalibrationConfig, Prior
from forecaster.streaming.pending import Schedule

QUANTILES = (0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975)
Z = np.array([NormalDist().inv_cdf(q) for q in QUANTILES])


@dataclass(frozen=True)
class Normal:
    """Says of every future value that it is normal with this mean and deviation; its state counts positions."""

    mean: float = 0.0
    deviation: float = 1.0
    horizon: int = 6
    quantiles: tuple[float, ...] = QUANTILES
    fingerprint: str = "normal"
    state_size: int = 1

    def initial_state(self, count: int) -> State:
        return np.zeros((count, 1), np.float32)

    def step(self, state: State, y: Values, position: Positions) -> State:
        return state + np.float32(1)

    def forecast(self, state: State, position: Positions) -> Values:
        z = np.array([NormalDist().inv_cdf(q) for q in self.quantiles])
        return np.broadcast_to(self.mean + self.deviation * z, (len(state), self.horizon, len(z))).copy()


@dataclass(frozen=True)
class LastValue:
    """Random walk: the last value, and the smoothed size of its changes."""

    horizon: int = 12
    quantiles: tuple[float, ...] = QUANTILES
    fingerprint: str = "last-value"
    state_size: int = 2

    def initial_state(self, count: int) -> State:
        return np.tile(np.array([np.nan, 1], np.float32), (count, 1))

    def step(self, state: State, y: Values, position: Positions) -> State:
        after, value = state.copy(), y.astype(np.float32)
        change = np.abs(value - state[:, 0])
        known = ~np.isnan(change)
        after[known, 1] += np.float32(0.1) * (change[known] - state[known, 1])
        after[~np.isnan(y), 0] = value[~np.isnan(y)]
        return after

    def forecast(self, state: State, position: Positions) -> Values:
        spread = state[:, 1, None] * np.sqrt(np.arange(1, self.horizon + 1))
        return state[:, 0, None, None].astype(np.float64) + spread[:, :, None] * Z


def panel_of(*series: Values, starts: tuple[int, ...] | None = None) -> Panel:
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in series])]).astype(np.int64)
    ids = tuple(f"series_{b:03d}" for b in range(len(series)))
    return Panel(ids, np.array(starts or (0,) * len(series)), offsets, np.concatenate(series), Frequency("h"))


def walks(count: int, seed: int = 0) -> Panel:
    """Random walks of different lengths and starts, a tenth of their values missing, some of them negative."""
    random = np.random.default_rng(seed)
    parts = []
    for b in range(count):
        y = np.cumsum(random.standard_t(3, size=80 + 13 * (b % 7))) + 20 * (b % 3)
        y[random.random(len(y)) < 0.1] = np.nan
        parts.append(y)
    return panel_of(*parts, starts=tuple(400_000 + 3 * b for b in range(count)))


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


@pytest.mark.parametrize("companions", [1, 2, 5, 23, 40])
def test_batch_companions_and_their_order_leave_no_trace(companions: int) -> None:
    stepper, panel = Calibrated(LastValue()), walks(40)
    whole = warm_state(stepper, panel)
    chosen = np.random.default_rng(companions).permutation(40)[:companions]
    alone = panel.select(chosen.tolist())
    assert np.array_equal(warm_state(stepper, alone), whole[chosen], equal_nan=True)
    said = stepper.forecast(whole, panel.ends)
    assert np.array_equal(stepper.forecast(whole[chosen], alone.ends), said[chosen])


def test_the_order_of_memory_leaves_no_trace() -> None:
    stepper, panel = Calibrated(LastValue()), walks(9)
    state, y = warm_state(stepper, panel), np.linspace(-3, 3, 9)
    other = np.asfortranarray(state)
    assert np.array_equal(stepper.step(other, y, panel.ends + 1), stepper.step(state, y, panel.ends + 1), equal_nan=True)
    assert np.array_equal(stepper.forecast(other, panel.ends), stepper.forecast(state, panel.ends))


def test_a_step_leaves_the_state_it_was_given_untouched() -> None:
    stepper, panel = Calibrated(LastValue()), walks(4)
    state = warm_state(stepper, panel)
    before = state.copy()
    stepper.step(state, np.ones(4), panel.ends + 1)
    stepper.forecast(state, panel.ends)
    assert np.array_equal(state, before, equal_nan=True)


def test_a_state_warmed_on_all_positions_equals_plain_stepping() -> None:
    stepper, panel = Calibrated(LastValue(), CalibrationConfig(warm_positions=10_000)), walks(11)
    assert np.array_equal(stepper.warm(panel), warm_state(stepper, panel), equal_nan=True)


def test_a_warm_state_equals_stepping_from_where_calibration_begins() -> None:
    stepper, panel = Calibrated(LastValue(), CalibrationConfig(warm_positions=50)), walks(11)
    head = panel.drop_last(50)
    state = stepper.begin(warm_state(stepper.stepper, head), head.ends)
    for step in range(50, 0, -1):
        state = stepper.step(state, panel.values[panel.offsets[1:] - step], panel.ends - step + 1)
    assert np.array_equal(stepper.warm(panel, lambda part: warm_state(LastValue(), part)), state, equal_nan=True)


def test_the_inner_state_is_that_of_the_inner_stepper() -> None:
    stepper, panel = Calibrated(LastValue()), walks(7)
    assert np.array_equal(warm_state(stepper, panel)[:, :2], warm_state(LastValue(), panel), equal_nan=True)


def test_what_comes_later_changes_no_earlier_state_and_no_prior() -> None:
    panel, inner = walks(8), LastValue()
    values = panel.values.copy()
    for end in panel.offsets[1:]:
        values[end - 20 : end] = 1e6
    changed = replace(panel, values=values)
    stepper, other = (Calibrated.fitted(inner, some.drop_last(20)) for some in (panel, changed))
    assert stepper.prior == other.prior
    assert np.array_equal(stepper.warm(panel.drop_last(20)), stepper.warm(changed.drop_last(20)), equal_nan=True)


def test_a_forecast_is_scored_when_its_lead_has_come_and_not_before() -> None:
    stepper = Calibrated(Normal(horizon=1), CalibrationConfig(spacing=5))
    state, scores = stepper.initial_state(1), []
    for position in range(12):
        state = stepper.step(state, np.zeros(1), np.array([position]))
        scores.append(int(stepper.coverage_of(state).scores[0]))
    assert scores == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]


def test_a_missing_value_scores_nothing() -> None:
    stepper = Calibrated(Normal(horizon=4))
    state = warm_state(stepper, panel_of(np.zeros(30)))
    after = stepper.step(state, np.array([np.nan]), np.array([30]))
    learned = slice(1, 1 + stepper.tracker.bends.stop)
    assert np.array_equal(after[:, learned], state[:, learned])
    assert stepper.coverage_of(after).scores[0] < stepper.coverage_of(stepper.step(state, np.zeros(1), np.array([30]))).scores[0]


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


@pytest.mark.parametrize("spacing", [None, 1, 3, 7, 24])
@pytest.mark.parametrize("horizon", [1, 2, 5, 18, 24, 48])
def test_every_kept_lead_matures_once_in_a_slot_that_nobody_took(horizon: int, spacing: int | None) -> None:
    schedule = Schedule.of(horizon, spacing)
    slots: dict[int, tuple[int, int]] = {}
    matured, kept, leads_seen = 0, 0, set()
    slots_at, leads_at = schedule.matured
    for position in range(-schedule.period, 2 * schedule.period):
        phase = position % schedule.period
        for slot, lead in zip(slots_at[phase], leads_at[phase], strict=True):
            if slot in slots:
                assert slots.pop(slot) == (position - lead, lead)
                matured += 1
        if position % schedule.spacing == 0:
            number = phase // schedule.spacing
            for slot, lead in zip(schedule.kept_slots[number], schedule.kept_leads[number], strict=True):
                assert 0 <= slot < schedule.slot_count
                assert slot not in slots
                slots[slot] = (position, lead)
                leads_seen.add(int(lead))
                kept += 1
    assert matured + len(slots) == kept
    assert max(leads_seen) <= horizon
    assert len(leads_seen) >= min(horizon, 8)


def test_quantiles_that_do_not_cross_do_not_cross_after_any_bends() -> None:
    random = np.random.default_rng(8)
    stepper = Calibrated(LastValue())
    state, panel = warm_state(stepper, walks(30)), walks(30)
    bends = slice(2 + stepper.tracker.bends.start, 2 + stepper.tracker.bends.stop)
    state[:, bends] = np.exp(random.normal(0, 2, size=state[:, bends].shape)).clip(0.02, 50)
    said = stepper.forecast(state, panel.ends)
    assert (np.diff(said, axis=2) >= 0).all()


def test_a_prior_comes_back_from_json_with_the_same_fingerprint() -> None:
    stepper = Calibrated.fitted(LastValue(), walks(20))
    assert stepper.prior is not None
    again = Calibrated(LastValue(), prior=Prior.from_dict(json.loads(json.dumps(stepper.prior.to_dict()))))
    assert again.fingerprint == stepper.fingerprint
    assert np.array_equal(again.initial_state(3), stepper.initial_state(3), equal_nan=True)


def test_the_fingerprint_changes_with_model_settings_and_prior() -> None:
    inner, panel = LastValue(), walks(20)
    others = [
        Calibrated(inner),
        Calibrated(replace(inner, fingerprint="another")),
        Calibrated(inner, CalibrationConfig(rate=0.02)),
        Calibrated.fitted(inner, panel),
    ]
    assert len({stepper.fingerprint for stepper in others}) == 4
    assert all(stepper.fingerprint.startswith(stepper.stepper.fingerprint) for stepper in others)


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


def test_a_median_alone_cannot_be_calibrated() -> None:
    with pytest.raises(ConfigError, match=r"quantiles are \[0.5\]; a calibration needs 0.5 and others beside it"):
        Calibrated(Normal(quantiles=(0.5,)))


def test_a_prior_of_other_leads_or_quantiles_is_refused() -> None:
    prior = Calibrated.fitted(LastValue(), walks(5)).prior
    with pytest.raises(StateError, match=r"is of 5 blocks of leads and \[5\] quantiles; this model has 1 and 5"):
        Calibrated(Normal(horizon=1), prior=prior)
    with pytest.raises(StateError, match=r"holds \['bends'\]; expected numbers in bends and mean_errors"):
        Prior.from_dict({"bends": [[1.0]]})
