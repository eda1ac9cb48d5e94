"""A panel as Parquet files for any reader: its series spread over parts by a stable hash, each series in one of them.

`part-NNN.parquet` has the values and `_known-NNN.parquet` the covariates, each in long format; `_static.parquet` has a row for
each series. Readers of a whole folder pass over names that begin with `_`, so they find the values. This program reads the parts
of old panels only; of newer ones it maps what `mapped` has written beside them.
"""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from forecaster.covariates import Known, Static
from forecaster.frequency import Frequency, Positions
from forecaster.series import Panel, spread_out

STATIC = "_static.parquet"
POSITIONS_PER_PART, MOST_PARTS = 500_000, 4_096


def part_of(unique_id: str, parts: int) -> int:
    """The part that a series lies in: a stable hash, the same in every process.

    >>> part_of("H1", 8)
    0
    """
    return zlib.crc32(unique_id.encode()) % parts


def parts_of(panel: Panel) -> Iterator[tuple[str, bytes]]:
    """The files of a panel, by name."""
    count = min(MOST_PARTS, 1 + len(panel.values) // POSITIONS_PER_PART)
    part_numbers = np.asarray([part_of(series, count) for series in panel.ids])
    for number in range(count):
        chosen = np.flatnonzero(part_numbers == number)
        if len(chosen):
            part = panel.select(chosen.tolist())
            yield f"part-{number:03}.parquet", as_parquet(_values_table(part))
            if part.known is not None:
                yield f"_known-{number:03}.parquet", as_parquet(_known_table(part, part.known))
    if panel.static is not None:
        yield STATIC, as_parquet(_static_table(panel, panel.static))


def panel_of(files: Mapping[str, bytes], frequency: Frequency) -> Panel:
    """The panel in its files, given by name."""
    tables = {name: read_parquet(data) for name, data in files.items()}
    parts, known = ([table for name, table in tables.items() if name.startswith(kind)] for kind in ("part-", "_known-"))
    table = pa.concat_tables(parts).combine_chunks()
    names, codes = _ids_and_codes(table)
    values, positions = table["y"].to_numpy(), table["position"].to_numpy()
    panel = Panel.from_codes(tuple(names), codes, positions=positions, values=values, frequency=frequency)
    if known:
        panel = replace(panel, known=_known_of(pa.concat_tables(known).combine_chunks(), panel))
    if STATIC in tables:
        panel = replace(panel, static=static_of(tables[STATIC]))
    return panel


def _ids_and_codes(table: pa.Table) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """The sorted ids of a table, and which of them each row has."""
    encoded = table["unique_id"].cast(pa.string()).combine_chunks().dictionary_encode()
    names = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names, kind="stable")
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return names[order], rank[encoded.indices.to_numpy().astype(np.int64)]


def _known_of(table: pa.Table, panel: Panel) -> Known:
    columns = [name for name in table.column_names if name not in ("unique_id", "ds", "position")]
    names, codes = _ids_and_codes(table)
    index = {series: code for code, series in enumerate(panel.ids)}
    own = np.asarray([index[series] for series in names], dtype=np.int64)
    values = np.column_stack([table[name].to_numpy() for name in columns])
    return Known.from_rows(
        tuple(columns), own[codes], positions=table["position"].to_numpy(), values=values, carried_to=panel.ends
    )


def static_of(table: pa.Table) -> Static:
    """What never changes in series, from the table that a part has of it."""
    columns = [column for column in table.column_names if column != "unique_id"]
    cells = [table[name].to_numpy(zero_copy_only=False) for name in columns]
    return Static(tuple(columns), tuple(column if column.dtype == object else column.astype(np.float64) for column in cells))


def _values_table(panel: Panel) -> pa.Table:
    codes, positions = spread_out(panel.starts, panel.lengths)
    return pa.table({**_keys(panel, codes, positions), "y": panel.values})


def _known_table(panel: Panel, known: Known) -> pa.Table:
    codes, positions = spread_out(known.starts, known.lengths)
    columns = {name: np.ascontiguousarray(known.values[:, k]) for k, name in enumerate(known.names)}
    return pa.table({**_keys(panel, codes, positions), **columns})


def _static_table(panel: Panel, static: Static) -> pa.Table:
    columns = {
        name: pa.array(column, type=pa.string() if column.dtype == object else pa.float64())
        for name, column in zip(static.names, static.columns, strict=True)
    }
    return pa.table({"unique_id": pa.array(panel.ids, type=pa.string()), **columns})


def _keys(panel: Panel, codes: NDArray[np.int64], positions: Positions) -> dict[str, Any]:
    """Columns that say which series and when: `position` is what this program reads, `ds` is for other readers."""
    ids = pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(panel.ids, type=pa.string()))
    return {"unique_id": ids, "ds": np.asarray(panel.frequency.timestamps(positions)), "position": positions}


def read_parquet(data: bytes) -> pa.Table:
    """A table from the bytes of a file, by this thread alone.

    Arrow's threads may still be starting when a command that failed leaves, and then abort the interpreter.
    """
    return pyarrow.parquet.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(use_threads=False)


def as_parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a file."""
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
