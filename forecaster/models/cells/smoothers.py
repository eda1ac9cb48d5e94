"""The rungs without feedback: smoothing with a constant weight, and with one that the inputs change."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forecaster.models.cells.memory import half_lives, logits_to_enter, logits_to_stay
from forecaster.models.cells.unrolled import Block, Rung, Weights, unroll, unroll_back

LONGEST_HALF_LIFE = 512.0  # steps, where nothing is said


class Smoothing(nn.Module):
    """A layer of exponential smoothers, each with a weight of its own, of sums of the inputs.

        n = W x + b        h = (1 - z) * h + z * n        z = sigmoid(logit), constant

    With W = 1 and b = 0, h is the level of simple exponential smoothing and z its alpha. The half-lives are spread to begin
    with, up to `memory` steps, the season lengths among them.

    Source: Brown 1959; Gardner 1985, doi:10.1002/for.3980040103.

    >>> layer = Smoothing(3, hidden_size=5, memory=8.0)
    >>> torch.sigmoid(layer.logit)
    tensor([0.7500, 0.5000, 0.2929, 0.1591, 0.0830], grad_fn=<SigmoidBackward0>)
    """

    def __init__(self, inputs: int, *, hidden_size: int, memory: float | None = None, season_lengths: Sequence[int] = ()) -> None:
        super().__init__()
        self.state_size = hidden_size
        self.of_x = nn.Linear(inputs, hidden_size)
        self.logit = nn.Parameter(logits_to_enter(half_lives(hidden_size, memory or LONGEST_HALF_LIFE, season_lengths)))

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.sigmoid(self.logit)
        outputs = unroll(SMOOTHING, x, state, of_x=self.of_x.weight, bias=self.of_x.bias, own=z)
        return outputs, outputs[-1]


class Adaptive(nn.Module):
    """A layer of exponential smoothers whose weights change with the inputs, but not with what they remember.

        z = sigmoid(W_z x + b_z)        n = W_n x + b_n        h = (1 - z) * h + z * n

    With `memory`, the weights begin with memories of up to so many steps (chrono).

    Source: the minimal GRU of Feng et al. 2024, arXiv:2410.01201.
    """

    def __init__(self, inputs: int, *, hidden_size: int, memory: float | None = None) -> None:
        super().__init__()
        self.state_size = hidden_size
        self.of_x = nn.Linear(inputs, 2 * hidden_size)  # z, n
        if memory is not None:
            with torch.no_grad():
                self.of_x.bias[:hidden_size] = -logits_to_stay(hidden_size, memory)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = unroll(ADAPTIVE, x, state, of_x=self.of_x.weight, bias=self.of_x.bias)
        return outputs, outputs[-1]


def _walk_smoothing(sums: Tensor, h: Tensor, weights: Weights) -> Tensor:
    states, z = h.unbind(0), weights.own.expand_as(h[0]).contiguous()
    for t, n in enumerate(sums.unbind(0)):
        torch.lerp(states[t], n, z, out=states[t + 1])
    return sums[..., :0]


def _back_smoothing(block: Block, after: Tensor, weights: Weights, gradients: Weights) -> tuple[Tensor, Tensor]:
    z = weights.own.expand_as(block.gates)
    d_h, d_sums = unroll_back(block, after, gain=z.unsqueeze(2), carry=1 - z, of_h=weights.of_h)
    gradients.own.add_(((block.gates - block.h[:-1]) * d_h[1:]).sum((0, 1)))
    return d_sums.flatten(2), d_h[0]


def _walk_adaptive(sums: Tensor, h: Tensor, weights: Weights) -> Tensor:  # noqa: ARG001 - a walk takes them
    states, (z, n) = h.unbind(0), (part.unbind(0) for part in sums.chunk(2, dim=-1))
    for t in range(len(n)):
        torch.lerp(states[t], n[t], z[t].sigmoid_(), out=states[t + 1])
    return sums[..., :0]


def _back_adaptive(block: Block, after: Tensor, weights: Weights, gradients: Weights) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    z, n = block.gates.chunk(2, dim=-1)
    carry = 1 - z
    gain = torch.stack([(n - block.h[:-1]).mul_(z).mul_(carry), z], dim=2)
    d_h, d_sums = unroll_back(block, after, gain=gain, carry=carry, of_h=weights.of_h)
    return d_sums.flatten(2), d_h[0]


SMOOTHING = Rung(_walk_smoothing, _back_smoothing)
ADAPTIVE = Rung(_walk_adaptive, _back_adaptive)
