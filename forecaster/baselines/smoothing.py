"""Exponential smoothing as a linear recursion over all series at once; `smoothing_fits.py` finds its weights.

With e the one-step error on the adjusted scale (y - s, or y / s where the season is a factor), one step is

    base  = level + phi * trend          level = base + alpha * e
    trend = phi * trend + alpha * beta * e
    s     = s + gamma * e                (a factor: s + gamma * e * s / base)

statsmodels has two ways with factors: its Holt-Winters the one above, its ETS s + gamma / (1 - alpha) * (y / level - s) with the
new level (`is_late`); with differences the two are the same.

A missing value is a step with e = 0. One recursion serves them all, since each is a case of it: naive (alpha = 1), simple
smoothing (neither trend nor season), Holt, damped Holt, Holt-Winters, Theta (a trend that stays: beta = 0), innovations models
(ETS) without multiplicative trend, and any of them on a series whose season was taken out (gamma = 0).

Source: Hyndman, Koehler, Ord and Snyder (2008), Forecasting with Exponential Smoothing, doi:10.1007/978-3-540-71918-2; Theta as
simple smoothing with drift: Hyndman and Billah (2003), doi:10.1016/S0169-2070(01)00143-1.
"""

import numpy as np
import pandas as pd

from forecaster.baselines.memory import begin_spread, lead_phases, learn_spread, steps_missed
from forecaster.baselines.parameters import Numbers, column
from forecaster.baselines.recursion import PER_PHASE, Recursion
from forecaster.baselines.seasonality import pool_season, season_table
from forecaster.baselines.vector import Fields, at_phase
from forecaster.frequency import Positions
from forecaster.series import Values

LONGEST_GAP = 100  # missing steps before an origin that widen its quantiles; more widen them no further

SMOOTHING_WIDTHS = {
    "alpha": 0,
    "beta": 0,
    "gamma": 0,
    "phi": 0,
    "is_factor": 0,
    "is_late": 0,  # a season of factors moves by the new level
    "level": 0,
    "trend": 0,
    "sigma": 0,
    "errors": 0,  # how many errors sigma was found from
    "season": PER_PHASE,
}


def begin_smoothing(fields: Fields, parameters: pd.DataFrame, starts: Positions) -> None:
    """Weights and first states as fitted.

    A series that begins elsewhere than the values that its first state was fitted to starts at its first value, without a trend
    unless that is a constant.
    """
    for name in ("alpha", "beta", "gamma", "phi"):
        fields[name][:] = column(parameters, name)
    is_first = column(parameters, "start") == starts
    fields["level"][:] = np.where(is_first, column(parameters, "level"), np.nan)
    fields["trend"][:] = np.where(is_first | (fields["beta"] == 0), column(parameters, "trend"), 0.0)
    fields["season"][:], is_factor = season_table(parameters, fields["season"].shape[1])
    fields["is_factor"][:], fields["is_late"][:] = is_factor, np.nan_to_num(column(parameters, "is_late"))
    begin_spread(fields, "sigma", "errors", column(parameters, "sigma"))


def step_smoothing(fields: Fields, y: Values, position: Positions) -> None:
    """One step of the formulas above; the first value makes the level of a series that has none."""
    rows, phase = np.arange(len(y)), position % fields["season"].shape[1]
    season, is_factor = at_phase(fields["season"], phase), fields["is_factor"] > 0
    alpha, trend = fields["alpha"], fields["phi"] * fields["trend"]
    base = fields["level"] + trend
    adjusted = np.where(is_factor, y / season, y - season)
    error = adjusted - base
    move = np.where(np.isfinite(error), error, 0.0)
    begins = np.isnan(base) & np.isfinite(adjusted)
    learn_spread(fields, "sigma", "errors", error)
    fields["level"][:] = np.where(begins, adjusted, base + alpha * move)
    fields["trend"][:] = trend + alpha * fields["beta"] * move
    change = fields["gamma"] * move * np.where(is_factor, season / np.where(begins, 1.0, base), 1.0)
    if fields["is_late"].any():
        share = np.where(alpha < 1, fields["gamma"] / (1 - alpha), 0.0)
        change = np.where(is_factor & (fields["is_late"] > 0), share * (y / fields["level"] - season), change)
    fields["season"][rows, phase] = np.where(move != 0, season + change, season)


def smoothing_paths(fields: Fields, position: Positions, horizon: int) -> tuple[Values, Values]:
    """Level, damped trend and season after a position; variance sigma^2 (1 + sum of c_j^2) [B, L].

    c_j = alpha + alpha beta (phi + ... + phi^j), plus gamma where j is whole seasons: what an error does j steps later. Leads
    count from before a gap for it. Where the season is a factor, the variance is that of the additive model on the adjusted scale
    times the factor of the lead squared: an approximation.
    """
    m = fields["season"].shape[1]
    reach = _reach(fields["phi"], horizon)
    mean = fields["level"][:, None] + fields["trend"][:, None] * reach
    missed = steps_missed(fields, position, most=LONGEST_GAP)[:, None]
    growth = np.take_along_axis(_growth(fields, horizon + int(missed.max(initial=0))), missed + np.arange(horizon), axis=1)
    scale = fields["sigma"][:, None] * np.sqrt(growth)
    season = np.take_along_axis(fields["season"], lead_phases(position, horizon, m), axis=1)
    factor = fields["is_factor"][:, None] > 0
    return np.where(factor, mean * season, mean + season), np.where(factor, scale * np.abs(season), scale)


def _reach(phi: Values, horizon: int) -> Values:
    """phi + ... + phi^l [B, L], by products, which round alike in any batch."""
    return np.asarray(np.cumsum(np.cumprod(np.repeat(phi[:, None], horizon, axis=1), axis=1), axis=1))


def _growth(fields: Fields, horizon: int) -> Values:
    """The variance of each lead [B, L], in those of one step."""
    alpha, beta, gamma = (fields[name][:, None] for name in ("alpha", "beta", "gamma"))
    m, lead = fields["season"].shape[1], np.arange(1, horizon + 1)
    carried = alpha + alpha * beta * _reach(fields["phi"], horizon) + gamma * ((lead % m == 0) & (m > 1))  # c_j
    return np.cumsum(np.hstack([np.ones_like(alpha), carried[:, :-1] ** 2]), axis=1)


def pool_smoothing(parameters: pd.DataFrame) -> Numbers:
    """The median weights of fitted series, and their median season where most have one that is a factor.

    Level, trend and spread have a unit, so a new series finds its own.
    """
    weights = {name: float(parameters[name].median()) for name in ("alpha", "beta", "gamma", "phi")}
    return {**weights, "start": np.nan, "level": np.nan, "trend": 0.0, "sigma": np.nan, **pool_season(parameters)}


SMOOTHING = Recursion(SMOOTHING_WIDTHS, begin_smoothing, step_smoothing, smoothing_paths, pool_smoothing)
