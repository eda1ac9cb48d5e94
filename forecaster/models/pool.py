"""What the series of a panel have in common, and how it stands in for what a young series has not shown yet.

A *course* is what a series does over a season, in amplitudes about its level. The courses of a panel's series have a mean and
a few directions in which they differ; a new series is taken for one of them. With x(j) the value j positions ago, in amplitudes:

    x(j) = level + profile(j) + sum over k of weight(k) course(k, j) + noise        weight ~ N(0, 1), level ~ N(usual, its spread)

so the values so far say what the rest of the season is likely to be, and say it better with each: a linear regression whose gains
depend on the phase and the count of values alone. Until a series has lived through `young` positions, the state's level,
smoothing, seasons and the part of the ring from before its time are what this regression says; from then on it is its own.
What is filled follows from the state's own values and the position, so it is the same in any batch.

Source: principal components of curves that are partly seen (Yao, Müller and Wang 2005, 10.1198/016214504000001745).
Axes: B series, R ring size, M season of the base, P phases, K courses, N values.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State
from forecaster.frequency import Positions
from forecaster.models.holt_winters import Float32
from forecaster.models.scaler import AGE, AMPLITUDE, LEVEL, LOG, SEASONS, SLOPE, SMOOTH, SPREAD, Scaler

FAR = 4.0  # deviations from the usual level: a series beyond is of another kind
PRIOR = 6.0  # positions that the usual sizes count for
MOST_YOUNG = 96  # positions: where a season is longer, its rest is told from so many
PHASES_KEPT = 64  # whose gains are at hand; others are worked out again


@dataclass(frozen=True, eq=False)
class Pool:
    """The mean course, the courses in whose direction series differ, and the usual sizes.

    `profile` [P] and `courses` [K, P] are in amplitudes, `noise` is the deviation of values from them and `spread` the mean
    change over the base's season. `level` is the usual level and `level_spread` how far series are from it, in amplitudes.
    `log_amplitude` is the usual amplitude of series in logarithms, `plain_amplitude` that of
    others, as a share of the mean size of their values where `is_share`. `widths` [A] are by how much intervals are wider than
    the network says at ages 1, 2, … A.
    """

    profile: Float32
    courses: Float32
    noise: float
    spread: float
    level: float
    level_spread: float
    log_amplitude: float
    plain_amplitude: float
    is_share: bool
    young: int
    widths: Float32
    prior: float = PRIOR
    gains: dict[int, Float32] = field(default_factory=dict, init=False, repr=False)  # by phase, as far as they were wanted

    def fill(self, state: State, position: Positions, scaler: Scaler) -> None:
        """Let the pool stand in, in place, for what the young among series at states [B, scaler.size] have not shown."""
        young = np.flatnonzero((state[:, AGE] > 0) & (state[:, AGE] <= self.young))
        phases = position[young] % len(self.profile)
        for phase in np.unique(phases):
            rows = young[phases == phase]
            state[rows] = self._filled(state[rows], int(phase), scaler)

    def widths_at(self, age: Float32) -> Float32:
        """By how much the intervals of series of these ages [B] are widened."""
        return self.widths[np.clip(age.astype(np.int64), 1, len(self.widths)) - 1]

    def _filled(self, state: State, phase: int, scaler: Scaler) -> State:
        """The states [B, size] of young series whose last values lie at a phase."""
        count, last = state[:, AGE].astype(np.int64), state[:, scaler.size - 1]
        size = self._sizes(state, count, scaler)
        weights = self._weights(state, count, size, phase=phase, scaler=scaler)
        first = state[:, AGE] == 1
        state[:, AMPLITUDE] = np.where(first, size, state[:, AMPLITUDE])
        state[:, SPREAD] = np.where(first, size * np.float32(self.spread), state[:, SPREAD])
        state[:, LEVEL] = last + size * weights[:, 0]
        back = np.arange(scaler.ring_size - 1, -1, -1)
        course = last[:, None] + size[:, None] * self._course(weights, phase - back)
        state[:, scaler.ring : scaler.size] = np.where(back >= count[:, None], course, state[:, scaler.ring : scaler.size])
        if scaler.base.length > 1:
            self._smooth(state, count, size, weights, phase=phase, scaler=scaler)
        return state

    def _smooth(
        self, state: State, count: NDArray[np.int64], size: Float32, weights: Float32, *, phase: int, scaler: Scaler
    ) -> None:
        """Let the base go on from the course, in place: what the values are beside it counts as the base has it of any value."""
        base, last = scaler.base, state[:, scaler.size - 1]
        at = phase + 1 - base.length + np.arange(base.length)
        course = last[:, None] + size[:, None] * self._course(weights, at)
        seasons = course - state[:, LEVEL, None]
        smooth = np.zeros_like(last)
        for n in range(int(count.max()) - 1, -1, -1):
            beside = np.where(n < count, state[:, scaler.size - 1 - n] - course[:, base.length - 1 - n], np.float32(0))
            smooth += np.float32(base.level) * (beside - smooth)
            seasons[:, base.length - 1 - n] += np.where(n < count, np.float32(base.season) * (beside - smooth), np.float32(0))
        state[:, SMOOTH], state[:, SLOPE] = state[:, LEVEL] + smooth, 0
        state[:, SEASONS : scaler.ring] = seasons

    def _sizes(self, state: State, count: NDArray[np.int64], scaler: Scaler) -> Float32:
        """The usual amplitude at the values that the series have shown [B]."""
        total = np.zeros(len(state), dtype=np.float32)
        for n in range(int(count.max())):
            total += np.where(n < count, np.abs(state[:, scaler.size - 1 - n]), np.float32(0))
        mean = total / count.astype(np.float32) if self.is_share else np.ones_like(total)
        plain = np.maximum(np.float32(self.plain_amplitude) * mean, np.float32(scaler.least_spread))
        return np.where(state[:, LOG] > 0, np.float32(self.log_amplitude), plain)

    def _weights(self, state: State, count: NDArray[np.int64], size: Float32, *, phase: int, scaler: Scaler) -> Float32:
        """The level, against the last value and in amplitudes, then the weight of each course [B, 1 + K].

        Series that live far from where the others do, or in another unit, are not drawn to the usual level.
        """
        last, shown = state[:, scaler.size - 1], range(int(count.max()))
        seen = [(state[:, scaler.size - 1 - n] - last) / size - self.profile[(phase - n) % len(self.profile)] for n in shown]
        own = np.zeros_like(last)
        for n in shown:
            own += np.where(n < count, seen[n], np.float32(0))
        own /= count.astype(np.float32)
        usual = (np.float32(self.level) - last) / size
        is_other = np.abs(usual - own) > np.float32(FAR * np.hypot(self.level_spread, self.noise))
        if scaler.kind == "log":
            is_other |= state[:, LOG] == 0
        gains = self._gains(phase)[count - 1]
        weights: Float32 = gains[:, :, -1] * np.where(is_other, own, usual)[:, None]
        for n in shown:
            weights += gains[:, :, n] * seen[n][:, None]
        return weights

    def _course(self, weights: Float32, phases: NDArray[np.int64]) -> Float32:
        """What series of these weights [B, 1 + K] do at phases [N], against the last value and in amplitudes [B, N]."""
        at = phases % len(self.profile)
        course = weights[:, [0]] + self.profile[at]
        for k, direction in enumerate(self.courses):
            course += weights[:, [1 + k]] * direction[at]
        return course

    def _gains(self, phase: int) -> Float32:
        """What each of the last N values, and the usual level, add to the weights [N, 1 + K, N + 1], for 1, 2, … N of them."""
        if phase not in self.gains:
            while len(self.gains) >= PHASES_KEPT:
                del self.gains[next(iter(self.gains))]
            self.gains[phase] = self._gains_at(phase)
        return self.gains[phase]

    def _gains_at(self, phase: int) -> Float32:
        """The regression's solutions, zero for values before the first."""
        at = (phase - np.arange(self.young)) % len(self.profile)
        x = np.concatenate([np.ones((1, self.young)), self.courses[:, at]]).astype(np.float64)  # [1 + K, N]
        known = np.diag([self.level_spread**-2, *np.ones(len(self.courses))])
        evidence = known + np.cumsum(x.T[:, :, None] * x.T[:, None, :], axis=0) / self.noise**2
        shown = np.tril(np.ones((self.young, self.young)))[:, None, :] * x / self.noise**2
        usual = np.broadcast_to(known[:, :1], (self.young, len(known), 1))
        return np.linalg.solve(evidence, np.concatenate([shown, usual], axis=2)).astype(np.float32)
