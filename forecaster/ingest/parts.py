"""A panel as Parquet files: its series spread over parts by a stable hash, each series in one of them."""

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from forecaster.frequency import Frequency
from forecaster.series import Panel

POSITIONS_PER_PART, MOST_PARTS = 500_000, 64


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
            yield f"part-{number:03}.parquet", _parquet(_table(panel.select(chosen.tolist())))


def panel_of(parts: Sequence[bytes], frequency: Frequency) -> Panel:
    """The panel in the bytes of its files."""
    tables = [pyarrow.parquet.read_table(pa.BufferReader(data), columns=["unique_id", "position", "y"]) for data in parts]
    table = pa.concat_tables(tables).combine_chunks()
    encoded = table["unique_id"].cast(pa.string()).combine_chunks().dictionary_encode()
    names = np.asarray(encoded.dictionary.to_pylist(), dtype=object)
    order = np.argsort(names, kind="stable")
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    codes = rank[encoded.indices.to_numpy().astype(np.int64)]
    positions = table["position"].to_numpy()
    values = table["y"].to_numpy()
    return Panel.from_codes(tuple(names[order]), codes, positions=positions, values=values, frequency=frequency)


def _table(panel: Panel) -> pa.Table:
    """A panel in long format; `position` is what this program reads, `ds` is for other readers."""
    series: NDArray[np.int32] = np.repeat(np.arange(len(panel), dtype=np.int32), panel.lengths)
    positions = np.arange(len(panel.values)) + np.repeat(panel.starts - panel.offsets[:-1], panel.lengths)
    ids = pa.DictionaryArray.from_arrays(pa.array(series), pa.array(panel.ids, type=pa.string()))
    stamps = np.asarray(panel.frequency.timestamps(positions))
    return pa.table({"unique_id": ids, "ds": stamps, "position": positions, "y": panel.values})


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
