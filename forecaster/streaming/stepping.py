"""Live series moved by observations: forward, or wound back to a kept state and forward again.

Both are pure functions of what the series held and of what arrived, so the accepted observations are the log: taking them in
again gives the same arrays to the bit, in whatever portions they come.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State, Stepper
from forecaster.frequency import Positions
from forecaster.series import Panel, Values
from forecaster.streaming.lateness import NEVER
from forecaster.streaming.live import UNCHANGED, LiveSeries

Indices = NDArray[np.int64]


def take_in(series: LiveSeries, stepper: Stepper, slots: Indices, positions: Positions, y: Values) -> None:
    """Take in one observation of each slot [N]: no slot twice, no position that is closed.

    A series whose past is changed is wound back when its state is next wanted: `catch_up` must come before its state is read.
    So a publication that changes many days at once costs one way back.
    """
    last = series.positions[slots]
    is_ahead = (last == NEVER) | (positions > last)
    if is_ahead.all():
        _step_to(series, stepper, slots, positions, y)
        return
    if is_ahead.any():
        _step_to(series, stepper, slots[is_ahead], positions[is_ahead], y[is_ahead])
    behind = ~is_ahead
    _revise(series, slots[behind], positions[behind], y[behind])


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


# -- forward -----------------------------------------------------------------------------------------------------------------


def _step_to(series: LiveSeries, stepper: Stepper, slots: Indices, positions: Positions, y: Values) -> None:
    """Move each slot to a position ahead, through the positions that are missing in between."""
    catch_up(series, stepper, slots)
    last = series.positions[slots]
    is_new = last == NEVER
    if is_new.any():
        begun = slots[is_new]
        series.firsts[begun] = positions[is_new]
        series.kept_positions[begun] = positions[is_new, None] - 1
        last = np.where(is_new, positions - 1, last)
    missing = positions - last - 1
    for k in range(int(missing.max())):
        behind = np.flatnonzero(missing > k)
        nothing = np.full(len(behind), np.nan)
        _note(series, slots[behind], last[behind] + 1 + k, nothing)
        _step(series, stepper, slots[behind], last[behind] + 1 + k, nothing)
    _note(series, slots, positions, y)
    _step(series, stepper, slots, positions, y)
    series.counts[slots] += ~np.isnan(y)


def _note(series: LiveSeries, slots: Indices, positions: Positions, y: Values) -> None:
    series.recent[slots, positions % series.recent.shape[1]] = y


def rows_of(slots: Indices) -> Indices | slice:
    """The slots as a slice where they follow each other, as they do when a feed keeps its order: copied, not gathered.

    >>> rows_of(np.array([4, 5, 6])), rows_of(np.array([4, 6, 5]))
    (slice(4, 7, None), array([4, 6, 5]))
    """
    if not len(slots) or slots[-1] - slots[0] != len(slots) - 1 or (np.diff(slots) != 1).any():
        return slots
    return slice(int(slots[0]), int(slots[-1]) + 1)


def _step(series: LiveSeries, stepper: Stepper, slots: Indices, positions: Positions, y: Values) -> None:
    """One step of each slot to the position after its last, keeping every `window`-th state."""
    rows = rows_of(slots)
    state = stepper.step(series.state[rows], y, positions)
    series.state[rows] = state
    series.positions[rows] = positions
    if not series.window:
        return
    is_due = positions - series.kept_positions[slots, 1] >= series.window
    if is_due.any():
        due = slots[is_due]
        series.kept[due, 0], series.kept_positions[due, 0] = series.kept[due, 1], series.kept_positions[due, 1]
        series.kept[due, 1], series.kept_positions[due, 1] = state[is_due], positions[is_due]


# -- back and forward again --------------------------------------------------------------------------------------------------


def _revise(series: LiveSeries, slots: Indices, positions: Positions, y: Values) -> None:
    """Change the value at a position within the window.

    A position before the first one becomes the first: the series is then so young that the older kept state is the initial one.
    """
    is_earlier = positions < series.firsts[slots]
    earlier = slots[is_earlier]
    series.firsts[earlier] = positions[is_earlier]
    series.kept_positions[earlier, 0] = positions[is_earlier] - 1
    series.counts[slots] += ~np.isnan(y)
    series.counts[slots] -= ~np.isnan(series.known_values(slots, positions)) & ~is_earlier
    _note(series, slots, positions, y)
    series.changed[slots] = np.minimum(series.changed[slots], positions)


def catch_up(series: LiveSeries, stepper: Stepper, slots: Indices) -> None:
    """Where the past of these slots [N] was changed, step again from the state kept before the change."""
    slots = slots[series.changed[slots] != UNCHANGED]
    if not len(slots):
        return
    last = series.positions[slots]
    from_older = slots[series.changed[slots] <= series.kept_positions[slots, 1]]
    series.kept[from_older, 1] = series.kept[from_older, 0]
    series.kept_positions[from_older, 1] = series.kept_positions[from_older, 0]
    series.changed[slots] = UNCHANGED
    series.state[slots] = series.kept[slots, 1]
    at = series.kept_positions[slots, 1].copy()
    for k in range(1, int((last - at).max()) + 1):
        rest = np.flatnonzero(at + k <= last)
        again, to = slots[rest], at[rest] + k
        _step(series, stepper, again, to, series.known_values(again, to))


# -- from history ------------------------------------------------------------------------------------------------------------


def begin_from(series: LiveSeries, stepper: Stepper, panel: Panel, build: Callable[[Panel], State]) -> Indices:
    """New series with all that stepping through a panel's values would have left; returns their slots.

    `build` gives the state [B, S] after every value of a panel; the last steps are taken one by one, because the states in
    between are kept.
    """
    slots = series.add(panel.ids, stepper.initial_state(len(panel)))
    window = series.window
    if not window:
        series.state[slots], series.positions[slots] = build(panel), panel.ends
        kept = panel.ends
    else:
        whole = (panel.lengths // window - 1).clip(min=0) * window
        kept = panel.starts - 1 + whole
        begun = np.flatnonzero(whole)
        if len(begun):
            series.state[slots[begun]] = build(panel.select(begun.tolist()).drop_last((panel.ends - kept)[begun]))
        series.kept[slots] = series.state[slots, None]
        series.kept_positions[slots] = kept[:, None]
    series.firsts[slots] = panel.starts
    observed = ~np.isnan(panel.values)
    series.counts[slots] = np.add.reduceat(observed, panel.offsets[:-1], dtype=np.int64)
    _note_last(series, slots, panel)
    for k in range(1, int((panel.ends - kept).max(initial=0)) + 1):
        rest = np.flatnonzero(kept + k <= panel.ends)
        again, to = slots[rest], kept[rest] + k
        _step(series, stepper, again, to, panel.values[panel.offsets[rest] + to - panel.starts[rest]])
    return slots


def _note_last(series: LiveSeries, slots: Indices, panel: Panel) -> None:
    for back in range(series.recent.shape[1]):
        rows = np.flatnonzero(panel.lengths > back)
        _note(series, slots[rows], panel.ends[rows] - back, panel.values[panel.offsets[rows + 1] - 1 - back])
