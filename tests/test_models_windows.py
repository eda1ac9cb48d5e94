"""Windows of a panel for training."""

from collections import Counter
from dataclasses import replace
from math import e

import numpy as np
import pytest
import torch
from models_panels import panel_of, weekly_panel

from forecaster.models.holt_winters import HoltWinters
from forecaster.models.plan import WindowPlan, held_back_tail
from forecaster.models.scaler import AGE, LOG, SPREAD, Scaler, scaler_for
from forecaster.models.track import track
from forecaster.models.windows import FURTHEST, Batch, PanelWindows, TailWindows, TrainingWindows, series_importance
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


def crossing_panel() -> Panel:
    """Positive series, some of which go below zero: at the end of a window, in it, at once, and in a gap."""
    y = np.exp(np.random.default_rng(5).normal(0, 0.3, (8, 40)).cumsum(axis=1))
    y[0, 15:], y[1, 20:25], y[2, 1], y[3, 9:12] = -2.0, NAN, 0.0, NAN
    y[1, 25], y[3, 12] = -1.0, 0.0
    return panel_of(*y)


@pytest.mark.parametrize("panel", [holed_panel(), crossing_panel()], ids=["signed", "crossing"])
def test_a_batch_is_what_a_slow_loop_gathers(panel: Panel) -> None:
    scaler = replace(scaler_for(panel, HORIZON), base=HoltWinters(0.4, 0.1, 0.3, 0.9, length=3))
    series, start, first = [0, 0, 1, 2, 3, 4, 5, 6], [0, 24, 10, 1, 0, 0, 0, 0], [0, 27, 13, 4, 0, 0, 0, 0]
    origins = np.arange(1, 16, 2)
    batch = windows_of(panel, scaler).gather(
        torch.tensor(series), torch.tensor(start), origins=torch.from_numpy(origins), first_origin=torch.tensor(first)
    )
    importance, _ = importance_of(scaler, panel)
    lowest = 0.5 * panel.values[panel.values > 0].min()  # what stands for a value that has no logarithm
    scales = set()
    for b, s in enumerate(series):
        y = panel.series(s)
        states = states_of(scaler, y)
        for o, at in enumerate(start[b] + origins):
            here = states[min(at, len(y) - 1)]
            base, log = scaler.base_forecast(here[None], HORIZON)[0], here[LOG] > 0
            for lead in range(1, HORIZON + 1):
                is_scored = at >= first[b] and at + lead < len(y) and here[AGE] > 0 and not np.isnan(y[at + lead])
                target = weight = 0.0
                if is_scored:
                    truth = np.log(y[at + lead] if y[at + lead] > 0 else lowest) if log else y[at + lead]
                    target = np.clip((truth - base[lead - 1]) / here[SPREAD], -FURTHEST, FURTHEST)
                    weight = importance[panel.offsets[s] + at] * here[SPREAD]
                    scales.add(bool(log))
                assert float(batch.target[b, o, lead - 1]) == pytest.approx(float(target), rel=1e-4, abs=1e-5)  # float32
                assert float(batch.weight[b, o, lead - 1]) == pytest.approx(float(weight), rel=1e-6)
            if batch.weight[b, o].any():
                np.testing.assert_allclose(batch.sight[b, o], scaler.sight(here[None], HORIZON)[0], rtol=1e-6, atol=1e-6)
                steps = batch.features[b, : origins[o] + 1]
                seen = scaler.features(states, ~np.isnan(y))[start[b] : at + 1]
                assert np.array_equal(steps, seen)
    assert scales == ({True, False} if scaler.kind == "log" else {False})


def states_of(scaler: Scaler, y: np.ndarray) -> np.ndarray:
    """The states [T, S] after each value of one series, step by step."""
    state, states = scaler.initial_state(1), []
    for value in y:
        state = scaler.step(state, np.array([value]))
        states.append(state[0])
    return np.array(states)


def importance_of(scaler: Scaler, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """The weight of each position [N], and whether it is seen in logarithms."""
    log = track(scaler, panel).numbers[:, LOG] > 0
    return series_importance(scaler, panel, log), log


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


def test_every_origin_of_the_tail_is_scored_once_and_nothing_else_is() -> None:
    random = np.random.default_rng(0)
    lengths = random.permutation(np.r_[np.arange(6, 26), 300, 90])  # shorter and longer than a window
    panel = panel_of(*(random.normal(0, 1, n) for n in lengths))
    tail = np.where(lengths > 30, lengths // 3, np.arange(22) % (HORIZON + 1))  # some over many windows
    batches = TailWindows(windows_of(panel), tail=tail)
    scored: Counter[tuple[int, int, int]] = Counter()
    for k in range(len(batches)):
        batch, cuts = batches[k], batches.cuts[k * PLAN.batch_size : (k + 1) * PLAN.batch_size]
        for b, o, lead in (batch.weight > 0).nonzero().tolist():
            scored[int(cuts[b][0]), int(cuts[b][1] + batch.origins[o]), lead + 1] += 1
    expected = {
        (s, at, lead)
        for s, (n, held) in enumerate(zip(lengths.tolist(), tail.tolist(), strict=True))
        for at in range(max(n - held - 1, 0), n - 1)
        for lead in range(1, min(HORIZON, n - 1 - at) + 1)
    }
    assert set(scored) == expected
    assert set(scored.values()) == {1}
    assert batches.series.tolist() == np.flatnonzero(tail).tolist()


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
    assert all(
        torch.isfinite(part).all() for batch in parts for part in (batch.features, batch.sight, batch.target, batch.weight)
    )
    assert any((batch.weight > 0).any() for batch in parts)


def test_a_window_that_starts_late_is_not_scored_while_it_warms_up() -> None:
    batches = TrainingWindows(windows_of(weekly_panel(1, 200)), batches=10, seed=0, epoch=0)
    for k in range(10):
        assert not batches[k].weight[:, batches[k].origins < PLAN.burn_in].any()


def test_origins_that_no_window_scores_are_left_out() -> None:
    batches = TrainingWindows(windows_of(weekly_panel(1, 2_000)), batches=10, seed=0, epoch=0)
    for batch in (batches[k] for k in range(10)):
        assert (batch.weight > 0).any(dim=(0, 2)).all()


def test_an_error_counts_by_the_change_over_a_season() -> None:
    signed = Scaler("signed", (), HoltWinters(0.3, 0.0, 0.1, 0.9, length=1), ring_size=9, least_spread=1e-6)
    panel = panel_of([0.0, 1.0, 0.0, 1.0], [0.0, 10.0, 0.0, -10.0], [NAN, NAN, NAN, 2.0])
    # mean changes 1 and 10; the third, of which none is known, counts as the middle of the two
    np.testing.assert_allclose(importance_of(signed, panel)[0], np.repeat([1.0, 0.1, 1 / 5.5], 4), rtol=1e-6)


def test_half_of_the_weight_is_even_in_logarithms() -> None:
    scaler = Scaler("log", (), HoltWinters(0.3, 0.0, 0.1, 0.9, length=1), ring_size=9, least_spread=1e-6)
    panel = panel_of([1.0, e, 1.0, e], [1.0, e**0.5, 1.0, e**0.5])
    # changes 1 and 1/2: own weights 1 and 2, by their mean 2/3 and 4/3; half with 1, over the usual change of 3/4
    np.testing.assert_allclose(importance_of(scaler, panel)[0], np.repeat([10 / 9, 14 / 9], 4), rtol=1e-6)
    still = panel_of([1.0, e, 1.0, e], [1.0, e, 1.0, e], [2.0] * 4, [1.0, 1.0 + 1e-9] * 2)
    weights, _ = importance_of(scaler, still)
    assert np.isfinite(weights).all()
    assert weights.max() <= 10 * weights.min()


def test_a_series_that_leaves_the_logarithms_counts_in_the_unit_of_its_values() -> None:
    scaler = Scaler("log", (), HoltWinters(0.3, 0.0, 0.1, 0.9, length=1), ring_size=9, least_spread=1e-6)
    panel = panel_of([1.0, e, 1.0, e], [100.0, 300.0, 100.0, 0.0, 200.0])
    weights, log = importance_of(scaler, panel)
    assert log.tolist() == [True] * 7 + [False] * 2
    np.testing.assert_allclose(weights[7:], 1 / 175, rtol=1e-6)  # changes of 200, 200, 100 and 200
    assert (weights[4:7] > 10 / 175).all()


def test_the_first_sizes_are_the_mean_errors_of_the_base() -> None:
    walks = panel_of(*np.random.default_rng(1).normal(0, 1, (60, 80)).cumsum(axis=1))
    scaler = replace(scaler_for(walks, HORIZON), base=HoltWinters(1.0, 0.0, 0.1, 0.9, length=1))
    sizes = windows_of(walks, scaler).mean_changes()
    # the naive forecast of a walk is wrong by sqrt(lead) of one step, which is what a spread is
    np.testing.assert_allclose(sizes, np.sqrt(np.arange(1, HORIZON + 1)), rtol=0.12)
    assert windows_of(panel_of([1.0, 2.0]), scaler).mean_changes()[1:] == [1.0] * (HORIZON - 1)  # nothing is known of these
