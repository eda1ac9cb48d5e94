"""Fits of the naive forecasts: the last value, the value one season ago, and the last value with the season of M4's Naive2."""

import numpy as np

from forecaster.baselines.parameters import Numbers, Sample
from forecaster.baselines.seasonality import find_season
from forecaster.series import Values


def naive_spread(values: Values, season_length: int) -> Numbers:
    """Standard deviations of the one-step errors of the naive and the seasonal naive forecast, from what was observed.

    A series too short for the second gets the first; one of a single value gets 0 for both.
    """
    with np.errstate(over="ignore"):  # an infinite step counts as none
        steps = [_rms(values[lag:] - values[:-lag]) if len(values) > lag else np.nan for lag in (1, season_length)]
    first = 0.0 if np.isnan(steps[0]) else steps[0]
    return {"sigma_naive": first, "sigma_seasonal": first if np.isnan(steps[1]) else steps[1]}


def fit_naive(_: Sample) -> Numbers:
    """Nothing but the spread, which every series gets."""
    return {"model": "no parameters"}


def fit_naive2(sample: Sample) -> Numbers:
    """The season by test and decomposition, and the spread of the adjusted series: smoothing that forgets all but the last."""
    season = find_season(sample.values, sample.start, sample.season_length)
    sigma = naive_spread(season.adjust(sample.values, sample.start), 1)["sigma_naive"]
    weights = {"alpha": 1.0, "beta": 0.0, "gamma": 0.0, "phi": 1.0, "trend": 0.0}
    return {"model": f"season {season.form}", "sigma": sigma, **weights, **season.parameters()}


def _rms(errors: Values) -> float:
    observed = errors[np.isfinite(errors)]
    if not len(observed):
        return float("nan")
    largest = float(np.abs(observed).max()) or 1.0  # so that squares stay in range
    return largest * float(np.sqrt(((observed / largest) ** 2).mean()))
