"""How far a network is from smoothing: parts of it are held still or cut off, and what that costs is counted.

Nothing is trained again, so the answer is about this network and not about the rung: one that was trained without the part may
well do without it. Gates are held at their means over what was known before the first origin, in all members and layers at once.
What is left when all gates stand still and no sum sees h is a bank of exponential smoothers: of the squashed inputs tanh(W x + b)
in the lowest layer of a GRU, of the inputs themselves on the rungs below.
Axes: S series, L leads.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import backtest, known_part
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.losses import Losses, paired_losses
from forecaster.evaluation.scores import score
from forecaster.evaluation.significance import FEWEST_UNITS
from forecaster.explain.formulas import (
    CANDIDATES,
    GATES,
    LINEAR,
    WITHOUT_CARRY,
    Layer,
    cut_off,
    hold,
    read_layers,
    silence,
    with_layers,
)
from forecaster.explain.gates import GateCounts, Progress, cell_of, count_gates
from forecaster.explain.intervals import Loss, relative_loss
from forecaster.explain.plain import plain
from forecaster.forecast import Forecast
from forecaster.models.cells import Cell
from forecaster.models.recurrent import Recurrent
from forecaster.series import Origins, Panel, Values

INTACT, SMOOTHER, NO_MEMORY = "intact", "smoother", "no_memory"
NOTHING = 1e-5  # a relative loss below is rounding: forecasts are float32

Edit = Callable[[Layer, GateCounts], Layer]


@dataclass(frozen=True)
class Removal:
    """What the network lost with one part: a word for it, what was done, and the loss of accuracy.

    `mean_loss` is what the network without it scores (`Smoothness.measure`), `loss` how much that is above the intact one's, as a
    share; `by_lead` [L] and `by_series` [S] are the same for each lead and series, NaN where the intact one has no error.
    """

    name: str
    what: str
    mean_loss: float
    loss: Loss
    by_lead: tuple[float, ...]
    by_series: tuple[float, ...]

    @property
    def costs_nothing(self) -> bool:
        """Whether no forecast is worse, or better, by more than rounding, at any lead or on any series."""
        return all(abs(loss) <= NOTHING for loss in (self.loss.value, *self.by_lead, *self.by_series))


@dataclass(frozen=True)
class Smoothness:
    """What each part of the network is worth where it stands, over series `ids` [S] and so many origins."""

    rung: str
    measure: str
    ids: tuple[str, ...]
    origins: int
    horizon: int
    mean_loss: float
    intact_by_lead: tuple[float, ...]
    intact_by_series: tuple[float, ...]
    removals: tuple[Removal, ...]

    def removal(self, name: str) -> Removal | None:
        return next((one for one in self.removals if one.name == name), None)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is lost even without the cell: then its parts tell nothing."""
        return all(one.costs_nothing for one in self.removals)

    @property
    def is_smoothing(self) -> bool:
        """Whether nothing is lost by any removal but that of the cell itself, on a rung that can be smoothing."""
        can_be = self.rung not in WITHOUT_CARRY and not self.is_idle
        return can_be and all(one.costs_nothing for one in self.removals if one.name != NO_MEMORY)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it; what is undefined is null."""
        return {**plain(self), "is_smoothing": self.is_smoothing, "verdict": smoothness_verdict(self)}


@dataclass(frozen=True)
class Without:
    """A network without a part, under a name of its own, behind the door for batches."""

    name: str
    recurrent: Recurrent

    def predict(self, panel: Panel, horizon: int, *, quantiles: Sequence[float], origins: Origins) -> Forecast:
        return self.recurrent.predict(panel, horizon, quantiles=quantiles, origins=origins)


def removals_of(rung: str) -> dict[str, tuple[str, Edit]]:
    """What can be taken from a rung: one part at a time, all that is not smoothing, and as a yardstick the cell itself.

    By name, each with words and the edit.

    >>> list(removals_of("adaptive")), list(removals_of("rnn"))
    (['smoother', 'no_memory'], ['no_u', 'no_memory'])
    """
    gates = [gate for gate in GATES[rung] if gate not in CANDIDATES]
    candidates = [gate for gate in GATES[rung] if gate in CANDIDATES]
    has_feedback = rung not in LINEAR
    found: dict[str, tuple[str, Edit]] = {}
    no_memory: dict[str, tuple[str, Edit]] = {
        NO_MEMORY: ("h = 0: the head does without the cell", lambda layer, _: silence(layer))
    }
    if rung == "smoothing":
        return no_memory
    if has_feedback:
        found |= {f"{gate}_mean": (f"{gate} held at its mean", _held([gate])) for gate in gates}
    if has_feedback and len(gates) > 1:
        found["gates_mean"] = f"{', '.join(gates[:-1])} and {gates[-1]} held at their means", _held(gates)
    if "r" in gates:
        found["r_open"] = "r = 1: no reset", lambda layer, counts: hold(layer, "r", counts.mean("r").new_ones(layer.hidden_size))
    if has_feedback and gates:
        found["no_u_gates"] = "gates do not see h", lambda layer, _: cut_off(layer, gates)
        found["no_u_candidate"] = "the candidate does not see h", lambda layer, _: cut_off(layer, candidates)
    if has_feedback:
        found["no_u"] = "U = 0: nothing sees h", lambda layer, _: cut_off(layer, layer.gates)
    if rung not in WITHOUT_CARRY:
        still = "gates at their means" if len(gates) > 1 else "z at its mean"
        words = f"{'U = 0 and ' if has_feedback else ''}{still}: a bank of smoothers"
        found[SMOOTHER] = words, lambda layer, counts: cut_off(_held(gates)(layer, counts), candidates)
    return found | no_memory


def without(recurrent: Recurrent, edit: Edit, counts: tuple[tuple[GateCounts, ...], ...]) -> Recurrent:
    """The network with its cells edited, layer by layer, in every member."""
    network = deepcopy(recurrent.network)
    for number, counted in enumerate(counts):
        cell = cell_of(recurrent, number)
        layers = read_layers(cell, recurrent.name)
        edited = tuple(edit(layer, count) for layer, count in zip(layers, counted, strict=True))
        network.member(number).cell = cast(Cell, with_layers(cell, edited))
    return replace(recurrent, network=network)


def without_each(
    recurrent: Recurrent, panel: Panel, origins: Origins, *, progress: Progress | None = None
) -> dict[str, Recurrent]:
    """The network without each of its parts, by the names of `removals_of`.

    Gates are held at their means over each series up to its first origin, so what is left knows nothing of what comes.
    """
    past, rows = known_part(panel, origins)
    first = np.full(len(past), np.iinfo(np.int64).max)
    np.minimum.at(first, rows.index, rows.known)
    counts = count_gates(recurrent, past.drop_last(past.lengths - first), progress=progress)
    return {name: without(recurrent, edit, counts) for name, (_, edit) in removals_of(recurrent.name).items()}


def smoothness(
    recurrent: Recurrent,
    panel: Panel,
    origins: Origins,
    *,
    season_length: int,
    progress: Progress | None = None,
) -> Smoothness:
    """What the network loses without each of its parts, in forecasts from the origins; errors scaled as on the leaderboard.

    It speaks alone: leaning towards smoothings would hide a part of what is lost.
    """
    recurrent = replace(recurrent, mixture=None)
    others = without_each(recurrent, panel, origins, progress=progress)
    forecasters = [Without(INTACT, recurrent), *(Without(name, one) for name, one in others.items())]
    result = backtest(forecasters, panel, horizon=recurrent.horizon, quantiles=(0.5,), origins=origins, progress=progress)
    for error in result.failures.values():
        raise error
    truth = actuals_matrix(result.forecasts[INTACT], panel)
    leaderboard = rank(score(result, history=panel, actuals=truth, season_length=season_length, reference=""))
    losses = paired_losses(leaderboard)
    ids, by_series = losses.by_series()
    if INTACT not in losses.forecasters or not ids:
        return Smoothness(recurrent.name, losses.measure, (), 0, recurrent.horizon, math.nan, (), (), ())
    by_lead = {name: leaderboard.scores.tallies[name].by_lead[losses.measure] for name in losses.forecasters}
    intact = by_series[:, losses.forecasters.index(INTACT)]
    return Smoothness(
        recurrent.name,
        losses.measure,
        ids,
        int(np.bincount(losses.series).max()),
        recurrent.horizon,
        float(intact.mean()),
        tuple(by_lead[INTACT].tolist()),
        tuple(intact.tolist()),
        tuple(
            Removal(
                name,
                what,
                float(by_series[:, losses.forecasters.index(name)].mean()),
                _loss(losses, by_series, name),
                _share(by_lead[name], by_lead[INTACT]),
                _share(by_series[:, losses.forecasters.index(name)], intact),
            )
            for name, (what, _) in removals_of(recurrent.name).items()
            if name in losses.forecasters
        ),
    )


def smoothness_verdict(found: Smoothness) -> str:
    """What may be said of how near the network is to smoothing, and of what it rests on."""
    if found.rung == "smoothing":
        return "This rung is a bank of exponential smoothers: there is nothing to take away but the whole."
    if not found.ids:
        return "No series could be scored, so nothing can be said."
    if found.is_idle:
        return "Nothing is lost by any of it, not even by taking the cell away: these forecasts do not listen to it."
    if found.is_smoothing:
        return "Nothing is lost by any of it: on this data the network is a bank of exponential smoothers."
    smoother, silent = found.removal(SMOOTHER), found.removal(NO_MEMORY)
    if smoother is None:
        said = [f"{found.rung} carries nothing over by itself, so no smoothers are left of it."]
    else:
        said = [f"As a bank of smoothers, and not trained again, this network {_told(smoother.loss)}."]
    parts = [one for one in found.removals if one.name not in (SMOOTHER, NO_MEMORY)]
    costly = max(parts, key=lambda one: one.loss.value, default=None)
    if costly and costly.loss.value > NOTHING and not costly.loss.is_noise:
        said.append(f"The costliest single change is `{costly.what}`, {_percent(costly.loss)}.")
    if silent and silent.loss.is_tested and silent.loss.is_noise:
        said.append(f"But even without its cell it {_told(silent.loss)}: these forecasts hardly need what it remembers.")
    return " ".join(said)


def _told(loss: Loss) -> str:
    """A loss in words, with no more in them than the data support."""
    if abs(loss.value) <= NOTHING:
        return "loses nothing"
    if loss.is_tested and loss.is_noise:
        return f"shows no loss beyond noise, {_percent(loss)}"
    return f"{'loses' if loss.value > 0 else 'gains'} accuracy: errors change by {_percent(loss)}"


def _percent(loss: Loss) -> str:
    """A loss with its interval, or why it has none."""
    value, low, high = (f"{100 * share:+.{1 if abs(share) >= 0.01 else 2}f}" for share in (loss.value, loss.low, loss.high))
    if not loss.is_tested:
        return f"{value} % ({loss.count} {loss.of} are too few to tell that from luck)"
    return f"{value} % (95 % interval {low} to {high} %)"


def _held(gates: Sequence[str]) -> Edit:
    def edit(layer: Layer, counts: GateCounts) -> Layer:
        for gate in gates:
            layer = hold(layer, gate, counts.mean(gate))
        return layer

    return edit


def _loss(losses: Losses, by_series: Values, name: str) -> Loss:
    """Over series, or over origins that share no value where series are few."""
    intact, other = losses.forecasters.index(INTACT), losses.forecasters.index(name)
    if len(by_series) >= FEWEST_UNITS:
        return relative_loss(by_series[:, intact], by_series[:, other], of="series")
    by_origin = losses.by_origin()[1][::-1][:: losses.overlap][::-1]
    return relative_loss(by_origin[:, intact], by_origin[:, other], of="origins")


def _share(after: Values, before: Values) -> tuple[float, ...]:
    """How far `after` lies above `before`, as shares; NaN where that was 0 and is not any more."""
    ratio = np.divide(after, before, out=np.where(after == before, 1.0, np.nan), where=before > 0)
    return tuple((ratio - 1).tolist())
