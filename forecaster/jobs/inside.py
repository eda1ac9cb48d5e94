"""What a network's gates do, as a page shows it."""

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from forecaster.explain.formulas import Layer, Step, read_layers
from forecaster.explain.gates import Progress, input_steps, walk_cell
from forecaster.explain.timescales import claim_verdict, timescales
from forecaster.models.recurrent import Recurrent
from forecaster.report.subject import Gates, Inside
from forecaster.series import Origins, Panel, Values

MOST_STEPS = 240  # of the series that gates are shown under
MOST_SERIES = 100  # that half-lives are counted over


def inside_of(network: Recurrent, panel: Panel, *, unique_id: str, progress: Progress | None = None) -> Inside | None:
    """The gates under one series, and half-lives over series evenly picked from the panel; None for a cell without gates."""
    if network.name == "rnn":
        return None
    picked = np.unique(np.linspace(0, len(panel) - 1, min(len(panel), MOST_SERIES)).round().astype(int))
    found = timescales(network, panel.select(picked.tolist()), progress=progress)
    gates = gates_over_time(network, panel, panel.ids.index(unique_id), steps=MOST_STEPS)
    alphas = np.array([unit.alpha for unit in found.units])
    return Inside((gates,), found.half_lives, alphas, len(picked), (claim_verdict(found),))


def gates_over_time(network: Recurrent, panel: Panel, index: int, *, steps: int) -> Gates:
    """The gates of one series over its last steps: units of all members' top layers, those that change least first.

    z is the share of the candidate that enters; of an LSTM, 1 - f, the share of the cell that goes, stands in its place.
    """
    one = panel.select([index])
    x, skip = input_steps(network, one)
    begin = max(int(skip[0]), len(x) - steps)
    state = network.states_at(one, Origins(np.array([0]), np.array([max(begin, 1)])))[:, network.memory]
    before = torch.from_numpy(state if begin > skip[0] else np.zeros_like(state)).double()
    parts = before.chunk(len(network.network.members), dim=1)
    walks = [_walk(network, number, x[begin:], part) for number, part in enumerate(parts)]
    tables = {name: np.concatenate([walk[name] for walk in walks]) for name in walks[0]}
    order = np.argsort(next(iter(tables.values())).mean(axis=1), kind="stable")
    positions = one.starts[0] + np.arange(begin, len(x))
    return Gates(panel.ids[index], positions, one.series(0)[begin:], {name: table[order] for name, table in tables.items()})


def _walk(network: Recurrent, number: int, x: Values, state: Tensor) -> dict[str, Values]:
    """The gates [H, T] of one member's top layer, from inputs [T, D] and the state [1, S] before them."""
    cell = cast(nn.Module, network.network.member(number).cell)
    layers, seen = read_layers(cell, network.name), dict[str, list[Values]]()
    for row in x:
        done = walk_cell(cell, layers, torch.from_numpy(row[None]), state)
        state = torch.cat([part.after for part in done], dim=1)
        seen.setdefault("f" if network.name == "lstm" else "z", []).append(_share(done[-1], layers[-1]))
        if "r" in layers[-1].gates:
            seen.setdefault("r", []).append(done[-1].gate(layers[-1], "r")[0].numpy())
    return {name: np.stack(rows, axis=1) for name, rows in seen.items()}


def _share(done: Step, layer: Layer) -> Values:
    """The share of the candidate that enters each unit [U]; of an LSTM, that of the cell that goes."""
    part = done.enters(layer) if layer.rung == "lstm" else done.gate(layer, "z")
    return np.asarray(part[0].numpy())
