"""The scaler's walk over a whole panel: what stepping gives, series beside series."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State
from forecaster.frequency import Positions
from forecaster.models.holt_winters import Float32
from forecaster.models.pool import Pool
from forecaster.models.scaler import AGE, LOG, SEASONS, Scaler
from forecaster.series import Panel, abreast, spread_out


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
    positions: Positions  # [N]
    ring_size: int
    pool: Pool | None = None

    @property
    def age(self) -> Float32:
        """Positions since the first value [N]."""
        return self.numbers[:, AGE]

    def state_at(self, rows: NDArray[np.int64], scaler: Scaler) -> State:
        """The scaler's state [len(rows), scaler.size] after the values at the given rows of the panel.

        Where a pool stands in for a young series, it is asked again: what it filled was kept for the last young position alone.
        """
        state = np.empty((len(rows), scaler.size), dtype=np.float32)
        windows = np.lib.stride_tricks.sliding_window_view
        state[:, :SEASONS] = self.numbers[rows]
        state[:, SEASONS : scaler.ring] = windows(self.seasons, scaler.base.length)[self.season_at[rows]]
        state[:, scaler.ring :] = windows(self.padded, scaler.ring_size)[self.at[rows]]
        state[state[:, AGE] == 0] = 0
        if self.pool:
            self.pool.fill(state, self.positions[rows], scaler)
        return state


@dataclass
class _Run:
    """Positions of a series in one unit: those from row `first` on, and what the state [scaler.size] was at row `kept`."""

    first: int
    kept: int
    state: State


def track(scaler: Scaler, panel: Panel, pool: Pool | None = None) -> Track:
    """The scaler stepped over every series of the panel at once; a `pool` stands in for what the young have not shown."""
    lengths, count = panel.lengths, len(panel.values)
    order, alive = abreast(lengths)
    state = scaler.initial_state(len(panel))
    numbers = np.empty((count, SEASONS), dtype=np.float32)
    features = np.empty((count, scaler.feature_count), dtype=np.float32)
    values, season = np.empty(count, dtype=np.float32), np.empty(count, dtype=np.float32)
    runs: list[list[_Run]] = [[] for _ in range(len(panel))]
    positions = spread_out(panel.starts, lengths)[1]
    for step, k in enumerate(alive):
        rows = panel.offsets[order[:k]] + step
        y = panel.values[rows]
        after = scaler.step(state[:k], y, prior=pool.prior if pool else 0.0)
        if pool:
            pool.fill(after, positions[rows], scaler)
        _note_runs(runs, order[:k], rows, before=state[:k], after=after, young=pool.young if pool else 1)
        state[:k] = after
        features[rows] = scaler.features(after, ~np.isnan(y))
        numbers[rows] = after[:, :SEASONS]
        values[rows], season[rows] = after[:, scaler.size - 1], after[:, scaler.ring - 1]
    padded, at = _laid_out(values, panel, runs, columns=slice(scaler.ring, scaler.size))
    padded_seasons, season_at = _laid_out(season, panel, runs, columns=slice(SEASONS, scaler.ring))
    return Track(features, numbers, padded, at, padded_seasons, season_at, positions, scaler.ring_size, pool)


def _note_runs(
    runs: list[list[_Run]], series: NDArray[np.int64], rows: NDArray[np.int64], *, before: State, after: State, young: int
) -> None:
    """Note where series begin and where they leave the logarithms, and keep the state that they end their youth with."""
    is_first = (before[:, AGE] == 0) & (after[:, AGE] > 0)
    is_moved = (before[:, LOG] > 0) & (after[:, LOG] == 0)
    for i in np.flatnonzero(is_first | is_moved):
        runs[series[i]].append(_Run(int(rows[i]), int(rows[i]), after[i].copy()))
    for i in np.flatnonzero((after[:, AGE] == young) & (before[:, AGE] > 0)):
        run = runs[series[i]][-1]
        run.kept, run.state = int(rows[i]), after[i].copy()


def _laid_out(values: Float32, panel: Panel, runs: list[list[_Run]], *, columns: slice) -> tuple[Float32, NDArray[np.int64]]:
    """The values of each run behind what some columns of the state held before it, and where each position's window [N] begins.

    A window is as wide as there are columns. Positions before a series' first value have one too, though it says nothing.
    """
    width = columns.stop - columns.start
    at = np.zeros(len(values), dtype=np.int64)
    parts, length = [np.zeros(width, dtype=np.float32)], width
    for b, own in enumerate(runs):
        stop = int(panel.offsets[b + 1])
        for run in own:
            held = run.state[columns]
            gone = np.full(run.kept - run.first, held[0], dtype=np.float32)
            parts += [gone, held[:-1], values[run.kept : stop]]
            at[run.first : stop] = length + np.arange(stop - run.first)
            length += width - 1 + stop - run.first
    return np.concatenate(parts), at
