"""When an observation arrives, and what that makes of it.

A series' last `window` positions may still change: what arrives for one of them is late, a revision or a duplicate. What lies
before them is settled.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.frequency import Frequency, Positions
from forecaster.series import Values

NEVER = np.iinfo(np.int64).min  # the last position of a series of which nothing has been seen

MOST_MISSING_STEPS = 10_000
LEAST_MISSING_STEPS = 50
NUMBERED_MISSING_STEPS = 1_000
LONGEST_WINDOW, NUMBERED_WINDOW = 32, 24


class Arrival(IntEnum):
    """What an observation is to its series. Up to REVISION it is stepped; a duplicate is ignored; the others are dead letters."""

    NEXT = 0  # one position after the last
    GAP = 1  # further on: the missing positions are stepped through first
    UNKNOWN = 2  # the first of a series that was not known
    LATE = 3  # for a position that was stepped without a value, or before the first: the series is wound back and steps again
    REVISION = 4  # for a position that had another value: likewise
    DUPLICATE = 5  # the value that the position has
    TOO_LATE = 6  # for a position that is settled
    TOO_FAR = 7  # so far ahead that a wrong date is likelier than a silence
    STRANGER = 8  # of a series that is not known, where none is to begin
    MISALIGNED = 9  # between two positions of the calendar
    MALFORMED = 10  # cannot be read
    FAR_OFF = 11  # the first of a series, so far ahead of all others that a wrong date is likelier

    @property
    def label(self) -> str:
        """The word by which files and tables call it.

        >>> Arrival.TOO_FAR.label
        'too_far'
        """
        return self.name.lower()


@dataclass(frozen=True)
class Bounds:
    """What is taken for a mistake: more than `max_gap` missing positions, a series that begins more than `max_ahead` after all
    others, a value for a position before the last `window` ones."""

    max_gap: int
    max_ahead: int
    window: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was not stepped, why, and where it stood: `line` counts the lines (or rows) of the feed from 1."""

    line: int
    arrival: Arrival
    reason: str
    original: bytes


def classify_arrivals(
    positions: Positions,
    y: Values,
    *,
    last_positions: Positions,
    first_positions: Positions,
    known_y: Values,
    max_gap: int,
    window: int,
) -> NDArray[np.int8]:
    """What each observation [N] is to its series, as `Arrival` codes; no two of one series.

    `last_positions` and `first_positions` [N] say what the series has been stepped through, both `NEVER` where nothing was;
    `known_y` [N] is the value that the position was stepped with, read where it is the last position or one of the last
    `window`. Two missing values (NaN) count as the same value. At most `max_gap` positions may be missing in between.

    >>> codes = classify_arrivals(
    ...     np.array([6, 8, 5, 5, 4, 2, 99]), np.full(7, 1.0), last_positions=np.full(7, 5), first_positions=np.zeros(7, int),
    ...     known_y=np.array([0, 0, 1.0, 2.0, np.nan, 0, 0]), max_gap=10, window=3)
    >>> [Arrival(code).label for code in codes]
    ['next', 'gap', 'duplicate', 'revision', 'late', 'too_late', 'too_far']
    """
    is_known = last_positions != NEVER
    ahead = positions - np.where(is_known, last_positions, positions - 1)
    had_none = np.isnan(known_y) | (positions < first_positions)
    is_same = ((y == known_y) | (np.isnan(y) & np.isnan(known_y))) & (positions >= first_positions)
    codes = np.full(len(positions), Arrival.NEXT, dtype=np.int8)
    codes[ahead > 1] = Arrival.GAP
    codes[ahead > max_gap + 1] = Arrival.TOO_FAR
    is_open = (ahead <= 0) & (ahead > -window)
    codes[ahead <= 0] = Arrival.TOO_LATE
    codes[is_open & had_none] = Arrival.LATE
    codes[is_open & ~had_none] = Arrival.REVISION
    codes[(is_open | (ahead == 0)) & is_same] = Arrival.DUPLICATE
    codes[~is_known] = Arrival.UNKNOWN
    return codes


def revision_length(frequency: Frequency) -> int:
    """How many of the last positions may still change, unless the user says: a season, at most 32; of numbered steps 24.

    >>> revision_length(Frequency("h")), revision_length(Frequency("5min")), revision_length(Frequency("YS"))
    (24, 32, 1)
    """
    return NUMBERED_WINDOW if frequency.is_numbered else min(frequency.season_length, LONGEST_WINDOW)


def find_far_off(
    ids: Iterable[str], positions: Positions, *, last_of: Callable[[str], int], newest: int, now: int = NEVER, bounds: Bounds
) -> dict[int, int]:
    """Which observations would begin a series too far ahead of the newest position of any, and that position.

    Before there is one, `now` stands for it. `last_of` says how far a series has come, `NEVER` where it has not begun. One after
    the other, as if each came alone: what is refused is not the newest.

    >>> last_of = {"a": 6, "b": NEVER}.__getitem__
    >>> find_far_off("bab", np.array([17, 7, 17]), last_of=last_of, newest=6, bounds=Bounds(9, max_ahead=10, window=0))
    {0: 6}
    """
    lasts: dict[str, int] = {}
    found = {}
    for n, (unique_id, position) in enumerate(zip(ids, positions.tolist(), strict=True)):
        last = lasts[unique_id] if unique_id in lasts else last_of(unique_id)
        other = now if newest == NEVER else newest
        if last == NEVER and other != NEVER and position - other > bounds.max_ahead:
            found[n] = other
        elif last == NEVER or 0 < position - last <= bounds.max_gap + 1:
            lasts[unique_id] = position
            newest = max(newest, position)
    return found


def explain_refusal(arrival: Arrival, label: str | int, last_label: str | int, ahead: int, *, bounds: Bounds) -> str:
    """Why an observation of a known time is not stepped, when its series has come to `last_label`, `ahead` steps before it.

    Of one that is `FAR_OFF`, the newest of all series.
    """
    if arrival is Arrival.TOO_LATE:
        return (
            f"{label} came when {last_label} had been stepped, {-ahead:,} later; expected one of the last {bounds.window:,} "
            "positions, which may still change. Widen streaming.revision_window, or begin again from the mended panel."
        )
    if arrival is Arrival.STRANGER:
        return "it is not one of the stream's series; expected those alone. Mend the name, or let unknown series begin."
    if arrival is Arrival.FAR_OFF:
        return (
            f"it would begin with {label}, {ahead:,} steps after {last_label}, the newest of any series (without one, "
            f"tomorrow); expected at most {bounds.max_ahead:,}. Mend the date, or raise streaming.max_ahead."
        )
    return (
        f"{label} lies {ahead:,} steps after {last_label}; expected at most {bounds.max_gap:,} missing ones. "
        "Mend the date, or raise max_gap if the series was silent for so long."
    )


def longest_gap(frequency: Frequency) -> int:
    """How many missing positions are stepped through before a date is held to be wrong: two years, from 50 to 10,000 of them.

    >>> [longest_gap(Frequency(alias)) for alias in ("min", "h", "D", "MS")]
    [10000, 10000, 730, 50]
    """
    if frequency.is_numbered:
        return NUMBERED_MISSING_STEPS
    two_years = pd.DatetimeIndex(["2021-01-01", "2023-01-01"])
    first, last = frequency.positions(two_years)
    return int(np.clip(last - first, LEAST_MISSING_STEPS, MOST_MISSING_STEPS))


def warming_length(frequency: Frequency) -> int:
    """How many values a series must have shown before its forecasts are more than a beginning: one season, at least two.

    >>> warming_length(Frequency("h")), warming_length(Frequency("YS"))
    (24, 2)
    """
    return max(frequency.season_length, 2)
