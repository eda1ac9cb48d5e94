"""Which slot an observation's series has, and which series begin with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from forecaster.forecast import State
from forecaster.frequency import Frequency, Positions
from forecaster.streaming.arrivals import Arrivals, CodedIds
from forecaster.streaming.lateness import NEVER, Bounds, find_far_off
from forecaster.streaming.live import LiveSeries
from forecaster.streaming.stepping import Indices


@dataclass(frozen=True)
class Places:
    """Where the observations of a micro-batch belong.

    `slots` [N] are -1 where a series is not known and may not begin; `begun` are the ids that have just been given one; `far_off`
    says of an observation whose date is likelier wrong what it was held against.
    """

    slots: Indices
    begun: list[str]
    far_off: dict[int, int]


class Slots:
    """Finds the slots of a feed's series, and gives one to those that may begin; remembers those of ids that come as codes."""

    def __init__(self, bounds: Bounds, frequency: Frequency, *, may_begin: bool) -> None:
        self._bounds, self._may_begin = bounds, may_begin
        self._latest_now = partial(_latest_now, frequency)
        self.forget()

    def forget(self) -> None:
        """Remember nothing: the series have other slots from now on."""
        self._names: Sequence[str] | None = None  # of the feed's coded ids, and the slot of each: -1 for one without
        self._by_code: Indices = np.empty(0, np.int64)

    def of(self, arrivals: Arrivals, series: LiveSeries, *, newest: int, begin: Callable[[int], State]) -> Places:
        """Where observations belong, held against the `newest` position of any series; `begin` gives so many first states."""
        ids = arrivals.ids
        if isinstance(ids, CodedIds) and ids.names is self._names:
            slots = self._by_code[ids.codes]
            if (slots >= 0).all():
                return Places(slots, [], {})
        places = self._by_name(ids, arrivals.positions, series, newest=newest, begin=begin)
        if isinstance(ids, CodedIds):
            self._names = ids.names
            self._by_code = np.array([series.slots.get(name, -1) for name in ids.names], dtype=np.int64)
        return places

    def _by_name(
        self, ids: Sequence[str], positions: Positions, series: LiveSeries, *, newest: int, begin: Callable[[int], State]
    ) -> Places:
        known = series.slots
        begun = [unique_id for unique_id in dict.fromkeys(ids) if unique_id not in known]
        far_off: dict[int, int] = {}
        if not begun:
            return Places(np.fromiter(map(known.__getitem__, ids), dtype=np.int64, count=len(ids)), [], far_off)
        if not self._may_begin:
            begun = []
        elif int(positions.max()) - newest > self._bounds.max_ahead:
            far_off = self._find_far_off(ids, positions, series, newest=newest)
            begun = list(dict.fromkeys(name for n, name in enumerate(ids) if n not in far_off and name not in known))
        series.add(begun, begin(len(begun)))
        slots = np.fromiter((known.get(name, -1) for name in ids), dtype=np.int64, count=len(ids))
        slots[list(far_off)] = -1
        return Places(slots, begun, far_off)

    def _find_far_off(self, ids: Sequence[str], positions: Positions, series: LiveSeries, *, newest: int) -> dict[int, int]:
        known, lasts = series.slots, series.positions

        def last_of(unique_id: str) -> int:
            return int(lasts[known[unique_id]]) if unique_id in known else NEVER

        now = self._latest_now() if newest == NEVER else NEVER
        return find_far_off(ids, positions, last_of=last_of, newest=newest, now=now, bounds=self._bounds)


def _latest_now(frequency: Frequency) -> int:
    """The position of the present by the clock that is furthest ahead, `NEVER` where steps are numbered."""
    if frequency.is_numbered:
        return NEVER
    tomorrow = pd.Timestamp.now("UTC").tz_localize(None) + pd.Timedelta(days=1)
    return int(frequency.positions(pd.DatetimeIndex([tomorrow]))[0])
