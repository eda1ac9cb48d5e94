"""The recurrent forecaster behind both doors: whole panels at once, or one observation at a time, to the same bits.

A series' state is the scaler's numbers, then the mixture's, then the cell's, then what never changes in the series.
Elementwise arithmetic gives the same bits in any batch; matrix products do not, so the network always sees tiles of sizes that do
(`tiles.py`), the last one filled up with zeros. Windows, single steps and uneven chunks then agree with `==`.
Axes: B series, R rows of origins, T time steps, D inputs of a step, C of those beside the values or of a lead, S state size,
L leads, Q quantiles.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from forecaster.errors import ConfigError
from forecaster.forecast import Forecast, State
from forecaster.frequency import Frequency, Positions
from forecaster.models.heads import Linear
from forecaster.models.holt_winters import Float32
from forecaster.models.inputs import Inputs
from forecaster.models.leaning import mixture_states
from forecaster.models.mixture import Mixture
from forecaster.models.network import ModelConfig, Network
from forecaster.models.pool import Pool
from forecaster.models.products import linear
from forecaster.models.scaler import AGE, LOG, SPREAD, Scaler
from forecaster.models.tiles import Tiles, Work, alone, filled
from forecaster.models.track import Track, track
from forecaster.series import Origins, Panel, Values

BLOCK = 16_384  # rows that are scaled at once: fewer are more calls (4,096: 5 % of a step), more are more memory
WINDOW_TILE, WINDOW_STEPS = 128, 64  # series and steps of a window that a cell sees at once, all of it in the processor's cache


@dataclass(frozen=True)
class Recurrent:
    """A network with the scaler, the inputs, the frequency and the quantiles that it was trained for.

    A `pool` stands in for what a young series has not shown yet; without one, a series begins from nothing. Where there is a
    `mixture`, forecasts lean towards it once a series is not young any more, with intervals as wide as the network has them.
    """

    network: Network
    scaler: Scaler
    inputs: Inputs
    config: ModelConfig
    frequency: Frequency
    horizon: int
    quantiles: tuple[float, ...]
    fingerprint: str
    pool: Pool | None = None
    mixture: Mixture | None = None

    @property
    def name(self) -> str:
        return self.config.cell

    @property
    def state_size(self) -> int:
        return int(self.memory.stop) + self.inputs.static_count

    @property
    def memory(self) -> slice:
        """Where the cell's numbers lie in a state."""
        begin = self.scaler.size + (self.mixture.size if self.mixture else 0)
        return slice(begin, begin + self.network.state_size)

    @property
    def mixed(self) -> slice:
        """Where the mixture's numbers lie in a state."""
        return slice(self.scaler.size, self.memory.start)

    # -- the door for streams ------------------------------------------------------------------------------------------------

    def initial_state(self, count: int) -> State:
        """The state [B, S] of series of which nothing is known: all zero."""
        return np.zeros((count, self.state_size), dtype=np.float32)

    def step(self, state: State, y: Values, position: Positions) -> State:
        """The state [B, S] after one more position; y [B] is NaN where nothing was observed.

        Of what is beside the values, the calendar is known here, and the state knows what never changes.
        """
        return self._step(state, y, position, self.inputs.at(position))

    def forecast(self, state: State, position: Positions) -> Values:
        """Quantiles [B, L, Q] of the positions after `position`; NaN for series that have not begun."""
        leads = self.inputs.leads_at(position, horizon=self.horizon, base_season=self.scaler.base.length)
        apart = np.empty((len(self.quantiles), len(state), self.horizon))  # as it is computed, and as columns of files want it
        return self._forecast(state, leads, into=apart.transpose(1, 2, 0))

    # -- the door for batches ------------------------------------------------------------------------------------------------

    def predict(self, panel: Panel, horizon: int, *, quantiles: Sequence[float], origins: Origins) -> Forecast:
        """Forecasts from each origin, each from the values before it and no others.

        Leads beyond the horizon that the network was trained for are forecast from its own medians, block by block; the
        uncertainty of a block is added to that of the block's origin as if the two were independent.

        Raises ConfigError for a quantile that the network was not trained for, DataError where a covariate is unknown at a lead.
        """
        unknown = [q for q in quantiles if q not in self.quantiles]
        if unknown:
            raise ConfigError(
                f"quantile {unknown[0]:g} was asked for; this model forecasts {', '.join(f'{q:g}' for q in self.quantiles)}. "
                "Choose among them, or train again with --set quantiles=…"
            )
        positions = origins.positions(panel)
        self.inputs.check_leads(panel, origins.index, positions, horizon=horizon)
        state = self.states_at(panel, origins)
        values = self._forecast(state, self._leads(panel, origins.index, positions))
        while values.shape[1] < horizon:
            values = self._extend(panel, origins.index, positions, state=state, values=values)
        chosen = [self.quantiles.index(q) for q in quantiles]
        ids = tuple(panel.ids[b] for b in origins.index)
        return Forecast(ids, positions, tuple(quantiles), values[:, :horizon, chosen], panel.frequency, {})

    def warm(self, panel: Panel) -> State:
        """The state [B, S] after every value of the panel: what stepping gives, to the bit, many steps at a time."""
        return self.states_at(panel, Origins.back(panel))

    def states_at(self, panel: Panel, origins: Origins) -> State:
        """The states [len(origins), S] of the panel's series as they were at each origin, some series at a time."""
        state = np.empty((len(origins), self.state_size), dtype=np.float32)
        order = np.argsort(origins.index, kind="stable")
        for block in panel.blocks():
            first, last = np.searchsorted(origins.index[order], [block.start, block.stop])
            rows = order[first:last]
            own = Origins(origins.index[rows] - block.start, origins.known[rows])
            if len(rows):
                state[rows] = self._states_of(panel.select(range(block.start, block.stop)), own)
        return state

    def _states_of(self, panel: Panel, origins: Origins) -> State:
        walk = self.walk(panel)
        features = np.concatenate([walk.features, self.inputs.steps(panel)], axis=1)
        state = self.state_before(panel)[origins.index]
        at = panel.offsets[origins.index] + origins.known - 1
        state[:, : self.scaler.size] = walk.state_at(at, self.scaler)
        if self.mixture:
            state[:, self.mixed] = mixture_states(self.mixture, walk, panel, origins)
        rows_of = _rows_by_series(origins, len(panel))
        order = np.argsort(panel.lengths, kind="stable")
        order = order[[len(rows_of[b]) > 0 for b in order]]
        with alone(len(order)):
            for part, size, remember in self._windows.cut(len(order), most=WINDOW_TILE):
                walked = partial(self._walked, panel, features, walk.age, size=size, remember=remember)
                for rows, memory in walked(series=order[part], rows_of=rows_of, known=origins.known):
                    state[rows, self.memory] = memory
        state[state[:, AGE] == 0, self.memory] = 0
        return state

    def medians_at(self, panel: Panel, origins: Origins, weights: Sequence[float]) -> tuple[list[Float32], NDArray[np.bool_]]:
        """Medians [R, L] from each origin with each of some weights of the mixture, and whether they are in logarithms [R]."""
        assert self.mixture
        state, leads = self.states_at(panel, origins), self._leads(panel, origins.index, origins.positions(panel))
        middle, log, medians = self.quantiles.index(0.5), state[:, LOG] > 0, []
        for weight in weights:
            leaning = replace(self, mixture=replace(self.mixture, weight=weight))
            median = leaning._forecast(state, leads)[:, :, middle]
            median[log] = np.log(median[log])
            medians.append(median.astype(np.float32))
        return medians, log

    def walk(self, panel: Panel) -> Track:
        """The scaler's walk over the panel, with what the pool makes of young series."""
        return track(self.scaler, panel, self.pool)

    def state_before(self, panel: Panel) -> State:
        """The states [B, S] of the panel's series before their first values: zero, but for what never changes in them."""
        state = self.initial_state(len(panel))
        state[:, self.memory.stop :] = self.inputs.static_of(panel)
        return state

    # -- tiles ---------------------------------------------------------------------------------------------------------------

    def _walked(
        self,
        panel: Panel,
        features: Float32,
        age: Float32,
        *,
        series: NDArray[np.int64],
        size: int,
        remember: Work,
        rows_of: list[NDArray[np.int64]],
        known: NDArray[np.int64],
    ) -> Iterator[tuple[NDArray[np.int64], Float32]]:
        """Rows of origins and what is remembered there, from one tile of series that begin at their first observed values.

        The tile is walked in chunks that end wherever one of its origins lies.
        """
        skip = np.array([int((age[panel.offsets[b] : panel.offsets[b + 1]] == 0).sum()) for b in series])
        begin, end = panel.offsets[series] + skip, panel.offsets[series + 1]
        rows = np.concatenate([rows_of[b] for b in series])
        owner = np.repeat(np.arange(len(series)), [len(rows_of[b]) for b in series])
        stops = known[rows] - skip[owner]
        memory, before = np.zeros((len(series), self.network.state_size), dtype=np.float32), 0
        for stop in np.unique(stops[stops > 0]):
            while before < stop:
                at = begin[:, None] + np.arange(before, min(before + WINDOW_STEPS, stop))
                x = features[np.minimum(at, len(features) - 1)]
                x[at >= end[:, None]] = 0
                memory = remember(filled(x, size=size), filled(memory, size=size)).numpy()[: len(series)]
                before += at.shape[1]
            here = stops == stop
            yield rows[here], memory[owner[here]]

    @cached_property
    def _windows(self) -> Tiles:
        """The tiles in which the cell sees windows."""
        inputs = self.scaler.feature_count + self.inputs.step_count
        shapes = (WINDOW_STEPS, inputs), (self.network.state_size,)
        return Tiles(self._remember, self._remember, shapes)

    @cached_property
    def _steps(self) -> Tiles:
        """The tiles in which the cell sees single steps."""
        inputs = self.scaler.feature_count + self.inputs.step_count
        shapes = (inputs,), (self.network.state_size,)
        return Tiles(self._remember_one, partial(self.network.step, linear=linear), shapes)

    @cached_property
    def _speeches(self) -> Tiles:
        """The tiles in which the head sees rows."""
        shapes = (self.network.state_size,), (self.scaler.sight_count(self.horizon),), (self.horizon, self.inputs.lead_count)
        return Tiles(self._speak, partial(self._speak, linear=linear), shapes)

    def _remember(self, x: Tensor, memory: Tensor) -> Tensor:
        """The cell's state after x [B, T, D]."""
        return self.network.remember(x, memory)[1]

    def _remember_one(self, x: Tensor, memory: Tensor) -> Tensor:
        """The cell's state after x [B, D]."""
        return self._remember(x[:, None], memory)

    def _speak(self, memory: Tensor, sight: Tensor, leads: Tensor, linear: Linear = F.linear) -> Tensor:
        """Changes from the base [B, L, Q], in spreads."""
        return self.network.speak(self.network.recall(memory), sight, leads, linear)

    def _step(self, state: State, y: Values, position: Positions, beside: Float32) -> State:
        """The state [B, S] after one more position, which sees `beside` [B, C] of what is beside the values."""
        after = np.empty_like(state)
        beside[:, beside.shape[1] - self.inputs.static_count :] = state[:, self.memory.stop :]
        for start in range(0, len(state), BLOCK):
            block = slice(start, start + BLOCK)
            self._step_block(state[block], y[block], position[block], beside[block], into=after[block])
        return after

    def _step_block(self, state: State, y: Values, position: Positions, beside: Float32, *, into: State) -> None:
        own, prior = slice(0, self.scaler.size), self.pool.prior if self.pool else 0.0
        scaled = self.scaler.step(state[:, own], y, into=into[:, own], prior=prior)
        if self.pool:
            self.pool.fill(scaled, position, self.scaler)
        observed = ~np.isnan(y)
        if self.mixture:
            v = np.where(observed, scaled[:, -1], np.float32(np.nan))
            left_logs = (state[:, LOG] > 0) & (scaled[:, LOG] == 0)
            self.mixture.step(state[:, self.mixed], v, scaled[:, AGE], left_logs, into=into[:, self.mixed])
        features = self.scaler.feature_rows(scaled, observed).T
        with alone(len(state)):
            for rows, size, step in self._steps.cut(len(state)):
                memory = step(filled(features[rows], beside[rows], size=size), filled(state[rows, self.memory], size=size))
                into[rows, self.memory] = memory.numpy()[: rows.stop - rows.start]
        into[:, self.memory.stop :] = state[:, self.memory.stop :]
        young = np.flatnonzero(scaled[:, AGE] == 0)
        into[young, self.memory] = 0

    def _forecast(self, state: State, leads: Float32, *, into: Values | None = None) -> Values:
        """Quantiles [R, L, Q] from states [R, S], with what is known of the leads [R, L, C]."""
        values = np.empty((len(state), self.horizon, len(self.quantiles))) if into is None else into
        with alone(len(state)):
            for rows, size, speak in self._speeches.cut(len(state)):
                self._forecast_tile(state[rows], leads[rows], size=size, speak=speak, into=values[rows])
        values[state[:, AGE] == 0] = np.nan
        return values

    def _forecast_tile(self, state: State, leads: Float32, *, size: int, speak: Work, into: Values) -> None:
        base = self.scaler.base_forecast(state, self.horizon)
        sight = self.scaler.sight_parts(state[:, : self.scaler.size], base)
        memory = filled(state[:, self.memory], size=size)
        change = np.asarray(speak(memory, filled(*sight, size=size), filled(leads, size=size)).numpy()[: len(state)])
        if self.pool:
            self._widen(change, self.pool.widths_at(state[:, AGE]))
        change *= state[:, SPREAD, None, None]
        if self.mixture:
            median = change[:, :, self.quantiles.index(0.5)] + base
            base = base + self.mixture.lean(median, state[:, self.mixed], state[:, AGE])
        change += base[:, :, None]
        restored = self.scaler.restore(change, state[:, LOG] > 0)
        for q in range(len(self.quantiles)):
            into[:, :, q] = restored[:, :, q]

    def _widen(self, change: Float32, widths: Float32) -> None:
        """Widen the intervals of changes [R, L, Q] about their medians, in place, by widths [R]."""
        wider = np.flatnonzero(widths != 1)
        middle = change[wider][:, :, self.quantiles.index(0.5), None]
        change[wider] = middle + widths[wider, None, None] * (change[wider] - middle)

    # -- beyond the horizon --------------------------------------------------------------------------------------------------

    def _leads(self, panel: Panel, index: NDArray[np.int64], positions: Positions) -> Float32:
        """What is known of the leads after positions [R] of series `index` [R] [R, L, C]."""
        return self.inputs.leads(panel, index, positions, horizon=self.horizon, base_season=self.scaler.base.length)

    def _extend(self, panel: Panel, index: NDArray[np.int64], positions: Positions, *, state: State, values: Values) -> Values:
        """The forecast [R, L, Q] with one more block of leads, made from a state that was fed the medians so far."""
        middle, log = self.quantiles.index(0.5), state[:, LOG] > 0
        for lead in range(values.shape[1]):
            at = positions + lead + 1
            state = self._step(state, values[:, lead, middle], at, self.inputs.steps_at(panel, index, at))
        leads = self._leads(panel, index, positions + values.shape[1])
        block, last = self._forecast(state, leads), values[:, -1:, :].copy()
        for part in (block, last):
            part[log] = np.log(part[log])
        own, before = (part - part[:, :, middle, None] for part in (block, last))
        spread = np.sign(own) * np.sqrt(own**2 + before**2)
        return np.concatenate([values, self.scaler.restore(block[:, :, middle, None] + spread, log)], axis=1)


def _rows_by_series(origins: Origins, count: int) -> list[NDArray[np.int64]]:
    order = np.argsort(origins.index, kind="stable")
    return np.split(order, np.searchsorted(origins.index[order], np.arange(1, count)))
