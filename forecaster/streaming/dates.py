"""Many dates as positions: each distinct one is read once, however many observations share it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.frequency import Frequency
from forecaster.streaming.lateness import Arrival

LARGEST_STEP = 2**53
FIRST_YEAR, LAST_YEAR = 1678, 2200  # nanoseconds in 64 bits end in 2262, and a forecast reaches further than its origin
SHOWN = 40  # characters of a value that a reason repeats
REMEMBERED = 200_000  # dates of a feed that are kept read

HOUR = pd.Timedelta(hours=1)
YEAR_OR_MONTH = re.compile(r"\d{4}(-\d\d)?", re.ASCII)


@dataclass(frozen=True)
class Unreadable:
    """Why something is no observation."""

    reason: str
    arrival: Arrival = Arrival.MALFORMED


class Dates:
    """The positions of a feed's dates, remembered from one micro-batch to the next.

    Where they are `floored`, a date between two positions counts as the earlier.

    >>> Dates(Frequency("step", is_numbered=True)).places([7, 8, 7])
    {7: 7, 8: 8}
    """

    def __init__(self, frequency: Frequency, *, floored: bool = False) -> None:
        self.frequency = frequency
        self.floored = floored
        self._known: dict[int | str, int | Unreadable] = {}

    def places(self, stamps: Iterable[int | str]) -> dict[int | str, int | Unreadable]:
        """The position of every distinct ds, or why it has none; perhaps those of others that came before."""
        distinct = dict.fromkeys(stamps)
        unknown = [ds for ds in distinct if ds not in self._known]
        if unknown:
            if len(self._known) > REMEMBERED:
                self._known.clear()
                unknown = list(distinct)
            self._known.update(place_dates(unknown, self.frequency, floored=self.floored))
        return self._known


def place_dates(stamps: Iterable[int | str], frequency: Frequency, *, floored: bool = False) -> dict[int | str, int | Unreadable]:
    """The position of every distinct ds, or why it has none."""
    read = _read_step if frequency.is_numbered else _read_date
    found = {ds: read(ds, frequency) for ds in dict.fromkeys(stamps)}
    places: dict[int | str, int | Unreadable] = {ds: stamp for ds, stamp in found.items() if isinstance(stamp, Unreadable)}
    readable = [ds for ds in found if ds not in places]
    if not readable:
        return places
    if frequency.is_numbered:
        times: pd.DatetimeIndex | NDArray[np.int64] = np.array(readable, dtype=np.int64)
    else:
        times = _to_utc([cast(datetime, found[ds]) for ds in readable], frequency)
        for n in np.flatnonzero(times.isna())[::-1]:
            places[readable.pop(n)] = twice_or_never(frequency)
        times = times.dropna()
    positions = frequency.positions(times)
    places.update(zip(readable, positions.tolist(), strict=True))
    off_grid = np.flatnonzero(~frequency.is_aligned(times)) if not floored else positions[:0]
    for n, nearest in zip(off_grid, frequency.labels(positions[off_grid]), strict=True):
        places[readable[n]] = between_steps(readable[n], nearest, frequency)
    return places


def twice_or_never(frequency: Frequency) -> Unreadable:
    """Why a time on the panel's clock has no position."""
    return Unreadable(f"the clock of {frequency.time_zone} shows this ds twice or never. Send it with its offset from UTC.")


def between_steps(ds: object, nearest: object, frequency: Frequency) -> Unreadable:
    """Why a time off the grid has no position."""
    reason = f"ds is {shown(ds)}, between steps of {frequency.alias!r}; the one before is {nearest}. Send that."
    return Unreadable(reason, Arrival.MISALIGNED)


def shown(value: object) -> str:
    """A value as a reason repeats it, cut short."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


# -- one date ----------------------------------------------------------------------------------------------------------------


def _read_step(ds: int | str, frequency: Frequency) -> int | Unreadable:  # noqa: ARG001 - read like a date
    if not isinstance(ds, int):
        return Unreadable(f"ds is {shown(ds)}; this panel counts steps. Send a whole number.")
    if abs(ds) > LARGEST_STEP:
        return Unreadable(f"ds is {ds}; expected no more than 2**53. Send the step number.")
    return ds


def _read_date(ds: int | str, frequency: Frequency) -> datetime | Unreadable:
    """A date and time as written, with its offset where one was written; only ISO 8601, so that nothing is guessed."""
    if not isinstance(ds, str):
        return Unreadable(f"ds is {ds}, a number; this panel has dates. Send them as ISO 8601 text, such as 2024-01-31T05:00.")
    text = ds.strip()
    try:
        stamp = datetime.fromisoformat(f"{text}-01-01"[:10] if YEAR_OR_MONTH.fullmatch(text) else text)
    except ValueError:
        return Unreadable(f"ds is {shown(ds)}; expected ISO 8601. Send it as 2024-01-31 or 2024-01-31T05:00+01:00.")
    if not FIRST_YEAR <= stamp.year <= LAST_YEAR:
        return Unreadable(f"ds is {shown(ds)}; expected a year from {FIRST_YEAR} to {LAST_YEAR}. Mend the date.")
    if frequency.time_zone is None and stamp.utcoffset():
        return Unreadable(f"ds is {shown(ds)}, but this panel's clock has no time zone. Send ds without an offset.")
    return stamp


def _to_utc(stamps: Sequence[datetime], frequency: Frequency) -> pd.DatetimeIndex:
    """Naive UTC timestamps [N]; NaT where the panel's clock shows a time without an offset twice or never."""
    is_naive = np.fromiter((stamp.tzinfo is None for stamp in stamps), dtype=bool, count=len(stamps))
    plain = [stamp if stamp.tzinfo is None else stamp.astimezone(UTC).replace(tzinfo=None) for stamp in stamps]
    times = pd.DatetimeIndex(np.array(plain, dtype="datetime64[us]").astype("datetime64[ns]"))
    if frequency.time_zone is None or not is_naive.any():
        return times
    whole = times.to_numpy().copy()
    whole[is_naive] = clock_to_utc(times[is_naive], frequency).to_numpy()
    return pd.DatetimeIndex(whole)


def clock_to_utc(clock: pd.DatetimeIndex, frequency: Frequency) -> pd.DatetimeIndex:
    """Naive UTC timestamps [N] of times on the clock of the panel's zone; NaT where it shows one twice or never."""
    utc = clock.tz_localize(frequency.time_zone, ambiguous="NaT", nonexistent="NaT").tz_convert("UTC").tz_localize(None)
    if not utc.hasnans:
        return utc
    # A daily panel does not mind: the first midnight of two, or the first moment of the day, names the day as well.
    first_of_two = np.ones(len(clock), dtype=bool)
    forward = clock.tz_localize(frequency.time_zone, ambiguous=first_of_two, nonexistent="shift_forward")
    candidates = forward.tz_convert("UTC").tz_localize(None)
    is_settled = frequency.positions(candidates) == frequency.positions(candidates + HOUR)
    return utc.where(~(utc.isna() & is_settled), candidates)
