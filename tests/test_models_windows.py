"""Windows of a panel for training."""

from math import e

import numpy as np
import pytest
import torch
from models_panels import panel_of, weekly_panel

from forecaster.models.plan import WindowPlan, held_back_tail
from forecaster.models.scaler import AGE, AMPLITUDE, CLIP, LEVEL, RING, SPREAD, Scaler, scaler_for
from forecaster.models.windows import Batch, PanelWindows, TailWindows, TrainingWindows, series_importance
from forecaster.series import Panel

HORIZON = 4
PLAN = WindowPlan(length=16, burn_in=3, stride=2, batch_size=8)
NAN = float("nan")


def holed_panel() -> Panel:
    """Signed daily series of many lengths, with values missing at the start and in between."""
    random = np.random.default_rng(5)
    parts = [random.normal(0, 2, n) for n in (40, 31, 17, 16, 9, 3, 2, 1)]
    parts[0][:4] = NAN
    parts[1][[5, 6, 20]] = NAN
    return panel_of(*parts)


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def windows_of(panel: Panel, scaler: Scaler | None = None) -> PanelWindows:
    return PanelWindows(scaler or scaler_for(panel, HORIZON), panel, horizon=HORIZON, plan=PLAN)


def test_a_batch_is_what_a_slow_loop_gathers() -> None:
    panel = holed_panel()
    scaler = scaler_for(panel, HORIZON)
    series, start, first = [0, 0, 1, 2, 3, 4, 5, 6], [0, 24, 10, 1, 0, 0, 0, 0], [0, 27, 13, 4, 0, 0, 0, 0]
    origins = np.arange(1, 16, 2)
    batch = windows_of(panel, scaler).gather(
        torch.tensor(series), torch.tensor(start), origins=torch.from_numpy(origins), first_origin=torch.tensor(first)
    )
    importance = series_importance(scaler, panel)
    for b, s in enumerate(series):
        y = panel.series(s)
        state, states = scaler.initial_state(1), []
        for value in y:
            state = scaler.step(state, np.array([value]))
            states.append(state[0])
        for o, at in enumerate(start[b] + origins):
            here = states[min(at, len(y) - 1)]
            base = here[RING + scaler.base_columns(HORIZON)]
            for lead in range(1, HORIZON + 1):
                is_scored = at >= first[b] and at + lead < len(y) and here[AGE] > 0 and not np.isnan(y[at + lead])
                target = (np.float32(y[at + lead]) - base[lead - 1]) / here[SPREAD] if is_scored else 0
                weight = importance[s] * here[SPREAD] if is_scored else 0
                assert float(batch.target[b, o, lead - 1]) == pytest.approx(float(target), rel=1e-6)
                assert float(batch.weight[b, o, lead - 1]) == pytest.approx(float(weight), rel=1e-6)
            if batch.weight[b, o].any():
                ring = np.clip((here[RING:] - here[LEVEL]) / here[AMPLITUDE], -CLIP, CLIP)
                np.testing.assert_allclose(batch.ring[b, o], ring, rtol=1e-6)


@pytest.mark.parametrize("poison", [NAN, 1e9])
def test_training_knows_nothing_of_the_held_back_tail(poison: float) -> None:
    panel = weekly_panel(6, 60, signed=True)
    scaler, tail = scaler_for(panel, HORIZON), held_back_tail(panel, HORIZON)
    values = panel.values.copy()
    for end, held in zip(panel.offsets[1:], tail, strict=True):
        values[end - held : end] = poison
    poisoned = Panel(panel.ids, panel.starts, panel.offsets, values, panel.frequency)
    clean, dirty = (
        TrainingWindows(windows_of(one.drop_last(tail), scaler), batches=20, seed=1, epoch=0) for one in (panel, poisoned)
    )
    assert (tail > 0).all()
    assert all(same(clean[k], dirty[k]) for k in range(20))


def test_the_tail_is_scored_wholly_and_nothing_else_is() -> None:
    random = np.random.default_rng(0)
    lengths = random.permutation(np.r_[np.arange(6, 26), 300])  # shorter and longer than a window
    panel = panel_of(*(random.normal(0, 1, n) for n in lengths))
    tail = np.arange(21) % (HORIZON + 1)
    batches = TailWindows(windows_of(panel), tail=tail)
    scored = sum(int((batches[k].weight > 0).sum()) for k in range(len(batches)))
    assert scored == sum(held * (held + 1) // 2 for held in tail)


def test_a_batch_is_a_pure_function_of_seed_epoch_and_number() -> None:
    windows = windows_of(weekly_panel(6, 60))
    batches = TrainingWindows(windows, batches=5, seed=1, epoch=2)
    first = batches[3]
    _ = batches[0], batches[4], torch.rand(3), np.random.default_rng().random()
    assert same(first, batches[3])
    assert same(first, TrainingWindows(windows_of(weekly_panel(6, 60)), batches=9, seed=1, epoch=2)[3])
    for other in (batches[2], TrainingWindows(windows, batches=5, seed=1, epoch=1)[3]):
        assert not same(first, other)
    assert not same(first, TrainingWindows(windows, batches=5, seed=2, epoch=2)[3])


def test_series_too_short_for_a_window_are_finite_targets() -> None:
    windows = windows_of(panel_of([1.0, -2.0], [3.0], [NAN, 4.0, 1.0]))
    batches = TrainingWindows(windows, batches=10, seed=0, epoch=0)
    assert batches.eligible.tolist() == [0, 2]
    parts = [batches[k] for k in range(10)]
    assert all(torch.isfinite(part).all() for batch in parts for part in (batch.features, batch.ring, batch.target, batch.weight))
    assert any((batch.weight > 0).any() for batch in parts)


def test_a_window_that_starts_late_is_not_scored_while_it_warms_up() -> None:
    panel = weekly_panel(1, 200)
    for k in range(10):
        batch = TrainingWindows(windows_of(panel), batches=10, seed=0, epoch=0)[k]
        assert not batch.weight[:, batch.origins < PLAN.burn_in].any()


def test_an_error_counts_by_the_change_over_a_season() -> None:
    signed = Scaler("signed", (), base_season=1, ring_size=9, least_value=0.0, least_spread=1e-6)
    panel = panel_of([0.0, 1.0, 0.0, 1.0], [0.0, 10.0, 0.0, -10.0], [NAN, NAN, NAN, 2.0])
    # mean changes 1 and 10; the third, of which none is known, counts as the middle of the two
    np.testing.assert_allclose(series_importance(signed, panel), [1.0, 0.1, 1 / 5.5], rtol=1e-6)


def test_half_of_the_weight_is_even_on_a_log_scale() -> None:
    log = Scaler("log", (), base_season=1, ring_size=9, least_value=1e-3, least_spread=1e-6)
    panel = panel_of([1.0, e, 1.0, e], [1.0, e**0.5, 1.0, e**0.5])
    # changes 1 and 1/2: own weights 1 and 2, by their mean 2/3 and 4/3; half with 1, over the usual change of 3/4
    np.testing.assert_allclose(series_importance(log, panel), [10 / 9, 14 / 9], rtol=1e-6)
    still = panel_of([1.0, e, 1.0, e], [1.0, e, 1.0, e], [2.0] * 4, [1.0, 1.0 + 1e-9] * 2)
    weights = series_importance(log, still)
    assert np.isfinite(weights).all()
    assert weights.max() <= 10 * weights.min()
