"""A network's gates over a whole panel, step by step, and what is counted of them.

Axes: B series, H units.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forecaster.explain.formulas import Layer, Step, read_layers, step
from forecaster.models.cells import GRU
from forecaster.models.recurrent import Recurrent
from forecaster.series import Panel, Values

Progress = Callable[[int, int, str], None]

CLOSED, OPEN = 0.1, 0.9  # a reset gate below lets the candidate ignore the past; an update gate above replaces the state
STEPS_BETWEEN_WORDS = 200


def input_names(recurrent: Recurrent) -> tuple[str, ...]:
    """What the lowest layer sees at each step [D], in the words of `Scaler.features` and `Inputs.steps`."""
    names = ["value against its level", "change from the value before"]
    names += ["error of the base", "next value of the base, against the level"]
    for m in recurrent.scaler.season_lengths:
        names += [f"value {m} before the next, against the level", f"change over {m} steps"]
    names += ["amplitude", "volatility", "age", "in logarithms", "observed"]
    inputs = recurrent.inputs
    names += [f"{column} of the next" for column in inputs.calendar.columns]
    names += [f"{scale.name} of the next" for scale in inputs.known] + [scale.name for scale in inputs.numbers]
    return (*names, *(f"{column.name} is {text}" for column in inputs.texts for text in column.texts))


def cell_of(recurrent: Recurrent, number: int) -> nn.Module:
    """The cell of one of the networks, counted from 0."""
    cell = recurrent.network.member(number).cell
    assert isinstance(cell, nn.Module)
    return cell


def input_steps(recurrent: Recurrent, panel: Panel) -> tuple[Values, NDArray[np.int64]]:
    """The inputs at every position of the panel [N, D], and how many positions of each series come before its first value [B]."""
    walk = recurrent.walk(panel)
    x = np.concatenate([walk.features, recurrent.inputs.steps(panel)], axis=1).astype(np.float64)
    young = walk.age == 0
    return x, np.array([int(young[panel.offsets[b] : panel.offsets[b + 1]].sum()) for b in range(len(panel))], dtype=np.int64)


def walk_layers(layers: tuple[Layer, ...], x: Tensor, state: Tensor, *, is_residual: bool) -> tuple[Step, ...]:
    """One step of layers on top of each other, from inputs x [B, D] and the state [B, S] of all of them."""
    steps: list[Step] = []
    for layer, own in zip(layers, state.chunk(len(layers), dim=1), strict=True):
        below = outputs_of(layers, steps, is_residual=is_residual)[-1] if steps else x
        steps.append(step(layer, below, own))
    return tuple(steps)


def left_of(cell: nn.Module, state: Tensor, x: Tensor) -> Tensor:
    """What is left of a cell's state [B, S] before a step x [B, D]: all, but where it decays and nothing was observed."""
    with torch.no_grad():
        return cell.decayed(x, state) if isinstance(cell, GRU) else state


def walk_cell(cell: nn.Module, layers: tuple[Layer, ...], x: Tensor, state: Tensor) -> tuple[Step, ...]:
    """One step of a cell's layers from what is left of its state."""
    return walk_layers(layers, x, left_of(cell, state, x), is_residual=is_residual(cell))


def is_residual(cell: nn.Module) -> bool:
    """Whether the cell's layers add to what they were given."""
    return bool(getattr(cell, "residual", False))


def outputs_of(layers: Sequence[Layer], steps: Sequence[Step], *, is_residual: bool) -> list[Tensor]:
    """What each of the steps' layers hands on [B, H]: its own state h, added to what it was given where layers are residual."""
    outputs: list[Tensor] = []
    for layer, done in zip(layers, steps, strict=False):
        h = done.after[:, : layer.hidden_size]
        outputs.append(outputs[-1] + h if is_residual and outputs else h)
    return outputs


@dataclass
class GateCounts:
    """What is counted of one layer's gates: sums over the steps of each series [B, H], in float64.

    `age` is how old what a unit holds is, in steps: what stays grows older by one. Shares that enter are weighted with it in
    `forgotten`, so that `forgotten / aged` is the weight of the exponential smoother whose content is as old (`timescales`).
    """

    layer: Layer
    steps: Tensor  # [B]
    age: Tensor
    aged: Tensor
    forgotten: Tensor
    sums: dict[str, Tensor]  # of each gate
    squares: Tensor  # of the share that enters
    entered: Tensor
    replaced: Tensor
    closed: Tensor  # of the reset gate

    @classmethod
    def of(cls, layer: Layer, count: int) -> "GateCounts":
        def nothing() -> Tensor:
            return torch.zeros(count, layer.hidden_size, dtype=torch.float64)

        sums = {gate: nothing() for gate in layer.gates}
        steps = torch.zeros(count, dtype=torch.float64)
        return cls(layer, steps, nothing(), nothing(), nothing(), sums, nothing(), nothing(), nothing(), nothing())

    def add(self, count: int, done: Step) -> None:
        """Count one step of the first `count` series."""
        rows, enters = slice(0, count), done.enters(self.layer)
        older = self.age[rows] + 1
        self.steps[rows] += 1
        self.aged[rows] += older
        self.forgotten[rows] += enters * older
        self.age[rows] = done.stays(self.layer) * older
        for k, gate in enumerate(self.layer.gates):
            self.sums[gate][rows] += done.gates[:, k]
        self.entered[rows] += enters
        self.squares[rows] += enters**2
        self.replaced[rows] += enters >= OPEN
        if "r" in self.layer.gates:
            self.closed[rows] += done.gate(self.layer, "r") <= CLOSED

    def select(self, rows: Tensor) -> "GateCounts":
        """The counts of the series at `rows`, in that order."""
        parts = (self.steps, self.age, self.aged, self.forgotten, self.squares, self.entered, self.replaced, self.closed)
        steps, age, aged, forgotten, squares, entered, replaced, closed = (part[rows] for part in parts)
        sums = {gate: part[rows] for gate, part in self.sums.items()}
        return GateCounts(self.layer, steps, age, aged, forgotten, sums, squares, entered, replaced, closed)

    def mean(self, gate: str) -> Tensor:
        """A gate's mean over all steps of all series [H]."""
        return self.sums[gate].sum(0) / self.steps.sum()


def count_gates(recurrent: Recurrent, panel: Panel, *, progress: Progress | None = None) -> tuple[tuple[GateCounts, ...], ...]:
    """What the gates of each member's layers do over the panel, each series from its first observed value to its end."""
    x, skip = input_steps(recurrent, panel)
    members = [cell_of(recurrent, number) for number in range(recurrent.config.members)]
    layers = [read_layers(cell, recurrent.name) for cell in members]
    counts = [tuple(GateCounts.of(layer, len(panel)) for layer in one) for one in layers]
    sizes = [sum(layer.state_size for layer in one) for one in layers]
    states = [torch.zeros(len(panel), size, dtype=torch.float64) for size in sizes]
    lengths = panel.lengths - skip
    order = np.argsort(-lengths, kind="stable")  # those that still go on are the first so many
    first, lengths = (panel.offsets[:-1] + skip)[order], lengths[order]
    longest = int(lengths.max(initial=0))
    for t in range(longest):
        alive = int(np.searchsorted(-lengths, -t))
        now = torch.from_numpy(x[first[:alive] + t])
        for number, cell in enumerate(members):
            steps = walk_cell(cell, layers[number], now, states[number][:alive])
            states[number][:alive] = torch.cat([done.after for done in steps], dim=1)
            for count, done in zip(counts[number], steps, strict=True):
                count.add(alive, done)
        if progress and t % STEPS_BETWEEN_WORDS == 0:
            progress(t, longest, "gates")
    back = torch.from_numpy(np.argsort(order))
    return tuple(tuple(count.select(back) for count in one) for one in counts)
