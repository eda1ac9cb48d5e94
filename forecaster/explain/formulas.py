"""The rungs' published formulas in plain steps, with every number in sight.

Cells are written to be fast; what stands here is what they promise, one operation after the other, from the same weights. In a
`Layer` all rungs look alike: z is the share of the candidate that enters, as everywhere in this program, so what torch keeps for
the share that stays has the opposite sign here. A part that is held still or cut off is nothing but other weights, and a network
with other weights is a network: it goes through the same cells as the one that was trained.
Axes: B series, D inputs, G gates and the candidate, H units, S state size.
"""

from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

GATES: Mapping[str, tuple[str, ...]] = {  # in the order of a cell's rows; n and g are candidates
    "smoothing": ("z", "n"),
    "adaptive": ("z", "n"),
    "no_carry": ("z", "n"),
    "gru_no_reset": ("z", "n"),
    "gru": ("r", "z", "n"),
    "gru_reset_before": ("r", "z", "n"),
    "rnn": ("n",),
    "lstm": ("i", "f", "g", "o"),
}
CANDIDATES = ("n", "g")
LINEAR = ("smoothing", "adaptive")  # their candidate is a sum of inputs, and nothing of them sees h
WITHOUT_CARRY = ("no_carry", "rnn")  # nothing of the old state stays but what the candidate makes of it
LARGEST_LOGIT = 80.0  # a sigmoid is 1 there, and 1e-35 at its opposite


@dataclass(frozen=True)
class Layer:
    """One layer's weights: of the input, of the state, and the bias that stands beside each of the two."""

    rung: str
    of_x: Tensor  # W [G, H, D]
    bias_of_x: Tensor  # [G, H]
    of_h: Tensor  # U [G, H, H], zeros where a rung has none
    bias_of_h: Tensor  # [G, H], zeros where a rung has one bias

    @property
    def gates(self) -> tuple[str, ...]:
        return GATES[self.rung]

    @property
    def hidden_size(self) -> int:
        return int(self.of_x.shape[1])

    @property
    def state_size(self) -> int:
        return self.hidden_size * (2 if self.rung == "lstm" else 1)

    @property
    def has_feedback(self) -> bool:
        """Whether anything of it sees what it remembers."""
        return self.rung not in LINEAR

    def place(self, gate: str) -> int:
        return self.gates.index(gate)


class Step(NamedTuple):
    """What one step of a layer was made of."""

    of_x: Tensor  # W x [B, G, H]
    of_h: Tensor  # U h [B, G, H]; of `gru_reset_before`'s candidate U (r * h)
    gates: Tensor  # [B, G, H]
    before: Tensor  # [B, S]
    after: Tensor  # [B, S]

    def gate(self, layer: Layer, name: str) -> Tensor:
        """One of the gates, or the candidate [B, H]."""
        return self.gates[:, layer.place(name)]

    def stays(self, layer: Layer) -> Tensor:
        """The share of the old state that stays [B, H]: 1 - z, an LSTM's f, or nothing."""
        if layer.rung in WITHOUT_CARRY:
            return torch.zeros_like(self.gates[:, 0])
        return self.gate(layer, "f") if layer.rung == "lstm" else 1 - self.gate(layer, "z")

    def enters(self, layer: Layer) -> Tensor:
        """The share of the old state that goes [B, H], without the rounding of 1 - (1 - z)."""
        if layer.rung in WITHOUT_CARRY or layer.rung == "lstm":
            return 1 - self.stays(layer)
        return self.gate(layer, "z")


def step(layer: Layer, x: Tensor, state: Tensor) -> Step:
    """One step from inputs x [B, D] and the state [B, S]; an LSTM's state is h, then c.

        r = sigmoid(W_r x + b_r + U_r h)        n = tanh(W_n x + b_n + r * (U_n h + c_n)), or tanh(W_n x + b_n + U_n (r * h))
        z = sigmoid(W_z x + b_z + U_z h)        h = (1 - z) * h + z * n

    Source: the docstrings of `forecaster.models.cells`, each with its paper.

    >>> half = Layer("smoothing", torch.tensor([[[0.0]], [[1.0]]]), torch.zeros(2, 1), torch.zeros(2, 1, 1), torch.zeros(2, 1))
    >>> step(half, torch.tensor([[8.0]]), torch.tensor([[2.0]])).after
    tensor([[5.]])
    """
    count, size = len(x), layer.hidden_size
    h = state[:, :size]
    of_x = (x @ layer.of_x.flatten(0, 1).T).view(count, -1, size)
    of_h = (h @ layer.of_h.flatten(0, 1).T).view(count, -1, size) if layer.has_feedback else torch.zeros_like(of_x)
    sums = of_x + layer.bias_of_x
    seen = of_h + layer.bias_of_h
    gates = torch.sigmoid(sums + seen)
    for name in CANDIDATES:
        if name not in layer.gates:
            continue
        k = layer.place(name)
        if layer.rung == "gru_reset_before":
            of_h[:, k] = (gates[:, layer.place("r")] * h) @ layer.of_h[k].T
            seen = of_h + layer.bias_of_h
        inner = gates[:, layer.place("r")] * seen[:, k] if layer.rung == "gru" else seen[:, k]
        gates[:, k] = sums[:, k] + inner if layer.rung in LINEAR else torch.tanh(sums[:, k] + inner)
    return Step(of_x, of_h, gates, state, _after(layer, gates, state))


def _after(layer: Layer, gates: Tensor, state: Tensor) -> Tensor:
    """The state [B, S] that gates [B, G, H] make of the old one."""
    if layer.rung == "rnn":
        return gates[:, 0]
    if layer.rung == "lstm":
        i, f, g, o = gates.unbind(1)
        c = f * state[:, layer.hidden_size :] + i * g
        return torch.cat([o * torch.tanh(c), c], dim=1)
    z, n = gates[:, -2], gates[:, -1]
    return z * n if layer.rung == "no_carry" else (1 - z) * state + z * n


# -- from and to cells -----------------------------------------------------------------------------------------------------------


def read_layers(cell: nn.Module, rung: str, *, dtype: torch.dtype = torch.float64) -> tuple[Layer, ...]:
    """A cell's layers, from the lowest up, as copies."""
    weights = {name: weight.to(dtype, copy=True) for name, weight in cell.state_dict().items()}
    layers: list[Layer] = []
    while names := _names(rung, len(layers), weights):
        count = len(GATES[rung]) if rung != "smoothing" else 1
        of_x, bias = (weights[name].view(count, -1, *weights[name].shape[1:]) for name in names[:2])
        if rung == "smoothing":
            of_x = torch.cat([torch.zeros_like(of_x), of_x])
            bias = torch.cat([weights[f"layers.{len(layers)}.logit"][None], bias])
        size = of_x.shape[1]
        of_h = weights[names.of_h].view(count, size, size) if names.of_h else of_x.new_zeros(len(of_x), size, size)
        bias_of_h = weights[names.bias_of_h].view(count, size) if names.bias_of_h else torch.zeros_like(bias)
        layers.append(_turned(Layer(rung, of_x, bias, of_h, bias_of_h)))
    assert layers, f"no weights of a {rung} among {', '.join(weights)}"
    return tuple(layers)


def with_layers(cell: nn.Module, layers: tuple[Layer, ...]) -> nn.Module:
    """A copy of the cell with other weights: `with_layers(cell, read_layers(cell, rung))` says what the cell says."""
    cell = deepcopy(cell)
    weights = cell.state_dict()
    for number, layer in enumerate(map(_turned, layers)):
        names = _names(layer.rung, number, weights)
        assert names is not None
        parts = (layer.of_x, layer.bias_of_x, layer.of_h, layer.bias_of_h)
        for name, part in zip(names, parts, strict=True):
            if name and layer.rung == "smoothing":
                weights[name].copy_(part[1])
            elif name:
                weights[name].copy_(part.flatten(0, 1))
        if layer.rung == "smoothing":
            weights[f"layers.{number}.logit"].copy_(layer.bias_of_x[0])
    return cell


class _Names(NamedTuple):
    """What a cell calls its weights in its `state_dict`; empty for those that it has not."""

    of_x: str
    bias_of_x: str
    of_h: str
    bias_of_h: str


def _names(rung: str, layer: int, weights: Mapping[str, Tensor]) -> _Names | None:
    """The names of one layer's weights; None where there is no such layer."""
    if rung in ("gru", "lstm"):
        stem = f"recurrence.{{}}_l{layer}" if rung == "gru" else f"layers.{layer}.recurrence.{{}}_l0"
        names = _Names(*(stem.format(part) for part in ("weight_ih", "bias_ih", "weight_hh", "bias_hh")))
    else:
        stem = f"layers.{layer}."
        names = _Names(f"{stem}of_x.weight", f"{stem}of_x.bias", "" if rung in LINEAR else f"{stem}of_h", "")
    return names if names.of_x in weights else None


def _turned(layer: Layer) -> Layer:
    """The layer of torch's GRU with z for the other share; any other as it is. Twice turned is not turned."""
    if layer.rung != "gru":
        return layer
    sign = layer.of_x.new_ones(len(layer.gates))
    sign[layer.place("z")] = -1
    return replace(
        layer,
        of_x=layer.of_x * sign[:, None, None],
        bias_of_x=layer.bias_of_x * sign[:, None],
        of_h=layer.of_h * sign[:, None, None],
        bias_of_h=layer.bias_of_h * sign[:, None],
    )


# -- other weights ---------------------------------------------------------------------------------------------------------------


def hold(layer: Layer, gate: str, value: Tensor) -> Layer:
    """The layer with a gate that stands still at a value [H]: it sees nothing, and its bias says so."""
    k = layer.place(gate)
    of_x, bias_of_x, of_h, bias_of_h = (w.clone() for w in (layer.of_x, layer.bias_of_x, layer.of_h, layer.bias_of_h))
    of_x[k], of_h[k], bias_of_h[k] = 0, 0, 0
    bias_of_x[k] = torch.logit(value.to(bias_of_x)).clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
    return Layer(layer.rung, of_x, bias_of_x, of_h, bias_of_h)


def silence(layer: Layer) -> Layer:
    """The layer whose candidate is 0 whatever it sees, and so its outputs, from a state of zero on."""
    parts = [w.clone() for w in (layer.of_x, layer.bias_of_x, layer.of_h, layer.bias_of_h)]
    for part in parts:
        part[[layer.place(gate) for gate in layer.gates if gate in CANDIDATES]] = 0
    return Layer(layer.rung, *parts)


def cut_off(layer: Layer, gates: Collection[str]) -> Layer:
    """The layer with U = 0 in some gates: they no longer see h."""
    of_h = layer.of_h.clone()
    for gate in gates:
        of_h[layer.place(gate)] = 0
    return replace(layer, of_h=of_h)
