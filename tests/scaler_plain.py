"""The scaler as its formulas say it, column by column of the state: slow, and what the scaler is held against."""

import numpy as np

from forecaster.forecast import State
from forecaster.models.holt_winters import smooth
from forecaster.models.scaler import (
    AGE,
    AMPLITUDE,
    CLIP,
    CONTEXT,
    ERROR,
    LEVEL,
    LOG,
    OLD_AGE,
    SEASONS,
    SLOPE,
    SMOOTH,
    SPREAD,
    TINY,
    Scaler,
)
from forecaster.series import Values

ZERO, ONE = np.float32(0), np.float32(1)


def step(scaler: Scaler, state: State, y: Values) -> State:
    """`Scaler.step`."""
    observed = ~np.isnan(y)
    begun = state[:, AGE] > 0
    after = scaler._translated(state, observed & begun & (y <= 0)).copy()
    first = observed & ~begun
    after[first, LOG] = (y[first] > 0) & (scaler.kind == "log")
    log = after[:, LOG] > 0
    v = np.where(log, np.log(np.where(log & observed, y, 1.0)), y).astype(np.float32)
    v[~observed] = np.nan
    ring, seasons = after[:, scaler.ring : scaler.size], after[:, SEASONS : scaler.ring]
    season_ago = ring[:, scaler.ring_size - scaler.base.length].copy()
    ring[:, :-1] = ring[:, 1:].copy()
    ring[:, -1] = np.where(observed, v, season_ago)
    after[:, AGE] = age = np.where(begun | observed, state[:, AGE] + ONE, ZERO)
    change = np.where(observed, np.maximum(np.float32(scaler.alpha), ONE / np.maximum(age, ONE)), ZERO)
    after[:, LEVEL] += change * (np.where(observed, v, ZERO) - after[:, LEVEL])
    swing = np.where(observed, np.abs(v - after[:, LEVEL]), ZERO)
    gone = np.where(observed, np.abs(v - season_ago), ZERO)
    least = np.where(age > 0, scaler._least(after[:, LEVEL], log), ZERO)
    after[:, AMPLITUDE] = np.maximum(after[:, AMPLITUDE] + change * (swing - after[:, AMPLITUDE]), least)
    after[:, SPREAD] = np.maximum(after[:, SPREAD] + change * (gone - after[:, SPREAD]), least)
    base = scaler.base
    now = smooth(
        after[:, SMOOTH],
        after[:, SLOPE],
        seasons[:, 0],
        v=v,
        age=np.maximum(age, ONE),
        weights=tuple(np.float32(weight) for weight in (base.level, base.slope, base.season, base.damping)),
        length=base.length,
    )
    seasons[:, :-1] = seasons[:, 1:].copy()
    for column, numbers in ((SMOOTH, now.level), (SLOPE, now.slope), (ERROR, now.error), (scaler.ring - 1, now.season)):
        after[:, column] = np.where(begun | observed, numbers, ZERO)
    after[age == 1, ERROR] = 0
    after[first, LEVEL] = v[first]
    after[first, AMPLITUDE] = after[first, SPREAD] = scaler._least(v[first], log[first])
    after[first, scaler.ring : scaler.size] = v[first, None]
    return after


def base_forecast(scaler: Scaler, state: State, horizon: int) -> np.ndarray:
    """`Scaler.base_forecast`."""
    season = state[:, SEASONS + np.arange(horizon) % scaler.base.length]
    return state[:, SMOOTH, None] + state[:, SLOPE, None] * scaler.base.path(horizon) + season


def features(scaler: Scaler, state: State, observed: np.ndarray) -> np.ndarray:
    """`Scaler.features`."""
    ring = state[:, scaler.ring : scaler.size]
    level, last = state[:, LEVEL], ring[:, -1]
    size, spread = np.maximum(state[:, AMPLITUDE], TINY), np.maximum(state[:, SPREAD], TINY)
    columns = [(last - level) / size, (last - ring[:, -2]) / size, state[:, ERROR] / spread]
    columns.append((base_forecast(scaler, state, 1)[:, 0] - level) / size)
    for season in scaler.season_lengths:
        columns.append((ring[:, -season] - level) / size)
        columns.append((last - ring[:, -season - 1]) / size)
    typical = np.where(state[:, LOG] > 0, np.float32(0.1), np.abs(level))
    columns.append(size / (size + typical))
    columns.append(state[:, SPREAD] / (state[:, SPREAD] + size))
    columns.append(state[:, AGE] / (state[:, AGE] + OLD_AGE))
    columns.append(state[:, LOG])
    columns.append(observed.astype(np.float32))
    return np.clip(np.stack(columns, axis=1), -CLIP, CLIP)


def sight(scaler: Scaler, state: State, horizon: int) -> np.ndarray:
    """`Scaler.sight`."""
    size = np.maximum(state[:, AMPLITUDE, None], TINY)
    seen = np.concatenate([state[:, scaler.ring : scaler.size], base_forecast(scaler, state, horizon)], axis=1)
    near = np.clip((seen - state[:, LEVEL, None]) / size, -CLIP, CLIP)
    return np.concatenate([near, features(scaler, state, np.ones(len(state), dtype=bool))[:, CONTEXT]], axis=1)


def walk(scaler: Scaler, y: np.ndarray) -> list[State]:
    """The states [B, size] after each column of y [B, T]."""
    state, states = scaler.initial_state(len(y)), []
    for t in range(y.shape[1]):
        state = step(scaler, state, y[:, t])
        states.append(state)
    return states
