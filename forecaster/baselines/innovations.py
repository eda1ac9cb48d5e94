"""Seasonal ARIMA as a recursion over all series at once: its last values and its last errors, in two rings.

With a(B) = (1 - ar_1 B - …)(1 - B)^d, b(B^m) = (1 - seasonal_ar B^m)(1 - B^m)^D and c(B) likewise for the errors,

    a(B) b(B^m) (y_t - mean) = drift + c(B) (1 + seasonal_ma B^m) e_t

so the next value is expected to be a weighted sum of values and errors at the lags i + j m, and e is what it differs by. That is
the steady state of the Kalman filter of the same model: what the two say differs by what is left of the beginning, which dies
out like the moving average's weights (`tests/test_baselines_sarima.py`). A missing value is taken as it was expected, its error
as zero; where there are no moving averages that is exact, elsewhere it is again right after a while.
"""

import numpy as np
import pandas as pd

from forecaster.baselines.kalman import LARGEST_ORDER
from forecaster.baselines.memory import begin_spread, learn_spread, steps_missed
from forecaster.baselines.parameters import Numbers, column
from forecaster.baselines.recursion import Recursion, Span
from forecaster.baselines.smoothing import LONGEST_GAP
from forecaster.baselines.vector import Fields
from forecaster.frequency import Positions
from forecaster.series import Values

SHORT = LARGEST_ORDER + 2  # lags of the polynomial without a season
LONG = 2  # and of that with one, in seasons

SARIMA_WIDTHS: dict[str, int | Span] = {
    "m": 0,  # the season length of this series, 1 where it has no season
    "mean": 0,
    "drift": 0,
    "sigma": 0,
    "errors": 0,
    "short": SHORT,
    "long": LONG,
    "ma": LARGEST_ORDER,
    "seasonal_ma": 0,
    "value_ring": Span(LONG, SHORT + 1),
    "error_ring": Span(1, LARGEST_ORDER + 1),
}

Lags = list[tuple[Values, Positions]]  # for each lag, its weight [B] and how many steps back it lies [B]


def begin_sarima(fields: Fields, parameters: pd.DataFrame, _: Positions) -> None:
    """Weights as fitted; no value seen, and no error made."""
    fields["m"][:] = np.nan_to_num(column(parameters, "m"), nan=1.0)
    fields["mean"][:], fields["drift"][:] = column(parameters, "mean"), column(parameters, "drift")
    for name, count in (("short", SHORT), ("long", LONG), ("ma", LARGEST_ORDER)):
        fields[name][:] = np.stack([column(parameters, f"{name}_{k}") for k in range(1, count + 1)], axis=1)
    fields["seasonal_ma"][:] = column(parameters, "seasonal_ma_1")
    fields["value_ring"][:], fields["error_ring"][:] = np.nan, 0.0
    begin_spread(fields, "sigma", "errors", column(parameters, "sigma"))


def step_sarima(fields: Fields, y: Values, position: Positions) -> None:
    """Take in one value: its error, and what stands for it where it is missing."""
    values, errors = fields["value_ring"], fields["error_ring"]
    rows, expected = np.arange(len(y)), fields["mean"] + fields["drift"]
    for weight, lag in value_lags(fields):
        past = values[rows, _slot(position - lag, values)]
        expected = expected - np.where(weight != 0, weight * (past - fields["mean"]), 0.0)
    for weight, lag in error_lags(fields):
        expected = expected + np.where(weight != 0, weight * errors[rows, _slot(position - lag, errors)], 0.0)
    error = y - expected
    learn_spread(fields, "sigma", "errors", error)
    stands = np.where(np.isfinite(y), y, np.where(np.isfinite(expected), expected, fields["last"]))
    values[rows, _slot(position, values)] = stands
    errors[rows, _slot(position, errors)] = np.where(np.isfinite(error), error, 0.0)


def sarima_paths(fields: Fields, position: Positions, horizon: int) -> tuple[Values, Values]:
    """What is expected after a position, errors to come being zero, and its spread [B, L].

    The variance is sigma^2 times the sum of the squared weights that an error has on the values after it; leads count from before
    a gap for it.
    """
    missed = steps_missed(fields, position, most=LONGEST_GAP)[:, None]
    reach = horizon + int(missed.max(initial=0))
    weights, own = value_lags(fields), error_lags(fields)
    values, errors = (_unrolled(fields[name], position, horizon) for name in ("value_ring", "error_ring"))
    begin, ahead, mean = values.shape[1] - horizon, errors.shape[1] - horizon, fields["mean"]
    rows = np.arange(len(position))
    for lead in range(horizon):
        expected = mean + fields["drift"]
        for weight, lag in weights:
            expected = expected - np.where(weight != 0, weight * (values[rows, begin + lead - lag] - mean), 0.0)
        for weight, lag in own:
            expected = expected + np.where(weight != 0, weight * errors[rows, ahead + lead - lag], 0.0)
        values[:, begin + lead] = expected
    growth = np.cumsum(_responses(weights, own, reach, len(rows)) ** 2, axis=1)
    scale = fields["sigma"][:, None] * np.sqrt(np.take_along_axis(growth, missed + np.arange(horizon), axis=1))
    return values[:, begin:], scale


def value_lags(fields: Fields) -> Lags:
    """The weights of a(B) b(B^m) at the lags i + j m, but for lag 0."""
    m, short, long = fields["m"].astype(np.int64), fields["short"], fields["long"]
    ones = np.ones(len(m))
    lags = []
    for i in range(SHORT + 1):
        for j in range(LONG + 1):
            if i or j:
                weight = (short[:, i - 1] if i else ones) * (long[:, j - 1] if j else ones)
                lags.append((np.asarray(weight), np.asarray(i + j * m)))
    return [(weight, lag) for weight, lag in lags if weight.any()]


def error_lags(fields: Fields) -> Lags:
    """The weights of the moving averages at the lags i + j m, but for lag 0."""
    m, ma, seasonal = fields["m"].astype(np.int64), fields["ma"], fields["seasonal_ma"]
    lags = []
    for i in range(LARGEST_ORDER + 1):
        if i:
            lags.append((ma[:, i - 1].copy(), np.full(len(m), i)))
        lags.append(((ma[:, i - 1] if i else 1.0) * seasonal, i + m))
    return [(weight, lag) for weight, lag in lags if weight.any()]


def _responses(weights: Lags, own: Lags, reach: int, count: int) -> Values:
    """What an error of 1 does to the value so many steps later [B, reach]."""
    found = np.zeros((count, reach))
    found[:, 0] = 1.0
    rows = np.arange(count)
    for step in range(1, reach):
        total = np.zeros(count)
        for weight, lag in own:
            total = total + np.where(lag == step, weight, 0.0)
        for weight, lag in weights:
            total = total - np.where(lag <= step, weight * found[rows, np.maximum(step - lag, 0)], 0.0)
        found[:, step] = total
    return found


def _unrolled(ring: Values, position: Positions, room: int) -> Values:
    """A ring [B, R] in order of time, the newest at R - 1, with room for what comes, zero [B, R + room]."""
    size = ring.shape[1]
    back = np.arange(size - 1, -1, -1)
    past = np.take_along_axis(ring, _slot(position[:, None] - back, ring), axis=1)
    return np.hstack([past, np.zeros((len(ring), room))])


def _slot(position: Positions, ring: Values) -> Positions:
    return np.asarray(position % ring.shape[1])


def pool_sarima(parameters: pd.DataFrame) -> Numbers:
    """The weights of the first series of the commonest order among those that difference; otherwise a random walk.

    A mean has a unit, and nothing is known of that of a new series.
    """
    names = [
        f"{name}_{k}" for name, count in (("short", SHORT), ("long", LONG), ("ma", LARGEST_ORDER)) for k in range(1, count + 1)
    ]
    pooled: Numbers = {**dict.fromkeys([*names, "seasonal_ma_1"], 0.0), "short_1": -1.0, "m": 1.0}
    walks = parameters[(parameters["mean"] == 0) & parameters["short_1"].notna()]
    walks = walks[np.isclose(_at_one(walks), 0.0, atol=1e-9)]
    if len(walks):
        alike = walks[walks["model"] == walks["model"].mode().iloc[0]]
        pooled |= {name: float(alike[name].iloc[len(alike) // 2]) for name in (*names, "seasonal_ma_1", "m")}
    return {**pooled, "mean": 0.0, "drift": 0.0, "sigma": np.nan}


def _at_one(parameters: pd.DataFrame) -> Values:
    """a(1) b(1): zero where a series is differenced."""
    short = 1 + sum(column(parameters, f"short_{k}") for k in range(1, SHORT + 1))
    long = 1 + sum(column(parameters, f"long_{k}") for k in range(1, LONG + 1))
    return np.asarray(short * long)


SARIMA = Recursion(SARIMA_WIDTHS, begin_sarima, step_sarima, sarima_paths, pool_sarima)
