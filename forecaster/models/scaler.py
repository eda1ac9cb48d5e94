"""The causal scale of a series: a smoothed level, two smoothed sizes, and a ring of the last values, all in the state.

A network shared by many series has to see them in one unit. That unit may know the past only, and must cost the same at
the millionth observation as at the first, so it is itself exponential smoothing. With v the value (its logarithm on a
panel of positive values), and a the larger of `alpha` and 1 / age, so that young series are averaged:

    level     = level     + a (v - level)
    amplitude = amplitude + a (|v - level| - amplitude)             how far values swing: the unit of what the network sees
    spread    = spread    + a (|v - v one season ago| - spread)     what a season does not explain: the unit of what it says

Everything here is float32 numpy and elementwise, hence exact and the same for any batch. B series, R ring size.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State
from forecaster.series import Panel, Values

Float32 = NDArray[np.float32]

# where things lie in the state; the ring runs to the scaler's `size`, newest last
AGE, LEVEL, AMPLITUDE, SPREAD, RING = 0, 1, 2, 3, 4
CLIP = np.float32(10)  # no input and no ring value is further than this many amplitudes from the level
OLD_AGE = np.float32(50)  # positions at which a series counts as half known
CONTEXT = slice(-4, -1)  # the features that a head sees besides the ring: they follow from the state alone
LEAST_SHARE = np.float32(1e-4)  # of a typical value: what is smaller is not told from rounding
LONGEST_RING = 120  # above this a ring holds one season, below it two


@dataclass(frozen=True)
class Scaler:
    """How values become numbers near one, and back.

    `kind` is `log` on panels of positive values and `signed` on others. `base_season` is the season of the spread and of the
    seasonal-naive base that forecasts start from. `least_value` stands in for a value at or below zero that reaches a `log`
    scaler after training; `least_spread` keeps a constant series from dividing by zero.

    >>> scaler = Scaler("log", season_lengths=(2,), base_season=2, ring_size=4, least_value=1e-3, least_spread=1e-3)
    >>> state = scaler.initial_state(1)
    >>> for y in (1.0, 1.0, 1.0):
    ...     state = scaler.step(state, np.array([y]))
    >>> state[0].astype(float).round(3).tolist()
    [3.0, 0.0, 0.001, 0.001, 0.0, 0.0, 0.0, 0.0]
    """

    kind: Literal["log", "signed"]
    season_lengths: tuple[int, ...]
    base_season: int
    ring_size: int
    least_value: float
    least_spread: float

    @property
    def size(self) -> int:
        """How many numbers of the state are the scaler's."""
        return RING + self.ring_size

    @cached_property
    def alpha(self) -> float:
        """The weight of a new value: a memory of about seven seasons."""
        return 2.0 / (1.0 + 7.0 * max(self.season_lengths[:1], default=1))

    def base_columns(self, horizon: int) -> NDArray[np.int64]:
        """Where the ring holds the value that each lead repeats [L]: the seasonal-naive forecast."""
        return self.ring_size - self.base_season + np.arange(horizon) % self.base_season

    def initial_state(self, count: int) -> State:
        """The state [B, size] of series that have not begun: all zero."""
        return np.zeros((count, self.size), dtype=np.float32)

    def transform(self, y: Values) -> Float32:
        """Values in the unit of the state, NaN where y is."""
        if self.kind == "signed":
            return y.astype(np.float32)
        return np.log(np.maximum(np.ascontiguousarray(y), self.least_value)).astype(np.float32)

    def restore(self, v: NDArray[np.floating]) -> Values:
        """Values in the unit of the data."""
        return np.exp(v.astype(np.float64)) if self.kind == "log" else v.astype(np.float64)

    def step(self, state: State, y: Values) -> State:
        """The state after one more position; y [B] is NaN where nothing was observed.

        A missing value leaves level and spread as they are, and the ring repeats the value of one season ago. A series
        that has not begun does not begin with a missing value.
        """
        v = self.transform(y)
        observed = ~np.isnan(v)
        begun = state[:, AGE] > 0
        ring = state[:, RING : self.size]
        season_ago = ring[:, self.ring_size - self.base_season]
        after = np.empty_like(state)
        after[:, : self.size - 1] = state[:, : self.size - 1]
        after[:, RING : self.size - 1] = ring[:, 1:]
        after[:, self.size - 1] = np.where(observed, v, season_ago)
        after[:, AGE] = np.where(begun | observed, state[:, AGE] + np.float32(1), np.float32(0))
        weight = np.maximum(np.float32(self.alpha), np.float32(1) / np.maximum(after[:, AGE], np.float32(1)))
        change = np.where(observed, weight, np.float32(0))
        known = np.where(observed, v, np.float32(0))
        after[:, LEVEL] = state[:, LEVEL] + change * (known - state[:, LEVEL])
        swing = np.where(observed, np.abs(v - after[:, LEVEL]), np.float32(0))
        gone = np.where(observed, np.abs(v - season_ago), np.float32(0))
        least = np.where(after[:, AGE] > 0, self._least(after[:, LEVEL]), np.float32(0))
        after[:, AMPLITUDE] = np.maximum(state[:, AMPLITUDE] + change * (swing - state[:, AMPLITUDE]), least)
        after[:, SPREAD] = np.maximum(state[:, SPREAD] + change * (gone - state[:, SPREAD]), least)
        first = observed & ~begun
        after[first, LEVEL] = v[first]
        after[first, AMPLITUDE] = after[first, SPREAD] = self._least(v[first])
        after[first, RING : self.size] = v[first, None]
        return after

    def _least(self, level: Float32) -> Float32:
        """The smallest amplitude and spread at a level: series of a signed panel may have units far apart."""
        least: Float32 = np.full_like(level, self.least_spread)
        return least if self.kind == "log" else np.maximum(least, np.abs(level) * LEAST_SHARE)

    @property
    def feature_count(self) -> int:
        """D, the inputs that the cell sees at each step."""
        return 6 + 2 * len(self.season_lengths)

    def features(self, state: State, observed: NDArray[np.bool_]) -> Float32:
        """What the cell sees at the position just stepped [B, D], all of it within a few units of zero.

        The value against the level, its last change, for each season the value one season before the *next* position and the
        change over one season, then age and volatility (each x / (x + typical), so that no rounding depends on the batch),
        and whether the value was observed.
        """
        ring = state[:, RING : self.size]
        level, last = state[:, LEVEL], ring[:, -1]
        size: Float32 = np.maximum(state[:, AMPLITUDE], self.least_spread, dtype=np.float32)
        columns: list[Float32] = [(last - level) / size, (last - ring[:, -2]) / size]
        for season in self.season_lengths:
            columns.append((ring[:, -season] - level) / size)
            columns.append((last - ring[:, -season - 1]) / size)
        typical = np.full_like(level, 0.1) if self.kind == "log" else np.abs(level)
        columns.append(size / (size + typical))
        columns.append(state[:, SPREAD] / (state[:, SPREAD] + size))
        columns.append(state[:, AGE] / (state[:, AGE] + OLD_AGE))
        columns.append(observed.astype(np.float32))
        return np.clip(np.stack(columns, axis=1), -CLIP, CLIP)


@dataclass(frozen=True)
class Track:
    """The scaler's walk over a panel, N positions in the order of the panel's values.

    `values` are the transformed values with the gaps filled as the ring fills them; `padded` holds them with `ring_size - 1`
    copies of the first one before each series, so that `padded[at[n] : at[n] + ring_size]` is the ring at position n.
    """

    features: Float32  # [N, D]
    level: Float32  # [N]
    amplitude: Float32  # [N]
    spread: Float32  # [N]
    age: Float32  # [N]
    values: Float32  # [N]
    padded: Float32
    at: NDArray[np.int64]  # [N]

    def state_at(self, rows: NDArray[np.int64], scaler: Scaler) -> State:
        """The scaler's state [len(rows), scaler.size] after the values at the given rows of the panel."""
        state = scaler.initial_state(len(rows))
        for column, numbers in ((AGE, self.age), (LEVEL, self.level), (AMPLITUDE, self.amplitude), (SPREAD, self.spread)):
            state[:, column] = numbers[rows]
        state[:, RING:] = np.lib.stride_tricks.sliding_window_view(self.padded, scaler.ring_size)[self.at[rows]]
        state[state[:, AGE] == 0] = 0
        return state


def track(scaler: Scaler, panel: Panel) -> Track:
    """The scaler stepped over every series of the panel at once."""
    lengths, count = panel.lengths, len(panel.values)
    order = np.argsort(-lengths, kind="stable")
    alive = np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)), side="left")
    state = scaler.initial_state(len(panel))
    numbers = np.empty((5, count), dtype=np.float32)
    features = np.empty((count, scaler.feature_count), dtype=np.float32)
    for step, k in enumerate(alive):
        rows = panel.offsets[order[:k]] + step
        y = panel.values[rows]
        state[:k] = scaler.step(state[:k], y)
        features[rows] = scaler.features(state[:k], ~np.isnan(y))
        numbers[:, rows] = state[:k, [LEVEL, AMPLITUDE, SPREAD, AGE, scaler.size - 1]].T
    level, amplitude, spread, age, values = numbers
    pad = scaler.ring_size - 1
    at = np.arange(count) + np.repeat(np.arange(len(panel)) * pad, lengths)
    padded = np.empty(count + pad * len(panel), dtype=np.float32)
    for b in range(len(panel)):
        one = slice(panel.offsets[b], panel.offsets[b + 1])
        values[one][age[one] == 0] = values[one][np.argmax(age[one] > 0)]
        padded[at[one.start] : at[one.start] + pad] = values[one.start]
    padded[at + pad] = values
    return Track(features, level, amplitude, spread, age, values, padded, at)


def scaler_for(panel: Panel, horizon: int) -> Scaler:
    """The scaler that a panel's frequency, sign and lengths ask for.

    A season counts where half of the series are at least two of it long; the base season is the one whose repetition has
    the smaller error over a horizon, series by series, in the middle of the panel.
    """
    known = panel.values[~np.isnan(panel.values)]
    positive = len(known) > 0 and bool((known > 0).all())
    length = float(np.median(panel.lengths)) if len(panel) else 0.0
    seasons = tuple(m for m in panel.frequency.season_lengths if 2 * m <= length)
    longest = max(seasons, default=1)
    ring = max(longest * (2 if 2 * longest <= LONGEST_RING else 1), horizon, 8) + 1
    return Scaler(
        kind="log" if positive else "signed",
        season_lengths=seasons,
        base_season=_best_season(panel, (1, *seasons), horizon=horizon, logs=positive),
        ring_size=ring,
        least_value=0.5 * float(known.min()) if positive else 0.0,
        least_spread=_least_spread(panel, logs=positive),
    )


def _least_spread(panel: Panel, *, logs: bool) -> float:
    """The smallest spread: of the panel's logarithms, or of the series with the smallest values."""
    if logs:
        v = np.log(panel.values[~np.isnan(panel.values)])
        return max(float(LEAST_SHARE) * float(np.median(np.abs(v - np.median(v)))), 1e-6)
    sizes = [np.abs(y[np.nonzero(np.nan_to_num(y))]) for y in map(panel.series, range(len(panel)))]
    return max(float(LEAST_SHARE) * min((float(np.median(size)) for size in sizes if len(size)), default=1.0), 1e-12)


def _best_season(panel: Panel, candidates: tuple[int, ...], *, horizon: int, logs: bool) -> int:
    """The season whose naive forecast is best over most series: the errors at all leads, each series by its own mean."""
    errors = np.full((len(panel), len(candidates)), np.nan)
    for b in range(len(panel)):
        y = np.log(panel.series(b)) if logs else panel.series(b)
        for c, season in enumerate(candidates):
            lags = [season * -(-lead // season) for lead in sorted({1, (horizon + 1) // 2, horizon})]
            means = [np.abs(y[lag:] - y[:-lag]) for lag in lags if lag < len(y)]
            seen = [np.nanmean(e) for e in means if np.isfinite(e).any()]
            if len(seen) == len(lags):
                errors[b, c] = np.mean(seen)
    whole = errors[np.isfinite(errors).all(axis=1)]
    scale = whole.mean(axis=1, keepdims=True)
    whole = whole[scale[:, 0] > 0] / scale[scale[:, 0] > 0]
    return candidates[int(whole.mean(axis=0).argmin())] if len(whole) else 1
