"""Recurrent cells: each maps inputs and a state to outputs and the next state, over a window or over a single step.

Axes: B series, T time steps, D inputs, H units. A cell's state is one row of numbers per series [B, cell.state_size]; how it
lays them out is its own affair.
"""

from typing import Protocol

from torch import Tensor, nn


class Cell(Protocol):
    """One rung of the ladder."""

    state_size: int
    output_size: int

    def __call__(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [B, T, H] and the state [B, S] after x [B, T, D], from `state` [B, S]."""

    def output(self, state: Tensor) -> Tensor:
        """The last output [B, H], read from the state [B, S]."""


class GRU(nn.Module):
    """The gated recurrent unit, as torch computes it, in one or more layers.

        r = sigmoid(W_r x + b_r + U_r h)        n = tanh(W_n x + b_n + r * (U_n h + c_n))
        z = sigmoid(W_z x + b_z + U_z h)        h = (1 - z) * h + z * n

    torch writes z for the share of the old state that stays, and splits each bias in two; what stands here as z is 1 - z there.

    Source: Cho et al. 2014, arXiv:1406.1078; the reset gate after the product as in torch.nn.GRU.

    >>> import torch
    >>> cell = GRU(inputs=3, hidden_size=4, layers=2)
    >>> outputs, state = cell(torch.zeros(5, 7, 3), torch.zeros(5, cell.state_size))
    >>> outputs.shape, state.shape
    (torch.Size([5, 7, 4]), torch.Size([5, 8]))
    """

    def __init__(self, inputs: int, *, hidden_size: int, layers: int) -> None:
        super().__init__()
        self.layers, self.output_size, self.state_size = layers, hidden_size, layers * hidden_size
        self.recurrence = nn.GRU(inputs, hidden_size, num_layers=layers, batch_first=True)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h = state.reshape(len(state), self.layers, self.output_size).transpose(0, 1).contiguous()  # [layers, B, H]
        outputs, h = self.recurrence(x, h)
        return outputs, h.transpose(0, 1).reshape(len(state), self.state_size)

    def output(self, state: Tensor) -> Tensor:
        return state[:, -self.output_size :]


LADDER: dict[str, type[GRU]] = {"gru": GRU}
