"""The forecast that the network starts from: damped Holt-Winters smoothing, one set of weights for the whole panel.

With v the value, s what the season adds, and a, b, c, p the weights of level, trend and season and the damping:

    expected = level + p slope                      level = expected + a (v - s - expected)
    slope    = p slope + b (level' - level - p slope)
    s        = s + c (v - level' - s)               forecast(lead) = level + (p + … + p^lead) slope + s(lead)

Source: Gardner and McKenzie 1985, with the additive season of Winters 1960. The weight of the level is at least 1 / age and
that of the season 1 / (its turn), so that a young series is averaged; a slope is not told before a season has passed. Where
nothing was observed the forecast stands in. The weights are chosen on the panel, by the errors of forecasts over the whole
horizon. B series, L leads, M season length, G candidates.
"""

from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class HoltWinters:
    """The weights of level, slope and season, the damping, and the season's length (1 for none)."""

    level: float
    slope: float
    season: float
    damping: float
    length: int

    def path(self, horizon: int) -> Float32:
        """By how many slopes each lead is away from the level [L]."""
        return np.cumsum(self.damping ** np.arange(1, horizon + 1)).astype(np.float32)


class Smoothed(NamedTuple):
    """What one series' smoothing carries, and how far the last value was from what was expected; all of one shape."""

    level: Float32
    slope: Float32
    season: Float32  # of the position just stepped, one season from now
    error: Float32


def smooth(
    level: Float32,
    slope: Float32,
    season: Float32,
    *,
    v: Float32,
    age: Float32,
    weights: tuple[Float32 | np.float32, ...],
    length: int,
) -> Smoothed:
    """One step; `season` is that of this position, v is NaN where nothing was observed, age counts this position too."""
    alpha, beta, gamma, damping = weights
    one = np.float32(1)
    observed = ~np.isnan(v)
    drift = damping * slope
    expected = level + drift
    known = np.where(observed, v, np.float32(0))
    error = np.where(observed, known - season - expected, np.float32(0))
    new_level = expected + np.maximum(alpha, one / age) * error
    trend = np.where(observed & (age > max(length, 2)), beta, np.float32(0))
    new_slope = drift + trend * (new_level - level - drift)
    new_season = season
    if length > 1:
        share = np.where(observed, np.maximum(gamma, one / (one + np.floor((age - one) / np.float32(length)))), np.float32(0))
        new_season = season + share * (known - new_level - season)
    return Smoothed(new_level, new_slope, new_season, error)


LEVELS = (0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
SLOPES = (0.0, 0.01, 0.03, 0.07, 0.15, 0.3)
SEASONS = (0.01, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
DAMPINGS = (0.8, 0.9, 0.95, 0.98, 1.0)
STARTS = (  # a slow and a quick level
    HoltWinters(level=0.03, slope=0.03, season=0.5, damping=0.95, length=1),
    HoltWinters(level=0.7, slope=0.03, season=0.1, damping=0.95, length=1),
)
ROUNDS = 2  # over the weights, one after the other
ORIGINS = 40  # at most, of each series, to judge by
LEAST_ORIGIN = 4  # positions seen before a forecast counts; two seasons, where these are longer
STILL = 1e-3  # of the other changes: a season repeated more closely counts as repeated so
MARGIN = 0.999  # of the least error so far: less of a gain is that of rounding, and the shorter season stays
WORST = np.float32(20)  # mean changes over a season: an error counts for no more


def choose_smoothing(v: Float32, *, horizon: int, lengths: tuple[int, ...]) -> HoltWinters:
    """The smoothing with the least mean error over all leads, of series v [B, T] in the scaler's unit (NaN around and in them).

    Each series counts by its mean absolute change, each weight is chosen with the others fixed, and every season gets its try.

    >>> seasonal = np.tile(np.float32([0, 1, 5, 1]), (3, 20))
    >>> choose_smoothing(seasonal, horizon=4, lengths=(1, 4)).length
    4
    """
    size = np.array([_size(row, lengths) for row in v], dtype=np.float32)
    use = np.isfinite(size) & (size > 0)
    best, least = STARTS[1], np.inf
    longest = max((_extent(row) for row in v[use]), default=0)
    lengths = tuple(length for length in lengths if longest > max(2 * length, LEAST_ORIGIN))
    if not lengths:
        return best
    v, young = v[use] / size[use, None], max(2 * max(lengths), LEAST_ORIGIN)  # all are judged from the same origins
    horizon = min(horizon, longest - young)
    for first in (replace(start, length=length) for length in lengths for start in STARTS):
        current, length = first, first.length
        for _ in range(ROUNDS):
            for name, grid in (("level", LEVELS), ("slope", SLOPES), ("season", SEASONS), ("damping", DAMPINGS)):
                if name == "season" and length == 1:
                    continue
                candidates = [HoltWinters(**{**asdict(current), name: weight}) for weight in grid]
                losses = _losses(v, candidates, horizon=horizon, young=young)
                current = candidates[int(losses.argmin())]
        if losses.min() < MARGIN * least:
            best, least = current, float(losses.min())
    return best


def _extent(v: Float32) -> int:
    """Positions from the first to the last value."""
    return int(np.ptp(np.flatnonzero(~np.isnan(v)))) + 1


def _size(v: Float32, lengths: tuple[int, ...]) -> float:
    """The unit of a series' errors: the harmonic mean of its mean absolute changes over each season; NaN if it never moves."""
    known = v[np.argmax(~np.isnan(v)) :].astype(np.float64)
    changes = [np.abs(known[lag:] - known[:-lag]) for lag in lengths if lag == 1 or len(known) > 2 * lag]
    means = [float(np.nanmean(change)) for change in changes if np.isfinite(change).any()]
    most = max(means, default=0.0)
    return len(means) / sum(1 / max(mean, STILL * most) for mean in means) if most > 0 else float("nan")


def _losses(v: Float32, candidates: list[HoltWinters], *, horizon: int, young: int) -> NDArray[np.float64]:
    """The mean absolute error [G] of each candidate over leads and the origins, from age `young` on, of all series [B, T]."""
    length, shape = candidates[0].length, (len(candidates), len(v))
    weights = tuple(
        np.array([[getattr(c, name)] for c in candidates], dtype=np.float32) for name in ("level", "slope", "season", "damping")
    )
    paths = np.stack([c.path(horizon) for c in candidates])[:, None, :]
    level, slope = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
    seasons = np.zeros((length, *shape), dtype=np.float32)
    observed = ~np.isnan(v)
    begin = np.argmax(observed, axis=1)
    end = v.shape[1] - np.argmax(observed[:, ::-1], axis=1)
    every = max((v.shape[1] - horizon) // ORIGINS, 1)
    total, count = np.zeros(len(candidates)), 0
    for t in range(int(begin.min()), v.shape[1] - 1):
        at, age = t % length, np.maximum(t - begin + 1, 0).astype(np.float32)
        now = smooth(level, slope, seasons[at], v=v[:, t], age=np.maximum(age, 1), weights=weights, length=length)
        begun = age > 0
        level, slope = np.where(begun, now.level, 0), np.where(begun, now.slope, 0)
        seasons[at] = np.where(begun, now.season, 0)
        left = end - 1 - t
        chosen = np.flatnonzero((left >= horizon) & ((left - horizon) % every == 0) & (age >= young))
        if len(chosen):
            truth = v[chosen, t + 1 : t + 1 + horizon]
            season = seasons[(t + 1 + np.arange(horizon)) % length][:, :, chosen].transpose(1, 2, 0)
            forecast = level[:, chosen, None] + slope[:, chosen, None] * paths + season
            error = np.minimum(np.abs(truth - forecast), WORST)
            total += np.nansum(error, axis=(1, 2))
            count += int((~np.isnan(truth)).sum())
    return total / count
