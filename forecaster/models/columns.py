"""How a column beside the values becomes numbers near zero: prices, promotions, sizes and regions.

N positions or series of the column.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.covariates import Column, as_static_text
from forecaster.models.calendar import Float32
from forecaster.series import Values

CLIP = 10.0  # no input is further than this many deviations from the mean
WIDE = 10.0  # where the largest of positive values is more than so many times the smallest, they are seen in logarithms
MOST_TEXTS = 30


@dataclass(frozen=True)
class Scale:
    """How the values of one column become numbers near zero: in logarithms where `least` is above 0.

    A value is seen in `deviation` from the `centre`, its change in a series in `change`.

    >>> Scale("price", 0.0, centre=10.0, deviation=2.0, change=1.0).of(np.array([14.0, np.nan])).tolist()
    [2.0, 0.0]
    """

    name: str
    least: float
    centre: float
    deviation: float
    change: float

    def transform(self, values: Values) -> Values:
        """Values in the unit of `centre`."""
        return np.log(np.maximum(np.ascontiguousarray(values), self.least)) if self.least > 0 else values

    def of(self, values: Values) -> Float32:
        return _neutral((self.transform(values) - self.centre) / self.deviation)

    def of_change(self, values: Values, before: Values) -> Float32:
        return _neutral((self.transform(values) - self.transform(before)) / self.change)

    def in_changes(self, values: Values) -> Float32:
        """What `of_change` takes the differences of; NaN where the value is unknown."""
        return np.asarray((self.transform(values) - self.centre) / self.change, dtype=np.float32)


@dataclass(frozen=True)
class Texts:
    """A static column of texts; those that two series or more share have a column each, the commonest first."""

    name: str
    texts: tuple[str, ...]

    def of(self, column: Column) -> Float32:
        words = np.array([as_static_text(cell) for cell in column.tolist()], dtype=object)
        return np.asarray(words[:, None] == np.array(self.texts, dtype=object), dtype=np.float32)


def fit_scale(name: str, values: Values, owners: NDArray[np.int64]) -> Scale:
    """The scale of a column [N] whose values belong to series `owners` [N]."""
    is_known = ~np.isnan(values)
    known, owners = values[is_known], owners[is_known]
    if not len(known):
        return Scale(name, 0.0, 0.0, 1.0, 1.0)
    if np.isin(known, (0.0, 1.0)).all():
        return Scale(name, 0.0, float(known.mean()), 1.0, 1.0)
    lowest = float(known.min())
    least = lowest / 2 if lowest > 0 and float(known.max()) > WIDE * lowest else 0.0
    x = Scale(name, least, 0.0, 1.0, 1.0).transform(known)
    centre, deviation = float(x.mean()), float(x.std())
    deviation = deviation if deviation > 1e-9 * max(abs(centre), 1e-9) else 1.0
    own = (np.bincount(owners, weights=x) / np.maximum(np.bincount(owners), 1))[owners]
    change = float(np.sqrt(np.mean((x - own) ** 2)))
    return Scale(name, least, centre, deviation, change if change > 1e-9 * deviation else deviation)


def fit_texts(name: str, column: Column) -> Texts:
    words, counts = np.unique(np.asarray([str(cell) for cell in column if cell != ""]), return_counts=True)
    order = np.argsort(-counts, kind="stable")[:MOST_TEXTS]
    return Texts(name, tuple(str(words[k]) for k in order if counts[k] > 1))


def _neutral(x: Values) -> Float32:
    return np.nan_to_num(np.clip(x, -CLIP, CLIP), nan=0.0).astype(np.float32)
