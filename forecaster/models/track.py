"""The scaler's walk over a whole panel: what stepping gives, series beside series."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State
from forecaster.models.holt_winters import Float32
from forecaster.models.scaler import AGE, LOG, SEASONS, Scaler
from forecaster.series import Panel


@dataclass(frozen=True)
class Track:
    """The scaler's walk over a panel, N positions in the order of the panel's values.

    `numbers` are the state's columns up to the seasons, `padded[at[n] : at[n] + ring_size]` the ring and
    `seasons[season_at[n] : season_at[n] + M]` the seasons at position n. A series that leaves the logarithms lies twice in
    `padded` and `seasons`, each time in the unit of the positions that point there.
    """

    features: Float32  # [N, D]
    numbers: Float32  # [N, SEASONS]
    padded: Float32
    at: NDArray[np.int64]  # [N]
    seasons: Float32
    season_at: NDArray[np.int64]  # [N]

    @property
    def age(self) -> Float32:
        """Positions since the first value [N]."""
        return self.numbers[:, AGE]

    def state_at(self, rows: NDArray[np.int64], scaler: Scaler) -> State:
        """The scaler's state [len(rows), scaler.size] after the values at the given rows of the panel."""
        state = np.empty((len(rows), scaler.size), dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view
        state[:, :SEASONS] = self.numbers[rows]
        state[:, SEASONS : scaler.ring] = windows(self.seasons, scaler.base.length)[self.season_at[rows]]
        state[:, scaler.ring :] = windows(self.padded, scaler.ring_size)[self.at[rows]]
        state[state[:, AGE] == 0] = 0
        return state


def track(scaler: Scaler, panel: Panel) -> Track:
    """The scaler stepped over every series of the panel at once."""
    lengths, count = panel.lengths, len(panel.values)
    order = np.argsort(-lengths, kind="stable")
    alive = np.searchsorted(-lengths[order], -np.arange(lengths.max(initial=0)), side="left")
    state = scaler.initial_state(len(panel))
    numbers = np.empty((count, SEASONS), dtype=np.float32)
    features = np.empty((count, scaler.feature_count), dtype=np.float32)
    values, season = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.float32)
    moved: dict[int, tuple[int, State]] = {}
    for step, k in enumerate(alive):
        rows = panel.offsets[order[:k]] + step
        y = panel.values[rows]
        after = scaler.step(state[:k], y)
        for i in np.flatnonzero((state[:k, LOG] > 0) & (after[:, LOG] == 0)):
            moved[int(order[i])] = int(rows[i]), after[i]
        state[:k] = after
        features[rows] = scaler.features(after, ~np.isnan(y))
        numbers[rows] = after[:, :SEASONS]
        values[rows], season[rows] = after[:, scaler.size - 1], after[:, scaler.ring - 1]
    before = np.zeros(len(panel), dtype=np.float32)
    for b in range(len(panel)):
        one = slice(panel.offsets[b], panel.offsets[b + 1])
        young = numbers[one, AGE] == 0
        before[b] = values[one][np.argmax(~young)]
        values[one][young] = before[b]
    rings = {b: (row, kept[scaler.ring : scaler.size]) for b, (row, kept) in moved.items()}
    seasons = {b: (row, kept[SEASONS : scaler.ring]) for b, (row, kept) in moved.items()}
    padded, at = _laid_out(values, panel, before=before, width=scaler.ring_size, moved=rings)
    padded_seasons, season_at = _laid_out(season, panel, before=np.zeros_like(before), width=scaler.base.length, moved=seasons)
    return Track(features, numbers, padded, at, padded_seasons, season_at)


def _laid_out(
    values: Float32, panel: Panel, *, before: Float32, width: int, moved: dict[int, tuple[int, Float32]]
) -> tuple[Float32, NDArray[np.int64]]:
    """The values with `width - 1` others in front of each series, and where the last `width` of each position [N] begin."""
    at = np.empty(len(values), dtype=np.int64)
    parts, length = [], 0
    for b in range(len(panel)):
        start, stop = int(panel.offsets[b]), int(panel.offsets[b + 1])
        runs = [(start, np.full(width - 1, before[b], dtype=np.float32))]
        if b in moved:
            row, kept = moved[b]
            runs.append((row, kept[:-1]))
        for begin, prefix in runs:
            parts += [prefix, values[begin:stop]]
            at[begin:stop] = length + np.arange(stop - begin)
            length += width - 1 + stop - begin
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32), at
