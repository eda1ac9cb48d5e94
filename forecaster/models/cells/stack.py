"""What every rung is to the network: a cell, of one layer or of several on top of each other."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Cell(Protocol):
    """One rung of the ladder."""

    state_size: int
    output_size: int

    def __call__(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [B, T, H] and the state [B, S] after x [B, T, D], from `state` [B, S]."""

    def output(self, state: Tensor) -> Tensor:
        """The last output [B, H], read from the state [B, S]."""


class Stack(nn.Module):
    """A cell made of layers of one kind; each sees the outputs of the one below.

    A layer maps x [T, B, D] and its state [B, S] to outputs [T, B, H] and a state that begins with the last of them. With
    `residual`, a layer adds to what it was given instead of replacing it, from the second layer on. `settings` go to each
    layer: `memory`, the longest memory in steps that it begins with, and what else that kind of layer takes.

    >>> from forecaster.models.cells.smoothers import Adaptive
    >>> cell = Stack(Adaptive, 3, hidden_size=4, layers=2)
    >>> outputs, state = cell(torch.zeros(5, 7, 3), torch.zeros(5, cell.state_size))
    >>> outputs.shape, state.shape
    (torch.Size([5, 7, 4]), torch.Size([5, 8]))
    """

    def __init__(
        self,
        layer: Callable[..., Any],
        inputs: int,
        *,
        hidden_size: int,
        layers: int,
        residual: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        widths = [inputs] + (layers - 1) * [hidden_size]
        parts = [layer(width, hidden_size=hidden_size, **settings) for width in widths]
        self.layers = nn.ModuleList(parts)
        self.residual, self.output_size = residual, hidden_size
        self.state_size = sum(part.state_size for part in parts)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        below, after = steps_first(x), []
        for k, (layer, own) in enumerate(zip(self.layers, self._states(state), strict=True)):
            outputs, own_after = layer(below, own)
            below = below + outputs if self.residual and k else outputs
            after.append(own_after)
        return below.transpose(0, 1), torch.cat(after, dim=1)

    def output(self, state: Tensor) -> Tensor:
        outputs = [own[:, : self.output_size] for own in self._states(state)]
        return sum(outputs[1:], outputs[0]) if self.residual else outputs[-1]

    def _states(self, state: Tensor) -> tuple[Tensor, ...]:
        """The layers' own states [B, S], from the lowest up."""
        return state.chunk(len(self.layers), dim=1)


def steps_first(x: Tensor) -> Tensor:
    """x [B, T, D] as a new tensor [T, B, D], whose memory torch has aligned: matrix products may depend on that.

    >>> steps_first(torch.zeros(5, 7, 3)).shape
    torch.Size([7, 5, 3])
    """
    return x.transpose(0, 1).clone(memory_format=torch.contiguous_format)
