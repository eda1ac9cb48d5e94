"""What a stream carries while it lives: its series in arrays, and how far it has come."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import Forecast, State
from forecaster.frequency import Positions
from forecaster.series import Values
from forecaster.streaming.lateness import NEVER

UNCHANGED = np.iinfo(np.int64).max


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
    """What a stream has done since its state was made.

    Its feed, its counters, the committed lengths of its dead letters and of its output (where that is a file of its own), how
    many series it knows, the newest position of any, and after how many values a series is warm. `source` and `output` name where
    it reads and writes, and `places` says where it was in the sources that it read before.
    """

    feed: FeedPosition = FeedPosition()
    counts: dict[str, int] = field(default_factory=dict)
    dead_letter_bytes: int = 0
    output_bytes: int = 0
    series: int = 0
    newest: int = NEVER
    warming_steps: int | None = None
    source: str = ""
    output: str = ""
    places: dict[str, list[int | str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As `asdict` gives it, without its copies: it is written down with every micro-batch.

        >>> from dataclasses import asdict
        >>> Progress().to_dict() == asdict(Progress())
        True
        """
        return {**vars(self), "feed": vars(self.feed)}


@dataclass(frozen=True)
class LiveForecast:
    """The forecasts that one micro-batch gave, in the order of its observations.

    `counts` [B] are the values that each series had shown by then; `is_warming` [B] marks those that had not shown enough.
    `model` names who made them, where that has a name.
    """

    forecast: Forecast
    counts: NDArray[np.int64]
    is_warming: NDArray[np.bool_]
    model: str = ""

    def __len__(self) -> int:
        return len(self.forecast.ids)


class LiveSeries:
    """The series of a stream, each in a slot, in arrays with a row for each slot.

    `positions`, `firsts`: the last and the first position stepped; `counts`: values seen; `state` [B, S].
    So that one of the last `window` positions can change, `recent` [B, R] holds the last values (R is twice the window; position
    p lies in column p % R), and `kept` [B, 2, S] two older states, from after `kept_positions` [B, 2]: the newer one follows
    every `window` steps from the first, and the older one is always old enough to begin again from.
    `changed` [B] is the earliest position whose value was changed since the state was made, `UNCHANGED` where none was; between
    micro-batches none is.
    A slot is given when an id is first met and never changes.
    """

    ARRAYS = ("positions", "firsts", "counts", "recent", "state", "kept_positions", "kept")

    def __init__(self, state_size: int, *, window: int = 0) -> None:
        self.window = window
        self.ids: list[str] = []
        self.slots: dict[str, int] = {}
        self.positions: Positions = np.empty(0, np.int64)
        self.firsts: Positions = np.empty(0, np.int64)
        self.counts: NDArray[np.int64] = np.empty(0, np.int64)
        self.changed: Positions = np.empty(0, np.int64)
        self.recent: Values = np.empty((0, max(2 * window, 1)))
        self.state: State = np.empty((0, state_size), np.float32)
        self.kept_positions: NDArray[np.int64] = np.empty((0, 2 if window else 0), np.int64)
        self.kept: State = np.empty((0, 2 if window else 0, state_size), np.float32)

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: Sequence[str], state: State) -> NDArray[np.int64]:
        """New slots [N] for ids that have none, with their first state [N, S] and nothing seen."""
        first, stop = len(self.ids), len(self.ids) + len(ids)
        self.make_room(stop)
        self.ids.extend(ids)
        self.slots.update(zip(ids, range(first, stop), strict=True))
        rows = np.arange(first, stop)
        self.positions[rows], self.firsts[rows], self.counts[rows] = NEVER, NEVER, 0
        self.changed[rows], self.recent[rows], self.state[rows] = UNCHANGED, np.nan, state
        self.kept[rows], self.kept_positions[rows] = state[:, None], NEVER
        return rows

    def select(self, slots: NDArray[np.int64]) -> "LiveSeries":
        """Some of the series, in new slots."""
        chosen = LiveSeries(self.state.shape[1], window=self.window)
        chosen.add([self.ids[slot] for slot in slots], self.state[slots])
        for name in self.ARRAYS:
            getattr(chosen, name)[: len(slots)] = getattr(self, name)[slots]
        return chosen

    def known_values(self, slots: NDArray[np.int64], positions: Positions) -> Values:
        """The values [N] that these positions were stepped with; they mean something within the window alone."""
        return np.asarray(self.recent[slots, positions % self.recent.shape[1]])

    def make_room(self, size: int) -> None:
        """Arrays for at least so many slots."""
        if size <= len(self.positions):
            return
        room = max(size, 2 * len(self.positions), 64)
        for name in (*self.ARRAYS, "changed"):
            whole = getattr(self, name)
            larger = np.empty((room, *whole.shape[1:]), whole.dtype)
            larger[: len(self)] = whole[: len(self)]
            setattr(self, name, larger)
