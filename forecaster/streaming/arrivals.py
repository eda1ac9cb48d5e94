"""Lines become observations: JSON objects with unique_id, ds and y, read a micro-batch at a time.

A line that cannot be read becomes a dead letter with its reason; nothing here raises. Only this file knows how an
observation is written.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from forecaster.frequency import Frequency, Positions
from forecaster.series import Values
from forecaster.streaming.lateness import Arrival, DeadLetter
from forecaster.streaming.live import FeedPosition

LONGEST_LINE = 1_000_000  # bytes; what is longer is not an observation
LARGEST_VALUE = 1e30  # squares of what is larger leave float32
LARGEST_STEP = 2**53
FIRST_YEAR, LAST_YEAR = 1678, 2200  # nanoseconds in 64 bits end in 2262, and a forecast reaches further than its origin
SHOWN = 40  # characters of a value that a reason repeats
KEPT = 1_000  # bytes of an overlong line that its dead letter keeps

HOUR = pd.Timedelta(hours=1)
YEAR_OR_MONTH = re.compile(r"\d{4}(-\d\d)?", re.ASCII)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Arrivals:
    """A micro-batch: N observations in the order in which they came, and what of it could not be read.

    ids, positions, values [N]; values are NaN where one is known to be missing. `lines` [N] are line numbers. `feed` is
    where the feed stands once the micro-batch is taken in. `original(i)` is observation i as it came.
    """

    ids: Sequence[str]
    positions: Positions
    values: Values
    lines: NDArray[np.int64]
    rejected: tuple[DeadLetter, ...]
    feed: FeedPosition
    original: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Unreadable:
    """Why something is no observation."""

    reason: str
    arrival: Arrival = Arrival.MALFORMED


def read_arrivals(lines: Sequence[bytes], frequency: Frequency, *, first_line: int, feed: FeedPosition) -> Arrivals:
    """The observations in lines of JSON, blank lines skipped; a `ds` without an offset is read on the panel's clock.

    >>> lines = [b'{"unique_id": "a", "ds": 7, "y": 1.5}', b"", b'{"unique_id": "a", "ds": 8, "y": NaN}']
    >>> frequency = Frequency("step", is_numbered=True)
    >>> arrivals = read_arrivals(lines, frequency, first_line=1, feed=FeedPosition(3))
    >>> arrivals.ids, arrivals.positions, [(letter.line, letter.arrival.label) for letter in arrivals.rejected]
    (('a',), array([7]), [(3, 'malformed')])
    """
    rejected: list[DeadLetter] = []
    fields: list[tuple[str, int | str, float]] = []
    rows: list[int] = []
    for row, line in enumerate(lines):
        read = _read_fields(line if first_line + row > 1 else line.removeprefix(BYTE_ORDER_MARK))
        if isinstance(read, tuple):
            fields.append(read)
            rows.append(row)
        elif read is not None:
            original = line if len(line) <= LONGEST_LINE else line[:KEPT]
            rejected.append(DeadLetter(first_line + row, read.arrival, read.reason, original))
    places = place_dates((ds for _, ds, _ in fields), frequency)
    kept: list[tuple[str, int, float]] = []
    kept_rows: list[int] = []
    for row, (unique_id, ds, y) in zip(rows, fields, strict=True):
        place = places[ds]
        if isinstance(place, Unreadable):
            reason = f"series {unique_id!r}: {place.reason}"
            rejected.append(DeadLetter(first_line + row, place.arrival, reason, lines[row]))
        else:
            kept.append((unique_id, place, y))
            kept_rows.append(row)
    ids, positions, values = zip(*kept, strict=True) if kept else ((), (), ())
    return Arrivals(
        ids=ids,
        positions=np.array(positions, dtype=np.int64),
        values=np.array(values, dtype=np.float64),
        lines=np.array(kept_rows, dtype=np.int64) + first_line,
        rejected=tuple(sorted(rejected, key=lambda letter: letter.line)),
        feed=feed,
        original=lambda i: lines[kept_rows[i]],
    )


# -- one line ----------------------------------------------------------------------------------------------------------------


def _read_fields(line: bytes) -> tuple[str, int | str, float] | Unreadable | None:
    """The id, ds and y of a line, each of a usable type; why it has none; or None for a blank line."""
    if len(line) > LONGEST_LINE:
        return Unreadable(f"the line is longer than {LONGEST_LINE:,} bytes. Send one JSON object a line.")
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return _explain_json(line, str(error)) if line.strip() else None
    if not isinstance(fields, dict):
        return Unreadable(f"the line is {_shown(fields)}; expected a JSON object with unique_id, ds and y.")
    for name in ("unique_id", "ds"):
        if name not in fields:
            return Unreadable(f"{name} is missing; found {_shown(sorted(fields))}. Send unique_id, ds and y.")
    unique_id, ds = fields["unique_id"], fields["ds"]
    if type(unique_id) is int:
        unique_id = str(unique_id)
    if type(unique_id) is not str or not (unique_id := unique_id.strip()):
        return Unreadable(f"unique_id is {_shown(fields['unique_id'])}; expected text that is not empty.")
    if type(ds) is not str and type(ds) is not int:
        return Unreadable(f"series {unique_id!r}: ds is {_shown(ds)}; expected a date as text, or a step number.")
    y = fields.get("y")
    if y is None:
        return unique_id, ds, np.nan
    if type(y) is not float and type(y) is not int:
        return Unreadable(f"series {unique_id!r}: y is {_shown(y)}; expected a number, or null where it is missing.")
    if not -LARGEST_VALUE <= y <= LARGEST_VALUE:
        return Unreadable(f"series {unique_id!r}: y is {y:g}; expected no more than {LARGEST_VALUE:g}. Rescale the series.")
    return unique_id, ds, float(y)


def _explain_json(line: bytes, fault: str) -> Unreadable:
    fault = fault.split(": line ")[0]
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return Unreadable("the line is not UTF-8 text. Send JSON in UTF-8.")
    if "NaN" in text:
        return Unreadable("the line has NaN, which JSON does not know. Write null for a missing value.")
    if "Infinity" in text or fault.startswith("number is infinity"):
        return Unreadable("the line has an infinite number. Send a finite one, or null for a missing value.")
    return Unreadable(f"the line is not JSON ({fault}). Send one object a line: unique_id, ds and y.")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


# -- many dates --------------------------------------------------------------------------------------------------------------


def place_dates(stamps: Iterable[int | str], frequency: Frequency) -> dict[int | str, int | Unreadable]:
    """The position of every distinct ds, or why it has none; each is read once, however many series share it."""
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
            places[readable.pop(n)] = Unreadable(
                f"the clock of {frequency.time_zone} shows this ds twice or never. Send it with its offset from UTC."
            )
        times = times.dropna()
    positions, is_aligned = frequency.positions(times), frequency.is_aligned(times)
    places.update(zip(readable, positions.tolist(), strict=True))
    off_grid = np.flatnonzero(~is_aligned)
    for n, nearest in zip(off_grid, frequency.labels(positions[off_grid]), strict=True):
        reason = f"ds is {_shown(readable[n])}, between steps of {frequency.alias!r}; the one before is {nearest}. Send that."
        places[readable[n]] = Unreadable(reason, Arrival.MISALIGNED)
    return places


def _read_step(ds: int | str, frequency: Frequency) -> int | Unreadable:  # noqa: ARG001 - read like a date
    if not isinstance(ds, int):
        return Unreadable(f"ds is {_shown(ds)}; this panel counts steps. Send a whole number.")
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
        return Unreadable(f"ds is {_shown(ds)}; expected ISO 8601. Send it as 2024-01-31 or 2024-01-31T05:00+01:00.")
    if not FIRST_YEAR <= stamp.year <= LAST_YEAR:
        return Unreadable(f"ds is {_shown(ds)}; expected a year from {FIRST_YEAR} to {LAST_YEAR}. Mend the date.")
    if frequency.time_zone is None and stamp.utcoffset():
        return Unreadable(f"ds is {_shown(ds)}, but this panel's clock has no time zone. Send ds without an offset.")
    return stamp


def _to_utc(stamps: Sequence[datetime], frequency: Frequency) -> pd.DatetimeIndex:
    """Naive UTC timestamps [N]; NaT where the panel's clock shows a time without an offset twice or never."""
    is_naive = np.fromiter((stamp.tzinfo is None for stamp in stamps), dtype=bool, count=len(stamps))
    plain = [stamp if stamp.tzinfo is None else stamp.astimezone(UTC).replace(tzinfo=None) for stamp in stamps]
    times = pd.DatetimeIndex(np.array(plain, dtype="datetime64[us]").astype("datetime64[ns]"))
    if frequency.time_zone is None or not is_naive.any():
        return times
    clock = times[is_naive]
    utc = clock.tz_localize(frequency.time_zone, ambiguous="NaT", nonexistent="NaT").tz_convert("UTC").tz_localize(None)
    if utc.hasnans:
        # A daily panel does not mind: the first midnight of two, or the first moment of the day, names the day as well.
        first_of_two = np.ones(len(clock), dtype=bool)
        forward = clock.tz_localize(frequency.time_zone, ambiguous=first_of_two, nonexistent="shift_forward")
        candidates = forward.tz_convert("UTC").tz_localize(None)
        is_settled = frequency.positions(candidates) == frequency.positions(candidates + HOUR)
        utc = utc.where(~(utc.isna() & is_settled), candidates)
    whole = times.to_numpy().copy()
    whole[is_naive] = utc.to_numpy()
    return pd.DatetimeIndex(whole)
