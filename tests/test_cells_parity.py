"""In tiles of 32 rows a window, single steps, uneven chunks and other companions give every rung the same bits."""

from collections.abc import Iterator

import pytest
import torch
from cells_loops import RUNGS, random_cell, walked
from torch import Tensor, nn

from forecaster.models.network import torch_threads
from forecaster.models.tiles import TILE

LENGTH = 150  # more than two blocks of a walk without gradients

pytestmark = pytest.mark.parametrize("rung", RUNGS)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(params=[(3, 1), (5, 2), (24, 1), (24, 2), (128, 1)], ids=lambda shape: f"{shape[0]} units, {shape[1]} layers")
def cell(request: pytest.FixtureRequest, rung: str) -> nn.Module:
    hidden_size, layers = request.param
    return random_cell(rung, inputs=10, hidden_size=hidden_size, layers=layers, residual=layers > 1)


def windows() -> Tensor:
    return torch.randn(TILE, LENGTH, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("lengths", [LENGTH * [1], [1, 9, 64, 2, 74], [149, 1]], ids=["steps", "chunks", "all but one"])
def test_parts_equal_the_whole(cell: nn.Module, lengths: list[int]) -> None:
    x = windows()
    outputs, state = walked(cell, x, [LENGTH])
    in_parts, state_of_parts = walked(cell, x, lengths)
    assert torch.equal(in_parts, outputs)
    assert torch.equal(state_of_parts, state)
    assert torch.equal(cell.output(state), outputs[:, -1])


def test_companions_and_places_in_the_tile_leave_no_trace(cell: nn.Module) -> None:
    x = windows()
    outputs, _ = walked(cell, x, [LENGTH])
    order = torch.randperm(TILE, generator=torch.Generator().manual_seed(2))
    assert torch.equal(walked(cell, x[order], [LENGTH])[0], outputs[order])
    few = torch.zeros_like(x)
    few[:3] = x[order[:3]]
    assert torch.equal(walked(cell, few, [LENGTH])[0][:3], outputs[order[:3]])


def test_the_number_of_threads_leaves_no_trace_in_a_cell(rung: str) -> None:
    cell, x = random_cell(rung, inputs=10, hidden_size=128), windows()[:, :5]
    with torch_threads(1):
        outputs, _ = walked(cell, x, [5])
    with torch_threads(2):
        assert torch.equal(walked(cell, x, [5])[0], outputs)
