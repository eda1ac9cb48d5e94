"""Exponential smoothing: fitted by statsmodels, then walked as a linear recursion over all series at once.

With e the one-step error on the adjusted scale (y - s, or y / s where the season is a factor), one step is

    base  = level + phi * trend          level = base + alpha * e
    trend = phi * trend + alpha * beta * e
    s     = s + gamma * e                (a factor: s + gamma * e * s / base)

A missing value is a step with e = 0. Simple smoothing is the same with neither trend nor season, on the adjusted series.
"""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.baselines.fitting import LONGEST_HISTORY, FitFailure
from forecaster.baselines.naive import latest_observed
from forecaster.baselines.parameters import Numbers, Request, Sample, column
from forecaster.baselines.seasonality import (
    Form,
    Season,
    adjust_panel,
    decompose,
    fill_gaps,
    find_season,
    is_seasonal,
    restore_season,
    season_table,
)
from forecaster.series import Origins, Panel, Values

FEWEST_VALUES = 4
LONGEST_GAP = 100  # missing steps before an origin that widen its quantiles; more widen them no further
SEASONAL = {"additive": "add", "multiplicative": "mul"}

# -- fitting one series --------------------------------------------------------------------------------------------------


def fit_ses(sample: Sample) -> Numbers:
    """Alpha and the first level by least squares on the seasonally adjusted series, as the M4 competition's SES had them."""
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    values, start = recent_values(sample, FEWEST_VALUES)
    season = find_season(values, start, sample.season_length)
    found = SimpleExpSmoothing(fill_gaps(season.adjust(values, start)), initialization_method="estimated").fit()
    return {
        "model": f"SES, season {season.form}",
        "is_converged": float(found.mle_retvals.success),
        "start": float(start),
        "alpha": float(found.params["smoothing_level"]),
        "beta": 0.0,
        "gamma": 0.0,
        "phi": 1.0,
        "level": float(found.params["initial_level"]),
        "trend": 0.0,
        **season.parameters(),
    }


def fit_holt_winters(sample: Sample) -> Numbers:
    """The trend (none, linear, damped) and season (none, additive, multiplicative) of least AICc.

    A season is tried where the M4 test finds one. The first level and trend come from a line through the first values
    (ten, or a season) without their season, the first season from a classical decomposition; statsmodels then finds alpha, beta,
    gamma and phi by least squares.
    """
    values, start = recent_values(sample, 2 * FEWEST_VALUES)
    m = sample.season_length
    filled = fill_gaps(values)
    forms: list[Form] = ["none"]
    if is_seasonal(filled, m):
        forms += ["additive", "multiplicative"] if filled.min() > 0 else ["additive"]
    fits = []
    for form in forms:
        season = Season("none", np.zeros(m)) if form == "none" else decompose(filled, start, m, form)
        fits += _fit_trends(filled, start, season, sample.deadline)
    fits = [fit for fit in fits if np.isfinite(float(fit["aicc"]))]
    if not fits:
        raise FitFailure("no form of trend and season could be fitted")
    return min(fits, key=lambda fit: float(fit["aicc"]))


def recent_values(sample: Sample, fewest: int, longest: int = LONGEST_HISTORY) -> tuple[Values, int]:
    """The latest part of a series, no longer than `longest`, and where it starts; FitFailure where there is no fit to make."""
    observed = sample.values[np.isfinite(sample.values)]
    if len(observed) < fewest:
        raise FitFailure(f"{len(observed)} values observed, {fewest} needed")
    if np.ptp(observed) <= 1e-12 * np.abs(observed).max():
        raise FitFailure("all values are equal")
    recent = sample.values[-longest:]
    if np.isfinite(recent).sum() < fewest:
        raise FitFailure(f"fewer than {fewest} of the last {longest} values observed")
    return recent, sample.start + len(sample.values) - len(recent)


def _fit_trends(values: Values, start: int, season: Season, deadline: float) -> list[Numbers]:
    """One fit for each form of trend, each beginning where the one before it ended."""
    first = _first_level(season.adjust(values, start), len(season.indices))
    fits: list[Numbers] = []
    for trend in ("none", "damped", "linear"):
        if fits and perf_counter() > deadline:
            break
        fits.append(_fit_form(values, start, season=season, trend=trend, first=first, before=fits[-1] if fits else None))
    return fits


def _fit_form(
    values: Values, start: int, *, season: Season, trend: str, first: tuple[float, float], before: Numbers | None
) -> Numbers:
    """The smoothing weights of one form of trend and season, from known first states."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    level, slope = first if trend != "none" else (sum(first), 0.0)
    options: dict[str, Any] = {"initialization_method": "known", "initial_level": level}
    if trend != "none":
        options |= {"trend": "add", "damped_trend": trend == "damped", "initial_trend": slope}
    if season.form != "none":
        m = len(season.indices)
        options |= {"seasonal": SEASONAL[season.form], "seasonal_periods": m}
        options["initial_seasonal"] = season.indices[(start + np.arange(m)) % m]
    guess = None if before is None else _first_guess(before, is_damped=trend == "damped", has_season=season.form != "none")
    found = ExponentialSmoothing(values, **options).fit(start_params=guess)
    weight = {name: 0.0 if value is None else value for name, value in found.params.items()}
    return {
        "model": f"Holt-Winters, trend {trend}, season {season.form}",
        "is_converged": float(found.mle_retvals.success),
        "aicc": float(found.aicc),
        "start": float(start),
        "alpha": float(weight["smoothing_level"]),
        "beta": 0.0 if trend == "none" else float(weight["smoothing_trend"]),
        "gamma": 0.0 if season.form == "none" else float(weight["smoothing_seasonal"]),
        "phi": float(weight["damping_trend"]) if trend == "damped" else 1.0,
        "level": float(level),
        "trend": float(slope),
        **season.parameters(),
    }


def _first_guess(before: Numbers, *, is_damped: bool, has_season: bool) -> list[float]:
    """Weights to begin the search at, inside the bounds of statsmodels: beta below alpha, gamma below 1 - alpha."""
    alpha = float(np.clip(float(before["alpha"]), 0.02, 0.95))
    beta = float(np.clip(float(before["beta"]), 0.05 * alpha, 0.95 * alpha))
    gamma = float(np.clip(float(before["gamma"]), 0.02 * (1 - alpha), 0.95 * (1 - alpha)))
    return [alpha, beta, *([gamma] if has_season else []), *([0.95] if is_damped else [])]


def _first_level(adjusted: Values, season_length: int) -> tuple[float, float]:
    """Level one step before the first value, and trend, from a line through the first values of an adjusted series."""
    count = min(max(10, season_length), len(adjusted))
    slope, level = np.polyfit(np.arange(1, count + 1), adjusted[:count], 1)
    return float(level), float(slope)


# -- forecasts -----------------------------------------------------------------------------------------------------------


def ses_paths(request: Request) -> tuple[Values, Values]:
    """The level of the adjusted series at each origin with the season put back; variance sigma^2 (1 + (l - 1) alpha^2) [R, L]."""
    weights = _weights(request.parameters, 1)
    states, _ = walk(adjust_panel(request.panel, request.parameters, request.season_length), weights, request.origins)
    return restore_season(request, *_straight_paths(states, weights, request))


def holt_winters_paths(request: Request) -> tuple[Values, Values]:
    """Level, damped trend and season from the states at each origin; variance sigma^2 (1 + sum of c_j^2) [R, L].

    c_j = alpha + alpha beta (phi + ... + phi^j), plus gamma where j is whole seasons: what an error does j steps later.
    Where the season is a factor, the variance is that of the additive model on the adjusted scale times the factor of the lead
    squared: an approximation.

    Source: Hyndman, Koehler, Ord and Snyder (2008), Forecasting with Exponential Smoothing, chapter 6,
    doi:10.1007/978-3-540-71918-2.
    """
    weights = _weights(request.parameters, request.season_length)
    states, _ = walk(request.panel, weights, request.origins)
    mean, scale = _straight_paths(states, weights, request)
    season = np.take_along_axis(states.season, request.lead_phases, axis=1)
    factor = weights.is_factor[request.origins.index][:, None]
    return np.where(factor, mean * season, mean + season), np.where(factor, scale * np.abs(season), scale)


def ses_sigma(panel: Panel, parameters: pd.DataFrame, season_length: int) -> Values:
    """The root mean square of the one-step errors of each adjusted series [B]."""
    adjusted = adjust_panel(panel, parameters, season_length)
    return _sigma(panel, walk(adjusted, _weights(parameters, 1), Origins.back(panel))[1])


def holt_winters_sigma(panel: Panel, parameters: pd.DataFrame, season_length: int) -> Values:
    """The root mean square of the one-step errors of each series, on the scale of level and trend [B]."""
    return _sigma(panel, walk(panel, _weights(parameters, season_length), Origins.back(panel))[1])


def _sigma(panel: Panel, errors: Values) -> Values:
    lane = np.repeat(np.arange(len(panel)), panel.lengths)
    seen = np.isfinite(errors)
    count = np.bincount(lane[seen], minlength=len(panel))
    total = np.bincount(lane[seen], weights=errors[seen] ** 2, minlength=len(panel))
    return np.asarray(np.sqrt(np.divide(total, count, out=np.full(len(panel), np.nan), where=count > 0)))


def _straight_paths(states: "States", weights: "Weights", request: Request) -> tuple[Values, Values]:
    """Level plus trend, and the standard deviation on that scale [R, L]; leads count from before a gap for it."""
    alpha, beta, gamma, phi = (request.per_row(name) for name in ("alpha", "beta", "gamma", "phi"))
    lead, m = np.arange(1, request.horizon + 1), weights.season.shape[1]
    reach = np.cumsum(phi**lead, axis=1)  # phi + ... + phi^l
    last = request.origins.known[:, None] - 1
    missed = np.minimum(last - latest_observed(request.panel, 1, request.origins, last)[0], LONGEST_GAP)
    later = np.arange(1, request.horizon + int(missed.max(initial=0)) + 1)
    carried = alpha + alpha * beta * np.cumsum(phi**later, axis=1) + gamma * ((later % m == 0) & (m > 1))  # c_j below
    growth = np.cumsum(np.hstack([np.ones_like(alpha), carried[:, :-1] ** 2]), axis=1)
    scale = request.per_row("sigma") * np.sqrt(np.take_along_axis(growth, missed + lead - 1, axis=1))
    return states.level[:, None] + states.trend[:, None] * reach, scale


# -- the recursion -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """What the recursion needs of each series: its weights, its first state, where that belongs; [B], season [B, m]."""

    start: Values
    alpha: Values
    beta: Values
    gamma: Values
    phi: Values
    level: Values
    trend: Values
    season: Values
    is_factor: NDArray[np.bool_]

    def select(self, lanes: NDArray[np.int64]) -> "Weights":
        """The same for some series, in their order; a copy."""
        return Weights(**{name: column[lanes] for name, column in vars(self).items()})


@dataclass(frozen=True)
class States:
    """Level and trend [R], and season by phase [R, m], after what each origin has seen."""

    level: Values
    trend: Values
    season: Values


def _weights(parameters: pd.DataFrame, season_length: int) -> Weights:
    """Weights of a panel; for an adjusted panel (season length 1) those of a series without season."""
    if season_length > 1:
        season, is_factor = season_table(parameters, season_length)
    else:
        season, is_factor = np.zeros((len(parameters), 1)), np.zeros(len(parameters), dtype=bool)
    names = ("start", "alpha", "beta", "gamma", "phi", "level", "trend")
    return Weights(**{name: column(parameters, name) for name in names}, season=season, is_factor=is_factor)


def walk(panel: Panel, weights: Weights, origins: Origins) -> tuple[States, Values]:
    """States at the origins, and the one-step errors of all values [N] (NaN where there is none), in one walk through the panel.

    A series that begins elsewhere than the values that its first state was fitted to starts at its first value, without trend.
    """
    lanes = np.argsort(-panel.lengths, kind="stable")
    w, firsts, starts = weights.select(lanes), panel.offsets[lanes], panel.starts[lanes]
    is_first = w.start == starts
    level, trend, season = np.where(is_first, w.level, np.nan), np.where(is_first, w.trend, 0.0), w.season
    place = np.argsort(lanes)[origins.index]  # [R]
    due = np.argsort(origins.known, kind="stable")
    states = States(np.full(len(due), np.nan), np.zeros(len(due)), season[place])
    errors = np.full(len(panel.values), np.nan)
    longest = int(panel.lengths.max(initial=0))
    counts = np.searchsorted(-panel.lengths[lanes], -np.arange(longest), side="left")  # series longer than t
    bounds = np.searchsorted(origins.known[due], np.arange(1, longest + 2))
    for t in range(longest):
        b = slice(0, int(counts[t]))
        row, phase = np.arange(counts[t]), (starts[b] + t) % season.shape[1]
        y, s, base = panel.values[firsts[b] + t], season[row, phase], level[b] + w.phi[b] * trend[b]
        adjusted = np.where(w.is_factor[b], y / s, y - s)
        error = adjusted - base
        move = np.where(np.isfinite(error), error, 0.0)
        begins = np.isnan(base) & np.isfinite(adjusted)
        errors[firsts[b] + t] = error
        level[b] = np.where(begins, adjusted, base + w.alpha[b] * move)
        trend[b] = w.phi[b] * trend[b] + w.alpha[b] * w.beta[b] * move
        season[row, phase] = s + w.gamma[b] * move * np.where(w.is_factor[b], s / np.where(begins, 1.0, base), 1.0)
        seen = due[bounds[t] : bounds[t + 1]]
        at = place[seen]
        states.level[seen], states.trend[seen], states.season[seen] = level[at], trend[at], season[at]
    return states, errors
