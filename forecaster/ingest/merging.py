"""A panel of what was read and what was stored, what was read winning, and how much of it is news.

Some series are merged at a time; `Assembly` puts their panels into one.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.covariates import Known
from forecaster.frequency import Frequency
from forecaster.ingest.checks import stored_span, stored_values
from forecaster.ingest.cleaning import Placed
from forecaster.ingest.covariates import Beside, merge_static
from forecaster.ingest.faults import Faults, IngestPolicies, action_of
from forecaster.ingest.schema import ColumnNames
from forecaster.paged import Growing
from forecaster.series import Panel, offsets_of, spread_out, within_observed


@dataclass(frozen=True)
class Merged:
    """A panel, and how many of the rows' values and covariates were added to it, revised in it, or there already."""

    panel: Panel
    added: int
    revised: int
    unchanged: int
    gaps_filled: int
    known_added: int = 0
    known_revised: int = 0
    static_changed: int = 0


def all_columns(columns: ColumnNames, stored: Panel | None) -> ColumnNames:
    """The columns that were asked for, and those that the stored panel has."""
    known = (*(stored.known.names if stored and stored.known else ()), *columns.known)
    static = (*(stored.static.names if stored and stored.static else ()), *columns.static)
    return replace(columns, known=tuple(dict.fromkeys(known)), static=tuple(dict.fromkeys(static)))


def rows_with_values(placed: Placed, stored: Panel | None, policies: IngestPolicies, faults: Faults) -> Placed:
    """The rows that speak of a value, where rows have covariates.

    One with an empty value does where its series was observed on both sides and nothing is stored in its place: a value is
    missing there. Before and after, and beside a stored value, it has covariates only. Those of a series without any value
    stay, for `check_lengths` to find.
    """
    rows, positions = placed.rows, placed.positions
    seen = ~np.isnan(rows.values)
    first, last = (edge.astype(np.int64) for edge in stored_span(rows.ids, stored))
    is_stored = first <= last
    first = np.where(is_stored, first, np.iinfo(np.int64).max)
    last = np.where(is_stored, last, np.iinfo(np.int64).min)
    np.minimum.at(first, rows.codes[seen], positions[seen])
    np.maximum.at(last, rows.codes[seen], positions[seen])
    inside = (positions > first[rows.codes]) & (positions < last[rows.codes])
    if stored is not None:
        inside &= np.isnan(stored_values(placed, stored)[0])
    missing = ~seen & inside
    if missing.any():
        places = rows.faults("missing", missing, lambda _: "the value is missing")
        faults.add("missing", action_of(policies.missing), places, count=int(missing.sum()))
    return placed.take(seen | missing | (first > last)[rows.codes])


def merge(valued: Placed, stored: Panel | None, frequency: Frequency, *, columns: ColumnNames, placed: Placed) -> Merged:
    """A panel of rows and what was stored, the rows winning, and how many of them are news; without what never changes.

    `valued` are the rows that speak of values, `placed` those that may have covariates.
    """
    merged = _merged_values(valued, stored, frequency, is_bounded=bool(columns.known))
    panel = merged.panel
    if columns.known:
        known, added, revised = _merged_known(placed, stored, panel, names=columns.known)
        panel, merged = replace(panel, known=known), replace(merged, known_added=added, known_revised=revised)
    return replace(merged, panel=panel)


class Assembly:
    """Panels of different series, each after the other in the order of ids, put into one."""

    def __init__(self, frequency: Frequency, columns: ColumnNames) -> None:
        self.frequency, self.columns, self.rows = frequency, columns, 0
        self._ids: list[str] = []
        self._values, self._cells = Growing(), Growing((len(columns.known),))
        self._spans, self._known_spans = Growing((2,), np.int64), Growing((2,), np.int64)
        self._news = dict.fromkeys(("added", "revised", "unchanged", "gaps_filled", "known_added", "known_revised"), 0)

    def append(self, merged: Merged, rows: int) -> None:
        """Take in the panel of some more series, and how many rows spoke of them."""
        panel = merged.panel
        self.rows += rows
        self._ids += panel.ids
        self._values.append(panel.values)
        self._spans.append(np.column_stack([panel.starts, panel.lengths]))
        if panel.known is not None:
            self._cells.append(panel.known.values)
            self._known_spans.append(np.column_stack([panel.known.starts, panel.known.lengths]))
        for name in self._news:
            self._news[name] += getattr(merged, name)

    def whole(self, stored: Panel | None, beside: Beside) -> Merged:
        """The one panel, with what never changes in its series."""
        starts, lengths = np.ascontiguousarray(self._spans.whole().T)
        panel = Panel(tuple(self._ids), starts, offsets_of(lengths), self._values.whole(), self.frequency)
        if self.columns.known:
            starts, lengths = np.ascontiguousarray(self._known_spans.whole().T)
            known = Known(self.columns.known, starts, offsets_of(lengths), self._cells.whole(), panel.ends)
            panel = replace(panel, known=known)
        before = (stored.ids, stored.static) if stored is not None and stored.static is not None else None
        static, changed = merge_static(panel.ids, self.columns.static, stored=before, beside=beside)
        return Merged(replace(panel, static=static), **self._news, static_changed=changed)


def _merged_values(placed: Placed, stored: Panel | None, frequency: Frequency, *, is_bounded: bool) -> Merged:
    """A panel of values; where it is bounded, each series runs from its first to its last observed one."""
    rows = placed.rows
    used = (rows.ids[code] for code in np.unique(rows.codes))
    ids = tuple(sorted({*(stored.ids if stored else ()), *used}))
    index = {series: code for code, series in enumerate(ids)}
    codes = np.asarray([index.get(series, -1) for series in rows.ids], dtype=np.int64)[rows.codes]
    positions, values, kept = placed.positions, rows.values, np.arange(len(rows))
    if stored is not None:
        stored_codes, stored_positions = spread_out(stored.starts, stored.lengths)
        own = np.asarray([index[series] for series in stored.ids], dtype=np.int64)
        codes = np.concatenate([own[stored_codes], codes])
        positions = np.concatenate([stored_positions, positions])
        values = np.concatenate([stored.values, values])
        order = np.lexsort((positions, codes))  # stable: a row comes after what is stored at its place
        last = np.ones(len(order), dtype=bool)
        last[:-1] = (np.diff(codes[order]) != 0) | (np.diff(positions[order]) != 0)
        kept = order[last]
    if is_bounded:
        kept = kept[within_observed(codes[kept], positions[kept], values[kept], ids=ids)]
    panel = Panel.from_codes(ids, codes[kept], positions=positions[kept], values=values[kept], frequency=frequency)
    gaps_filled = len(panel.values) - len(kept)
    if stored is None:
        return Merged(panel, len(rows), 0, 0, gaps_filled)
    before, is_stored = stored_values(placed, stored)
    is_added = ~is_stored | (np.isnan(before) & ~np.isnan(rows.values))
    is_revised = is_stored & ~np.isnan(before) & (before != rows.values)
    added, revised = int(is_added.sum()), int(is_revised.sum())
    return Merged(panel, added, revised, len(rows) - added - revised, gaps_filled)


def _merged_known(placed: Placed, stored: Panel | None, panel: Panel, *, names: tuple[str, ...]) -> tuple[Known, int, int]:
    """The covariates of a panel's series, cell by cell, and how many cells were added and revised."""
    rows = placed.rows
    index = {series: code for code, series in enumerate(panel.ids)}
    codes = np.asarray([index.get(series, -1) for series in rows.ids], dtype=np.int64)[rows.codes]
    given = (codes >= 0) & ~np.isnan(rows.known).all(axis=1)
    codes, positions, cells = codes[given], placed.positions[given], rows.known[given]
    before = np.full(cells.shape, np.nan)
    if stored is not None and stored.known is not None:
        own = np.asarray([index[series] for series in stored.ids], dtype=np.int64)
        columns = [names.index(name) for name in stored.known.names]
        back = np.full(len(panel), -1)
        back[own] = np.arange(len(own))
        is_old = back[codes] >= 0
        before[np.flatnonzero(is_old)[:, None], columns] = stored.known.given_at(back[codes[is_old]], positions[is_old])
        stored_codes, stored_positions = spread_out(stored.known.starts, stored.known.lengths)
        stored_cells = np.full((len(stored_codes), len(names)), np.nan)
        stored_cells[:, columns] = stored.known.values
        codes = np.concatenate([own[stored_codes], codes])
        positions = np.concatenate([stored_positions, positions])
        cells = np.concatenate([stored_cells, cells])
    news = cells[len(cells) - len(before) :]
    added = int((np.isnan(before) & ~np.isnan(news)).sum())
    revised = int((~np.isnan(before) & ~np.isnan(news) & (before != news)).sum())
    codes, positions, cells = _last_of_each(codes, positions, cells)
    known = Known.from_rows(names, codes, positions=positions, values=cells, carried_to=panel.ends)
    return known, added, revised


def _last_of_each(
    codes: NDArray[np.int64], positions: NDArray[np.int64], cells: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """For each series and position, the last cell of each column that is not missing."""
    order = np.lexsort((positions, codes))
    codes, positions, cells = codes[order], positions[order], cells[order]
    fresh = np.ones(len(codes), dtype=bool)
    fresh[1:] = (np.diff(codes) != 0) | (np.diff(positions) != 0)
    if not fresh.all():
        cells = pd.DataFrame(cells).groupby(np.cumsum(fresh) - 1).last().to_numpy()
    return codes[fresh], positions[fresh], cells
