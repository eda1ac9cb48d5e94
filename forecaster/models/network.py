"""The network: a cell that remembers and a head that speaks, on numbers that the scaler has brought to one unit.

Axes: B series, T time steps, D inputs, H units, R ring size, L leads, Q quantiles.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from forecaster.models.cells import LADDER
from forecaster.models.heads import QuantileHead
from forecaster.models.scaler import CONTEXT, Scaler


class ModelConfig(BaseModel):
    """What the network is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Literal["smoothing", "adaptive", "no_carry", "gru_no_reset", "gru", "gru_reset_before", "rnn", "lstm"] = "gru"
    hidden_size: int = Field(default=128, ge=1, le=4096)
    layers: int = Field(default=1, ge=1, le=8)
    head_size: int = Field(default=256, ge=1, le=8192)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class Network(nn.Module):
    """From features [B, T, D], rings [..., R] and contexts [..., C] to changes from the base [..., L, Q], in spreads.

    >>> scaler = Scaler("log", (4,), base_season=4, ring_size=9, least_value=1e-3, least_spread=1e-3)
    >>> network = Network(ModelConfig(hidden_size=4), scaler, horizon=3, quantiles=(0.1, 0.5, 0.9))
    >>> memory, _ = network.remember(torch.zeros(2, 5, scaler.feature_count), network.initial_state(2))
    >>> network.speak(memory, torch.zeros(2, 5, 9), torch.zeros(2, 5, 3)).shape
    torch.Size([2, 5, 3, 3])
    """

    def __init__(self, config: ModelConfig, scaler: Scaler, *, horizon: int, quantiles: tuple[float, ...]) -> None:
        super().__init__()
        self.cell = LADDER[config.cell](scaler.feature_count, hidden_size=config.hidden_size, layers=config.layers)
        context = len(range(*CONTEXT.indices(scaler.feature_count)))
        self.head = QuantileHead(
            self.cell.output_size + scaler.ring_size + context,
            head_size=config.head_size,
            horizon=horizon,
            quantiles=quantiles,
            season=scaler.base_season,
            dropout=config.dropout,
        )

    def initial_state(self, count: int) -> Tensor:
        """The cell's state [B, S] before the first step."""
        weight = self.head.hidden.weight
        return torch.zeros(count, self.cell.state_size, dtype=weight.dtype, device=weight.device)

    def remember(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [B, T, H] after each step, and the state [B, S] after the last."""
        outputs, after = self.cell(features, state)
        return outputs, after

    def speak(self, memory: Tensor, ring: Tensor, context: Tensor) -> Tensor:
        """Changes from the base [..., L, Q] at origins with outputs [..., H], scaled rings [..., R] and context [..., C]."""
        changes: Tensor = self.head(torch.cat([memory, ring, context], dim=-1))
        return changes


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch on so many threads of the processor, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
