"""The gated rungs that torch has not: without the reset gate, and with the reset gate before the product."""

import torch
from torch import Tensor, nn

from forecaster.models.cells.memory import logits_to_stay
from forecaster.models.cells.unrolled import Block, Rung, Weights, unroll, unroll_back


class NoReset(nn.Module):
    """A layer whose gate and candidate both see what is remembered.

        z = sigmoid(W_z x + b_z + U_z h)        n = tanh(W_n x + b_n + U_n h)        h = (1 - z) * h + z * n

    Without `carry`, h = z * n instead, and all else is the same: what is missed then is the carry alone. With `memory`, the
    units begin with memories of up to so many steps (chrono); without carry there is no share that stays, and nothing changes.

    Source: Ravanelli et al. 2018, arXiv:1803.10225, with tanh for the candidate as in Cho et al. 2014.
    """

    def __init__(self, inputs: int, *, hidden_size: int, memory: float | None = None, carry: bool = True) -> None:
        super().__init__()
        self.state_size, self.carry = hidden_size, carry
        self.of_x = nn.Linear(inputs, 2 * hidden_size)  # z, n
        self.of_h = nn.Parameter(torch.empty(2 * hidden_size, hidden_size))
        draw_weights(self, hidden_size)
        if memory is not None and carry:
            with torch.no_grad():
                self.of_x.bias[:hidden_size] = -logits_to_stay(hidden_size, memory)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        rung = NO_RESET if self.carry else NO_CARRY
        outputs = unroll(rung, x, state, of_x=self.of_x.weight, bias=self.of_x.bias, of_h=self.of_h)
        return outputs, outputs[-1]


class ResetBefore(nn.Module):
    """A layer of gated recurrent units as they were first written: r scales h before the product.

        r = sigmoid(W_r x + b_r + U_r h)        n = tanh(W_n x + b_n + U_n (r * h))
        z = sigmoid(W_z x + b_z + U_z h)        h = (1 - z) * h + z * n

    The paper writes z for the share that stays; what stands here as z is 1 - z there. With `memory`, the units begin with
    memories of up to so many steps (chrono).

    Source: Cho et al. 2014, arXiv:1406.1078, equations 5 to 8.
    """

    def __init__(self, inputs: int, *, hidden_size: int, memory: float | None = None) -> None:
        super().__init__()
        self.state_size = hidden_size
        self.of_x = nn.Linear(inputs, 3 * hidden_size)  # r, z, n
        self.of_h = nn.Parameter(torch.empty(3 * hidden_size, hidden_size))
        draw_weights(self, hidden_size)
        if memory is not None:
            with torch.no_grad():
                self.of_x.bias[hidden_size : 2 * hidden_size] = -logits_to_stay(hidden_size, memory)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = unroll(RESET_BEFORE, x, state, of_x=self.of_x.weight, bias=self.of_x.bias, of_h=self.of_h)
        return outputs, outputs[-1]


def draw_weights(layer: nn.Module, hidden_size: int) -> None:
    """Give all weights the distribution that torch's recurrent layers begin with: uniform within 1 / sqrt(H)."""
    for weight in layer.parameters():
        nn.init.uniform_(weight, -(hidden_size**-0.5), hidden_size**-0.5)


def _walk_no_reset(sums: Tensor, h: Tensor, weights: Weights) -> Tensor:
    states, of_h = h.unbind(0), weights.of_h.t()
    z, n = (part.unbind(0) for part in sums.chunk(2, dim=-1))
    for t, both in enumerate(sums.unbind(0)):
        both.addmm_(states[t], of_h)
        torch.lerp(states[t], n[t].tanh_(), z[t].sigmoid_(), out=states[t + 1])
    return sums[..., :0]


def _back_no_reset(block: Block, after: Tensor, weights: Weights, gradients: Weights) -> tuple[Tensor, Tensor]:
    z, n = block.gates.chunk(2, dim=-1)
    carry = 1 - z
    gain = torch.stack([(n - block.h[:-1]).mul_(z).mul_(carry), torch.mul(n, n).neg_().add_(1).mul_(z)], dim=2)
    return _back(block, after, weights, gradients, gain=gain, carry=carry)


def _walk_no_carry(sums: Tensor, h: Tensor, weights: Weights) -> Tensor:
    states, of_h = h.unbind(0), weights.of_h.t()
    z, n = (part.unbind(0) for part in sums.chunk(2, dim=-1))
    for t, both in enumerate(sums.unbind(0)):
        both.addmm_(states[t], of_h)
        torch.mul(n[t].tanh_(), z[t].sigmoid_(), out=states[t + 1])
    return sums[..., :0]


def _back_no_carry(block: Block, after: Tensor, weights: Weights, gradients: Weights) -> tuple[Tensor, Tensor]:
    z, n = block.gates.chunk(2, dim=-1)
    gain = torch.stack([(1 - z).mul_(block.h[1:]), torch.mul(n, n).neg_().add_(1).mul_(z)], dim=2)
    return _back(block, after, weights, gradients, gain=gain, carry=None)


def _back(
    block: Block, after: Tensor, weights: Weights, gradients: Weights, *, gain: Tensor, carry: Tensor | None
) -> tuple[Tensor, Tensor]:
    d_h, d_sums = unroll_back(block, after, gain=gain, carry=carry, of_h=weights.of_h)
    gradients.of_h.addmm_(block.h[:-1].flatten(0, 1).t(), d_sums.flatten(2).flatten(0, 1))
    return d_sums.flatten(2), d_h[0]


def _walk_reset_before(sums: Tensor, h: Tensor, weights: Weights) -> Tensor:
    """Keeps r * h."""
    size = h.shape[-1]
    scaled = torch.empty_like(h[1:])
    of_gates, of_candidate = weights.of_h[: 2 * size].t(), weights.of_h[2 * size :].t()
    states, scaled_steps, gates = h.unbind(0), scaled.unbind(0), sums[..., : 2 * size].unbind(0)
    r, z, n = (part.unbind(0) for part in sums.chunk(3, dim=-1))
    for t in range(len(gates)):
        gates[t].addmm_(states[t], of_gates).sigmoid_()
        torch.mul(r[t], states[t], out=scaled_steps[t])
        n[t].addmm_(scaled_steps[t], of_candidate).tanh_()
        torch.lerp(states[t], n[t], z[t], out=states[t + 1])
    return scaled


def _back_reset_before(block: Block, after: Tensor, weights: Weights, gradients: Weights) -> tuple[Tensor, Tensor]:
    """The candidate's gradient passes r * h first: d(r h) = dn U_n, of which r gets h's share and h gets r's."""
    size = block.h.shape[-1]
    r, z, n = block.gates.chunk(3, dim=-1)
    carry = 1 - z
    gain = torch.stack([(n - block.h[:-1]).mul_(z).mul_(carry), torch.mul(n, n).neg_().add_(1).mul_(z)], dim=2)
    of_r = (1 - r).mul_(block.kept)
    d_h, d_sums = torch.empty_like(block.h), torch.empty_like(block.gates)
    torch.add(block.asked[-1], after, out=d_h[-1])
    asked = (torch.zeros_like(after), *block.asked[:-1].unbind(0))
    d_both, d_gates = d_sums[..., size:].view(*gain.shape).unbind(0), d_sums[..., : 2 * size].unbind(0)
    d_r, _, d_n = (part.unbind(0) for part in d_sums.chunk(3, dim=-1))
    of_gates, of_candidate = weights.of_h[: 2 * size], weights.of_h[2 * size :]
    for t in range(len(gain) - 1, -1, -1):
        torch.mul(d_h[t + 1].unsqueeze(1), gain[t], out=d_both[t])
        d_scaled = d_n[t] @ of_candidate
        torch.mul(d_scaled, of_r[t], out=d_r[t])
        torch.addcmul(asked[t], d_h[t + 1], carry[t], out=d_h[t]).addcmul_(d_scaled, r[t]).addmm_(d_gates[t], of_gates)
    before, rows = block.h[:-1].flatten(0, 1).t(), d_sums.flatten(0, 1)
    gradients.of_h[:, : 2 * size].addmm_(before, rows[:, : 2 * size])
    gradients.of_h[:, 2 * size :].addmm_(block.kept.flatten(0, 1).t(), rows[:, 2 * size :])
    return d_sums, d_h[0]


NO_RESET = Rung(_walk_no_reset, _back_no_reset)
NO_CARRY = Rung(_walk_no_carry, _back_no_carry)
RESET_BEFORE = Rung(_walk_reset_before, _back_reset_before)
