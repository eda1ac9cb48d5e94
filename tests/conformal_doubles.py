"""Two small steppers to calibrate, and panels to step them through."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from forecaster.forecast import State
from forecaster.frequency import Frequency, Positions
from forecaster.series import Panel, Values

QUANTILES = (0.025, 0.1, 0.3, 0.5, 0.7, 0.9, 0.975)
Z = np.array([NormalDist().inv_cdf(q) for q in QUANTILES])


@dataclass(frozen=True)
class Normal:
    """Says of every future value that it is normal with this mean and deviation; its state counts positions."""

    mean: float = 0.0
    deviation: float = 1.0
    horizon: int = 6
    quantiles: tuple[float, ...] = QUANTILES
    fingerprint: str = "normal"
    state_size: int = 1

    def initial_state(self, count: int) -> State:
        return np.zeros((count, 1), np.float32)

    def step(self, state: State, y: Values, position: Positions) -> State:
        return state + np.float32(1)

    def forecast(self, state: State, position: Positions) -> Values:
        z = np.array([NormalDist().inv_cdf(q) for q in self.quantiles])
        return np.broadcast_to(self.mean + self.deviation * z, (len(state), self.horizon, len(z))).copy()


@dataclass(frozen=True)
class LastValue:
    """Random walk: the last value, and the smoothed size of its changes."""

    horizon: int = 12
    quantiles: tuple[float, ...] = QUANTILES
    fingerprint: str = "last-value"
    state_size: int = 2

    def initial_state(self, count: int) -> State:
        return np.tile(np.array([np.nan, 1], np.float32), (count, 1))

    def step(self, state: State, y: Values, position: Positions) -> State:
        after, value = state.copy(), y.astype(np.float32)
        change = np.abs(value - state[:, 0])
        known = ~np.isnan(change)
        after[known, 1] += np.float32(0.1) * (change[known] - state[known, 1])
        after[~np.isnan(y), 0] = value[~np.isnan(y)]
        return after

    def forecast(self, state: State, position: Positions) -> Values:
        spread = state[:, 1, None] * np.sqrt(np.arange(1, self.horizon + 1))
        return state[:, 0, None, None].astype(np.float64) + spread[:, :, None] * Z


def panel_of(*series: Values, starts: tuple[int, ...] | None = None) -> Panel:
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in series])]).astype(np.int64)
    ids = tuple(f"series_{b:03d}" for b in range(len(series)))
    return Panel(ids, np.array(starts or (0,) * len(series)), offsets, np.concatenate(series), Frequency("h"))


def walks(count: int, seed: int = 0) -> Panel:
    """Random walks of different lengths and starts, a tenth of their values missing, some of them negative."""
    random = np.random.default_rng(seed)
    parts = []
    for b in range(count):
        y = np.cumsum(random.standard_t(3, size=80 + 13 * (b % 7))) + 20 * (b % 3)
        y[random.random(len(y)) < 0.1] = np.nan
        parts.append(y)
    return panel_of(*parts, starts=tuple(400_000 + 3 * b for b in range(count)))
