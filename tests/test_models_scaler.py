"""The causal scale of a series."""

import numpy as np
import pytest
from models_panels import panel_of, weekly_panel
from statsmodels.tsa.holtwinters import SimpleExpSmoothing

from forecaster.models.scaler import AGE, AMPLITUDE, CLIP, LEVEL, RING, SPREAD, Scaler, scaler_for, track
from forecaster.series import Panel

NAN = float("nan")


def signed_scaler(season: int = 2, ring_size: int = 9) -> Scaler:
    return Scaler("signed", (season,), base_season=season, ring_size=ring_size, least_value=0.0, least_spread=1e-6)


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


@pytest.mark.parametrize("kind", ["signed", "log"])
def test_track_equals_steps_to_the_bit(kind: str) -> None:
    panel = panel_with_holes()
    if kind == "log":
        panel = Panel(panel.ids, panel.starts, panel.offsets, np.exp(panel.values), panel.frequency)
    scaler = scaler_for(panel, 5)
    assert scaler.kind == kind
    walk = track(scaler, panel)
    for b in range(len(panel)):
        states = walk_by_steps(scaler, panel.series(b))
        rows = np.arange(panel.offsets[b], panel.offsets[b + 1])
        assert np.array_equal(walk.state_at(rows, scaler), states)
        assert np.array_equal(walk.features[rows], scaler.features(states, ~np.isnan(panel.series(b))))


def test_a_missing_value_moves_only_age_and_ring() -> None:
    scaler = signed_scaler(season=4)
    state = walk_by_steps(scaler, np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.0]))[-1:]
    after = scaler.step(state, np.array([NAN]))
    assert np.array_equal(after[:, [LEVEL, AMPLITUDE, SPREAD]], state[:, [LEVEL, AMPLITUDE, SPREAD]])
    assert after[0, AGE] == 7


def test_the_ring_repeats_the_last_season_where_nothing_was_observed() -> None:
    scaler = signed_scaler(season=3)
    y = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] + [NAN] * 7
    ring = walk_by_steps(scaler, np.array(y))[-1, RING:]
    assert ring.tolist() == [5, 6, 4, 5, 6, 4, 5, 6, 4]


def test_a_series_does_not_begin_with_a_missing_value() -> None:
    scaler = signed_scaler()
    late = walk_by_steps(scaler, np.array([NAN, NAN, 2.0, 3.0]))
    assert not late[:2].any()
    assert np.array_equal(late[2:], walk_by_steps(scaler, np.array([2.0, 3.0])))


@pytest.mark.parametrize(
    ("values", "kind"), [([1.0, 2.0, NAN], "log"), ([0.0, 1.0, 2.0], "signed"), ([-1.0, 2.0], "signed"), ([NAN, NAN], "signed")]
)
def test_logarithms_are_for_positive_values_only(values: list[float], kind: str) -> None:
    assert scaler_for(panel_of(values, values), 3).kind == kind


def test_what_follows_changes_nothing_before_it() -> None:
    panel = panel_with_holes()
    scaler = scaler_for(panel, 5)
    whole, known = track(scaler, panel), track(scaler, panel.drop_last(3))
    kept = np.concatenate([np.arange(panel.offsets[b], panel.offsets[b + 1] - 3) for b in range(len(panel))])
    states = whole.state_at(kept, scaler), known.state_at(np.arange(len(kept)), scaler)
    assert np.array_equal(*states)
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
    assert (walk.spread > 0).all()
    assert (walk.amplitude > 0).all()


def test_the_better_season_is_the_base() -> None:
    assert scaler_for(weekly_panel(5, 80), 7).base_season == 7
    walks = np.random.default_rng(0).normal(0, 1, (5, 80)).cumsum(axis=1)
    assert scaler_for(panel_of(*walks), 7).base_season == 1


def test_a_season_counts_only_where_two_of_it_are_known() -> None:
    assert scaler_for(panel_of(np.ones(13)), 7).season_lengths == ()
    assert scaler_for(panel_of(np.ones(14)), 7).season_lengths == (7,)


def test_the_ring_holds_a_season_and_a_horizon() -> None:
    scaler = scaler_for(weekly_panel(3, 80), 30)
    assert scaler.ring_size > max(30, 7)
    state = walk_by_steps(scaler, np.arange(1.0, 81.0))[-1:]
    base = scaler.restore(state[0, RING + scaler.base_columns(9)])
    np.testing.assert_allclose(base, [74, 75, 76, 77, 78, 79, 80, 74, 75], rtol=1e-6)  # float32 logarithms
