"""The causal scale of a series: a smoothed level, two smoothed sizes, a smoothing forecast, and a ring of the last values.

A network shared by many series has to see them in one unit. That unit may know the past only, and must cost the same at
the millionth observation as at the first, so it is itself exponential smoothing. With v the value (its logarithm while a
series is positive), and a the larger of `alpha` and 1 / age, so that young series are averaged:

    level     = level     + a (v - level)
    amplitude = amplitude + a (|v - level| - amplitude)             how far values swing: the unit of what the network sees
    spread    = spread    + a (|v - v one season ago| - spread)     what a season does not explain: the unit of what it says

Beside them runs the panel's own smoothing (`holt_winters.py`), the forecast that the network's words are added to. Everything
here is float32 numpy and elementwise, hence exact and the same for any batch. B series, M season of the base, R ring size.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State
from forecaster.models.holt_winters import Float32, HoltWinters, choose_smoothing, smooth
from forecaster.series import Panel, Values

# where things lie in the state; then the seasons of the base [M], the next position's first, and the ring [R], newest last
AGE, LOG, LEVEL, AMPLITUDE, SPREAD, SMOOTH, SLOPE, ERROR, SEASONS = range(9)
CLIP = np.float32(10)  # no input and no ring value is further than this many amplitudes from the level
OLD_AGE = np.float32(50)  # positions at which a series counts as half known
CONTEXT = slice(-5, -1)  # the features that a head sees besides the ring
LEAST_SHARE = np.float32(1e-4)  # of a typical value: what is smaller is not told from rounding
LEAST_LOG = np.float32(1e-5)  # of a logarithm: nor is this, near that of 1e30
LEAST_SIZE = 1e-34  # of a plain value's spread, so that a share of it is still float32
TINY = np.finfo(np.float32).tiny  # in place of the sizes of a series that has not begun
UTMOST = 1e30  # no number is larger when a series leaves the logarithms
UTMOST_LOG = 700.0  # nor further from zero when values are restored: what lies beyond is no float64
ONE, ZERO = np.float32(1), np.float32(0)
LONGEST_RING = 120  # above this a ring holds one season, below it two
LEAST_RING = 8
SERIES_TO_CHOOSE_BY = 200
POSITIONS_TO_CHOOSE_BY = 1_500


@dataclass(frozen=True)
class Scaler:
    """How values become numbers near one, and back.

    `kind` is `log` where most series are positive and `signed` elsewhere. On a `log` panel a series is seen in logarithms until
    it shows a value at or below zero; from then on it is seen as it is, its state translated. `base` is the panel's smoothing;
    the spread is that of changes over its season. `least_spread` keeps a constant series from dividing by zero where it is
    seen as it is; a logarithm has one unit, and `LEAST_LOG` for its least.
    """

    kind: Literal["log", "signed"]
    season_lengths: tuple[int, ...]
    base: HoltWinters
    ring_size: int
    least_spread: float

    @cached_property
    def ring(self) -> int:
        """The column at which the ring begins."""
        return SEASONS + self.base.length

    @cached_property
    def size(self) -> int:
        """How many numbers of the state are the scaler's."""
        return self.ring + self.ring_size

    @cached_property
    def alpha(self) -> float:
        """The weight of a new value: a memory of about seven seasons."""
        return 2.0 / (1.0 + 7.0 * max(self.season_lengths[:1], default=1))

    def initial_state(self, count: int) -> State:
        """The state [B, size] of series that have not begun: all zero."""
        return np.zeros((count, self.size), dtype=np.float32)

    def restore(self, v: NDArray[np.floating], log: NDArray[np.bool_]) -> Values:
        """Values [B, ...] in the unit of the data; `log` [B] says which series are in logarithms."""
        if log.all():
            logs: Values = np.clip(v, -UTMOST_LOG, UTMOST_LOG).astype(np.float64)
            return np.exp(logs, out=logs)
        values: Values = v.astype(np.float64)
        if log.any():
            values[log] = np.exp(np.ascontiguousarray(np.clip(values[log], -UTMOST_LOG, UTMOST_LOG)))
        return values

    def base_forecast(self, state: State, horizon: int) -> Float32:
        """What the smoothing says of each lead [B, L], in the unit of the state."""
        path: Float32 = state[:, SMOOTH, None] + state[:, SLOPE, None] * self.base.path(horizon)
        if self.base.length == 1:
            path += state[:, SEASONS, None]
        for lead in range(0, horizon if self.base.length > 1 else 0, self.base.length):
            turn = path[:, lead : lead + self.base.length]
            turn += state[:, SEASONS : SEASONS + turn.shape[1]]
        return path

    def step(self, state: State, y: Values, *, into: State | None = None, prior: float = 0.0) -> State:
        """The state after one more position; y [B] is NaN where nothing was observed.

        A missing value leaves level and spread as they are, and the ring repeats the value of one season ago. A series
        that has not begun does not begin with a missing value. The state is written `into` other rows [B, size] if given.
        Where level and sizes did not begin with the first value, what they began with counts for `prior` positions more.
        """
        after = np.empty((len(state), self.size), dtype=np.float32) if into is None else into
        observed, begun = ~np.isnan(y), state[:, AGE] > 0
        state = self._translated(state, observed & begun & (y <= 0))
        numbers = state[:, :SEASONS].T.copy()  # a row for each: what follows runs through contiguous numbers
        first = np.flatnonzero(observed & ~begun)
        if len(first):
            numbers[LOG, first] = (y[first] > 0) & (self.kind == "log")
        log = numbers[LOG] > 0
        v = np.where(log, np.log(np.where(log & observed, y, 1.0)), y).astype(np.float32)
        v[~observed] = np.nan
        season_ago = state[:, self.size - self.base.length].copy()
        alive = begun | observed
        numbers[AGE] = np.where(alive, numbers[AGE] + ONE, ZERO)
        self._scale(numbers, v, observed, season_ago=season_ago, prior=prior)
        after[:, SEASONS : self.size - 1] = state[:, SEASONS + 1 : self.size]  # seasons and ring move on by one
        after[:, self.size - 1] = np.where(observed, v, season_ago)
        after[:, self.ring - 1] = self._smooth(numbers, v, alive, season=state[:, SEASONS].copy())
        if len(first):
            numbers[LEVEL, first] = v[first]
            numbers[AMPLITUDE, first] = numbers[SPREAD, first] = self._least(v[first], log[first])
            after[first, self.ring : self.size] = v[first, None]
        after[:, :SEASONS] = numbers.T
        return after

    def _scale(self, numbers: Float32, v: Float32, observed: NDArray[np.bool_], *, season_ago: Float32, prior: float) -> None:
        """Move level, amplitude and spread by one position, in place, in the rows of `numbers` [SEASONS, B]."""
        age, level = numbers[AGE], numbers[LEVEL]
        weight = np.maximum(np.float32(self.alpha), ONE / (np.maximum(age, ONE) + np.float32(prior)))
        change = np.where(observed, weight, ZERO)
        known = np.where(observed, v, ZERO)
        level += change * (known - level)
        least = np.where(age > 0, self._least(level, numbers[LOG] > 0), ZERO)
        for row, other in ((AMPLITUDE, level), (SPREAD, season_ago)):
            size = np.where(observed, np.abs(v - other), ZERO)
            np.maximum(numbers[row] + change * (size - numbers[row]), least, out=numbers[row])

    def _smooth(self, numbers: Float32, v: Float32, alive: NDArray[np.bool_], *, season: Float32) -> Float32:
        """Move the base by one position, in place, in the rows of `numbers` [SEASONS, B]; returns the season's new number [B]."""
        base = self.base
        weights = tuple(np.float32(weight) for weight in (base.level, base.slope, base.season, base.damping))
        age = np.maximum(numbers[AGE], ONE)
        now = smooth(numbers[SMOOTH], numbers[SLOPE], season, v=v, age=age, weights=weights, length=base.length)
        for row, moved in ((SMOOTH, now.level), (SLOPE, now.slope), (ERROR, now.error)):
            numbers[row] = np.where(alive, moved, ZERO)
        numbers[ERROR][numbers[AGE] == 1] = 0
        return np.where(alive, now.season, ZERO)

    def _translated(self, state: State, crossed: NDArray[np.bool_]) -> State:
        """The state, as a copy from logarithms to plain values where a series in logarithms has `crossed` zero.

        exp and expm1 see contiguous numbers only: in others they may round otherwise, as the batch has it.
        """
        rows = np.flatnonzero(crossed)
        rows = rows[state[rows, LOG] > 0]
        if not len(rows):
            return state
        after = state.copy()
        part, plain, change = out_of_logs(state[rows])
        level, smoothed = plain[:, [LEVEL]], plain[:, [SMOOTH]]
        part[:, [AMPLITUDE, SPREAD, ERROR]] *= level
        part[:, SEASONS : self.ring] = smoothed * change[:, SEASONS : self.ring]
        part[:, [SLOPE]] *= smoothed
        part[:, [LEVEL]], part[:, [SMOOTH]], part[:, LOG] = level, smoothed, 0
        part[:, self.ring :] = plain[:, self.ring :]
        after[rows, LOG:] = clipped(part[:, LOG:])
        return after

    def _least(self, level: Float32, log: NDArray[np.bool_]) -> Float32:
        """The smallest amplitude and spread at a level: plain series may have units far apart."""
        plain: Float32 = np.maximum(np.float32(self.least_spread), np.abs(level) * LEAST_SHARE)
        return np.where(log, LEAST_LOG, plain)

    @property
    def feature_count(self) -> int:
        """D, the inputs that the cell sees at each step."""
        return 9 + 2 * len(self.season_lengths)

    def features(self, state: State, observed: NDArray[np.bool_]) -> Float32:
        """What the cell sees at the position just stepped [B, D], all of it within a few units of zero.

        The value against the level, its last change, what the base had not expected and what it expects next, for each season
        the value one season before the *next* position and the change over one season, then age and volatility (each
        x / (x + typical), so that no rounding depends on the batch), whether the series is in logarithms, and whether the
        value was observed.
        """
        return np.ascontiguousarray(self.feature_rows(state, observed).T)

    def feature_rows(self, state: State, observed: NDArray[np.bool_]) -> Float32:
        """`features`, a row for each [D, B]."""
        numbers = state[:, :SEASONS].T.copy()
        level, last = numbers[LEVEL], state[:, self.size - 1].copy()
        size: Float32 = np.maximum(numbers[AMPLITUDE], TINY)
        rows = np.empty((self.feature_count, len(state)), dtype=np.float32)
        next_season = numbers[SMOOTH] + numbers[SLOPE] * self.base.path(1) + state[:, SEASONS]
        rows[0], rows[1], rows[2], rows[3] = last - level, last - state[:, self.size - 2], ZERO, next_season - level
        for k, season in enumerate(self.season_lengths):
            rows[4 + 2 * k] = state[:, self.size - season] - level
            rows[5 + 2 * k] = last - state[:, self.size - season - 1]
        rows[:-5] /= size
        np.divide(numbers[ERROR], np.maximum(numbers[SPREAD], TINY), out=rows[2])
        self._context(numbers, size, into=rows[CONTEXT])
        rows[-1] = observed
        return np.clip(rows, -CLIP, CLIP, out=rows)

    def _context(self, numbers: Float32, size: Float32, *, into: Float32) -> None:
        """The features that a head sees too [4, B]: they follow from the state alone."""
        typical = np.where(numbers[LOG] > 0, np.float32(0.1), np.abs(numbers[LEVEL]))
        np.divide(size, size + typical, out=into[0])
        np.divide(numbers[SPREAD], numbers[SPREAD] + size, out=into[1])
        np.divide(numbers[AGE], numbers[AGE] + OLD_AGE, out=into[2])
        into[3] = numbers[LOG]

    def sight_count(self, horizon: int) -> int:
        """How many numbers a head sees besides the memory."""
        return self.ring_size + horizon + len(range(*CONTEXT.indices(self.feature_count)))

    def sight(self, state: State, horizon: int) -> Float32:
        """What a head sees of the series [B, R + L + C]: the ring and the base against the level, then the context."""
        return np.concatenate(self.sight_parts(state, self.base_forecast(state, horizon)), axis=1)

    def sight_parts(self, state: State, base: Float32) -> tuple[Float32, Float32]:
        """Ring and base [B, R + L], and the context [B, C], of `sight`, where what the base says of each lead is known [B, L]."""
        numbers = state[:, :SEASONS].T.copy()
        size: Float32 = np.maximum(numbers[AMPLITUDE], TINY)
        near = np.concatenate([state[:, self.ring : self.size], base], axis=1)
        near -= numbers[LEVEL, :, None]
        near /= size[:, None]
        context = np.empty((len(range(*CONTEXT.indices(self.feature_count))), len(state)), dtype=np.float32)
        self._context(numbers, size, into=context)
        return np.clip(near, -CLIP, CLIP, out=near), context.T


def out_of_logs(numbers: Float32) -> tuple[Values, Values, Values]:
    """Numbers in logarithms, no further than `UTMOST` allows, what they stand for as levels, and as shares of a level."""
    part = np.clip(numbers.astype(np.float64), -np.log(UTMOST), np.log(UTMOST))
    return part, np.exp(part), np.expm1(part)


def clipped(plain: Values) -> Float32:
    """Numbers that left the logarithms, as a state holds them."""
    return np.clip(plain, -UTMOST, UTMOST).astype(np.float32)


def scaler_for(panel: Panel, horizon: int) -> Scaler:
    """The scaler that a panel's frequency, signs and lengths ask for.

    A season counts where half of the series are at least two of it long; the base is the smoothing with the least error over
    a horizon, among all weights and seasons.
    """
    begun = np.array([not np.isnan(panel.series(b)).all() for b in range(len(panel))], dtype=bool)
    positive = begun & np.array([not (panel.series(b) <= 0).any() for b in range(len(panel))], dtype=bool)
    kind: Literal["log", "signed"] = "log" if begun.any() and 2 * positive.sum() >= begun.sum() else "signed"
    length = float(np.median(panel.lengths)) if len(panel) else 0.0
    seasons = tuple(m for m in panel.frequency.season_lengths if 2 * m <= length)
    longest = max(seasons, default=1)
    ring = max(longest * (2 if 2 * longest <= LONGEST_RING else 1), horizon, LEAST_RING) + 1
    base = choose_smoothing(logs_to_choose_by(panel, kind), horizon=horizon, lengths=(1, *seasons))
    return Scaler(kind, seasons, base, ring, least_spread=_least_spread(panel))


def logs_to_choose_by(panel: Panel, kind: Literal["log", "signed"]) -> Float32:
    """The last values of some series [B, T], as a scaler of this kind has those that never leave the logarithms; else NaN."""
    some = np.random.default_rng(0).permutation(len(panel))[:SERIES_TO_CHOOSE_BY]
    v = np.full((len(some), min(int(panel.lengths.max(initial=1)), POSITIONS_TO_CHOOSE_BY)), np.nan, dtype=np.float32)
    for row, b in enumerate(some):
        y = panel.series(int(b))
        in_logs = kind == "log" and not np.isnan(y).all() and not (y <= 0).any()
        y = y[-v.shape[1] :]
        v[row, : len(y)] = np.log(y) if in_logs else y
    return v


def _least_spread(panel: Panel) -> float:
    """The smallest spread of plain values: a share of what is typical of the series with the smallest ones."""
    sizes = [np.abs(y[np.nonzero(np.nan_to_num(y))]) for y in map(panel.series, range(len(panel)))]
    return max(float(LEAST_SHARE) * min((float(np.median(size)) for size in sizes if len(size)), default=1.0), LEAST_SIZE)
