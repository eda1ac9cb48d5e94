"""What is known of the leads after any position of a panel, laid out once and looked up for many origins at a time.

Axes: B series, O origins, L leads, K covariates (and the holidays), C inputs of a lead.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecaster.models.calendar import Float32
from forecaster.models.columns import CLIP
from forecaster.models.inputs import Inputs
from forecaster.series import Panel, spread_out


class LeadTable:
    """`Inputs.leads` of every position of a panel, without its memory: a row for each position and not for each lead.

    A series has rows from the season before its first position to the horizon after its last one.
    """

    def __init__(self, inputs: Inputs, panel: Panel, *, horizon: int, base_season: int) -> None:
        before = base_season - 1
        lengths = before + panel.lengths + horizon
        index, positions = spread_out(panel.starts - before, lengths)
        values = inputs.known_at(panel, index, positions[:, None])
        columns = [(scale.of(part[:, 0]), scale.in_changes(part[:, 0])) for scale, part in zip(inputs.known, values, strict=True)]
        if inputs.calendar.country is not None:
            holidays = inputs.calendar.holidays(positions)
            columns.append((holidays, holidays))
        self.then = _beside([then for then, _ in columns], len(positions))
        self.level = _beside([level for _, level in columns], len(positions))
        self.is_base_shown = inputs.calendar.country is not None
        self.first = torch.from_numpy(np.cumsum(lengths) - lengths + before)
        self.ahead = torch.arange(1, horizon + 1)
        self.base = 1 - base_season + torch.arange(horizon) % base_season

    def at(self, series: Tensor, steps: Tensor) -> Tensor:
        """The leads [B, O, L, C] after steps [B, O] into the given series [B]."""
        rows = (self.first[series][:, None] + steps)[:, :, None]
        then, base = self.then[rows + self.ahead], self.level[rows + self.base]
        change = (self.level[rows + self.ahead] - base).nan_to_num(0.0).clamp(-CLIP, CLIP)
        if self.is_base_shown:
            change[..., -1] = base[..., -1]
        return torch.stack([then, change], dim=-1).flatten(-2)


def _beside(columns: list[Float32], count: int) -> Tensor:
    """The columns beside each other [count, K]."""
    table: NDArray[np.float32] = np.stack(columns, axis=1) if columns else np.zeros((count, 0), dtype=np.float32)
    return torch.from_numpy(table)
