"""Products of many rows and a layer's weights, without gradients, by the faster of the two libraries that torch brings.

torch multiplies float32 matrices by MKL, which on a processor of another maker uses half of what that has; oneDNN, which torch
has for other number formats, uses all of it (0.29 against 0.63 us a row of 144 by 256, benchmarks/step_kernel.py). Its door is
not a public one, so nothing rests on it: who uses `linear` compares its bits with torch's own first (`tiles.py`).
"""

from functools import lru_cache

import torch
from torch import Tensor
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
        return _by_onednn(x, weight, bias)
    first, *others = zip(x.chunk(count, dim=1), weight.chunk(count, dim=1), strict=True)
    total = _by_onednn(*first, bias)
    for part in others:
        total += _by_onednn(*part, None)
    return total


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight.contiguous(), bias, "none", [], "")
    return product


@lru_cache(maxsize=1)
def _has_onednn() -> bool:
    """Whether this torch has the door, and behind it what is expected there."""
    x, weight, bias = torch.ones(2, 3), torch.eye(3)[:2].contiguous(), torch.zeros(2)
    try:
        return torch.equal(_by_onednn(x, weight, bias), torch.ones(2, 2))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):  # another version of torch, another processor
        return False
