"""What is said of the future, from what the cell and the ring remember. Axes: L leads, Q quantiles, R ring size."""

from itertools import pairwise
from math import expm1, log, pi, sqrt
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN_TO_DEVIATION = sqrt(pi / 2)  # a Gaussian's standard deviation, in mean absolute values


class QuantileHead(nn.Module):
    """The change from the seasonal-naive base, in spreads, at every lead and quantile; quantiles cannot cross.

    The median is a linear map of the context plus a small network's correction, all zero at first; each neighbouring quantile
    is a positive step away from the one nearer to the median, as wide at first as Gaussian errors of the seasonal naive with
    `season` make it. An untrained head is thus the seasonal naive with its intervals. `stretch` widens or narrows all intervals;
    it is not trained but set afterwards, on values that training has not seen.

    >>> head = QuantileHead(6, head_size=8, horizon=3, quantiles=(0.1, 0.5, 0.9), season=1)
    >>> out = head(torch.zeros(2, 6))
    >>> out.shape, [[round(x, 2) for x in row] for row in out[0].tolist()]
    (torch.Size([2, 3, 3]), [[-1.61, 0.0, 1.61], [-2.27, 0.0, 2.27], [-2.78, 0.0, 2.78]])
    """

    stretch: Tensor

    def __init__(
        self,
        context: int,
        *,
        head_size: int,
        horizon: int,
        quantiles: tuple[float, ...],
        season: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.horizon, self.count, self.middle = horizon, len(quantiles), quantiles.index(0.5)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(context, head_size)
        self.out = nn.Linear(head_size, horizon * self.count)
        self.direct = nn.Linear(context, horizon)
        self.register_buffer("stretch", torch.ones(()))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.direct.bias)
        with torch.no_grad():
            self.out.bias.copy_(_first_bias(horizon, quantiles, season).ravel())

    def forward(self, context: Tensor) -> Tensor:
        """[..., context] -> [..., L, Q]"""
        context = self.dropout(context)
        raw = self.out(self.dropout(F.silu(self.hidden(context)))).unflatten(-1, (self.horizon, self.count))
        median = raw[..., self.middle] + self.direct(context)
        up = self.stretch * F.softplus(raw[..., self.middle + 1 :]).cumsum(-1)
        down = self.stretch * F.softplus(raw[..., : self.middle]).flip(-1).cumsum(-1).flip(-1)
        median = median.unsqueeze(-1)
        return torch.cat([median - down, median, median + up], dim=-1)


def _first_bias(horizon: int, quantiles: tuple[float, ...], season: int) -> Tensor:
    """What softplus turns into Gaussian steps [L, Q]: standard errors grow with the root of the seasons ahead."""
    z = [NormalDist().inv_cdf(q) for q in quantiles]
    steps = [upper - lower for lower, upper in pairwise(z)]
    middle = quantiles.index(0.5)
    steps.insert(middle, 0.0)
    bias = torch.zeros(horizon, len(quantiles))
    for lead in range(horizon):
        deviation = MEAN_TO_DEVIATION * sqrt(lead // season + 1)
        bias[lead] = torch.tensor([log(expm1(step * deviation)) if step else 0.0 for step in steps])
    return bias
