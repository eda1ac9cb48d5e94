"""The engine: live series stepped by one observation at a time, in micro-batches, their state kept across restarts.

For one micro-batch: classify -> step -> forecast if asked -> commit -> emit. How the feed was cut into micro-batches changes
no bit of the state, of a forecast, or of a dead letter.

What is promised. The state is committed before the forecasts of its micro-batch are emitted, and a micro-batch is committed
whole or not at all. A kill between the two loses those forecasts, never their effect on the state, and no forecast is
emitted twice for one observation. After a kill there are two ways on. A *whole* feed, given again from its beginning, is
passed over up to the committed line, which is checked: nothing is counted twice, and each dead letter stands in the file
once. Any other feed may overlap with what was committed: the last observation of a series is recognised as a duplicate, the
ones before it as late; the state stays as it is, but the late ones are counted and written to the dead letters again, since
only the last value of a series is known and an older one cannot be told from a correction.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from forecaster.errors import DataError
from forecaster.forecast import Forecast, State, Stepper, warm_state
from forecaster.frequency import Frequency, Positions
from forecaster.series import Panel, Values
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.lateness import NEVER, Arrival, DeadLetter, classify_arrivals, longest_gap, warming_length
from forecaster.streaming.live import LiveForecast, Progress
from forecaster.streaming.sinks import DeadLetters, Labels
from forecaster.streaming.state import StateStore

Indices = NDArray[np.int64]

MISSING = "missing"  # observations that were stepped without a value
FORECASTS = "forecasts"
NOT_FINITE = "not_finite"  # forecasts with a number that is none, written as null


class StreamingConfig(BaseModel):
    """How a stream is cut, how often it forecasts, and what it takes for a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch: int = Field(4096, ge=1, description="observations in one micro-batch, and so in one commit, at most")
    max_latency_ms: float = Field(20.0, ge=0, description="how long an observation waits for others to share its commit")
    emit_every: int = Field(1, ge=0, description="forecast with every k-th value of a series; 0: never")
    max_gap: int | None = Field(None, ge=0, description="missing steps to step through, at most; null: two years, 50 to 10,000")
    warming_steps: int | None = Field(None, ge=0, description="values until a series is warm; null: one season, at least 2")


class Engine:
    """A stepper's live series: `advance` takes in a micro-batch, commits it, and returns its forecasts.

    Raises StateError, when made, if the stored state is damaged.
    """

    def __init__(self, stepper: Stepper, frequency: Frequency, store: StateStore, config: StreamingConfig | None = None) -> None:
        self.config = config or StreamingConfig()
        self.stepper = stepper
        self.frequency = frequency
        self.series, self.progress = store.load()
        self.dead_letters = DeadLetters(store.directory / "dead_letters.ndjson", committed_bytes=self.progress.dead_letter_bytes)
        self._store = store
        self._labels = Labels(frequency)
        self._max_gap = longest_gap(frequency) if self.config.max_gap is None else self.config.max_gap
        steps = self.config.warming_steps
        self._warming_steps = warming_length(frequency) if steps is None else steps

    def warm(self, panel: Panel, *, build: Callable[[Panel], State] | None = None) -> int:
        """Begin the panel's series from their stored history, in one commit; returns how many were new.

        Series that are live already go on from their own state. `build` gives the state [B, S] after every value of a panel,
        as `warm_state` does, perhaps faster. Raises DataError when the panel's frequency is another one.
        """
        if panel.frequency != self.frequency:
            raise DataError(
                f"the panel counts in {panel.frequency}, this stream in {self.frequency}. Warm it from its own panel."
            )
        unknown = panel.select([b for b, unique_id in enumerate(panel.ids) if unique_id not in self.series.slots])
        if not len(unknown):
            return 0
        state = warm_state(self.stepper, unknown) if build is None else build(unknown)
        slots = self.series.add(unknown.ids, state)
        self.series.positions[slots] = unknown.ends
        self.series.y[slots] = unknown.values[unknown.offsets[1:] - 1]
        self.series.counts[slots] = np.add.reduceat(~np.isnan(unknown.values), unknown.offsets[:-1], dtype=np.int64)
        self._commit(slots, replace(self.progress, series=len(self.series)))
        return len(unknown)

    def advance(self, arrivals: Arrivals) -> LiveForecast:
        """Take in a micro-batch: what came of it is committed when this returns; the forecasts are for the caller to emit.

        Raises StateError when the disk refuses; nothing of the micro-batch is then kept, and the engine must be made anew.
        """
        try:
            return self._take_in(arrivals)
        except BaseException:
            self._store.close()  # memory may be ahead of the disk, and only a new start is sound
            raise

    def _take_in(self, arrivals: Arrivals) -> LiveForecast:
        slots = self._slots_of(arrivals.ids)
        codes = np.empty(len(arrivals), np.int8)
        parts: list[tuple[Indices, NDArray[np.int64], Values]] = []
        letters = list(arrivals.rejected)
        for turn in turns(slots):
            at, positions, y = slots[turn], arrivals.positions[turn], arrivals.values[turn]
            last = self.series.positions[at]
            codes[turn] = classify_arrivals(positions, y, last_positions=last, last_y=self.series.y[at], max_gap=self._max_gap)
            refused = codes[turn] > Arrival.DUPLICATE
            letters += self._letters(arrivals, turn[refused], codes[turn[refused]], last[refused])
            accepted = codes[turn] < Arrival.DUPLICATE
            if accepted.any():
                self._step(at[accepted], positions[accepted], y[accepted])
                parts.append(self._forecast(turn[accepted], at[accepted], y[accepted]))
        live = self._in_order(arrivals, parts)
        self.dead_letters.write(sorted(letters, key=lambda letter: letter.line))
        is_accepted = codes < Arrival.DUPLICATE
        missing = int(np.isnan(arrivals.values[is_accepted]).sum())
        self._commit(np.unique(slots[is_accepted]), self._after(arrivals, codes, live, missing))
        return live

    # -- one turn: at most one observation of each series ----------------------------------------------------------------

    def _slots_of(self, ids: Sequence[str]) -> Indices:
        known = self.series.slots
        unknown = [unique_id for unique_id in dict.fromkeys(ids) if unique_id not in known]
        if unknown:
            self.series.add(unknown, self.stepper.initial_state(len(unknown)))
        return np.array([known[unique_id] for unique_id in ids], dtype=np.int64)

    def _step(self, slots: Indices, positions: Positions, y: Values) -> None:
        """Move each slot to its position, through the positions that are missing in between."""
        state, last = self.series.state[slots], self.series.positions[slots]
        missing = np.where(last != NEVER, positions - last - 1, 0)
        for k in range(int(missing.max())):
            behind = np.flatnonzero(missing > k)
            state[behind] = self.stepper.step(state[behind], np.full(len(behind), np.nan), last[behind] + 1 + k)
        self.series.move(slots, self.stepper.step(state, y, positions), positions=positions, y=y)

    def _forecast(self, turn: Indices, slots: Indices, y: Values) -> tuple[Indices, NDArray[np.int64], Values]:
        """Indices of the observations that ask for a forecast, the values their series have shown, and the forecasts."""
        every, counts = self.config.emit_every, self.series.counts[slots]
        if every == 1:
            asks = np.ones(len(slots), dtype=bool)
        else:
            asks = ~np.isnan(y) & (counts % every == 0) if every else np.zeros(len(slots), dtype=bool)
        if not asks.any():
            return turn[asks], counts[asks], np.empty((0, self.stepper.horizon, len(self.stepper.quantiles)))
        asking = slots[asks]
        return turn[asks], counts[asks], self.stepper.forecast(self.series.state[asking], self.series.positions[asking])

    def _in_order(self, arrivals: Arrivals, parts: list[tuple[Indices, NDArray[np.int64], Values]]) -> LiveForecast:
        """The forecasts of all turns in the order of the observations that asked for them."""
        empty = np.empty((0, self.stepper.horizon, len(self.stepper.quantiles)))
        index = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
        order = np.argsort(index)
        index = index[order]
        counts = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])[order]
        values = np.concatenate([empty, *(part[2] for part in parts)])[order]
        ids = tuple(arrivals.ids[i] for i in index.tolist())
        forecast = Forecast(ids, arrivals.positions[index], self.stepper.quantiles, values, self.frequency, {})
        return LiveForecast(forecast, counts, counts < self._warming_steps)

    # -- what is written down --------------------------------------------------------------------------------------------

    def _letters(self, arrivals: Arrivals, turn: Indices, codes: NDArray[np.int8], last: Positions) -> list[DeadLetter]:
        """Dead letters for observations that came at the wrong time, given the last positions of their series."""
        if not len(turn):
            return []
        rows = zip(turn.tolist(), map(Arrival, codes), self._labels.read(arrivals.positions[turn]), strict=True)
        before = self._labels.read(last)
        steps = (arrivals.positions[turn] - last).tolist()
        letters = []
        for (i, arrival, label), last_label, ahead in zip(rows, before, steps, strict=True):
            if arrival is Arrival.LATE:
                reason = (
                    f"{label} came after {last_label} had been stepped; expected later ones. What is past is not stepped again."
                )
            elif arrival is Arrival.REVISION:
                reason = f"{label} had another value before; expected the same one or a later time. The first value stands."
            else:
                reason = f"{label} lies {ahead:,} steps after {last_label}; expected at most {self._max_gap:,} missing ones. "
                reason += "Mend the date, or raise max_gap if the series was silent for so long."
            letters.append(
                DeadLetter(int(arrivals.lines[i]), arrival, f"series {arrivals.ids[i]!r}: {reason}", arrivals.original(i))
            )
        return letters

    def _after(self, arrivals: Arrivals, codes: NDArray[np.int8], live: LiveForecast, missing: int) -> Progress:
        rejected = np.bincount([letter.arrival for letter in arrivals.rejected], minlength=len(Arrival))
        tally = rejected + np.bincount(codes, minlength=len(Arrival))
        counts = {arrival.label: int(tally[arrival]) for arrival in Arrival}
        counts |= {MISSING: missing, FORECASTS: len(live)}
        counts[NOT_FINITE] = int((~np.isfinite(live.forecast.values)).any(axis=(1, 2)).sum())
        total = {name: self.progress.counts.get(name, 0) + count for name, count in counts.items()}
        return Progress(arrivals.feed, total, self.dead_letters.length, len(self.series))

    def _commit(self, slots: Indices, progress: Progress) -> None:
        self._store.commit(self.series, slots, progress)
        self.progress = progress


def turns(slots: Indices) -> Iterator[Indices]:
    """The observations [N] of a micro-batch in turns: the first of each series, the second of each, and so on.

    >>> [turn.tolist() for turn in turns(np.array([7, 3, 7, 7, 3]))]
    [[0, 1], [2, 4], [3]]
    """
    order = np.argsort(slots, kind="stable")
    grouped = slots[order]
    begins = np.flatnonzero(np.diff(grouped, prepend=-1))
    rank = np.empty(len(slots), np.int64)
    rank[order] = np.arange(len(slots)) - np.repeat(begins, np.diff(np.append(begins, len(slots))))
    by_rank = np.argsort(rank, kind="stable")
    yield from np.split(by_rank, np.cumsum(np.bincount(rank))[:-1]) if len(slots) else ()
