"""Champions that live: each series carries the state of whoever speaks for it, behind the same door as all others.

The state of a series is its champion's number, room for the largest state among the members, and the state of a stand-in that
speaks while the champion has no finite forecast. Rows are grouped by champion and each group is stepped by its own member, so
every forecast is, to the bit, what that member says alone.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import ConfigError
from forecaster.evaluation.champions import ChampionTable
from forecaster.evaluation.ledger import Index
from forecaster.forecast import State, Stepper, warm_state
from forecaster.frequency import Positions
from forecaster.series import Panel, Values

RULES = 1  # raise it when the layout changes: state stepped by other rules must be refused


@dataclass(frozen=True)
class Member:
    """A stepper, and how it makes the state [B, S] of the series of a panel; `warm_state` where it has no faster way."""

    stepper: Stepper
    warm: Callable[[Panel], State] | None = None

    def state_after(self, panel: Panel) -> State:
        """The state [B, S] after every value of the panel."""
        return self.warm(panel) if self.warm else warm_state(self.stepper, panel)


@dataclass(frozen=True)
class ChampionStepper:
    """A `Stepper` in which each series is its champion's.

    A series that is not in the table is the panel's best's, as is one whose champion is not among the members. Where a forecast
    is not finite, the stand-in's is given, if there is one. Raises ConfigError when no member is in the table, or when members
    differ in their horizon or quantiles.
    """

    table: ChampionTable
    members: Mapping[str, Member]
    stand_in: Member | None = field(default=None)

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError(
                f"the champions were chosen among {', '.join(self.table.forecasters)}, and none of these is given; expected "
                "at least one. Choose champions among the forecasters that are used."
            )
        for name, one in [*self.members.items(), *([("the stand-in", self.stand_in)] if self.stand_in else [])]:
            if (one.stepper.horizon, one.stepper.quantiles) != (self.horizon, self.quantiles):
                raise ConfigError(
                    f"{name} forecasts {one.stepper.horizon} steps of {len(one.stepper.quantiles)} quantiles, {self.names[0]} "
                    f"{self.horizon} of {len(self.quantiles)}; expected the same of all. Make them for one horizon."
                )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The members that may speak, the panel's best first; a champion's number is its place here."""
        return tuple(name for name in self.table.forecasters if name in self.members)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any member, the stand-in, and who speaks for any series."""
        parts = [self.members[name].stepper.fingerprint for name in self.names]
        parts.append(self.stand_in.stepper.fingerprint if self.stand_in else "")
        told = (RULES, self.names, parts, self.table.ids, self.table.champions)
        return f"champions-{hashlib.sha256(repr(told).encode()).hexdigest()[:12]}"

    @cached_property
    def room(self) -> int:
        """The numbers of the largest state among the members."""
        return max(self.members[name].stepper.state_size for name in self.names)

    @property
    def state_size(self) -> int:
        return 1 + self.room + (self.stand_in.stepper.state_size if self.stand_in else 0)

    @property
    def horizon(self) -> int:
        return self.members[self.names[0]].stepper.horizon

    @property
    def quantiles(self) -> tuple[float, ...]:
        return self.members[self.names[0]].stepper.quantiles

    def initial_state(self, count: int) -> State:
        """The state [B, S] of series that nobody has chosen for: the panel's best speaks for them."""
        state = self._empty(np.zeros(count, dtype=np.int64))
        state[:, self._own(0)] = self.members[self.names[0]].stepper.initial_state(count)
        if self.stand_in:
            state[:, self._beside] = self.stand_in.stepper.initial_state(count)
        return state

    def warm(self, panel: Panel) -> State:
        """The state [B, S] after every value of the panel, each series with its champion."""
        place = {unique_id: self._number(name) for unique_id, name in zip(self.table.ids, self.table.champions, strict=True)}
        choice = np.array([place.get(unique_id, 0) for unique_id in panel.ids], dtype=np.int64)
        state = self._empty(choice)
        for number, rows in _groups(choice):
            state[rows, self._own(number)] = self.members[self.names[number]].state_after(panel.select(rows.tolist()))
        if self.stand_in and len(panel):
            state[:, self._beside] = self.stand_in.state_after(panel)
        return state

    def step(self, state: State, y: Values, position: Positions) -> State:
        after = state.copy()
        for number, rows in _groups(self.choice(state)):
            own = np.ascontiguousarray(state[rows, self._own(number)])
            after[rows, self._own(number)] = self.members[self.names[number]].stepper.step(own, y[rows], position[rows])
        if self.stand_in:
            after[:, self._beside] = self.stand_in.stepper.step(np.ascontiguousarray(state[:, self._beside]), y, position)
        return after

    def forecast(self, state: State, position: Positions) -> Values:
        values = np.empty((len(state), self.horizon, len(self.quantiles)))
        for number, rows in _groups(self.choice(state)):
            own = np.ascontiguousarray(state[rows, self._own(number)])
            values[rows] = self.members[self.names[number]].stepper.forecast(own, position[rows])
        is_open = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
        if self.stand_in and len(is_open):
            beside = np.ascontiguousarray(state[is_open, self._beside])
            values[is_open] = self.stand_in.stepper.forecast(beside, position[is_open])
        return values

    def choice(self, state: State) -> Index:
        """Who speaks for each row [B], as a place in `names`."""
        return state[:, 0].astype(np.int64)

    def _number(self, name: str) -> int:
        return self.names.index(name) if name in self.names else 0

    def _own(self, number: int) -> slice:
        """Where the state of a member lies."""
        return slice(1, 1 + self.members[self.names[number]].stepper.state_size)

    @property
    def _beside(self) -> slice:
        """Where the state of the stand-in lies."""
        return slice(1 + self.room, self.state_size)

    def _empty(self, choice: NDArray[np.int64]) -> State:
        state = np.zeros((len(choice), self.state_size), dtype=np.float32)
        state[:, 0] = choice
        return state


def _groups(choice: Index) -> list[tuple[int, Index]]:
    """The rows of each champion that has any."""
    return [(int(number), np.flatnonzero(choice == number)) for number in np.unique(choice)]
