"""The recurrent forecaster behind both doors: whole panels at once, or one observation at a time, to the same bits.

A series' state is the scaler's numbers followed by the cell's. Elementwise arithmetic gives the same bits in any batch;
matrix products do not (torch picks another kernel for few rows), so the network always sees tiles of `TILE` rows, the last
one filled up with zeros. Windows, single steps and uneven chunks then agree with `==`.
Axes: B series, T time steps, D inputs, S state size, L leads, Q quantiles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forecaster.errors import ConfigError
from forecaster.forecast import Forecast, State
from forecaster.frequency import Frequency, Positions
from forecaster.models.base import Float32
from forecaster.models.network import ModelConfig, Network
from forecaster.models.scaler import AGE, LOG, SPREAD, Scaler
from forecaster.models.track import Track, track
from forecaster.series import Origins, Panel, Values

TILE = 32


@dataclass(frozen=True)
class Recurrent:
    """A network with the scaler, the frequency and the quantiles that it was trained for."""

    network: Network
    scaler: Scaler
    config: ModelConfig
    frequency: Frequency
    horizon: int
    quantiles: tuple[float, ...]
    fingerprint: str

    @property
    def name(self) -> str:
        return self.config.cell

    @property
    def state_size(self) -> int:
        return self.scaler.size + self.network.state_size

    # -- the door for streams ------------------------------------------------------------------------------------------------

    def initial_state(self, count: int) -> State:
        """The state [B, S] of series of which nothing is known: all zero."""
        return np.zeros((count, self.state_size), dtype=np.float32)

    def step(self, state: State, y: Values, position: Positions) -> State:  # noqa: ARG002 - a stepper with a calendar needs it
        """The state [B, S] after one more position; y [B] is NaN where nothing was observed."""
        scaled = self.scaler.step(state[:, : self.scaler.size], y)
        x = self.scaler.features(scaled, ~np.isnan(y))
        memory = np.empty((len(state), self.network.state_size), dtype=np.float32)
        for rows in tiles(len(state)):
            _, memory[rows] = self._remember(x[rows, None, :], state[rows, self.scaler.size :])
        memory[scaled[:, AGE] == 0] = 0
        return np.concatenate([scaled, memory], axis=1)

    def forecast(self, state: State, position: Positions) -> Values:  # noqa: ARG002
        """Quantiles [B, L, Q] of the positions after `position`; NaN for series that have not begun."""
        values = np.empty((len(state), self.horizon, len(self.quantiles)))
        for rows in tiles(len(state)):
            part = state[rows]
            base = self.scaler.base_forecast(part, self.horizon)
            v = base[:, :, None] + part[:, SPREAD, None, None] * self._speak(part)
            values[rows] = self.scaler.restore(v, part[:, LOG] > 0)
        values[state[:, AGE] == 0] = np.nan
        return values

    # -- the door for batches ------------------------------------------------------------------------------------------------

    def predict(self, panel: Panel, horizon: int, *, quantiles: Sequence[float], origins: Origins) -> Forecast:
        """Forecasts from each origin, each from the values before it and no others.

        Leads beyond the horizon that the network was trained for are forecast from its own medians, block by block; the
        uncertainty of a block is added to that of the block's origin as if the two were independent.

        Raises ConfigError for a quantile that the network was not trained for.
        """
        unknown = [q for q in quantiles if q not in self.quantiles]
        if unknown:
            raise ConfigError(
                f"quantile {unknown[0]:g} was asked for; this model forecasts {', '.join(f'{q:g}' for q in self.quantiles)}. "
                "Choose among them, or train again with --set quantiles=…"
            )
        state = self.states_at(panel, origins)
        positions = origins.positions(panel)
        values = self.forecast(state, positions)
        while values.shape[1] < horizon:
            values = self._extend(state, positions, values)
        chosen = [self.quantiles.index(q) for q in quantiles]
        ids = tuple(panel.ids[b] for b in origins.index)
        return Forecast(ids, positions, tuple(quantiles), values[:, :horizon, chosen], panel.frequency, {})

    def warm(self, panel: Panel) -> State:
        """The state [B, S] after every value of the panel: what stepping gives, to the bit, many steps at a time."""
        return self.states_at(panel, Origins.back(panel))

    def states_at(self, panel: Panel, origins: Origins) -> State:
        """The states [len(origins), S] of the panel's series as they were at each origin."""
        walk = track(self.scaler, panel)
        state = self.initial_state(len(origins))
        at = panel.offsets[origins.index] + origins.known - 1
        state[:, : self.scaler.size] = walk.state_at(at, self.scaler)
        rows_of = _rows_by_series(origins, len(panel))
        order = np.argsort(panel.lengths, kind="stable")
        order = order[[len(rows_of[b]) > 0 for b in order]]
        for part in tiles(len(order)):
            self._remember_at(panel, walk, series=order[part], rows_of=rows_of, known=origins.known, into=state)
        state[state[:, AGE] == 0, self.scaler.size :] = 0
        return state

    # -- tiles ---------------------------------------------------------------------------------------------------------------

    def _remember_at(
        self,
        panel: Panel,
        walk: Track,
        *,
        series: NDArray[np.int64],
        rows_of: list[NDArray[np.int64]],
        known: NDArray[np.int64],
        into: State,
    ) -> None:
        """Run one tile of series from their first observed value, in chunks that end wherever one of its origins lies."""
        ages = [walk.age[panel.offsets[b] : panel.offsets[b + 1]] for b in series]
        skip = np.array([int((age == 0).sum()) for age in ages])
        stops = [known[rows_of[b]] - gap for b, gap in zip(series, skip, strict=True)]
        memory = np.zeros((len(series), self.network.state_size), dtype=np.float32)
        before = 0
        for stop in np.unique(np.concatenate(stops)):
            if stop <= 0:
                continue
            x = np.zeros((len(series), int(stop) - before, walk.features.shape[1]), dtype=np.float32)
            for i, b in enumerate(series):
                chunk = walk.features[
                    panel.offsets[b] + skip[i] + before : min(panel.offsets[b] + skip[i] + stop, panel.offsets[b + 1])
                ]
                x[i, : len(chunk)] = chunk
            _, memory = self._remember(x, memory)
            before = int(stop)
            for i, b in enumerate(series):
                into[rows_of[b][stops[i] == stop], self.scaler.size :] = memory[i]

    def _remember(self, x: Float32, memory: Float32) -> tuple[Float32, Float32]:
        """The cell's outputs and state after x, for at most a tile of rows."""
        count = len(x)
        with torch.inference_mode():
            outputs, after = self.network.remember(torch.from_numpy(_filled(x)), torch.from_numpy(_filled(memory)))
        return outputs.numpy()[:count], after.numpy()[:count]

    def _speak(self, state: State) -> Float32:
        """Changes from the base, in spreads, for at most a tile of rows."""
        count, size = len(state), self.scaler.size
        sight = self.scaler.sight(state[:, :size], self.horizon)
        with torch.inference_mode():
            memory = self.network.recall(torch.from_numpy(_filled(state[:, size:])))
            out = self.network.speak(memory, torch.from_numpy(_filled(sight)))
        return np.asarray(out.numpy()[:count])

    # -- beyond the horizon --------------------------------------------------------------------------------------------------

    def _extend(self, state: State, positions: Positions, values: Values) -> Values:
        """The forecast [B, L, Q] with one more block of leads, made from a state that was fed the medians so far."""
        middle, log = self.quantiles.index(0.5), state[:, LOG] > 0
        for lead in range(values.shape[1]):
            state = self.step(state, values[:, lead, middle], positions + lead + 1)
        block, last = self.forecast(state, positions + values.shape[1]), values[:, -1:, :].copy()
        for part in (block, last):
            part[log] = np.log(part[log])
        own, before = (part - part[:, :, middle, None] for part in (block, last))
        spread = np.sign(own) * np.sqrt(own**2 + before**2)
        return np.concatenate([values, self.scaler.restore(block[:, :, middle, None] + spread, log)], axis=1)


def tiles(count: int) -> Iterator[slice]:
    """The rows of each tile of a batch of `count` rows.

    >>> [(rows.start, rows.stop) for rows in tiles(40)]
    [(0, 32), (32, 40)]
    """
    return (slice(start, min(start + TILE, count)) for start in range(0, count, TILE))


def _filled(rows: Float32) -> Float32:
    """The rows [B, ...] in a contiguous tile, zeros below them."""
    tile = np.zeros((TILE, *rows.shape[1:]), dtype=np.float32)
    tile[: len(rows)] = rows
    return tile


def _rows_by_series(origins: Origins, count: int) -> list[NDArray[np.int64]]:
    order = np.argsort(origins.index, kind="stable")
    return np.split(order, np.searchsorted(origins.index[order], np.arange(1, count)))
