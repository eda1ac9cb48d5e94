"""Forecasts, and the two doors that every forecaster stands behind.

A `Forecaster` answers for a whole panel, in batch. A `Stepper` lives: it carries one vector per series and moves it by one
observation at a time. Axes: B series (or rows), L leads 1..horizon, Q quantiles, S state size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.errors import DataError
from forecaster.frequency import Frequency, Positions
from forecaster.series import Origins, Panel, Values

State = NDArray[np.float32]

DECILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def quantile_column(quantile: float) -> str:
    """The column that holds a quantile in files and frames.

    >>> quantile_column(0.1), quantile_column(0.975)
    ('q0.1', 'q0.975')
    """
    return f"q{quantile:g}"


@dataclass(frozen=True)
class Forecast:
    """Quantiles of the future of some series, each from its own origin.

    Row r says what series `ids[r]` will be at positions `origins[r] + 1 .. origins[r] + L`: `values` [B, L, Q], in the unit
    of the data, Q in the order of `quantiles`, not falling along Q. `notes` says of an id what its reader must know (a
    fallback, for example).
    """

    ids: tuple[str, ...]
    origins: Positions
    quantiles: tuple[float, ...]
    values: Values
    frequency: Frequency
    notes: dict[str, str]

    @property
    def horizon(self) -> int:
        return int(self.values.shape[1])

    @property
    def median(self) -> Values:
        """The point forecast [B, L]."""
        return np.asarray(self.values[:, :, self.quantiles.index(0.5)])

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> "Forecast":
        """The forecast for some of its rows."""
        ids = tuple(np.asarray(self.ids, dtype=object)[rows])
        return Forecast(ids, self.origins[rows], self.quantiles, self.values[rows], self.frequency, self.notes)

    def to_frame(self) -> pd.DataFrame:
        """Long format, one row for each lead: unique_id, ds, origin, lead, then one column for each quantile (`q0.5`)."""
        leads = np.tile(np.arange(1, self.horizon + 1), len(self.ids))
        origins = np.repeat(self.origins, self.horizon)
        frame = pd.DataFrame(
            {
                "unique_id": np.repeat(np.asarray(self.ids, dtype=object), self.horizon),
                "ds": self.frequency.labels(origins + leads),
                "origin": self.frequency.labels(origins),
                "lead": leads,
            }
        )
        for q, quantile in enumerate(self.quantiles):
            frame[quantile_column(quantile)] = self.values[:, :, q].ravel()
        return frame


class Forecaster(Protocol):
    """The door for batches."""

    @property
    def name(self) -> str:
        """The one word by which tables and files call it."""

    def predict(self, panel: Panel, horizon: int, *, quantiles: Sequence[float], origins: Origins) -> Forecast:
        """Forecasts from each origin, in the rows of `origins`, each from the values before it and no others.

        The panel may reach further than the one that was learned from, and hold other series. How a forecaster learns is its
        room's own affair: a baseline takes seconds and fits itself, a network takes minutes and a folder.
        """


class Stepper(Protocol):
    """The door for streams: a pure function of state and observation, at a cost that does not grow with the past.

    The same observations give the same state to the bit, whatever batch they come in: stepping is its own log.
    """

    @property
    def fingerprint(self) -> str:
        """Names the model and its weights; state written under another fingerprint must not be stepped."""

    @property
    def state_size(self) -> int:
        """S, the length of the vector that one series carries."""

    @property
    def horizon(self) -> int:
        """L, the leads that one forecast holds."""

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Q, ascending."""

    def initial_state(self, count: int) -> State:
        """The state [B, S] of series of which nothing is known yet."""

    def step(self, state: State, y: Values, position: Positions) -> State:
        """The state [B, S] after one more position; y [B] is NaN where nothing was observed there."""

    def forecast(self, state: State, position: Positions) -> Values:
        """Quantiles [B, L, Q] of the positions after `position` [B], the last one stepped."""


@runtime_checkable
class Chooser(Protocol):
    """A stepper of several voices, which can say of a state [B, S] who speaks."""

    def speaking(self, state: State) -> dict[str, int]:
        """How many rows each voice speaks for, and how many have lost their first one, by the reason."""

    def told(self, state: State) -> list[str]:
        """A sentence for each row whose first voice has lost its standing, and who speaks; nothing for the others."""


def warm_state(stepper: Stepper, panel: Panel) -> State:
    """The state [B, S] after every value of the panel, one step at a time: the plain way, and the oracle of faster ones."""
    state = stepper.initial_state(len(panel))
    for step in range(int(panel.lengths.max(initial=0))):
        alive = np.flatnonzero(panel.lengths > step)
        y = panel.values[panel.offsets[alive] + step]
        state[alive] = stepper.step(state[alive], y, panel.starts[alive] + step)
    return state


def check_quantiles(quantiles: Sequence[float]) -> tuple[float, ...]:
    """The quantiles, ascending and with the median among them; DataError otherwise.

    >>> check_quantiles([0.9, 0.5, 0.1])
    (0.1, 0.5, 0.9)
    """
    ordered = tuple(sorted({float(quantile) for quantile in quantiles}))
    if not ordered or ordered[0] <= 0 or ordered[-1] >= 1 or 0.5 not in ordered:
        raise DataError(f"quantiles are {list(quantiles)}; expected numbers between 0 and 1 with 0.5 among them.")
    return ordered
