"""Scores of every forecaster, by series, by lead and by origin, from one pass over its forecasts."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from forecaster.evaluation.backtest import Backtest
from forecaster.evaluation.ledger import Index, Ledger, ScoredRows, Tally, scored_rows
from forecaster.evaluation.metrics import SUMS, group_means, means
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency, Positions
from forecaster.series import Panel, Values

ROWS_AT_ONCE = 2_048  # 48 leads of 11 quantiles: 9 MB, whatever the number of origins


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
    rows = scored_rows(some.ids, some.origins, history, season_length)
    stand_in = backtest.forecasts.get(reference)
    tallies = {name: _tally(forecast, actuals, stand_in=stand_in, rows=rows) for name, forecast in backtest.forecasts.items()}
    return Scores(rows.ids, rows.scale, rows.series, rows.origins, some.frequency, reference, tallies, backtest.failures)


def _tally(forecast: Forecast, actuals: Values, *, stand_in: Forecast | None, rows: ScoredRows) -> Tally:
    ledger = Ledger(rows, forecast.horizon, forecast.quantiles)
    for chunk in _chunks(rows.series, rows.origins):
        ledger.open(int(rows.series[chunk[0]]), int(rows.series[chunk[-1]]) + 1)
        instead = None if stand_in is None else stand_in.values[chunk]
        ledger.enter(chunk, forecast.values[chunk], actuals[chunk], stand_in=instead)
        ledger.close()
    return ledger.tally(len(forecast.notes))


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


def scores_by_origin_time(scores: Scores) -> pd.DataFrame:
    """One row for each forecaster and time of origin: forecaster, origin, every metric as its mean over the series there."""
    at, place = np.unique(scores.origins, return_inverse=True)
    scale = scores.scale[scores.series]
    rows: list[dict[str, float | str | int]] = []
    for name, kept in scores.tallies.items():
        for k in range(len(at)):
            here = place == k
            means_here = {metric: float(value) for metric, value in group_means(kept.rows[here], scale[here]).items()}
            rows.append({"forecaster": name, **means_here, "series": int(here.sum())})
    frame = _stacked([pd.DataFrame(rows)] if rows else [])
    if rows:
        frame.insert(1, "origin", np.tile(scores.frequency.labels(at).to_numpy(), len(scores.tallies)))
    return frame


def _metrics_frame(forecaster: str, labels: pd.DataFrame, sums: Values, scale: Values) -> pd.DataFrame:
    pairs = sums[:, SUMS.index("pairs")].astype(np.int64)
    frame = labels.assign(**means(sums, scale), pairs=pairs)
    frame.insert(0, "forecaster", forecaster)
    return frame


def _stacked(frames: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"forecaster": []})
