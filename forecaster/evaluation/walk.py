"""Forecasts at every origin from one walk through time, for whatever stands behind the `Stepper` door.

Every series is stepped once, and its forecasts come block by block, so that nobody need hold all of them. A stepper is handed
one value at a time, so it cannot look ahead.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import StateError
from forecaster.evaluation.backtest import known_part
from forecaster.forecast import Forecast, State, Stepper
from forecaster.series import Origins, Panel

Rows = NDArray[np.int64]


def origin_blocks(origins: Origins) -> list[Rows]:
    """The rows of `walk_forward`'s blocks: equally many steps before the last origin of their series, the earliest first.

    >>> [rows.tolist() for rows in origin_blocks(Origins(np.array([0, 0, 1, 1]), np.array([5, 6, 8, 9])))]
    [[0, 2], [1, 3]]
    """
    if not len(origins):
        return []
    column = origins.known - _last_known(origins)[origins.index]
    order = np.lexsort((origins.index, column))
    return np.split(order, np.flatnonzero(np.diff(column[order])) + 1)


def up_to_first_origin(panel: Panel, origins: Origins) -> Panel:
    """The series that have an origin, each up to its first: what a stepper is to have seen when a walk begins there.

    >>> from forecaster.frequency import Frequency
    >>> panel = Panel(("a",), np.array([0]), np.array([0, 4]), np.ones(4), Frequency("D"))
    >>> up_to_first_origin(panel, Origins(np.array([0, 0]), np.array([2, 3]))).lengths
    array([2])
    """
    index, first = _first_known(origins)
    return known_part(panel, Origins(index, first))[0]


def walk_forward(stepper: Stepper, panel: Panel, origins: Origins, *, state: State | None = None) -> Iterator[Forecast]:
    """The stepper's forecasts from every origin, in the blocks of `origin_blocks`: the same to the bit as `predict` gives.

    All series step together, aligned at their last origins, and no series beyond its own. Without `state` they begin knowing
    nothing; `state` [S, size] is theirs after `up_to_first_origin`, one row for each of its series.

    Raises StateError when `state` is not of these series and this stepper.
    """
    if not len(origins):
        return
    index, first = _first_known(origins)
    check_state(state, len(index), stepper.state_size)
    last = _last_known(origins)[index]
    steps = last - first if state is not None else last
    order = np.argsort(-steps, kind="stable")  # those that are under way at any time are the first so many
    index, last, steps = index[order], last[order], steps[order]
    walked = state[order] if state is not None else stepper.initial_state(len(index))
    place = np.empty(len(panel), dtype=np.int64)
    place[index] = np.arange(len(index))
    column = -int(steps[0])
    for rows in origin_blocks(origins):
        stop = int(origins.known[rows[0]] - last[place[origins.index[rows[0]]]])
        while column < stop:
            column += 1
            moving = int(np.searchsorted(-steps, column))
            at = last[:moving] + column - 1
            b = index[:moving]
            walked[:moving] = stepper.step(walked[:moving], panel.values[panel.offsets[b] + at], panel.starts[b] + at)
        chosen = Origins(origins.index[rows], origins.known[rows])
        ids, positions = tuple(panel.ids[b] for b in chosen.index), chosen.positions(panel)
        values = stepper.forecast(walked[place[chosen.index]], positions)
        yield Forecast(ids, positions, stepper.quantiles, values, panel.frequency, {})


def _first_known(origins: Origins) -> tuple[Rows, Rows]:
    """The series that have an origin, ascending, and how much of each is known at its first."""
    index = np.unique(origins.index)
    first = np.full(int(index.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, origins.index, origins.known)
    return index, first[index]


def _last_known(origins: Origins) -> Rows:
    """How much of each series is known at its last origin, by its index."""
    last = np.zeros(int(origins.index.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(last, origins.index, origins.known)
    return last


def check_state(state: State | None, count: int, size: int) -> None:
    """Raises StateError when a state is not that of so many series."""
    if state is not None and state.shape != (count, size):
        raise StateError(
            f"the state to walk from has shape {state.shape}; expected {(count, size)}, a row for each series that has an "
            "origin. Make it from up_to_first_origin(panel, origins)."
        )
