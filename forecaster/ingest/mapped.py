"""A panel as files that are mapped into memory: opened in no time whatever their size, and read where they are looked at.

`_series.parquet` has a row for each series: where it begins, and how long it is. `_values.f64` and `_known.f64` have the values
and the covariates of all series one after the other, each number in eight bytes, the lowest first.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forecaster.covariates import Known
from forecaster.frequency import Frequency
from forecaster.ingest.parts import STATIC, as_parquet, read_parquet, static_of
from forecaster.paged import paged_file
from forecaster.series import Panel, offsets_of

SERIES, VALUES, KNOWN = "_series.parquet", "_values.f64", "_known.f64"
NUMBERS_AT_ONCE = 1 << 20

Pieces = Iterator[bytes | memoryview]


def mapped_files(panel: Panel) -> Iterator[tuple[str, Pieces]]:
    """The files of a panel, by name, each in pieces."""
    columns: dict[str, Any] = {"unique_id": pa.array(panel.ids, pa.string()), "start": panel.starts, "length": panel.lengths}
    if panel.known is not None:
        columns |= {"known_start": panel.known.starts, "known_length": panel.known.lengths}
        names = {b"names": json.dumps(panel.known.names).encode()}
        yield KNOWN, _pieces(panel.known.values.ravel())
    table = pa.table(columns).replace_schema_metadata(names if panel.known is not None else None)
    yield SERIES, iter([as_parquet(table)])
    yield VALUES, _pieces(panel.values)


def mapped_panel(folder: Path, frequency: Frequency) -> Panel:
    """The panel whose values lie in the files of a folder, and stay there; raises OSError where one is gone."""
    table = read_parquet((folder / SERIES).read_bytes())
    starts, lengths = (np.array(table[name].to_numpy()) for name in ("start", "length"))
    offsets = offsets_of(lengths)
    values = paged_file(folder / VALUES, (int(offsets[-1]),), "<f8")
    panel = Panel(tuple(table["unique_id"].to_pylist()), starts, offsets, values, frequency)
    if "known_start" in table.column_names:
        names = tuple(json.loads(table.schema.metadata[b"names"]))
        starts, lengths = (np.array(table[name].to_numpy()) for name in ("known_start", "known_length"))
        offsets = offsets_of(lengths)
        cells = paged_file(folder / KNOWN, (int(offsets[-1]), len(names)), "<f8")
        panel = replace(panel, known=Known(names, starts, offsets, cells, panel.ends))
    if (folder / STATIC).exists():
        panel = replace(panel, static=static_of(read_parquet((folder / STATIC).read_bytes())))
    return panel


def _pieces(numbers: NDArray[np.float64]) -> Pieces:
    for first in range(0, len(numbers), NUMBERS_AT_ONCE):
        yield np.ascontiguousarray(numbers[first : first + NUMBERS_AT_ONCE], dtype="<f8").data
