"""Rank correlations and relative losses with the intervals that resampling gives them.

Axes: U units (of a network, or series, or origins), R repetitions.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, t

from forecaster.evaluation.significance import FEWEST_UNITS
from forecaster.series import Values

REPETITIONS = 2_000
ENDS = (0.025, 0.975)  # of a 95 % interval


@dataclass(frozen=True)
class Correlation:
    """A rank correlation (Spearman) over `count` things, called `of`, with its 95 % interval; NaN where it cannot be said."""

    value: float
    low: float
    high: float
    count: int
    of: str

    @property
    def is_tested(self) -> bool:
        return self.count >= FEWEST_UNITS and math.isfinite(self.low)

    @property
    def is_noise(self) -> bool:
        return not self.is_tested or self.low <= 0 <= self.high

    @property
    def reason(self) -> str:
        """Why it is not tested."""
        if self.count < FEWEST_UNITS:
            return f"{self.count} {self.of} are too few, {FEWEST_UNITS} are needed"
        return f"in one of the two all {self.of} are alike"

    @property
    def told(self) -> str:
        """The number with its interval, in words; what lies next to zero with the digits that show on which side."""
        value, low, high = (f"{x:.2f}" if abs(x) >= 0.005 else f"{x:.4f}" for x in (self.value, self.low, self.high))
        return f"rank correlation {value} (95 % interval {low} to {high}) over {self.count:,} {self.of}"


@dataclass(frozen=True)
class Loss:
    """How much larger a mean loss became, as a share of what it was, with its 95 % interval over `count` series or origins.

    NaN where there are too few to say.
    """

    value: float
    low: float
    high: float
    count: int
    of: str

    @property
    def is_tested(self) -> bool:
        return self.count >= FEWEST_UNITS and math.isfinite(self.low)

    @property
    def is_noise(self) -> bool:
        return not self.is_tested or self.low <= 0 <= self.high


def rank_correlation(x: Values, y: Values, *, of: str, again: tuple[Values, Values] | None = None, seed: int = 0) -> Correlation:
    """Spearman's rank correlation of x and y [U], with the interval of the percentile bootstrap over the U.

    Where x and y are themselves means over something that could have been otherwise, `again` is both with that drawn anew [R, U]:
    the interval then covers both draws. Source: Efron 1979, doi:10.1214/aos/1176344552; two ways at once: Owen 2007,
    doi:10.1214/07-AOAS122.

    >>> rank_correlation(np.arange(20.0), np.arange(20.0) ** 2, of="units").told
    'rank correlation 1.00 (95 % interval 1.00 to 1.00) over 20 units'
    """
    value = float(_spearman(x[None], y[None])[0])
    if len(x) < FEWEST_UNITS or math.isnan(value):
        return Correlation(value, math.nan, math.nan, len(x), of)
    drawn = np.random.default_rng(seed).integers(len(x), size=(REPETITIONS, len(x)))
    if again is None:
        found = _spearman(x[drawn], y[drawn])
    else:
        found = _spearman(*(np.take_along_axis(one, drawn, axis=1) for one in again))
    low, high = np.nanquantile(found, ENDS)
    return Correlation(value, float(low), float(high), len(x), of)


def relative_loss(before: Values, after: Values, *, of: str) -> Loss:
    """How much the mean of `after` [U] lies above that of `before` [U], as a share, with its 95 % interval over paired units.

    The error of the ratio is linearised, so that of few units the interval is Student's.
    Source: Cochran 1977, Sampling Techniques, section 6.4.

    >>> relative_loss(np.full(12, 2.0), np.full(12, 3.0), of="series")
    Loss(value=0.5, low=0.5, high=0.5, count=12, of='series')
    """
    if not len(before) or not before.mean() > 0:
        return Loss(math.nan, math.nan, math.nan, len(before), of)
    ratio = float(after.mean() / before.mean())
    margin = math.nan
    if len(before) >= FEWEST_UNITS:
        error = np.std((after - ratio * before) / before.mean(), ddof=1) / math.sqrt(len(before))
        margin = float(error * t.ppf(ENDS[1], len(before) - 1))
    return Loss(ratio - 1, ratio - 1 - margin, ratio - 1 + margin, len(before), of)


def _spearman(x: Values, y: Values) -> Values:
    """The rank correlation of each row [R] of x and y [R, U]; NaN where a row is all alike."""
    centred = [ranks - ranks.mean(axis=1, keepdims=True) for ranks in (rankdata(x, axis=1), rankdata(y, axis=1))]
    product, sizes = (centred[0] * centred[1]).sum(1), [np.sqrt((part**2).sum(1)) for part in centred]
    size = sizes[0] * sizes[1]
    return np.asarray(np.divide(product, size, out=np.full(len(x), np.nan), where=size > 0))
