"""Where nothing was observed the state decays, as GRU-D's does; where nothing is missing, nothing changes."""

from collections.abc import Iterator
from copy import deepcopy

import numpy as np
import pytest
import torch
from cells_loops import loop, random_cell, walked
from torch import Tensor
from torch.func import functional_call

from forecaster.models.cells import GRU
from forecaster.models.network import torch_threads
from forecaster.models.tiles import TILE

OBSERVED = 2  # the column that says so
SHAPES = pytest.mark.parametrize(
    ("hidden_size", "layers", "residual"), [(5, 1, False), (16, 1, False), (16, 2, False), (16, 3, True), (5, 2, True)]
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def windows(count: int, length: int, *, missing: float = 0.4, dtype: torch.dtype = torch.float64) -> Tensor:
    """Inputs [B, T, D] of which the third says what was observed."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(count, length, 3, generator=random, dtype=dtype)
    x[..., OBSERVED] = (torch.rand(count, length, generator=random) >= missing).to(dtype)
    return x


# -- what the formula says -------------------------------------------------------------------------------------------------------


@SHAPES
def test_a_cell_with_decay_does_what_its_formula_says(hidden_size: int, layers: int, residual: bool) -> None:
    cell = random_cell("gru", hidden_size=hidden_size, layers=layers, residual=residual, observed_at=OBSERVED).double()
    x = windows(4, 90)
    state = torch.randn(4, cell.state_size, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    expected, after = loop("gru", cell, x, state)
    for is_training in (False, True):
        with torch.set_grad_enabled(is_training):
            outputs, ours = cell(x, state)
        torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(ours, after, rtol=0, atol=1e-12)
        assert torch.equal(cell.output(ours), outputs[:, -1])


@pytest.mark.parametrize("in_training", [False, True])
def test_a_gap_leaves_the_share_that_gru_d_gives_its_length(in_training: bool) -> None:
    """gamma = exp(-max(0, w * delta)), in numpy, where the gates alone would let everything stay."""
    cell = GRU(3, hidden_size=16, layers=1, observed_at=OBSERVED).double()
    w = np.linspace(-0.3, 0.7, 16)
    with torch.no_grad():
        for weight in cell.recurrence.parameters():
            weight.zero_()
        cell.recurrence.bias_ih_l0[16:32] = 100  # torch's z, which stays
        cell.decay.copy_(torch.from_numpy(w))
    x = torch.ones(3, 12, 3, dtype=torch.float64)
    for series, delta in enumerate((0, 1, 9)):
        x[series, 3 : 3 + delta, OBSERVED] = 0
    with torch.set_grad_enabled(in_training):
        _, state = cell(x, torch.ones(3, 16, dtype=torch.float64))
    for series, delta in enumerate((0, 1, 9)):
        np.testing.assert_allclose(state[series].detach(), np.exp(-np.maximum(0, w * delta)), rtol=1e-12)


@pytest.mark.parametrize("in_training", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_where_nothing_is_missing_nothing_decays_to_the_bit(layers: int, in_training: bool) -> None:
    cell = random_cell("gru", hidden_size=24, layers=layers, observed_at=OBSERVED)
    plain = random_cell("gru", hidden_size=24, layers=layers)
    plain.load_state_dict(cell.state_dict(), strict=False)
    x = windows(TILE, 60, missing=0.0, dtype=torch.float32)
    with torch.set_grad_enabled(in_training):
        ours, theirs = (one(x, torch.zeros(TILE, one.state_size)) for one in (cell, plain))
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1], theirs[1])


def test_decay_leaves_the_other_weights_of_a_seed_as_they_are() -> None:
    drawn = []
    for settings in ({}, {"observed_at": OBSERVED}):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            cell = GRU(3, hidden_size=16, layers=2, **settings)
            drawn.append([*cell.recurrence.parameters(), torch.rand(5)])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*drawn, strict=True))


# -- gradients -------------------------------------------------------------------------------------------------------------------


def test_gradients_of_decay_agree_with_finite_differences() -> None:
    cell = random_cell("gru", hidden_size=3, layers=2, residual=True, observed_at=OBSERVED).double()
    x, state = windows(2, 5), torch.randn(2, cell.state_size, dtype=torch.float64).requires_grad_()
    names = [name for name, _ in cell.named_parameters()]
    assert "decay" in names

    def outputs(state: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        given: tuple[Tensor, Tensor] = functional_call(cell, dict(zip(names, weights, strict=True)), (x, state))
        return given

    assert torch.autograd.gradcheck(outputs, (state, *cell.parameters()))


@SHAPES
def test_gradients_of_decay_agree_with_a_plain_loop(hidden_size: int, layers: int, residual: bool) -> None:
    """The tolerance is a share of each gradient's largest number: sums over 1,200 rows, rounded in another order."""
    cell = random_cell("gru", hidden_size=hidden_size, layers=layers, residual=residual, observed_at=OBSERVED).double()
    x, random = windows(4, 300), torch.Generator().manual_seed(2)  # more than one block of the way back
    state = torch.randn(4, cell.state_size, generator=random, dtype=torch.float64, requires_grad=True)
    asked = torch.randn(4, 300, hidden_size, generator=random, dtype=torch.float64)
    found, expected = [], []
    for walk, into in ((cell, found), (lambda x, state: loop("gru", cell, x, state), expected)):
        outputs, after = walk(x, state)
        loss = (outputs * asked).sum() + after.square().sum()
        into.extend(torch.autograd.grad(loss, (state, *cell.parameters())))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-11 * theirs.abs().max()


# -- the same bits ---------------------------------------------------------------------------------------------------------------


@SHAPES
def test_parts_equal_the_whole_and_companions_leave_no_trace(hidden_size: int, layers: int, residual: bool) -> None:
    cell = random_cell("gru", hidden_size=hidden_size, layers=layers, residual=residual, observed_at=OBSERVED)
    x = windows(TILE, 150, dtype=torch.float32)
    outputs, state = walked(cell, x, [150])
    for lengths in (150 * [1], [1, 9, 64, 2, 74]):
        in_parts, after = walked(cell, x, lengths)
        assert torch.equal(in_parts, outputs)
        assert torch.equal(after, state)
    order = torch.randperm(TILE, generator=torch.Generator().manual_seed(2))
    assert torch.equal(walked(cell, x[order], [150])[0], outputs[order])
    assert torch.equal(walked(deepcopy(cell), x, [150])[0], outputs)
