"""ARIMA as a Kalman filter over all series at once, elementwise: what `arima.py` fitted, one observation at a time.

The process is taken in Harvey's form, with its differences as states before it. For d = 2 the states are

    0 the value before      1 its difference      2 .. 5 the ARMA part w, with w' = ar_i w_2 + w_(i+1) + (1, ma_1, ma_2, ma_3) e

and for a smaller d states 1 and 0 are held at zero, so that series of any d are stepped together. All covariances are in units of
the innovation variance. Where nothing is missing they come to rest after some steps; then only the means are moved (the steady
state), until a value is missing again.

Source: Durbin and Koopman (2012), Time Series Analysis by State Space Methods, chapters 3 and 4.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.baselines.memory import begin_spread, lead_phases, learn_spread
from forecaster.baselines.parameters import Numbers, column
from forecaster.baselines.recursion import PER_PHASE, Recursion
from forecaster.baselines.seasonality import pool_season, season_table
from forecaster.baselines.vector import Fields, at_phase
from forecaster.frequency import Positions
from forecaster.series import Values

LARGEST_ORDER = 3
SIZE = 6  # states: two differences, and an ARMA part of largest order + 1
DIFFUSE_VARIANCE = 1e6  # of a level that nothing is known of, in units of the innovation variance, as in statsmodels
AT_REST = 1e-15  # a largest change of the covariance, relative to it, that rounding makes too
UNSURE = 100.0  # a spread that comes from a level not yet known
TILE = 512  # series whose covariances fit into a processor's second cache together

ARIMA_WIDTHS = {
    "d": 0,
    "constant": 0,
    "sigma": 0,
    "errors": 0,
    "anchor": 0,  # the first value observed, taken out where d > 0
    "is_at_rest": 0,
    "spread": 0,  # of the last one-step error, in that of an innovation
    "is_factor": 0,
    "ar": LARGEST_ORDER,
    "ma": LARGEST_ORDER,
    "means": SIZE,
    "gain": SIZE,
    "covariance": SIZE * SIZE,
    "season": PER_PHASE,
}


def begin_arima(fields: Fields, parameters: pd.DataFrame, _: Positions) -> None:
    """Weights as fitted; the ARMA part at rest, and a level of which nothing is known."""
    fields["d"][:], fields["constant"][:] = column(parameters, "d"), column(parameters, "constant")
    for name in ("ar", "ma"):
        fields[name][:] = np.stack([column(parameters, f"{name}_{lag}") for lag in range(1, LARGEST_ORDER + 1)], axis=1)
    fields["season"][:], is_factor = season_table(parameters, fields["season"].shape[1])
    fields["is_factor"][:], fields["anchor"][:], fields["means"][:], fields["gain"][:] = is_factor, np.nan, 0.0, 0.0
    fields["covariance"][:] = _first_covariance(fields).reshape(-1, SIZE * SIZE)
    fields["is_at_rest"][:], fields["spread"][:] = 0.0, np.inf
    begin_spread(fields, "sigma", "errors", column(parameters, "sigma"))


def _first_covariance(fields: Fields) -> Values:
    """Stationary for the ARMA part (P = T P T' + R R'), and all but unknown for the differences [B, 6, 6]."""
    ar, ma, d = fields["ar"], fields["ma"], fields["d"]
    width = LARGEST_ORDER + 1
    inner = np.zeros((len(d), width, width))
    inner[:, np.arange(width - 1), np.arange(1, width)] = 1.0
    inner[:, : width - 1, 0] = ar
    selection = np.hstack([np.ones((len(d), 1)), ma])
    kronecker = np.einsum("bij,bkl->bikjl", inner, inner).reshape(-1, width**2, width**2)
    noise = (selection[:, :, None] * selection[:, None, :]).reshape(-1, width**2, 1)
    covariance = np.zeros((len(d), SIZE, SIZE))
    is_known = np.isfinite(kronecker).all(axis=(1, 2)) & np.isfinite(noise).all(axis=(1, 2))
    solved = np.linalg.solve(np.eye(width**2) - kronecker[is_known], noise[is_known])
    covariance[is_known, 2:, 2:] = solved.reshape(-1, width, width)
    covariance[:, 0, 0] = DIFFUSE_VARIANCE * (d >= 1)
    covariance[:, 1, 1] = DIFFUSE_VARIANCE * (d >= 2)
    return covariance


def step_arima(fields: Fields, y: Values, position: Positions) -> None:
    """Filter one value, then predict the next state."""
    phase = position % fields["season"].shape[1]
    season = at_phase(fields["season"], phase)
    adjusted = np.where(fields["is_factor"] > 0, y / season, y - season)
    anchor = fields["anchor"]
    anchor[:] = np.where(np.isnan(anchor), adjusted, anchor)
    free = adjusted - _offset(fields, position[:, None])[:, 0]
    seen = np.isfinite(free)
    moving = np.flatnonzero((fields["is_at_rest"] == 0) | ~seen)
    for first in range(0, len(moving), TILE):
        _move_covariance(fields, moving[first : first + TILE], seen)
    keep = _kept(fields["d"])
    means, gain = fields["means"].T.copy(), fields["gain"].T.copy()
    error = np.where(seen, free - _observed(means, keep), 0.0)
    learn_spread(fields, "sigma", "errors", np.where(seen & (fields["spread"] < UNSURE), error / fields["spread"], np.nan))
    fields["means"][:] = _predict(means + gain * error, fields["ar"].T, keep).T


def _move_covariance(fields: Fields, rows: NDArray[np.int64], seen: NDArray[np.bool_]) -> None:
    """Gain and next covariance of some series; what an unseen value leaves is a gain of zero."""
    d, ar, was = fields["d"][rows], fields["ar"][rows].T, fields["covariance"][rows]
    keep = _kept(d)
    covariance = np.ascontiguousarray(was.T).reshape(SIZE, SIZE, -1)
    weight = _observed(covariance, keep)  # covariance with what is observed [6, B]
    variance = _observed(weight, keep)
    gain = np.where(seen[rows], weight / variance, 0.0)
    filtered = covariance - gain[:, None] * weight[None]
    half = _predict(filtered, ar[:, None], keep)
    after = _predict(half.swapaxes(0, 1), ar[:, None], keep)
    selection = np.vstack([np.zeros((2, len(rows))), np.ones((1, len(rows))), fields["ma"][rows].T])
    after = after + selection[:, None] * selection[None]
    settled = (np.abs(after - covariance) <= AT_REST * np.abs(covariance).max(axis=(0, 1))).all(axis=(0, 1))
    fields["is_at_rest"][rows] = settled & seen[rows]
    fields["gain"][rows], fields["spread"][rows] = gain.T, np.sqrt(variance)
    fields["covariance"][rows] = after.reshape(SIZE * SIZE, -1).T


def _kept(d: Values) -> tuple[Values, Values]:
    """1 where a series [B] has the first and the second difference among its states, else 0."""
    return (d > 0).astype(np.float64), (d > 1).astype(np.float64)


def _observed(states: Values, keep: tuple[Values, Values]) -> Values:
    """The sum of what is observed of states [6, ...]."""
    return np.asarray(keep[0] * states[0] + keep[1] * states[1] + states[2])


def _predict(states: Values, ar: Values, keep: tuple[Values, Values]) -> Values:
    """The states [6, ...] one step later, in the mean."""
    after = np.zeros_like(states)
    step = keep[1] * states[1] + states[2]
    after[0] = keep[0] * (states[0] + step)
    after[1] = keep[1] * step
    after[2:5] = ar * states[2] + states[3:]
    return after


def arima_paths(fields: Fields, position: Positions, horizon: int) -> tuple[Values, Values]:
    """Mean and standard deviation from the state after a position, with the season put back [B, L]."""
    keep = _kept(fields["d"])
    ar = fields["ar"].T.copy()
    selection = np.vstack([np.zeros((2, len(position))), np.ones((1, len(position))), fields["ma"].T])
    states = fields["means"].T.copy()
    covariance = np.ascontiguousarray(fields["covariance"].T).reshape(SIZE, SIZE, -1)
    means, variances = [], []
    for _ in range(horizon):
        means.append(_observed(states, keep))
        variances.append(_observed(_observed(covariance, keep), keep))
        states = _predict(states, ar, keep)
        covariance = _predict(_predict(covariance, ar[:, None], keep).swapaxes(0, 1), ar[:, None], keep)
        covariance = covariance + selection[:, None] * selection[None]
    leads = position[:, None] + np.arange(1, horizon + 1)
    mean = np.stack(means, axis=1) + _offset(fields, leads)
    scale = fields["sigma"][:, None] * np.sqrt(np.stack(variances, axis=1))
    season = np.take_along_axis(fields["season"], lead_phases(position, horizon, fields["season"].shape[1]), axis=1)
    factor = fields["is_factor"][:, None] > 0
    return np.where(factor, mean * season, mean + season), np.where(factor, scale * season, scale)


def _offset(fields: Fields, positions: Positions) -> Values:
    """What was taken out of the values at some positions [B, L]: the mean, or the first value and the drift since then."""
    d, constant = fields["d"][:, None], fields["constant"][:, None]
    drift = constant * np.where(d == 1, positions - fields["begun"][:, None], 1.0)
    return drift + np.where(d > 0, fields["anchor"][:, None], 0.0)


def is_stable(weights: Values) -> bool:
    """Whether x_t = w_1 x_(t-1) + w_2 x_(t-2) + … dies out.

    >>> is_stable(np.array([0.9])), is_stable(np.array([0.9, 0.2]))
    (True, False)
    """
    return bool(np.abs(np.roots(np.r_[1, -weights])).max(initial=0.0) < 0.9999)


def pool_arima(parameters: pd.DataFrame) -> Numbers:
    """The median weights of the fitted series that share the commonest order of those with d > 0; otherwise a random walk.

    A mean has a unit, and nothing is known of that of a new series; so it always has a level that is free.
    """
    weights = [f"{name}_{lag}" for name in ("ar", "ma") for lag in range(1, LARGEST_ORDER + 1)]
    pooled: Numbers = {**dict.fromkeys(weights, 0.0), "d": 1.0}
    walks = parameters[parameters["d"] > 0]
    orders = walks["model"].str.partition(")")[0]
    alike = walks[orders == orders.mode().iloc[0]] if len(walks) else walks
    middle = alike[weights].median().to_numpy()
    if len(alike) and is_stable(middle[:LARGEST_ORDER]) and is_stable(-middle[LARGEST_ORDER:]):
        pooled |= {**dict(zip(weights, middle.tolist(), strict=True)), "d": float(alike["d"].iloc[0])}
    return {**pooled, "constant": 0.0, "sigma": np.nan, **pool_season(parameters)}


ARIMA = Recursion(ARIMA_WIDTHS, begin_arima, step_arima, arima_paths, pool_arima)
