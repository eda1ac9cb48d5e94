"""Losses of single forecasts, and the means of them that leaderboards show.

Everything here works on arrays whose pairs are (actual, forecast); an actual of NaN takes its pair out of every sum. The
lines are numpy's and not utilsforecast's because the scores are wanted by series, by lead and by origin from one pass over
arrays [B, L, Q]: the library takes long frames, answers by series only, puts sMAPE between 0 and 1, and lets one missing
actual take part in coverage and in counts. The tests hold both against each other where their definitions meet.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import DECILES
from forecaster.series import Panel, Values

SCORE_QUANTILES = (0.025, *DECILES, 0.975)

# What is summed for each pair; `tally` fills the last axis in this order.
SUMS = (
    *("pairs", "smape", "absolute", "squared", "error", "pinball", "actual", "inside_80", "inside_95", "interval_95"),
    *("crps", "width_80", "revision", "revised"),
)
METRICS = ("smape", "mase", "wql", "coverage_80", "coverage_95", "msis", "mae", "rmse", "bias", "crps", "width_80", "revision")


def symmetric_percentage_error(y: Values, forecast: Values) -> Values:
    """200 |y - f| / (|y| + |f|), and 0 where both are 0; its mean is sMAPE, between 0 and 200.

    Source: Makridakis, Spiliotis, Assimakopoulos 2020, doi:10.1016/j.ijforecast.2019.04.014.

    >>> symmetric_percentage_error(np.array([100.0, 0.0, 1.0]), np.array([300.0, 0.0, -1.0]))
    array([100.,   0., 200.])
    """
    size = np.abs(y) + np.abs(forecast)
    return np.asarray(200 * np.abs(y - forecast) / np.where(size == 0, 1.0, size))


def pinball_loss(y: Values, forecast: Values, quantile: float) -> Values:
    """max(q (y - f), (q - 1) (y - f)): what is least, on average, where f is the q quantile of y.

    Source: Koenker, Bassett 1978, doi:10.2307/1913643.

    >>> pinball_loss(np.array([10.0, 10.0]), np.array([8.0, 12.0]), 0.9)
    array([1.8, 0.2])
    """
    error = y - forecast
    return np.maximum(quantile * error, (quantile - 1) * error)


def crps(y: Values, forecast: Values, quantiles: Sequence[float]) -> Values:
    """Twice the pinball loss integrated over all quantiles, each standing for those nearest to it: y [...], forecast [..., Q].

    Of the median alone it is the absolute error; of ever more quantiles it becomes the continuous ranked probability score.
    Source: Laio, Tamea 2007, doi:10.5194/hess-11-1267-2007, eq. 10; Gneiting, Ranjan 2011, doi:10.1198/jbes.2010.08110.

    >>> crps(np.array([10.0]), np.array([[8.0]]), (0.5,)), crps(np.array([10.0]), np.array([[9.0, 10.0, 11.0]]), (0.1, 0.5, 0.9))
    (array([2.]), array([0.12]))
    """
    edges = np.concatenate([[0.0], (np.asarray(quantiles[1:]) + np.asarray(quantiles[:-1])) / 2, [1.0]])
    total = np.zeros(y.shape)
    for q, (quantile, share) in enumerate(zip(quantiles, np.diff(edges), strict=True)):
        total += 2 * share * pinball_loss(y, forecast[..., q], quantile)
    return total


def interval_score(y: Values, lower: Values, upper: Values, *, outside: float) -> Values:
    """(u - l) + 2/a (l - y) below l, + 2/a (y - u) above u, for an interval that should miss a share a = `outside`.

    Source: Gneiting, Raftery 2007, doi:10.1198/016214506000001437, eq. 43; scaled as for MASE its mean is M4's MSIS.

    >>> interval_score(np.array([5.0, 0.0]), np.array([2.0, 2.0]), np.array([6.0, 6.0]), outside=0.5)
    array([ 4., 12.])
    """
    return (upper - lower) + 2 / outside * (np.maximum(lower - y, 0) + np.maximum(y - upper, 0))


def error_scale(y: Values, season_length: int) -> float:
    """Mean |y_t - y_{t-m}| over the pairs of y [T] that were both observed; NaN where there is none, or it is zero.

    A mean within rounding noise of zero (a constant series of 0.1 + 0.2) counts as zero: no error can be scaled by it.
    Source: Hyndman, Koehler 2006, doi:10.1016/j.ijforecast.2006.03.001.

    >>> error_scale(np.array([1.0, 2.0, np.nan, 5.0, 9.0]), 1), error_scale(np.array([3.0, 3.0]), 1)
    (2.5, nan)
    """
    change = np.abs(y[season_length:] - y[: max(len(y) - season_length, 0)])
    change = change[np.isfinite(change)]
    scale = float(change.mean()) if len(change) else np.nan
    noise = 8 * np.finfo(np.float64).eps * float(np.nanmax(np.abs(y))) if len(change) else 0.0
    return scale if scale > noise else np.nan


def error_scales(panel: Panel, index: NDArray[np.int64], known: NDArray[np.int64], season_length: int) -> Values:
    """`error_scale` of the series at `index` [S], each over its first `known` [S] values only."""
    return np.array(
        [error_scale(panel.series(b)[:n], season_length) for b, n in zip(index, known, strict=True)], dtype=np.float64
    )


def tally(y: Values, forecast: Values, quantiles: Sequence[float], *, before: Values | None = None) -> Values:
    """The terms of every metric, for each pair, in the order of SUMS; zero where y is NaN.

    y [B, L], forecast [B, L, Q], quantiles ascending -> [B, L, K]. A metric whose quantiles were not forecast has NaN for
    its term, so it stays undefined in every mean. `before` [B, L] is what the forecaster's previous median said of the same
    positions, NaN where it said nothing; a revision needs no actual value.
    """
    column = {quantile: forecast[..., q] for q, quantile in enumerate(quantiles)}
    absent = np.full_like(y, np.nan)
    median = column[0.5]
    error = median - y
    deciles = [pinball_loss(y, column.get(quantile, absent), quantile) for quantile in DECILES]
    low_80, high_80 = column.get(0.1, absent), column.get(0.9, absent)
    low_95, high_95 = column.get(0.025, absent), column.get(0.975, absent)
    terms = (
        np.ones_like(y),
        symmetric_percentage_error(y, median),
        np.abs(error),
        error**2,
        error,
        2 * np.mean(deciles, axis=0),
        np.abs(y),
        _inside(y, low_80, high_80),
        _inside(y, low_95, high_95),
        interval_score(y, low_95, high_95, outside=0.05),
        crps(y, forecast, quantiles),
        high_80 - low_80,
        absent,
        absent,
    )
    table = np.stack(terms, axis=-1)
    table[np.isnan(y)] = 0.0
    change = np.abs(median - before) if before is not None else absent
    table[..., SUMS.index("revision")] = np.nan_to_num(change)
    table[..., SUMS.index("revised")] = ~np.isnan(change)
    return table


def _inside(y: Values, lower: Values, upper: Values) -> Values:
    inside = ((lower <= y) & (y <= upper)).astype(np.float64)
    return np.where(np.isnan(lower) | np.isnan(upper), np.nan, inside)


def means(sums: Values, scale: Values) -> dict[str, Values]:
    """Each of METRICS [...] from sums of `tally` [..., K] and the `error_scale` [...]; NaN where one is undefined.

    Coverage is a share between 0 and 1. WQL is 2 * sum of pinball losses / sum |y|, the mean over the nine deciles
    (Source: Park et al. 2022, arXiv:2111.06581, as GluonTS's mean_wQuantileLoss); it is 0 for 0 / 0, and undefined where
    the actuals are all 0 and the forecasts are not. Bias is forecast - y: above 0, it forecasts too much. Width, that of
    the 80 % interval, is scaled like MASE, and so is revision, the mean absolute change of the forecast for the same position
    from one origin to the next (Source: Van Belle, Crevits, Verbeke 2023, doi:10.1016/j.ijforecast.2022.06.007): 0 for the
    most stable one, undefined where origins are a horizon or more apart. CRPS, MAE, RMSE and bias are in the data's unit.
    """
    part = {name: sums[..., k] for k, name in enumerate(SUMS)}
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = {name: part[name] / part["pairs"] for name in SUMS}
        wql = part["pinball"] / part["actual"]
        wql = np.where(part["actual"] == 0, np.where(part["pinball"] == 0, 0.0, np.nan), wql)
        revision = part["revision"] / part["revised"] / scale
    return {
        "smape": mean["smape"],
        "mase": mean["absolute"] / scale,
        "wql": np.where(part["pairs"] == 0, np.nan, wql),
        "coverage_80": mean["inside_80"],
        "coverage_95": mean["inside_95"],
        "msis": mean["interval_95"] / scale,
        "mae": mean["absolute"],
        "rmse": np.sqrt(mean["squared"]),
        "bias": mean["error"],
        "crps": mean["crps"],
        "width_80": mean["width_80"] / scale,
        "revision": revision,
    }


def group_means(sums: Values, scale: Values) -> dict[str, Values]:
    """Each of METRICS as M4 means them, over the series of the first axis: sums [S, ..., K], scale [S, ...] -> [...].

    A series for which a metric is undefined is left out of that metric's mean. WQL is that of all pairs together: its
    weights are its point.
    """
    group = {name: mean_of_defined(values) for name, values in means(sums, scale).items()}
    group["wql"] = means(sums.sum(axis=0), np.ones(sums.shape[1:-1]))["wql"]
    return group


def mean_of_defined(values: Values) -> Values:
    """The mean over the first axis of what is not NaN; NaN where nothing is.

    >>> mean_of_defined(np.array([[1.0, np.nan], [3.0, np.nan]]))
    array([ 2., nan])
    """
    defined = ~np.isnan(values)
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.where(count == 0, np.nan, total / np.maximum(count, 1))
