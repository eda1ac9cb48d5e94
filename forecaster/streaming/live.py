"""What a stream carries while it lives: its series in arrays, and how far it has come."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast, State
from forecaster.frequency import Positions
from forecaster.series import Values
from forecaster.streaming.lateness import NEVER


@dataclass(frozen=True)
class FeedPosition:
    """How much of a feed was taken in.

    Its lines (or rows), and a checksum over them that does not depend on micro-batches. `offset` counts bytes, where the feed
    is a file that can be sought in; `token` is a broker's own word for the place.
    """

    lines: int = 0
    checksum: int = 0
    offset: int = 0
    token: str = ""

    def after(self, data: bytes, *, lines: int) -> "FeedPosition":
        """The position after so many more lines, whose bytes are data; they are the next ones of the feed.

        >>> FeedPosition().after(b"a\\n", lines=1).after(b"b\\n", lines=1) == FeedPosition().after(b"a\\nb\\n", lines=2)
        True
        """
        return FeedPosition(self.lines + lines, zlib.crc32(data, self.checksum), self.offset + len(data), self.token)


@dataclass(frozen=True)
class Progress:
    """What a stream has done since its state was made: its feed, its counters, and the committed length of its dead letters."""

    feed: FeedPosition = FeedPosition()
    counts: dict[str, int] = field(default_factory=dict)
    dead_letter_bytes: int = 0
    series: int = 0


@dataclass(frozen=True)
class LiveForecast:
    """The forecasts that one micro-batch gave, in the order of its observations.

    `counts` [B] are the values that each series had shown by then; `is_warming` [B] marks those that had not shown enough.
    """

    forecast: Forecast
    counts: NDArray[np.int64]
    is_warming: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.forecast.ids)


class LiveSeries:
    """The series of a stream, each in a slot: last position, number of values seen, last value, and state [B, S].

    A slot is given when an id is first met and never changes.
    """

    def __init__(self, state_size: int) -> None:
        self.ids: list[str] = []
        self.slots: dict[str, int] = {}
        self.positions: Positions = np.empty(0, np.int64)
        self.counts: NDArray[np.int64] = np.empty(0, np.int64)
        self.y: Values = np.empty(0)
        self.state: State = np.empty((0, state_size), np.float32)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Sequence[str], state: State) -> NDArray[np.int64]:
        """New slots [N] for ids that have none, with their first state [N, S] and nothing seen."""
        first, stop = len(self.ids), len(self.ids) + len(ids)
        self._make_room(stop)
        self.ids.extend(ids)
        self.slots.update(zip(ids, range(first, stop), strict=True))
        rows = np.arange(first, stop)
        self.positions[rows], self.counts[rows], self.y[rows], self.state[rows] = NEVER, 0, np.nan, state
        return rows

    def move(self, slots: NDArray[np.int64], state: State, *, positions: Positions, y: Values) -> None:
        """Take in one more observation of each slot."""
        self.state[slots] = state
        self.positions[slots] = positions
        self.y[slots] = y
        self.counts[slots] += ~np.isnan(y)

    def _make_room(self, size: int) -> None:
        if size <= len(self.positions):
            return
        room = max(size, 2 * len(self.positions), 64)
        for name in ("positions", "counts", "y", "state"):
            whole = getattr(self, name)
            larger = np.empty((room, *whole.shape[1:]), whole.dtype)
            larger[: len(self)] = whole[: len(self)]
            setattr(self, name, larger)
