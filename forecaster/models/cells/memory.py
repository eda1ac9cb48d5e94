"""How long a unit remembers to begin with."""

from collections.abc import Sequence
from math import log

import torch
from torch import Tensor


def logits_to_stay(count: int, memory: float) -> Tensor:
    """Logits [count] of shares of the state that stay, so that the units forget over 1 to `memory` steps (chrono).

    log u for u uniform on (1, memory - 1): the share u / (1 + u) stays, which is a mean age of 1 + u steps. Where a gate says
    what enters, its logit is the opposite.

    Source: Tallec and Ollivier 2018, arXiv:1804.11188.

    >>> shares = torch.sigmoid(logits_to_stay(1000, 24.0))
    >>> bool((shares >= 1 / 2).all()), bool((shares <= 23 / 24).all())
    (True, True)
    """
    assert memory > 2, f"a memory of {memory} steps leaves nothing to draw from"
    return torch.empty(count).uniform_(1, memory - 1).log_()


def half_lives(count: int, longest: float, season_lengths: Sequence[int] = ()) -> Tensor:
    """Half-lives [count] in steps, evenly spread in logarithms from 1/2 to `longest`; season lengths take the nearest places.

    >>> half_lives(5, 8.0).tolist()
    [0.5, 1.0, 2.0, 4.0, 8.0]
    >>> half_lives(5, 8.0, season_lengths=(7,)).tolist()
    [0.5, 1.0, 2.0, 4.0, 7.0]
    """
    steps = torch.logspace(log(0.5), log(longest), count, base=torch.e, dtype=torch.float64)
    for season_length in season_lengths:
        steps[(steps.log() - log(season_length)).abs().argmin()] = season_length
    return steps.sort().values.float()


def logits_to_enter(half_life: Tensor) -> Tensor:
    """Logits of the share z that enters where half of the state has gone after `half_life` steps: (1 - z) ** half_life = 1/2.

    >>> torch.sigmoid(logits_to_enter(torch.tensor([1.0, 2.0])))
    tensor([0.5000, 0.2929])
    """
    return torch.expm1(log(2) / half_life).log()
