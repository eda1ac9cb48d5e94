"""A model that is to take a stream over: its series made beside, brought to where the stream is, and kept there by the log.

The log holds observations, whoever stepped through them, so another model's series can read along: what was committed is taken in
once more, and at the switch nothing has to be computed but the last micro-batches.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from forecaster.forecast import State, Stepper, warm_state
from forecaster.frequency import Positions
from forecaster.series import Panel, Values
from forecaster.streaming.directory import sync_directory
from forecaster.streaming.lateness import NEVER, Arrival, classify_arrivals
from forecaster.streaming.live import LiveSeries
from forecaster.streaming.log import Block
from forecaster.streaming.shards import read_shard, shard_count, write_shard
from forecaster.streaming.stepping import Indices, begin_from, catch_up, take_in, turns

ANY_GAP = int(np.iinfo(np.int64).max // 2)  # the stream has vouched for its dates

REHEARSED = (1, 32, 128, 1_024)  # rows


@dataclass(frozen=True)
class SavedSeries:
    """An heir's series in a folder, a file for each shard: their number, the checksums of the files, and where they stand.

    They hold what the stream had taken in with `batch`, when it knew its first `known` series.
    """

    batch: int
    known: int
    series: int
    checksums: tuple[int, ...]

    def files(self, folder: Path) -> list[tuple[Path, int]]:
        """Each file with its checksum."""
        return [(folder / f"shard-{shard:05}.bin", checksum) for shard, checksum in enumerate(self.checksums)]


@dataclass
class Heir:
    """Another model's live series, that follow a stream.

    `batch` is the last one of the stream's log that they have taken in.
    """

    stepper: Stepper
    series: LiveSeries
    batch: int = 0
    _slots: Indices = field(default_factory=lambda: np.empty(0, np.int64))  # of each slot of the stream, the own one
    _saved: int = 0  # series that are in files
    _taken: list[tuple[Indices, Positions, Values]] = field(default_factory=list)  # since the files

    @classmethod
    def load(cls, folder: Path, saved: SavedSeries, stepper: Stepper, stream: Sequence[str], *, window: int) -> "Heir":
        """What was saved, of a stream with these ids in its slots; raises OSError or ValueError where a file is not as it was."""
        series = LiveSeries(stepper.state_size, window=window)
        series.add([""] * saved.series, stepper.initial_state(saved.series))
        for shard, (path, checksum) in enumerate(saved.files(folder)):
            read_shard(path, series, shard, checksum)
        series.slots = {unique_id: slot for slot, unique_id in enumerate(series.ids)}
        heir = cls(stepper, series, saved.batch, _saved=saved.series)
        heir._know(stream[: saved.known])
        return heir

    def save(self, folder: Path) -> SavedSeries:
        """Write the series into a folder, synced; raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        shards = range(shard_count(len(self.series)))
        checksums = tuple(write_shard(folder / f"shard-{shard:05}.bin", self.series, shard) for shard in shards)
        sync_directory(folder)
        self._saved, self._taken = len(self.series), []
        return SavedSeries(self.batch, len(self._slots), len(self.series), checksums)

    def warm(self, panel: Panel, *, build: Callable[[Panel], State] | None = None) -> int:
        """Begin the panel's series, those that are not known yet, from their history; how many these were."""
        unknown = panel.select([b for b, unique_id in enumerate(panel.ids) if unique_id not in self.series.slots])
        if len(unknown):
            begin_from(self.series, self.stepper, unknown, build or partial(warm_state, self.stepper))
        return len(unknown)

    def out_of_reach(self, stream: LiveSeries) -> list[str]:
        """The series of a stream that cannot be followed: between these and its last values lies what nobody holds."""
        count = len(stream)
        oldest = _oldest(stream)
        slots = [self.series.slots.get(unique_id, -1) for unique_id in stream.ids[:count]]
        own = np.array([self.series.positions[slot] if slot >= 0 else NEVER for slot in slots], dtype=np.int64)
        is_cut = np.where(own == NEVER, stream.firsts[:count] < oldest, own + 1 < oldest) & (stream.positions[:count] != NEVER)
        return [stream.ids[n] for n in np.flatnonzero(is_cut)]

    def adopt(self, stream: LiveSeries, *, batch: int) -> None:
        """Go on where a stream of another model stands after a batch.

        What lies between these series and the stream's is taken from its `recent` values, which are also believed where they
        differ inside the window; where more lies between, it was missing (`out_of_reach` says of which series).
        """
        self._begin(stream.ids)
        self._know(stream.ids)
        self.batch, self._taken = batch, []
        count, oldest = len(stream), _oldest(stream)
        is_begun = stream.positions[:count] != NEVER
        for k in range(stream.recent.shape[1]):
            rows = np.flatnonzero((oldest + k <= stream.positions[:count]) & is_begun)
            positions = oldest[rows] + k
            self._take_in(self._slots[rows], positions, stream.known_values(rows, positions))
        catch_up(self.series, self.stepper, self._slots)

    def follow(self, blocks: Iterator[Block]) -> int:
        """Take in what the stream committed since; how many observations that were."""
        count = 0
        for block in blocks:
            if block.ids:
                self._begin(block.ids)
                own = np.array([self.series.slots[unique_id] for unique_id in block.ids], dtype=np.int64)
                self._slots = np.concatenate([self._slots, own])
            at = self._slots[block.slots]
            for turn in turns(at):
                self._taken += [self._take_in(at[turn], block.positions[turn], block.values[turn])]
            catch_up(self.series, self.stepper, np.unique(at))
            self.batch = block.batch
            count += len(at)
        return count

    def taken(self) -> Block:
        """All that was taken in since the series were saved, as one block: with it, the files give the series as they are."""
        nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        slots, positions, values = (np.concatenate(column) for column in zip(*self._taken, nothing, strict=True))
        return Block(self.batch, self._saved, self.series.ids[self._saved :], slots, positions, values)

    def _begin(self, ids: Sequence[str]) -> None:
        new = [unique_id for unique_id in ids if unique_id not in self.series.slots]
        if new:
            self.series.add(new, self.stepper.initial_state(len(new)))

    def _know(self, ids: Sequence[str]) -> None:
        self._slots = np.array([self.series.slots[unique_id] for unique_id in ids], dtype=np.int64)

    def _take_in(self, slots: Indices, positions: Positions, y: Values) -> tuple[Indices, Positions, Values]:
        """Take in one observation of each slot [N], where it is news: history may have known it, and more; those that were."""
        codes = classify_arrivals(
            positions,
            y,
            last_positions=self.series.positions[slots],
            first_positions=self.series.firsts[slots],
            known_y=self.series.known_values(slots, positions),
            max_gap=ANY_GAP,
            window=self.series.window,
        )
        is_news = codes < Arrival.DUPLICATE
        news = slots[is_news], positions[is_news], y[is_news]
        if is_news.any():
            take_in(self.series, self.stepper, *news)
        return news


def _oldest(stream: LiveSeries) -> Positions:
    """Of each series, the oldest position of which the value is still held."""
    count, reach = len(stream), stream.recent.shape[1]
    oldest: Positions = np.maximum(stream.positions[:count] - reach + 1, stream.firsts[:count])
    return oldest


def rehearse(stepper: Stepper, series: LiveSeries) -> None:
    """Step and forecast some rows, few and many: what a stepper prepares at its first use of a size is then ready."""
    for count in REHEARSED:
        rows = np.arange(count) % max(len(series), 1)
        state = series.state[rows] if len(series) else stepper.initial_state(count)
        positions = series.positions[rows] if len(series) else np.zeros(count, np.int64)
        positions = np.where(positions == NEVER, 0, positions)
        stepper.forecast(stepper.step(state, np.full(count, np.nan), positions + 1), positions + 1)
