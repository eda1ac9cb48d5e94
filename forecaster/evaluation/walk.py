"""Forecasts at every origin from one walk through time, for whatever stands behind the `Stepper` door.

A forecast per origin from `predict` encodes the past of each anew, or holds all forecasts at once. Here every series is
stepped once, and its forecasts are scored as they are made: what is kept of a row is its sums, a hundred bytes instead of
all its leads and quantiles. A stepper is handed one value at a time, so it cannot look ahead.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import ConfigError, StateError
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import Progress, known_part
from forecaster.evaluation.ledger import Ledger, scored_rows
from forecaster.evaluation.scores import Scores
from forecaster.forecast import Forecast, State, Stepper, check_quantiles
from forecaster.series import Origins, Panel

SERIES_AT_ONCE = 4_096  # 48 leads of 11 quantiles: 17 MB a block of forecasts, and as much for each forecaster's sums by lead

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
    _check_state(state, len(index), stepper.state_size)
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


def score_walk(
    steppers: Mapping[str, Stepper],
    panel: Panel,
    *,
    origins: Origins,
    horizon: int,
    quantiles: Sequence[float],
    season_length: int,
    reference: str = "naive2",
    states: Mapping[str, State] | None = None,
    progress: Progress | None = None,
) -> Scores:
    """What `score` gives for the forecasts of each stepper from each origin against the panel, in bounded memory.

    `states` are what `walk_forward` begins with; a stepper that has none there begins knowing nothing. One that raises stands
    under `failures`, and with it goes all that it said. Raises ConfigError when a stepper does not reach the horizon, or has
    not the quantiles, and StateError when a state is not of these series and its stepper.
    """
    chosen = check_quantiles(quantiles)
    for name, stepper in steppers.items():
        _check_reach(name, stepper, horizon=horizon, quantiles=chosen)
    past, rows_of = known_part(panel, origins)
    ids = tuple(past.ids[b] for b in rows_of.index)
    rows = scored_rows(ids, rows_of.positions(past), panel, season_length)
    ledgers = {name: Ledger(rows, horizon, chosen) for name in steppers}
    for name, state in (states or {}).items():
        _check_state(state, len(past), steppers[name].state_size)
    failures: dict[str, Exception] = {}
    done = 0
    for first in range(0, len(past), SERIES_AT_ONCE):
        last = min(first + SERIES_AT_ONCE, len(past))
        members = np.flatnonzero((rows_of.index >= first) & (rows_of.index < last))
        part, own = past.select(range(first, last)), Origins(rows_of.index[members] - first, rows_of.known[members])
        walks = {
            name: walk_forward(stepper, part, own, state=states[name][first:last] if states and name in states else None)
            for name, stepper in steppers.items()
            if name not in failures
        }
        for ledger in ledgers.values():
            ledger.open(first, last)
        for block in origin_blocks(own):
            said = _next_forecasts(walks, failures)
            _enter(ledgers, said, panel, rows=members[block], horizon=horizon, quantiles=chosen, reference=reference)
            done += len(block)
            if progress:
                progress(done, len(origins), "")
        for ledger in ledgers.values():
            ledger.close()
    tallies = {name: ledger.tally(0) for name, ledger in ledgers.items() if name not in failures}
    return Scores(rows.ids, rows.scale, rows.series, rows.origins, panel.frequency, reference, tallies, failures)


def _next_forecasts(walks: dict[str, Iterator[Forecast]], failures: dict[str, Exception]) -> dict[str, Forecast]:
    """The next block of each walk; one that raises has failed, and walks no further."""
    said = {}
    for name in tuple(walks):
        try:
            said[name] = next(walks[name])
        except Exception as error:  # noqa: BLE001 -- one forecaster's failure is a result, and must not cost the others theirs
            failures[name] = error
            del walks[name]
    return said


def _enter(
    ledgers: Mapping[str, Ledger],
    said: Mapping[str, Forecast],
    panel: Panel,
    *,
    rows: Rows,
    horizon: int,
    quantiles: tuple[float, ...],
    reference: str,
) -> None:
    values = {
        name: forecast.values[:, :horizon, [forecast.quantiles.index(q) for q in quantiles]] for name, forecast in said.items()
    }
    for name, forecast in said.items():
        y = actuals_matrix(forecast, panel)[:, :horizon]
        ledgers[name].enter(rows, values[name], y, stand_in=values.get(reference))


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


def _check_state(state: State | None, count: int, size: int) -> None:
    if state is not None and state.shape != (count, size):
        raise StateError(
            f"the state to walk from has shape {state.shape}; expected {(count, size)}, a row for each series that has an "
            "origin. Make it from up_to_first_origin(panel, origins)."
        )


def _check_reach(name: str, stepper: Stepper, *, horizon: int, quantiles: tuple[float, ...]) -> None:
    unknown = [q for q in quantiles if q not in stepper.quantiles]
    if horizon > stepper.horizon:
        raise ConfigError(f"{name} forecasts {stepper.horizon} steps, and {horizon} are to be scored. Ask for a shorter horizon.")
    if unknown:
        given = ", ".join(f"{q:g}" for q in stepper.quantiles)
        raise ConfigError(f"{name} was asked for quantile {unknown[0]:g}; it forecasts {given}. Ask for quantiles among them.")
