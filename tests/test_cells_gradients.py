"""Gradients made by hand are those of the formulas: against finite differences, and against autograd on plain loops."""

from collections.abc import Iterator

import pytest
import torch
from cells_loops import RUNGS, loop, random_cell
from torch import Tensor, nn
from torch.func import functional_call

from forecaster.models.network import torch_threads

LENGTH = 400  # more than one block of the way back


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def drawn(cell: nn.Module, *, count: int, length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Inputs and a state that want gradients."""
    random = torch.Generator().manual_seed(1)
    x = torch.randn(count, length, 3, generator=random, dtype=dtype, requires_grad=True)
    return x, torch.randn(count, cell.state_size, generator=random, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("rung", RUNGS)
def test_gradients_agree_with_finite_differences(rung: str) -> None:
    cell = random_cell(rung, hidden_size=3, layers=2, residual=True).double()
    x, state = drawn(cell, count=2, length=4, dtype=torch.float64)
    names = [name for name, _ in cell.named_parameters()]

    def outputs(x: Tensor, state: Tensor, *weights: Tensor) -> tuple[Tensor, Tensor]:
        given: tuple[Tensor, Tensor] = functional_call(cell, dict(zip(names, weights, strict=True)), (x, state))
        return given

    assert torch.autograd.gradcheck(outputs, (x, state, *cell.parameters()))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 1e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("rung", RUNGS)
def test_gradients_agree_with_a_plain_loop(rung: str, layers: int, dtype: torch.dtype, tolerance: float) -> None:
    """The tolerance is a share of each gradient's largest number: sums over 1,600 rows, rounded in another order."""
    cell = random_cell(rung, hidden_size=16, layers=layers).to(dtype)
    x, state = drawn(cell, count=4, length=LENGTH, dtype=dtype)
    asked = torch.randn(4, LENGTH, 16, generator=torch.Generator().manual_seed(2), dtype=dtype)
    found, expected = [], []
    for walk, into in ((cell, found), (lambda x, state: loop(rung, cell, x, state), expected)):
        outputs, after = walk(x, state)
        loss = (outputs * asked).sum() + after.square().sum()
        into.extend([outputs.detach(), *torch.autograd.grad(loss, (x, state, *cell.parameters()))])
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("rung", RUNGS)
def test_training_and_forecasting_compute_the_same(rung: str) -> None:
    cell = random_cell(rung, hidden_size=64)
    x, state = drawn(cell, count=16, length=200, dtype=torch.float32)
    trained, _ = cell(x, state)
    with torch.inference_mode():
        forecast, _ = cell(x, state)
    torch.testing.assert_close(trained.detach(), forecast, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rung", RUNGS)
def test_gradients_can_be_asked_for_twice(rung: str) -> None:
    cell = random_cell(rung)
    x, state = drawn(cell, count=2, length=10, dtype=torch.float32)
    loss = cell(x, state)[0].square().sum()
    first = torch.autograd.grad(loss, list(cell.parameters()), retain_graph=True)
    second = torch.autograd.grad(loss, list(cell.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
