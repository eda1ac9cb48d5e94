"""Which column holds what: ids, times and values, in long or wide files, whatever they are called."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from forecaster.errors import ConfigError, DataError
from forecaster.ingest.numbers import Decimal, parse_numbers
from forecaster.ingest.tables import RawTable
from forecaster.ingest.timestamps import FINE, parse_times

LayoutName = Literal["auto", "long", "wide"]

ID_NAMES = ("unique_id", "series_id", "item_id", "ts_id", "id", "series", "series_name", "item", "key", "sku", "store_id")
TIME_NAMES = ("ds", "timestamp", "datetime", "date_time", "date", "time", "timestamp_utc", "day", "month", "period", "step", "t")
VALUE_NAMES = ("y", "value", "target", "val", "values")
CANONICAL = {"id": "unique_id", "time": "ds", "value": "y"}
RESERVED = ("unique_id", "ds", "y", "position")
SAMPLE = 200


@dataclass(frozen=True)
class ColumnNames:
    """Names that the user gave; None is found by common names.

    `known` are columns of covariates whose future is known, `static` columns that never change in a series; a file may lack
    them.

    >>> ColumnNames(known=("price",), static=("price",))
    Traceback (most recent call last):
        ...
    forecaster.errors.ConfigError: column 'price' is named twice (--known, --static); expected one role for it. Name it once.
    """

    id: str | None = None
    time: str | None = None
    value: str | None = None
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        roles: dict[str, tuple[str | None, ...]] = {
            "--id-column": (self.id,),
            "--time-column": (self.time,),
            "--value-column": (self.value,),
            "--known": self.known,
            "--static": self.static,
        }
        flags: dict[str, list[str]] = {}
        for flag, names in roles.items():
            for name in names:
                if name is not None:
                    flags.setdefault(name, []).append(flag)
        for name in (*self.known, *self.static):
            if len(flags[name]) > 1:
                named = ", ".join(flags[name])
                raise ConfigError(f"column {name!r} is named twice ({named}); expected one role for it. Name it once.")
            if name in RESERVED:
                raise ConfigError(f"column {name!r} cannot be {flags[name][0]}: a panel calls another column so. Rename it.")


@dataclass(frozen=True)
class Layout:
    """Where a table keeps its series: `id` is None when the file is one series, or when each value column is one (wide).

    `values` is empty where a table has covariates (`known`) only.
    """

    time: str
    values: tuple[str, ...]
    id: str | None = None
    is_wide: bool = False
    ignored: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()


def find_layout(table: RawTable, names: ColumnNames, layout: LayoutName = "auto", *, decimal: Decimal = ".") -> Layout:
    """The layout of a table.

    Raises DataError when a column is missing or cannot be told from another; it names the flag that says which.
    """
    known, static = (tuple(name for name in asked if name in table.columns) for asked in (names.known, names.static))
    beside = {*known, *static}
    table = replace(table, columns={name: column for name, column in table.columns.items() if name not in beside})
    found = _find_series(table, names, layout, decimal=decimal, may_lack_values=bool(beside))
    if found.is_wide and beside:
        flag = f"--known {known[0]}" if known else f"--static {static[0]}"
        raise DataError(
            f"{table.file} is wide, with a column for each series, and {flag} needs a row for each series and time. "
            "Write it long, with columns unique_id, ds and y, or name the --value-column."
        )
    return replace(found, known=known, static=static)


def _find_series(table: RawTable, names: ColumnNames, layout: LayoutName, *, decimal: Decimal, may_lack_values: bool) -> Layout:
    """Where ids, times and values are, in a table without what stands beside them."""
    if not any(_find(table, role, getattr(names, role)) for role in ("id", "time", "value")):
        _check_has_header(table)
    time = _find(table, "time", names.time) or _find_time_by_content(table)
    others = [column for column in table.columns if column not in (time, "")]
    if layout == "wide":
        return replace(_wide(table, time, others, decimal), is_wide=True)
    identity = _find(table, "id", names.id)
    value = _find(table, "value", names.value)
    if value is None:
        candidates = [column for column in others if column != identity]
        numeric = [column for column in candidates if _is_numeric(table.columns[column], decimal)]
        if may_lack_values and not numeric:
            return Layout(time, (), identity, ignored=tuple(candidates))
        if identity is None and layout == "auto":
            return _wide(table, time, others, decimal)
        if len(numeric) > 1 or not candidates:
            shown = ", ".join(numeric) or "none left"
            raise DataError(f"{table.file}: no column is named {_or(VALUE_NAMES[:3])} ({shown}). Pass --value-column NAME.")
        value = (numeric or candidates)[0]
    ignored = tuple(column for column in others if column not in (identity, value))
    if identity is None and layout == "auto":
        _check_no_id_hides(table, ignored, decimal)
    return Layout(time, (value,), identity, ignored=ignored)


def _find(table: RawTable, role: str, given: str | None) -> str | None:
    """The column of a role: the one given, else the one that bears a common name; DataError when several do."""
    columns = table.columns
    if given is not None:
        if given not in columns:
            raise DataError(f"{table.file} has no column {given!r} (--{role}-column); expected one of {', '.join(columns)}.")
        return given
    common = {"id": ID_NAMES, "time": TIME_NAMES, "value": VALUE_NAMES}[role]
    found = [column for column in columns if column.lower() in common]
    canonical = [column for column in found if column.lower() == CANONICAL[role]]
    if len(canonical) == 1:
        return canonical[0]
    if len(found) > 1:
        raise DataError(f"{table.file}: columns {' and '.join(found)} could each be the {role}. Pass --{role}-column {found[0]}.")
    return found[0] if found else None


def _find_time_by_content(table: RawTable) -> str:
    """The only column whose every value reads as a date; DataError when there is none, or more than one."""
    found = [name for name, column in table.columns.items() if _is_dates(column)]
    if len(found) == 1:
        return found[0]
    problem = f"columns {' and '.join(found)} both hold dates" if found else f"no column is named {_or(TIME_NAMES[:5])}"
    raise DataError(f"{table.file}: {problem}; its columns are {', '.join(table.columns) or 'none'}. Pass --time-column NAME.")


def _wide(table: RawTable, time: str, others: list[str], decimal: Decimal) -> Layout:
    numeric = [column for column in others if _is_numeric(table.columns[column], decimal) and not column.startswith("Unnamed")]
    ignored = tuple(column for column in others if column not in numeric)
    if not numeric:
        raise DataError(f"{table.file}: no column but {time!r} holds numbers; expected values. Pass --value-column NAME.")
    _check_no_id_hides(table, ignored, decimal)
    times = table.columns[time]
    if len(numeric) > 1 and len(times.unique()) * 2 < len(times):
        raise DataError(
            f"{table.file}: times repeat in {time!r}, and a wide file has one row for each. "
            f"Pass --id-column {numeric[0]} if that column names the series."
        )
    return Layout(time, tuple(numeric), is_wide=len(numeric) > 1, ignored=ignored)


def _check_no_id_hides(table: RawTable, ignored: tuple[str, ...], decimal: Decimal) -> None:
    """Raises DataError when a column of text could be what names the series."""
    texts = [name for name in ignored if _is_text(table.columns[name]) and not _is_numeric(table.columns[name], decimal)]
    texts = [name for name in texts if not _is_dates(table.columns[name])]
    if texts:
        raise DataError(
            f"{table.file}: no column is named {_or(ID_NAMES[:3])}, and {texts[0]!r} may name the series. "
            f"Pass --id-column {texts[0]}, or --layout {'wide' if len(table.columns) > 3 else 'long'} if the file is without ids."
        )


def _check_has_header(table: RawTable) -> None:
    """Raises DataError when the first row of a file holds data instead of names."""
    cells = [cell for cell in table.columns if cell]
    data = [cell for cell in cells if not parse_numbers(pa.chunked_array([[cell]])).is_bad[0] or _is_dates(_one(cell))]
    if data and not any(cell.lower() in TIME_NAMES for cell in cells):
        raise DataError(f"{table.file} has no header: its first row holds {data[0]!r}. Put names first, such as unique_id,ds,y.")


def _is_numeric(column: pa.ChunkedArray, decimal: Decimal) -> bool:
    """Whether most of a sample of values are numbers, or text that was meant to be one."""
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type) or pa.types.is_nested(column.type):
        return False
    sample = _sample(column)
    bad = parse_numbers(sample, decimal).is_bad
    if not bad.any():
        return True
    if _is_dates(sample):
        return False
    begins_like_one = [str(text).lstrip("+-")[:1].isdigit() for text in sample.to_pylist()]
    return bool((bad & ~np.asarray(begins_like_one, dtype=bool)).sum() * 2 <= len(bad))


def _is_dates(column: pa.ChunkedArray) -> bool:
    if pa.types.is_nested(column.type):
        return False
    try:
        times = parse_times(_sample(column))
    except DataError:  # dates whose day and month can be told apart in no row
        return True
    return not times.is_numbered and bool((times.fault == FINE).mean() > 0.5)


def _is_text(column: pa.ChunkedArray) -> bool:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _sample(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Some values from all over a column."""
    if not len(column):
        return column
    return column.take(pa.array(np.unique(np.linspace(0, len(column) - 1, SAMPLE).astype(np.int64))))


def _one(text: str) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([text], type=pa.string())])


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
