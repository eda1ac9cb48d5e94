"""The network: a cell that remembers and a head that speaks, on numbers that the scaler has brought to one unit.

Axes: B series, T time steps, D inputs of a step, C inputs of a lead, H units, R ring size, L leads, Q quantiles.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)
from torch import Tensor, nn
from torch.nn import functional as F

from forecaster.models.cells import GRU, LADDER, Cell
from forecaster.models.heads import Linear, QuantileHead
from forecaster.models.inputs import Inputs
from forecaster.models.scaler import Scaler

ALIGNED = 4  # what a head sees comes in so many numbers: else a product's last bits depend on the row (torch 2.13 on a CPU)
LEAST_MEMORY = 8  # steps that the longest memory begins with where seasons are shorter, or there are none
SWITCHES = ("residual", "chrono", "decay")


class ModelConfig(BaseModel):
    """What the network is made of.

    `members` networks of their own are averaged, quantile by quantile. Each costs its own training and its own step; on held-back
    values of M4 Hourly two were 1.3 % better than one (OWA), on Tourism and Quarterly three were 0.1 %, on ETTh1 0.8 %.

    `residual` lets each layer add to what it was given, from the second on; of one layer it changes nothing. `chrono` lets the
    gates begin with memories of up to the panel's longest season (plain smoothers with half-lives of up to that); a cell without
    a gate that keeps something begins as ever. `decay` lets the state of a `gru` decay where values are missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cell: Literal["smoothing", "adaptive", "no_carry", "gru_no_reset", "gru", "gru_reset_before", "rnn", "lstm"] = "gru"
    hidden_size: int = Field(default=128, ge=1, le=4096)
    layers: int = Field(default=1, ge=1, le=8)
    members: int = Field(default=2, ge=1, le=32)
    head_size: int = Field(default=256, ge=1, le=8192)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    residual: bool = False
    chrono: bool = False
    decay: bool = False

    @field_validator("decay")
    @classmethod
    def _can_decay(cls, decay: bool, others: ValidationInfo) -> bool:
        cell = others.data.get("cell", "gru")
        if decay and cell != "gru":
            raise ValueError(f"the cell {cell} has no decay. Set model.cell=gru, or model.decay=false")
        return decay

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """The settings, without switches that are off: fingerprints and keys from before there were any stay what they are."""
        return {name: value for name, value in write(self).items() if value or name not in SWITCHES}


class _Member(nn.Module):
    """A cell and its head.

    What is known of the leads reaches the head whole, and besides has an effect on each lead that is the same at all of them
    and begins with none: a promotion works tomorrow as it does next week.
    """

    def __init__(
        self, config: ModelConfig, scaler: Scaler, *, horizon: int, quantiles: tuple[float, ...], inputs: Inputs | None
    ) -> None:
        super().__init__()
        of_step, of_lead = (inputs.step_count, inputs.lead_count) if inputs else (0, 0)
        self.cell = _cell_of(config, scaler, inputs=scaler.feature_count + of_step)
        self.effect = nn.Parameter(torch.zeros(of_lead)) if of_lead else None
        context = self.cell.output_size + scaler.sight_count(horizon) + horizon * of_lead
        self.padding = -context % ALIGNED
        self.head = QuantileHead(
            context + self.padding,
            head_size=config.head_size,
            horizon=horizon,
            quantiles=quantiles,
            dropout=config.dropout,
        )

    def step(self, x: Tensor, state: Tensor, linear: Linear) -> Tensor:
        """The cell's state [B, S] after one step x [B, D]."""
        if isinstance(self.cell, GRU) and self.cell.has_step:
            return self.cell.step(x, state, linear)
        return self.cell(x[:, None], state)[1]

    def speak(self, memory: Tensor, sight: Tensor, leads: Tensor | None, linear: Linear) -> Tensor:
        """Changes from the base [..., L, Q]."""
        seen = [memory, sight, memory.new_zeros(*memory.shape[:-1], self.padding)]
        if self.effect is None or leads is None:
            return torch.as_tensor(self.head(torch.cat(seen, dim=-1), linear))
        change: Tensor = self.head(torch.cat([*seen, leads.flatten(-2)], dim=-1), linear)
        return change + (leads * self.effect).sum(-1, keepdim=True)


def _cell_of(config: ModelConfig, scaler: Scaler, *, inputs: int) -> Cell:
    settings: dict[str, Any] = {"residual": config.residual}
    if config.chrono:
        settings["memory"] = float(max((*scaler.season_lengths, LEAST_MEMORY)))
    if config.decay:
        settings["observed_at"] = scaler.feature_count - 1  # the last of the scaler's features; other inputs follow
    return LADDER[config.cell](inputs, hidden_size=config.hidden_size, layers=config.layers, **settings)


class Network(nn.Module):
    """From inputs [B, T, D] and what is in sight at an origin to changes from the base [..., L, Q], in spreads.

    Its members are networks of their own, each with a cell and a head; what they say is averaged, quantile by quantile, and
    what they remember lies side by side in one state. `inputs` is what they see beside the values.

    >>> from forecaster.models.holt_winters import HoltWinters
    >>> base = HoltWinters(level=0.1, slope=0.0, season=0.1, damping=0.9, length=4)
    >>> scaler = Scaler("log", (4,), base, ring_size=9, least_spread=1e-3)
    >>> network = Network(ModelConfig(hidden_size=4, members=2), scaler, horizon=3, quantiles=(0.1, 0.5, 0.9))
    >>> memory, _ = network.remember(torch.zeros(2, 5, scaler.feature_count), network.initial_state(2))
    >>> network.speak(memory, torch.zeros(2, 5, 16)).shape
    torch.Size([2, 5, 3, 3])
    """

    def __init__(
        self,
        config: ModelConfig,
        scaler: Scaler,
        *,
        horizon: int,
        quantiles: tuple[float, ...],
        inputs: Inputs | None = None,
    ) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            _Member(config, scaler, horizon=horizon, quantiles=quantiles, inputs=inputs) for _ in range(config.members)
        )
        cell = self.member(0).cell
        self.state_size, self.output_size = (config.members * size for size in (cell.state_size, cell.output_size))

    def member(self, number: int) -> "_Member":
        """One of the networks."""
        member = self.members[number]
        assert isinstance(member, _Member)
        return member

    def initial_state(self, count: int) -> Tensor:
        """The state [B, S] before the first step."""
        weight = self.member(0).head.hidden.weight
        return torch.zeros(count, self.state_size, dtype=weight.dtype, device=weight.device)

    def remember(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [B, T, H] after each step, and the state [B, S] after the last."""
        parts = [one.cell(features, part) for one, part in self._each(state)]
        if len(parts) == 1:
            return parts[0]
        return torch.cat([outputs for outputs, _ in parts], dim=-1), torch.cat([after for _, after in parts], dim=-1)

    def step(self, x: Tensor, state: Tensor, linear: Linear = F.linear) -> Tensor:
        """The state [B, S] after one step x [B, D], without gradients: `remember` in fewer calls, its products by `linear`."""
        after = [one.step(x, part, linear) for one, part in self._each(state)]
        return after[0] if len(after) == 1 else torch.cat(after, dim=-1)

    def recall(self, state: Tensor) -> Tensor:
        """The last outputs [B, H], read from the state [B, S]."""
        return torch.cat([one.cell.output(part) for one, part in self._each(state)], dim=-1)

    def speak(self, memory: Tensor, sight: Tensor, leads: Tensor | None = None, linear: Linear = F.linear) -> Tensor:
        """Changes from the base [..., L, Q] at origins with outputs [..., H], `sight` of the past and `leads` [..., L, C]."""
        said = [one.speak(part, sight, leads, linear) for one, part in self._each(memory)]
        return said[0] if len(said) == 1 else torch.stack(said).mean(0)

    def widen(self, stretch: float) -> None:
        """Widen (or narrow) all intervals."""
        for number in range(len(self.members)):
            self.member(number).head.stretch.mul_(stretch)

    def begin_at(self, sizes: list[float]) -> None:
        """Let the untrained heads say errors of these mean absolute values [L], in spreads."""
        for number in range(len(self.members)):
            self.member(number).head.begin_at(sizes)

    def _each(self, row: Tensor) -> Iterator[tuple["_Member", Tensor]]:
        """Each member with its part of a state or of outputs."""
        parts = row.chunk(len(self.members), dim=-1)
        return ((self.member(number), part) for number, part in enumerate(parts))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """torch on so many threads of the processor, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
