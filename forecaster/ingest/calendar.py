"""The frequency of a panel: found in its timestamps, with the share of differences it explains, or as the user gave it."""

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


def find_frequency(rows: Rows, *, is_numbered: bool, alias: str | None, time_zone: str | None, faults: Faults) -> FoundFrequency:
    """The frequency of rows whose times are UTC or step numbers, as `alias` says or as most differences say.

    Series that step differently go to `faults`, unless the user gave the alias. Raises DataError when the alias is
    unknown, or when there is none and no series has two times.
    """
    codes, times = _sorted_unique(rows)
    same_series = np.diff(codes) == 0
    steps = ascending_differences(times)[same_series]
    origin = "given" if alias else "inferred"
    if alias is None:
        _check_one_frequency(rows.ids, steps, codes[1:][same_series], is_numbered=is_numbered, faults=faults)
    if is_numbered:
        stride = best_step(steps) if len(steps) else 1
        frequency = Frequency(alias or "step", is_numbered=True, stride=stride, phase=_most_common(times % stride))
    elif alias is None and not len(steps):
        raise DataError(f"no series has two different timestamps, so the frequency is unknown. {KINDS['no_frequency'].cure}")
    else:
        local = _local_clock(times, time_zone)
        alias = alias or infer_alias(times, local, same_series)
        clock = local if _is_day_or_longer(alias) else times
        phase = phase_of(alias, pd.DatetimeIndex(clock.astype("datetime64[ns]")))
        frequency = Frequency(alias, time_zone, phase=phase)
    return FoundFrequency(frequency, origin, share_of_one_step(frequency, rows))


def share_of_one_step(frequency: Frequency, rows: Rows) -> float:
    """The share of differences between neighbours of a series that are one step of the frequency; 1 when there are none."""
    codes, times = _sorted_unique(rows)
    uniques, inverse = np.unique(times, return_inverse=True)
    positions = frequency.positions(uniques if frequency.is_numbered else pd.DatetimeIndex(uniques.astype("datetime64[ns]")))
    differences = np.diff(positions[inverse])[np.diff(codes) == 0]
    return float((differences == 1).mean()) if len(differences) else 1.0


def infer_alias(utc: Nanoseconds, local: Nanoseconds, same_series: NDArray[np.bool_]) -> str:
    """The pandas alias of times [N], sorted within each series; steps of a day or more are counted on the local clock.

    >>> days = pd.date_range("2024-01-05", periods=6, freq="W-FRI").to_numpy().astype("datetime64[ns]").astype(np.int64)
    >>> infer_alias(days, days, np.ones(5, dtype=bool))
    'W-FRI'
    """
    steps = ascending_differences(utc)[same_series]
    if np.median(steps) < DAY_NS - UNITS[1][0]:
        return step_alias(best_step(steps))
    steps = ascending_differences(local)[same_series]
    clock = pd.DatetimeIndex(local.astype("datetime64[ns]"))
    if np.median(steps) >= LONG_STEPS[1][0] * DAY_NS:
        for is_end, share in ((False, float(clock.is_month_start.mean())), (True, float(clock.is_month_end.mean()))):
            if share >= MULTIPLES_WANTED:
                return _month_alias(clock, same_series, is_end=is_end)
    step = best_step(steps)
    if step == 7 * DAY_NS:
        return f"W-{WEEKDAYS[_most_common(clock.day_of_week.to_numpy())]}"
    skips_weekends = bool((clock.day_of_week < 5).all() and (steps == 3 * DAY_NS).any() and (local % DAY_NS == 0).all())
    return "B" if step == DAY_NS and skips_weekends else step_alias(step)


def best_step(steps: NDArray[np.int64]) -> int:
    """The largest of the commonest steps that divides nearly all of the steps; else their divisor, or the commonest.

    >>> best_step(np.array([10, 10, 20, 10, 30])), best_step(np.array([4, 6, 4, 6])), best_step(np.array([60, 60, 60, 7]))
    (10, 2, 60)
    """
    sizes, counts = np.unique(steps, return_counts=True)
    common = sizes[np.argsort(-counts, kind="stable")[:8]]
    divisor = int(np.gcd.reduce(common))
    candidates = [int(size) for size in common]
    if divisor not in candidates and counts.max() * 2 <= len(steps):
        candidates.append(divisor)
    dividing = [size for size in candidates if counts[sizes % size == 0].sum() >= MULTIPLES_WANTED * len(steps)]
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


def _month_alias(clock: pd.DatetimeIndex, same_series: NDArray[np.bool_], *, is_end: bool) -> str:
    """MS, QS-FEB, YE-DEC, 6MS, …: periods of as many months as most differences have."""
    months = clock.to_numpy().astype("datetime64[M]").astype(np.int64)
    count = best_step(np.diff(months)[same_series])
    edge = "E" if is_end else "S"
    if count not in (3, 12):
        return f"{'' if count == 1 else count}M{edge}"
    anchor = _most_common(months % count)
    if is_end:
        anchor += 12 - count  # December, not March, is how quarters are usually called
    return f"{'Q' if count == 3 else 'Y'}{edge}-{MONTHS[anchor]}"


def _check_one_frequency(
    ids: tuple[str, ...], steps: NDArray[np.int64], owners: NDArray[np.int64], *, is_numbered: bool, faults: Faults
) -> None:
    """Names the groups of series that each keep to a step of their own."""
    if not is_numbered:
        for months, (low, high) in LONG_STEPS.items():
            steps = np.where((steps >= low * DAY_NS) & (steps <= high * DAY_NS), months * 30 * DAY_NS, steps)
    table = pd.DataFrame({"owner": owners, "step": steps})
    counts = table.value_counts(["owner", "step"]).reset_index(name="count")  # the commonest first
    commonest = counts.drop_duplicates("owner")
    totals = commonest["owner"].map(table["owner"].value_counts())
    steady = commonest[(totals >= FEWEST_DIFFERENCES) & (commonest["count"] >= STEADY * totals)]
    sizes = steady["step"].value_counts()  # the largest group first
    if len(sizes) < 2:
        return
    groups = []
    for step in sizes.index.to_numpy(dtype=np.int64):
        members = steady.loc[steady["step"] == step, "owner"].to_numpy(dtype=np.int64)
        groups.append(f"{len(members)} series step by {step if is_numbered else _spoken(int(step))} ({_some(ids, members)})")
    found = f"{', '.join(groups)}; expected one frequency in a panel"
    faults.add("mixed_frequency", "error", [Fault("mixed_frequency", "", "", 0, found)])


def _spoken(nanoseconds: int) -> str:
    months = {30 * DAY_NS: "a month", 90 * DAY_NS: "a quarter", 360 * DAY_NS: "a year"}
    return months.get(nanoseconds) or step_alias(nanoseconds)


def _some(ids: tuple[str, ...], codes: NDArray[np.int64]) -> str:
    names = ", ".join(repr(ids[code]) for code in sorted(codes)[:3])
    return f"{names}, …" if len(codes) > 3 else names


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


def _most_common(numbers: NDArray[np.int64] | NDArray[np.int32]) -> int:
    values, counts = np.unique(numbers, return_counts=True)
    return int(values[counts.argmax()])
