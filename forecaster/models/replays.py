"""Series begun again in the middle of their lives, to see what it costs not to know their past.

Axes: R replays, A ages, L leads, Q quantiles.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forecaster.models.holt_winters import Float32
from forecaster.models.pool import MOST_YOUNG
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import Scaler
from forecaster.series import Origins, Panel, Values

REPLAYS, LEAST_REPLAYS = 128, 8
PAST = 20  # seasons: of what lies further back nothing is left
WORST = 20.0  # mean changes: an error counts for no more
INTERVAL = (0.1, 0.9)


@dataclass(frozen=True)
class Replays:
    """Pieces of series that are begun again, and the ages at which they are asked."""

    panel: Panel
    index: NDArray[np.int64]  # [R] the series of each
    begin: NDArray[np.int64]  # [R] its values before that are not known
    ages: NDArray[np.int64]  # [A]
    horizon: int
    season: int
    is_odd: NDArray[np.bool_]  # [B] which half of the panel a series belongs to, drawn by lot

    @classmethod
    def of(cls, panel: Panel, scaler: Scaler, horizon: int) -> "Replays | None":
        """Replays of a panel that are as long as its series allow; None where they allow too few."""
        season = min(min(scaler.season_lengths, default=2), MOST_YOUNG)
        for longest in (4 * season, 2 * season, season):
            index, begin = _places(panel, longest=longest, horizon=horizon, past=season)
            if len(index) >= LEAST_REPLAYS and len(set(index.tolist())) >= 2:
                ages = np.unique(np.append(2 ** np.arange(int(np.log2(longest)) + 1), [longest // 2, longest]))
                is_odd = np.random.default_rng(1).permutation(len(panel)) % 2 == 1
                return cls(panel, index, begin, ages, horizon, season, is_odd)
        return None

    def half(self, *, odd: bool) -> tuple[Panel, "Replays"]:
        """The series of one half, and the replays of the other."""
        own = self.is_odd[self.index] != odd
        part = self.panel.select(np.flatnonzero(self.is_odd == odd).tolist())
        return part, replace(self, index=self.index[own], begin=self.begin[own])

    def merged(self, of_even: Values, of_odd: Values) -> Values:
        """The forecasts of the replays of both halves [R, A, L, Q], in the order of the replays."""
        is_odd = self.is_odd[self.index]
        values = np.empty((len(is_odd), *of_even.shape[1:]))
        values[is_odd], values[~is_odd] = of_odd, of_even
        return values

    def known(self, forecaster: Recurrent) -> Values:
        """The forecasts [R, A, L, Q] of who knows the past, or as much of it as leaves a trace."""
        return self._asked(forecaster, np.minimum(self.begin, PAST * self.season))

    def begun(self, forecaster: Recurrent) -> Values:
        """The forecasts [R, A, L, Q] of who begins here."""
        return self._asked(forecaster, np.zeros_like(self.begin))

    def _asked(self, forecaster: Recurrent, past: NDArray[np.int64]) -> Values:
        """The forecasts [R, A, L, Q] of who knows so many values [R] of the past."""
        part, first, stop = self.panel.select(self.index.tolist()), self.begin - past, self.begin + self.ages[-1]
        pieces = [part.series(r)[first[r] : stop[r]] for r in range(len(part))]
        offsets = np.append(0, np.cumsum(stop - first))
        cut = replace(part, starts=part.starts + first, offsets=offsets, values=np.concatenate([*pieces, np.empty(0)]))
        origins = Origins(np.repeat(np.arange(len(part)), len(self.ages)), (past[:, None] + self.ages).ravel())
        made = forecaster.predict(cut, self.horizon, quantiles=forecaster.quantiles, origins=origins)
        values: Values = made.values.reshape(len(part), len(self.ages), self.horizon, -1)
        return values

    @cached_property
    def truths(self) -> Values:
        """What came after each origin [R, A, L]."""
        at = (self.panel.offsets[self.index] + self.begin)[:, None, None] + self.ages[:, None] + np.arange(self.horizon)
        return np.asarray(self.panel.values[at])

    def errors(self, values: Values, median: int) -> Values:
        """The mean absolute error at each age [A] of the medians of forecasts [R, A, L, Q], in mean changes of the series."""
        sizes = np.array([np.nanmean(np.abs(np.diff(self.panel.series(b)))) for b in self.index])
        errors = np.abs(values[..., median] - self.truths) / np.maximum(sizes, 1e-300)[:, None, None]
        return np.asarray(np.nanmean(np.minimum(errors, WORST), axis=(0, 2)))

    def widths(self, begun: Values, known: Values, quantiles: Sequence[float], *, is_log: bool) -> Float32:
        """By how much intervals have to be wider at ages 1, 2, … for those who begin to be as sure as those who know.

        The errors' distances from the median, in those of the interval's ends, tell it at the ages that were asked; between
        them it falls as the logarithm of the age grows, and to nothing at twice the oldest.
        """
        levels = np.asarray(quantiles)
        low, high = (int(np.abs(levels - level).argmin()) for level in INTERVAL)
        median = int(np.abs(levels - 0.5).argmin())
        if not low < median < high:
            return np.ones(1, dtype=np.float32)
        share = levels[high] - levels[low]
        far = [_reach(v[..., [low, median, high]], self.truths, share, is_log=is_log) for v in (begun, known)]
        at_ages = np.maximum.accumulate(np.maximum(far[0] / far[1], 1.0)[::-1])[::-1]
        oldest = int(self.ages[-1])
        ages = np.log2(np.append(self.ages, 2 * oldest))
        return np.asarray(np.interp(np.log2(np.arange(1, 2 * oldest + 1)), ages, np.append(at_ages, 1.0)), dtype=np.float32)


def _places(panel: Panel, *, longest: int, horizon: int, past: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Series [R] and the first of their values to be shown [R]: from all their lives where the series are few."""
    random = np.random.default_rng(0)
    some = np.sort(random.permutation(len(panel))[:REPLAYS])
    index, begin = [], []
    for b in some:
        last = int(panel.lengths[b]) - longest - horizon - int(random.integers(past))
        places = last - np.arange(max(REPLAYS // len(some), 1)) * (longest + horizon)
        for place in places[places >= past]:
            if not np.isnan(panel.series(int(b))[place]):
                index.append(int(b))
                begin.append(int(place))
    return np.array(index, dtype=np.int64), np.array(begin, dtype=np.int64)


def _reach(ends: Values, truths: Values, share: float, *, is_log: bool) -> Values:
    """How many of the ways from the median to the interval's ends [R, A, L, 3] hold a share of the truths [A]."""
    if is_log:
        with np.errstate(all="ignore"):
            ends, truths = np.log(ends), np.log(truths)
    low, median, high = np.moveaxis(ends, -1, 0)
    with np.errstate(all="ignore"):
        away = np.where(truths > median, (truths - median) / (high - median), (median - truths) / (median - low))
    away[~np.isfinite(away)] = np.nan
    return np.asarray(np.nanquantile(np.moveaxis(away, 1, 0).reshape(away.shape[1], -1), share, axis=1))
