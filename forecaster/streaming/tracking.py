"""What a calibrated series carries, how it learns from a truth, and what it makes of a forecast.

Its numbers are a bend of every tracked quantile for every block of leads (`correction.py`), and forecasts that wait for their
truths (`pending.py`). When one matures, a tracked quantile that the truth lay beyond moves away from the median, and any other a
little towards it, so much that both balance where the share of truths beyond, b, is the nominal one:

    bend = bend exp(rate (1[beyond] - b) / sqrt(b (1 - b)))        shift of the median = shift + bias_rate sign(truth - median)

What is judged is the forecast as it was issued. Bends are bounded, so over time misses must balance: coverage holds in the long
run for any data. Neighbouring blocks share what they learn. All distances are stretched by a *scale* too, the smoothed size of
recent errors beside the usual one, which knows within days that a spread is wrong, where counting misses takes weeks.

Source: quantile tracking and scorecasting, Angelopoulos, Candès, Tibshirani 2023, arXiv:2307.16895; adaptive conformal inference,
Gibbs, Candès 2021, arXiv:2106.00170. Everything is elementwise float32 without transcendental functions, hence the same to the
bit in any batch. Axes: B series, R rows of them, L leads, Q quantiles, K tracked ones, G blocks of leads, W numbers of one that
waits.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from forecaster.frequency import Positions
from forecaster.series import Values
from forecaster.streaming.correction import (
    LEAST_STRETCH,
    MOST_SHIFT,
    MOST_STRETCH,
    Float32,
    Levels,
    Prior,
    correct,
    half_width,
)
from forecaster.streaming.pending import Indices, Schedule

COUNT, SCALE, IS_SIGNED, MISSES = range(4)  # columns of the numbers; then misses [K], bends [G, K], and what waits
HIGH, LOW, HALF, AWAY = range(4)  # of one that waits: its median in two words, inner half-width, the others' distance from it
MOST_SCORES = np.float32(1e6)  # counted
LARGEST_ERROR = np.float32(3)  # usual errors: none counts for more in the scale
LEAST_SCALE = np.float32(0.1)
HASTE, ONE_SIDED = np.float32(40), np.float32(0.5)  # a bias that more than three of four errors share is corrected ever faster
NUMBERS_AT_ONCE = 40_000  # are corrected, so that they stay in the cache
ONE, TWO, QUARTER = np.float32(1), np.float32(2), np.float32(0.25)


class CalibrationConfig(BaseModel):
    """How fast quantiles move, and what is kept; the defaults were chosen on three panels (`benchmarks/coverage.py`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = Field(0.01, gt=0, le=0.1, description="how far one truth moves a quantile, in logarithms of its distance")
    bias_rate: float = Field(0.001, ge=0, le=0.01, description="how far one truth moves the median, in half-widths")
    sharing: float = Field(0.6, ge=0, lt=1, description="how much a block of leads learns from the next one")
    scale_memory: int = Field(150, ge=10, description="scores over which the size of errors is smoothed")
    coverage_memory: int = Field(200, ge=10, description="scores over which achieved coverage is smoothed")
    spacing: int | None = Field(None, ge=1, description="positions between kept forecasts; null: a tenth of the horizon or more")
    warm_positions: int | None = Field(None, ge=1, description="last positions of a history to learn from; null: 10 horizons")


@dataclass(frozen=True)
class Coverage:
    """The share of recent truths [B, I] inside each of I intervals as they were issued, NaN before the first one matured.

    `nominal` [I] is what it should be, the widest first; `scores` [B] is how many forecasts have matured in all.
    """

    nominal: tuple[float, ...]
    achieved: Values
    scores: NDArray[np.int64]

    def pooled(self) -> dict[float, float]:
        """Achieved by nominal coverage, the mean over all series that have scores.

        >>> Coverage((0.8,), np.array([[0.75], [np.nan], [0.85]]), np.array([90, 0, 70])).pooled()
        {0.8: 0.8}
        """
        known = self.achieved[self.scores > 0]
        means = known.mean(axis=0) if len(known) else np.full(len(self.nominal), np.nan)
        return dict(zip(self.nominal, means.tolist(), strict=True))


@dataclass(frozen=True)
class Tracker:
    """The calibration of a forecast's quantiles, as functions of the numbers [B, width] that series carry for it."""

    levels: Levels
    schedule: Schedule
    config: CalibrationConfig
    prior: Prior

    # -- where things lie ----------------------------------------------------------------------------------------------------

    @cached_property
    def bends(self) -> slice:
        first = MISSES + len(self.levels.tracked)
        return slice(first, first + len(self.schedule.blocks) * len(self.levels.tracked))

    @cached_property
    def misses(self) -> slice:
        return slice(MISSES, self.bends.start)

    @cached_property
    def slot_width(self) -> int:
        """W, the numbers of one that waits."""
        return AWAY + len(self.levels.tracked) - 1

    @cached_property
    def width(self) -> int:
        return int(self.bends.stop) + self.schedule.slot_count * self.slot_width

    def first_numbers(self, count: int) -> Float32:
        """The numbers [B, width] of series that have not been scored: the prior, and nothing that waits."""
        numbers = np.full((count, self.width), np.nan, dtype=np.float32)
        numbers[:, COUNT], numbers[:, SCALE], numbers[:, IS_SIGNED] = 0, 1, 0
        numbers[:, self.misses] = self.levels.beyond
        numbers[:, self.bends] = np.asarray(self.prior.bends, dtype=np.float32).ravel()
        return numbers

    # -- learning ------------------------------------------------------------------------------------------------------------

    def score(self, numbers: Float32, y: Values, position: Positions) -> None:
        """Let each series learn, in place, from its forecasts of this position; y [B] is NaN where nothing was observed."""
        slots_at, leads_at = self.schedule.matured
        phase, is_observed = position % self.schedule.period, ~np.isnan(y)
        for turn in range(slots_at.shape[1]):
            rows = np.flatnonzero(is_observed & (slots_at[phase, turn] >= 0))
            slots, leads = slots_at[phase[rows], turn], leads_at[phase[rows], turn]
            waiting = _gather(numbers, rows, self.bends.stop + slots * self.slot_width, self.slot_width)
            was_kept = np.isfinite(waiting[:, HIGH])
            if not was_kept.all():
                rows, leads, waiting = rows[was_kept], leads[was_kept], waiting[was_kept]
            if len(rows):
                with np.errstate(over="ignore"):  # an error that is no float32 is as large as can be
                    self._learn(numbers, rows, waiting, y=y[rows], leads=leads)
        numbers[:, IS_SIGNED] = np.where(y < 0, ONE, numbers[:, IS_SIGNED])

    def _learn(self, numbers: Float32, rows: Indices, waiting: Float32, *, y: Values, leads: Indices) -> None:
        """Take the truth of one matured forecast of each of `rows` [R] into its numbers; `waiting` [R, W] was kept of it."""
        own = numbers[rows, : self.bends.stop]
        error = ((y - waiting[:, HIGH]) - waiting[:, LOW]).astype(np.float32)
        beyond = self._beyond(error, waiting)
        own[:, COUNT] = np.minimum(own[:, COUNT] + ONE, MOST_SCORES)
        misses = own[:, self.misses]
        misses += (beyond - misses) / np.minimum(own[:, COUNT, None], np.float32(self.config.coverage_memory))
        self._rescale(own, np.abs(error), waiting[:, HALF] * self._usual_errors[leads - 1])
        push, middle = self._rates * (beyond - self.levels.beyond), self.levels.middle
        evidence = np.minimum(own[:, COUNT] / np.float32(self.config.coverage_memory), ONE)
        push[:, middle] *= ONE + HASTE * evidence * np.maximum(np.abs(TWO * misses[:, middle] - ONE) - ONE_SIDED, np.float32(0))
        bends = self._blocks_of(own)
        move = self._shares[leads - 1][:, :, None] * push[:, None, :]
        shift = bends[:, :, middle] + move[:, :, middle]
        bends *= (TWO + move) / (TWO - move)  # exp(move), but for its third order
        np.clip(bends, np.float32(LEAST_STRETCH), np.float32(MOST_STRETCH), out=bends)
        np.clip(shift, np.float32(-MOST_SHIFT), np.float32(MOST_SHIFT), out=bends[:, :, middle])
        own[:, self.bends] = bends.reshape(len(rows), -1)
        numbers[rows, : self.bends.stop] = own

    def _beyond(self, error: Float32, waiting: Float32) -> Float32:
        """Which truths lay beyond each tracked quantile, seen from the median [R, K]; at the median, which lay above it."""
        middle, away = self.levels.middle, waiting[:, AWAY:]
        beyond = np.empty((len(error), len(self.levels.tracked)), dtype=np.float32)
        beyond[:, :middle] = error[:, None] < away[:, :middle]
        beyond[:, middle] = (np.sign(error) + ONE) / TWO
        beyond[:, middle + 1 :] = error[:, None] > away[:, middle:]
        return beyond

    def _rescale(self, own: Float32, size: Float32, usual: Float32) -> None:
        """Move the scale towards the size of an error beside the usual one; it begins as if a quarter of its memory were full."""
        memory = np.float32(self.config.scale_memory)
        relative = np.minimum(size / np.where(usual > 0, usual, ONE), LARGEST_ERROR)
        weight = np.where(usual > 0, ONE / np.minimum(own[:, COUNT] + memory * QUARTER, memory), np.float32(0))
        own[:, SCALE] = np.maximum(own[:, SCALE] + weight * (relative - own[:, SCALE]), LEAST_SCALE)

    # -- correcting and keeping ----------------------------------------------------------------------------------------------

    def correct(self, values: Values, numbers: Float32, leads: Indices, *, levels: Levels | None = None) -> Values:
        """Quantiles [B, L, Q] of leads [B or 1, L] after the bends of their series.

        What was forecast as no less than zero stays so, in a series that has not been less since its calibration began.
        """
        corrected, at = np.empty_like(values), np.broadcast_to(leads, values.shape[:2])
        rows_at_once = max(NUMBERS_AT_ONCE // max(values[:1].size, 1), 1)
        for first in range(0, len(values), rows_at_once):
            rows = slice(first, first + rows_at_once)
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite stays so
                part = correct(values[rows], self._bends_at(numbers[rows], at[rows]), levels or self.levels)
            if (part < 0).any():
                part[(numbers[rows, IS_SIGNED] == 0)[:, None, None] & (values[rows] >= 0) & (part < 0)] = 0
            corrected[rows] = part
        return corrected

    def is_due(self, position: Positions) -> NDArray[np.bool_]:
        """Whether a forecast made after these positions is kept."""
        return np.asarray(position % self.schedule.spacing == 0)

    def leads_to_keep(self, position: Positions) -> Indices:
        """The leads of forecasts made after these positions, all of them due, that are kept [B, G]."""
        return np.asarray(self.schedule.kept_leads[position % self.schedule.period // self.schedule.spacing])

    def tracked_of(self, values: Values, leads: Indices) -> Values:
        """The tracked quantiles [R, G, K] of forecasts [R, L, Q] at leads [R, G]."""
        return np.asarray(values[np.arange(len(values))[:, None, None], leads[:, :, None] - 1, self.levels.tracked])

    def keep(self, numbers: Float32, rows: Indices, values: Values, position: Positions) -> None:
        """Keep of forecasts [R, L, Q] of some rows, all of them due, what waits for its truth, in place."""
        leads = self.leads_to_keep(position)
        tracked = self.tracked_of(values, leads)
        issued = self.correct(tracked, numbers[rows, : self.bends.stop], leads, levels=self.levels.alone)
        median = issued[:, :, self.levels.middle]
        kept = np.empty((*leads.shape, self.slot_width), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is not scored
            kept[:, :, HIGH] = median
            kept[:, :, LOW] = median - kept[:, :, HIGH]
            kept[:, :, HALF] = half_width(tracked, self.levels.alone)
            kept[:, :, AWAY:] = np.delete(issued, self.levels.middle, axis=2) - median[:, :, None]
        kept[~np.isfinite(kept).all(axis=2)] = np.nan
        slots = self.schedule.kept_slots[position % self.schedule.period // self.schedule.spacing]
        columns = self.bends.stop + slots[:, :, None] * self.slot_width + np.arange(self.slot_width)
        numbers[rows[:, None, None], columns] = kept

    def coverage_of(self, numbers: Float32) -> Coverage:
        """What the intervals of each series have covered of late, as they were issued."""
        tracked, misses = self.levels.alone.quantiles, numbers[:, self.misses].astype(np.float64)
        misses[numbers[:, COUNT] == 0] = np.nan
        nominal = tuple(round(float(tracked[high] - tracked[low]), 9) for low, high in self.levels.intervals)
        achieved = np.empty((len(numbers), len(nominal)))
        for place, (low, high) in enumerate(self.levels.intervals):
            achieved[:, place] = 1 - misses[:, low] - misses[:, high]
        return Coverage(nominal, achieved, numbers[:, COUNT].astype(np.int64))

    # -- from blocks to leads ------------------------------------------------------------------------------------------------

    def _blocks_of(self, numbers: Float32) -> Float32:
        """The bends [B, G, K]."""
        return numbers[:, self.bends].reshape(len(numbers), len(self.schedule.blocks), len(self.levels.tracked))

    def _bends_at(self, numbers: Float32, leads: Indices) -> Float32:
        """The bends [B, L, K] at leads [B or 1, L], between those of the blocks, and stretched by the scale."""
        bends, row = self._blocks_of(numbers), np.arange(len(numbers))[:, None]
        before, after, weight = (part[leads - 1] for part in self._between)
        mixed = bends[row, before]
        mixed += weight[:, :, None] * (bends[row, after] - mixed)
        scale = np.repeat(numbers[:, SCALE, None], len(self.levels.tracked), axis=1)
        scale[:, self.levels.middle] = 1
        return np.asarray(mixed * scale[:, None, :])

    @cached_property
    def _between(self) -> tuple[Indices, Indices, Float32]:
        """Between which two blocks each lead lies, and how near to the second [L]; a block's bends are those of its last lead."""
        knots = np.array([block[-1] for block in self.schedule.blocks])
        leads = np.arange(1, self.schedule.horizon + 1)
        after = np.searchsorted(knots, leads)
        before = np.maximum(after - 1, 0)
        return before, after, ((leads - knots[before]) / np.maximum(knots[after] - knots[before], 1)).astype(np.float32)

    @cached_property
    def _shares(self) -> Float32:
        """How much each block learns from the truth of a lead [L, G]."""
        before, after, weight = self._between
        blocks = np.arange(len(self.schedule.blocks))
        near, far = (self.config.sharing ** np.abs(side[:, None] - blocks) for side in (before, after))
        return np.asarray(near + weight[:, None] * (far - near), dtype=np.float32)

    @cached_property
    def _rates(self) -> Float32:
        """How far a miss moves each bend [K]: in standard deviations of what is counted, so that the outermost move too."""
        beyond = self.levels.beyond
        rates = self.config.rate / np.sqrt(beyond * (1 - beyond))
        rates[self.levels.middle] = 2 * self.config.bias_rate
        return np.asarray(rates, dtype=np.float32)

    @cached_property
    def _usual_errors(self) -> Float32:
        """The usual size of errors at each lead, in half-widths [L]."""
        errors = np.asarray(self.prior.mean_errors, dtype=np.float32)
        before, after, weight = self._between
        return np.asarray(errors[before] + weight * (errors[after] - errors[before]))


def _gather(numbers: Float32, rows: Indices, first: Indices, width: int) -> Float32:
    """`width` numbers of each row, from its column `first` on [R, width]; mostly all rows have the same one."""
    if len(first) and (first == first[0]).all():
        return np.asarray(numbers[rows, first[0] : first[0] + width])
    return np.asarray(numbers[rows[:, None], first[:, None] + np.arange(width)])
