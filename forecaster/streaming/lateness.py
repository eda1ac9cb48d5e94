"""When an observation arrives, and what that makes of it.

Only a series' last position and last value are known here, so whatever lies before the last position is late, whether it
is old news or a correction, and only the last value can be told to be a duplicate or a revision.
"""

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


class Arrival(IntEnum):
    """What an observation is to its series. The first three are stepped, the fourth is ignored, the others are dead letters."""

    NEXT = 0  # one position after the last
    GAP = 1  # further on: the missing positions are stepped through first
    UNKNOWN = 2  # the first of a series that was not known
    DUPLICATE = 3  # the last position and the last value again
    REVISION = 4  # the last position with another value
    LATE = 5  # before the last position
    TOO_FAR = 6  # so far ahead that a wrong date is likelier than a silence
    MISALIGNED = 7  # between two positions of the calendar
    MALFORMED = 8  # cannot be read

    @property
    def label(self) -> str:
        """The word by which files and tables call it.

        >>> Arrival.TOO_FAR.label
        'too_far'
        """
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was not stepped, why, and where it stood: `line` counts the lines (or rows) of the feed from 1."""

    line: int
    arrival: Arrival
    reason: str
    original: bytes


def classify_arrivals(
    positions: Positions, y: Values, *, last_positions: Positions, last_y: Values, max_gap: int
) -> NDArray[np.int8]:
    """What each observation [N] is to its series, as `Arrival` codes, given the last of that series; no two of one series.

    A series of which nothing was seen has the last position `NEVER`. Two missing values (NaN) count as the same value.
    At most `max_gap` positions may be missing in between.

    >>> codes = classify_arrivals(
    ...     np.array([6, 8, 5, 5, 4, 99]), np.full(6, 1.0), last_positions=np.full(6, 5), last_y=np.array([1.0] * 3 + [2.0] * 3),
    ...     max_gap=10)
    >>> [Arrival(code).label for code in codes]
    ['next', 'gap', 'duplicate', 'revision', 'late', 'too_far']
    """
    is_known = last_positions != NEVER
    ahead = positions - np.where(is_known, last_positions, positions - 1)
    is_same = (y == last_y) | (np.isnan(y) & np.isnan(last_y))
    codes = np.full(len(positions), Arrival.NEXT, dtype=np.int8)
    codes[ahead > 1] = Arrival.GAP
    codes[ahead > max_gap + 1] = Arrival.TOO_FAR
    codes[ahead < 0] = Arrival.LATE
    codes[(ahead == 0) & is_same] = Arrival.DUPLICATE
    codes[(ahead == 0) & ~is_same] = Arrival.REVISION
    codes[~is_known] = Arrival.UNKNOWN
    return codes


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
