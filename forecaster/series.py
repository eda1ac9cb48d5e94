"""What every room speaks of: a panel of series, and the origins that forecasts are made from."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.covariates import Known, Static, Values, static_column
from forecaster.errors import DataError
from forecaster.frequency import Frequency, Positions
from forecaster.paged import paged_array

__all__ = ["Known", "Origins", "Panel", "Static", "Values"]

POSITIONS_AT_ONCE = 1 << 19  # that are worked on together: what a command needs of memory beside the panel grows with this


@dataclass(frozen=True)
class Panel:
    """Series of one frequency, each without holes: what was not observed stands as NaN.

    Series b holds `values[offsets[b]:offsets[b + 1]]`, at consecutive positions from `starts[b]`. Ids are sorted and
    differ. B series, N values: ids [B], starts [B], offsets [B + 1], values [N]. With covariates (`known`), a series runs from
    its first to its last observed value; the covariates may reach further on either side.

    >>> frame = pd.DataFrame({"unique_id": ["a", "a", "b"], "ds": [1, 3, 2], "y": [5.0, 7.0, 1.0]})
    >>> panel = Panel.from_frame(frame, Frequency("step", is_numbered=True))
    >>> panel.series(0), panel.lengths
    (array([ 5., nan,  7.]), array([3, 1]))
    """

    ids: tuple[str, ...]
    starts: Positions
    offsets: NDArray[np.int64]
    values: Values
    frequency: Frequency
    known: Known | None = None
    static: Static | None = None

    @classmethod
    def from_frame(
        cls, frame: pd.DataFrame, frequency: Frequency, *, known: Sequence[str] = (), static: Sequence[str] = ()
    ) -> "Panel":
        """A panel of rows in long format: columns unique_id, ds (naive UTC timestamps or step numbers) and y.

        `known` names columns of covariates, which rows after a series' last value carry into its future, and `static` columns
        that never change in a series. Raises DataError when a series has two rows at one position, or two values of what
        never changes; `ingest` reports such faults with file and row.
        """
        codes, names = pd.factorize(frame["unique_id"].astype(str).to_numpy(dtype=object), sort=True)
        ids = tuple(str(name) for name in names)
        stamps = frame["ds"].to_numpy()
        positions = frequency.positions(stamps if frequency.is_numbered else pd.DatetimeIndex(stamps))
        values = frame["y"].to_numpy(dtype=np.float64)
        inside = within_observed(codes, positions, values, ids=ids) if known else np.ones(len(values), dtype=bool)
        panel = cls.from_codes(ids, codes[inside], positions=positions[inside], values=values[inside], frequency=frequency)
        if known:
            covariates = frame[list(known)].to_numpy(dtype=np.float64)
            known_rows = Known.from_rows(tuple(known), codes, positions=positions, values=covariates, carried_to=panel.ends)
            panel = replace(panel, known=known_rows)
        return replace(panel, static=_static_of(frame, codes, ids, tuple(static))) if static else panel

    @classmethod
    def from_positions(cls, ids: NDArray[np.object_], positions: Positions, *, values: Values, frequency: Frequency) -> "Panel":
        """A panel of rows [N] given by their positions, in any order; raises DataError like `from_frame`."""
        codes, names = pd.factorize(np.asarray(ids, dtype=object), sort=True)
        return cls.from_codes(tuple(names), codes, positions=positions, values=values, frequency=frequency)

    @classmethod
    def from_codes(
        cls, ids: tuple[str, ...], codes: NDArray[np.int64], *, positions: Positions, values: Values, frequency: Frequency
    ) -> "Panel":
        """A panel of rows [N], each of series `ids[codes[row]]`; ids are sorted and each has a row. Raises like `from_frame`."""
        order = np.lexsort((positions, codes))
        codes, positions, values = codes[order], positions[order], values[order]
        twice = np.flatnonzero((np.diff(codes) == 0) & (np.diff(positions) == 0))
        if len(twice):
            label = frequency.labels(positions[twice[:1]]).iloc[0]
            raise DataError(f"series {ids[codes[twice[0]]]!r}: {label} appears twice. Keep one row for each series and time.")
        first = np.flatnonzero(np.diff(codes, prepend=-1))
        last = np.append(first[1:], len(codes)) - 1
        starts = positions[first]
        offsets = np.concatenate([[0], np.cumsum(positions[last] - starts + 1)])
        whole = np.full(offsets[-1], np.nan)
        whole[offsets[codes] + positions - starts[codes]] = values
        return cls(tuple(str(name) for name in ids), starts, offsets, whole, frequency)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Positions from the first to the last observation of each series, missing ones included [B]."""
        return np.diff(self.offsets)

    @property
    def ends(self) -> Positions:
        """The last position of each series [B]."""
        return self.starts + self.lengths - 1

    def series(self, index: int) -> Values:
        """The values of one series, as a view."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def missing(self) -> int:
        """How many positions have no value."""
        return sum(int(np.isnan(self.values[self.offsets[b.start] : self.offsets[b.stop]]).sum()) for b in self.blocks())

    def blocks(self, most: int = POSITIONS_AT_ONCE) -> Iterator[slice]:
        """All series in runs that have so many positions together at most; a longer series is a run of its own.

        >>> panel = Panel(("a", "b", "c"), np.zeros(3, int), np.array([0, 2, 3, 9]), np.ones(9), Frequency("D"))
        >>> [(block.start, block.stop) for block in panel.blocks(4)]
        [(0, 2), (2, 3)]
        """
        first = 0
        while first < len(self):
            stop = int(np.searchsorted(self.offsets, self.offsets[first] + most, side="right")) - 1
            yield slice(first, stop := max(stop, first + 1))
            first = stop

    def matrix(self) -> Values:
        """All series beside each other, their last values in the last column, NaN before they begin [B, T]."""
        lengths = self.lengths
        width = int(lengths.max(initial=0))
        table = np.full((len(self), width), np.nan)
        columns = np.arange(width)
        table[columns >= width - lengths[:, None]] = self.values
        return table

    def known_at(self, index: NDArray[np.int64], positions: Positions) -> Values:
        """The covariates [R, L, K] of series `index` [R] at positions [R, L]; NaN where they are unknown."""
        return np.empty((*positions.shape, 0)) if self.known is None else self.known.at(index, positions)

    def drop_last(self, steps: int | NDArray[np.int64]) -> "Panel":
        """The panel as it was known so many positions before the end of each series; those not yet begun are left out.

        Covariates stay as far as they reach: their future was known.

        >>> frame = pd.DataFrame({"unique_id": ["a", "a", "b"], "ds": [1, 2, 2], "y": [5.0, 6.0, 1.0]})
        >>> Panel.from_frame(frame, Frequency("step", is_numbered=True)).drop_last(1).ids
        ('a',)
        """
        kept = self.lengths - steps
        return self._cut(np.flatnonzero(kept > 0), kept)

    def select(self, indices: Sequence[int]) -> "Panel":
        """The series at the given indices, in that order; neighbours share their values with this panel."""
        return self._cut(np.asarray(indices, dtype=np.int64), self.lengths)

    def _cut(self, chosen: NDArray[np.int64], kept: NDArray[np.int64]) -> "Panel":
        """The chosen series, each with its first `kept` values."""
        offsets = offsets_of(kept[chosen])
        if len(chosen) and (np.diff(chosen) == 1).all() and (kept == self.lengths)[chosen].all():
            values = self.values[self.offsets[chosen[0]] : self.offsets[chosen[-1] + 1]]
        else:
            values = paged_array((int(offsets[-1]),))
            np.concatenate([self.series(b)[: kept[b]] for b in chosen] or [np.empty(0)], out=values)
        known = self.known.select(chosen) if self.known is not None else None
        static = self.static.select(chosen) if self.static is not None else None
        return Panel(tuple(self.ids[b] for b in chosen), self.starts[chosen], offsets, values, self.frequency, known, static)

    def to_frame(self) -> pd.DataFrame:
        """The panel in long format, one row for each position: unique_id, ds (as a user reads it), y, then covariates.

        Where covariates reach further than the values, rows with an empty y hold them.
        """
        starts, ends = self.starts, self.ends
        if self.known is not None:
            there = self.known.lengths > 0
            starts = np.where(there, np.minimum(starts, self.known.starts), starts)
            ends = np.where(there, np.maximum(ends, self.known.ends), ends)
        codes, positions = spread_out(starts, ends - starts + 1)
        y = np.full(len(codes), np.nan)
        inside = (positions >= self.starts[codes]) & (positions <= self.ends[codes])
        y[inside] = self.values
        frame = pd.DataFrame(
            {"unique_id": np.asarray(self.ids, dtype=object)[codes], "ds": self.frequency.labels(positions), "y": y}
        )
        if self.known is not None:
            frame[list(self.known.names)] = self.known.given_at(codes, positions)
        if self.static is not None:
            for name, column in zip(self.static.names, self.static.columns, strict=True):
                frame[name] = column[codes]
        return frame

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with any id, position, value, covariate or the frequency."""
        digest = hashlib.sha256(repr((self.frequency, self.ids)).encode())
        for part in (self.starts, self.offsets, self.values):
            digest.update(np.ascontiguousarray(part).data)
        for beside in (self.known, self.static):
            for told in beside.byte_parts() if beside is not None else ():
                digest.update(told)
        return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Origins:
    """The moments at which forecasts are made: for row r, series `index[r]` with its first `known[r]` positions seen."""

    index: NDArray[np.int64]
    known: NDArray[np.int64]

    @classmethod
    def back(cls, panel: Panel, steps_back: Sequence[int] = (0,)) -> "Origins":
        """Origins so many steps before the end of each series, the earliest first; none before a series begins.

        >>> frame = pd.DataFrame({"unique_id": ["a", "a", "b"], "ds": [1, 2, 2], "y": [5.0, 6.0, 1.0]})
        >>> origins = Origins.back(Panel.from_frame(frame, Frequency("step", is_numbered=True)), (1, 0))
        >>> origins.index, origins.known
        (array([0, 0, 1]), array([1, 2, 1]))
        """
        rows = [(b, n - k) for b, n in enumerate(panel.lengths) for k in sorted(set(steps_back), reverse=True) if n > k]
        table = np.asarray(rows, dtype=np.int64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1])

    def __len__(self) -> int:
        return len(self.index)

    def positions(self, panel: Panel) -> Positions:
        """The position of the last value seen, for each row."""
        return np.asarray(panel.starts[self.index] + self.known - 1)


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where series of these lengths [B] begin and end when they lie one after the other [B + 1].

    >>> offsets_of(np.array([2, 0, 3]))
    array([0, 2, 2, 5])
    """
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def spread_out(starts: Positions, lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], Positions]:
    """The rows of series of so many consecutive positions: which series, and which position.

    >>> spread_out(np.array([5, 9]), np.array([2, 1]))
    (array([0, 0, 1]), array([5, 6, 9]))
    """
    codes = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    return codes, np.arange(len(codes)) + np.repeat(starts - first, lengths)


def abreast(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Series of these lengths [B] side by side: their order, the longest first, and how many of them have each step [T].

    >>> abreast(np.array([1, 3]))
    (array([1, 0]), array([2, 1, 1]))
    """
    order = np.argsort(-lengths, kind="stable")
    return order, np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)), side="left")


def within_observed(codes: NDArray[np.int64], positions: Positions, values: Values, *, ids: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which rows [N] lie between the first and the last observed value of their series; the others hold covariates only.

    Raises DataError for a series of which nothing was observed.
    """
    seen = ~np.isnan(values)
    first, last = np.full(len(ids), np.iinfo(np.int64).max), np.full(len(ids), np.iinfo(np.int64).min)
    np.minimum.at(first, codes[seen], positions[seen])
    np.maximum.at(last, codes[seen], positions[seen])
    if (first > last).any():
        name = ids[int(np.argmax(first > last))]
        raise DataError(f"series {name!r} has covariates and no value; expected one value or more. Leave the series out.")
    return np.asarray((positions >= first[codes]) & (positions <= last[codes]))


def _static_of(frame: pd.DataFrame, codes: NDArray[np.int64], ids: tuple[str, ...], names: tuple[str, ...]) -> Static:
    """What never changes in the series of a frame; raises DataError where it does."""
    columns = []
    for name in names:
        known = frame[name].notna().to_numpy()
        pairs = pd.DataFrame({"code": codes[known], "cell": frame[name][known].to_numpy()}).drop_duplicates()
        twice = pairs.loc[pairs["code"].duplicated(), "code"]
        if len(twice):
            found = " and ".join(repr(cell) for cell in pairs.loc[pairs["code"] == twice.iloc[0], "cell"].tolist()[:2])
            raise DataError(
                f"series {ids[int(twice.iloc[0])]!r}: {name} is {found}; expected what never changes in a series. Take it out."
            )
        cells: list[float | str | None] = [None] * len(ids)
        for code, cell in zip(pairs["code"].tolist(), pairs["cell"].tolist(), strict=True):
            cells[code] = cell if isinstance(cell, str) else float(cell)
        columns.append(static_column([None if cell == "" else cell for cell in cells]))
    return Static(names, tuple(columns))
