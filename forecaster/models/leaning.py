"""How a network comes to lean: the mixture of its panel, walked over whole panels, and how far medians go towards it.

They go the usual way, a quarter of it, unless the held-back tail says that this is clearly worse than another: a tail is one
stretch of time, and what it says of the next is not much, the less the shorter it is, since a network is best at near leads.
Axes: B series, R rows of origins, L leads, K smoothings, G weights.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State
from forecaster.models.holt_winters import Float32
from forecaster.models.mixture import Mixture
from forecaster.models.scaler import AGE, LOG, Scaler, logs_to_choose_by
from forecaster.models.track import Track
from forecaster.models.windows import series_importance
from forecaster.series import Origins, Panel, Values, abreast, spread_out

LEANINGS = np.arange(17) / 40  # no further than 0.4
TOLERANCE = 0.01  # of the least error: less of a difference on the tail is none
MOST_ORIGINS = 4_000  # of a tail, to choose by


def mixture_for(panel: Panel, scaler: Scaler, horizon: int, *, weight: float) -> Mixture:
    """The mixture for a panel: its season is the base's, or else the shortest, its losses are those on a part of the series."""
    length = scaler.base.length if scaler.base.length > 1 else min(scaler.season_lengths, default=1)
    mixture = Mixture(length, horizon, (), weight)
    mixture = replace(mixture, usual=(1.0,) * mixture.count)
    v = logs_to_choose_by(panel, scaler.kind)
    state, age, stays = mixture.initial_state(len(v)), np.zeros(len(v), dtype=np.float32), np.zeros(len(v), dtype=np.bool_)
    for t in range(v.shape[1]):
        age += (age > 0) | ~np.isnan(v[:, t])
        state = mixture.step(state, v[:, t], age, stays)
    return replace(mixture, usual=mixture.mean_losses(state))


def mixture_states(mixture: Mixture, walk: Track, panel: Panel, origins: Origins) -> State:
    """The mixture's states [R, size] at each origin, beside the scaler's walk: what stepping gives, to the bit."""
    order, alive = abreast(panel.lengths)
    place = np.argsort(order, kind="stable")
    by_step = np.argsort(origins.known, kind="stable")
    first = np.searchsorted(origins.known[by_step], np.arange(1, len(alive) + 2))
    states, state = mixture.initial_state(len(origins)), mixture.initial_state(len(panel))
    newest = walk.at + walk.ring_size - 1
    for step, k in enumerate(alive[: int(origins.known.max(initial=0))]):
        rows = panel.offsets[order[:k]] + step
        v = np.where(np.isnan(panel.values[rows]), np.float32(np.nan), walk.padded[newest[rows]])
        numbers = walk.numbers[rows]
        before = walk.numbers[rows - 1, LOG] if step else numbers[:, LOG]
        state[:k] = mixture.step(state[:k], v, numbers[:, AGE], (before > 0) & (numbers[:, LOG] == 0))
        here = by_step[first[step] : first[step + 1]]
        states[here] = state[place[origins.index[here]]]
    return states


def leaning(errors: Values, *, usual: float, tolerance: float = TOLERANCE) -> float:
    """The usual weight of a mixture, or where its error is clearly not the least of errors [G], the one of LEANINGS that has it.

    >>> leaning(1 + LEANINGS, usual=0.25)  # the network alone is far better
    0.0
    >>> leaning(1 + LEANINGS / 100, usual=0.25)  # it makes little difference
    0.25
    """
    at_usual = float(np.interp(usual, LEANINGS, errors))
    return usual if at_usual <= (1 + tolerance) * errors.min() else float(LEANINGS[int(errors.argmin())])


def tolerance_of(tail: NDArray[np.int64], horizon: int) -> float:
    """The share of the error that makes no difference, by a tail [B]: the more, the less of the horizon it holds.

    >>> tolerance_of(np.array([6, 6, 0]), 6), tolerance_of(np.array([1, 2]), 6)
    (0.01, 0.04)
    """
    given = tail[tail > 0]
    return TOLERANCE * max(horizon / float(given.mean()), 1.0) if len(given) else TOLERANCE


def tail_origins(tail: NDArray[np.int64], lengths: NDArray[np.int64]) -> Origins:
    """The origins from which values of the tail [B] of series of these lengths [B] are forecast; of many, every so many-th."""
    index, known = spread_out(lengths - tail, tail)
    some = slice(None, None, max(-(-len(index) // MOST_ORIGINS), 1))
    return Origins(index[some], np.maximum(known[some], 1))


def errors_by_leaning(network: Float32, mixture: Float32, truth: Float32, weight: Float32) -> Values:
    """The mean absolute error [G] of medians [R, L] that lean by each of LEANINGS, with a weight for each truth [R, L]."""
    told = np.isfinite(truth) & np.isfinite(network) & np.isfinite(mixture)
    away, beside, counts = ((part[told]).astype(np.float64) for part in (truth - network, mixture - network, weight))
    errors = [(np.abs(away - w * beside) * counts).sum() for w in LEANINGS]
    return np.asarray(errors) / max(float(counts.sum()), 1e-300)


def truths_at(panel: Panel, scaler: Scaler, origins: Origins, horizon: int, log: NDArray[np.bool_]) -> tuple[Float32, Float32]:
    """What came after each origin [R, L], in the unit of its state (`log` [R]), and how much its error counts, as in the loss."""
    at = (panel.offsets[origins.index] + origins.known)[:, None] + np.arange(horizon)
    inside = at < panel.offsets[origins.index + 1][:, None]
    truth = np.where(inside, panel.values[np.minimum(at, len(panel.values) - 1)], np.nan)
    seen_as_log = np.zeros(len(panel.values), dtype=np.bool_)
    own = panel.offsets[origins.index] + origins.known - 1
    seen_as_log[own] = log
    weight = series_importance(scaler, panel, seen_as_log)[own]
    logs = np.log(np.where(truth > 0, truth, np.nan))
    return np.where(log[:, None], logs, truth).astype(np.float32), np.repeat(weight[:, None], horizon, axis=1)
