"""The causal scale of a series."""

from dataclasses import replace

import numpy as np
import pytest
from models_panels import panel_of, weekly_panel
from statsmodels.tsa.holtwinters import SimpleExpSmoothing

from forecaster.models.holt_winters import HoltWinters
from forecaster.models.scaler import AGE, AMPLITUDE, CLIP, LEVEL, LOG, SEASONS, SLOPE, SMOOTH, SPREAD, Scaler, scaler_for
from forecaster.models.track import track
from forecaster.series import Panel

NAN = float("nan")


def signed_scaler(season: int = 2, ring_size: int = 9) -> Scaler:
    return Scaler("signed", (season,), weights(season), ring_size=ring_size, least_spread=1e-6)


def weights(season: int) -> HoltWinters:
    return HoltWinters(level=0.3, slope=0.1, season=0.2, damping=0.9, length=season)


def panel_with_holes() -> Panel:
    """Missing values first, in the middle, for longer than a season, last, and throughout."""
    random = np.random.default_rng(3)
    y = random.normal(0, 1, (5, 40)).cumsum(axis=1)
    y[0, :5] = NAN
    y[1, [7, 8, 20]] = NAN
    y[2, 10:31] = NAN
    y[3, -4:] = NAN
    y[4] = NAN
    return panel_of(*y, y[0, 5:9])


def walk_by_steps(scaler: Scaler, y: np.ndarray) -> np.ndarray:
    """The states [T, S] after each value of one series."""
    state, states = scaler.initial_state(1), []
    for value in y:
        state = scaler.step(state, np.array([value]))
        states.append(state[0])
    return np.array(states)


def test_the_level_is_simple_exponential_smoothing() -> None:
    y = np.random.default_rng(0).normal(5, 2, 200)
    scaler = signed_scaler()
    levels = walk_by_steps(scaler, y)[:, LEVEL]
    grown = int(np.ceil(1 / scaler.alpha))
    model = SimpleExpSmoothing(y[grown:], initialization_method="known", initial_level=float(levels[grown - 1]))
    fitted = model.fit(smoothing_level=scaler.alpha, optimized=False)
    np.testing.assert_allclose(levels[grown:], fitted.level, rtol=2e-6)  # ours is float32


def test_a_young_series_level_is_its_mean() -> None:
    y = np.random.default_rng(1).normal(5, 2, 7)
    levels = walk_by_steps(signed_scaler(), y)[:, LEVEL]
    np.testing.assert_allclose(levels, y.cumsum() / np.arange(1, 8), rtol=1e-6)


def test_sizes_follow_their_formulas() -> None:
    y = np.random.default_rng(2).normal(0, 2, 60)
    scaler = signed_scaler(season=3)
    states = walk_by_steps(scaler, y)
    level = amplitude = spread = 0.0
    for t, value in enumerate(y):
        a = max(scaler.alpha, 1 / (t + 1))
        level += a * (value - level)
        season_ago = y[max(t - 3, 0)]
        amplitude += a * (abs(value - level) - amplitude)
        spread += a * (abs(value - season_ago) - spread)
        expected = [level, max(amplitude, 1e-4 * abs(level)), max(spread, 1e-4 * abs(level))]
        np.testing.assert_allclose(states[t, [LEVEL, AMPLITUDE, SPREAD]], expected, rtol=1e-4, atol=2e-6)  # float32


def crossing_panel() -> Panel:
    """Positive series, half of which go to zero and below: at once, early, late, at the end, and with gaps on either side."""
    y = np.exp(np.random.default_rng(4).normal(0, 0.3, (12, 40)).cumsum(axis=1))
    y[0, [1, 2, 3]] = 0.0, -1.0, 0.0
    y[1, 5:9], y[1, 9], y[1, 10:20], y[1, 25:33] = NAN, -2.0, NAN, 0.0
    y[2, :4], y[2, 30:], y[2, 36] = NAN, NAN, -0.5
    y[3, -1] = 0.0
    y[4, 7:] = NAN
    return panel_of(*y, [NAN, -1.0, 2.0], [0.0, 5.0], [3.0, 0.0])


@pytest.mark.parametrize("season", [1, 7])
@pytest.mark.parametrize("case", ["signed", "log", "crossing"])
def test_track_equals_steps_to_the_bit(case: str, season: int) -> None:
    panel = crossing_panel() if case == "crossing" else panel_with_holes()
    if case == "log":
        panel = Panel(panel.ids, panel.starts, panel.offsets, np.exp(panel.values), panel.frequency)
    scaler = replace(scaler_for(panel, 5), base=weights(season))
    assert scaler.kind == ("signed" if case == "signed" else "log")
    walk, left = track(scaler, panel), 0
    for b in range(len(panel)):
        states = walk_by_steps(scaler, panel.series(b))
        left += int(states[:, LOG].any() and not states[-1, LOG])
        rows = np.arange(panel.offsets[b], panel.offsets[b + 1])
        assert np.array_equal(walk.state_at(rows, scaler), states)
        assert np.array_equal(walk.age[rows], states[:, AGE])
        assert np.array_equal(walk.features[rows], scaler.features(states, ~np.isnan(panel.series(b))))
    assert left == (5 if case == "crossing" else 0)


def test_a_missing_value_moves_age_and_ring_and_the_base_by_its_forecast() -> None:
    scaler = signed_scaler(season=4)
    state = walk_by_steps(scaler, np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.0]))[-1:]
    after = scaler.step(state, np.array([NAN]))
    assert np.array_equal(after[:, [LEVEL, AMPLITUDE, SPREAD]], state[:, [LEVEL, AMPLITUDE, SPREAD]])
    assert after[0, AGE] == 7
    expected = scaler.base_forecast(state, 9)[:, 1:]
    np.testing.assert_allclose(scaler.base_forecast(after, 8), expected, rtol=1e-5)  # float32


def test_the_ring_repeats_the_last_season_where_nothing_was_observed() -> None:
    scaler = signed_scaler(season=3)
    y = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] + [NAN] * 7
    ring = walk_by_steps(scaler, np.array(y))[-1, scaler.ring :]
    assert ring.tolist() == [5, 6, 4, 5, 6, 4, 5, 6, 4]


def test_a_series_does_not_begin_with_a_missing_value() -> None:
    scaler = signed_scaler()
    late = walk_by_steps(scaler, np.array([NAN, NAN, 2.0, 3.0]))
    assert not late[:2].any()
    assert np.array_equal(late[2:], walk_by_steps(scaler, np.array([2.0, 3.0])))


@pytest.mark.parametrize(
    ("series", "kind"),
    [
        ([[1.0, 2.0, NAN]], "log"),
        ([[0.0, 1.0, 2.0]], "signed"),
        ([[-1.0, 2.0]], "signed"),
        ([[NAN, NAN]], "signed"),
        ([[1.0, 2.0], [0.0, 2.0]], "log"),
        ([[1.0, 2.0], [0.0, 2.0], [3.0, -1.0]], "signed"),
        ([[NAN, NAN], [-1.0, 2.0]], "signed"),
    ],
)
def test_logarithms_are_for_panels_of_which_half_is_positive(series: list[list[float]], kind: str) -> None:
    scaler = scaler_for(panel_of(*series), 3)
    assert scaler.kind == kind
    assert scaler.least_spread > 0
    assert [walk_by_steps(scaler, np.array([first]))[0, LOG] for first in (2.0, 0.0)] == [kind == "log", False]


def test_a_series_that_shows_a_zero_is_seen_as_it_is_from_then_on() -> None:
    scaler = Scaler("log", (2,), weights(2), ring_size=9, least_spread=1e-6)
    y = np.array([5.0, 8.0, 4.0, 9.0, 6.0, 10.0, 5.0, 0.0, 3.0, -4.0, 7.0])
    states = walk_by_steps(scaler, y)
    assert states[:, LOG].tolist() == [1] * 7 + [0] * 4
    before, after = states[6:8]
    np.testing.assert_allclose(after[scaler.ring : scaler.size], [5, 5, 8, 4, 9, 6, 10, 5, 0], rtol=1e-6)
    a = max(scaler.alpha, 1 / 8)
    level = np.exp(before[LEVEL])
    assert after[LEVEL] == pytest.approx(level * (1 - a), rel=1e-5)
    assert after[SPREAD] == pytest.approx((1 - a) * before[SPREAD] * level + a * 10, rel=1e-5)  # two ago there was a 10
    plain = np.exp(scaler.base_forecast(before[None], 2)[0])
    slope = before[SLOPE] * np.exp(before[SMOOTH])
    first = after[SMOOTH] - 0.3 * (0 - plain[0])  # the smoothing moved by a share of the error against what it had expected
    assert first == pytest.approx(np.exp(before[SMOOTH]) + 0.9 * slope, rel=0.1)  # a slope of logarithms is one of values nearly
    assert np.isfinite(states).all()


def test_the_translated_season_is_the_one_of_the_logarithms() -> None:
    scaler = Scaler("log", (4,), HoltWinters(0.1, 0.0, 0.2, 0.9, length=4), ring_size=9, least_spread=1e-6)
    state = walk_by_steps(scaler, np.tile([5.0, 20.0, 10.0, 10.0], 6))[-1:]
    said = np.exp(scaler.base_forecast(state, 4)[0])
    crossed = scaler.step(state, np.array([-1.0]))
    moved = crossed[0, SMOOTH] - np.exp(state[0, SMOOTH])  # the level moved by this, the other positions' seasons did not
    np.testing.assert_allclose(scaler.base_forecast(crossed, 3)[0] - moved, said[1:], rtol=1e-5)


def test_a_forecast_below_zero_follows_values_below_zero() -> None:
    scaler = Scaler("log", (), weights(1), ring_size=9, least_spread=1e-6)
    states = walk_by_steps(scaler, np.arange(10.0, -8.0, -1.0))
    restored = scaler.restore(scaler.base_forecast(states, 6), states[:, LOG] > 0)
    assert np.isfinite(restored).all()
    assert (restored[:10] > 0).all()
    assert (restored[-1] < 0).all()
    assert (np.diff(restored[-1]) < 0).all()


def test_a_series_leaves_the_logarithms_however_far_its_smoothing_went() -> None:
    scaler = Scaler("log", (), HoltWinters(1.0, 1.0, 0.0, 1.0, length=1), ring_size=9, least_spread=1e-6)
    states = walk_by_steps(scaler, np.r_[10.0 ** np.arange(0, 30, 3), [NAN] * 200, -1.0, 2.0, -1.0])
    assert states[-4, SMOOTH] > 1_000
    assert np.isfinite(states).all()
    assert np.isfinite(scaler.features(states, np.ones(len(states), dtype=bool))).all()


def test_what_is_restored_is_a_number() -> None:
    scaler = Scaler("log", (), weights(1), ring_size=9, least_spread=1e-6)
    v = np.array([[-1e30, -800.0, 0.0, 800.0, 1e30], [-1e30, -800.0, 0.0, 800.0, 1e30]], dtype=np.float32)
    restored = scaler.restore(v, np.array([True, False]))
    assert (restored[0] > 0).all()
    assert np.isfinite(restored).all()
    assert np.array_equal(restored[1], v[1])


def test_a_series_seen_as_it_is_may_have_any_unit_beside_logarithms() -> None:
    """On a panel of positive series, the least size of logarithms is not that of a small series that crosses zero."""
    small = 1e-9 * (weekly_panel(1, 60).values - 20)
    panel = panel_of(small, *weekly_panel(3, 60).values.reshape(3, 60), small * 1e9)
    scaler = scaler_for(panel, 7)
    assert scaler.kind == "log"
    states = track(scaler, panel).state_at(panel.offsets[1:] - 1, scaler)
    np.testing.assert_allclose(states[0, [LEVEL, AMPLITUDE, SPREAD]] * 1e9, states[4, [LEVEL, AMPLITUDE, SPREAD]], rtol=1e-4)
    np.testing.assert_allclose(scaler.sight(states[:1], 7), scaler.sight(states[4:], 7), atol=1e-3)


@pytest.mark.parametrize("panel", [panel_with_holes(), crossing_panel()], ids=["holes", "crossing"])
def test_what_follows_changes_nothing_before_it(panel: Panel) -> None:
    """Nor does what follows the last three, whatever it is: the level, the base, its season, the ring and the logarithms."""
    scaler = replace(scaler_for(panel, 5), base=weights(7))
    kept = np.concatenate(
        [np.arange(panel.offsets[b], max(panel.offsets[b + 1] - 3, panel.offsets[b])) for b in range(len(panel))]
    )
    values = np.full_like(panel.values, -1e6)
    values[kept] = panel.values[kept]
    poisoned = Panel(panel.ids, panel.starts, panel.offsets, values, panel.frequency)
    short = panel.drop_last(3)
    known = track(scaler, short)
    for later in (panel, poisoned):
        whole = track(scaler, later)
        assert np.array_equal(whole.state_at(kept, scaler), known.state_at(np.arange(len(kept)), scaler))
        assert np.array_equal(whole.features[kept], known.features)


@pytest.mark.parametrize("signed", [True, False])
def test_a_series_looks_the_same_in_any_unit(signed: bool) -> None:
    one = weekly_panel(1, 80, signed=signed).values
    panel = panel_of(one * 1e-6, one, one * 1e9)
    scaler = scaler_for(panel, 7)
    features = track(scaler, panel).features.reshape(3, 80, -1)
    assert np.isfinite(features).all()
    # float32 logarithms near ln 1e9 are 2e-6 apart, amplitudes near 0.1
    np.testing.assert_allclose(features[0], features[1], atol=2e-3)
    np.testing.assert_allclose(features[2], features[1], atol=2e-3)


@pytest.mark.parametrize(
    "series",
    [[7.0] * 30, [0.0] * 30, [1e29] * 30, [-3.0] * 30, [5.0] * 20 + [6.0] * 10, [0.0] * 20 + [1e9] + [0.0] * 9],
    ids=["constant", "zeros", "huge", "negative", "a step", "a spike"],
)
def test_still_series_stay_finite_and_within_the_clip(series: list[float]) -> None:
    panel = panel_of(series, series)
    scaler = scaler_for(panel, 5)
    walk = track(scaler, panel)
    assert np.isfinite(walk.state_at(np.arange(60), scaler)).all()
    assert np.abs(walk.features).max() <= CLIP
    assert (walk.numbers[:, [AMPLITUDE, SPREAD]] > 0).all()


@pytest.mark.parametrize("unit", [1e-30, 1e28])
def test_small_and_huge_units_are_float32(unit: float) -> None:
    panel = weekly_panel(3, 60, signed=True)
    scaled = Panel(panel.ids, panel.starts, panel.offsets, panel.values * unit, panel.frequency)
    features = [track(scaler_for(one, 7), one).features for one in (panel, scaled)]
    np.testing.assert_allclose(features[1], features[0], atol=2e-3)


def test_the_better_season_is_the_base() -> None:
    assert scaler_for(weekly_panel(5, 80), 7).base.length == 7
    walks = np.random.default_rng(0).normal(0, 1, (5, 80)).cumsum(axis=1)
    assert scaler_for(panel_of(*walks), 7).base.length == 1


def test_a_season_counts_only_where_two_of_it_are_known() -> None:
    assert scaler_for(panel_of(np.ones(13)), 7).season_lengths == ()
    assert scaler_for(panel_of(np.ones(14)), 7).season_lengths == (7,)


def test_the_ring_holds_a_season_and_a_horizon() -> None:
    scaler = scaler_for(weekly_panel(3, 80), 30)
    assert scaler.ring_size > max(30, 7)
    state = walk_by_steps(scaler, np.arange(1.0, 81.0))[-1]
    ring = scaler.restore(state[None, scaler.ring :], np.array([True]))[0]
    np.testing.assert_allclose(ring, np.arange(80.0 - scaler.ring_size, 80) + 1, rtol=1e-5)  # float32 logarithms
    assert SEASONS + scaler.base.length == scaler.ring
