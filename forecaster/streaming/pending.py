"""Which forecasts of a series are kept until the truth comes, and where: few enough that a state stays small.

Keeping every forecast until its last lead has come takes L^2 numbers. So one is kept at every `spacing`-th position, and of that
one a single lead for each *block* of leads (1, 2, 3 to 4, 5 to 8, …: errors of neighbouring leads say much the same), another
one each time. Everything here follows from the position alone. Axes: L leads, G blocks.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

PENDING = 10  # forecasts that wait at a time, at most, where no spacing is set
LEADS_IN_TURN = 8  # of a block, at most


@dataclass(frozen=True)
class Schedule:
    """When forecasts are kept, at which leads, in which slots, and when each one matures; all comes again after `period`."""

    horizon: int
    spacing: int

    @classmethod
    def of(cls, horizon: int, spacing: int | None = None) -> "Schedule":
        """The schedule with a given spacing, or with one that meets every hour, weekday and month in turn.

        >>> [Schedule.of(horizon).spacing for horizon in (1, 8, 12, 24, 48, 168)]
        [1, 1, 5, 5, 5, 17]
        """
        least = -(-horizon // PENDING)
        return cls(horizon, spacing or next(p for p in range(least, least + 8) if p % 2 and p % 3 and p % 7))

    @cached_property
    def blocks(self) -> tuple[range, ...]:
        """The leads of each block [G], each block as long as all before it; a short rest joins the last one.

        >>> Schedule.of(18).blocks
        (range(1, 2), range(2, 3), range(3, 5), range(5, 9), range(9, 19))
        """
        stops = [2]
        while stops[-1] <= self.horizon:
            stops.append(2 * stops[-1] - 1)
        if len(stops) > 2 and 4 * (self.horizon + 1 - stops[-2]) < stops[-2] - 1:
            stops.pop()
        stops[-1] = self.horizon + 1
        return tuple(range(first, stop) for first, stop in pairwise([1, *stops]))

    @cached_property
    def slot_count(self) -> int:
        """How many single quantile forecasts wait at a time."""
        return sum(self._rooms)

    @cached_property
    def period(self) -> int:
        """After so many positions everything comes again: the leads of every block, in all their orders, and its slots."""
        return self.spacing * max(*(len(leads) ** 2 for leads in self._leads_in_turn), *self._rooms, 1)

    @cached_property
    def kept_leads(self) -> Indices:
        """The leads that are kept of the n-th forecast of a period [period / spacing, G]."""
        numbers = np.arange(self.period // self.spacing)
        turns = [(numbers + numbers // len(leads)) % len(leads) for leads in self._leads_in_turn]
        return np.stack([np.asarray(leads)[turn] for leads, turn in zip(self._leads_in_turn, turns, strict=True)], axis=1)

    @cached_property
    def kept_slots(self) -> Indices:
        """The slots that they wait in [period / spacing, G]."""
        numbers, firsts = np.arange(self.period // self.spacing), np.cumsum((0, *self._rooms[:-1]))
        return np.stack([first + numbers % room for first, room in zip(firsts, self._rooms, strict=True)], axis=1)

    @cached_property
    def matured(self) -> tuple[Indices, Indices]:
        """The slots and leads that mature at each position of a period, the oldest first, -1 for no more [period, M]."""
        at = (np.arange(len(self.kept_leads))[:, None] * self.spacing + self.kept_leads).ravel() % self.period
        order = np.lexsort((-self.kept_leads.ravel(), at))
        at = at[order]
        turn = np.arange(len(at)) - np.searchsorted(at, at)
        slots = np.full((self.period, int(turn.max()) + 1), -1)
        leads = slots.copy()
        slots[at, turn], leads[at, turn] = self.kept_slots.ravel()[order], self.kept_leads.ravel()[order]
        return slots, leads

    @cached_property
    def _leads_in_turn(self) -> tuple[tuple[int, ...], ...]:
        """The leads of each block that are kept in turn: a power of two of them, spread evenly."""
        chosen = []
        for block in self.blocks:
            count = 1 << (min(len(block), LEADS_IN_TURN).bit_length() - 1)
            chosen.append(tuple(block[(2 * turn + 1) * len(block) // (2 * count)] for turn in range(count)))
        return tuple(chosen)

    @cached_property
    def _rooms(self) -> tuple[int, ...]:
        """Slots of each block: a power of two, enough for a forecast to mature before the next one takes its slot."""
        return tuple(1 << (-(-max(leads) // self.spacing) - 1).bit_length() for leads in self._leads_in_turn)
