"""What is said of the future, from what the cell and the ring remember. Axes: L leads, Q quantiles, R ring size."""

from collections.abc import Callable
from itertools import pairwise
from math import expm1, log, pi, sqrt
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Linear = Callable[[Tensor, Tensor, Tensor], Tensor]  # rows, weight, bias

MEAN_TO_DEVIATION = sqrt(pi / 2)  # a Gaussian's standard deviation, in mean absolute values


class QuantileHead(nn.Module):
    """The change from the base forecast, in spreads, at every lead and quantile; quantiles cannot cross.

    The median is a linear map of the context plus a small network's correction, all zero at first; each neighbouring quantile
    is a positive step away from the one nearer to the median, as wide at first as Gaussian errors of a given size. An
    untrained head is thus the base forecast with its intervals. `stretch` widens or narrows all intervals; it is not trained
    but set afterwards, on values that training has not seen.

    >>> head = QuantileHead(6, head_size=8, horizon=3, quantiles=(0.1, 0.5, 0.9))
    >>> head.begin_at([1.0, 2.0, 3.0])
    >>> [[round(x, 2) for x in row] for row in head(torch.zeros(6)).tolist()]
    [[-1.61, 0.0, 1.61], [-3.21, 0.0, 3.21], [-4.82, 0.0, 4.82]]
    """

    stretch: Tensor

    def __init__(
        self,
        context: int,
        *,
        head_size: int,
        horizon: int,
        quantiles: tuple[float, ...],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.quantiles, self.horizon, self.count = quantiles, horizon, len(quantiles)
        self.middle = quantiles.index(0.5)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(context, head_size)
        self.out = nn.Linear(head_size, horizon * self.count)
        self.direct = nn.Linear(context, horizon)
        self.register_buffer("stretch", torch.ones(()))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.direct.bias)
        self.begin_at([1.0] * horizon)

    def begin_at(self, sizes: list[float]) -> None:
        """Let the untrained head say Gaussian errors of these mean absolute values [L], in spreads."""
        with torch.no_grad():
            self.out.bias.copy_(_gaussian_bias(sizes, self.quantiles).ravel())

    def repeat_lead(self, lead: int) -> None:
        """Let all leads after this one (from 1) say what it says, with intervals that widen as the root of the distance.

        >>> head = QuantileHead(6, head_size=8, horizon=4, quantiles=(0.1, 0.5, 0.9))
        >>> head.repeat_lead(1)
        >>> [round(x, 2) for x in head(torch.zeros(6))[:, 2].tolist()]
        [1.61, 2.27, 2.78, 3.21]
        """
        weight, bias = self.out.weight.view(self.horizon, self.count, -1), self.out.bias.view(self.horizon, self.count)
        is_width = torch.arange(self.count) != self.middle
        with torch.no_grad():
            for later in range(lead, self.horizon):
                wider = sqrt((later + 1) / lead)
                weight[later], bias[later] = weight[lead - 1], bias[lead - 1]
                weight[later, is_width] *= wider
                width = wider * F.softplus(bias[lead - 1, is_width])
                bias[later, is_width] = width + (-torch.expm1(-width)).clamp(min=1e-30).log()
                self.direct.weight[later], self.direct.bias[later] = self.direct.weight[lead - 1], self.direct.bias[lead - 1]

    def forward(self, context: Tensor, linear: Linear = F.linear) -> Tensor:
        """[..., context] -> [..., L, Q], with products by `linear`."""
        context = self.dropout(context)
        hidden = self.dropout(F.silu(linear(context, self.hidden.weight, self.hidden.bias)))
        raw = linear(hidden, self.out.weight, self.out.bias)
        widths = (self.stretch * F.softplus(raw)).view(*raw.shape[:-1], self.horizon, self.count).unbind(-1)
        median = raw[..., self.middle :: self.count] + linear(context, self.direct.weight, self.direct.bias)
        quantiles = [median]
        for width in widths[self.middle + 1 :]:
            quantiles.append(quantiles[-1] + width)
        for width in reversed(widths[: self.middle]):
            quantiles.insert(0, quantiles[0] - width)
        return torch.stack(quantiles).movedim(0, -1)  # a view: what follows works on whole rows of leads


def _gaussian_bias(sizes: list[float], quantiles: tuple[float, ...]) -> Tensor:
    """What softplus turns into the steps [L, Q] between a Gaussian's quantiles, of these mean absolute values [L]."""
    z = [NormalDist().inv_cdf(q) for q in quantiles]
    steps = [upper - lower for lower, upper in pairwise(z)]
    middle = quantiles.index(0.5)
    steps.insert(middle, 0.0)
    bias = torch.zeros(len(sizes), len(quantiles))
    for lead, size in enumerate(sizes):
        widths = [max(step * MEAN_TO_DEVIATION * size, 1e-3) if step else log(2.0) for step in steps]
        bias[lead] = torch.tensor([width + log(-expm1(-width)) for width in widths])
    return bias
