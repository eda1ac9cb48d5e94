"""A forecaster for each series, chosen by evidence, and the combination of all of them.

The choice is made on rolling origins before what is to be forecast, by forecasters that were fitted before those origins. It
is an artefact: a table that says who speaks for which series, who came second, by how much, and on how many origins it rests.
Axes: S series, F forecasters, B rows, L leads, Q quantiles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.errors import ConfigError, DataError, ForecasterError
from forecaster.evaluation.backtest import known_part
from forecaster.evaluation.ledger import Index
from forecaster.evaluation.losses import Losses
from forecaster.evaluation.shrinkage import expected_losses
from forecaster.forecast import Forecast, Forecaster, check_quantiles
from forecaster.frequency import Positions
from forecaster.series import Origins, Panel, Values

LOSS, WEIGHT = "loss_of_", "weight_of_"  # columns, one for each forecaster; who is champion follows from them
COLUMNS = ("unique_id", "forecaster", "loss", "runner_up", "margin", "origins", "through")
POWER = 6  # of the inverse losses: with 4 to 12 a combination beat all it is made of, with 1 not (`benchmarks/champions.py`)
LEAST_RATIO = 1e-3  # of the largest loss of a series: what a perfect forecast counts as


@dataclass(frozen=True)
class ChampionTable:
    """The loss to expect of each forecaster on each series and its weight in a combination [S, F], over so many origins [S].

    `through` [S] is the position of the last value that this is known from: what came later may be judged against the choice.
    The first of `forecasters` is the panel's best; it speaks wherever nobody is expected to do better.
    """

    ids: tuple[str, ...]
    forecasters: tuple[str, ...]
    losses: Values
    weights: Values
    origins: Index
    through: Positions

    @cached_property
    def ranking(self) -> Index:
        """The columns of the forecasters by the loss to expect on each series [S, F], the champion first."""
        return np.argsort(self.losses, axis=1, kind="stable")

    @property
    def champions(self) -> tuple[str, ...]:
        """Who speaks for each series."""
        return tuple(self.forecasters[f] for f in self.ranking[:, 0])

    def ranked(self, names: Sequence[str]) -> Index:
        """Some of the forecasters, as places in `names`, by the loss to expect on each series [S, N], the least first."""
        columns = [self.forecasters.index(name) for name in names]
        return np.argsort(self.losses[:, columns], axis=1, kind="stable")

    def to_frame(self) -> pd.DataFrame:
        """What `champions.parquet` holds, a row for each series: COLUMNS, then each forecaster's loss and weight.

        The margin is by how much the runner-up's loss is expected to be higher; without a runner-up both are missing.
        """
        ordered = np.take_along_axis(self.losses, self.ranking, axis=1)
        has_second = len(self.forecasters) > 1
        columns = {
            "unique_id": np.asarray(self.ids, dtype=object),
            "forecaster": list(self.champions),
            "loss": ordered[:, 0],
            "runner_up": [self.forecasters[f] for f in self.ranking[:, 1]] if has_second else [None] * len(self.ids),
            "margin": ordered[:, 1] - ordered[:, 0] if has_second else np.full(len(self.ids), np.nan),
            "origins": self.origins,
            "through": self.through,
        }
        for f, name in enumerate(self.forecasters):
            columns[LOSS + name], columns[WEIGHT + name] = self.losses[:, f], self.weights[:, f]
        return pd.DataFrame(columns)

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> "ChampionTable":
        """The table that `to_frame` wrote; raises DataError when the frame is not one."""
        names = tuple(str(column).removeprefix(LOSS) for column in frame.columns if str(column).startswith(LOSS))
        lacking = [column for column in (*COLUMNS, *(WEIGHT + name for name in names)) if column not in frame.columns]
        if lacking or not names or not len(frame):
            what = f"column {lacking[0]!r}" if lacking else "row" if names else f"column {LOSS}…"
            raise DataError(f"the table of champions has no {what}; expected what choose_champions wrote. Choose them again.")
        losses, weights = (frame[[start + name for name in names]].to_numpy(dtype=np.float64) for start in (LOSS, WEIGHT))
        ids = tuple(str(unique_id) for unique_id in frame["unique_id"])
        origins, through = (frame[column].to_numpy(dtype=np.int64) for column in ("origins", "through"))
        wrong = np.flatnonzero(~np.all((np.hstack([losses, weights]) >= 0) & np.isfinite(np.hstack([losses, weights])), axis=1))
        twice = np.flatnonzero(pd.Index(ids).duplicated())
        if len(wrong) or len(twice):
            what = "has a loss or weight that is no number of 0 or more" if len(wrong) else "has two rows"
            raise DataError(
                f"the table of champions: series {ids[int((wrong if len(wrong) else twice)[0])]!r} {what}; expected a row each, "
                "as choose_champions wrote. Choose them again."
            )
        return cls(ids, names, losses, weights, origins, through)


def choose_champions(losses: Losses) -> ChampionTable:
    """Who is to speak for each series, by the losses on origins before what is to be forecast.

    Losses are expected as `expected_losses` has them: with little evidence the panel's best speaks, with much the series' own.
    Weights are inverse to the sixth power of the losses seen: an average needs less evidence than a choice, and with shrunk
    losses it was up to 0.5 % worse on three groups, and no better on any by more (`benchmarks/champions.py`). Raises DataError
    when nobody was scored.
    """
    if not losses.forecasters or not len(losses.values):
        raise DataError("no forecaster was scored on any origin; expected losses to choose champions by. Hold back more origins.")
    expected = expected_losses(losses)
    weights = inverse_weights(expected.seen)
    _, place = np.unique(losses.series, return_inverse=True)
    through = np.full(len(expected.ids), np.iinfo(np.int64).min)
    np.maximum.at(through, place, losses.origins + losses.horizon)
    return ChampionTable(expected.ids, expected.forecasters, expected.losses, weights, expected.origins, through)


def inverse_weights(losses: Values, power: float = POWER) -> Values:
    """Shares inverse to a power of losses [S, F], each row summing to 1; all equal where all losses are 0.

    >>> inverse_weights(np.array([[1.0, 2.0 ** 0.5], [0.0, 0.0]])).round(3)
    array([[0.889, 0.111],
           [0.5  , 0.5  ]])
    """
    largest = losses.max(axis=1, keepdims=True)
    ratio = np.divide(losses, largest, out=np.ones_like(losses), where=largest > 0)
    weights = np.maximum(ratio, LEAST_RATIO) ** -power
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class Champions:
    """Each series forecast by its champion, or by all forecasters together, weighted (`is_combined`).

    Where the champion is not at hand, refuses, or leaves a row without finite numbers, the panel's best speaks, and after it
    whoever is next on the panel; a note says so. A series that is not in the table is the panel's best's, or is combined with
    the mean weights. A champion that has lost its standing is in `instead`: for some ids, who speaks in its place, and why.
    Quantiles are combined by averaging them (Vincentization), so they do not cross.
    Raises ConfigError when none of the table's forecasters is given.
    Source: Lichtendahl, Grushka-Cockayne, Winkler 2013, doi:10.1287/mnsc.1120.1667.
    """

    table: ChampionTable
    forecasters: Mapping[str, Forecaster]
    is_combined: bool = False
    instead: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not set(self.table.forecasters) & set(self.forecasters):
            raise ConfigError(
                f"the champions were chosen among {', '.join(self.table.forecasters)}, and none of these is given; expected "
                "at least one. Choose champions among the forecasters that are used."
            )

    @property
    def name(self) -> str:
        return "combination" if self.is_combined else "champions"

    def predict(self, panel: Panel, horizon: int, *, quantiles: Sequence[float], origins: Origins) -> Forecast:
        """Forecasts from each origin, in the rows of `origins`; NaN where nobody has a number."""
        question = _Question(panel, horizon, check_quantiles(quantiles), origins)
        values, notes = self._combine(question) if self.is_combined else self._choose(question)
        return Forecast(question.ids, origins.positions(panel), question.quantiles, values, panel.frequency, notes)

    def _choose(self, question: "_Question") -> tuple[Values, dict[str, str]]:
        """Everyone answers the rows that are theirs; those left open go down the panel's order."""
        names, ids = self.table.forecasters, question.ids
        values, notes = self._fall_back(question)
        rows, speaker = self._rows(ids), np.zeros(len(ids), dtype=np.int64)
        speaker[rows >= 0] = self.table.ranking[rows[rows >= 0], 0]
        turns = [(f, speaker == f) for f in range(len(names))] + [(f, speaker != f) for f in range(len(names))]
        for f, asked in turns:
            still = np.flatnonzero(asked & _is_open(values))
            values[still], said = question.put_to(self.forecasters.get(names[f]), still)
            notes |= said
            for row in still[(speaker[still] != f) & ~_is_open(values[still])]:
                notes[ids[row]] = f"{names[speaker[row]]} gave no number; {names[f]} speaks for it"
        return values, notes

    def _fall_back(self, question: "_Question") -> tuple[Values, dict[str, str]]:
        """What is said in place of champions that have lost their standing; NaN in all other rows."""
        ids = question.ids
        values, notes = question.no_answer(len(ids)), dict[str, str]()
        for name in sorted({name for name, _ in self.instead.values()}):
            rows = np.array([r for r, i in enumerate(ids) if i in self.instead and self.instead[i][0] == name], dtype=np.int64)
            values[rows], said = question.put_to(self.forecasters.get(name), rows)
            notes |= said | {ids[row]: self.instead[ids[row]][1] for row in rows[~_is_open(values[rows])]}
        return values, notes

    def _combine(self, question: "_Question") -> tuple[Values, dict[str, str]]:
        """The weighted mean of those that have numbers, quantile by quantile."""
        ids, rows, silent = question.ids, self._rows(question.ids), dict[str, dict[str, None]]()
        total, weight = np.zeros_like(question.no_answer(len(ids))), np.zeros(len(ids))
        weights = np.vstack([self.table.weights, self.table.weights.mean(axis=0, keepdims=True)])  # row -1: not in the table
        for f, name in enumerate(self.table.forecasters):
            said, _ = question.put_to(self.forecasters.get(name), np.arange(len(ids)))
            is_open = _is_open(said)
            share = np.where(is_open, 0.0, weights[rows, f])
            total += share[:, None, None] * np.where(is_open[:, None, None], 0.0, said)
            weight += share
            for row in np.flatnonzero(is_open):
                silent.setdefault(ids[row], {})[name] = None
        values = np.divide(total, weight[:, None, None], out=np.full_like(total, np.nan), where=weight[:, None, None] > 0)
        return values, {unique_id: f"{', '.join(names)} gave no number" for unique_id, names in silent.items()}

    def _rows(self, ids: tuple[str, ...]) -> Index:
        """The row of the table that each id has; -1 for one that is not there."""
        place = {unique_id: b for b, unique_id in enumerate(self.table.ids)}
        return np.array([place.get(unique_id, -1) for unique_id in ids], dtype=np.int64)


@dataclass(frozen=True)
class _Question:
    panel: Panel
    horizon: int
    quantiles: tuple[float, ...]
    origins: Origins

    @cached_property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.panel.ids[b] for b in self.origins.index)

    def no_answer(self, count: int) -> Values:
        return np.full((count, self.horizon, len(self.quantiles)), np.nan)

    def put_to(self, forecaster: Forecaster | None, rows: Index) -> tuple[Values, dict[str, str]]:
        """What a forecaster says of some of the rows, and its notes; NaN where it is not at hand or refuses."""
        if forecaster is None or not len(rows):
            return self.no_answer(len(rows)), {}
        past, own = known_part(self.panel, Origins(self.origins.index[rows], self.origins.known[rows]))
        try:
            said = forecaster.predict(past, self.horizon, quantiles=self.quantiles, origins=own)
        except ForecasterError:
            return self.no_answer(len(rows)), {}
        return said.values, said.notes


def _is_open(values: Values) -> NDArray[np.bool_]:
    """Which rows [B] of [B, L, Q] have a number missing."""
    return np.asarray(~np.isfinite(values).all(axis=(1, 2)))
