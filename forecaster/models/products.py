"""Products of many rows and a layer's weights by the faster of the two libraries that torch brings.

torch multiplies float32 matrices by MKL, which on a processor of another maker uses half of what that has; oneDNN, which torch
has for other number formats, uses all of it (0.29 against 0.63 us a row of 144 by 256, benchmarks/step_kernel.py). Its door is
not a public one, so nothing rests on it: who uses `linear` compares its bits with torch's own first (`tiles.py`);
training asks for no certain bits.
"""

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FEW_ROWS = 32  # up to here the call costs more than the product
LONGEST_SUM = 192  # terms that MKL 2024.2 adds up in one go; a longer sum is that of equal parts, and so it is here


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [B, D] times the weight [H, D], plus the bias [H]: a new tensor [B, H].

    >>> linear(torch.ones(2, 3), torch.ones(1, 3), torch.zeros(1)).tolist()
    [[3.0], [3.0]]
    """
    if len(x) <= FEW_ROWS or not _has_onednn():
        return F.linear(x, weight, bias)
    count = -(-x.shape[1] // LONGEST_SUM)
    if count == 1:
        return _by_onednn(x, weight.contiguous(), bias)
    first, *others = zip(x.chunk(count, dim=1), weight.chunk(count, dim=1), strict=True)
    total = _by_onednn(first[0], first[1].contiguous(), bias)
    for part in others:
        total += _by_onednn(part[0], part[1].contiguous(), None)
    return total


def trained_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x [..., D] times the weight [H, D], plus the bias [H], with gradients: `F.linear` but for rounding.

    >>> weight = torch.ones(1, 3, requires_grad=True)
    >>> trained_linear(torch.ones(2, 3), weight, torch.zeros(1)).sum().backward()
    >>> weight.grad.tolist()
    [[2.0, 2.0, 2.0]]
    """
    if not _is_for_onednn(x):
        return F.linear(x, weight, bias)
    product: Tensor = _Linear.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
    return product.view(*x.shape[:-1], len(weight))


def crossed(a: Tensor, b: Tensor) -> Tensor:
    """The products of columns [K, M] of a [N, K] and b [N, M], summed over rows.

    >>> crossed(torch.ones(2, 3), torch.ones(2, 1)).tolist()
    [[2.0], [2.0], [2.0]]
    """
    return _by_onednn(a.t(), b.t(), None) if _is_for_onednn(a) else a.t() @ b


class _Linear(torch.autograd.Function):
    """`trained_linear` of rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, asked: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        d_x = _by_onednn(asked, weight.t(), None) if ctx.needs_input_grad[0] else None
        return d_x, crossed(asked, x), asked.sum(0)


def _is_for_onednn(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.float32 and _has_onednn()


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@lru_cache(maxsize=1)
def _has_onednn() -> bool:
    """Whether this torch has the door, and behind it what is expected there."""
    x, weight, bias = torch.ones(2, 3), torch.eye(3)[:2].contiguous(), torch.zeros(2)
    try:
        return torch.equal(_by_onednn(x, weight, bias), torch.ones(2, 2))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):  # another version of torch, another processor
        return False
