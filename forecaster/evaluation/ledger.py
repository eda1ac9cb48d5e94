"""What a forecaster has lost, entered block by block, so that its forecasts need not all be kept.

Axes: R rows (series and origin), S series, L leads, Q quantiles, K the sums of `metrics.SUMS`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.evaluation.metrics import METRICS, SUMS, error_scales, means, tally
from forecaster.frequency import Positions
from forecaster.series import Panel, Values

Index = NDArray[np.int64]


@dataclass(frozen=True)
class ScoredRows:
    """The rows that every forecaster is scored on: series `ids` [S], row r of series `series[r]` from `origins[r]`.

    `scale` [S] divides errors in MASE and MSIS; it is NaN for a series that has none (constant, or too short).
    """

    ids: tuple[str, ...]
    scale: Values
    series: Index
    origins: Positions


@dataclass(frozen=True)
class Tally:
    """What one forecaster has lost: sums of `metrics.SUMS` for each row [R, K], and means over series for each lead [L].

    It gave no number for `missing` known values, and nothing could stand in for `skipped` of them.
    """

    rows: Values
    by_lead: dict[str, Values]
    missing: int
    skipped: int
    notes: int


def scored_rows(ids: tuple[str, ...], origins: Positions, history: Panel, season_length: int) -> ScoredRows:
    """Rows [R] by id and origin, errors scaled by the change over `season_length` steps up to each series' first origin."""
    names, series = np.unique(np.asarray(ids, dtype=object), return_inverse=True)
    first = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(first, series, origins)
    place = {unique_id: b for b, unique_id in enumerate(history.ids)}
    index = np.array([place[name] for name in names], dtype=np.int64)
    scale = error_scales(history, index, first - history.starts[index] + 1, season_length)
    return ScoredRows(tuple(str(name) for name in names), scale, series, origins)


class Ledger:
    """The losses of one forecaster so far.

    Open it for a range of series, enter their forecasts in as many blocks as wanted, each series' origins in the order of
    time, close it, and open it for the next range: what is remembered is the sums of all rows, and the leads of the open range.
    """

    def __init__(self, rows: ScoredRows, horizon: int, quantiles: tuple[float, ...]) -> None:
        self._rows, self._horizon, self.quantiles = rows, horizon, quantiles
        self._sums = np.zeros((len(rows.series), len(SUMS)))
        self._lead_sums = np.zeros((horizon, len(SUMS)))
        self._by_lead = {name: np.zeros((2, horizon)) for name in METRICS}  # the sum over series, and how many there are
        self._missing = self._skipped = 0
        self.open(0, 0)

    def open(self, first: int, last: int) -> None:
        """Make room for the leads of series first..last - 1."""
        self._first = first
        self._cells = np.zeros((last - first, self._horizon, len(SUMS)))
        self._said = np.full((last - first, self._horizon), np.nan)  # the last median of each series
        self._said_at = np.zeros(last - first, dtype=np.int64)

    def enter(self, rows: Index, values: Values, y: Values, *, stand_in: Values | None) -> None:
        """Forecasts [B, L, Q] and actual values [B, L] of some rows, ordered by series and origin.

        Where a forecast is not finite, `stand_in` [B, L, Q] is scored in its place, and counted; what it lacks too is skipped.
        """
        absent = np.asarray(~np.isfinite(values).all(axis=-1))
        self._missing += int((absent & ~np.isnan(y)).sum())
        if absent.any():
            if stand_in is not None:
                values = np.where(absent[..., None], stand_in, values)
            absent = np.asarray(~np.isfinite(values).all(axis=-1))
            self._skipped += int((absent & ~np.isnan(y)).sum())
            values, y = np.where(absent[..., None], 0.0, values), np.where(absent, np.nan, y)
        median = np.where(absent, np.nan, values[..., self.quantiles.index(0.5)])
        before = np.where(absent, np.nan, self._said_before(rows, median))
        table = tally(y, values, self.quantiles, before=before)
        self._sums[rows] = table.sum(axis=1)
        series, begin = np.unique(self._rows.series[rows], return_index=True)
        self._cells[series - self._first] += np.add.reduceat(table, begin, axis=0)

    def close(self) -> None:
        """Take the leads of the open series into the means over all series."""
        self._lead_sums += self._cells.sum(axis=0)
        scale = self._rows.scale[self._first : self._first + len(self._cells)]
        for name, part in means(self._cells, scale[:, None]).items():
            self._by_lead[name] += np.nansum(part, axis=0), (~np.isnan(part)).sum(axis=0)
        self.open(0, 0)

    def tally(self, notes: int) -> Tally:
        """All that was entered; `notes` is how many series the forecaster has something to say about."""
        by_lead = {
            name: np.divide(total, count, out=np.full_like(count, np.nan), where=count > 0)
            for name, (total, count) in self._by_lead.items()
        }
        by_lead["wql"] = means(self._lead_sums, np.ones(self._horizon))["wql"]
        return Tally(self._sums, by_lead, self._missing, self._skipped, notes)

    def _said_before(self, rows: Index, median: Values) -> Values:
        """What the origin before each row's said of the same positions [B, L]; NaN beyond its horizon, or without one."""
        series, origins = self._rows.series[rows] - self._first, self._rows.origins[rows]
        is_first, is_last = np.diff(series, prepend=-1) != 0, np.diff(series, append=-1) != 0
        said = np.where(is_first[:, None], self._said[series], np.roll(median, 1, axis=0))
        gap = origins - np.where(is_first, self._said_at[series], np.roll(origins, 1))
        self._said[series[is_last]], self._said_at[series[is_last]] = median[is_last], origins[is_last]
        lead = np.arange(self._horizon) + gap[:, None]
        within = (gap[:, None] > 0) & (lead < self._horizon)
        return np.where(within, np.take_along_axis(said, np.where(within, lead, 0), axis=1), np.nan)
