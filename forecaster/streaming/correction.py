"""How quantiles are corrected: the median is shifted and the distances from it are stretched, so that none can cross.

A *bend* is one number for each tracked quantile: at the median a shift, in half-widths of the forecast; beside it by how much the
distance from the tracked quantile before it, seen from the median, is stretched. Quantiles between two tracked ones move with
the outer one. Axes: L leads, Q quantiles, K tracked ones, G blocks of leads, N scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import ConfigError, StateError
from forecaster.series import Values

Float32 = NDArray[np.float32]

INNER = (0.1, 0.9)  # tracked besides the median and the outermost: the 80 % interval, or what is nearest to it
LEAST_STRETCH, MOST_STRETCH = 0.02, 50.0
MOST_SHIFT = 50.0
PLAIN_SCORES = 50  # what no correction at all is worth, in scores of a block
FURTHEST = 4.0  # mean errors: no error counts for more in their mean


@dataclass(frozen=True)
class Levels:
    """The quantiles of a forecast [Q], and the places of those among them that are tracked [K]."""

    quantiles: tuple[float, ...]
    tracked: tuple[int, ...]

    @classmethod
    def of(cls, quantiles: Sequence[float]) -> "Levels":
        """The median, the outermost quantiles, and those nearest to 0.1 and 0.9.

        Raises ConfigError where there is nothing but the median.

        >>> Levels.of((0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975)).tracked, Levels.of((0.2, 0.5, 0.8)).tracked
        ((0, 1, 3, 5, 6), (0, 1, 2))
        """
        ordered = tuple(quantiles)
        if 0.5 not in ordered or len(ordered) < 2:
            raise ConfigError(
                f"quantiles are {list(ordered)}; a calibration needs 0.5 and others beside it. "
                "Forecast more quantiles, or stream without calibration."
            )
        nearest = {min(range(len(ordered)), key=lambda q: abs(ordered[q] - inner)) for inner in INNER}
        return cls(ordered, tuple(sorted({0, ordered.index(0.5), len(ordered) - 1} | nearest)))

    @cached_property
    def median(self) -> int:
        """The place of the median among the quantiles."""
        return self.quantiles.index(0.5)

    @cached_property
    def middle(self) -> int:
        """The place of the median among the tracked ones."""
        return self.tracked.index(self.median)

    @cached_property
    def alone(self) -> "Levels":
        """The tracked ones and no others."""
        return Levels(tuple(self.quantiles[q] for q in self.tracked), tuple(range(len(self.tracked))))

    @cached_property
    def beyond(self) -> Float32:
        """The share of truths that should lie beyond each tracked quantile, seen from the median [K]."""
        return np.array([min(q, 1 - q) for q in self.alone.quantiles], dtype=np.float32)

    @cached_property
    def intervals(self) -> tuple[tuple[int, int], ...]:
        """Pairs of tracked places that hold an interval between them, the widest first."""
        sides = min(self.middle, len(self.tracked) - 1 - self.middle)
        return tuple((k, len(self.tracked) - 1 - k) for k in range(sides))

    @cached_property
    def no_bend(self) -> Float32:
        """The bends that correct nothing [K]."""
        bends = np.ones(len(self.tracked), dtype=np.float32)
        bends[self.middle] = 0
        return bends


def half_width(values: Values, levels: Levels) -> Values:
    """Half of what lies between the outermost quantiles, of values [..., Q]."""
    return np.asarray((values[..., levels.tracked[-1]] - values[..., levels.tracked[0]]) / 2)


def correct(values: Values, bends: Float32, levels: Levels) -> Values:
    """Quantiles [..., Q] after bends [..., K]; they do not fall along Q where they did not before.

    >>> levels = Levels.of((0.1, 0.3, 0.5, 0.9))
    >>> correct(np.array([8.0, 9.0, 10.0, 14.0]), np.array([2.0, 1.0, 0.5], dtype=np.float32), levels)
    array([ 9., 11., 13., 15.])
    """
    corrected = np.empty_like(values)
    median, middle = levels.median, levels.middle
    corrected[..., median] = values[..., median] + bends[..., middle] * half_width(values, levels)
    for side, places in ((-1, range(middle - 1, -1, -1)), (1, range(middle + 1, len(levels.tracked)))):
        anchor = median
        for k in places:
            for q in range(anchor + side, levels.tracked[k] + side, side):
                corrected[..., q] = corrected[..., anchor] + bends[..., k] * (values[..., q] - values[..., anchor])
            anchor = levels.tracked[k]
    return corrected


@dataclass(frozen=True)
class Prior:
    """What a series begins with: the bends of each block of leads [G, K], and its mean error in half-widths [G]."""

    bends: tuple[tuple[float, ...], ...]
    mean_errors: tuple[float, ...]

    @classmethod
    def plain(cls, levels: Levels, block_count: int) -> "Prior":
        """No correction, and the errors of a normal distribution."""
        outermost = [NormalDist().inv_cdf(levels.quantiles[levels.tracked[place]]) for place in (0, -1)]
        error = np.sqrt(2 / np.pi) / ((outermost[1] - outermost[0]) / 2)
        return cls((tuple(map(float, levels.no_bend)),) * block_count, (float(np.float32(error)),) * block_count)

    @classmethod
    def from_scores(cls, forecasts: Sequence[Values], truths: Sequence[Values], levels: Levels) -> "Prior":
        """The bends with which forecasts [N, K] of each block would have covered their truths [N] as they should.

        Few scores count for little: a block's bends are drawn towards none as if `PLAIN_SCORES` more had asked for that.
        Source: split conformal prediction of quantiles, Romano, Patterson, Candès 2019, arXiv:1905.03222.
        """
        plain = cls.plain(levels, len(forecasts))
        bends, errors = [], []
        for block, (values, y) in enumerate(zip(forecasts, truths, strict=True)):
            half = half_width(values, levels.alone)
            use = np.isfinite(values).all(axis=1) & np.isfinite(y) & (half > 0)
            share = use.sum() / (use.sum() + PLAIN_SCORES)
            own, error = _bends_of(values[use], y[use], levels) if use.any() else (levels.no_bend, plain.mean_errors[block])
            bends.append(_floats(levels.no_bend + share * (own - levels.no_bend)))
            errors.append(float(np.float32(plain.mean_errors[block] + share * (error - plain.mean_errors[block]))))
        return cls(tuple(bends), tuple(errors))

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` gives the same prior to the bit."""
        return {"bends": [list(row) for row in self.bends], "mean_errors": list(self.mean_errors)}

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "Prior":
        """The prior that `to_dict` gave; StateError for anything else.

        >>> prior = Prior.plain(Levels.of((0.1, 0.5, 0.9)), 2)
        >>> Prior.from_dict(prior.to_dict()) == prior
        True
        """
        try:
            prior = cls(tuple(_floats(row) for row in kept["bends"]), _floats(kept["mean_errors"]))
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(kept) from error
        if not np.isfinite([*prior.mean_errors, *(bend for row in prior.bends for bend in row)]).all():
            raise _damaged(kept)
        return prior

    def check(self, levels: Levels, block_count: int) -> None:
        """Raises StateError where the prior is of other leads or quantiles."""
        widths = sorted({len(row) for row in self.bends})
        if widths != [len(levels.tracked)] or not len(self.bends) == len(self.mean_errors) == block_count:
            raise StateError(
                f"the prior of a calibration is of {len(self.bends)} blocks of leads and {widths} quantiles; "
                f"this model has {block_count} and {len(levels.tracked)}. Rebuild the state with `forecast warm`."
            )


def _damaged(kept: object) -> StateError:
    return StateError(
        f"the prior of a calibration is {kept!r:.60}; expected finite numbers in bends and mean_errors. "
        "Rebuild the state with `forecast warm`."
    )


def _bends_of(values: Values, y: Values, levels: Levels) -> tuple[Values, float]:
    """The bends [K] that fit forecasts [N, K] to their truths [N], and the mean error that is left, in half-widths."""
    half, bends = half_width(values, levels.alone), levels.no_bend.astype(np.float64)
    middle = levels.middle
    bends[middle] = np.clip(np.median((y - values[:, middle]) / half), -MOST_SHIFT, MOST_SHIFT)
    error = np.abs(y - values[:, middle] - bends[middle] * half) / half
    for side, places in ((-1, range(middle - 1, -1, -1)), (1, range(middle + 1, len(levels.tracked)))):
        anchor = middle
        for k in places:
            fitted = correct(values, bends.astype(np.float32), levels.alone)
            step = side * (values[:, k] - values[:, anchor])
            room = step > 0
            if room.any():
                needed = side * (y - fitted[:, anchor])[room] / step[room]
                bends[k] = np.clip(np.quantile(needed, 1 - levels.beyond[k]), LEAST_STRETCH, MOST_STRETCH)
            anchor = k
    return bends, float(np.minimum(error, FURTHEST * max(float(np.median(error)), 1e-6)).mean())


def _floats(numbers: Sequence[float] | Values) -> tuple[float, ...]:
    """Rounded to what a state can hold."""
    return tuple(float(number) for number in np.asarray(numbers, dtype=np.float32))
