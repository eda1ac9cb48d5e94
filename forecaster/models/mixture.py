"""A few smoothings of every series, mixed by how well each has forecast it: what the medians of a network lean towards.

A network that all series share is sure of whatever moved all of them while it learned, also of what then ends. A smoothing
knows its own series alone. Both err, for different reasons, so between the two lies a better forecast than either; how far
the network should give way is found on values that it was not trained on (`leaning.py`).

Each of K smoothings has weights of its own, half of them for a level alone and half for a damped trend (`holt_winters.py`), of
the values as they are or of the values without their season, which one more smoothing carries. Now and then the forecasts of all
are kept, their errors at the next L positions are added to what each has lost, and what was lost long ago fades. With the loss of
each relative to the mean of all, drawn towards what is usual on the panel, the share of a smoothing is

    share ~ (relative loss) ^ -12

Source: Bates and Granger 1969 (10.1057/jors.1969.103), with the fading and the power of Stock and Watson 2004 (10.1002/for.928).
Everything is float32 numpy, elementwise and in a fixed order, hence the same for any batch. B series, M season, L leads.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State
from forecaster.models.holt_winters import LEAST_ORIGIN, Float32, HoltWinters, smooth
from forecaster.models.scaler import ONE, ZERO, clipped, out_of_logs

LEVELS = (0.2, 0.7)  # weights of the smoothings that have a level alone
TRENDS = (  # and those with a damped trend
    HoltWinters(level=0.3, slope=0.03, season=0.0, damping=0.98, length=1),
    HoltWinters(level=0.7, slope=0.1, season=0.0, damping=0.9, length=1),
)
KINDS = len(LEVELS) + len(TRENDS)
SEASON = (np.float32(0.1), np.float32(0.01), np.float32(0.2), np.float32(0.95))  # weights of the one that carries the season
SQUARED = 2  # times, of a cube: a share is inverse to the 12th power of the loss
PRIOR = np.float32(3)  # horizons that what is usual on the panel counts for
LEAST_LOSS = np.float32(2e-3)  # relative: what one that never erred counts as
FADE = np.float32(0.98)  # of a loss, from one kept forecast to the next: a memory of 50 horizons
WAITED, SCORED, SEASON_LEVEL, SEASON_SLOPE, FIXED = range(5)


class _Parts(NamedTuple):
    """Where the numbers of the smoothings lie in a state: levels [K], slopes of those with a trend [K / 2], and so on."""

    level: slice
    slope: slice
    loss: slice
    kept_level: slice
    kept_slope: slice


@dataclass(frozen=True)
class Mixture:
    """The smoothings' season (1 for none), the horizon that judges them, what each loses on the panel, and how much they count.

    `usual` [K] is the mean loss of each, relative to that of all. `weight` is how far a median leans from the network (0) to
    the mixture (1).

    >>> mixture = Mixture(length=1, horizon=3, usual=(1.0,) * 4, weight=0.25)
    >>> state = mixture.initial_state(1)
    >>> for age in range(1, 41):
    ...     state = mixture.step(state, np.float32([age]), np.float32([age]), np.array([False]))
    >>> mixture.shares(state)[:, 0].round(2)  # a straight line: the quick trend has it
    array([0.  , 0.02, 0.  , 0.98], dtype=float32)
    """

    length: int
    horizon: int
    usual: tuple[float, ...]
    weight: float

    @property
    def count(self) -> int:
        """K, the smoothings: levels of the values, then of the values without their season, then trends likewise."""
        return KINDS * (2 if self.length > 1 else 1)

    @property
    def size(self) -> int:
        """How many numbers of a series' state are the mixture's."""
        return self._season + (self.length if self.length > 1 else 0)

    @property
    def young(self) -> int:
        """The positions that a series has to have seen before its forecasts lean."""
        return max(2 * self.length, LEAST_ORIGIN)

    def initial_state(self, count: int) -> State:
        """The state [B, size] of series that have not begun: all zero."""
        return np.zeros((count, self.size), dtype=np.float32)

    def step(self, state: State, v: Float32, age: Float32, left_logs: NDArray[np.bool_], *, into: State | None = None) -> State:
        """The state [B, size] after one more position: v [B] in the scaler's unit (NaN: not observed), age [B] with this one.

        Series that at this position `left_logs` [B] have their state translated first. Written `into` other rows if given.
        """
        after = np.empty_like(state) if into is None else into
        state, at = self._translated(state, left_logs), self._parts
        numbers = state[:, : self._season].T.copy()
        season = state[:, self._season].copy() if self.length > 1 else np.zeros_like(v)
        seen = self._seen(season)
        self._judge(numbers, v, seen)
        known_age = np.maximum(age, ONE)
        self._move(numbers, v, known_age, seen)
        if self.length > 1:
            own = numbers[SEASON_LEVEL], numbers[SEASON_SLOPE]
            moved = smooth(*own, season, v=v, age=known_age, weights=SEASON, length=self.length)
            numbers[SEASON_LEVEL], numbers[SEASON_SLOPE] = moved.level, moved.slope
            after[:, self._season : -1] = state[:, self._season + 1 :]  # the season moves on by one
            after[:, -1] = moved.season
        waited = numbers[WAITED]
        again = (age >= self.young) & ((waited == 0) | (waited >= self.horizon))
        fade = np.where(again, FADE, ONE)
        numbers[at.loss] *= fade
        numbers[SCORED] *= fade
        numbers[WAITED] = np.where(again, ONE, np.where(waited > 0, waited + ONE, ZERO))
        moving = at.loss.stop
        after[:, :moving] = numbers[:moving].T
        after[:, moving : self._season] = state[:, moving : self._season]
        rows = np.flatnonzero(again)  # what all say now is kept where the last forecasts were judged to their end, or none was
        after[rows, at.kept_level] = numbers[at.level, rows].T
        after[rows, at.kept_slope] = numbers[at.slope, rows].T
        return after

    def shares(self, state: State) -> Float32:
        """The share of each smoothing [K, B]; they add up to 1."""
        return self._shares(state[:, SCORED], state[:, self._parts.loss].T.copy())

    def forecast(self, state: State) -> Float32:
        """What the mixture says of each lead [B, L], in the scaler's unit."""
        at = self._parts
        numbers = state[:, : at.loss.stop].T.copy()
        share = self._shares(numbers[SCORED], numbers[at.loss])
        path: Float32 = np.repeat(_sum(share * numbers[at.level])[:, None], self.horizon, axis=1)
        slope = share[self.count // 2 :] * numbers[at.slope]
        for k, away in enumerate(self._paths):
            own = slope[k] + slope[k + len(TRENDS)] if self.length > 1 else slope[k]
            path += own[:, None] * away
        if self.length > 1:
            whole = _sum(share[self._sees_season])[:, None]
            for lead in range(0, self.horizon, self.length):
                turn = path[:, lead : lead + self.length]
                turn += whole * state[:, self._season : self._season + turn.shape[1]]
        return path

    def lean(self, median: Float32, state: State, age: Float32) -> Float32:
        """How far medians [B, L] of series of these ages [B] go towards the mixture; not at all where a series is young."""
        away: Float32 = self.forecast(state) - median
        away *= np.float32(self.weight)
        away[(age < self.young) | ~np.isfinite(away.sum(axis=1))] = 0
        return away

    def mean_losses(self, state: State) -> tuple[float, ...]:
        """What each smoothing has lost, relative to the mean of all, over all series at states [B, size] that were judged [K]."""
        losses = state[state[:, SCORED] > 0].astype(np.float64)[:, self._parts.loss]
        mean = losses.mean(axis=1, keepdims=True)
        relative = np.divide(losses, mean, out=np.ones_like(losses), where=mean > 0)
        return tuple(relative.mean(axis=0).tolist()) if len(losses) else (1.0,) * self.count

    @cached_property
    def _parts(self) -> _Parts:
        """Where the numbers of the smoothings lie."""
        widths = [self.count, self.count // 2, self.count, self.count, self.count // 2]
        ends = (FIXED + np.cumsum(widths)).tolist()
        return _Parts(*(slice(end - width, end) for end, width in zip(ends, widths, strict=True)))

    @property
    def _season(self) -> int:
        """The column at which the season begins, the next position's number first."""
        return int(self._parts.kept_slope.stop)

    @cached_property
    def _sees_season(self) -> NDArray[np.bool_]:
        """Which smoothings are of the values without their season [K]."""
        kinds = [False, True] if self.length > 1 else [False]
        return np.concatenate([np.repeat(kinds, len(some)) for some in (LEVELS, TRENDS)])

    @cached_property
    def _level_weights(self) -> Float32:
        """Of the smoothings that have a level alone [K / 2, 1]."""
        return np.array(LEVELS * (self.count // KINDS), dtype=np.float32)[:, None]

    @cached_property
    def _trend_weights(self) -> tuple[Float32, ...]:
        """Of level, slope, season and damping, a row for each smoothing with a trend [K / 2, 1]."""
        rows = [(t.level, t.slope, t.season, t.damping) for t in TRENDS] * (self.count // KINDS)
        return tuple(np.array(rows, dtype=np.float32).T[:, :, None])

    @cached_property
    def _paths(self) -> Float32:
        """By how many slopes each lead is away from the level, for each of TRENDS."""
        return np.stack([trend.path(self.horizon) for trend in TRENDS])

    def _seen(self, season: Float32) -> Float32:
        """What each smoothing leaves out of a value [K, B]."""
        seen = np.zeros((self.count, len(season)), dtype=np.float32)
        seen[self._sees_season] = season
        return seen

    def _judge(self, numbers: Float32, v: Float32, seen: Float32) -> None:
        """Add the errors of the kept forecasts to what each has lost, in place; the season is told as it is by now."""
        at = self._parts
        judged = (numbers[WAITED] > 0) & ~np.isnan(v)
        told = numbers[at.kept_level] + seen
        away = self._paths[:, np.maximum(numbers[WAITED].astype(np.int64) - 1, 0)]
        half = self.count // 2
        for first in range(0, half, len(TRENDS)):
            told[half + first : half + first + len(TRENDS)] += numbers[at.kept_slope][first : first + len(TRENDS)] * away
        told -= v
        np.abs(told, out=told)
        numbers[at.loss] += np.where(judged, told, ZERO)
        numbers[SCORED] += judged

    def _move(self, numbers: Float32, v: Float32, age: Float32, seen: Float32) -> None:
        """Move levels and slopes by one position, in place; a series that has not begun stays at zero."""
        at, half = self._parts, self.count // 2
        level, slope = numbers[at.level], numbers[at.slope]
        observed = ~np.isnan(v)
        weight = np.where(observed, np.maximum(self._level_weights, ONE / age), ZERO)
        level[:half] += weight * (np.where(observed, v, ZERO) - seen[:half] - level[:half])
        now = smooth(level[half:], slope, seen[half:], v=v, age=age, weights=self._trend_weights, length=1)
        level[half:] = now.level
        slope[:] = now.slope
        slope *= age > self.length

    def _shares(self, scored: Float32, losses: Float32) -> Float32:
        mean = np.asarray(losses / np.maximum(scored, ONE), dtype=np.float32)
        all_of_them = _sum(mean) / np.float32(self.count)
        is_known = all_of_them > 0
        relative = np.where(is_known, mean / np.where(is_known, all_of_them, ONE), ONE)
        horizons = scored / np.float32(self.horizon)
        drawn = (relative * horizons + np.asarray(self.usual, dtype=np.float32)[:, None] * PRIOR) / (horizons + PRIOR)
        np.maximum(drawn, LEAST_LOSS, out=drawn)
        share: Float32 = ONE / (drawn * drawn * drawn)
        for _ in range(SQUARED):
            share *= share
        share /= _sum(share)
        return share

    def _translated(self, state: State, left_logs: NDArray[np.bool_]) -> State:
        """The state, as a copy from logarithms to plain values where a series has left them."""
        rows = np.flatnonzero(left_logs)
        if not len(rows):
            return state
        after, at = state.copy(), self._parts
        part, plain, change = out_of_logs(state[rows])
        for level, slope in ((at.level, at.slope), (at.kept_level, at.kept_slope)):
            part[:, slope] *= plain[:, level][:, self.count // 2 :]
            part[:, level] = plain[:, level]
        part[:, at.loss] = state[rows, at.loss] * plain[:, [at.level.start]]
        part[:, [WAITED, SCORED]] = state[rows][:, [WAITED, SCORED]]
        part[:, SEASON_SLOPE] *= plain[:, SEASON_LEVEL]
        part[:, SEASON_LEVEL] = plain[:, SEASON_LEVEL] if self.length > 1 else 0
        part[:, self._season :] = plain[:, [SEASON_LEVEL]] * change[:, self._season :]
        after[rows] = clipped(part)
        return after


def _sum(rows: Float32) -> Float32:
    """The sum over the first axis, one row after the other, so that it does not depend on how many columns there are."""
    total: Float32 = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total
