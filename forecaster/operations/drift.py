"""Has the world moved away from a forecaster? Its errors and its coverage now, against those it was accepted with.

Units are blocks: forecasts from origins a horizon apart, which share no value. Per series, the recent blocks are held against the
reference with the rank test of Mann and Whitney, and the p-values of all series are corrected together (Benjamini and
Hochberg), so that of the series that are named, `alpha` at most are named wrongly, over thousands of them. The mean over the
series is tested too, since a small change of all of them shows there first. Axes: B series, T blocks.
"""

import math
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from forecaster.series import Values

FEWEST_BLOCKS = 4  # on either side; fewer cannot give a p-value below 0.01


class DriftConfig(BaseModel):
    """When a forecaster has drifted: at an error rate of `alpha`, and if errors grew by `least_growth` or coverage moved.

    `series_share` is how many series have to drift for all to be trained again, `recent_blocks` how far back is recent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    series_share: float = Field(default=0.05, ge=0, le=1)
    least_growth: float = Field(default=0.05, ge=0)
    coverage_tolerance: float = Field(default=0.1, gt=0, lt=0.5)
    recent_blocks: int = Field(default=28, ge=FEWEST_BLOCKS)


@dataclass(frozen=True)
class Blocks:
    """The mean absolute error of the median, scaled, and the share within the 80 % interval, block by block [B, T]."""

    ids: tuple[str, ...]
    errors: Values
    covered: Values


@dataclass(frozen=True)
class Drift:
    """The evidence: mean errors and coverage then and now, p-values over the panel, and the series that moved.

    `growth` is that of the mean error; p-values are NaN with fewer than four blocks on a side. `series` has, of each one that
    moved beyond luck, how many times as large its error is now.
    """

    blocks_then: int
    blocks_now: int
    error_then: float
    error_now: float
    coverage_then: float
    coverage_now: float
    p_error: float
    p_coverage: float
    series_tested: int
    series: dict[str, float]
    reasons: tuple[str, ...]

    @property
    def is_found(self) -> bool:
        return bool(self.reasons)

    @property
    def growth(self) -> float:
        return self.error_now / self.error_then - 1 if self.error_then > 0 else math.nan


def find_drift(then: Blocks, now: Blocks, config: DriftConfig) -> Drift:
    """How far a forecaster has drifted from its reference; both have the same series in the same order.

    Source: Mann, Whitney 1947, doi:10.1214/aoms/1177730491; Benjamini, Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    scale = _row_mean(np.concatenate([then.errors, now.errors], axis=1))  # of both: that of one would favour it
    relative = [part.errors / np.where(scale > 0, scale, np.nan)[:, None] for part in (then, now)]
    p_error = float(_rank_tests(_column_mean(relative[0])[None], _column_mean(relative[1])[None], "greater")[0])
    p_coverage = float(_rank_tests(_column_mean(then.covered)[None], _column_mean(now.covered)[None], "two-sided")[0])
    moved, tested = _series_that_moved(then, now, config.alpha)
    drift = Drift(
        _blocks(then),
        _blocks(now),
        _mean(then.errors),
        _mean(now.errors),
        _mean(then.covered),
        _mean(now.covered),
        p_error,
        p_coverage,
        tested,
        moved,
        (),
    )
    growth = _mean(relative[1]) / _mean(relative[0]) - 1 if _mean(relative[0]) > 0 else 0.0
    return Drift(**{**vars(drift), "reasons": _reasons(drift, growth, config)})


def _reasons(drift: Drift, growth: float, config: DriftConfig) -> tuple[str, ...]:
    """Why to train again; with two tests over the panel, each has half of the error rate."""
    alpha, reasons = config.alpha / 2, []
    if drift.p_error < alpha and growth > config.least_growth:
        reasons.append(f"errors grew by {100 * growth:.0f} % ({_p(drift.p_error)})")
    away = abs(drift.coverage_now - drift.coverage_then)
    if drift.p_coverage < alpha and away > config.coverage_tolerance:
        then, now = 100 * drift.coverage_then, 100 * drift.coverage_now
        reasons.append(f"the 80 % interval held {then:.0f} % and now holds {now:.0f} % ({_p(drift.p_coverage)})")
    if drift.series_tested and len(drift.series) > config.series_share * drift.series_tested:
        reasons.append(f"{len(drift.series):,} of {drift.series_tested:,} series drifted beyond luck")
    return tuple(reasons)


def _series_that_moved(then: Blocks, now: Blocks, alpha: float) -> tuple[dict[str, float], int]:
    """The series whose errors grew or whose coverage changed, by how much errors grew, and how many were tested."""
    from statsmodels.stats.multitest import multipletests

    p_errors = _rank_tests(then.errors, now.errors, "greater")
    p_values = np.stack([p_errors, _rank_tests(then.covered, now.covered, "two-sided")], axis=1)
    tested = np.flatnonzero(~np.isnan(p_values).any(axis=1))
    if not len(tested):
        return {}, 0
    declared = multipletests(p_values[tested].ravel(), alpha=alpha, method="fdr_bh")[0].reshape(-1, 2).any(axis=1)
    growth = _row_mean(now.errors) / np.where(_row_mean(then.errors) > 0, _row_mean(then.errors), np.nan)
    moved = sorted(tested[declared], key=lambda b: -np.nan_to_num(growth[b]))
    return {then.ids[b]: float(growth[b]) for b in moved}, len(tested)


def _rank_tests(then: Values, now: Values, alternative: str) -> Values:
    """The p-values of recent blocks being no larger than (or no different from) the reference [B]; NaN with too few blocks."""
    from scipy import stats

    p_values = np.full(len(then), np.nan)
    counts = [(~np.isnan(part)).sum(axis=1) for part in (then, now)]
    enough = np.minimum(*counts) >= FEWEST_BLOCKS
    whole = enough & (counts[0] == then.shape[1]) & (counts[1] == now.shape[1])
    groups = [np.flatnonzero(whole), *(np.array([b]) for b in np.flatnonzero(enough & ~whole))]
    for rows in groups:
        if len(rows):
            first, second = then[rows], now[rows]
            if not whole[rows[0]]:
                first, second = first[:, ~np.isnan(first[0])], second[:, ~np.isnan(second[0])]
            is_level = np.ptp(np.concatenate([first, second], axis=1), axis=1) == 0
            tested = stats.mannwhitneyu(second, first, alternative=alternative, axis=1).pvalue
            p_values[rows] = np.where(is_level, 1.0, tested)
    return p_values


def _row_mean(values: Values) -> Values:
    """The mean of the defined entries of each row; NaN where none is."""
    counts = _counts(values)
    return np.asarray(np.divide(np.nansum(values, axis=1), counts, out=np.full(len(values), np.nan), where=counts > 0))


def _column_mean(values: Values) -> Values:
    return _row_mean(values.T)


def _counts(values: Values) -> Values:
    return np.asarray((~np.isnan(values)).sum(axis=1), dtype=np.float64)


def _mean(values: Values) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def _blocks(part: Blocks) -> int:
    return int((_counts(part.errors.T) > 0).sum())


def _p(value: float) -> str:
    return "p below 0.001" if value < 0.001 else f"p {value:.3f}"
