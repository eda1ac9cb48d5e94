"""Real steps of a network worked out: each formula beside its numbers, unit by unit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecaster.errors import ConfigError, DataError
from forecaster.explain.conventions import Convention, Formula, formulas_of, numbers_of, words_of
from forecaster.explain.formulas import Layer, Step, read_layers
from forecaster.explain.gates import cell_of, input_names, input_steps, is_residual, outputs_of, walk_cell
from forecaster.explain.plain import plain
from forecaster.explain.telling import MOST_TELLING, sentence_of, telling_units
from forecaster.models.recurrent import Recurrent
from forecaster.series import Origins, Panel, Values

OF_DECAY = ("Where no value was observed, h is what decay has left of the h' before.",)


@dataclass(frozen=True)
class UnitStep:
    """One unit in one step: every number under the name that the formulas use, and what there is to see. Units count from 1."""

    unit: int
    numbers: dict[str, float]
    sentence: str


@dataclass(frozen=True)
class TracedStep:
    """One step of a layer: what was observed (None: nothing), what it saw [D], and the units.

    `difference` is how far the states worked out here, in float64, lie from those that the network itself arrives at in float32.
    """

    timestamp: str
    y: float | None
    x: tuple[float, ...]
    units: tuple[UnitStep, ...]
    difference: float


@dataclass(frozen=True)
class Trace:
    """Steps of one series in one layer of one member (both count from 1), in one convention.

    `inputs` are the names of `x`: of what the scaler and the calendar say in the lowest layer, of units above it.
    """

    unique_id: str
    rung: str
    member: int
    members: int
    layer: int
    layers: int
    hidden_size: int
    convention: Convention
    formulas: tuple[Formula, ...]
    words: tuple[str, ...]
    inputs: tuple[str, ...]
    steps: tuple[TracedStep, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it; a formula's `text` stands beside its pattern."""
        formulas = [{**asdict(formula), "text": formula.text} for formula in self.formulas]
        return {**plain(self), "formulas": formulas}


def trace(
    recurrent: Recurrent,
    panel: Panel,
    unique_id: str,
    position: int,
    *,
    steps: int = 2,
    units: Sequence[int] | None = None,
    most: int = MOST_TELLING,
    member: int = 1,
    layer: int = 1,
    convention: Convention = "paper",
) -> Trace:
    """The step that takes in the series' value at `position`, and those after it, as far as the series goes.

    Each begins with the network's own state. `units` (from 1) are those to show; without them the `most` telling ones. Raises
    DataError for a series or a position that the panel has not, ConfigError for a member, layer or unit that the network has not.
    """
    b = _place(panel, unique_id)
    _check_position(panel, b, position)
    cell = cell_of(recurrent, _within(member, recurrent.config.members, "member") - 1)
    layers = read_layers(cell, recurrent.name)
    own = layers[_within(layer, len(layers), "layer") - 1]
    for unit in units or ():
        _within(unit, own.hidden_size, "unit")
    walk = _Walk.of(recurrent, panel.select([b]), position, steps, layers=layers, member=member)
    here = [parts[layer - 1] for parts in walk.done]
    chosen = [unit - 1 for unit in dict.fromkeys(units)] if units else telling_units(own, here, count=most)
    below = tuple(f"unit {k + 1} of layer {layer - 1}" for k in range(own.of_x.shape[2]))
    return Trace(
        unique_id,
        recurrent.name,
        member,
        recurrent.config.members,
        layer,
        len(layers),
        own.hidden_size,
        convention,
        formulas_of(recurrent.name, convention),
        words_of(recurrent.name, convention) + (OF_DECAY if recurrent.config.decay else ()),
        input_names(recurrent) if layer == 1 else below,
        tuple(
            TracedStep(
                label,
                None if np.isnan(y) else float(y),
                tuple(seen[layer - 1][0].tolist()),
                tuple(_unit_step(own, parts[layer - 1], unit, convention) for unit in chosen),
                difference,
            )
            for label, y, seen, parts, difference in zip(
                walk.labels, walk.values, walk.seen, walk.done, walk.differences, strict=True
            )
        ),
    )


@dataclass(frozen=True)
class _Walk:
    """Some steps of one series in one member: what each layer saw and did, and how far that is from the network itself."""

    labels: list[str]
    values: Values
    seen: list[tuple[Tensor, ...]]
    done: list[tuple[Step, ...]]
    differences: list[float]

    @classmethod
    def of(
        cls, recurrent: Recurrent, only: Panel, position: int, steps: int, *, layers: tuple[Layer, ...], member: int
    ) -> "_Walk":
        first = position - int(only.starts[0])
        known = np.arange(first, min(first + steps, int(only.lengths[0])))
        x, skip = input_steps(recurrent, only)
        if first < skip[0]:
            begins = only.frequency.labels(only.starts + skip).iloc[0]
            raise DataError(
                f"series {only.ids[0]!r} has no value before {begins}, and a network begins with the first one. "
                "Choose a later --at."
            )
        states = _own_states(recurrent, only, known, member=member)
        cell = cell_of(recurrent, member - 1)
        seen, done, differences = [], [], []
        for k, t in enumerate(known.tolist()):
            now = torch.from_numpy(x[[t]])
            done.append(walk_cell(cell, layers, now, states[[k]]))
            seen.append((now, *outputs_of(layers, done[-1], is_residual=is_residual(cell))))
            after = torch.cat([part.after for part in done[-1]], dim=1)
            differences.append(float((after - states[[k + 1]]).abs().max()))
        labels = only.frequency.labels(only.starts[0] + known).astype(str).tolist()
        return cls(labels, only.values[known], seen, done, differences)


def _own_states(recurrent: Recurrent, only: Panel, known: NDArray[np.int64], *, member: int) -> Tensor:
    """The member's own states before each of the steps and after the last [K + 1, S]."""
    whole = np.append(known, known[-1] + 1)
    asked = np.maximum(whole, 1)
    states = recurrent.states_at(only, Origins(np.zeros(len(asked), dtype=np.int64), asked))[:, recurrent.memory]
    states[whole == 0] = 0
    return torch.from_numpy(states.astype(np.float64)).chunk(recurrent.config.members, dim=1)[member - 1]


def _unit_step(layer: Layer, done: Step, unit: int, convention: Convention) -> UnitStep:
    sentence = sentence_of(layer, done, unit, is_turned=convention == "torch")
    return UnitStep(unit + 1, numbers_of(layer, done, unit, convention), sentence)


def _place(panel: Panel, unique_id: str) -> int:
    if unique_id not in panel.ids:
        some = ", ".join(panel.ids[:3])
        raise DataError(f"series {unique_id!r} is not in the panel, which has {len(panel):,} such as {some}. Check --series.")
    return panel.ids.index(unique_id)


def _check_position(panel: Panel, b: int, position: int) -> None:
    start, end = int(panel.starts[b]), int(panel.ends[b])
    if not start <= position <= end:
        asked, first, last = panel.frequency.labels(np.array([position, start, end]))
        where = "before it begins" if position < start else "after its end"
        raise DataError(
            f"series {panel.ids[b]!r}: {asked} lies {where}; it goes from {first} to {last}. Choose an --at among these."
        )


def _within(number: int, count: int, what: str) -> int:
    if not 1 <= number <= count:
        there = f"{what}s 1 to {count}. Choose --{what} among them" if count > 1 else f"one {what}. Leave --{what} out"
        raise ConfigError(f"{what} {number} was asked for, and the network has {there}.")
    return number
