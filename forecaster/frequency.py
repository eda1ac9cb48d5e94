"""A frequency turns timestamps into consecutive integers and back.

Everything behind the doors counts time in *positions*: the first period of a calendar, the next, the next. A gap is then a
difference above one, a season is a number of positions, and a clock change cannot lose an hour. Only this file knows
months, weeks and time zones.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.tseries.frequencies import to_offset

from forecaster.errors import DataError

Positions = NDArray[np.int64]

DAY_NS = 86_400_000_000_000
MONTHS_PER_PERIOD = {"Month": 1, "Quarter": 3, "Year": 12}
EARLIEST_DAY = "1677-09-20"  # business days are counted from before all of them: numpy counts backwards by other rules
LONGEST_SEASON = 2_016  # a week of five-minute steps; what is longer belongs to calendar features, not to a ring of values


@dataclass(frozen=True)
class Frequency:
    """The step of a panel's calendar: a pandas offset alias, where its grid lies, and the clock it is read on.

    `alias` is a pandas offset alias (`h`, `15min`, `D`, `B`, `W-SAT`, `MS`, `QE-DEC`, `YS-JAN`) or `step` for numbered
    steps whose length is not known. `is_numbered` says that timestamps are integers `phase + k * stride`; the alias then
    only tells the season. For dated steps, `phase` is the offset of the grid, in nanoseconds or, for months, in months. With a
    `time_zone`, timestamps are stored in UTC, and steps of a day or longer are counted on the local clock.

    Raises DataError when the alias is none that this program can count in.

    >>> monthly = Frequency("ME")
    >>> monthly.positions(pd.DatetimeIndex(["2024-01-31", "2024-02-29"]))
    array([648, 649])
    >>> str(monthly.timestamps(np.array([649]))[0])
    '2024-02-29 00:00:00'
    """

    alias: str
    time_zone: str | None = None
    is_numbered: bool = False
    stride: int = 1
    phase: int = 0

    def __post_init__(self) -> None:
        if self.alias != "step":
            _ = self._unit
        elif not self.is_numbered:
            raise DataError("frequency 'step' is for numbered steps, and these timestamps are dates. Give --freq as h, D, MS, …")
        if self.stride < 1:
            raise DataError(f"frequency stride is {self.stride}; expected 1 or more.")

    # -- from and to timestamps ------------------------------------------------------------------------------------------

    def positions(self, timestamps: pd.DatetimeIndex | NDArray[np.int64]) -> Positions:
        """Positions [N] of naive UTC timestamps, or of step numbers; one between two grid points counts as the earlier.

        >>> Frequency("step", is_numbered=True, stride=10).positions(np.array([0, 10, 25]))
        array([0, 1, 2])
        """
        if self.is_numbered:
            return np.asarray((np.asarray(timestamps, dtype=np.int64) - self.phase) // self.stride)
        clock = self._to_clock(pd.DatetimeIndex(timestamps))
        unit, count = self._unit
        if unit == "fixed":
            return np.asarray((_nanoseconds(clock) - self.phase) // count)
        if unit == "business":
            after = clock.to_numpy().astype("datetime64[D]") + 1
            return np.asarray(np.busday_count(EARLIEST_DAY, after) - np.busday_count(EARLIEST_DAY, "1970-01-02"), dtype=np.int64)
        months = clock.to_numpy().astype("datetime64[M]").astype(np.int64)
        return np.asarray((months - self._first_month) // count)

    def timestamps(self, positions: Positions) -> pd.DatetimeIndex | NDArray[np.int64]:
        """Naive UTC timestamps [N], or step numbers, of positions."""
        if self.is_numbered:
            return np.asarray(positions * self.stride + self.phase)
        unit, count = self._unit
        if unit == "fixed":
            clock = pd.DatetimeIndex((positions * count + self.phase).astype("datetime64[ns]"))
        elif unit == "business":
            days = np.busday_offset("1970-01-01", positions, roll="forward")
            clock = pd.DatetimeIndex(days.astype("datetime64[ns]"))
        else:
            first = positions * count + self._first_month
            if self._label == "start":
                clock = pd.DatetimeIndex(first.astype("datetime64[M]").astype("datetime64[ns]"))
            else:
                last_day = (first + count).astype("datetime64[M]").astype("datetime64[D]") - 1
                clock = pd.DatetimeIndex(last_day.astype("datetime64[ns]"))
        return self._to_utc(clock)

    def clock(self, positions: Positions) -> NDArray[np.datetime64]:
        """When periods begin, on the panel's own clock [N]: days and hours as people live them. For dated steps only.

        >>> berlin = Frequency("h", "Europe/Berlin")
        >>> hours = berlin.positions(pd.DatetimeIndex(["2024-03-31 00:00", "2024-03-31 01:00"]))
        >>> [str(time)[:16] for time in berlin.clock(hours)]
        ['2024-03-31T01:00', '2024-03-31T03:00']
        """
        assert not self.is_numbered, "numbered steps have no clock"
        unit, count = self._unit
        if unit == "business":
            return np.asarray(np.busday_offset("1970-01-01", positions, roll="forward").astype("datetime64[ns]"))
        if unit == "months":
            return np.asarray((positions * count + self._first_month).astype("datetime64[M]").astype("datetime64[ns]"))
        times = (positions * count + self.phase).astype("datetime64[ns]")
        if self.time_zone is None or self._counts_local_days:
            return np.asarray(times)
        local = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(self.time_zone)
        return np.asarray(local.tz_localize(None).to_numpy().astype("datetime64[ns]"))

    def labels(self, positions: Positions) -> pd.Series:
        """What a user reads for positions: step numbers, naive timestamps, or timestamps in the panel's time zone."""
        stamps = self.timestamps(positions)
        if isinstance(stamps, pd.DatetimeIndex) and self.time_zone:
            return pd.Series(stamps.tz_localize("UTC").tz_convert(self.time_zone))
        return pd.Series(stamps)

    def is_aligned(self, timestamps: pd.DatetimeIndex | NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which timestamps [N] lie on the grid.

        >>> Frequency("h").is_aligned(pd.DatetimeIndex(["2024-01-01 05:00", "2024-01-01 05:20"]))
        array([ True, False])
        """
        back = self.timestamps(self.positions(timestamps))
        return np.asarray(np.asarray(back) == np.asarray(timestamps))

    # -- what the frequency says about the data --------------------------------------------------------------------------

    @cached_property
    def season_lengths(self) -> tuple[int, ...]:
        """Lengths of the seasons that data of this frequency usually has, in positions, the shortest first; () for none.

        >>> Frequency("h").season_lengths, Frequency("MS").season_lengths, Frequency("YE").season_lengths
        ((24, 168), (12,), ())
        """
        if self.alias == "step":
            return ()
        unit, count = self._unit
        if unit == "business":
            return (5,)
        if unit == "months":
            return (12 // count,) if 12 % count == 0 and count < 12 else ()
        if count >= DAY_NS:
            cycle = 7 * DAY_NS if count < 7 * DAY_NS else 364 * DAY_NS
            return (cycle // count,) if cycle % count == 0 and cycle > count else ()
        cycles = [DAY_NS, 7 * DAY_NS] if DAY_NS // count <= LONGEST_SEASON else [DAY_NS // 1440, DAY_NS // 24]
        lengths = [cycle // count for cycle in cycles if cycle % count == 0]
        return tuple(length for length in lengths if 1 < length <= LONGEST_SEASON)

    @property
    def season_length(self) -> int:
        """The shortest season, 1 where there is none."""
        return self.season_lengths[0] if self.season_lengths else 1

    @cached_property
    def days(self) -> float:
        """How long a step is on average, in days; business days have five to the week. For dated steps only.

        >>> [Frequency(alias).days for alias in ("6h", "B", "W-SUN", "MS")]
        [0.25, 1.4, 7.0, 30.4375]
        """
        unit, count = self._unit
        if unit == "business":
            return 1.4
        return count * 30.4375 if unit == "months" else count / DAY_NS

    @cached_property
    def horizon(self) -> int:
        """How far a forecast reaches by default; the M4 competition's horizons where it had the frequency.

        >>> [Frequency(alias).horizon for alias in ("h", "D", "W-SUN", "MS", "QS", "YS")]
        [48, 14, 13, 18, 8, 6]
        """
        if self.alias == "step":
            return 10
        unit, count = self._unit
        if unit == "business":
            return 10
        if unit == "months":
            return {1: 18, 3: 8}.get(count, 6)
        if count >= 7 * DAY_NS:
            return 13
        if count >= DAY_NS:
            return 14
        return min(2 * self.season_length, 96) if self.season_length > 1 else 48

    # -- how the alias is read -------------------------------------------------------------------------------------------

    @cached_property
    def _unit(self) -> tuple[Literal["fixed", "months", "business"], int]:
        """The kind of step and its length: nanoseconds, months, or one business day."""
        try:
            offset = to_offset(self.alias)
        except ValueError:
            offset = None
        if offset is None:
            raise DataError(self._unknown_alias)
        name = type(offset).__name__
        if isinstance(offset, pd.offsets.Tick):
            return "fixed", int(pd.Timedelta(offset).value)
        if name == "Day":
            return "fixed", int(offset.n) * DAY_NS
        if name == "Week":
            return "fixed", int(offset.n) * 7 * DAY_NS
        if name == "BusinessDay" and offset.n == 1:
            return "business", 1
        for period, months in MONTHS_PER_PERIOD.items():
            if name in (f"{period}Begin", f"{period}End"):
                return "months", int(offset.n) * months
        raise DataError(self._unknown_alias)

    @property
    def _unknown_alias(self) -> str:
        return (
            f"frequency {self.alias!r} is not one that can be counted in; "
            "use a pandas alias such as h, 15min, D, B, W-SUN, MS, ME, QS, QE-DEC, YS or YE."
        )

    @cached_property
    def _label(self) -> Literal["start", "end"]:
        return "end" if type(to_offset(self.alias)).__name__.endswith("End") else "start"

    @cached_property
    def _first_month(self) -> int:
        """The month, counted from January as 0, in which a period of several months begins."""
        offset = to_offset(self.alias)
        anchor = getattr(offset, "startingMonth", None) or getattr(offset, "month", None)
        first = (anchor or 1) - 1 if self._label == "start" else (anchor or 12) % 12
        return int(first) + self.phase

    @property
    def _counts_local_days(self) -> bool:
        unit, count = self._unit
        return self.time_zone is not None and (unit != "fixed" or count >= DAY_NS)

    def _to_clock(self, utc: pd.DatetimeIndex) -> pd.DatetimeIndex:
        if not self._counts_local_days:
            return utc
        return utc.tz_localize("UTC").tz_convert(self.time_zone).tz_localize(None)

    def _to_utc(self, clock: pd.DatetimeIndex) -> pd.DatetimeIndex:
        if not self._counts_local_days:
            return clock
        first_of_two = np.ones(len(clock), dtype=bool)
        local = clock.tz_localize(self.time_zone, ambiguous=first_of_two, nonexistent="shift_forward")
        return local.tz_convert("UTC").tz_localize(None)


def phase_of(alias: str, timestamps: pd.DatetimeIndex, weights: NDArray[np.int64] | None = None) -> int:
    """The `phase` that puts most of the timestamps, on the clock they are counted on, on the grid of alias.

    `weights` says how often each timestamp stands there; once without them.

    >>> phase_of("W-SAT", pd.DatetimeIndex(["2024-01-06", "2024-01-13"])) // DAY_NS
    2
    """
    frequency = Frequency(alias)
    unit, count = frequency._unit
    if unit == "business" or not len(timestamps):
        return 0
    if unit == "fixed":
        offsets = _nanoseconds(timestamps) % count
    else:
        months = timestamps.to_numpy().astype("datetime64[M]").astype(np.int64)
        last = 0 if frequency._label == "start" else count - 1
        offsets = (months - last - frequency._first_month) % count
    phases, place = np.unique(offsets, return_inverse=True)
    return int(phases[np.bincount(place, weights=weights).argmax()])


def _nanoseconds(clock: pd.DatetimeIndex) -> NDArray[np.int64]:
    return clock.to_numpy().astype("datetime64[ns]").astype(np.int64)
