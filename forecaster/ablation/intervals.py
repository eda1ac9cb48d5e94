"""How much one forecaster gains on another, and how sure that is, over units (series or origins) and seeds.

Two things are drawn at random in such an experiment: the units that were scored, and the seeds that were trained. An interval
that takes the trained networks for granted is too narrow for a statement about a rung, since the next training of it will differ.
Axes: U units, K seeds.
"""

import math
from dataclasses import dataclass

import numpy as np

from forecaster.evaluation.significance import FEWEST_UNITS
from forecaster.series import Values


@dataclass(frozen=True)
class Gain:
    """The share of another's loss that a forecaster saves, and the interval that holds it with this confidence.

    Negative where it loses more. The interval is NaN where fewer than ten units speak, or there is no loss to save.
    """

    share: float
    low: float
    high: float
    confidence: float

    @property
    def is_known(self) -> bool:
        return not math.isnan(self.low)

    def __neg__(self) -> "Gain":
        return Gain(-self.share, -self.high, -self.low, self.confidence)


def gain(ours: Values, theirs: Values, *, confidence: float = 0.95) -> Gain:
    """The gain of `ours` [U, K] on `theirs` [U, K], mean losses of the same units; one that has no seeds has K = 1.

    1 - mean(ours) / mean(theirs), its error linearised. The variance of the mean is that of two crossed random effects, units and
    seeds, with Satterthwaite's degrees of freedom: three seeds that agree cost nothing, three that differ widen the interval.
    Losses of the same seed are paired, as they were trained on the same windows.

    Source: Cochran 1977, Sampling Techniques, 6.4 (the ratio); Satterthwaite 1946, doi:10.2307/3002019.

    >>> losses = np.random.default_rng(0).normal(1.0, 0.1, size=(100, 3))
    >>> same = gain(losses, losses[:, ::-1])
    >>> same.low < 0 < same.high, gain(0.9 * losses, losses).share.__round__(6)
    (True, 0.1)
    """
    ours, theirs = np.broadcast_arrays(ours, theirs)
    whole = float(theirs.mean()) if theirs.size else math.nan
    if not whole > 0:
        return Gain(math.nan, math.nan, math.nan, confidence)
    ratio = float(ours.mean()) / whole
    margin = _margin((ours - ratio * theirs) / whole, confidence) if len(ours) >= FEWEST_UNITS else math.nan
    return Gain(1 - ratio, 1 - ratio - margin, 1 - ratio + margin, confidence)


def _margin(values: Values, confidence: float) -> float:
    """Half of the interval of the mean of values [U, K], random in both axes."""
    from scipy import stats

    units, seeds = values.shape
    by_unit = seeds * values.mean(axis=1).var(ddof=1)  # mean squares of an analysis of variance
    by_seed = units * values.mean(axis=0).var(ddof=1) if seeds > 1 else 0.0
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    residual = (rest**2).sum() / ((units - 1) * max(seeds - 1, 1))
    square, freedom = max((by_unit, units - 1.0), (by_seed, seeds - 1.0))
    if by_unit > residual and by_seed > residual:  # else one of the two effects is estimated as none
        square = by_unit + by_seed - residual
        parts = by_unit**2 / (units - 1) + by_seed**2 / (seeds - 1) + residual**2 / ((units - 1) * (seeds - 1))
        freedom = square**2 / parts
    return float(stats.t.ppf((1 + confidence) / 2, freedom) * math.sqrt(square / values.size))
