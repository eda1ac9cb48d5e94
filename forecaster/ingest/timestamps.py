"""Timestamps as they were written, as nanoseconds since 1970 or as step numbers."""

import re
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forecaster.errors import DataError
from forecaster.ingest.numbers import MISSING, as_text

FIRST_YEAR, LAST_YEAR = 1678, 2261  # what nanoseconds in 64 bits can hold
LARGEST_STEP = 2**53
FINE, MISSING_TIME, UNPARSABLE, OUT_OF_RANGE = 0, 1, 2, 3

OFFSET = re.compile(r"(?<=\d)\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})$", re.IGNORECASE)
HAS_CLOCK = re.compile(r"\d[T ]\d{1,2}(?::|\d{2})")
QUARTER = re.compile(r"(\d{4})[- ]?[Qq]([1-4])")
FORMATS = ("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%b %d, %Y", "%d %b %Y", "%d-%b-%Y", "%b %Y", "%b-%Y")
DAY_OR_MONTH_FIRST = (("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y"))
CLOCKS = ("", " %H:%M", " %H:%M:%S")
EPOCHS = ((1e9, "s"), (1e12, "ms"), (1e15, "us"), (1e18, "ns"))  # from 2001-09-09 to 2103-01-01 each


@dataclass(frozen=True)
class Times:
    """Times [N] of one column: nanoseconds since 1970 (UTC where `is_zoned`, else on some clock), or step numbers.

    `fault` [N] says what is wrong with each; `zones` are the offsets or zone names met; `note` says how numbers were read.
    """

    is_numbered: bool
    times: NDArray[np.int64]
    is_zoned: NDArray[np.bool_]
    fault: NDArray[np.int8]
    zones: frozenset[str] = frozenset()
    note: str = ""

    def take(self, places: NDArray[np.int64]) -> "Times":
        """The times at some places [M]."""
        return replace(self, times=self.times[places], is_zoned=self.is_zoned[places], fault=self.fault[places])


def parse_times(column: pa.ChunkedArray, *, time_format: str | None = None, as_steps: bool = False) -> Times:
    """The times in a column of timestamps, dates, numbers or text; `as_steps` keeps numbers from being read as dates.

    >>> times = parse_times(pa.chunked_array([["2024-01-01T02:00+02:00", "soon"]]))
    >>> times.times.tolist(), times.fault.tolist(), sorted(times.zones)
    ([1704067200000000000, 0], [0, 2], ['+02:00'])
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return parse_times(column.cast(kind.value_type), time_format=time_format, as_steps=as_steps)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _from_dates(column)
    if pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        missing = column.is_null().to_numpy()
        return _from_numbers(column.fill_null(0).cast(pa.int64()).to_numpy(), missing, as_steps=as_steps)
    if pa.types.is_floating(kind):
        numbers = column.cast(pa.float64()).to_numpy().astype(np.float64)
        whole = np.isfinite(numbers) & (np.abs(numbers) < 2.0**63) & (np.floor(numbers) == numbers)
        parsed = _from_numbers(np.where(whole, numbers, 0).astype(np.int64), ~whole, as_steps=as_steps)
        return replace(parsed, fault=np.where(~whole & ~np.isnan(numbers), np.int8(UNPARSABLE), parsed.fault))
    return _from_text(as_text(column), time_format, as_steps=as_steps)


def _from_dates(column: pa.ChunkedArray) -> Times:
    zone = getattr(column.type, "tz", None)
    missing = column.is_null().to_numpy()
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"))
    unit = column.type.unit
    raw = column.cast(pa.timestamp(unit)).cast(pa.int64()).fill_null(0).to_numpy()
    scale = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
    limit = (2**63 - 1) // scale
    outside = (raw < -limit) | (raw > limit)
    times = np.where(outside, 0, raw) * np.int64(scale)
    fault = np.where(missing, MISSING_TIME, np.where(outside, OUT_OF_RANGE, FINE)).astype(np.int8)
    return Times(False, times, np.full(len(raw), zone is not None), fault, frozenset({zone} if zone else ()))


def _from_numbers(numbers: NDArray[np.int64], missing: NDArray[np.bool_], *, as_steps: bool) -> Times:
    """Step numbers, unless every one of them reads as a date (20240131, 202401) or counts from 1970."""
    unzoned = np.zeros(len(numbers), dtype=bool)
    fault = np.where(missing, MISSING_TIME, FINE).astype(np.int8)
    known = np.unique(numbers[~missing])
    dates, note = (None, "") if as_steps or not len(known) else _dates_of(known)
    if dates is not None:
        times = np.zeros(len(numbers), dtype=np.int64)
        times[~missing] = dates[np.searchsorted(known, numbers[~missing])]
        return Times(False, times, unzoned, fault, note=note)
    outside = ((numbers > LARGEST_STEP) | (numbers < -LARGEST_STEP)) & ~missing
    return Times(True, np.where(outside, 0, numbers), unzoned, np.where(outside, np.int8(OUT_OF_RANGE), fault))


def _dates_of(known: NDArray[np.int64]) -> tuple[NDArray[np.int64] | None, str]:
    """Numbers [N] as nanoseconds since 1970 when all of them look like dates, and how they were read."""
    low, high = int(known[0]), int(known[-1])
    for first, last, written in ((19000101, 22001231, "%Y%m%d"), (190001, 220012, "%Y%m")):
        if first <= low and high <= last:
            dates = pd.to_datetime(pd.Series(known.astype(str), dtype=object), format=written, errors="coerce")
            if dates.notna().all():
                return _nanoseconds(dates), f"whole numbers such as {low} are read as dates {written}; --freq step keeps them"
    for start, unit in EPOCHS:
        if start <= low and high < 4.2 * start:
            dates = pd.to_datetime(pd.Series(known), unit=unit)  # type: ignore[call-overload]
            return _nanoseconds(dates), f"whole numbers such as {low} are read as {unit} since 1970; --freq step keeps them"
    return None, ""


def _from_text(column: pa.ChunkedArray, time_format: str | None, *, as_steps: bool) -> Times:
    """Every text is parsed once, however many rows it stands in."""
    words = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
    texts = pd.Series(words.dictionary.to_pylist(), dtype=object)
    missing = texts.isna() | texts.str.lower().isin(MISSING)
    texts = texts.where(~missing, "")
    whole = texts.str.fullmatch(r"[+-]?\d+(\.0+)?")
    if time_format is None and whole.sum() * 2 > (~missing).sum():
        parsed = _number_texts(texts, whole.to_numpy(dtype=bool), missing.to_numpy(dtype=bool), as_steps=as_steps)
    else:
        parsed = _date_texts(texts, missing.to_numpy(dtype=bool), time_format)
    return parsed.take(words.indices.to_numpy())


def _number_texts(texts: pd.Series, whole: NDArray[np.bool_], missing: NDArray[np.bool_], *, as_steps: bool) -> Times:
    numbers = np.asarray([int(text.split(".")[0]) if fine else 0 for text, fine in zip(texts, whole, strict=True)], dtype=object)
    outside = np.asarray([abs(number) > 2**62 for number in numbers], dtype=bool)
    parsed = _from_numbers(np.where(outside, 0, numbers).astype(np.int64), ~whole | outside, as_steps=as_steps)
    fault = np.where(outside, OUT_OF_RANGE, np.where(missing, MISSING_TIME, np.where(whole, parsed.fault, UNPARSABLE)))
    return replace(parsed, fault=fault.astype(np.int8))


def _date_texts(texts: pd.Series, missing: NDArray[np.bool_], time_format: str | None) -> Times:
    quarters = texts.str.fullmatch(QUARTER.pattern)
    texts = texts.where(~quarters, texts.str.replace(QUARTER, lambda m: f"{m[1]}-{3 * int(m[2]) - 2:02}-01", regex=True))
    offsets = texts.str.extract(OFFSET, expand=False).where(texts.str.contains(HAS_CLOCK)).str.upper()
    is_zoned = offsets.notna().to_numpy()
    texts = texts.str.replace(r"(?i)\s*(?:UTC|GMT)$", "Z", regex=True)
    years = pd.to_numeric(texts.str.extract(r"^([+-]?\d{4,})[-/]", expand=False), errors="coerce")
    outside = ((years < FIRST_YEAR) | (years > LAST_YEAR)).to_numpy()
    readable = texts.where(~(outside | missing), None)
    times = np.zeros(len(texts), dtype=np.int64)
    parsed = np.zeros(len(texts), dtype=bool)
    for rows in (is_zoned, ~is_zoned):
        if rows.any():
            dates = _read_dates(readable[rows], time_format)
            parsed[rows] = dates.notna()
            times[rows] = np.where(dates.notna(), _nanoseconds(dates), 0)
    fault = np.where(missing, MISSING_TIME, np.where(outside, OUT_OF_RANGE, np.where(parsed, FINE, UNPARSABLE)))
    zones = frozenset("UTC" if zone in ("Z", "UTC", "GMT") else zone for zone in offsets[parsed & is_zoned].unique())
    return Times(False, times, is_zoned, fault.astype(np.int8), zones)


def _read_dates(texts: pd.Series, time_format: str | None) -> pd.Series:
    """Dates in UTC, NaT where a text is none; raises DataError when day and month could be either."""
    if time_format is not None:
        try:
            return pd.to_datetime(texts, format=time_format, errors="coerce", utc=True)
        except ValueError as error:
            raise DataError(f"time format {time_format!r}: {error}; expected one such as '%d/%m/%Y %H:%M'. Mend it.") from None
    known = int(texts.notna().sum())
    best = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    if best.notna().sum() * 2 > known:
        return best
    for pair in DAY_OR_MONTH_FIRST:
        either = [pd.to_datetime(texts, format=pair[0] + clock, errors="coerce", utc=True) for clock in CLOCKS]
        other = [pd.to_datetime(texts, format=pair[1] + clock, errors="coerce", utc=True) for clock in CLOCKS]
        for day_first, month_first, clock in zip(either, other, CLOCKS, strict=True):
            if day_first.notna().sum() == month_first.notna().sum() > best.notna().sum() and not day_first.equals(month_first):
                raise DataError(
                    f"timestamps such as {texts.dropna().iloc[0]!r} can put the day or the month first; expected one reading. "
                    f"Pass --time-format '{pair[0] + clock}' or '{pair[1] + clock}'."
                )
            best = max(best, day_first, month_first, key=lambda dates: int(dates.notna().sum()))
    candidates = (pd.to_datetime(texts, format=written, errors="coerce", utc=True) for written in FORMATS)
    return max(best, *candidates, key=lambda dates: int(dates.notna().sum()))


def _nanoseconds(dates: pd.Series) -> NDArray[np.int64]:
    naive = dates.dt.tz_localize(None) if dates.dt.tz is not None else dates
    return naive.to_numpy().astype("datetime64[ns]").astype(np.int64)
