"""Champions that live: each series carries the state of whoever speaks for it, behind the same door as all others.

The state of a series is the numbers of its champion and its runner-up, what they are judged by (`standing.py`), room for the
state of each, and the state of a stand-in. A champion that is off its coverage, stale or beaten falls back to the runner-up, else
to the stand-in, if that covers and has lately lost no more than the champion; where neither does, the champion speaks on, and is
told as what it is. One without a finite forecast leaves the word to whoever is next. Rows are grouped by forecaster and each
group is stepped by its own member, so every forecast is, to the bit, what that member says alone.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from forecaster.errors import ConfigError
from forecaster.evaluation import standing
from forecaster.evaluation.champions import ChampionTable
from forecaster.evaluation.ledger import Index
from forecaster.evaluation.standing import Flags, Judge
from forecaster.forecast import State, Stepper, warm_state
from forecaster.frequency import Positions
from forecaster.series import Panel, Values

RULES = 3  # raise it when the layout changes: state stepped by other rules must be refused
CHAMPION, RUNNER_UP, STAND_IN = 0, 1, 2  # who speaks for a series
VOICES = ("champion", "runner_up", "stand_in")
REASONS = {"stale": "stale", "off_coverage": "off its coverage", "beaten": "beaten by its runner-up"}
STANDS = -1  # the number of no reason
NOBODY = -1  # the number of a runner-up that there is none of


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
    """A `Stepper` in which each series is its champion's, as long as that stands (`standing.Judge`).

    Champion and runner-up are the first two of a series' ranking that are among the members; a series that is not in the table
    has those of the panel. Nothing is judged before the end of the evidence that they were chosen on. Raises ConfigError when
    no member is in the table, or when members differ in their horizon or quantiles.
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
    def judge(self) -> Judge:
        return Judge(self.horizon, self.quantiles)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any member, the stand-in, and who may speak for any series from when on."""
        parts = [self.members[name].stepper.fingerprint for name in self.names]
        parts.append(self.stand_in.stepper.fingerprint if self.stand_in else "")
        ranked = self._ranked.tolist(), self.table.through.tolist()
        told = (RULES, standing.RULES, self.names, parts, self.table.ids, ranked)
        return f"champions-{hashlib.sha256(repr(told).encode()).hexdigest()[:12]}"

    @cached_property
    def room(self) -> int:
        """The numbers of the largest state among the members."""
        return max(self.members[name].stepper.state_size for name in self.names)

    @property
    def state_size(self) -> int:
        return int(self._beside.stop)

    @property
    def horizon(self) -> int:
        return self.members[self.names[0]].stepper.horizon

    @property
    def quantiles(self) -> tuple[float, ...]:
        return self.members[self.names[0]].stepper.quantiles

    # -- the door for streams ------------------------------------------------------------------------------------------------

    def initial_state(self, count: int) -> State:
        """The state [B, S] of series that nobody has chosen for: the panel's best speaks for them."""
        state = self._empty(np.tile(self._unknown, (count, 1)), np.zeros(count))
        for voice, member, rows in self._groups(state):
            state[rows, self._own(voice, member)] = member.stepper.initial_state(len(rows))
        if self.stand_in:
            state[:, self._beside] = self.stand_in.stepper.initial_state(count)
        return state

    def step(self, state: State, y: Values, position: Positions) -> State:
        """Judge what was forecast of these positions by y [B], step every voice, then keep the forecasts that are due."""
        after = state.copy()
        self.judge.score(after[:, self._numbers], y, position)
        for voice, member, rows in self._groups(state):
            own = self._own(voice, member)
            after[rows, own] = member.stepper.step(np.ascontiguousarray(state[rows, own]), y[rows], position[rows])
        if self.stand_in:
            after[:, self._beside] = self.stand_in.stepper.step(np.ascontiguousarray(state[:, self._beside]), y, position)
        self._keep(after, position)
        return after

    def forecast(self, state: State, position: Positions) -> Values:
        """Quantiles [B, L, Q] of whoever speaks; where these are not finite, of whoever is next."""
        values = np.full((len(state), self.horizon, len(self.quantiles)), np.nan)
        voices = self.voices(state)
        self._answer(values, np.flatnonzero(voices == CHAMPION), state, position, voice=CHAMPION)
        is_next = (voices == CHAMPION) & self._is_there(state, RUNNER_UP) & _is_open(values)
        self._answer(values, np.flatnonzero((voices == RUNNER_UP) | is_next), state, position, voice=RUNNER_UP)
        rest = np.flatnonzero(_is_open(values))
        if self.stand_in and len(rest):
            values[rest] = self.stand_in.stepper.forecast(np.ascontiguousarray(state[rest, self._beside]), position[rest])
        return values

    # -- beginning with what is known ----------------------------------------------------------------------------------------

    def warm(self, panel: Panel) -> State:
        """The state [B, S] after every value of the panel, to the bit that of stepping from the end of the evidence on.

        Up to there the states come from the members, as quickly as these can; a series that is not in the table is stepped from
        its second value on.
        """
        place = {unique_id: row for row, unique_id in enumerate(self.table.ids)}
        rows = np.array([place.get(unique_id, -1) for unique_id in panel.ids], dtype=np.int64)
        through = np.where(rows >= 0, np.append(self.table.through, 0)[rows], panel.starts - 1)
        counts = np.clip(panel.ends - through, 0, panel.lengths - 1)
        head = panel.drop_last(counts)
        state = self._empty(np.vstack([self._ranked, self._unknown])[rows], head.ends - through)
        for voice, member, own in self._groups(state):
            state[own, self._own(voice, member)] = member.state_after(head.select(own.tolist()))
        if self.stand_in and len(panel):
            state[:, self._beside] = self.stand_in.state_after(head)
        self._keep(state, head.ends)
        for turn in range(int(counts.max(initial=0))):
            some = np.flatnonzero(counts > turn)
            at = head.lengths[some] + turn
            state[some] = self.step(state[some], panel.values[panel.offsets[some] + at], panel.starts[some] + at)
        return state

    # -- what can be read from a state ---------------------------------------------------------------------------------------

    def choice(self, state: State) -> Index:
        """The champion of each row [B], as a place in `names`."""
        return state[:, CHAMPION].astype(np.int64)

    def voices(self, state: State) -> Index:
        """Who speaks for each row [B]: CHAMPION, RUNNER_UP or STAND_IN."""
        has_second, has_third = self._may_replace(state, RUNNER_UP), self._may_replace(state, STAND_IN)
        instead = np.where(has_second, RUNNER_UP, np.where(has_third, STAND_IN, CHAMPION))
        return np.where(self._reasons(state) == STANDS, CHAMPION, instead)

    def speakers(self, state: State) -> list[str]:
        """The member that speaks for each row, by name; nothing where it is the stand-in."""
        voices, numbers = self.voices(state), state[:, :STAND_IN].astype(np.int64)
        return ["" if voice == STAND_IN else self.names[own[voice]] for voice, own in zip(voices, numbers, strict=True)]

    def speaking(self, state: State) -> dict[str, int]:
        """For how many rows each voice speaks, how many champions have lost their standing, by reason, and how many speak on."""
        voices, reasons = self.voices(state), self._reasons(state)
        told = {name: int((voices == voice).sum()) for voice, name in enumerate(VOICES)}
        told |= {reason: int((reasons == n).sum()) for n, reason in enumerate(REASONS)}
        return told | {"speaks_on": int(((voices == CHAMPION) & (reasons != STANDS)).sum())}

    def told(self, state: State) -> list[str]:
        """Of each row why its champion has lost its standing, and who speaks; nothing where it stands."""
        lines, why = [], tuple(REASONS.values())
        for first, speaker, reason in zip(self.choice(state), self.speakers(state), self._reasons(state), strict=True):
            champion = self.names[first]
            who = "nobody is shown to do better, so it speaks on"
            if speaker != champion:
                who = f"{speaker or 'the stand-in'} speaks for it"
            lines.append("" if reason == STANDS else f"{champion} is {why[reason]}; {who}")
        return lines

    # -- inside --------------------------------------------------------------------------------------------------------------

    def _is_there(self, state: State, voice: int) -> Flags:
        """Of which rows [B] a voice is there, and not off its coverage."""
        has_one = state[:, RUNNER_UP] >= 0 if voice == RUNNER_UP else np.full(len(state), self.stand_in is not None)
        return np.asarray(has_one & ~self.judge.is_off(state[:, self._numbers], voice))

    def _may_replace(self, state: State, voice: int) -> Flags:
        """Of which rows [B] a voice covers, and has lately lost no more than the champion."""
        return self._is_there(state, voice) & self.judge.is_no_worse(state[:, self._numbers], voice)

    def _reasons(self, state: State) -> Index:
        """What there is against each champion [B], as a place in REASONS; STANDS where there is nothing."""
        numbers = state[:, self._numbers]
        against = (self.judge.is_stale(numbers), self.judge.is_off(numbers, CHAMPION), self.judge.is_beaten(numbers))
        return np.select(against, range(len(REASONS)), STANDS)

    def _keep(self, state: State, position: Positions) -> None:
        """Keep, in place, forecasts of both voices made after these positions where they are to be judged."""
        due = np.flatnonzero(self.judge.is_due(state[:, self._numbers], position))
        for voice in (CHAMPION, RUNNER_UP):
            values = np.full((len(due), self.horizon, len(self.quantiles)), np.nan)
            self._answer(values, np.arange(len(due)), state[due], position[due], voice=voice)
            self.judge.keep(state[:, self._numbers], due, values, position[due], voice=voice)
        if self.stand_in and len(due):
            values = self.stand_in.stepper.forecast(np.ascontiguousarray(state[due, self._beside]), position[due])
            self.judge.keep(state[:, self._numbers], due, values, position[due], voice=STAND_IN)

    def _answer(self, values: Values, rows: Index, state: State, position: Positions, *, voice: int) -> None:
        """Put what a voice forecasts for some of the rows into their values, in place."""
        some = state[rows]
        for _, member, own in self._groups(some, (voice,)):
            alone = np.ascontiguousarray(some[own, self._own(voice, member)])
            values[rows[own]] = member.stepper.forecast(alone, position[rows[own]])

    def _groups(self, state: State, voices: Sequence[int] = (CHAMPION, RUNNER_UP)) -> Iterator[tuple[int, Member, Index]]:
        """A voice, a member, and the rows of the state in which the one is the other's."""
        for voice in voices:
            for number in np.unique(state[:, voice]):
                if number != NOBODY:
                    yield voice, self.members[self.names[int(number)]], np.flatnonzero(state[:, voice] == number)

    @cached_property
    def _ranked(self) -> Index:
        """The champion and the runner-up of each series of the table [S, 2]."""
        order = self.table.ranked(self.names)[:, :2]
        return order if len(self.names) > 1 else np.hstack([order, np.full_like(order, NOBODY)])

    @property
    def _unknown(self) -> Index:
        """The champion and the runner-up of a series that is not in the table [2]."""
        return np.array([0, 1 if len(self.names) > 1 else NOBODY])

    # -- where things lie ----------------------------------------------------------------------------------------------------

    @cached_property
    def _numbers(self) -> slice:
        """Where the numbers lie that a champion is judged by."""
        return slice(STAND_IN, STAND_IN + self.judge.width)

    def _own(self, voice: int, member: Member) -> slice:
        """Where the state of a voice lies."""
        first = self._numbers.stop + voice * self.room
        return slice(first, first + member.stepper.state_size)

    @cached_property
    def _beside(self) -> slice:
        """Where the state of the stand-in lies."""
        first = self._numbers.stop + min(len(self.names), 2) * self.room
        return slice(first, first + (self.stand_in.stepper.state_size if self.stand_in else 0))

    def _empty(self, ranked: Index, ages: Values | Positions) -> State:
        state = np.zeros((len(ranked), self.state_size), dtype=np.float32)
        state[:, :STAND_IN] = ranked
        state[:, self._numbers] = self.judge.first_numbers(ages)
        return state


def _is_open(values: Values) -> Flags:
    """Which rows [B] of [B, L, Q] have a number missing."""
    return np.asarray(~np.isfinite(values).all(axis=(1, 2)))
