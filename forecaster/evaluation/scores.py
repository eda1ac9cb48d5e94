"""Scores of every forecaster, by series, by lead and by origin, from one pass over its forecasts."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.evaluation.backtest import Backtest
from forecaster.evaluation.metrics import METRICS, SUMS, error_scales, group_means, means, tally
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency, Positions
from forecaster.series import Panel, Values

ROWS_AT_ONCE = 2_048  # 48 leads of 11 quantiles: 9 MB, whatever the number of origins

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Tally:
    """What one forecaster has lost: sums of `metrics.SUMS` for each row [B, K], and means over series for each lead [L].

    It gave no number for `missing` known values, and nothing could stand in for `skipped` of them.
    """

    rows: Values
    by_lead: dict[str, Values]
    missing: int
    skipped: int
    notes: int


@dataclass(frozen=True)
class Scores:
    """The tallies of all forecasters over the same rows: S series `ids`, row r of series `series[r]` from `origins[r]`.

    `scale` [S] divides errors in MASE and MSIS; it is NaN for a series that has none (constant, or too short).
    """

    ids: tuple[str, ...]
    scale: Values
    series: Index
    origins: Positions
    frequency: Frequency
    reference: str
    tallies: dict[str, Tally]
    failures: dict[str, Exception] = field(default_factory=dict)

    def series_sums(self, forecaster: str) -> Values:
        """Sums over the rows of each series [S, K]."""
        rows = self.tallies[forecaster].rows
        order = np.lexsort((self.origins, self.series))
        _, first = np.unique(self.series[order], return_index=True)
        return np.add.reduceat(rows[order], first, axis=0) if len(rows) else np.zeros((0, len(SUMS)))

    def group_means(self, forecaster: str) -> dict[str, float]:
        """Each metric as the mean over series, WQL over all pairs."""
        return {name: float(value) for name, value in group_means(self.series_sums(forecaster), self.scale).items()}


def score(backtest: Backtest, *, history: Panel, actuals: Values, season_length: int, reference: str = "naive2") -> Scores:
    """Every forecast against the same actuals [B, L]; NaN among them is skipped.

    Errors are scaled by the change of each series over `season_length` steps, in `history` up to its first origin. Where
    a forecaster gave no finite number, the one of `reference` is scored in its place, as whoever used it would have to
    fall back on something, and counted; without a reference the pair is skipped, and counted too.
    """
    if not backtest.forecasts:
        nothing = np.zeros(0, dtype=np.int64)
        return Scores((), np.zeros(0), nothing, nothing, history.frequency, reference, {}, backtest.failures)
    some = next(iter(backtest.forecasts.values()))
    ids, series = np.unique(np.asarray(some.ids, dtype=object), return_inverse=True)
    first = np.full(len(ids), np.iinfo(np.int64).max)
    np.minimum.at(first, series, some.origins)
    place = {unique_id: b for b, unique_id in enumerate(history.ids)}
    index = np.array([place[unique_id] for unique_id in ids], dtype=np.int64)
    scale = error_scales(history, index, first - history.starts[index] + 1, season_length)
    stand_in = backtest.forecasts.get(reference)
    tallies = {
        name: _tally(forecast, actuals, stand_in=stand_in, series=series, scale=scale)
        for name, forecast in backtest.forecasts.items()
    }
    names = tuple(str(unique_id) for unique_id in ids)
    return Scores(names, scale, series, some.origins, some.frequency, reference, tallies, backtest.failures)


def _tally(forecast: Forecast, actuals: Values, *, stand_in: Forecast | None, series: Index, scale: Values) -> Tally:
    sums = np.zeros((len(forecast.ids), len(SUMS)))
    by_lead = {name: np.zeros((2, forecast.horizon)) for name in METRICS}  # the sum over series, and how many there are
    lead_sums = np.zeros((forecast.horizon, len(SUMS)))
    missing = skipped = 0
    for rows in _chunks(series, forecast.origins):
        values, y = forecast.values[rows], actuals[rows]
        absent = _without_numbers(values)
        missing += int((absent & ~np.isnan(y)).sum())
        if absent.any():
            if stand_in is not None:
                values = np.where(absent[..., None], stand_in.values[rows], values)
            absent = _without_numbers(values)
            skipped += int((absent & ~np.isnan(y)).sum())
            values, y = np.where(absent[..., None], 0.0, values), np.where(absent, np.nan, y)
        table = tally(y, values, forecast.quantiles)
        sums[rows] = table.sum(axis=1)
        codes, first = np.unique(series[rows], return_index=True)
        cells = np.add.reduceat(table, first, axis=0)  # [S of this chunk, L, K]
        lead_sums += cells.sum(axis=0)
        for name, part in means(cells, scale[codes][:, None]).items():
            by_lead[name] += np.nansum(part, axis=0), (~np.isnan(part)).sum(axis=0)
    lead_means = {name: np.divide(total, n, out=np.full_like(n, np.nan), where=n > 0) for name, (total, n) in by_lead.items()}
    lead_means["wql"] = means(lead_sums, np.ones(forecast.horizon))["wql"]
    return Tally(sums, lead_means, missing, skipped, len(forecast.notes))


def _without_numbers(values: Values) -> NDArray[np.bool_]:
    return np.asarray(~np.isfinite(values).all(axis=-1))


def _chunks(series: Index, origins: Positions) -> Iterator[Index]:
    """All rows, ordered by series and origin, in chunks that hold each series whole."""
    order = np.lexsort((origins, series))
    ends = np.flatnonzero(np.diff(series[order], append=-1)) + 1
    begin = 0
    while begin < len(order):
        end = int(ends[min(int(np.searchsorted(ends, begin + ROWS_AT_ONCE)), len(ends) - 1)])
        yield order[begin:end]
        begin = end


def scores_by_series(scores: Scores) -> pd.DataFrame:
    """One row for each forecaster and series: forecaster, unique_id, every metric, pairs (how many values were scored)."""
    labels = pd.DataFrame({"unique_id": np.asarray(scores.ids, dtype=object)})
    return _stacked([_metrics_frame(name, labels, scores.series_sums(name), scores.scale) for name in scores.tallies])


def scores_by_origin(scores: Scores) -> pd.DataFrame:
    """One row for each forecaster, series and origin: forecaster, unique_id, origin, every metric, pairs."""
    ids = np.asarray(scores.ids, dtype=object)[scores.series]
    labels = pd.DataFrame({"unique_id": ids, "origin": scores.frequency.labels(scores.origins)})
    scale = scores.scale[scores.series]
    return _stacked([_metrics_frame(name, labels, kept.rows, scale) for name, kept in scores.tallies.items()])


def scores_by_lead(scores: Scores) -> pd.DataFrame:
    """One row for each forecaster and lead: forecaster, lead, every metric as its mean over the series."""
    frames = [
        pd.DataFrame({"forecaster": name, "lead": np.arange(1, len(kept.by_lead["smape"]) + 1), **kept.by_lead})
        for name, kept in scores.tallies.items()
    ]
    return _stacked(frames)


def _metrics_frame(forecaster: str, labels: pd.DataFrame, sums: Values, scale: Values) -> pd.DataFrame:
    pairs = sums[:, SUMS.index("pairs")].astype(np.int64)
    frame = labels.assign(**means(sums, scale), pairs=pairs)
    frame.insert(0, "forecaster", forecaster)
    return frame


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"forecaster": []})
