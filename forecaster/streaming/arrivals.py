"""Lines become observations: JSON objects with unique_id, ds and y, read a micro-batch at a time.

A line that cannot be read becomes a dead letter with its reason; nothing here raises. Whole stretches of lines are read at
once; a stretch with anything odd in it is read again, line by line and with care. Both ways give the same observations.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster.frequency import Frequency, Positions
from forecaster.series import Values
from forecaster.streaming.dates import Dates, Unreadable, place_dates, shown
from forecaster.streaming.lateness import NEVER, DeadLetter
from forecaster.streaming.live import FeedPosition

__all__ = ["LONGEST_LINE", "Arrivals", "CodedIds", "Fields", "Unreadable", "place_dates", "read_arrivals"]

LONGEST_LINE = 1_000_000  # bytes; what is longer is not an observation
LARGEST_VALUE = 1e30  # squares of what is larger leave float32
KEPT = 1_000  # bytes of an overlong line that its dead letter keeps
STRETCH = 512  # lines that are read at once, and with care when one of them is odd

MISSING_Y = re.compile(rb'("y"\s*:\s*)NaN')  # as Python's json writes a missing value, though JSON has no such word
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Arrivals:
    """A micro-batch: N observations in the order in which they came, and what of it could not be read.

    ids, positions, values [N]; values are NaN where one is known to be missing. `lines` [N] are line numbers. `feed` is
    where the feed stands once the micro-batch is taken in. `original(i)` is observation i as it came. Ids that came as codes
    are `CodedIds`.
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


def nothing(letters: tuple[DeadLetter, ...], feed: FeedPosition) -> Arrivals:
    """Dead letters without an observation."""
    none = np.empty(0, np.int64)
    return Arrivals((), none, np.empty(0), none, letters, feed, original=lambda _: b"")


@dataclass(frozen=True, eq=False)
class CodedIds(Sequence[str]):
    """Ids [N] as `names[codes[n]]`. A feed hands on the same `names` for as long as they stay the same.

    >>> list(CodedIds(("a", "b"), np.array([1, 0, 1])))
    ['b', 'a', 'b']
    """

    names: Sequence[str]
    codes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        return map(self.names.__getitem__, self.codes.tolist())

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "CodedIds": ...
    def __getitem__(self, index: int | slice) -> "str | CodedIds":
        return CodedIds(self.names, self.codes[index]) if isinstance(index, slice) else self.names[self.codes[index]]


@dataclass(frozen=True)
class Fields:
    """What some lines say: ids, ds and y [N] of the lines at `rows` [N], and dead letters for those that say nothing."""

    ids: list[str]
    ds: list[int | str]
    y: list[float]
    rows: list[int]
    rejected: list[DeadLetter]


def read_arrivals(
    lines: Sequence[bytes], frequency: Frequency, *, first_line: int, feed: FeedPosition, dates: Dates | None = None
) -> Arrivals:
    """The observations in lines of JSON, blank lines skipped; a `ds` without an offset is read on the panel's clock.

    >>> lines = [b'{"unique_id": "a", "ds": 7, "y": 1.5}', b"", b'{"unique_id": "a", "ds": 8, "y": "1"}']
    >>> frequency = Frequency("step", is_numbered=True)
    >>> arrivals = read_arrivals(lines, frequency, first_line=1, feed=FeedPosition(3))
    >>> arrivals.ids, arrivals.positions, [(letter.line, letter.arrival.label) for letter in arrivals.rejected]
    (('a',), array([7]), [(3, 'malformed')])
    """
    fields = read_json_lines(lines, first_line=first_line)
    return place(fields, lines, dates or Dates(frequency), first_line=first_line, feed=feed)


def place(fields: Fields, lines: Sequence[bytes], dates: Dates, *, first_line: int, feed: FeedPosition) -> Arrivals:
    """What lines say, on the calendar; what has no place on it becomes a dead letter."""
    places = dates.places(fields.ds)
    found = list(map(places.__getitem__, fields.ds))
    ids, rows, values, letters = fields.ids, fields.rows, np.array(fields.y, dtype=np.float64), list(fields.rejected)
    unplaced = (
        [n for n, stamp in enumerate(found) if isinstance(stamp, Unreadable)] if Unreadable in set(map(type, found)) else []
    )
    for n in unplaced:
        fault = found[n]
        assert isinstance(fault, Unreadable)
        found[n] = NEVER
        reason = f"series {ids[n]!r}: {fault.reason}"
        letters.append(DeadLetter(first_line + rows[n], fault.arrival, reason, lines[rows[n]]))
    positions = np.array(found, dtype=np.int64)
    if unplaced:
        kept = np.flatnonzero(positions != NEVER)
        ids, rows = [ids[n] for n in kept.tolist()], [rows[n] for n in kept.tolist()]
        positions, values = positions[kept], values[kept]
    return Arrivals(
        ids=tuple(ids),
        positions=positions,
        values=values,
        lines=np.array(rows, dtype=np.int64) + first_line,
        rejected=tuple(sorted(letters, key=lambda letter: letter.line)),
        feed=feed,
        original=lambda n: lines[rows[n]],
    )


# -- many lines --------------------------------------------------------------------------------------------------------------


def read_json_lines(lines: Sequence[bytes], *, first_line: int) -> Fields:
    """What lines of JSON say."""
    whole = Fields([], [], [], [], [])
    for first in range(0, len(lines), STRETCH):
        stretch = lines[first : first + STRETCH]
        if not _take_plain(stretch, first, whole):
            take_carefully(stretch, whole, read_json, first=first, first_line=first_line)
    return whole


def take_carefully(
    lines: Sequence[bytes],
    fields: Fields,
    read: Callable[[bytes], "tuple[str, int | str, float] | Unreadable | None"],
    *,
    first: int,
    first_line: int,
) -> None:
    """Add what lines say, read one by one, to the fields of the micro-batch in which they begin at row `first`."""
    for row, line in enumerate(lines, first):
        if len(line) > LONGEST_LINE:
            reason = f"the line is longer than {LONGEST_LINE:,} bytes. Send one observation a line."
            found: tuple[str, int | str, float] | Unreadable | None = Unreadable(reason)
        else:
            found = read(line if first_line + row > 1 else line.removeprefix(BYTE_ORDER_MARK))
        if isinstance(found, tuple):
            fields.ids.append(found[0])
            fields.ds.append(found[1])
            fields.y.append(found[2])
            fields.rows.append(row)
        elif found is not None:
            original = line if len(line) <= LONGEST_LINE else line[:KEPT]
            fields.rejected.append(DeadLetter(first_line + row, found.arrival, found.reason, original))


def _take_plain(lines: Sequence[bytes], first: int, fields: Fields) -> bool:
    """Add what lines say, if each is plainly an observation; otherwise add nothing and return False."""
    if max(map(len, lines), default=0) > LONGEST_LINE:
        return False
    try:
        read: list[Any] = list(map(orjson.loads, lines))
        ids, ds, y = [row["unique_id"] for row in read], [row["ds"] for row in read], [row["y"] for row in read]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
    if set(map(type, ids)) != {str} or not set(map(type, ds)) <= {str, int}:
        return False
    if not set(map(type, y)) <= {float, int, type(None)}:
        return False
    ids, values = list(map(str.strip, ids)), np.array(y, dtype=np.float64)  # None becomes NaN
    if "" in ids or (np.abs(values) > LARGEST_VALUE).any():
        return False
    fields.ids.extend(ids)
    fields.ds.extend(ds)
    fields.y.extend(values.tolist())
    fields.rows.extend(range(first, first + len(lines)))
    return True


# -- one line ----------------------------------------------------------------------------------------------------------------


def read_json(line: bytes) -> tuple[str, int | str, float] | Unreadable | None:
    """The id, ds and y of a line, each of a usable type; why it has none; or None for a blank line."""
    try:
        fields = orjson.loads(line if b"NaN" not in line else MISSING_Y.sub(rb"\1null", line))
    except orjson.JSONDecodeError as error:
        return _explain_json(line, str(error)) if line.strip() else None
    if not isinstance(fields, dict):
        return Unreadable(f"the line is {shown(fields)}; expected a JSON object with unique_id, ds and y.")
    for name in ("unique_id", "ds"):
        if name not in fields:
            return Unreadable(f"{name} is missing; found {shown(sorted(fields))}. Send unique_id, ds and y.")
    unique_id, ds = fields["unique_id"], fields["ds"]
    if type(unique_id) is int:
        unique_id = str(unique_id)
    if type(unique_id) is not str or not (unique_id := unique_id.strip()):
        return Unreadable(f"unique_id is {shown(fields['unique_id'])}; expected text that is not empty.")
    if type(ds) is not str and type(ds) is not int:
        return Unreadable(f"series {unique_id!r}: ds is {shown(ds)}; expected a date as text, or a step number.")
    y = fields.get("y")
    if y is None:
        return unique_id, ds, np.nan
    if type(y) is not float and type(y) is not int:
        return Unreadable(f"series {unique_id!r}: y is {shown(y)}; expected a number, or null where it is missing.")
    if not -LARGEST_VALUE <= y <= LARGEST_VALUE:
        return too_large(unique_id, y)
    return unique_id, ds, float(y)


def too_large(unique_id: str, y: float) -> Unreadable:
    """Why a value is none."""
    return Unreadable(f"series {unique_id!r}: y is {y:g}; expected no more than {LARGEST_VALUE:g}. Rescale the series.")


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
