"""The ladder: every rung is what its formula says, what others compute, and what its name promises."""

from collections.abc import Iterator
from copy import deepcopy
from typing import get_args

import numpy as np
import pytest
import torch
from cells_loops import RUNGS, loop, random_cell
from safetensors.torch import load, save
from statsmodels.datasets import co2, sunspots
from statsmodels.tsa.api import SimpleExpSmoothing
from torch import Tensor, nn

from forecaster.models.cells import GRU, LADDER
from forecaster.models.holt_winters import HoltWinters
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.scaler import Scaler

ALPHAS = (0.05, 0.3, 0.9)
GATED = ["adaptive", "gru_no_reset", "gru", "gru_reset_before", "lstm"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def sunspot_numbers() -> np.ndarray:
    return sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(copy=True)


def carbon_dioxide() -> np.ndarray:
    return co2.load_pandas().data["co2"].dropna().to_numpy(copy=True)[:600]


def levels_of_statsmodels(y: np.ndarray, alpha: float) -> np.ndarray:
    """The level of simple exponential smoothing after each value, from the first value as the level before it."""
    model = SimpleExpSmoothing(y, initialization_method="known", initial_level=y[0])
    fit = model.fit(smoothing_level=alpha, optimized=False)
    return np.append(fit.fittedvalues[1:], fit.forecast(1))


# -- what others compute ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("series", [sunspot_numbers, carbon_dioxide])
def test_the_first_rung_is_simple_exponential_smoothing(series) -> None:
    y = series()
    cell = LADDER["smoothing"](1, hidden_size=len(ALPHAS), layers=1).double()
    with torch.no_grad():
        cell.layers[0].of_x.weight.fill_(1)
        cell.layers[0].of_x.bias.fill_(0)
        cell.layers[0].logit.copy_(torch.logit(torch.tensor(ALPHAS, dtype=torch.float64)))
        outputs, _ = cell(torch.from_numpy(y)[None, :, None], torch.full((1, 3), y[0], dtype=torch.float64))
    for unit, alpha in enumerate(ALPHAS):
        np.testing.assert_allclose(outputs[0, :, unit], levels_of_statsmodels(y, alpha), rtol=1e-12)


@pytest.mark.parametrize("series", [sunspot_numbers, carbon_dioxide])
@pytest.mark.parametrize("in_training", [False, True])
def test_the_gru_contains_smoothing(series, in_training: bool) -> None:
    """tanh(u) lies within |u|**3 / 3 of u, and a mean of values is no further off than the values: so much is granted."""
    y = series()
    largest = np.abs(y).max()
    scale = 1e-3 / largest
    cell = GRU(1, hidden_size=len(ALPHAS), layers=1).double()
    with torch.no_grad():
        for weight in cell.parameters():
            weight.zero_()
        cell.recurrence.weight_ih_l0[6:] = 1  # the candidate is the input
        cell.recurrence.bias_ih_l0[3:6] = -torch.logit(torch.tensor(ALPHAS, dtype=torch.float64))  # torch's z is what stays
    with torch.set_grad_enabled(in_training):
        outputs, _ = cell(torch.from_numpy(scale * y)[None, :, None], torch.full((1, 3), scale * y[0], dtype=torch.float64))
    levels = outputs.detach()[0].numpy() / scale
    for unit, alpha in enumerate(ALPHAS):
        bound = (
            largest * (scale * largest) ** 2 / 3 + 1e-12 * largest
        )  # a third of a millionth of the largest value, and rounding
        assert np.abs(levels[:, unit] - levels_of_statsmodels(y, alpha)).max() <= bound


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("in_training", [False, True])
@pytest.mark.parametrize("rung", ["gru", "rnn", "lstm"])
def test_what_torch_has_is_what_torch_computes(rung: str, layers: int, in_training: bool) -> None:
    cell = random_cell(rung, hidden_size=16, layers=layers)
    theirs = getattr(nn, rung.upper())(3, 16, num_layers=layers, batch_first=True)
    theirs.load_state_dict(as_torch(rung, cell, layers))
    x = torch.randn(4, 200, 3, generator=torch.Generator().manual_seed(1))
    with torch.set_grad_enabled(in_training):
        ours, state = cell(x, torch.zeros(4, cell.state_size))
        expected, h = theirs(x)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    last = h[0] if rung == "lstm" else h
    torch.testing.assert_close(cell.output(state), last[-1], rtol=0, atol=1e-6)


def as_torch(rung: str, cell: nn.Module, layers: int) -> dict[str, Tensor]:
    """The cell's weights under torch's names."""
    if rung == "gru":
        return cell.recurrence.state_dict()
    named = {}
    for k in range(layers):
        layer = cell.layers[k]
        if rung == "lstm":
            named |= {name.replace("_l0", f"_l{k}"): weight for name, weight in layer.recurrence.state_dict().items()}
        else:
            ours = {"weight_ih": layer.of_x.weight, "bias_ih": layer.of_x.bias, "weight_hh": layer.of_h}
            ours["bias_hh"] = torch.zeros(16)
            named |= {f"{name}_l{k}": weight for name, weight in ours.items()}
    return named


# -- what the formulas say -------------------------------------------------------------------------------------------------------


def test_the_gru_of_the_paper_scales_h_before_the_product() -> None:
    """Equations 5 to 8 of Cho et al. 2014, in numpy, with the paper's z, the share that stays."""
    cell = random_cell("gru_reset_before", hidden_size=4).double()
    layer = cell.layers[0]
    (w_r, w_z, w), (u_r, u_z, u) = (np.split(part.detach().numpy(), 3) for part in (layer.of_x.weight, layer.of_h))
    b_r, b_z, b = np.split(layer.of_x.bias.detach().numpy(), 3)
    x = np.random.default_rng(0).normal(size=(2, 50, 3))
    expected = np.zeros((2, 50, 4))
    for series in range(2):
        h = np.zeros(4)
        for t in range(50):
            r = 1 / (1 + np.exp(-(w_r @ x[series, t] + b_r + u_r @ h)))
            z = 1 - 1 / (1 + np.exp(-(w_z @ x[series, t] + b_z + u_z @ h)))
            h = z * h + (1 - z) * np.tanh(w @ x[series, t] + b + u @ (r * h))
            expected[series, t] = h
    outputs, _ = cell(torch.from_numpy(x), torch.zeros(2, 4, dtype=torch.float64))
    np.testing.assert_allclose(outputs.detach(), expected, atol=1e-12)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("rung", RUNGS)
def test_a_rung_does_what_its_formula_says(rung: str, layers: int, residual: bool) -> None:
    cell = random_cell(rung, layers=layers, residual=residual).double()
    random = torch.Generator().manual_seed(1)
    x = torch.randn(4, 90, 3, generator=random, dtype=torch.float64)
    state = torch.randn(4, cell.state_size, generator=random, dtype=torch.float64)
    expected, after = loop(rung, cell, x, state)
    for is_training in (False, True):
        with torch.set_grad_enabled(is_training):
            outputs, ours = cell(x, state)
        torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12, check_device=False)
        torch.testing.assert_close(ours, after, rtol=0, atol=1e-12)
        assert torch.equal(cell.output(ours), outputs[:, -1])


@pytest.mark.parametrize("rung", RUNGS)
def test_a_residual_layer_that_says_nothing_leaves_the_one_below(rung: str) -> None:
    cell = random_cell(rung, layers=2, residual=True)
    alone = random_cell(rung, layers=1)
    names = dict(alone.named_parameters())
    with torch.no_grad():
        for name, weight in cell.named_parameters():
            weight.copy_(names[name]) if name in names else weight.zero_()
    x = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(1))
    outputs, _ = cell(x, torch.zeros(2, cell.state_size))
    torch.testing.assert_close(outputs, alone(x, torch.zeros(2, alone.state_size))[0], rtol=0, atol=1e-6)


# -- memory ----------------------------------------------------------------------------------------------------------------------


def share_left(rung: str, *, steps: int, memory: float | None) -> float:
    """The median share of what a unit remembers that is left after so many steps at which there is nothing to see."""
    cell = LADDER[rung](1, hidden_size=200, layers=1, memory=memory)
    with torch.no_grad():
        for name, weight in cell.named_parameters():
            if "bias" not in name:
                weight.zero_()
        biases_of_candidate(rung, cell).zero_()
        _, state = cell(torch.zeros(1, steps, 1), torch.ones(1, cell.state_size))
    return float(state[0, -200:].median())  # of an LSTM, its cell state


def biases_of_candidate(rung: str, cell: nn.Module) -> Tensor:
    if rung == "lstm":
        cell.layers[0].recurrence.bias_hh_l0.zero_()
        return cell.layers[0].recurrence.bias_ih_l0[400:600]
    if rung == "gru":
        cell.recurrence.bias_hh_l0[400:].zero_()
        return cell.recurrence.bias_ih_l0[400:]
    return cell.layers[0].of_x.bias[-200:]


@pytest.mark.parametrize("rung", GATED)
def test_a_long_memory_is_long(rung: str) -> None:
    assert share_left(rung, steps=20, memory=None) < 0.01
    assert share_left(rung, steps=20, memory=1000.0) > 0.9
    assert share_left(rung, steps=20, memory=10.0) < 0.1


@pytest.mark.parametrize(("season_lengths", "longest"), [((24,), 24), ((7, 30), 30), ((4,), 8), ((), 8)])
@pytest.mark.parametrize("rung", GATED)
def test_a_chrono_network_begins_with_memories_of_its_longest_season(
    rung: str, season_lengths: tuple[int, ...], longest: int
) -> None:
    """The share u / (1 + u) stays, of u from 1 to the memory less 1; where seasons are short, the memory is 8 steps."""
    scaler = Scaler("log", season_lengths, HoltWinters(0.3, 0.1, 0.2, 0.9, length=1), ring_size=40, least_spread=1e-3)
    config = ModelConfig(cell=rung, hidden_size=200, members=1, head_size=4, chrono=True)
    cell = Network(config, scaler, horizon=3, quantiles=(0.5,)).member(0).cell
    with torch.no_grad():
        for name, weight in cell.named_parameters():
            if "bias" not in name:
                weight.zero_()
        biases_of_candidate(rung, cell).zero_()
        _, state = cell(torch.zeros(1, 1, scaler.feature_count), torch.ones(1, cell.state_size))
    left, most = state[0, -200:], (longest - 1) / longest
    assert left.min() >= 0.5 - 1e-6
    assert 0.95 * most < left.max() <= most + 1e-6


@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_can_be_told_how_long_to_remember(rung: str) -> None:
    cell = LADDER[rung](3, hidden_size=4, layers=2, memory=48.0)
    assert torch.isfinite(cell(torch.ones(2, 9, 3), torch.zeros(2, cell.state_size))[0]).all()


def test_smoothers_begin_with_half_lives_from_half_a_step_to_their_memory_and_at_the_seasons() -> None:
    cell = LADDER["smoothing"](1, hidden_size=16, layers=1, memory=400.0, season_lengths=(24, 168))
    with torch.no_grad():
        cell.layers[0].of_x.bias.zero_()
        outputs, _ = cell(torch.zeros(1, 400, 1), torch.ones(1, 16))
    for unit, half_life in ((-1, 400), (0, 0.5)):
        assert float(outputs[0, 0, unit]) == pytest.approx(0.5 ** (1 / half_life), rel=1e-5)
    for season_length in (24, 168):
        assert (outputs[0, season_length - 1] - 0.5).abs().min() < 1e-4


# -- what a network needs --------------------------------------------------------------------------------------------------------


def test_the_configuration_knows_every_rung() -> None:
    assert set(get_args(ModelConfig.model_fields["cell"].annotation)) == set(LADDER)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("rung", RUNGS)
def test_a_network_of_any_rung_learns(rung: str, layers: int) -> None:
    scaler = Scaler("log", (4,), HoltWinters(0.3, 0.1, 0.2, 0.9, length=4), ring_size=9, least_spread=1e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = ModelConfig(cell=rung, hidden_size=12, layers=layers, members=1, head_size=8)
        network = Network(config, scaler, horizon=3, quantiles=(0.1, 0.5, 0.9))
        x = torch.randn(4, 30, scaler.feature_count)
    optimizer = torch.optim.Adam(network.member(0).cell.parameters(), lr=0.01)
    target = x.cumsum(1)[:, :, :1].tanh()  # nothing but memory knows it
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        memory, _ = network.remember(x, network.initial_state(4))
        losses.append((memory - target).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("rung", RUNGS)
def test_a_cell_comes_back_from_a_file_or_a_copy_to_the_bit(rung: str) -> None:
    cell = random_cell(rung, layers=2)
    other = random_cell(rung, layers=2, seed=1)
    other.load_state_dict(load(save(cell.state_dict())))
    x = torch.randn(32, 40, 3, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, _ = cell(x, torch.zeros(32, cell.state_size))
        for again in (other, deepcopy(cell)):
            assert torch.equal(again(x, torch.zeros(32, cell.state_size))[0], expected)
