"""What the calendar says of a position: where it lies in the day, the week and the year, and its holidays.

Phases are looked up in tables of whole minutes, weekdays and days of the year, so a position has the same bits in any batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import ConfigError
from forecaster.frequency import DAY_NS, Frequency, Positions

Float32 = NDArray[np.float32]

CYCLES = {"day": 1.0, "week": 7.0, "year": 365.25}  # days
SLOTS = {"day": 1440, "week": 7, "year": 366}
HARMONICS = 2
DAYS_BEFORE_MONTH = np.array([0, 31, 60, 91, 121, 152, 182, 213, 244, 274, 305, 335])  # of a leap year: a date is a slot
PAGE_DAYS, LONGEST_PAGE = 60.0, 2048
LONGEST_SPAN = 4096  # of positions that are all worked out, also those in between that nobody asked for
LONGEST_WITH_HOLIDAYS = 200.0  # days: every year has the same ones


@dataclass(frozen=True)
class Calendar:
    """The cycles that a panel is seen in, and the country whose holidays count (`DE`, or `DE-BY` for a part of it).

    Weeks count the holidays of the seven days from their timestamp on. Years that the `holidays` package does not reach (before
    1990 in Germany) have none.

    >>> Calendar(Frequency("h"), ("day",), "DE").columns
    ('day_sin1', 'day_cos1', 'day_sin2', 'day_cos2', 'holiday')
    """

    frequency: Frequency
    cycles: tuple[str, ...] = ()
    country: str | None = None

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The names of what `at` gives [C]."""
        waves = [
            f"{cycle}_{wave}{k}"
            for cycle in self.cycles
            for k in range(1, 1 + harmonics_of(self.frequency, cycle))
            for wave in ("sin", "cos")
        ]
        return (*waves, *(("holiday",) if self.country else ()))

    def at(self, positions: Positions) -> Float32:
        """The phases and the holidays of positions [N, C]."""
        if not len(positions):
            return self._rows(positions)
        page = int(positions[0]) // self._page_length
        begin = page * self._page_length
        if begin <= positions.min() and positions.max() < begin + self._page_length:
            return _page_of(self, page)[positions - begin]
        return _each_once(self._rows, positions)

    def holidays(self, positions: Positions) -> Float32:
        """How many holidays positions [...] hold [...]: 0 or 1 up to days, more in weeks and months."""
        return _each_once(self._holidays, positions)

    @cached_property
    def _page_length(self) -> int:
        """Positions whose rows are kept beside each other: a stream asks for the same ones again and again."""
        return 1 if self.frequency.is_numbered else min(max(int(PAGE_DAYS / self.frequency.days), 1), LONGEST_PAGE)

    def _rows(self, positions: Positions) -> Float32:
        """Like `at`, for positions of which none comes twice."""
        rows = np.zeros((len(positions), len(self.columns)), dtype=np.float32)
        if not self.columns:
            return rows
        clock, column = self.frequency.clock(positions), 0
        for cycle in self.cycles:
            waves = _waves(SLOTS[cycle], harmonics_of(self.frequency, cycle))[_slots(clock, cycle)]
            rows[:, column : column + waves.shape[1]] = waves
            column += waves.shape[1]
        if self.country:
            rows[:, column] = self._holidays(positions)
        return rows

    def _holidays(self, positions: Positions) -> Float32:
        if self.country is None or not len(positions):
            return np.zeros(len(positions), dtype=np.float32)
        first = _days(self.frequency.clock(positions))
        after = first + 1 if self.frequency.days < 2 else _days(self.frequency.clock(positions + 1))
        years = first[[first.argmin(), first.argmax()]].astype("datetime64[D]").astype("datetime64[Y]").astype(np.int64) + 1970
        known = _holiday_days(self.country, int(years[0]) // 10, int(years[1] + 2) // 10)
        return np.asarray(np.searchsorted(known, after) - np.searchsorted(known, first), dtype=np.float32)


def harmonics_of(frequency: Frequency, cycle: str) -> int:
    """How many waves of a cycle a frequency resolves, at most HARMONICS; 0 where the cycle is constant, or two points only.

    >>> [harmonics_of(Frequency(alias), "year") for alias in ("W-SUN", "MS", "QS", "YS")], harmonics_of(Frequency("D"), "day")
    ([2, 2, 1, 0], 0)
    """
    points = int(CYCLES[cycle] / frequency.days + 1e-9)
    return max(min(HARMONICS, (points - 1) // 2), 0)


def check_country(country: str) -> str:
    """The country's code as it is kept; raises ConfigError for one whose holidays are not known, with those that are near.

    >>> check_country("de-by")
    'DE-BY'
    """
    import holidays

    code, _, part = country.strip().upper().replace("_", "-").partition("-")
    parts = holidays.list_supported_countries().get(code)
    if parts is None:
        names = _country_names()
        near = get_close_matches(country.strip().lower(), names, n=2, cutoff=0.6)
        hint = f"did you mean {' or '.join(f'{names[name]} ({name.title()})' for name in near)}?" if near else "Write its code."
        raise ConfigError(f"country {country!r} has no known holidays; expected a code such as DE, US or US-CA; {hint}")
    if part and part not in {known.upper() for known in parts}:
        choose = f"choose {', '.join(parts)}, or {code} alone." if parts else f"it has no parts: write {code}."
        raise ConfigError(f"country {country!r} has no known holidays; {part!r} is no part of {code}; {choose}")
    own = next((known for known in parts if known.upper() == part), "")
    return f"{code}-{own}" if own else code


def _country_names() -> dict[str, str]:
    """Names and codes of countries, in small letters, and the two letters that stand for each."""
    from holidays.registry import COUNTRIES

    names: dict[str, str] = {}
    for module, (_, short, long, *_) in COUNTRIES.items():
        names |= {module.replace("_", " "): short, short.lower(): short, long.lower(): short}
    return names


@lru_cache(maxsize=64)
def _holiday_days(country: str, first_decade: int, last_decade: int) -> NDArray[np.int64]:
    """The holidays of whole decades, as days since 1970, ascending."""
    import holidays

    code, _, part = country.partition("-")
    years = range(10 * first_decade, 10 * last_decade + 10)
    found = holidays.country_holidays(code, subdiv=part or None, years=years)
    return np.sort(np.array(list(found), dtype="datetime64[D]").astype(np.int64))


@lru_cache
def _waves(slots: int, harmonics: int) -> Float32:
    """Sines and cosines [slots, 2 * harmonics]."""
    angles = 2 * np.pi * np.arange(slots)[:, None] * np.arange(1, harmonics + 1) / slots
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(slots, -1).astype(np.float32)


def _slots(clock: NDArray[np.datetime64], cycle: str) -> NDArray[np.int64]:
    """Where times lie in a cycle [N]: the minute of the day, the day of the week from Monday, the day of a leap year."""
    days = _days(clock)
    if cycle == "day":
        return np.asarray((clock.astype(np.int64) - days * DAY_NS) // (DAY_NS // SLOTS["day"]))
    if cycle == "week":
        return np.asarray((days + 3) % 7)
    months = clock.astype("datetime64[M]")
    return np.asarray(DAYS_BEFORE_MONTH[months.astype(np.int64) % 12] + days - _days(months))


def _days(times: NDArray[np.datetime64]) -> NDArray[np.int64]:
    return times.astype("datetime64[D]").astype(np.int64)


@lru_cache(maxsize=64)
def _page_of(calendar: Calendar, page: int) -> Float32:
    """The rows of a page of positions [page length, C]."""
    length = calendar._page_length
    return calendar._rows(np.arange(page * length, (page + 1) * length))


def _each_once(of: Callable[[Positions], Float32], positions: Positions) -> Float32:
    """`of` positions of any shape, worked out once for each of them."""
    low, high = (int(positions.min()), int(positions.max())) if positions.size else (0, LONGEST_SPAN)
    if high - low < LONGEST_SPAN:
        return np.asarray(of(np.arange(low, high + 1))[positions - low])
    unique, inverse = np.unique(positions, return_inverse=True)
    return np.asarray(of(unique)[inverse.reshape(positions.shape)])
