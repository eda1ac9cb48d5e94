"""What files say of series besides their values: covariates whose future is known, and what never changes."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forecaster.covariates import Static, as_static_text, static_column
from forecaster.errors import DataError
from forecaster.ingest.faults import Fault, Faults, IngestPolicies, action_of, first_of
from forecaster.ingest.numbers import LARGEST_VALUE, Decimal, Numbers, as_text, parse_numbers
from forecaster.ingest.schema import ColumnNames
from forecaster.ingest.tables import RawTable
from forecaster.series import Values

NO_STATIC = frozenset({"", "nan", "null", "none", "<na>"})  # "NA" may be Namibia, or North America
NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")  # 007 is a name


@dataclass(frozen=True)
class StaticCell:
    """What a row says of a series: that `name` is `cell`."""

    series: str
    name: str
    cell: float | str
    file: str
    row: int


@dataclass
class Beside:
    """What was met in the files besides values: all columns, and the first cell of each series in each static one."""

    columns: dict[str, None] = field(default_factory=dict)
    static: dict[tuple[str, str], StaticCell] = field(default_factory=dict)
    _at_odds: set[tuple[str, str, str, str]] = field(default_factory=set)  # cells that went to `faults`, each once a file

    def add(self, cells: Iterable[StaticCell], faults: Faults) -> None:
        """Keep the cells; one that differs from what was met before goes to `faults`."""
        for cell in cells:
            first = self.static.setdefault((cell.series, cell.name), cell)
            word = as_static_text(cell.cell)
            key = (cell.file, cell.series, cell.name, word)
            if as_static_text(first.cell) != word and key not in self._at_odds:
                self._at_odds.add(key)
                elsewhere = "" if first.file == cell.file else f" of {first.file}"
                found = f"{cell.name} is {_shown(cell.cell)}, and {_shown(first.cell)} in row {first.row}{elsewhere}"
                faults.add("changing_static", "error", [Fault("changing_static", cell.series, cell.file, cell.row, found)])

    def check_columns(self, columns: ColumnNames) -> None:
        """Raises DataError when a column that was asked for was in no file."""
        for flag, names in (("--known", columns.known), ("--static", columns.static)):
            for name in names:
                if name not in self.columns:
                    met = ", ".join(self.columns)
                    raise DataError(f"no file has a column {name!r} ({flag}); expected one of {met}. Check its name.")


@dataclass(frozen=True)
class TableRows:
    """The rows of a table that are sound: their series `ids[codes]`, and where in the table each stands [N]."""

    table: RawTable
    ids: tuple[str, ...]
    codes: NDArray[np.int64]
    places: NDArray[np.int64]

    def fault(self, kind: str, row: int, found: str) -> Fault:
        return Fault(kind, self.ids[self.codes[row]], self.table.file, int(self.table.rows[self.places[row]]), found)


def read_known(rows: TableRows, names: Sequence[str], *, decimal: Decimal, policies: IngestPolicies, faults: Faults) -> Values:
    """The covariates [N, K] of rows, NaN where one is missing or its column is; what is no number goes to `faults`."""
    known = np.full((len(rows.places), len(names)), np.nan)
    for k, name in enumerate(names):
        if name not in rows.table.columns:
            continue
        column = rows.table.columns[name]
        numbers = parse_flags(column, decimal)
        values, is_bad = numbers.values[rows.places], numbers.is_bad[rows.places]
        with np.errstate(invalid="ignore"):
            lost = np.isinf(values) | (np.abs(values) > LARGEST_VALUE)
        missing = np.isnan(values) & ~is_bad
        text = [str(column[int(rows.places[r])].as_py()).strip()[:40] for r in first_of(is_bad)]
        for kind, mask, choice, said in (
            ("text_covariate", is_bad, policies.unparsable, [f"{word!r}, which is no number" for word in text]),
            ("infinite", lost, policies.infinite, [f"{values[r]:g}; expected a value up to 1e30" for r in first_of(lost)]),
            ("missing_covariate", missing, policies.missing, ["missing"] * len(first_of(missing))),
        ):
            if mask.any():
                places = [rows.fault(kind, r, f"{name} is {what}") for r, what in zip(first_of(mask), said, strict=True)]
                faults.add(kind, action_of(choice), places, count=int(mask.sum()))
        known[:, k] = np.where(is_bad | lost, np.nan, values)
    return known


def parse_flags(column: pa.ChunkedArray, decimal: Decimal = ".") -> Numbers:
    """The numbers in a column of numbers, text, or true and false.

    >>> parse_flags(pa.chunked_array([["1.5", "True", "false", "high"]])).values.tolist()
    [1.5, 1.0, 0.0, nan]
    """
    if pa.types.is_boolean(column.type):
        return parse_numbers(column.cast(pa.int8()))
    numbers = parse_numbers(column, decimal)
    if not numbers.is_bad.any():
        return numbers
    words = pc.utf8_lower(as_text(column))
    is_true, is_false = (pc.fill_null(pc.equal(words, word), False).to_numpy() for word in ("true", "false"))
    values = np.where(is_true, 1.0, np.where(is_false, 0.0, numbers.values))
    return Numbers(values, numbers.is_bad & ~is_true & ~is_false)


def read_static(rows: TableRows, names: Sequence[str]) -> list[StaticCell]:
    """What the rows say of each series in columns that never change: each thing once, with the first row that says it."""
    cells = []
    for name in names:
        if name not in rows.table.columns:
            continue
        codes, words = pd.factorize(as_text(rows.table.columns[name]).to_pandas().astype(object))
        pairs = pd.DataFrame({"series": rows.codes, "word": codes[rows.places]}).drop_duplicates()
        texts = [str(word) for word in words]
        for row, series, code in zip(pairs.index.tolist(), pairs["series"].tolist(), pairs["word"].tolist(), strict=True):
            if code >= 0 and texts[code].lower() not in NO_STATIC:
                place = (rows.table.file, int(rows.table.rows[rows.places[row]]))
                cells.append(StaticCell(rows.ids[series], name, _as_cell(texts[code]), *place))
    return cells


def merge_static(
    ids: tuple[str, ...], names: tuple[str, ...], *, stored: tuple[tuple[str, ...], Static] | None, beside: Beside
) -> tuple[Static | None, int]:
    """What never changes in the series `ids`, what was read winning over what was stored, and how many cells are news."""
    if not names:
        return None, 0
    columns, news = [], 0
    for name in names:
        cells: dict[str, float | str] = {}
        if stored is not None and name in stored[1].names:
            kept = stored[1].columns[stored[1].names.index(name)]
            cells = {series: cell for series, cell in zip(stored[0], kept.tolist(), strict=True) if as_static_text(cell)}
        for series in ids:
            read = beside.static.get((series, name))
            if read is not None:
                news += as_static_text(cells.get(series)) != as_static_text(read.cell)
                cells[series] = read.cell
        columns.append(static_column([cells.get(series) for series in ids]))
    return Static(names, tuple(columns)), news


def _as_cell(word: str) -> float | str:
    return float(word) if NUMBER.fullmatch(word) and np.isfinite(float(word)) else word


def _shown(cell: float | str) -> str:
    return repr(cell) if isinstance(cell, str) else as_static_text(cell)
