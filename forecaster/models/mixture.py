"""A few smoothings of every series, mixed by how well each has forecast it: what the medians of a network lean towards.

A network that all series share is sure of whatever moved all of them while it learned, also of what then ends. A smoothing
knows its own series alone. Both err, for different reasons, so between the two lies a better forecast than either; how far
the network should give way is found on values that it was not trained on (`leaning.py`).

Each of K smoothings is a damped trend (`holt_winters.py`) with weights of its own, of the values as they are or of the values
without their season, which one more smoothing carries. Now and then the forecasts of all are kept, their errors at the next L
positions are added to what each has lost, and what was lost long ago fades. With the loss of each relative to the mean of all,
drawn towards what is usual on the panel, the share of a smoothing is

    share ~ (relative loss) ^ -POWER

Source: Bates and Granger 1969 (10.1057/jors.1969.103), with the fading and the power of Stock and Watson 2004 (10.1002/for.928).
Everything is float32 numpy, elementwise and in a fixed order, hence the same for any batch. B series, M season, L leads.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State
from forecaster.models.holt_winters import Float32, HoltWinters, smooth

TRENDS = (  # each of the values, and where there is a season, of the values without it
    HoltWinters(level=0.2, slope=0.0, season=0.0, damping=0.9, length=1),
    HoltWinters(level=0.7, slope=0.0, season=0.0, damping=0.9, length=1),
    HoltWinters(level=0.3, slope=0.03, season=0.0, damping=0.98, length=1),
    HoltWinters(level=0.7, slope=0.1, season=0.0, damping=0.9, length=1),
)
SEASON = (np.float32(0.1), np.float32(0.01), np.float32(0.2), np.float32(0.95))  # weights of the one that carries the season
POWER_OF_TWO = 3  # a share is inverse to the 12th power of the loss: its cube, squared twice
PRIOR = np.float32(3)  # horizons that what is usual on the panel counts for
FADE = np.float32(0.98)  # of a loss, from one kept forecast to the next: a memory of 50 horizons
LEAST_YOUNG = 4  # positions before a first forecast is kept; two seasons, where these are longer
UTMOST = 1e30  # no number is larger when a series leaves the logarithms
WAITED, SCORED, SEASON_LEVEL, SEASON_SLOPE, FIXED = range(5)  # then K each of the five below, then the season [M]
PER_TREND = LEVEL, SLOPE, KEPT_LEVEL, KEPT_SLOPE, LOSS = range(5)
ONE, ZERO = np.float32(1), np.float32(0)


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
        """K, the smoothings."""
        return len(TRENDS) * (2 if self.length > 1 else 1)

    @property
    def size(self) -> int:
        """How many numbers of a series' state are the mixture's."""
        return self._season + (self.length if self.length > 1 else 0)

    @property
    def young(self) -> int:
        """The positions that a series has to have seen before its forecasts lean."""
        return max(2 * self.length, LEAST_YOUNG) if self.length > 1 else LEAST_YOUNG

    def initial_state(self, count: int) -> State:
        """The state [B, size] of series that have not begun: all zero."""
        return np.zeros((count, self.size), dtype=np.float32)

    def step(self, state: State, v: Float32, age: Float32, left_logs: NDArray[np.bool_], *, into: State | None = None) -> State:
        """The state [B, size] after one more position: v [B] in the scaler's unit (NaN: not observed), age [B] with this one.

        Series that at this position `left_logs` [B] have their state translated first. Written `into` other rows if given.
        """
        after = np.empty_like(state) if into is None else into
        state = self._translated(state, left_logs)
        numbers = state[:, : self._season].T.copy()
        trends = numbers[FIXED:].reshape(len(PER_TREND), self.count, -1)
        season = state[:, self._season].copy() if self.length > 1 else np.zeros_like(v)
        seen = np.zeros(trends.shape[1:], dtype=np.float32)
        seen[len(TRENDS) :] = season
        self._judge(numbers, trends, v, seen)
        begun, known_age = age > 0, np.maximum(age, ONE)
        now = smooth(trends[LEVEL], trends[SLOPE], seen, v=v, age=known_age, weights=self._weights, length=1)
        trends[LEVEL] = np.where(begun, now.level, ZERO)
        trends[SLOPE] = np.where(age > self.length, now.slope, ZERO)
        if self.length > 1:
            own = numbers[SEASON_LEVEL], numbers[SEASON_SLOPE]
            of_season = smooth(*own, season, v=v, age=known_age, weights=SEASON, length=self.length)
            after[:, self._season : -1] = state[:, self._season + 1 :]  # the season moves on by one
            after[:, -1] = np.where(begun, of_season.season, ZERO)
            numbers[SEASON_LEVEL] = np.where(begun, of_season.level, ZERO)
            numbers[SEASON_SLOPE] = np.where(begun, of_season.slope, ZERO)
        self._keep(numbers, trends, age)
        after[:, : self._season] = numbers.T
        return after

    def shares(self, state: State) -> Float32:
        """The share of each smoothing [K, B]; they add up to 1."""
        losses = state[:, FIXED : self._season].T.reshape(len(PER_TREND), self.count, -1)[LOSS]
        scored = state[:, SCORED]
        mean = losses / np.maximum(scored, ONE)
        all_of_them = _sum(mean) / np.float32(self.count)
        relative = np.where(all_of_them > 0, mean / np.where(all_of_them > 0, all_of_them, ONE), ONE)
        horizons = scored / np.float32(self.horizon)
        usual = np.asarray(self.usual, dtype=np.float32)[:, None]
        drawn = (relative * horizons + usual * PRIOR) / (horizons + PRIOR)
        share: Float32 = ONE / (drawn * drawn * drawn)
        for _ in range(POWER_OF_TWO - 1):
            share *= share
        share /= _sum(share)
        return share

    def forecast(self, state: State) -> Float32:
        """What the mixture says of each lead [B, L], in the scaler's unit."""
        share = self.shares(state)
        trends = state[:, FIXED : self._season].T.reshape(len(PER_TREND), self.count, -1)
        path: Float32 = np.repeat(_sum(share * trends[LEVEL])[:, None], self.horizon, axis=1)
        for k in range(self.count):
            if TRENDS[k % len(TRENDS)].slope > 0:
                path += (share[k] * trends[SLOPE, k])[:, None] * self._paths[k]
        if self.length > 1:
            whole = _sum(share[len(TRENDS) :])[:, None]
            for lead in range(0, self.horizon, self.length):
                turn = path[:, lead : lead + self.length]
                turn += whole * state[:, self._season : self._season + turn.shape[1]]
        return path

    def mean_losses(self, state: State) -> tuple[float, ...]:
        """What each smoothing has lost, relative to the mean of all, over all series at states [B, size] that were judged [K]."""
        judged = state[state[:, SCORED] > 0].astype(np.float64)
        losses = judged[:, FIXED : self._season].reshape(len(judged), len(PER_TREND), self.count)[:, LOSS]
        mean = losses.mean(axis=1, keepdims=True)
        relative = np.divide(losses, mean, out=np.ones_like(losses), where=mean > 0)
        return tuple(relative.mean(axis=0).tolist()) if len(judged) else (1.0,) * self.count

    @property
    def _season(self) -> int:
        """The column at which the season begins, the next position's number first."""
        return FIXED + len(PER_TREND) * self.count

    @cached_property
    def _weights(self) -> tuple[Float32, ...]:
        """Of level, slope, season and damping, a row for each smoothing [K, 1]."""
        rows = [(t.level, t.slope, t.season, t.damping) for t in TRENDS] * (self.count // len(TRENDS))
        return tuple(np.array(rows, dtype=np.float32).T[:, :, None])

    @cached_property
    def _paths(self) -> Float32:
        """By how many slopes each lead is away from the level [K, L]."""
        return np.stack([trend.path(self.horizon) for trend in TRENDS] * (self.count // len(TRENDS)))

    def _judge(self, numbers: Float32, trends: Float32, v: Float32, seen: Float32) -> None:
        """Add the errors of the kept forecasts to what each has lost, in place; the season is told as it is by now."""
        judged = (numbers[WAITED] > 0) & ~np.isnan(v)
        lead = np.maximum(numbers[WAITED].astype(np.int64) - 1, 0)
        told = trends[KEPT_LEVEL] + trends[KEPT_SLOPE] * self._paths[:, lead] + seen
        trends[LOSS] += np.where(judged, np.abs(v - told), ZERO)
        numbers[SCORED] += judged

    def _keep(self, numbers: Float32, trends: Float32, age: Float32) -> None:
        """Keep what all say now where the last forecasts have been judged to their end, or none was kept yet, in place."""
        waited = numbers[WAITED]
        again = (age >= self.young) & ((waited == 0) | (waited >= self.horizon))
        trends[KEPT_LEVEL] = np.where(again, trends[LEVEL], trends[KEPT_LEVEL])
        trends[KEPT_SLOPE] = np.where(again, trends[SLOPE], trends[KEPT_SLOPE])
        fade = np.where(again, FADE, ONE)
        trends[LOSS] *= fade
        numbers[SCORED] *= fade
        numbers[WAITED] = np.where(again, ONE, np.where(waited > 0, waited + ONE, ZERO))

    def _translated(self, state: State, left_logs: NDArray[np.bool_]) -> State:
        """The state, as a copy from logarithms to plain values where a series has left them."""
        rows = np.flatnonzero(left_logs)
        if not len(rows):
            return state
        after = state.copy()
        part = np.clip(state[rows].astype(np.float64), -np.log(UTMOST), np.log(UTMOST))
        plain, change = np.exp(part), np.expm1(part)
        trends, as_plain = (p[:, FIXED : self._season].reshape(len(rows), len(PER_TREND), -1) for p in (part, plain))
        for level, slope in ((LEVEL, SLOPE), (KEPT_LEVEL, KEPT_SLOPE)):
            trends[:, slope] *= as_plain[:, level]
            trends[:, level] = as_plain[:, level]
        trends[:, LOSS] = state[rows][:, FIXED : self._season].reshape(len(rows), len(PER_TREND), -1)[:, LOSS]
        trends[:, LOSS] *= as_plain[:, LEVEL, :1]
        part[:, :FIXED] = state[rows, :FIXED]
        part[:, SEASON_SLOPE] *= plain[:, SEASON_LEVEL]
        part[:, SEASON_LEVEL] = plain[:, SEASON_LEVEL] if self.length > 1 else 0
        part[:, self._season :] = plain[:, [SEASON_LEVEL]] * change[:, self._season :]
        after[rows] = np.clip(part, -UTMOST, UTMOST).astype(np.float32)
        return after


def _sum(rows: Float32) -> Float32:
    """The sum over the first axis, one row after the other, so that it does not depend on how many columns there are."""
    total: Float32 = rows[0].copy()
    for row in rows[1:]:
        total += row
    return total
