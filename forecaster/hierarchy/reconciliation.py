"""Forecasts of sums and of what they sum, made to agree.

The forecasts of all nodes are moved to the nearest ones that add up, near in the sense of W, the covariance of their errors:
y~ = y^ - W U (U' W U)^-1 U' y^, where U' = [I, -members] says by how much each sum is missed.

Source: Wickramasuriya, Athanasopoulos, Hyndman 2019, doi:10.1080/01621459.2018.1448825 (MinT); the form by constraints, Di Fonzo,
Girolimetto 2023, doi:10.1016/j.ijforecast.2021.08.004. Axes: A sums, B series, L leads, T past errors.
"""

from dataclasses import replace

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from forecaster.errors import ConfigError, DataError
from forecaster.forecast import Forecast
from forecaster.hierarchy.tree import Hierarchy
from forecaster.series import Values

METHODS = ("bottom_up", "ols", "structural", "mint")
LEAST_ERRORS = 8  # at all nodes, to estimate their covariance from
MOST_SUMS = 5_000  # a dense matrix of so many rows and columns is 200 MB
MOVED = "its quantiles are those of its own forecast, moved with its median: they do not add up"
MEDIAN_ONLY = "only medians are summed: quantiles do not add up"


def reconcile(
    forecast: Forecast,
    hierarchy: Hierarchy,
    *,
    method: str,
    errors: Values | None = None,
    is_nonnegative: bool = False,
) -> Forecast:
    """The forecast of all nodes with medians that add up; its rows are the nodes, or, for `bottom_up`, may be the series alone.

    W is I for `ols`, the number of series in a node for `structural`, and for `mint` the shrunk covariance of past `errors`
    [T, A + B] at lead 1. With `is_nonnegative`, series below 0 are set to 0 and summed again. Quantiles move with their median;
    of sums from the bottom up, which have none of their own, there is the median alone. The sum of medians is a point
    forecast: it is the median of the sum only where errors are symmetric.

    Raises ConfigError for a method that is none, DataError when the rows have different origins, or there are too few errors.
    """
    if method not in METHODS:
        raise ConfigError(f"--method {method!r} is none; choose {', '.join(METHODS)}.")
    _check_rows(forecast, hierarchy, method)
    series = forecast.select(np.arange(len(forecast.ids) - len(hierarchy.series), len(forecast.ids)))
    is_bottom_up, sums = method == "bottom_up", len(hierarchy.sums)
    bottom = series.median if is_bottom_up else _moved(forecast.median, hierarchy, method, errors)[sums:]
    if is_nonnegative:
        bottom = np.maximum(bottom, 0.0)
    medians = np.concatenate([hierarchy.members @ bottom, bottom])  # [A + B, L]
    if is_bottom_up:
        forecast = _with_median_only(series, hierarchy)
    values = forecast.values + (medians - forecast.median)[:, :, None]
    values[:, :, forecast.quantiles.index(0.5)] = medians
    if is_nonnegative:
        values = np.maximum(values, 0.0)
    word = MEDIAN_ONLY if is_bottom_up else MOVED
    return replace(forecast, values=values, notes={**forecast.notes, **dict.fromkeys(hierarchy.sums, word)})


def shrinkage_of(errors: Values) -> float:
    """How far the correlations of errors [T, N] are drawn to 0, from 0 to 1; their means count as 0.

    Sums over all pairs of nodes are taken by sums over all pairs of times, so that many nodes cost no more than their errors.
    Source: Schaefer, Strimmer 2005, doi:10.2202/1544-6115.1175, as in R's hts.

    >>> alike, unlike = np.array([[1.0, 2.0], [-1.0, -2.0]] * 4), np.array([[1.0, 2.0], [1.0, -2.0]] * 4)
    >>> shrinkage_of(alike), shrinkage_of(unlike)
    (0.0, 1.0)
    """
    count = len(errors)
    x = errors / np.sqrt(_variances(errors))
    squares = x**2
    all_products = float((squares.sum(axis=1) ** 2).sum())  # sum over i, j, t of x_ti^2 x_tj^2
    all_crosses = float(((x @ x.T) ** 2).sum())  # sum over i, j of (x_i . x_j)^2
    own_products, own_crosses = float((squares**2).sum()), float((squares.sum(axis=0) ** 2).sum())
    variance = ((all_products - own_products) - (all_crosses - own_crosses) / count) / (count * (count - 1))
    correlations = (all_crosses - own_crosses) / count**2
    return float(np.clip(variance / correlations, 0.0, 1.0)) if correlations > 0 else 1.0


def _moved(medians: Values, hierarchy: Hierarchy, method: str, errors: Values | None) -> Values:
    """Medians [A + B, L] moved to where they add up."""
    sums, count = len(hierarchy.sums), len(hierarchy.nodes)
    if sums > MOST_SUMS:
        raise ConfigError(f"{sums:,} sums are more than {MOST_SUMS:,}; expected fewer. Use fewer --by, or --method bottom_up.")
    across = sp.hstack([sp.eye_array(sums), -hierarchy.members], format="csr").T  # U [A + B, A]
    diagonal, factor = np.ones(count), np.zeros((0, count))
    if method == "structural":
        diagonal = np.concatenate([hierarchy.members.sum(axis=1), np.ones(count - sums)])
    elif method == "mint":
        whole = _whole_rows(errors, count)
        share = shrinkage_of(whole)
        diagonal, factor = share * _variances(whole), np.sqrt((1 - share) / len(whole)) * whole
    projected = factor @ across  # W = diag(diagonal) + factor' factor
    spread = sp.diags_array(diagonal) @ across
    inner = (across.T @ spread).toarray() + projected.T @ projected
    missed = across.T @ medians  # [A, L]
    weights = scipy.linalg.solve(inner, missed, assume_a="pos")
    return np.asarray(medians - spread @ weights - factor.T @ (projected @ weights))


def _variances(errors: Values) -> Values:
    """The mean square of each column; a node that was never missed counts as nearly so."""
    variances = (errors**2).mean(axis=0)
    least = 1e-9 * float(variances.max(initial=0.0)) or 1.0
    return np.asarray(np.maximum(variances, least))


def _whole_rows(errors: Values | None, count: int) -> Values:
    assert errors is not None, "mint needs the errors of the past"
    assert errors.shape[1] == count, (errors.shape, count)
    whole = errors[np.isfinite(errors).all(axis=1)]
    if len(whole) < LEAST_ERRORS:
        raise DataError(
            f"{len(whole)} past times at which all {count:,} nodes were forecast and observed; expected {LEAST_ERRORS} or more. "
            "Use --method structural, which needs none."
        )
    return whole


def _check_rows(forecast: Forecast, hierarchy: Hierarchy, method: str) -> None:
    """Raises DataError unless the rows are the nodes, at one origin."""
    expected = (hierarchy.nodes, hierarchy.series) if method == "bottom_up" else (hierarchy.nodes,)
    assert forecast.ids in expected, "the rows of the forecast are not the nodes"
    others = np.flatnonzero(forecast.origins != forecast.origins[-1])
    if len(others):
        ended, now = forecast.frequency.labels(np.array([forecast.origins[others[0]], forecast.origins[-1]]))
        raise DataError(
            f"series {forecast.ids[others[0]]!r} is forecast from {ended}, {forecast.ids[-1]!r} from {now}; sums need one "
            "origin. Ingest what is missing, or leave the series out with --only."
        )


def _with_median_only(series: Forecast, hierarchy: Hierarchy) -> Forecast:
    """The forecast of the series with rows of sums before it that hold a median, for now of 0, and nothing else."""
    sums = np.full((len(hierarchy.sums), *series.values.shape[1:]), np.nan)
    sums[:, :, series.quantiles.index(0.5)] = 0.0
    origins = np.concatenate([np.repeat(series.origins[-1:], len(sums)), series.origins])
    return replace(series, ids=hierarchy.nodes, origins=origins, values=np.concatenate([sums, series.values]))
