"""From a trained network and its panel to a pool: which courses are worth knowing, and how wide the young must speak.

Both are found where it hurts: series of the panel begin again in the middle of their lives, with nothing but a pool that was
made from other series. Their forecasts are held against those of the same network that knows their past, from the same origins.
Axes: P phases, K courses.
"""

from dataclasses import dataclass, replace

import numpy as np

from forecaster.models.pool import MOST_YOUNG, Pool
from forecaster.models.recurrent import Recurrent
from forecaster.models.replays import Replays
from forecaster.models.scaler import Scaler
from forecaster.series import Panel, Values

COUNTS = (0, 3, 6, 12)  # of courses, to choose from
MOST_PHASES = 400
CYCLES = 3  # of the season, in one sample of a course
SAMPLES, LEAST_SAMPLES = 400, 4
VAGUE = 100.0  # amplitudes: levels that are further apart say no more of each other
WORTH = 0.995  # of the error so far: what more courses have to come below


def pool_for(forecaster: Recurrent, panel: Panel) -> Pool | None:
    """The pool that serves young series of the panel best; None where none does better than to begin from nothing.

    Better is a lower error over all ages, and none that is higher once a series has lived through two seasons.
    A network with covariates gets none: of its replays, not all leads need be known.
    """
    plain = replace(forecaster, pool=None)
    replays = Replays.of(panel, plain.scaler, plain.horizon)
    if plain.inputs.known or replays is None:
        return None
    median, warm = plain.quantiles.index(0.5), replays.known(plain)
    nothing = replays.errors(replays.begun(plain), median)
    least, chosen = float(nothing.mean()), None
    for count in COUNTS:
        pool = pool_of(panel, plain.scaler, count=count)
        begun = _begun_from_others(plain, replays, count=count)
        if pool is None or begun is None:
            break
        errors = replays.errors(begun, median)
        is_old = replays.ages >= 2 * pool.young
        if errors.mean() < WORTH * least and (errors <= nothing)[is_old].all():
            widths = replays.widths(begun, warm, plain.quantiles, is_log=plain.scaler.kind == "log")
            least, chosen = float(errors.mean()), replace(pool, widths=widths)
    return chosen


def _begun_from_others(plain: Recurrent, replays: Replays, *, count: int) -> Values | None:
    """The forecasts of the replays [R, A, L, Q], each half begun from a pool of the other; None where there is none."""
    said = []
    for odd in (True, False):
        panel, asked = replays.half(odd=odd)
        pool = pool_of(panel, plain.scaler, count=count)
        if pool is None:
            return None
        said.append(asked.begun(replace(plain, pool=pool)))
    return replays.merged(*said)


def pool_of(panel: Panel, scaler: Scaler, *, count: int) -> Pool | None:
    """The pool of a panel with at most so many courses, before its widths are known; None where too little can be seen."""
    phases = max((m for m in scaler.season_lengths if m <= MOST_PHASES), default=1)
    samples = [sample for sample in _samples(panel, scaler, phases) if sample is not None]
    if len(samples) < LEAST_SAMPLES:
        return None
    courses = np.array([sample.course for sample in samples])
    amplitude, value = (np.log([getattr(sample, name) for sample in samples]) for name in ("amplitude", "value"))
    level = np.array([sample.level for sample in samples])
    profile = courses.mean(axis=0)
    _, sizes, directions = np.linalg.svd(courses - profile, full_matrices=False)
    count = min(count, len(samples) // 2) if phases > 1 else 0
    is_share = scaler.kind == "log" or float(np.std(amplitude - value)) < float(np.std(amplitude))
    log_amplitude = float(np.exp(amplitude.mean()))
    return Pool(
        profile.astype(np.float32),
        (directions[:count] * sizes[:count, None] / np.sqrt(len(samples))).astype(np.float32),
        noise=max(float(np.median([sample.noise for sample in samples])), 1e-3),
        spread=float(np.exp(np.mean(np.log([max(sample.spread, 1e-6) for sample in samples])))),
        level=float(level.mean()),
        level_spread=float(np.clip(np.std(level) / log_amplitude, 0.1, VAGUE)) if scaler.kind == "log" or not is_share else VAGUE,
        log_amplitude=log_amplitude,
        plain_amplitude=float(np.exp((amplitude - value).mean())) if is_share and scaler.kind != "log" else log_amplitude,
        is_share=is_share,
        young=max(min(min(scaler.season_lengths, default=1), MOST_YOUNG, scaler.ring_size - 1), 1),
        widths=np.ones(1, dtype=np.float32),
    )


@dataclass(frozen=True)
class _Sample:
    """Some cycles of a series: its course [P], noise about it and change over a season in amplitudes, and its sizes."""

    course: Values
    noise: float
    spread: float
    level: float
    amplitude: float
    value: float


def _samples(panel: Panel, scaler: Scaler, phases: int) -> list[_Sample | None]:
    """Samples of the panel's series, from all their lives where the series are few."""
    some = np.sort(np.random.default_rng(0).permutation(len(panel))[:SAMPLES])
    length = max(CYCLES * phases, 2 * scaler.base.length, 8)
    samples = []
    for b in some:
        y, start = panel.series(int(b)), int(panel.starts[b])
        ends = len(y) - np.arange(max(SAMPLES // len(some), 1)) * length
        for end in ends[ends > 0]:
            begin = max(int(end) - length, 0)
            samples.append(_sample(y[begin:end], start + begin, scaler, phases))
    return samples


def _sample(y: Values, start: int, scaler: Scaler, phases: int) -> _Sample | None:
    """What one stretch of a series shows; None where it is too short, too full of holes, still, or not in logarithms."""
    known = ~np.isnan(y)
    season = scaler.base.length
    if known.sum() < max(2 * phases, season + 1, 4) or 2 * known.sum() < len(y):
        return None
    if scaler.kind == "log" and (y[known] <= 0).any():
        return None
    v = np.log(y) if scaler.kind == "log" else y
    away = v - np.nanmean(v)
    amplitude = float(np.nanmean(np.abs(away)))
    changes = np.abs(v[season:] - v[:-season])
    value = float(np.nanmean(np.abs(y)))
    if not amplitude > 1e-9 * max(value, 1e-300) or np.isnan(changes).all():
        return None
    phase = (start + np.arange(len(v))) % phases
    counts = np.bincount(phase[known], minlength=phases)
    course = np.bincount(phase[known], away[known] / amplitude, minlength=phases) / np.maximum(counts, 1)
    noise = float(np.sqrt(np.nanmean((away / amplitude - course[phase]) ** 2)))
    return _Sample(course - course.mean(), noise, float(np.nanmean(changes)) / amplitude, float(np.nanmean(v)), amplitude, value)
