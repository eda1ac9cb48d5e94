"""Rows of CSV become observations: a header with unique_id, ds and y in any order, then a row a line."""

import csv
import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.csv

from forecaster.errors import DataError
from forecaster.streaming.arrivals import (
    BYTE_ORDER_MARK,
    LARGEST_VALUE,
    LONGEST_LINE,
    STRETCH,
    Fields,
    Unreadable,
    take_carefully,
    too_large,
)
from forecaster.streaming.dates import shown

COLUMNS = ("unique_id", "ds", "y")
FEW = 32  # rows that are sooner read one by one (`benchmarks/edges.py` with --max-batch)
MOST_AT_ONCE = 1 << 30  # bytes
MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
STEP = re.compile(r"[+-]?\d{1,18}", re.ASCII)


class CsvRows:
    """Reads the rows under a header; a row that repeats it is passed over. A quoted cell may not hold a newline.

    Raises DataError, when it begins, if the first line is no header.

    >>> rows = CsvRows(is_numbered=True)
    >>> rows.begin(b"y,ds,unique_id")
    >>> rows.read([b"y,ds,unique_id", b"1.5,7,a", b"x,8,a"], first_line=1).rejected[0].reason
    "series 'a': y is 'x'; expected a number, or nothing where it is missing."
    """

    def __init__(self, *, is_numbered: bool) -> None:
        self.is_numbered = is_numbered
        self.header = b""
        self.columns: list[str] = []

    def begin(self, line: bytes) -> None:
        """Take the first line of a feed as the header; one of a file that goes on with another may be a row."""
        header = _plain(line)
        columns = [name.strip() for name in _cells(header) or []]
        if all(columns.count(name) == 1 for name in COLUMNS):
            self.header, self.columns = header, columns
        elif not self.columns:
            raise DataError(
                f"the feed begins with {shown(header.decode(errors='replace'))}; expected a header that has unique_id, ds and y "
                "once each. Write it as the first line, or say with --format what the feed is."
            )

    def read(self, lines: Sequence[bytes], *, first_line: int) -> Fields:
        """What rows say."""
        whole = Fields([], [], [], [], [])
        if len(lines) < FEW or not self._take_plain(lines, 0, whole):
            for first in range(0, len(lines), STRETCH):
                stretch = lines[first : first + STRETCH]
                if len(stretch) < FEW or not self._take_plain(stretch, first, whole):
                    take_carefully(stretch, whole, self.read_row, first=first, first_line=first_line)
        return whole

    def is_whole_line(self, line: bytes) -> bool:
        """Whether a last line without a newline is a row; its value may have been cut off all the same."""
        return isinstance(self.read_row(line), tuple)

    def read_row(self, line: bytes) -> tuple[str, int | str, float] | Unreadable | None:
        """The id, ds and y of a row, each of a usable type; why it has none; or None for a blank line or a header."""
        row = line.removesuffix(b"\r")
        if not row.strip() or _plain(line) == self.header:
            return None
        cells = _cells(row)
        if cells is None:
            return Unreadable("the row is not CSV in UTF-8, or a quoted cell does not end. Write one row a line.")
        if len(cells) != len(self.columns):
            return Unreadable(f"the row has {len(cells)} cells; expected {len(self.columns)}: {', '.join(self.columns)}.")
        unique_id, ds, y = (cells[self.columns.index(name)] for name in COLUMNS)
        return read_cells(unique_id, ds, y, is_numbered=self.is_numbered)

    def _take_plain(self, lines: Sequence[bytes], first: int, fields: Fields) -> bool:
        """Add what rows say, if each is plainly an observation; otherwise add nothing and return False."""
        data = b"\n".join(lines)
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").removesuffix(b"\r")
        if (
            data.startswith(BYTE_ORDER_MARK)
            or b'"' in data
            or b"\r" in data
            or len(data) > MOST_AT_ONCE
            or max(map(len, lines), default=0) > LONGEST_LINE
        ):
            return False
        try:
            data.decode()
            table = self._parse(data)
        except (UnicodeDecodeError, pa.ArrowInvalid):
            return False
        y = table["y"].combine_chunks()
        values = y.to_numpy(zero_copy_only=False)
        ids = list(map(str.strip, table["unique_id"].to_pylist()))
        is_odd = len(ids) != len(lines) or "" in ids or bool((np.abs(values) > LARGEST_VALUE).any())
        if is_odd or int(np.isnan(values).sum()) != y.null_count:
            return False
        ds = table["ds"].to_pylist()
        stamps = {text: self._stamp(text) for text in set(ds)}
        if "" in stamps.values():
            return False
        fields.ids.extend(ids)
        fields.ds.extend(map(stamps.__getitem__, ds))
        fields.y.extend(values.tolist())
        fields.rows.extend(range(first, first + len(lines)))
        return True

    def _parse(self, data: bytes) -> pa.Table:
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            read_options=pyarrow.csv.ReadOptions(column_names=self.columns, use_threads=False, block_size=len(data) + 1),
            parse_options=pyarrow.csv.ParseOptions(quote_char=False, ignore_empty_lines=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"unique_id": pa.string(), "ds": pa.string(), "y": pa.float64()},
                include_columns=list(COLUMNS),
                null_values=list(MISSING),
                strings_can_be_null=False,
            ),
        )

    def _stamp(self, text: str) -> int | str:
        return _stamp(text, is_numbered=self.is_numbered)


def read_cells(unique_id: str, ds: str, y: str, *, is_numbered: bool) -> tuple[str, int | str, float] | Unreadable:
    """The id, ds and y in three texts, each of a usable type, or why they have none."""
    unique_id, y = unique_id.strip(), y.strip()
    if not unique_id:
        return Unreadable("unique_id is empty; expected text that is not.")
    stamp = _stamp(ds, is_numbered=is_numbered)
    if stamp == "":
        return Unreadable(f"series {unique_id!r}: ds is empty; expected a date, or a step number.")
    if y in MISSING:
        return unique_id, stamp, np.nan
    if not NUMBER.fullmatch(y):
        return Unreadable(f"series {unique_id!r}: y is {shown(y)}; expected a number, or nothing where it is missing.")
    value = float(y)
    return (unique_id, stamp, value) if abs(value) <= LARGEST_VALUE else too_large(unique_id, value)


def _stamp(text: str, *, is_numbered: bool) -> int | str:
    text = text.strip()
    return int(text) if is_numbered and STEP.fullmatch(text) else text


def _plain(line: bytes) -> bytes:
    return line.removeprefix(BYTE_ORDER_MARK).removesuffix(b"\r")


def _cells(row: bytes) -> list[str] | None:
    try:
        return next(csv.reader([row.decode()], strict=True), [])
    except (UnicodeDecodeError, csv.Error):
        return None
