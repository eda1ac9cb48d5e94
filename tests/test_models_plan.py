"""How a training is laid out for panels of every size."""

import numpy as np
import pytest
from models_panels import panel_of

from forecaster.models.plan import TrainingConfig, WindowPlan, held_back_tail, judges, plan_windows, refit_pays, share_of_budget
from forecaster.models.scaler import scaler_for
from forecaster.series import Panel


def panel_with(count: int, length: int, alias: str) -> Panel:
    return panel_of(*[np.ones(length)] * count, alias=alias)


def plan_of(panel: Panel, config: TrainingConfig | None = None) -> WindowPlan:
    return plan_windows(config or TrainingConfig(), panel, scaler_for(panel, panel.frequency.horizon))


@pytest.mark.parametrize(
    ("count", "length", "alias"),
    [
        (1, 1, "YS"),
        (1, 2, "YS"),
        (23, 13, "YS"),
        (1, 13, "YS"),
        (5, 30_000, "h"),
        (1, 700, "h"),
        (5_000, 40, "MS"),
        (2, 5_000, "15min"),
    ],
)
def test_windows_fit_into_the_panel(count: int, length: int, alias: str) -> None:
    plan = plan_of(panel_with(count, length, alias))
    assert 4 <= plan.length <= max(length, 4)
    assert 0 <= plan.burn_in < plan.length - 1
    assert 1 <= plan.stride < plan.length
    assert plan.batch_size >= 8
    assert plan.batch_size * plan.length <= 4_096


def test_longer_seasons_have_longer_windows() -> None:
    lengths = [plan_of(panel_with(1, 5_000, alias)).length for alias in ("YS", "W-SUN", "h")]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_a_setting_wins_over_what_is_derived() -> None:
    config = TrainingConfig(window_length=40, burn_in=100, batch_size=3, origin_stride=1)
    assert plan_of(panel_with(1, 700, "h"), config) == WindowPlan(length=40, burn_in=38, stride=1, batch_size=3)
    assert plan_of(panel_with(1, 13, "h"), config) == WindowPlan(length=13, burn_in=11, stride=1, batch_size=3)


def test_every_long_series_gives_a_horizon_to_judge_by() -> None:
    assert held_back_tail(panel_with(200, 3_000, "D"), 14).tolist() == [14] * 200


@pytest.mark.parametrize(
    ("count", "length", "tail"), [(1, 30_000, 1_875), (3, 700, 43), (7, 60_000, 29 * 14), (60, 4_000, 4 * 14), (100, 20_000, 28)]
)
def test_few_long_series_are_judged_by_many_horizons(count: int, length: int, tail: int) -> None:
    """By 200 horizons over all of them, but by no more than a sixteenth of a series."""
    assert held_back_tail(panel_with(count, length, "h"), 14).tolist() == [tail] * count


@pytest.mark.parametrize(("count", "length"), [(5_000, 60), (300, 60), (60, 60)])
def test_every_series_gives_its_tail_also_where_tails_are_dear(count: int, length: int) -> None:
    """A shock that moves many series on a day would else be known from the others."""
    assert held_back_tail(panel_with(count, length, "D"), 7).tolist() == [7] * count


def test_short_series_give_an_eighth() -> None:
    panel = panel_of(np.ones(4), np.ones(5), np.ones(9), np.ones(111), np.ones(112), np.ones(4_000))
    assert held_back_tail(panel, 14).tolist() == [0, 1, 2, 14, 14, 250]
    assert held_back_tail(panel_with(23, 13, "YS"), 6).tolist() == [2] * 23


def test_some_series_judge_for_many() -> None:
    plan, training = WindowPlan(length=64, burn_in=12, stride=4, batch_size=16), TrainingConfig(validation_steps=100)
    for count in (1, 7, 399, 400, 401, 5_000):
        tail = np.full(count, 70)  # two windows each
        judging = judges(tail, plan, training) > 0
        assert (2 * judging.sum() <= 400) & (2 * judging.sum() >= min(2 * count, 200))
    assert not judges(np.zeros(9, dtype=np.int64), plan, training).any()


def test_what_is_left_of_a_series_is_longer_than_its_tail() -> None:
    for length in (32, 33, 100, 450, 5_000):
        assert 2 * held_back_tail(panel_with(1, length, "D"), 14)[0] < length


def test_a_share_of_the_budget_is_at_least_one_step() -> None:
    config = TrainingConfig(max_steps=1_000, max_minutes=10)
    part = share_of_budget(config, 0.2)
    assert (part.max_steps, part.max_minutes) == (200, 2)
    assert share_of_budget(TrainingConfig(max_steps=2), 0.2).max_steps == 1
    assert share_of_budget(TrainingConfig(), 0.5).max_minutes is None


def test_a_refit_pays_where_much_was_unseen() -> None:
    assert refit_pays(panel_with(10, 100, "D"), holdout=14, horizon=14)
    assert not refit_pays(panel_with(10, 30_000, "h"), holdout=48, horizon=48)
    assert refit_pays(panel_with(1, 13, "YS"), holdout=0, horizon=6)
