"""The rows of a table, in long format and as arrays, each with the place it came from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forecaster.ingest.covariates import Beside, TableRows, read_known, read_static
from forecaster.ingest.faults import FAULTS_KEPT, Action, Fault, Faults, IngestPolicies, action_of, first_of
from forecaster.ingest.files import FileFormat
from forecaster.ingest.numbers import LARGEST_VALUE, Decimal, as_text, no_numbers, parse_numbers, why_no_number
from forecaster.ingest.schema import ColumnNames, Layout, LayoutName
from forecaster.ingest.tables import RawTable
from forecaster.ingest.timestamps import FIRST_YEAR, LAST_YEAR, MISSING_TIME, OUT_OF_RANGE, UNPARSABLE, Times
from forecaster.series import Values

Progress = Callable[[int, int, str], None]

ROWS_AT_ONCE = 1 << 18  # that are read and worked on together (`benchmarks/ten_million.py` says what that takes)


@dataclass(frozen=True)
class Reading:
    """How files are to be read; memory is needed for some multiple of the rows `at_once`."""

    columns: ColumnNames = field(default_factory=ColumnNames)
    layout: LayoutName = "auto"
    file_format: FileFormat = "auto"
    encoding: str | None = None
    decimal: Decimal = "."
    time_format: str | None = None
    only: tuple[str, ...] = ()
    as_steps: bool = False
    at_once: int = ROWS_AT_ONCE


@dataclass(frozen=True)
class Rows:
    """N rows: series `ids[codes]`, times (nanoseconds or step numbers), values, and places (`files[file]`, row).

    `known` [N, K] are the covariates that were asked for, NaN where a row has none.
    """

    ids: tuple[str, ...]
    codes: NDArray[np.int64]
    times: NDArray[np.int64]
    is_zoned: NDArray[np.bool_]
    values: Values
    files: tuple[str, ...]
    file: NDArray[np.int32]
    row: NDArray[np.int64]
    known: Values

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> "Rows":
        """Some of the rows; the ids stay as they are."""
        parts = (self.codes[rows], self.times[rows], self.is_zoned[rows], self.values[rows])
        return Rows(self.ids, *parts, self.files, self.file[rows], self.row[rows], self.known[rows])

    def faults(self, kind: str, rows: NDArray[np.bool_] | NDArray[np.int64], found: Callable[[int], str]) -> list[Fault]:
        """A fault for each row named, as far as places are kept; `found` says what a row holds."""
        return [
            Fault(kind, self.ids[self.codes[r]], self.files[self.file[r]], int(self.row[r]), found(int(r)))
            for r in first_of(rows)
        ]


@dataclass
class SoFar:
    """What was met of one file in the tables before: which value columns have begun, and ids that were trimmed, by first row.

    `has_whole_ids` says whether ids that are fractions are whole numbers in all tables; None where there is one table.
    """

    has_whole_ids: bool | None = None
    begun: set[str] = field(default_factory=set)
    trimmed: dict[str, int] = field(default_factory=dict)


def rows_of(
    table: RawTable,
    layout: Layout,
    times: Times,
    name: str,
    *,
    reading: Reading,
    policies: IngestPolicies,
    faults: Faults,
    beside: Beside,
    so_far: SoFar,
) -> list[Rows]:
    """The sound rows of one table of a file; of a wide one, those of each of its series."""
    stop_or_drop = action_of(policies.unparsable)
    malformed = [Fault("malformed_row", "", table.file, row, found) for row, found in table.malformed[:FAULTS_KEPT]]
    if malformed:
        faults.add("malformed_row", stop_or_drop, malformed, count=len(table.malformed))
    ids, codes = _ids_of(table, layout, name, so_far, faults)
    parts, count, names = [], len(table.rows), reading.columns
    for value in layout.values or (None,):
        numbers = parse_numbers(table.columns[value], reading.decimal) if value is not None else no_numbers(count)
        whole = (codes, times.times, times.is_zoned, numbers.values)
        place = ((table.file,), np.zeros(count, dtype=np.int32), table.rows)
        known = np.full((count, len(names.known)), np.nan)
        rows = Rows((str(value),) if layout.is_wide else ids, *whole, *place, known=known)
        chosen = _chosen(rows.ids, reading.only)[codes]
        if layout.is_wide:
            chosen &= _begun(str(value), ~np.isnan(numbers.values) | numbers.is_bad, so_far)
        sound = _check_rows(
            rows, table, layout, value, chosen=chosen, bad=numbers.is_bad, times=times, action=stop_or_drop, faults=faults
        )
        kept = TableRows(table, rows.ids, codes[sound], np.flatnonzero(sound))
        beside.add(read_static(kept, names.static), faults)
        known = read_known(kept, names.known, decimal=reading.decimal, policies=policies, faults=faults)
        parts.append(_check_values(replace(rows.take(sound), known=known), policies, faults))
    return parts


def _begun(column: str, is_there: NDArray[np.bool_], so_far: SoFar) -> NDArray[np.bool_]:
    """Which rows of a wide column [N] do not lie before its first value."""
    begun = np.logical_or.accumulate(is_there) | (column in so_far.begun)
    if begun[-1:].any():
        so_far.begun.add(column)
    return begun


def _ids_of(
    table: RawTable, layout: Layout, name: str, so_far: SoFar, faults: Faults
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The ids of a table, trimmed, and which of them each row [N] has."""
    if layout.id is None:
        return (name,), np.zeros(len(table.rows), dtype=np.int64)
    column = table.columns[layout.id]
    if are_whole(column) if so_far.has_whole_ids is None else so_far.has_whole_ids:
        column = column.cast(pa.int64(), safe=False)  # ids that a missing one turned into floats
    elif pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    trimmed = as_text(column)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        spaced = pc.fill_null(pc.not_equal(column.cast(trimmed.type), trimmed), False).to_numpy()
        if spaced.any():
            spellings = (
                pd.Series(table.rows[spaced]).groupby(trimmed.filter(pa.array(spaced)).to_pandas().to_numpy(dtype=object)).min()
            )
            found = "spaces around the id are taken off"
            fresh = {str(series): int(row) for series, row in spellings.items() if series and series not in so_far.trimmed}
            so_far.trimmed |= fresh
            places = [Fault("trimmed_id", series, table.file, row, found) for series, row in fresh.items()]
            faults.add("trimmed_id", "repaired", places)
    words = pc.fill_null(trimmed, "").combine_chunks().dictionary_encode()
    return tuple(words.dictionary.to_pylist()), words.indices.to_numpy().astype(np.int64)


def are_whole(column: pa.ChunkedArray) -> bool:
    """Whether these are fractions, and every one of them is a whole number."""
    return bool(pa.types.is_floating(column.type) and pc.all(pc.equal(pc.floor(column), column)).as_py() is not False)


def _check_rows(
    rows: Rows,
    table: RawTable,
    layout: Layout,
    value: str | None,
    *,
    chosen: NDArray[np.bool_],
    bad: NDArray[np.bool_],
    times: Times,
    action: Action,
    faults: Faults,
) -> NDArray[np.bool_]:
    """Which rows have an id, a time and a number; the others go to `faults`."""

    def text(column: str, row: int) -> str:
        return str(table.columns[column][row].as_py()).strip()

    def time_found(row: int) -> str:
        if times.fault[row] == MISSING_TIME:
            return "the timestamp is missing"
        if times.fault[row] == OUT_OF_RANGE:
            span = "a step number below 2**53" if times.is_numbered else f"a year from {FIRST_YEAR} to {LAST_YEAR}"
            return f"timestamp {text(layout.time, row)[:40]!r} is out of range; expected {span}"
        expected = "a whole number" if times.is_numbered else "one such as 2024-01-31 13:00"
        return f"timestamp {text(layout.time, row)[:40]!r} cannot be read; expected {expected}"

    checks: list[tuple[str, NDArray[np.bool_], Callable[[int], str]]] = [
        ("empty_id", np.asarray([not series for series in rows.ids], dtype=bool)[rows.codes], lambda _: "the id is empty"),
        ("unparsable_time", np.isin(times.fault, (MISSING_TIME, UNPARSABLE)), time_found),
        ("out_of_range_time", times.fault == OUT_OF_RANGE, time_found),
        ("non_numeric", bad, lambda row: f"value {why_no_number(text(str(value), row))}"),
    ]
    sound = chosen.copy()
    for kind, mask, found in checks:
        mask = mask & chosen
        if mask.any():
            faults.add(kind, action, rows.faults(kind, mask, found), count=int(mask.sum()))
            sound &= ~mask
    return sound


def _check_values(rows: Rows, policies: IngestPolicies, faults: Faults) -> Rows:
    """Rows whose values are finite or missing; what is beyond that goes to `faults`, and stands as missing."""
    values = rows.values
    with np.errstate(invalid="ignore"):
        huge = np.isfinite(values) & (np.abs(values) > LARGEST_VALUE)
    for kind, mask in (("infinite", np.isinf(values)), ("too_large", huge)):
        if mask.any():
            expected = "a finite value" if kind == "infinite" else "no more than 1e30, what float32 can square"
            places = rows.faults(kind, mask, lambda row: f"value {values[row]:g}; expected {expected}")  # noqa: B023
            faults.add(kind, action_of(policies.infinite), places, count=int(mask.sum()))
    missing = np.isnan(values)
    if missing.any() and not rows.known.shape[1]:  # a row of covariates may lie in the future: that is seen later
        places = rows.faults("missing", missing, lambda _: "the value is missing")
        faults.add("missing", action_of(policies.missing), places, count=int(missing.sum()))
    lost = np.isinf(values) | huge
    if not lost.any():
        return rows
    return replace(rows, values=np.where(lost, np.nan, values))


def _chosen(ids: Sequence[str], only: tuple[str, ...]) -> NDArray[np.bool_]:
    """Which ids match one of the patterns; all when there are none."""
    return np.asarray([not only or any(fnmatchcase(series, pattern) for pattern in only) for series in ids], dtype=bool)
