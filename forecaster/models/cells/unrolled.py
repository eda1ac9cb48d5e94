"""Windows walked fast: one matrix product a step forwards, one backwards, and the gradients by hand.

Autograd would remember and replay each operation of each step. Here the products of the inputs are made for the whole window
at once, the gates are written over them, and on the way back the gradient of a unit's sums (what stands in the brackets of its
gates and its candidate) is the gradient of h times numbers that are known beforehand:

    d(sums)_t = dh_t * gain_t        dh_(t-1) = dh_t * carry_t + d(sums)_t U + gradient of the output at t - 1

Where a step sees gamma_t * h_(t-1) instead of h_(t-1), the first two terms are the gradient of that product. The weights'
gradients are products over blocks of steps, short enough to stay in the processor's cache.
Axes: B series, T time steps, D inputs, H units, G sums of a unit.

Source: backpropagation through time, Werbos 1990, doi:10.1109/5.58337.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

BLOCK_ROWS = 512  # steps times series that are worked on at once on the way back; benchmarks/cells.py
BLOCK_STEPS = 64  # of a walk without gradients, so that its memory does not grow with the gates of a long window
LEAST_UNITS = 12  # products of fewer columns give a row other bits in another place of the batch (MKL 2024.2)


class Block(NamedTuple):
    """Some steps of a window: what the walk left behind, and the gradient of their outputs."""

    gates: Tensor  # [T, B, G * H]
    kept: Tensor  # [T, B, H], or nothing [T, 0]
    h: Tensor  # [T + 1, B, H], the state before the first step included
    asked: Tensor  # [T, B, H]
    seen: Tensor  # [T, B, H], what was left of the state before each step


class Weights(NamedTuple):
    """What the state is multiplied with (or the gradients of it); what a rung has not is empty."""

    of_h: Tensor  # U [G * H, H], as gradient [H, G * H]
    own: Tensor  # [H] a vector with a meaning of the rung's own
    gamma: Tensor  # [T, B, H] what is left of the state before each step, as a share; where it is empty, all


class Rung(NamedTuple):
    """One rung's way through a window, forwards and backwards.

    walk(sums, h, weights) turns sums [T, B, G * H] into gates, fills h [T + 1, B, H] from h[0] on and returns what the way back
    needs besides. Each of its operations is on one step, so that a step gives the same bits in any window.
    back(block, after, weights, gradients) takes the gradient [B, H] of the state after the block, adds to the gradients and
    returns those of the sums [T, B, G * H] and of the state before the block.
    """

    walk: Callable[[Tensor, Tensor, Weights], Tensor]
    back: Callable[[Block, Tensor, Weights, Weights], tuple[Tensor, Tensor]]


def unroll(
    rung: Rung,
    x: Tensor,
    h: Tensor,
    *,
    of_x: Tensor,
    bias: Tensor,
    of_h: Tensor | None = None,
    own: Tensor | None = None,
    gamma: Tensor | None = None,
) -> Tensor:
    """Outputs [T, B, H] of x [T, B, D] from the state h [B, H], with of_x [G * H, D] and bias [G * H]; gamma is for TORCH_GRU.

    With gradients, the inputs' products are one for the whole window. Without, they are made step by step, so that steps,
    chunks and whole windows agree to the bit whatever the library makes of a large product.
    """
    nothing = h.new_empty(0)
    weights = Weights(*(nothing if part is None else part for part in (of_h, own, gamma)))
    if torch.is_grad_enabled():
        outputs: Tensor = _Unrolled.apply(rung, x, h, of_x, bias, *weights)  # type: ignore[no-untyped-call]
        return outputs
    size = h.shape[-1]
    if size < LEAST_UNITS:
        h, of_x, bias, weights = _widened(h, of_x, bias, weights, by=LEAST_UNITS - size)
    return _walk_by_steps(rung, x, h, of_x=of_x, bias=bias, weights=weights)[..., :size]


def _walk_by_steps(rung: Rung, x: Tensor, h: Tensor, *, of_x: Tensor, bias: Tensor, weights: Weights) -> Tensor:
    """Outputs [T, B, H], each from operations on its own step alone."""
    states = _states(x, h)
    for start in range(0, len(x), BLOCK_STEPS):
        part = x[start : start + BLOCK_STEPS]
        sums = x.new_empty(*part.shape[:2], len(bias))
        for inputs, into in zip(part.unbind(0), sums.unbind(0), strict=True):
            torch.addmm(bias, inputs, of_x.t(), out=into)
        gamma = weights.gamma[start : start + len(part)]
        rung.walk(sums, states[start : start + len(part) + 1], weights._replace(gamma=gamma))
    return states[1:]


def _widened(h: Tensor, of_x: Tensor, bias: Tensor, weights: Weights, *, by: int) -> tuple[Tensor, Tensor, Tensor, Weights]:
    """The same with so many more units, which are 0 and stay 0."""
    size = h.shape[-1]
    of_x = pad(of_x.reshape(-1, size, of_x.shape[1]), (0, 0, 0, by)).flatten(0, 1)
    bias = pad(bias.reshape(-1, size), (0, by)).flatten()
    of_h, own, gamma = weights
    if len(of_h):
        of_h = pad(of_h.reshape(-1, size, size), (0, by, 0, by)).flatten(0, 1)
    own, gamma = (pad(part, (0, by)) if len(part) else part for part in (own, gamma))
    return pad(h, (0, by)), of_x, bias, Weights(of_h, own, gamma)


class _Unrolled(torch.autograd.Function):
    """`unroll`, differentiable once."""

    @staticmethod
    def forward(ctx: Any, rung: Rung, x: Tensor, h: Tensor, of_x: Tensor, bias: Tensor, *weights: Tensor) -> Tensor:
        gates = torch.addmm(bias, x.flatten(0, 1), of_x.t()).view(*x.shape[:2], -1)
        states = _states(x, h)
        kept = rung.walk(gates, states, Weights(*weights))
        ctx.rung = rung
        ctx.save_for_backward(x, of_x, gates, kept, states, *weights)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, asked: Tensor) -> tuple[Tensor | None, ...]:
        x, of_x, gates, kept, states, *rest = ctx.saved_tensors
        weights = Weights(*rest)
        asked, d_h = asked.contiguous(), torch.zeros_like(states[0])
        d_x = torch.empty_like(x) if ctx.needs_input_grad[1] else None
        d_of_x, d_bias = of_x.new_zeros(of_x.shape[::-1]), of_x.new_zeros(len(of_x))
        of_h, own, gamma = weights
        gradients = Weights(of_h.new_zeros(of_h.shape[::-1]), torch.zeros_like(own), torch.empty_like(gamma))
        seen = states[:-1] * gamma if len(gamma) else states[:-1]
        length = max(BLOCK_ROWS // max(x.shape[1], 1), 1)
        for stop in range(len(x), 0, -length):
            steps = slice(max(stop - length, 0), stop)
            block = Block(gates[steps], kept[steps], states[steps.start : stop + 1], asked[steps], seen[steps])
            here = (part._replace(gamma=part.gamma[steps]) for part in (weights, gradients))
            d_sums, d_h = ctx.rung.back(block, d_h, *here)
            rows = d_sums.flatten(0, 1)
            d_of_x.addmm_(x[steps].flatten(0, 1).t(), rows)  # six times as fast as its transpose where inputs are few
            d_bias += rows.sum(0)
            if d_x is not None:
                torch.mm(rows, of_x, out=d_x[steps].flatten(0, 1))
        return None, d_x, d_h, d_of_x.t(), d_bias, gradients.of_h.t(), gradients.own, gradients.gamma


def _states(x: Tensor, h: Tensor) -> Tensor:
    """Room for the states [T + 1, B, H], with h as the first."""
    states = h.new_empty(len(x) + 1, *h.shape)
    states[0] = h
    return states


def unroll_back(
    block: Block, after: Tensor, *, gain: Tensor, carry: Tensor | None, of_h: Tensor, decay: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Gradients of h [T + 1, B, H], the one before the block first, and of the sums [T, B, G, H], for gain [T, B, G, H].

    Without `carry` nothing of the state is handed on; with an empty `of_h` no sum sees it. `decay`, for rungs with both, is
    gamma [T, B, H] and room for its gradient.
    """
    d_h, d_sums = torch.empty_like(block.h), torch.empty_like(gain)
    torch.add(block.asked[-1], after, out=d_h[-1])
    asked = (torch.zeros_like(after), *block.asked[:-1].unbind(0))
    now, wide = d_h.unbind(0), d_h.unsqueeze(2).unbind(0)
    sums, flat, gains = d_sums.unbind(0), d_sums.flatten(2).unbind(0), gain.unbind(0)
    carries = () if carry is None else carry.unbind(0)
    gammas, d_gammas = (part.unbind(0) for part in decay) if decay and len(decay[0]) else ((), ())
    for t in range(len(gains) - 1, -1, -1):
        torch.mul(wide[t + 1], gains[t], out=sums[t])
        if not carries:
            torch.addmm(asked[t], flat[t], of_h, out=now[t])
            continue
        if gammas:
            d_seen = torch.mul(now[t + 1], carries[t]).addmm_(flat[t], of_h)
            torch.mul(d_seen, block.h[t], out=d_gammas[t])
            torch.addcmul(asked[t], d_seen, gammas[t], out=now[t])
            continue
        torch.addcmul(asked[t], now[t + 1], carries[t], out=now[t])
        if len(of_h):
            now[t].addmm_(flat[t], of_h)
    return d_h, d_sums
