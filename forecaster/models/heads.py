"""What is said of the future, from what the cell and the ring remember. Axes: L leads, Q quantiles, R ring size."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CENTRE_MARGIN = -3.0  # softplus of it, 0.05 spreads, is the distance between neighbouring quantiles before training


class QuantileHead(nn.Module):
    """The change from the seasonal-naive base, in spreads, at every lead and quantile; quantiles cannot cross.

    The median is a linear map of the context plus a small network's correction, all zero at first, so that an untrained
    head forecasts the base. Each neighbouring quantile is a positive step away from the one nearer to the median.

    >>> head = QuantileHead(6, head_size=8, horizon=3, quantiles=(0.1, 0.5, 0.9))
    >>> out = head(torch.ones(2, 6))
    >>> out.shape, out[0, 0].tolist()[1], bool((out.diff(dim=-1) > 0).all())
    (torch.Size([2, 3, 3]), 0.0, True)
    """

    def __init__(self, context: int, *, head_size: int, horizon: int, quantiles: tuple[float, ...]) -> None:
        super().__init__()
        self.horizon, self.count, self.middle = horizon, len(quantiles), quantiles.index(0.5)
        self.hidden = nn.Linear(context, head_size)
        self.out = nn.Linear(head_size, horizon * self.count)
        self.direct = nn.Linear(context, horizon)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.direct.weight)
        nn.init.zeros_(self.direct.bias)
        with torch.no_grad():
            bias = torch.full((horizon, self.count), CENTRE_MARGIN)
            bias[:, self.middle] = 0.0
            self.out.bias.copy_(bias.ravel())

    def forward(self, context: Tensor) -> Tensor:
        """[..., context] -> [..., L, Q]"""
        raw = self.out(F.silu(self.hidden(context))).unflatten(-1, (self.horizon, self.count))
        median = raw[..., self.middle] + self.direct(context)
        up = F.softplus(raw[..., self.middle + 1 :]).cumsum(-1)
        down = F.softplus(raw[..., : self.middle]).flip(-1).cumsum(-1).flip(-1)
        median = median.unsqueeze(-1)
        return torch.cat([median - down, median, median + up], dim=-1)
