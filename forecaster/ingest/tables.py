"""One file as a table of raw columns, with the row that each value stood in.

Text stays text here: an id `007` keeps its zeros, and what is no number can be shown as it was written.
"""

import csv
import io
import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from forecaster.errors import DataError
from forecaster.ingest.files import FileFormat, label

DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class RawTable:
    """Columns by name, the row of the file each of their N values stood in, and the rows that could not be split."""

    file: str
    columns: dict[str, pa.ChunkedArray]
    rows: NDArray[np.int64]
    malformed: list[tuple[int, str]] = field(default_factory=list)


def read_table(name: str, data: bytes, file_format: FileFormat) -> RawTable:
    """The table in a file's bytes; text must be UTF-8. Raises DataError when there is none."""
    read = {"csv": _read_csv, "parquet": _read_parquet, "ndjson": _read_ndjson}[file_format]
    table = read(label(name), data)
    if not len(table.rows) and table.malformed:
        row, found = table.malformed[0]
        raise DataError(f"{label(name)}, row {row}: {found}; expected rows that fit the header. No other row is left.")
    if not len(table.rows):
        raise DataError(f"{label(name)} has a header and no rows; expected at least one row.")
    return table


def _read_csv(file: str, data: bytes) -> RawTable:
    names, delimiter = _read_header(file, data)
    numbers = [str(number) for number in range(len(names))]
    malformed: list[tuple[int, str]] = []

    def skip(row: Any) -> str:
        found = f"{row.actual_columns} columns instead of {row.expected_columns}: {row.text[:60]!r}"
        malformed.append((row.number, found))
        return "skip"

    try:
        table = pyarrow.csv.read_csv(
            io.BytesIO(data + b"\n"),
            read_options=pyarrow.csv.ReadOptions(use_threads=False, block_size=1 << 24, column_names=numbers),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=delimiter, invalid_row_handler=skip, ignore_empty_lines=False, newlines_in_values=b'"' in data
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(numbers, pa.string()), strings_can_be_null=False, quoted_strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{file} is no CSV that can be split: {_one_line(error)}. Check its quotes and delimiters.") from error
    skipped = [number for number, _ in malformed]
    if skipped[:1] == [1]:
        raise DataError(f"{file}: its header cannot be split into columns: {malformed[0][1]}. Check its quotes and delimiters.")
    rows = np.delete(np.arange(1, 1 + table.num_rows + len(skipped)), np.asarray(skipped, dtype=np.int64) - 1)
    table, rows = table.slice(1), rows[1:]
    blank = np.ones(table.num_rows, dtype=bool)
    for column in table.columns:
        blank &= pc.equal(pc.utf8_length(column), 0).to_numpy()
    if blank.any():
        table, rows = table.filter(pa.array(~blank)), rows[~blank]
    return RawTable(file, dict(zip(names, table.columns, strict=True)), rows, malformed)


def _read_header(file: str, data: bytes) -> tuple[list[str], str]:
    """The column names of a CSV, and the delimiter between them."""
    start = data[: 1 << 20].decode("utf-8", errors="ignore")
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


def _read_parquet(file: str, data: bytes) -> RawTable:
    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(data)).read()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is a damaged Parquet file: {_one_line(error)}. Fetch or write it again.") from error
    check_names(file, table.column_names)
    columns = dict(zip(table.column_names, table.columns, strict=True))
    return RawTable(file, columns, np.arange(1, table.num_rows + 1))


def _read_ndjson(file: str, data: bytes) -> RawTable:
    records, rows, malformed = [], [], []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            record = _load(line)
        except (ValueError, RecursionError) as error:
            malformed.append((number, f"no JSON: {_one_line(error)}"))
            continue
        if isinstance(record, dict):
            records.append(record)
            rows.append(number)
        else:
            malformed.append((number, f"a JSON {type(record).__name__} instead of an object"))
    if not records:
        raise DataError(f"{file}, row {malformed[0][0]}: {malformed[0][1]}; expected one JSON object on each line.")
    names = dict.fromkeys(name for record in records for name in record)
    columns = {name: _json_column([record.get(name) for record in records]) for name in names}
    return RawTable(file, columns, np.asarray(rows, dtype=np.int64), malformed)


def _load(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        record = json.loads(line)  # accepts NaN and Infinity, which Python writes
        json.dumps(record, ensure_ascii=False).encode()  # and halves of characters, which nothing else does
        return record


def _json_column(values: list[Any]) -> pa.ChunkedArray:
    """Numbers or text; a column that holds anything else, or both, becomes text."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float} or kinds == {str}:
        try:
            return pa.chunked_array([pa.array(values, type=pa.float64() if float in kinds else None)])
        except (pa.ArrowInvalid, OverflowError):
            pass
    texts = [value if isinstance(value, str) or value is None else json.dumps(value) for value in values]
    return pa.chunked_array([pa.array(texts, type=pa.string())])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160].rstrip(".")
