"""One file as a table of raw columns, with the row that each value stood in.

Text stays text here: an id `007` keeps its zeros, and what is no number can be shown as it was written.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from forecaster.errors import DataError
from forecaster.ingest.content import Content
from forecaster.ingest.files import label

DELIMITERS = ",;\t|"
HEADER = 1 << 20  # bytes that a header ends in
BYTES_A_ROW, CELLS_A_ROW = 32, 4  # of what is read at once: where rows are wider, they are fewer


@dataclass(frozen=True)
class RawTable:
    """Columns by name, the row of the file each of their N values stood in, and the rows that could not be split."""

    file: str
    columns: dict[str, pa.ChunkedArray]
    rows: NDArray[np.int64]
    malformed: list[tuple[int, str]] = field(default_factory=list)


class Tables:
    """A file as tables of so many rows at most, one after the other, read anew each time; text must be UTF-8.

    Raises DataError, when it is read, for what is no table, and for one without rows.
    """

    def __init__(self, content: Content, at_once: int) -> None:
        self.content, self.file, self.at_once = content, label(content.name), at_once

    def __iter__(self) -> Iterator[RawTable]:
        read = {"csv": _read_csv, "parquet": _read_parquet, "ndjson": _read_ndjson}[self.content.form]
        is_empty, malformed = True, list[tuple[int, str]]()
        for table in read(self.file, self.content, self.at_once):
            malformed += table.malformed
            if len(table.rows):
                yield replace(table, malformed=malformed)
                is_empty, malformed = False, []
        if is_empty and malformed:
            row, found = malformed[0]
            raise DataError(f"{self.file}, row {row}: {found}; expected rows that fit the header. No other row is left.")
        if is_empty:
            raise DataError(f"{self.file} has a header and no rows; expected at least one row.")
        if malformed:
            yield RawTable(self.file, {name: column[:0] for name, column in table.columns.items()}, table.rows[:0], malformed)

    def whole(self) -> RawTable:
        """All rows in one table."""
        tables = list(self)
        columns = {
            name: pa.chunked_array([chunk for table in tables for chunk in table.columns[name].chunks], column.type)
            for name, column in tables[0].columns.items()
        }
        malformed = [row for table in tables for row in table.malformed]
        return RawTable(self.file, columns, np.concatenate([table.rows for table in tables]), malformed)


def _read_csv(file: str, content: Content, at_once: int) -> Iterator[RawTable]:
    with content.opened() as stream:
        names, delimiter = _read_header(file, stream.read(HEADER))
    numbers = [str(number) for number in range(len(names))]
    skipped: list[tuple[int, str]] = []

    def skip(row: Any) -> str:
        found = f"{row.actual_columns} columns instead of {row.expected_columns}: {row.text[:60]!r}"
        skipped.append((row.number, found))
        return "skip"

    try:
        with content.opened() as stream:
            batches = pyarrow.csv.open_csv(
                stream,
                read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=BYTES_A_ROW * at_once, column_names=numbers),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=delimiter,
                    invalid_row_handler=skip,
                    ignore_empty_lines=False,
                    newlines_in_values=content.has_quotes,
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(numbers, pa.string()), strings_can_be_null=False, quoted_strings_can_be_null=False
                ),
            )
            number = 1
            for batch in batches:
                rows = _numbers_of(batch.num_rows, number, skipped)
                table = pa.Table.from_batches([batch])
                if skipped[:1] and skipped[0][0] == 1:
                    found = skipped[0][1]
                    raise DataError(f"{file}: its header cannot be split into columns: {found}. Check its quotes and delimiters.")
                if number == 1:
                    table, rows, number = table.slice(1), rows[1:], 2
                number = int(rows[-1]) + 1 if len(rows) else number
                malformed = [row for row in skipped if row[0] < number]
                skipped = skipped[len(malformed) :]
                yield _without_blanks(RawTable(file, dict(zip(names, table.columns, strict=True)), rows, malformed))
        yield RawTable(file, {name: pa.chunked_array([], pa.string()) for name in names}, np.empty(0, np.int64), skipped)
    except pa.ArrowInvalid as error:
        raise DataError(f"{file} is no CSV that can be split: {_one_line(error)}. Check its quotes and delimiters.") from error


def _numbers_of(count: int, first: int, skipped: list[tuple[int, str]]) -> NDArray[np.int64]:
    """The numbers of so many rows from the first on, without those that were skipped.

    >>> _numbers_of(3, 5, [(6, "2 columns instead of 3")])
    array([5, 7, 8])
    """
    numbers = np.arange(first, first + count + len(skipped))
    return numbers[~np.isin(numbers, [row for row, _ in skipped])][:count]


def _without_blanks(table: RawTable) -> RawTable:
    blank = np.ones(len(table.rows), dtype=bool)
    for column in table.columns.values():
        blank &= pc.equal(pc.utf8_length(column), 0).to_numpy()
    if not blank.any():
        return table
    kept = pa.array(~blank)
    return replace(table, columns={name: column.filter(kept) for name, column in table.columns.items()}, rows=table.rows[~blank])


def _read_header(file: str, data: bytes) -> tuple[list[str], str]:
    """The column names of a CSV, and the delimiter between them."""
    start = data.decode("utf-8", errors="ignore")
    line = re.split(r"[\r\n]", start, maxsplit=1)[0]
    if not line.strip():
        raise DataError(f"{file} begins with an empty line; expected a header such as unique_id,ds,y.")
    try:
        counts = {delimiter: len(next(csv.reader([line], delimiter=delimiter))) for delimiter in DELIMITERS}
        delimiter = max(counts, key=lambda candidate: counts[candidate])
        names = [name.strip() for name in next(csv.reader(io.StringIO(start, newline=None), delimiter=delimiter))]
    except csv.Error as error:
        raise DataError(f"{file}: its header is no CSV: {_one_line(error)}. Put names first, such as unique_id,ds,y.") from error
    check_names(file, names)
    return names, delimiter


def check_names(file: str, names: list[str]) -> None:
    """Raises DataError when two columns bear one name."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{file} has {names.count(twice[0])} columns named {twice[0]!r}; expected each name once. Rename them.")


def _read_parquet(file: str, content: Content, at_once: int) -> Iterator[RawTable]:
    try:
        with content.opened() as stream:
            parquet, first = pyarrow.parquet.ParquetFile(stream, pre_buffer=False), 1
            check_names(file, parquet.schema_arrow.names)
            count = max(CELLS_A_ROW * at_once // max(len(parquet.schema_arrow), 1), 1)
            for batch in parquet.iter_batches(batch_size=count, use_threads=False):
                table = pa.Table.from_batches([batch])
                columns = dict(zip(table.column_names, table.columns, strict=True))
                yield RawTable(file, columns, np.arange(first, first + batch.num_rows))
                first += batch.num_rows
    except pa.ArrowMemoryError:
        raise  # the file is sound
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is a damaged Parquet file: {_one_line(error)}. Fetch or write it again.") from error


def _read_ndjson(file: str, content: Content, at_once: int) -> Iterator[RawTable]:
    """Tables of records; a column holds numbers or text, whatever of them stands in any of the tables."""
    kinds: dict[str, set[str]] = {}
    few = list(islice(_records_of(content, at_once), 2))
    for batch in few if len(few) == 1 else _records_of(content, at_once):
        _note_kinds(batch.records, kinds)
    for batch in few if len(few) == 1 else _records_of(content, at_once):
        if not kinds and not batch.records and batch.malformed:
            row, found = batch.malformed[0]
            raise DataError(f"{file}, row {row}: {found}; expected one JSON object on each line.")
        columns = {name: _json_column([record.get(name) for record in batch.records], met) for name, met in kinds.items()}
        yield RawTable(file, columns, np.asarray(batch.rows, dtype=np.int64), batch.malformed)


@dataclass
class _Records:
    """Objects of an NDJSON file, the rows they stood in, and what stood in other rows."""

    records: list[dict[str, Any]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    malformed: list[tuple[int, str]] = field(default_factory=list)


def _records_of(content: Content, at_once: int) -> Iterator[_Records]:
    """The objects of an NDJSON file, so many at a time."""
    batch = _Records()
    with content.opened() as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                record = _load(line)
            except (ValueError, RecursionError) as error:
                batch.malformed.append((number, f"no JSON: {_one_line(error)}"))
                continue
            if isinstance(record, dict):
                batch.records.append(record)
                batch.rows.append(number)
            else:
                batch.malformed.append((number, f"a JSON {type(record).__name__} instead of an object"))
            if len(batch.records) == at_once:
                yield batch
                batch = _Records()
    yield batch


def _note_kinds(records: list[dict[str, Any]], kinds: dict[str, set[str]]) -> None:
    """What kinds of values each column has."""
    for record in records:
        for name, value in record.items():
            met = kinds.setdefault(name, set())
            if type(value) is int and -(2**63) <= value < 2**63:
                met.add("whole" if abs(value) <= 2**53 else "large")
            elif value is not None:
                met.add("fraction" if type(value) is float else "text")


def _load(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        record = json.loads(line)  # accepts NaN and Infinity, which Python writes
        json.dumps(record, ensure_ascii=False).encode()  # and halves of characters, which nothing else does
        return record


def _json_column(values: list[Any], kinds: set[str]) -> pa.ChunkedArray:
    """Numbers or text; a column that holds anything else, or both, becomes text, and so does one that no double can hold."""
    if not kinds:
        return pa.chunked_array([pa.array(values)])
    if kinds <= {"whole", "large"}:
        return pa.chunked_array([pa.array(values, type=pa.int64())])
    if kinds <= {"whole", "fraction"}:
        return pa.chunked_array([pa.array(values, type=pa.float64())])
    texts = [value if isinstance(value, str) or value is None else json.dumps(value) for value in values]
    return pa.chunked_array([pa.array(texts, type=pa.string())])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160].rstrip(".")
