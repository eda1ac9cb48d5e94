"""The frequency of a panel: found in its timestamps, with the share of differences it explains, or as the user gave it.

What is found rests on counts of times and of their differences, which can be made of some series at a time and added.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.errors import DataError
from forecaster.frequency import DAY_NS, Frequency, phase_of
from forecaster.ingest.faults import KINDS, Fault, Faults
from forecaster.ingest.rows import Rows

Nanoseconds = NDArray[np.int64]

UNITS = (
    (DAY_NS, "D"),
    (3_600_000_000_000, "h"),
    (60_000_000_000, "min"),
    (1_000_000_000, "s"),
    (1_000_000, "ms"),
    (1_000, "us"),
    (1, "ns"),
)
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
LONG_STEPS = {1: (28, 31), 3: (89, 92), 12: (365, 366)}  # months: days from one to the next
MULTIPLES_WANTED = 0.95  # the share of differences that a step must divide
STEADY, FEWEST_DIFFERENCES = 0.8, 3  # when a series is sure enough of its own step to disagree with the others


@dataclass(frozen=True)
class FoundFrequency:
    """A frequency, how it came to be (`given`, `inferred` or `stored`), and the share of differences that are one step."""

    frequency: Frequency
    origin: str
    share: float

    def __str__(self) -> str:
        frequency = self.frequency
        numbered = (
            f" in numbered steps{f' of {frequency.stride}' if frequency.stride > 1 else ''}" if frequency.is_numbered else ""
        )
        zone = f" on the clock of {frequency.time_zone}" if frequency.time_zone else ""
        return f"{frequency.alias}{numbered}{zone}, {self.origin}; one step explains {100 * self.share:.1f} % of the differences"


@dataclass(frozen=True)
class Counts:
    """Different numbers, ascending, and how often each was met; what was counted in parts can be added.

    >>> Counts.of(np.array([3, 1, 3])) + Counts.of(np.array([2, 3]))
    Counts(sizes=array([1, 2, 3]), counts=array([1, 1, 3]))
    """

    sizes: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, numbers: NDArray[np.int64]) -> "Counts":
        return cls(*np.unique(numbers, return_counts=True))

    def __add__(self, other: "Counts") -> "Counts":
        sizes, place = np.unique(np.concatenate([self.sizes, other.sizes]), return_inverse=True)
        counts = np.zeros(len(sizes), dtype=np.int64)
        np.add.at(counts, place, np.concatenate([self.counts, other.counts]))
        return Counts(sizes, counts)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def map(self, numbers: NDArray[np.int64]) -> "Counts":
        """The counts when each size becomes another number."""
        return Counts(numbers, self.counts) + Counts(numbers[:0], self.counts[:0])

    def share(self, chosen: NDArray[np.bool_]) -> float:
        """What share of all the chosen sizes make up."""
        return float(self.counts[chosen].sum() / self.counts.sum())

    @property
    def median(self) -> float:
        middle = np.searchsorted(np.cumsum(self.counts), [(len(self) + 1) // 2, len(self) // 2 + 1])
        return float(self.sizes[middle].mean())

    @property
    def most_common(self) -> int:
        return int(self.sizes[self.counts.argmax()])


@dataclass(frozen=True)
class Spacing:
    """How the times of some series lie, on the clock of UTC and on the local one; what was counted in parts can be added.

    `steps` are differences between neighbours of a series, `months` those of the months that they lie in. `owners` has a row for
    each series with two times or more: its step that is the commonest, how often, and of how many.
    """

    times: Counts
    steps: Counts
    local_steps: Counts
    months: Counts
    owners: pd.DataFrame

    @classmethod
    def of(cls, rows: Rows, *, is_numbered: bool, time_zone: str | None) -> "Spacing":
        """How the times of rows lie, which are UTC or step numbers."""
        codes, times = _sorted_unique(rows)
        is_same = np.diff(codes) == 0
        steps = ascending_differences(times)[is_same]
        owners = _commonest(steps, codes[1:][is_same], rows.ids, is_numbered=is_numbered)
        counted = Counts.of(steps)
        if is_numbered:
            return cls(Counts.of(times), counted, counted, counted, owners)
        local = _local_clock(times, time_zone)
        months = local.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
        local_steps = counted if time_zone is None else Counts.of(ascending_differences(local)[is_same])
        return cls(Counts.of(times), counted, local_steps, Counts.of(np.diff(months)[is_same]), owners)

    def __add__(self, other: "Spacing") -> "Spacing":
        owners = pd.concat([self.owners, other.owners], ignore_index=True)
        times, steps = self.times + other.times, self.steps + other.steps
        return Spacing(times, steps, self.local_steps + other.local_steps, self.months + other.months, owners)


def find_frequency(
    spacing: Spacing, *, is_numbered: bool, alias: str | None, time_zone: str | None, faults: Faults
) -> FoundFrequency:
    """The frequency of rows whose times are UTC or step numbers, as `alias` says or as most differences say.

    Series that step differently go to `faults`, unless the user gave the alias. Raises DataError when the alias is
    unknown, or when there is none and no series has two times.
    """
    origin = "given" if alias else "inferred"
    if alias is None:
        _check_one_frequency(spacing.owners, is_numbered=is_numbered, faults=faults)
    times = spacing.times
    if is_numbered:
        stride = best_step(spacing.steps) if len(spacing.steps) else 1
        frequency = Frequency(alias or "step", is_numbered=True, stride=stride, phase=times.map(times.sizes % stride).most_common)
    elif alias is None and not len(spacing.steps):
        raise DataError(f"no series has two different timestamps, so the frequency is unknown. {KINDS['no_frequency'].cure}")
    else:
        local = times.map(_local_clock(times.sizes, time_zone))
        alias = alias or infer_alias(local, spacing.steps, spacing.local_steps, spacing.months)
        clock = local if _is_day_or_longer(alias) else times
        phase = phase_of(alias, pd.DatetimeIndex(clock.sizes.astype("datetime64[ns]")), clock.counts)
        frequency = Frequency(alias, time_zone, phase=phase)
    return FoundFrequency(frequency, origin, 1.0)


@dataclass
class Share:
    """How many differences between neighbours of a series are one step of a frequency, and how many there are."""

    ones: int = 0
    differences: int = 0

    def note(self, frequency: Frequency, rows: Rows) -> None:
        """Count those of some more series."""
        codes, times = _sorted_unique(rows)
        uniques, inverse = np.unique(times, return_inverse=True)
        positions = frequency.positions(uniques if frequency.is_numbered else pd.DatetimeIndex(uniques.astype("datetime64[ns]")))
        steps = np.diff(positions[inverse])[np.diff(codes) == 0]
        self.ones, self.differences = self.ones + int((steps == 1).sum()), self.differences + len(steps)

    @property
    def value(self) -> float:
        """The share; 1 when there are no differences."""
        return self.ones / self.differences if self.differences else 1.0


def infer_alias(local: Counts, steps: Counts, local_steps: Counts, months: Counts) -> str:
    """The pandas alias of times on the local clock; steps of a day or more are counted on that.

    >>> days = pd.date_range("2024-01-05", periods=6, freq="W-FRI").to_numpy().astype("datetime64[ns]").astype(np.int64)
    >>> weeks = Counts.of(np.diff(days))
    >>> infer_alias(Counts.of(days), weeks, weeks, Counts.of(np.array([0, 0, 0, 1, 0])))
    'W-FRI'
    """
    if steps.median < DAY_NS - UNITS[1][0]:
        return step_alias(best_step(steps))
    clock = pd.DatetimeIndex(local.sizes.astype("datetime64[ns]"))
    if local_steps.median >= LONG_STEPS[1][0] * DAY_NS:
        for is_end, chosen in ((False, clock.is_month_start), (True, clock.is_month_end)):
            if local.share(np.asarray(chosen)) >= MULTIPLES_WANTED:
                return _month_alias(local, months, is_end=is_end)
    step = best_step(local_steps)
    weekdays = local.map(clock.day_of_week.to_numpy().astype(np.int64))
    if step == 7 * DAY_NS:
        return f"W-{WEEKDAYS[weekdays.most_common]}"
    is_midnight = bool((local.sizes % DAY_NS == 0).all())
    skips_weekends = bool((weekdays.sizes < 5).all() and (local_steps.sizes == 3 * DAY_NS).any() and is_midnight)
    return "B" if step == DAY_NS and skips_weekends else step_alias(step)


def best_step(steps: Counts) -> int:
    """The largest of the commonest steps that divides nearly all of the steps; else their divisor, or the commonest.

    >>> [best_step(Counts.of(np.array(steps))) for steps in ([10, 10, 20, 10, 30], [4, 6, 4, 6], [60, 60, 60, 7])]
    [10, 2, 60]
    """
    common = steps.sizes[np.argsort(-steps.counts, kind="stable")[:8]]
    divisor = int(np.gcd.reduce(common))
    candidates = [int(size) for size in common]
    if divisor not in candidates and steps.counts.max() * 2 <= len(steps):
        candidates.append(divisor)
    dividing = [size for size in candidates if steps.counts[steps.sizes % size == 0].sum() >= MULTIPLES_WANTED * len(steps)]
    return max(dividing) if dividing else candidates[0]


def ascending_differences(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Differences between neighbours; where ascending neighbours are too far apart for 64 bits, the largest number."""
    differences = np.diff(numbers)
    differences[(differences < 0) & (numbers[1:] > numbers[:-1])] = np.iinfo(np.int64).max
    return differences


def step_alias(nanoseconds: int) -> str:
    """A fixed step as a pandas alias.

    >>> step_alias(900_000_000_000), step_alias(2 * DAY_NS), step_alias(7 * DAY_NS)
    ('15min', '2D', '7D')
    """
    size, unit = next((size, unit) for size, unit in UNITS if nanoseconds % size == 0)
    return unit if nanoseconds == size else f"{nanoseconds // size}{unit}"


def _month_alias(local: Counts, months: Counts, *, is_end: bool) -> str:
    """MS, QS-FEB, YE-DEC, 6MS, …: periods of as many months as most differences have."""
    count = best_step(months)
    edge = "E" if is_end else "S"
    if count not in (3, 12):
        return f"{'' if count == 1 else count}M{edge}"
    numbers = local.sizes.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    anchor = local.map(numbers % count).most_common
    if is_end:
        anchor += 12 - count  # December, not March, is how quarters are usually called
    return f"{'Q' if count == 3 else 'Y'}{edge}-{MONTHS[anchor]}"


def _commonest(steps: NDArray[np.int64], owners: NDArray[np.int64], ids: tuple[str, ...], *, is_numbered: bool) -> pd.DataFrame:
    """A row for each series with a step: its name, its commonest step, how often that stands there, and of how many."""
    if not is_numbered:
        for months, (low, high) in LONG_STEPS.items():
            steps = np.where((steps >= low * DAY_NS) & (steps <= high * DAY_NS), months * 30 * DAY_NS, steps)
    table = pd.DataFrame({"owner": owners, "step": steps})
    counts = table.value_counts(["owner", "step"]).reset_index(name="count")  # the commonest first
    commonest = counts.drop_duplicates("owner")
    totals = commonest["owner"].map(table["owner"].value_counts())
    names = np.asarray(ids, dtype=object)[commonest["owner"].to_numpy(dtype=np.int64)]
    return pd.DataFrame({"series": names, "step": commonest["step"], "count": commonest["count"], "total": totals})


def _check_one_frequency(owners: pd.DataFrame, *, is_numbered: bool, faults: Faults) -> None:
    """Names the groups of series that each keep to a step of their own."""
    steady = owners[(owners["total"] >= FEWEST_DIFFERENCES) & (owners["count"] >= STEADY * owners["total"])]
    sizes = steady["step"].value_counts()  # the largest group first
    if len(sizes) < 2:
        return
    groups = []
    for step in sizes.index.to_numpy(dtype=np.int64):
        members = sorted(steady.loc[steady["step"] == step, "series"])
        spoken = step if is_numbered else _spoken(int(step))
        groups.append(f"{len(members)} series step by {spoken} ({_some(members)})")
    found = f"{', '.join(groups)}; expected one frequency in a panel"
    faults.add("mixed_frequency", "error", [Fault("mixed_frequency", "", "", 0, found)])


def _spoken(nanoseconds: int) -> str:
    months = {30 * DAY_NS: "a month", 90 * DAY_NS: "a quarter", 360 * DAY_NS: "a year"}
    return months.get(nanoseconds) or step_alias(nanoseconds)


def _some(names: list[str]) -> str:
    some = ", ".join(repr(name) for name in names[:3])
    return f"{some}, …" if len(names) > 3 else some


def _sorted_unique(rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Codes and times, sorted, each pair once."""
    order = np.lexsort((rows.times, rows.codes))
    codes, times = rows.codes[order], rows.times[order]
    fresh = np.ones(len(codes), dtype=bool)
    fresh[1:] = (np.diff(codes) != 0) | (np.diff(times) != 0)
    return codes[fresh], times[fresh]


def _local_clock(utc: Nanoseconds, time_zone: str | None) -> Nanoseconds:
    if time_zone is None:
        return utc
    clock = pd.DatetimeIndex(utc.astype("datetime64[ns]")).tz_localize("UTC").tz_convert(time_zone).tz_localize(None)
    return clock.to_numpy().astype("datetime64[ns]").astype(np.int64)


def _is_day_or_longer(alias: str) -> bool:
    first, second = np.asarray(Frequency(alias).timestamps(np.array([0, 1]))).astype("datetime64[ns]").astype(np.int64)
    return bool(second - first >= DAY_NS)
