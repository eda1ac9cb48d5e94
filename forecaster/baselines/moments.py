"""The two forecasts that are moments of the past: its mean, and the last value with the mean change since the first.

Both learn all they need on the way, so nothing is fitted.
"""

import numpy as np
import pandas as pd

from forecaster.baselines.parameters import Numbers, Sample
from forecaster.baselines.recursion import Recursion
from forecaster.baselines.vector import Fields
from forecaster.frequency import Positions
from forecaster.series import Values

MOMENTS_WIDTHS = {
    "weight": 0,  # of what the mean is of: values, or the steps that changes took
    "count": 0,
    "average": 0,
    "squares": 0,  # the weighted sum of squares about the mean
}


def fit_moments(_: Sample) -> Numbers:
    """Nothing: a mean is found on the way."""
    return {"model": "no parameters"}


def begin_moments(fields: Fields, _parameters: pd.DataFrame, _starts: Positions) -> None:
    """Nothing seen."""
    for name in MOMENTS_WIDTHS:
        fields[name][:] = 0.0


def step_mean(fields: Fields, y: Values, _: Positions) -> None:
    """Take in a value."""
    _take_in(fields, y, np.ones(len(y)))


def step_drift(fields: Fields, y: Values, position: Positions) -> None:
    """Take in the change since the last value, each step of it with the same variance."""
    steps = position - fields["last_at"]
    _take_in(fields, (y - fields["last"]) / steps, steps)


def _take_in(fields: Fields, new: Values, weight: Values) -> None:
    """Move mean and sum of squares by a number [B] of some weight; NaN leaves them as they are.

    Source: West (1979), Updating mean and variance estimates, doi:10.1145/359146.359153.
    """
    seen = np.isfinite(new)
    total = np.where(seen, fields["weight"] + weight, fields["weight"])
    change = new - fields["average"]
    fields["average"][:] = np.where(seen, fields["average"] + weight / total * change, fields["average"])
    fields["squares"][:] = np.where(seen, fields["squares"] + weight * change * (new - fields["average"]), fields["squares"])
    fields["weight"][:] = total
    fields["count"] += seen


def mean_paths(fields: Fields, _: Positions, horizon: int) -> tuple[Values, Values]:
    """The mean of all values; variance s^2 (1 + 1 / n) [B, L]."""
    variance = fields["squares"] / (fields["count"] - 1) * (1 + 1 / fields["count"])
    return _repeat(fields["average"], horizon), _repeat(np.sqrt(variance), horizon)


def drift_paths(fields: Fields, position: Positions, horizon: int) -> tuple[Values, Values]:
    """The line from the first value through the last; variance s^2 l (1 + l / T), l steps after it, T before [B, L].

    Source: Hyndman and Athanasopoulos (2021), Forecasting: Principles and Practice, section 5.5, with T steps in place of T - 1.
    """
    lead = (position - fields["last_at"])[:, None] + np.arange(1, horizon + 1)
    mean = fields["last"][:, None] + lead * fields["average"][:, None]
    variance = (fields["squares"] / (fields["count"] - 1))[:, None] * lead * (1 + lead / fields["weight"][:, None])
    return mean, np.sqrt(variance)


def _repeat(numbers: Values, horizon: int) -> Values:
    return np.repeat(numbers[:, None], horizon, axis=1)


def _no_numbers(_: pd.DataFrame) -> Numbers:
    return {}


MEAN = Recursion(MOMENTS_WIDTHS, begin_moments, step_mean, mean_paths, _no_numbers)
DRIFT = Recursion(MOMENTS_WIDTHS, begin_moments, step_drift, drift_paths, _no_numbers)
