"""The engine: live series stepped by one observation at a time, in micro-batches, their state kept across restarts.

For one micro-batch: classify -> step -> forecast if asked -> commit -> emit. How the feed was cut into micro-batches changes
no bit of the state, of a forecast, or of a dead letter.

What is promised. A micro-batch is committed whole or not at all, with the place in the feed that follows it: nothing that was
accepted is lost or taken in twice. Where the output is a file of the stream's own, it is written first, committed with its
length, and cut back to that length when a stream begins: after any number of kills it holds what one unbroken stream would
have written. Where it is a pipe, forecasts are emitted after the commit: a kill between the two loses those forecasts, never
their effect on the state.

After a kill there are two ways on. A *whole* feed, given again from its beginning, is passed over up to the committed line,
which is checked. Any other feed may overlap with what was committed: within the window that is open to revisions, what is sent
again is a duplicate; what is older is too late, and a dead letter.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import DataError
from forecaster.forecast import Forecast, State, Stepper, warm_state
from forecaster.frequency import Frequency, Positions
from forecaster.series import Panel, Values
from forecaster.streaming.accounts import letters_of, progress_after, progress_at
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.dead_letters import DeadLetters
from forecaster.streaming.emission import Part, asks_for_forecast, in_order
from forecaster.streaming.heir import Heir, SavedSeries
from forecaster.streaming.labels import Labels
from forecaster.streaming.lateness import (
    NEVER,
    Arrival,
    Bounds,
    classify_arrivals,
    longest_gap,
    warming_length,
)
from forecaster.streaming.live import LiveForecast, LiveSeries, Progress
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.shards import SHARD, shard_count
from forecaster.streaming.slots import Slots
from forecaster.streaming.state import StateStore
from forecaster.streaming.stepping import Indices, begin_from, catch_up, rows_of, take_in, turns

DEAD_LETTERS = "dead_letters.ndjson"
NO_POSITIONS: Positions = np.empty(0, np.int64)


class Engine:
    """A stepper's live series: `advance` takes in a micro-batch, commits it, and returns its forecasts, said under a `name`.

    Raises StateError, when made, if the stored state is damaged.
    """

    def __init__(
        self,
        stepper: Stepper,
        frequency: Frequency,
        store: StateStore,
        config: StreamingConfig | None = None,
        *,
        name: str = "",
    ) -> None:
        self.config = config or StreamingConfig()
        self.stepper = stepper
        self.name = name
        self.frequency = frequency
        self.series, self.progress = store.load(stepper.initial_state, self._take_in_again)
        self.store = store
        self._labels = Labels(frequency)
        max_gap = longest_gap(frequency) if self.config.max_gap is None else self.config.max_gap
        max_ahead = max_gap if self.config.max_ahead is None else self.config.max_ahead
        self._bounds = Bounds(max_gap, max_ahead, self.series.window)
        steps = self.config.warming_steps
        self.warming_steps = warming_length(frequency) if steps is None else steps
        self._taken: _Taken | None = None
        self._slots = Slots(self._bounds, frequency, may_begin=self.config.unknown == "begin")

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """The file of what is not stepped, cut back when it is first wanted: who only looks must leave it alone."""
        return DeadLetters(self.store.directory / DEAD_LETTERS, committed_bytes=self.progress.dead_letter_bytes)

    def warm(self, panel: Panel, *, build: Callable[[Panel], State] | None = None) -> int:
        """Begin the panel's series from their stored history, in one commit; returns how many were new.

        Series that are live already go on from their own state. `build` gives the state [B, S] after every value of a panel,
        as `warm_state` does, perhaps faster. Raises DataError when the panel's frequency is another one.
        """
        if panel.frequency != self.frequency:
            raise DataError(
                f"the panel counts in {panel.frequency}, this stream in {self.frequency}. Warm it from its own panel."
            )
        unknown = [b for b, unique_id in enumerate(panel.ids) if unique_id not in self.series.slots]
        if not unknown:
            return 0
        known, chosen = len(self.series), panel.select(unknown)
        for block in chosen.blocks():
            some = chosen.select(range(block.start, block.stop))
            begin_from(self.series, self.stepper, some, build or partial(warm_state, self.stepper))
        newest = max(self.progress.newest, int(chosen.ends.max()))
        progress = replace(self.progress, series=len(self.series), newest=newest)
        self.store.snapshot(self.series, range(known // SHARD, shard_count(len(self.series))), progress)
        self.progress = progress
        return len(unknown)

    def settle(self, *, source: str = "", output: str = "", is_new: bool = False) -> None:
        """Commit where the stream reads and writes from now on, before it does; what has no name, a pipe, changes nothing there.

        A source that was read before is read on, another one from its beginning, and so is one that `is_new`. Raises StateError
        when the disk refuses.
        """
        progress = progress_at(self.progress, source=source, output=output, is_new=is_new)
        progress = replace(progress, warming_steps=self.warming_steps)
        if progress != self.progress:
            nothing = np.empty(0, np.int64)
            self.store.commit(self.series, progress, slots=nothing, positions=nothing, values=np.empty(0))
            self.progress = progress

    def change_model(
        self, heir: Heir, folder: Path, saved: SavedSeries, *, name: str, identity: dict[str, Any], owner: dict[str, Any]
    ) -> None:
        """Give the stream to another model that has followed it up to here, between two micro-batches, in one transaction.

        Its place in the feed and in the output, its counters and its dead letters go on. `saved` says what of the heir lies in
        a folder; the files are moved from there. Raises StateError when the disk refuses.
        """
        series = heir.series
        newest = max(self.progress.newest, int(series.positions[: len(series)].max(initial=NEVER)))
        progress = replace(self.progress, series=len(series), newest=newest)  # history may have known more
        self.store.change_model(identity, owner, saved.files(folder), heir.taken(), progress)
        self.stepper, self.series, self.progress, self.name = heir.stepper, series, progress, name
        self._slots.forget()

    def silent(self, *, silent_for: int) -> NDArray[np.bool_]:
        """Which series [B] are more than so many positions behind the one that nine of ten have not passed.

        The newest position of all may be one wrong date.
        """
        positions = self.series.positions[: len(self.series)]
        now = np.quantile(positions, 0.9, method="lower") if len(positions) else NEVER
        return np.asarray(positions < now - silent_for)

    def prune(self, *, silent_for: int) -> list[str]:
        """Forget the `silent` series; returns their ids. Raises StateError when the disk refuses."""
        is_silent = self.silent(silent_for=silent_for)
        silent = [self.series.ids[slot] for slot in np.flatnonzero(is_silent)]
        if silent:
            self.series = self.series.select(np.flatnonzero(~is_silent))
            self._slots.forget()
            self.progress = replace(self.progress, series=len(self.series))
            self.store.snapshot(self.series, progress=self.progress, is_all=True)
        return silent

    def advance(self, arrivals: Arrivals) -> LiveForecast:
        """Take in a micro-batch and commit it; the forecasts are for the caller to emit. Raises StateError as `commit` does."""
        live = self.take_in(arrivals)
        self.commit()
        return live

    def take_in(self, arrivals: Arrivals) -> LiveForecast:
        """Step through a micro-batch in memory; `commit` must follow before the next."""
        try:
            return self._take_in(arrivals)
        except BaseException:
            self.store.close()  # memory may be ahead of the disk, and only a new start is sound
            raise

    def commit(self, *, output_bytes: int | None = None) -> None:
        """Write down the micro-batch that was taken in, and how long the output is by now, if that is a place to come back to.

        Raises StateError when the disk refuses. The engine must then be made anew; nothing of the micro-batch is kept,
        unless the refusal says so.
        """
        taken, self._taken = self._taken, None
        if taken is None:
            return
        length = self.progress.output_bytes if output_bytes is None else output_bytes
        progress = replace(taken.progress, output_bytes=length)
        self.store.commit(self.series, progress, new=taken.new, slots=taken.slots, positions=taken.positions, values=taken.values)
        self.progress = progress

    @property
    def logged(self) -> int:
        """Observations that a restart would have to take in again."""
        return self.store.logged

    def rest(self) -> None:
        """Leave a snapshot behind where a restart would have much to take in again."""
        if self.store.logged > len(self.series):
            self.store.snapshot(self.series)

    def _take_in(self, arrivals: Arrivals) -> LiveForecast:
        newest, begin = self.progress.newest, self.stepper.initial_state
        places = self._slots.of(arrivals, self.series, newest=newest, begin=begin)
        slots, far_off = places.slots, places.far_off
        codes = np.full(len(arrivals), Arrival.STRANGER, np.int8)
        codes[list(far_off)] = Arrival.FAR_OFF
        parts: list[Part] = []
        letters = list(arrivals.rejected)
        tell = partial(letters_of, labels=self._labels, bounds=self._bounds)
        known, unknown = np.flatnonzero(slots >= 0), np.flatnonzero(slots < 0)
        last = np.array([far_off.get(n, NEVER) for n in unknown.tolist()], dtype=np.int64)
        letters += tell(arrivals, unknown, codes[unknown], np.where(last == NEVER, arrivals.positions[unknown], last))
        for rows in turns(slots[known]):
            turn = known[rows]
            at, positions, y = slots[turn], arrivals.positions[turn], arrivals.values[turn]
            last = self.series.positions[at]
            codes[turn] = self._classify(at, positions, y)
            refused = codes[turn] > Arrival.DUPLICATE
            letters += tell(arrivals, turn[refused], codes[turn[refused]], last[refused])
            accepted = codes[turn] < Arrival.DUPLICATE
            if accepted.any():
                take_in(self.series, self.stepper, at[accepted], positions[accepted], y[accepted])
                parts.append(self._forecast(turn[accepted], at[accepted], y[accepted]))
        is_back = (codes == Arrival.LATE) | (codes == Arrival.REVISION)
        if is_back.any():
            catch_up(self.series, self.stepper, np.unique(slots[is_back]))
        live = self._in_order(arrivals, parts)
        self.dead_letters.write(sorted(letters, key=lambda letter: letter.line))
        is_accepted = codes < Arrival.DUPLICATE
        self._taken = _Taken(
            places.begun,
            slots[is_accepted],
            arrivals.positions[is_accepted],
            arrivals.values[is_accepted],
            progress_after(
                self.progress,
                arrivals,
                codes,
                live,
                dead_letter_bytes=self.dead_letters.length,
                series=len(self.series),
            ),
        )
        return live

    def _take_in_again(self, series: LiveSeries, slots: Indices, positions: Positions, y: Values) -> None:
        for turn in turns(slots):
            take_in(series, self.stepper, slots[turn], positions[turn], y[turn])
        catch_up(series, self.stepper, np.unique(slots))

    # -- one turn: at most one observation of each series ----------------------------------------------------------------

    def _classify(self, slots: Indices, positions: Positions, y: Values) -> NDArray[np.int8]:
        return classify_arrivals(
            positions,
            y,
            last_positions=self.series.positions[slots],
            first_positions=self.series.firsts[slots],
            known_y=self.series.known_values(slots, positions),
            max_gap=self._bounds.max_gap,
            window=self.series.window,
        )

    def _forecast(self, turn: Indices, slots: Indices, y: Values) -> Part:
        """The forecasts of the observations of a turn that ask for one, each from the last position of its series."""
        counts, origins = self.series.counts[slots], self.series.positions[slots]
        asks = asks_for_forecast(self.config, y, counts=counts, origins=origins)
        if not asks.any():
            values = np.empty((0, self.stepper.horizon, len(self.stepper.quantiles)))
        else:
            catch_up(self.series, self.stepper, slots[asks])
            values = self.stepper.forecast(self.series.state[rows_of(slots[asks])], origins[asks])
        return turn[asks], origins[asks], counts[asks], values

    def _in_order(self, arrivals: Arrivals, parts: list[Part]) -> LiveForecast:
        """The forecasts of all turns in the order of the observations that asked for them."""
        nothing = np.empty((0, self.stepper.horizon, len(self.stepper.quantiles)))
        index, origins, counts, values = in_order(parts) if parts else (NO_POSITIONS, NO_POSITIONS, NO_POSITIONS, nothing)
        ids = tuple(arrivals.ids) if len(index) == len(arrivals) else tuple([arrivals.ids[i] for i in index.tolist()])
        forecast = Forecast(ids, origins, self.stepper.quantiles, values, self.frequency, {})
        return LiveForecast(forecast, counts, counts < self.warming_steps, self.name)


@dataclass(frozen=True)
class _Taken:
    """A micro-batch that was taken in and is not committed yet."""

    new: list[str]
    slots: Indices
    positions: Positions
    values: Values
    progress: Progress
