"""Naive forecasts: the last value, the value one season ago, and the last value with the season of M4's Naive2.

One function makes them all: the naive forecast is the seasonal naive one with a season of one step.
"""

import numpy as np
from numpy.typing import NDArray

from forecaster.baselines.parameters import Numbers, Request, Sample
from forecaster.baselines.seasonality import adjust_panel, find_season, restore_season
from forecaster.series import Origins, Panel, Values


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
    """The season by test and decomposition, and the spread of the adjusted series."""
    season = find_season(sample.values, sample.start, sample.season_length)
    sigma = naive_spread(season.adjust(sample.values, sample.start), 1)["sigma_naive"]
    return {"model": f"season {season.form}", "sigma": sigma, **season.parameters()}


def naive_paths(request: Request) -> tuple[Values, Values]:
    """The last value observed, with a standard deviation that grows as the root of the steps since then [R, L]."""
    return _last_value_paths(request.panel, request, "sigma_naive")


def seasonal_naive_paths(request: Request) -> tuple[Values, Values]:
    """The latest value observed at the same phase, with a deviation that grows as the root of the seasons since then [R, L].

    Naive from an origin with less than a season behind it, and for a phase that was never observed.
    """
    m, known, leads = request.season_length, request.origins.known[:, None], np.arange(request.horizon)
    mean, scale = naive_paths(request)
    at = known - m + leads % m
    source, value = latest_observed(request.panel, m, request.origins, at)
    seasons = np.maximum(leads // m + 1 + (at - source) // m, 1)
    usable = (source >= 0) & (known >= m)
    return np.where(usable, value, mean), np.where(usable, request.per_row("sigma_seasonal") * np.sqrt(seasons), scale)


def naive2_paths(request: Request) -> tuple[Values, Values]:
    """Naive on the adjusted series, and the season put back [R, L]."""
    adjusted = adjust_panel(request.panel, request.parameters, request.season_length)
    return restore_season(request, *_last_value_paths(adjusted, request, "sigma"))


def _last_value_paths(panel: Panel, request: Request, sigma: str) -> tuple[Values, Values]:
    at = request.origins.known[:, None] - 1
    source, value = latest_observed(panel, 1, request.origins, at)
    since = at - source + np.arange(1, request.horizon + 1)
    return np.broadcast_to(value, since.shape).copy(), request.per_row(sigma) * np.sqrt(since)


def latest_observed(panel: Panel, period: int, origins: Origins, at: NDArray[np.int64]) -> tuple[NDArray[np.int64], Values]:
    """The latest observed place at `at` [R, L] or whole periods before it, -1 for none, and the value there, NaN for none."""
    latest = np.full(len(panel.values), -1, dtype=np.int64)
    for b in range(len(panel)):
        values = panel.series(b)
        places = np.where(np.isfinite(values), np.arange(len(values)), -1)
        padded = np.append(places, np.full(-len(values) % period, -1)).reshape(-1, period)
        latest[panel.offsets[b] : panel.offsets[b + 1]] = np.maximum.accumulate(padded, axis=0).ravel()[: len(values)]
    first = panel.offsets[origins.index][:, None]
    if not len(panel.values):
        return np.full(at.shape, -1), np.full(at.shape, np.nan)
    source = np.where(at >= 0, latest[np.where(at >= 0, first + at, 0)], -1)
    return source, np.where(source >= 0, panel.values[np.where(source >= 0, first + source, 0)], np.nan)


def _rms(errors: Values) -> float:
    observed = errors[np.isfinite(errors)]
    if not len(observed):
        return float("nan")
    largest = float(np.abs(observed).max()) or 1.0  # so that squares stay in range
    return largest * float(np.sqrt(((observed / largest) ** 2).mean()))
