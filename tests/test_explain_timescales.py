"""Units as smoothers: what their weights are, what half-lives follow, and what may be said of reset gates."""

import json
import math

import numpy as np
import pytest
import torch
from explain_networks import COPIED, copying_gru, copying_panel, network_on, smoothing_gru
from models_panels import panel_of, weekly_panel
from scipy import stats

from forecaster.explain.intervals import rank_correlation, relative_loss
from forecaster.explain.timescales import agreement_verdict, claim_verdict, half_life, timescales
from forecaster.explain.words import duration, timescales_lines
from forecaster.models.recurrent import Recurrent
from forecaster.series import Panel

ALPHAS = (0.003, 0.1, 0.35, 0.8, 0.99)
PANEL = weekly_panel(4, length=50)
RECURRENT = ["adaptive", "gru_no_reset", "gru", "gru_reset_before", "lstm"]


def states(network: Recurrent, panel: Panel, series: int) -> np.ndarray:
    """The network's own states of one series before its first step and after each [T + 1, S], one step at a time."""
    state = network.initial_state(1)
    found = [state[0, network.memory]]
    for t, y in enumerate(panel.series(series)):
        state = network.step(state, np.array([y]), panel.starts[[series]] + t)
        found.append(state[0, network.memory])
    return np.array(found)


# -- effective alpha ----------------------------------------------------------------------------------------------------------


def test_smoothing_is_recognised_and_its_alphas_come_out() -> None:
    found = timescales(smoothing_gru(PANEL, ALPHAS), PANEL)
    assert [unit.alpha for unit in found.units] == pytest.approx(ALPHAS, abs=1e-6)
    assert [unit.half_life for unit in found.units] == pytest.approx([half_life(alpha) for alpha in ALPHAS], rel=1e-4)
    assert max(unit.z_spread for unit in found.units) < 1e-6
    assert [unit.replaced for unit in found.units] == [0, 0, 0, 0, 1]


def test_the_first_rung_has_the_alphas_that_its_logits_say() -> None:
    network = network_on(PANEL, "smoothing")
    logits = network.network.member(0).cell.layers[0].logit
    assert [unit.alpha for unit in timescales(network, PANEL).units] == pytest.approx(torch.sigmoid(logits).tolist(), abs=1e-7)


def test_after_a_half_life_half_of_a_state_has_gone() -> None:
    """Of the network's own states: two walks that differ in the first value alone, where nothing sees h."""
    network = smoothing_gru(PANEL, (0.05, 0.2))
    cell = network.network.member(0).cell
    for unit in timescales(network, PANEL).units:
        with torch.no_grad():
            steps = round(10 * unit.half_life)
            _, state = cell(torch.zeros(2, steps, network.scaler.feature_count), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
        left = float((state[1] - state[0])[unit.unit - 1])
        assert math.log(left) / math.log(0.5) == pytest.approx(steps / unit.half_life, rel=1e-4)


@pytest.mark.parametrize("rung", RECURRENT)
def test_alpha_is_that_of_the_smoother_whose_content_is_as_old(rung: str) -> None:
    """A slow loop over the network's own states: the share that goes is read from them, with candidates set to nothing."""
    panel = panel_of(*(np.random.default_rng(b).normal(20, 3, 30 + 7 * b) for b in range(3)))
    network = network_on(panel, rung, hidden_size=4)
    cell = network.network.member(0).cell
    found = timescales(network, panel)
    forgotten, aged = np.zeros(4), np.zeros(4)
    for b in range(3):
        own, age = states(network, panel, b), np.zeros(4)
        for t in range(len(panel.series(b))):
            stays = share_that_stays(network, rung, cell, panel, b, t, own[t])
            forgotten += (1 - stays) * (age + 1)
            aged += age + 1
            age = stays * (age + 1)
    assert [unit.alpha for unit in found.units] == pytest.approx(forgotten / aged, abs=2e-6)


def share_that_stays(network: Recurrent, rung: str, cell: torch.nn.Module, panel: Panel, b: int, t: int, before: np.ndarray):
    """By the formulas of `tests/cells_loops.py`: 1 - z, or f."""
    from cells_loops import weights_of

    from forecaster.explain.gates import input_steps

    x = input_steps(network, panel.select([b]))[0][t]
    w = {name: weight.detach().double().numpy() for name, weight in weights_of(cell, 0).items()}
    size = network.config.hidden_size
    h = before[:size].astype(np.float64)
    if rung in ("gru", "lstm"):
        sums = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"]
        return 1 / (1 + np.exp(-sums[size : 2 * size]))  # torch's z, and the LSTM's f
    sums = w["of_x.weight"] @ x + w["of_x.bias"]
    if rung != "adaptive":
        sums = sums + w["of_h"] @ h
    z = sums[size : 2 * size] if rung == "gru_reset_before" else sums[:size]
    return 1 - 1 / (1 + np.exp(-z))


def test_a_unit_that_is_overwritten_now_and_then_is_as_old_as_what_it_holds() -> None:
    """Kept for ten steps and replaced at the eleventh, what it holds is 0 to 10 steps old, but for the first stretch of 99."""
    y = np.full(1_100, 20.0)
    y[::11] = np.nan  # the input says whether a value was observed
    y[0] = 20.0
    panel = panel_of(y)
    network = smoothing_gru(panel, (0.5,))
    cell = network.network.member(0).cell.recurrence
    with torch.no_grad():  # torch's z: all stays where a value was observed (the last input), nothing elsewhere
        cell.weight_ih_l0[1, -1], cell.bias_ih_l0[1] = 80.0, -40.0
    (unit,) = timescales(network, panel).units
    assert (1 - unit.alpha) / unit.alpha == pytest.approx(5, rel=0.02)
    assert unit.replaced == pytest.approx(1 / 11, rel=0.02)


@pytest.mark.parametrize("rung", ["rnn", "no_carry"])
def test_what_carries_nothing_over_has_no_half_life(rung: str) -> None:
    found = timescales(network_on(PANEL, rung), PANEL)
    assert {unit.half_life for unit in found.units} == {0.0}
    assert claim_verdict(found) == f"{rung} has no reset gate, so nothing can be said of it."


def test_a_network_that_copies_is_not_taken_for_a_smoother() -> None:
    """It remembers for a day of steps, through U h; by itself none of its units keeps anything."""
    panel = copying_panel()
    found = timescales(copying_gru(panel), panel)
    assert len(found.units) == COPIED
    assert max(unit.half_life for unit in found.units) < 0.1


def test_series_of_any_length_and_beginning_count_alike_in_any_order() -> None:
    parts = [np.random.default_rng(b).normal(20, 3, n) for b, n in enumerate((5, 40, 17))]
    parts[1][:9] = np.nan
    network = network_on(panel_of(*parts))
    one, other = (timescales(network, panel_of(*order)) for order in (parts, parts[::-1]))
    assert one.steps == 5 + 31 + 17
    assert [unit.alpha for unit in one.units] == pytest.approx([unit.alpha for unit in other.units], abs=1e-12)


# -- what may be said ---------------------------------------------------------------------------------------------------------


def gru_with_reset_gates(panel: Panel, lean: float, *, size: int = 40) -> Recurrent:
    """Units from short to long memories, whose reset gates are the more closed, the shorter (lean > 0) or the longer (< 0)."""
    alphas = np.linspace(0.9, 0.05, size)
    network = smoothing_gru(panel, alphas.tolist())
    noise = np.random.default_rng(0).normal(0, 1, size)
    with torch.no_grad():
        network.network.member(0).cell.recurrence.bias_ih_l0[:size] = torch.from_numpy(-lean * 4 * alphas + noise).float()
    return network


@pytest.mark.parametrize(
    ("lean", "words"),
    [(1.0, "This network fits the claim"), (-1.0, "shows the opposite"), (0.0, "does not show")],
)
def test_a_verdict_on_reset_gates_says_what_the_correlation_says(lean: float, words: str) -> None:
    network = gru_with_reset_gates(PANEL, lean)
    found = timescales(network, PANEL)
    assert found.claim is not None
    closed = [1 - float(unit.r_mean or 0) for unit in found.units]
    expected = stats.spearmanr(closed, [unit.half_life for unit in found.units]).statistic
    assert found.claim.value == pytest.approx(expected, abs=1e-12)
    assert found.claim.low < found.claim.value < found.claim.high
    assert words in claim_verdict(found)


def test_members_that_differ_give_no_verdict() -> None:
    """Two trainings of which one shows the claim strongly, and the other its opposite, weakly."""
    network = network_on(PANEL, hidden_size=40, members=2)
    for number, lean in enumerate((2.0, -0.1)):
        network.network.member(number).cell = gru_with_reset_gates(PANEL, lean).network.member(0).cell
    found = timescales(network, PANEL)
    assert found.claim is not None
    assert found.claim.high < 0
    assert found.claim_by_member[0] < -0.8
    assert found.claim_by_member[1] > 0
    assert "does not show" in claim_verdict(found)
    assert claim_verdict(found).endswith("in its members, each by itself.")


def test_too_few_units_give_no_verdict() -> None:
    found = timescales(network_on(PANEL, hidden_size=6), PANEL)
    assert claim_verdict(found).endswith("(Cho et al. 2014): 6 units are too few, 10 are needed.")
    assert claim_verdict(timescales(smoothing_gru(PANEL, [0.3] * 12), PANEL)).startswith("Nothing can be said here")


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Of no correlation at all, over 30 units, in 100 draws: 95 % is promised; 88 to 99 % is what draws and bootstrap leave."""
    random = np.random.default_rng(0)
    held = [rank_correlation(*random.normal(size=(2, 30)), of="units", seed=k) for k in range(100)]
    assert 0.88 <= np.mean([one.low <= 0 <= one.high for one in held]) <= 0.99


def test_a_relative_loss_is_that_of_the_means() -> None:
    random = np.random.default_rng(0)
    before = random.uniform(1, 2, 50)
    found = relative_loss(before, before * random.uniform(1.0, 1.2, 50), of="series")
    assert 0.08 < found.low < found.value < found.high < 0.14
    few = relative_loss(before[:5], before[:5] * 1.5, of="origins")
    assert (few.value, few.is_tested, few.is_noise) == (pytest.approx(0.5), False, True)


def test_units_stand_beside_simple_smoothing_on_the_same_series() -> None:
    """Twelve series, each with an alpha of its own that its units follow: gates that open with how much a series swings."""
    random = np.random.default_rng(3)
    panel = panel_of(*(50 * np.exp(random.normal(0, 0.02 * (b + 1), 80)) for b in range(12)))
    network = smoothing_gru(panel, (0.2, 0.4, 0.6))
    amplitude = 4 + 2 * len(network.scaler.season_lengths)
    with torch.no_grad():
        network.network.member(0).cell.recurrence.weight_ih_l0[3:6, amplitude] = -3.0  # torch's z: less stays
    alphas = {unique_id: 0.02 + 0.05 * b for b, unique_id in enumerate(panel.ids)}
    found = timescales(network, panel, ses_alphas=alphas | {"elsewhere": 0.5})
    assert [one.unique_id for one in found.series] == list(panel.ids)
    assert found.series[0].ses_half_life == pytest.approx(math.log(0.5) / math.log(0.98))
    assert found.series[0].faster == 1.0
    assert found.agreement is not None
    assert agreement_verdict(found).startswith("Where simple smoothing forgets faster, units forget faster: rank correlation 0.9")
    nothing = timescales(network, panel, ses_alphas={panel.ids[0]: math.nan})
    assert agreement_verdict(nothing) == "No series has a fit of simple smoothing to compare with."


# -- as text and JSON ---------------------------------------------------------------------------------------------------------


def test_the_histogram_holds_every_unit() -> None:
    network = smoothing_gru(PANEL, (1e-9, 0.003, 0.1, 0.35, 0.8, 0.99, 0.3))
    with torch.no_grad():
        network.network.member(0).cell.recurrence.bias_ih_l0[7] = 900.0  # torch's z is 1: nothing ever goes
    found = timescales(network, PANEL)
    assert sum(count for _, _, count in found.histogram()) == 7
    assert math.isinf(found.units[0].half_life)
    lines = timescales_lines(found, is_whole=True)
    assert any("for ever" in line for line in lines)
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["units"][0]["half_life"] is None
    assert told["quantiles"]["0.5"] == pytest.approx(found.units[6].half_life)


def test_a_duration_is_told_in_a_unit_that_fits() -> None:
    assert [duration(steps, 1 / 24) for steps in (0.5, 2, 47, 100, 9_000)] == [
        "30.0 minutes",
        "2.0 hours",
        "47.0 hours",
        "4.2 days",
        "12.3 months",
    ]
