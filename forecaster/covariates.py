"""What is known of series besides their values: covariates whose future is known too, and what never changes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forecaster.frequency import Positions
from forecaster.paged import paged_array

Values = NDArray[np.float64]
Column = NDArray[np.float64] | NDArray[np.object_]


@dataclass(frozen=True)
class Known:
    """Covariates whose future is known: prices, promotions, forecasts of the weather.

    Series b has `values[offsets[b]:offsets[b + 1]]` at consecutive positions from `starts[b]`, which may lie before and after
    those that have a value; NaN is unknown. Up to `carried_to[b]`, where the series was last observed, a hole takes the value
    before it; after that it stays unknown. B series, K covariates: names [K], starts [B], offsets [B + 1], values [M, K].

    >>> price = np.array([[2.0], [np.nan], [3.0], [np.nan], [4.0]])
    >>> known = Known.from_rows(("price",), np.zeros(5, int), positions=np.arange(5), values=price, carried_to=np.array([2]))
    >>> known.at(np.array([0]), np.array([[0, 1, 2, 3, 4, 5]]))[0, :, 0]
    array([ 2.,  2.,  3., nan,  4., nan])
    """

    names: tuple[str, ...]
    starts: Positions
    offsets: NDArray[np.int64]
    values: Values
    carried_to: Positions

    @classmethod
    def from_rows(
        cls, names: tuple[str, ...], codes: NDArray[np.int64], *, positions: Positions, values: Values, carried_to: Positions
    ) -> "Known":
        """The covariates in rows [N] of series `codes`, in any order, each series and position once; values [N, K]."""
        given = ~np.isnan(values).all(axis=1)
        codes, positions, values = codes[given], positions[given], values[given]
        lowest, highest = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        starts, ends = np.full(len(carried_to), highest), np.full(len(carried_to), lowest)
        np.minimum.at(starts, codes, positions)
        np.maximum.at(ends, codes, positions)
        is_there = starts <= ends
        lengths = np.where(is_there, np.maximum(ends, carried_to) - np.where(is_there, starts, 0) + 1, 0)
        starts = np.where(is_there, starts, 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        whole = np.full((int(offsets[-1]), len(names)), np.nan)
        whole[offsets[codes] + positions - starts[codes]] = values
        return cls(names, starts, offsets, whole, carried_to)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Positions from the first to the last one known of each series [B]; 0 where nothing is."""
        return np.diff(self.offsets)

    @property
    def ends(self) -> Positions:
        """The last position of each series [B]; the one before its start where nothing is known."""
        return self.starts + self.lengths - 1

    @cached_property
    def filled(self) -> Values:
        """The values with the holes of the past filled [M, K]."""
        first = np.repeat(self.offsets[:-1], self.lengths)
        rows = np.arange(len(self.values))
        is_past = rows - first + np.repeat(self.starts, self.lengths) <= np.repeat(self.carried_to, self.lengths)
        filled = self.values.copy()
        for k in range(len(self.names)):
            is_hole = np.isnan(self.values[:, k])
            before = np.maximum.accumulate(np.where(is_hole, -1, rows)) if len(rows) else rows
            holes = np.flatnonzero(is_hole & is_past & (before >= first))
            filled[holes, k] = self.values[before[holes], k]
        return filled

    @property
    def reach(self) -> NDArray[np.int64]:
        """How many positions after the last observation each covariate is known for, without a hole [B, K]."""
        ahead = np.where(self.starts <= self.carried_to + 1, np.maximum(self.ends - self.carried_to, 0), 0)
        reach = np.repeat(ahead[:, None], len(self.names), axis=1)
        series = np.repeat(np.arange(len(self.starts)), self.lengths)
        behind = np.arange(len(self.values)) - (self.offsets[:-1] + self.carried_to - self.starts + 1)[series]
        for k in range(len(self.names)):
            holes = np.flatnonzero(np.isnan(self.values[:, k]) & (behind >= 0))
            np.minimum.at(reach[:, k], series[holes], behind[holes])
        return reach

    def at(self, index: NDArray[np.int64], positions: Positions) -> Values:
        """The covariates [R, L, K] of series `index` [R] at positions [R, L]; NaN where they are unknown."""
        return self._look_up(self.filled, np.broadcast_to(index[:, None], positions.shape), positions)

    def given_at(self, index: NDArray[np.int64], positions: Positions) -> Values:
        """The covariates [N, K] of series `index` [N] at positions [N] as they were given, holes and all."""
        return self._look_up(self.values, index, positions)

    def _look_up(self, table: Values, index: NDArray[np.int64], positions: Positions) -> Values:
        columns = positions - self.starts[index]
        is_inside = (columns >= 0) & (columns < self.lengths[index])
        found = np.full((*positions.shape, len(self.names)), np.nan)
        found[is_inside] = table[(columns + self.offsets[index])[is_inside]]
        return found

    def select(self, indices: NDArray[np.int64]) -> "Known":
        """The covariates of some of the series, in that order."""
        lengths = self.lengths[indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        if len(indices) and (np.diff(indices) == 1).all():
            values = self.values[self.offsets[indices[0]] : self.offsets[indices[-1] + 1]]
        else:
            values = paged_array((int(offsets[-1]), len(self.names)))
            parts = [self.values[self.offsets[b] : self.offsets[b + 1]] for b in indices]
            np.concatenate(parts or [np.empty((0, len(self.names)))], out=values)
        return Known(self.names, self.starts[indices], offsets, values, self.carried_to[indices])

    def byte_parts(self) -> Iterator[bytes | memoryview]:
        """What makes these covariates, for a fingerprint."""
        yield repr(self.names).encode()
        yield from (np.ascontiguousarray(part).data for part in (self.starts, self.offsets, self.values))


@dataclass(frozen=True)
class Static:
    """What never changes in a series: a region, a size. names [S], each with a column [B].

    A column holds numbers, NaN where one is unknown, or texts, "" where one is unknown.

    >>> static = Static(("region", "size"), (np.array(["north", "south"], dtype=object), np.array([1.0, 2.0])))
    >>> static.select(np.array([1])).columns, static.is_text
    ((array(['south'], dtype=object), array([2.])), (True, False))
    """

    names: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def is_text(self) -> tuple[bool, ...]:
        """Which columns hold texts [S]."""
        return tuple(column.dtype == object for column in self.columns)

    def select(self, indices: NDArray[np.int64]) -> "Static":
        """What never changes in some of the series, in that order."""
        return Static(self.names, tuple(column[indices] for column in self.columns))

    def byte_parts(self) -> Iterator[bytes | memoryview]:
        """What makes these columns, for a fingerprint."""
        yield repr((self.names, [column.tolist() for column in self.columns])).encode()


def static_column(cells: Sequence[float | str | None]) -> Column:
    """A column of Static: numbers where all that is known are numbers, else texts.

    >>> static_column([1.0, None]), static_column([1.0, "x", None])
    (array([ 1., nan]), array(['1', 'x', ''], dtype=object))
    """
    if all(cell is None or isinstance(cell, float) for cell in cells):
        return np.asarray([np.nan if cell is None else cell for cell in cells], dtype=np.float64)
    return np.asarray([as_static_text(cell) for cell in cells], dtype=object)


def as_static_text(cell: float | str | None) -> str:
    """A cell as text: a number as it would be written, "" for what is unknown.

    >>> as_static_text(3.0), as_static_text(0.25), as_static_text(None)
    ('3', '0.25', '')
    """
    if isinstance(cell, str):
        return cell
    return "" if cell is None or np.isnan(cell) else np.format_float_positional(cell, trim="-")
