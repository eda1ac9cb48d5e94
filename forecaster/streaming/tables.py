"""Tables as feeds: an Arrow or a Parquet file again, from the row where it was left, perhaps at its own pace.

Lines count rows, and so does the offset of a feed's position.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from forecaster.errors import ConfigError, DataError
from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.arrivals_arrow import COLUMNS, ArrowRows
from forecaster.streaming.arrow_streams import DAMAGES, Batches, Pending, Stop, ends_within, first_line_of, no_arrow
from forecaster.streaming.follow import FeedFile, another_file
from forecaster.streaming.intake import Intake
from forecaster.streaming.replay import Pace

ARROW_FILE = b"ARROW1"
ARRIVED = "arrival"  # the column of a replayed table that says when a row came, where that is known


def read_table(
    path: Path,
    frequency: Frequency,
    intake: Intake,
    *,
    is_parquet: bool,
    speed: float | None = None,
) -> Iterator[Arrivals]:
    """Micro-batches of an Arrow or Parquet file, from the row where it was left.

    Arrow comes in the order of its rows; Parquet, and anything with a `speed`, in the order of the column `arrival` where there
    is one and of ds otherwise, equals in the order of their rows. With `speed`, what happened at one moment comes that many times
    as fast as it did. Raises StateError when the file is another one than the state knows, DataError when it is no such file, or
    lacks a column, ConfigError when there is no pace.
    """
    committed = intake.committed
    with FeedFile(path) as file:
        if not committed.token:
            skipped = 0
        elif file.is_it(committed):
            skipped = committed.offset
        else:
            raise another_file(path, committed)
        seen = replace(committed, offset=skipped, token=file.token())
    schema, batches = _parquet(path) if is_parquet else _arrow(path)
    if is_parquet or speed is not None:
        batches = _in_time(pa.Table.from_batches(batches, schema), skipped, speed, frequency, should_stop=intake.should_stop)
        skipped = 0
    rows = ArrowRows(schema, frequency, floored=intake.floored)
    try:
        for batch in _from(batches, skipped, intake.max_batch, is_cut_already=speed is not None):
            if intake.should_stop():
                return
            arrivals = rows.read(batch, first_line=seen.lines + 1, feed=seen)
            seen = replace(arrivals.feed, offset=seen.offset + len(batch))
            yield replace(arrivals, feed=seen)
    except DAMAGES as error:
        yield ends_within(seen.lines + 1, seen, error)


def _arrow(path: Path) -> tuple[pa.Schema, Batches]:
    try:
        source = pa.OSFile(str(path))
        is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
        source.seek(0)
        if not is_file:
            reader = pa.ipc.open_stream(source)
            return reader.schema, _streams(reader, source)
        whole = pa.ipc.open_file(source)
        return whole.schema, (whole.get_batch(n) for n in range(whole.num_record_batches))
    except DAMAGES as error:
        raise no_arrow(str(path), error) from error


def _streams(reader: pa.RecordBatchReader, source: pa.NativeFile) -> Batches:
    """The record batches of one stream after another."""
    schema = reader.schema
    yield from reader
    while source.tell() < source.size():
        reader = pa.ipc.open_stream(source)
        if not reader.schema.equals(schema):
            raise pa.ArrowInvalid("another stream follows, of another schema")
        yield from reader


def _parquet(path: Path) -> tuple[pa.Schema, Batches]:
    try:
        names = pyarrow.parquet.read_schema(path).names
        table = pyarrow.parquet.read_table(path, columns=[name for name in (*COLUMNS, ARRIVED) if name in names])
    except DAMAGES as error:
        raise DataError(
            f"{path} is not Parquet ({first_line_of(error)}). Name a Parquet file, or say with --format what it is."
        ) from error
    return table.schema, iter(table.combine_chunks().to_batches())


def _from(batches: Batches, skipped: int, size: int, *, is_cut_already: bool) -> Batches:
    """The batches behind so many rows, cut to `size`, or as they are where they keep a pace."""
    pending = Pending(size)
    for batch in batches:
        left = batch.slice(min(skipped, len(batch)))
        skipped -= len(batch) - len(left)
        pending.add(left)
        yield from pending.full()
        if is_cut_already:
            yield from pending.rest()
    yield from pending.rest()


def _in_time(table: pa.Table, skipped: int, speed: float | None, frequency: Frequency, *, should_stop: Stop) -> Batches:
    """The rows of a table in the order of time, those of one moment together where they keep a pace."""
    clock = ARRIVED if ARRIVED in table.column_names else "ds"
    if clock in table.column_names:
        times = table[clock]
        if pa.types.is_dictionary(times.type):
            times = times.cast(times.type.value_type)
        table = table.take(pc.sort_indices(times))
    table = table.slice(skipped).combine_chunks()
    if speed is None:
        yield from table.to_batches()
        return
    if frequency.is_numbered:
        raise ConfigError("--speed needs dates, and this panel counts steps. Leave it out, to replay as fast as possible.")
    try:
        moments = table[clock].cast(pa.timestamp("ns")).cast(pa.int64())
        moments = pc.fill_null_forward(moments).fill_null(0).to_numpy()  # what is no time comes last, and becomes a dead letter
    except (pa.ArrowException, KeyError) as error:
        raise DataError(f"{clock} holds no times ({first_line_of(error)}). Replay the file without --speed.") from error
    pace = Pace(speed, should_stop=should_stop)
    edges = [0, *(np.flatnonzero(np.diff(moments)) + 1).tolist(), len(moments)] if len(moments) else []
    for first, stop in pairwise(edges):
        if not pace.wait(int(moments[first])):
            return
        yield from table.slice(first, stop - first).to_batches()
