"""The table of all forecasters, best first."""

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from forecaster.evaluation.metrics import METRICS, SUMS
from forecaster.evaluation.scores import Scores

Measure = Literal["owa", "mase", "smape"]


@dataclass(frozen=True)
class LeaderboardRow:
    """What one forecaster scored, as means over series; NaN where a score is undefined, all of them if it failed.

    Over `series` series from up to `origins` origins each, `pairs` values in all. `without_mase` series have no scale and
    are in neither MASE nor MSIS; `missing` values got no forecast from it; it has something to say about `notes` series.
    """

    forecaster: str
    smape: float = math.nan
    mase: float = math.nan
    owa: float = math.nan
    wql: float = math.nan
    coverage_80: float = math.nan
    coverage_95: float = math.nan
    msis: float = math.nan
    mae: float = math.nan
    rmse: float = math.nan
    bias: float = math.nan
    crps: float = math.nan
    width_80: float = math.nan
    revision: float = math.nan
    series: int = 0
    origins: int = 0
    pairs: int = 0
    without_mase: int = 0
    missing: int = 0
    notes: int = 0
    failure: str | None = None


@dataclass(frozen=True)
class Leaderboard:
    """The rows, best first by `measure`: OWA, or MASE where OWA is undefined for all, or else sMAPE."""

    rows: tuple[LeaderboardRow, ...]
    measure: Measure
    scores: Scores

    @property
    def winner(self) -> str | None:
        """The name of the best forecaster, None where none was scored."""
        first = self.rows[0] if self.rows else None
        return first.forecaster if first and not math.isnan(getattr(first, self.measure)) else None

    def row(self, forecaster: str) -> LeaderboardRow | None:
        """The row of one forecaster."""
        return next((row for row in self.rows if row.forecaster == forecaster), None)


def rank(scores: Scores) -> Leaderboard:
    """The leaderboard of the scores; who failed, or left values out that nothing could stand in for, stands behind.

    OWA is (sMAPE / reference's sMAPE + MASE / reference's MASE) / 2.
    Source: Makridakis, Spiliotis, Assimakopoulos 2020, doi:10.1016/j.ijforecast.2019.04.014.
    """
    group = {name: scores.group_means(name) for name in scores.tallies}
    reference = group.get(scores.reference)
    scored = [_row(scores, name, group[name], reference) for name in scores.tallies]
    measure = _measure(scored)

    def place(row: LeaderboardRow) -> tuple[bool, bool, float]:
        value = getattr(row, measure)
        return math.isnan(value), scores.tallies[row.forecaster].skipped > 0, value

    failed = [LeaderboardRow(name, failure=_one_line(error)) for name, error in scores.failures.items()]
    return Leaderboard((*sorted(scored, key=place), *failed), measure, scores)


def leaderboard_rows(leaderboard: Leaderboard) -> list[dict[str, str | float | int | None]]:
    """The rows as JSON has them: null where a score is undefined."""
    return [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in asdict(row).items()}
        for row in leaderboard.rows
    ]


def _row(scores: Scores, name: str, group: dict[str, float], reference: dict[str, float] | None) -> LeaderboardRow:
    tally = scores.tallies[name]
    pairs = tally.rows[:, SUMS.index("pairs")]
    by_series = np.bincount(scores.series, weights=pairs, minlength=len(scores.ids)) > 0
    per_series = np.bincount(scores.series, weights=pairs > 0, minlength=len(scores.ids))
    metrics: dict[str, Any] = {metric: group[metric] for metric in METRICS}
    return LeaderboardRow(
        name,
        **metrics,
        owa=_owa(group, reference),
        series=int(by_series.sum()),
        origins=int(per_series.max(initial=0)),
        pairs=int(pairs.sum()),
        without_mase=int((by_series & np.isnan(scores.scale)).sum()),
        missing=tally.missing,
        notes=tally.notes,
    )


def _owa(group: dict[str, float], reference: dict[str, float] | None) -> float:
    if reference is None or not all(reference[metric] > 0 for metric in ("smape", "mase")):
        return math.nan
    return (group["smape"] / reference["smape"] + group["mase"] / reference["mase"]) / 2


def _measure(rows: list[LeaderboardRow]) -> Measure:
    if any(not math.isnan(row.owa) for row in rows):
        return "owa"
    return "mase" if any(not math.isnan(row.mase) for row in rows) else "smape"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
