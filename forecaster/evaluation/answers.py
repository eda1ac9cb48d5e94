"""Scores at every origin in bounded memory, whoever answers: a stepper, a forecaster in batch, or a file.

A forecast is scored when it is made: what is kept of a row is its sums, a hundred bytes instead of all its leads and quantiles.
Everybody answers the same blocks of origins in the same order, so that one can stand in for another, row by row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from forecaster.errors import ConfigError
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import Progress, check_rows, known_part
from forecaster.evaluation.ledger import Index, Ledger, ScoredRows, Tally, scored_rows
from forecaster.evaluation.scores import Scores
from forecaster.evaluation.walk import check_state, origin_blocks, up_to_first_origin, walk_forward
from forecaster.forecast import Forecast, Forecaster, State, Stepper, check_quantiles
from forecaster.series import Origins, Panel, Values

SERIES_AT_ONCE = 4_096  # 48 leads of 11 quantiles: 17 MB a block of forecasts, and as much for each forecaster's sums by lead

Answers = Callable[[Panel, Origins], Iterator[Forecast]]  # for the origins of a panel, in the blocks of `origin_blocks`
Warm = Callable[[Panel], State]
Listen = Callable[[str, Index, Values, tuple[float, ...]], None]  # who, rows [B] of the origins, what was said [B, L, Q], and Q


def stepped(stepper: Stepper, warm: Warm | None = None) -> Answers:
    """The answers of a stepper, its series begun by `warm` with what was known at their first origins."""

    def answer(panel: Panel, origins: Origins) -> Iterator[Forecast]:
        state = warm(up_to_first_origin(panel, origins)) if warm and len(origins) else None
        return walk_forward(stepper, panel, origins, state=state)

    return answer


def refitted(fit: Callable[[Panel], tuple[Stepper, Warm]], every: int) -> Answers:
    """The answers of a forecaster that is fitted anew with every `every`-th origin, on what is known there."""

    def answer(panel: Panel, origins: Origins) -> Iterator[Forecast]:
        blocks = origin_blocks(origins)
        for first in range(0, len(blocks), every):
            rows = np.concatenate(blocks[first : first + every])
            segment = Origins(origins.index[rows], origins.known[rows])
            history = up_to_first_origin(panel, segment)
            stepper, warm = fit(history)
            yield from walk_forward(stepper, panel, segment, state=warm(history))

    return answer


def predicted(forecaster: Forecaster, horizon: int, quantiles: Sequence[float]) -> Answers:
    """The answers of a forecaster that has no steps, or whose steps lack what its batches know: all origins at once."""
    chosen = check_quantiles(quantiles)

    def answer(panel: Panel, origins: Origins) -> Iterator[Forecast]:
        past, rows = known_part(panel, origins)
        said = forecaster.predict(past, horizon, quantiles=chosen, origins=rows)
        check_rows(said, past, horizon=horizon, quantiles=chosen, origins=rows)
        return (said.select(block) for block in origin_blocks(origins))

    return answer


def given(forecast: Forecast) -> Answers:
    """Answers that were made elsewhere; NaN from an origin that they do not have."""
    place = {key: row for row, key in enumerate(zip(forecast.ids, forecast.origins.tolist(), strict=True))}

    def answer(panel: Panel, origins: Origins) -> Iterator[Forecast]:
        positions = origins.positions(panel)
        for block in origin_blocks(origins):
            ids = tuple(panel.ids[b] for b in origins.index[block])
            rows = np.array([place.get(key, -1) for key in zip(ids, positions[block].tolist(), strict=True)])
            values = np.where((rows >= 0)[:, None, None], forecast.values[rows], np.nan)
            yield Forecast(ids, positions[block], forecast.quantiles, values, panel.frequency, {})

    return answer


def score_answers(
    answers: Mapping[str, Answers],
    panel: Panel,
    *,
    origins: Origins,
    horizon: int,
    quantiles: Sequence[float],
    season_length: int,
    actuals: Panel | None = None,
    reference: str = "naive2",
    series_at_once: int = SERIES_AT_ONCE,
    listen: Listen | None = None,
    progress: Progress | None = None,
) -> Scores:
    """What `score` gives for everybody's forecasts from each origin, in bounded memory.

    What happened stands in the panel, or in `actuals`. Who answers fewer quantiles is scored on those it has. One that raises
    stands under `failures`, and with it goes all that it said. `listen` hears every forecast that is scored.
    """
    chosen = check_quantiles(quantiles)
    past, rows_of = _in_order_of_ids(*known_part(panel, origins))
    ids = tuple(past.ids[b] for b in rows_of.index)
    rows = scored_rows(ids, rows_of.positions(past), panel, season_length)
    table, done = _Table(rows, chosen, reference, listen), 0
    for first in range(0, len(past), series_at_once):
        last = min(first + series_at_once, len(past))
        members = np.flatnonzero((rows_of.index >= first) & (rows_of.index < last))
        part, own = past.select(range(first, last)), Origins(rows_of.index[members] - first, rows_of.known[members])
        table.begin(answers, part, own, first=first)
        for block in origin_blocks(own):
            table.enter(table.next_forecasts(), panel if actuals is None else actuals, rows=members[block], horizon=horizon)
            done += len(block)
            if progress:
                progress(done, len(origins), "")
        table.end()
    tallies = table.tallies(answers)
    return Scores(rows.ids, rows.scale, rows.series, rows.origins, panel.frequency, reference, tallies, table.failures)


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
    """`score_answers` of steppers alone.

    `states` are those of all series at their first origins; a stepper that has none there begins knowing nothing. Raises
    ConfigError when a stepper does not reach the horizon, or has not the quantiles, and StateError when a state is not of these
    series and its stepper.
    """
    past = up_to_first_origin(panel, origins)
    for name, stepper in steppers.items():
        check_reach(name, stepper, horizon=horizon, quantiles=check_quantiles(quantiles))
    for name, state in (states or {}).items():
        check_state(state, len(past), steppers[name].state_size)
    kept = {name: _state_of(state, past.ids) for name, state in (states or {}).items()}
    return score_answers(
        {name: stepped(stepper, kept.get(name)) for name, stepper in steppers.items()},
        panel,
        origins=origins,
        horizon=horizon,
        quantiles=quantiles,
        season_length=season_length,
        reference=reference,
        series_at_once=SERIES_AT_ONCE,
        progress=progress,
    )


def check_reach(name: str, stepper: Stepper, *, horizon: int, quantiles: tuple[float, ...]) -> None:
    """Raises ConfigError when a stepper does not reach the horizon, or has not the quantiles."""
    unknown = [q for q in quantiles if q not in stepper.quantiles]
    if horizon > stepper.horizon:
        raise ConfigError(f"{name} forecasts {stepper.horizon} steps, and {horizon} are to be scored. Ask for a shorter horizon.")
    if unknown:
        has = ", ".join(f"{q:g}" for q in stepper.quantiles)
        raise ConfigError(f"{name} was asked for quantile {unknown[0]:g}; it forecasts {has}. Ask for quantiles among them.")


def _in_order_of_ids(panel: Panel, origins: Origins) -> tuple[Panel, Origins]:
    """The same series and origins, the series in the order that their scores stand in."""
    order = np.argsort(np.asarray(panel.ids, dtype=object), kind="stable")
    return panel.select(order.tolist()), Origins(np.argsort(order)[origins.index], origins.known)


def _state_of(state: State, ids: tuple[str, ...]) -> Warm:
    place = {unique_id: row for row, unique_id in enumerate(ids)}
    return lambda part: state[[place[unique_id] for unique_id in part.ids]]


class _Table:
    """Who still answers, and what each has lost so far."""

    def __init__(self, rows: ScoredRows, quantiles: tuple[float, ...], reference: str, listen: Listen | None) -> None:
        self.rows, self.quantiles, self.reference, self.listen = rows, quantiles, reference, listen
        self.ledgers: dict[str, Ledger] = {}
        self.walks: dict[str, Iterator[Forecast]] = {}
        self.failures: dict[str, Exception] = {}

    def begin(self, answers: Mapping[str, Answers], panel: Panel, origins: Origins, *, first: int) -> None:
        """Ask everybody who has not failed about the origins of some series, the first of which has this number."""
        self.walks, self.first, self.last = {}, first, first + len(panel)
        for ledger in self.ledgers.values():
            ledger.open(self.first, self.last)
        for name, answer in answers.items():
            if name not in self.failures:
                try:
                    self.walks[name] = answer(panel, origins)
                except Exception as error:  # noqa: BLE001 -- one forecaster's failure is a result, and costs the others nothing
                    self.failures[name] = error

    def next_forecasts(self) -> dict[str, Forecast]:
        """The next block of each; one that raises has failed, and answers no further."""
        said = {}
        for name in tuple(self.walks):
            try:
                said[name] = next(self.walks[name])
            except Exception as error:  # noqa: BLE001 -- as above
                self.failures[name] = error
                del self.walks[name]
        return said

    def enter(self, said: Mapping[str, Forecast], came: Panel, *, rows: Index, horizon: int) -> None:
        """Score one block, what is missing by what the reference said."""
        instead = said.get(self.reference)
        for name, forecast in said.items():
            y = actuals_matrix(forecast, came)[:, :horizon]
            ledger = self._ledger(name, forecast.quantiles, horizon)
            values = _of(forecast, ledger.quantiles, horizon)
            has_all = instead is not None and set(ledger.quantiles) <= set(instead.quantiles)
            ledger.enter(rows, values, y, stand_in=_of(instead, ledger.quantiles, horizon) if instead and has_all else None)
            if self.listen:
                self.listen(name, rows, values, ledger.quantiles)

    def end(self) -> None:
        """Take the leads of these series into the means over all."""
        for ledger in self.ledgers.values():
            ledger.close()

    def tallies(self, names: Iterable[str]) -> dict[str, Tally]:
        """All that was entered for those who have not failed."""
        return {name: self.ledgers[name].tally(0) for name in names if name in self.ledgers and name not in self.failures}

    def _ledger(self, name: str, quantiles: tuple[float, ...], horizon: int) -> Ledger:
        """The losses of one forecaster, on those quantiles that it has."""
        if name not in self.ledgers:
            self.ledgers[name] = Ledger(self.rows, horizon, tuple(q for q in self.quantiles if q in quantiles))
            self.ledgers[name].open(self.first, self.last)
        return self.ledgers[name]


def _of(forecast: Forecast, quantiles: tuple[float, ...], horizon: int) -> Values:
    return forecast.values[:, :horizon, [forecast.quantiles.index(q) for q in quantiles]]
