"""What every live series remembers whatever its recursion: its range, its last value, and its last value at each phase.

From these come the naive and the seasonal naive forecast, which all others fall back to, and the test whether a forecast can be
believed.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.baselines.parameters import Numbers, column
from forecaster.baselines.recursion import PER_PHASE, Recursion
from forecaster.baselines.vector import Fields, at_phase
from forecaster.frequency import Positions
from forecaster.series import Values

ABSURD_RANGES = 10.0
UNKNOWN = np.nan
FITTED = np.inf  # how many errors a fitted spread counts for: no later one moves it

MEMORY_WIDTHS = {
    "begun": 0,  # the first position stepped
    "last": 0,
    "last_at": 0,
    "low": 0,
    "high": 0,
    "has_fallback": 0,
    "sigma_naive": 0,
    "naive_errors": 0,  # how many errors the sigma before it was found from
    "sigma_seasonal": 0,
    "seasonal_errors": 0,
    "ring": PER_PHASE,  # the last value at each phase
    "ring_at": PER_PHASE,  # and its position
}


def begin_memory(fields: Fields, parameters: pd.DataFrame) -> None:
    """Nothing remembered; spreads as fitted, or found on the way where they are not finite."""
    for name in ("begun", "last", "last_at", "low", "high", "ring", "ring_at"):
        fields[name][:] = UNKNOWN
    reasons = parameters["fallback"].to_numpy(dtype=object) if "fallback" in parameters else np.full(len(parameters), "")
    fields["has_fallback"][:] = reasons != ""
    for name, errors in (("sigma_naive", "naive_errors"), ("sigma_seasonal", "seasonal_errors")):
        begin_spread(fields, name, errors, column(parameters, name))


def begin_spread(fields: Fields, sigma: str, errors: str, fitted: Values) -> None:
    """A fitted spread stands; one that is missing begins at zero and is found from the errors to come."""
    is_fitted = np.isfinite(fitted)
    fields[sigma][:] = np.where(is_fitted, fitted, 0.0)
    fields[errors][:] = np.where(is_fitted, FITTED, 0.0)


def learn_spread(fields: Fields, sigma: str, errors: str, error: Values) -> None:
    """Take an error [B], NaN for none, into the root mean square of those that are not fitted."""
    counts = fields[errors]
    learns = (counts < FITTED) & np.isfinite(error)
    if not learns.any():
        return
    before, count, new = fields[sigma][learns], counts[learns] + 1, error[learns]
    fields[sigma][learns] = np.sqrt(before**2 + (new**2 - before**2) / count)
    counts[learns] = count


def remember(fields: Fields, y: Values, position: Positions) -> None:
    """Take in the value y [B] at a position [B]; NaN leaves all as it is."""
    rows, m = np.arange(len(y)), fields["ring"].shape[1]
    phase, seen = position % m, np.isfinite(y)
    ring, ring_at = at_phase(fields["ring"], phase), at_phase(fields["ring_at"], phase)
    if (fields["naive_errors"] < FITTED).any() or (fields["seasonal_errors"] < FITTED).any():
        step, seasonal_step = fields["last_at"] == position - 1, ring_at == position - m
        learn_spread(fields, "sigma_naive", "naive_errors", np.where(step, y - fields["last"], np.nan))
        learn_spread(fields, "sigma_seasonal", "seasonal_errors", np.where(seasonal_step, y - ring, np.nan))
    fields["low"][:] = np.fmin(fields["low"], y)
    fields["high"][:] = np.fmax(fields["high"], y)
    fields["last"][:] = np.where(seen, y, fields["last"])
    fields["last_at"][:] = np.where(seen, position, fields["last_at"])
    fields["ring"][rows, phase] = np.where(seen, y, ring)
    fields["ring_at"][rows, phase] = np.where(seen, position, ring_at)


def naive_paths(fields: Fields, position: Positions, horizon: int) -> tuple[Values, Values]:
    """The last value observed, with a standard deviation that grows as the root of the steps since then [B, L]."""
    since = (position - fields["last_at"])[:, None] + np.arange(1, horizon + 1)
    mean = np.repeat(fields["last"][:, None], horizon, axis=1)
    return mean, fields["sigma_naive"][:, None] * np.sqrt(since)


def seasonal_naive_paths(fields: Fields, position: Positions, horizon: int) -> tuple[Values, Values]:
    """The latest value observed at the same phase, with a deviation that grows as the root of the seasons since then [B, L].

    Naive from an origin with less than a season behind it, and for a phase that was never observed.
    """
    m, ahead = fields["ring"].shape[1], np.arange(1, horizon + 1)
    phase = lead_phases(position, horizon, m)
    value, at = (np.take_along_axis(fields[name], phase, axis=1) for name in ("ring", "ring_at"))
    seasons = np.round((position[:, None] + ahead - at) / m)
    sigma = np.where(fields["seasonal_errors"] > 0, fields["sigma_seasonal"], fields["sigma_naive"])[:, None]
    mean, scale = naive_paths(fields, position, horizon)
    usable = np.isfinite(at) & (position - fields["begun"] + 1 >= m)[:, None]
    return np.where(usable, value, mean), np.where(usable, sigma * np.sqrt(seasons), scale)


def lead_phases(position: Positions, horizon: int, season_length: int) -> NDArray[np.int64]:
    """The phase of each lead after a position [B, L].

    >>> lead_phases(np.array([4]), 3, 6)
    array([[5, 0, 1]])
    """
    return np.asarray((position[:, None] + np.arange(1, horizon + 1)) % season_length)


def steps_missed(fields: Fields, position: Positions, *, most: int) -> NDArray[np.int64]:
    """How many steps up to a position went without a value [B], `most` at most; 0 where there never was one."""
    return np.asarray(np.fmin(np.nan_to_num(position - fields["last_at"]), most).astype(np.int64))


def is_credible(fields: Fields, mean: Values, scale: Values) -> NDArray[np.bool_]:
    """Which rows [B] are finite and within ten times the range of the values before their origin."""
    low, high = fields["low"][:, None], fields["high"][:, None]
    reach = ABSURD_RANGES * (high - low + fields["sigma_naive"][:, None]) + np.maximum(np.abs(low), np.abs(high))
    is_near = (mean >= low - reach) & (mean <= high + reach)
    return np.asarray((is_near & np.isfinite(scale)).all(axis=1))


def _nothing_more(*_: object) -> None:
    """Memory is all there is."""


def _no_numbers(_: pd.DataFrame) -> Numbers:
    return {}


NAIVE = Recursion({}, _nothing_more, _nothing_more, naive_paths, _no_numbers)
SEASONAL_NAIVE = Recursion({}, _nothing_more, _nothing_more, seasonal_naive_paths, _no_numbers)
