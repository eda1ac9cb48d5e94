"""Rows of Arrow become observations, a whole record batch at once."""

import zlib
from dataclasses import replace

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.streaming.arrivals import LARGEST_VALUE, Arrivals, CodedIds, too_large
from forecaster.streaming.dates import (
    FIRST_YEAR,
    LAST_YEAR,
    REMEMBERED,
    Dates,
    Unreadable,
    between_steps,
    clock_to_utc,
    twice_or_never,
)
from forecaster.streaming.lateness import NEVER, DeadLetter
from forecaster.streaming.live import FeedPosition

COLUMNS = ("unique_id", "ds", "y")
CHECKED = np.dtype([("ds", "<i8"), ("y", "<f8"), ("length", "<i8")])
UNITS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


class ArrowRows:
    """Reads record batches of one schema: unique_id, ds and y, other columns passed over.

    Ids are text, coded or not, or whole numbers; ds are timestamps of any unit, dates, text, or step numbers; y are numbers,
    missing where they are null or NaN. Raises DataError, when made, if the schema is another one.
    """

    def __init__(self, schema: pa.Schema, frequency: Frequency, *, floored: bool = False) -> None:
        _check_schema(schema, frequency)
        self.frequency = frequency
        self._dates = Dates(frequency, floored=floored)
        self._stamps: dict[int, int | Unreadable] = {}
        self._dictionary: pa.Array | None = None
        self._names: list[str] = []
        self._nameless_codes: list[int] = []

    def read(self, batch: pa.RecordBatch, *, first_line: int, feed: FeedPosition) -> Arrivals:
        """The observations in a record batch; `feed` is where it stood before.

        Raises pyarrow.ArrowInvalid when the batch is damaged.
        """
        batch.validate(full=True)
        columns = {name: batch.column(name) for name in COLUMNS}
        ids = self._ids(columns["unique_id"])
        positions, stamp_faults = self._positions(columns["ds"])
        values = columns["y"].cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        faults = dict(stamp_faults)
        for n in np.flatnonzero(np.abs(values) > LARGEST_VALUE).tolist():
            faults[n] = too_large(ids[n], float(values[n]))
        for n in self._nameless(ids):
            faults[n] = Unreadable("unique_id is empty; expected text that is not.")
        letters = tuple(
            DeadLetter(first_line + n, fault.arrival, _told(ids[n], fault), _row(batch, n)) for n, fault in sorted(faults.items())
        )
        rows = np.delete(np.arange(len(batch)), sorted(faults)) if faults else np.arange(len(batch))
        if faults:
            ids = CodedIds(ids.names, ids.codes[rows]) if isinstance(ids, CodedIds) else [ids[n] for n in rows.tolist()]
        return Arrivals(
            ids=ids,
            positions=positions[rows] if faults else positions,
            values=values[rows] if faults else values,
            lines=rows + first_line,
            rejected=letters,
            feed=after_rows(feed, columns, positions),
            original=lambda n: _row(batch, int(rows[n])),
        )

    # -- ids -------------------------------------------------------------------------------------------------------------

    def _ids(self, column: pa.Array) -> "CodedIds | list[str]":
        if not pa.types.is_dictionary(column.type):
            texts = column if _is_text(column.type) else column.cast(pa.string())
            return list(map(str.strip, (texts.fill_null("") if texts.null_count else texts).to_pylist()))
        if self._dictionary is None or not _is_same(column.dictionary, self._dictionary):
            self._dictionary = column.dictionary  # kept alive, so that its address stays its own
            self._names = [*((text or "").strip() for text in column.dictionary.cast(pa.string()).to_pylist()), ""]
            self._nameless_codes = [code for code, name in enumerate(self._names) if not name]
        codes = column.indices.cast(pa.int64()).fill_null(len(self._names) - 1)
        return CodedIds(self._names, codes.to_numpy())

    def _nameless(self, ids: "CodedIds | list[str]") -> list[int]:
        if isinstance(ids, CodedIds):
            is_rare = len(self._nameless_codes) == 1 and ids.codes.max(initial=0) < len(self._names) - 1
            return [] if is_rare else np.flatnonzero(np.isin(ids.codes, self._nameless_codes)).tolist()
        return [n for n, name in enumerate(ids) if not name] if "" in ids else []

    # -- times -----------------------------------------------------------------------------------------------------------

    def _positions(self, column: pa.Array) -> tuple[NDArray[np.int64], dict[int, Unreadable]]:
        """The position of each row [N], and why some have none."""
        if pa.types.is_date(column.type):
            column = column.cast(pa.timestamp("s" if pa.types.is_date32(column.type) else "ms"))
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        coded = column.dictionary_encode()
        codes = coded.indices.fill_null(len(coded.dictionary)).to_numpy()
        places = [*self._places(coded.dictionary), Unreadable("ds is null; expected a time.")]
        table = np.array([NEVER if isinstance(found, Unreadable) else found for found in places], dtype=np.int64)
        faults = {code: found for code, found in enumerate(places) if isinstance(found, Unreadable)}
        rows = np.flatnonzero(np.isin(codes, list(faults))).tolist() if len(faults) > 1 or column.null_count else []
        return table[codes], {n: faults[int(codes[n])] for n in rows}

    def _places(self, distinct: pa.Array) -> list[int | Unreadable]:
        kind = distinct.type
        if not pa.types.is_timestamp(kind):
            found = self._dates.places(distinct.to_pylist())
            return [found[ds] for ds in distinct.to_pylist()]
        stamps = distinct.view(pa.int64()).to_numpy()
        unknown = [stamp for stamp in stamps.tolist() if stamp not in self._stamps]
        if unknown:
            if len(self._stamps) > REMEMBERED:
                self._stamps.clear()
                unknown = stamps.tolist()
            self._stamps.update(place_stamps(np.array(unknown), kind, self.frequency, floored=self._dates.floored))
        return [self._stamps[stamp] for stamp in stamps.tolist()]


def place_stamps(
    stamps: NDArray[np.int64], kind: pa.TimestampType, frequency: Frequency, *, floored: bool = False
) -> dict[int, int | Unreadable]:
    """The position of every timestamp [N] of a type, or why it has none; without a zone, on the panel's clock."""
    first, end = (np.datetime64(f"{year}-01-01", kind.unit).astype(np.int64) for year in (FIRST_YEAR, LAST_YEAR + 1))
    is_far = (stamps < first) | (stamps >= end)
    places: dict[int, int | Unreadable] = {
        stamp: Unreadable(f"ds lies {stamp} {kind.unit} from 1970; expected a year from {FIRST_YEAR} to {LAST_YEAR}. Mend it.")
        for stamp in stamps[is_far].tolist()
    }
    stamps = stamps[~is_far]
    times = pd.DatetimeIndex((stamps * UNITS[kind.unit]).astype("datetime64[ns]"))
    if kind.tz is None and frequency.time_zone is not None:
        times = clock_to_utc(times, frequency)
        places |= {stamp: twice_or_never(frequency) for stamp in stamps[times.isna()].tolist()}
        stamps, times = stamps[times.notna()], times.dropna()
    positions = frequency.positions(times)
    places |= dict(zip(stamps.tolist(), positions.tolist(), strict=True))
    off_grid = np.flatnonzero(~frequency.is_aligned(times)) if not floored else positions[:0]
    for n, nearest in zip(off_grid, frequency.labels(positions[off_grid]), strict=True):
        places[int(stamps[n])] = between_steps(times[int(n)].isoformat(), nearest, frequency)
    return places


def after_rows(feed: FeedPosition, columns: dict[str, pa.Array], positions: NDArray[np.int64]) -> FeedPosition:
    """Where a feed stands after more rows; the checksum holds one over the ids and one over the rest, whatever the batches."""
    texts = columns["unique_id"].cast(pa.string()).fill_null("")
    _, offset_bytes, data = texts.buffers()
    offsets = np.frombuffer(offset_bytes, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    rows = np.empty(len(texts), CHECKED)
    rows["ds"], rows["length"] = positions, np.diff(offsets)
    rows["y"] = columns["y"].cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    names = memoryview(data)[offsets[0] : offsets[-1]] if data is not None and len(texts) else b""
    checksum = zlib.crc32(rows.tobytes(), feed.checksum & 0xFFFFFFFF) | zlib.crc32(names, feed.checksum >> 32) << 32
    return replace(feed, lines=feed.lines + len(texts), checksum=checksum)


# -- the schema --------------------------------------------------------------------------------------------------------------


def _check_schema(schema: pa.Schema, frequency: Frequency) -> None:
    found = ", ".join(f"{field.name}: {field.type}" for field in schema)
    for name in COLUMNS:
        if len(schema.get_all_field_indices(name)) != 1:
            raise DataError(f"the feed has the columns {found}; expected one {name}. Send unique_id, ds and y.")
    kinds = {name: schema.field(name).type for name in COLUMNS}
    unique_id, ds, y = (kind.value_type if pa.types.is_dictionary(kind) else kind for kind in kinds.values())
    if not (_is_text(unique_id) or pa.types.is_integer(unique_id)):
        raise DataError(f"unique_id is of type {unique_id}; expected text. Send ids as text.")
    if not (pa.types.is_floating(y) or pa.types.is_integer(y) or pa.types.is_decimal(y)) or pa.types.is_dictionary(kinds["y"]):
        raise DataError(f"y is of type {kinds['y']}; expected numbers. Send y as float64.")
    if frequency.is_numbered:
        if not pa.types.is_integer(ds):
            raise DataError(f"ds is of type {ds}, and this panel counts steps. Send ds as whole numbers.")
    elif not (_is_text(ds) or pa.types.is_timestamp(ds) or pa.types.is_date(ds)):
        raise DataError(f"ds is of type {ds}, and this panel has dates. Send ds as timestamps.")
    elif pa.types.is_timestamp(ds) and ds.tz not in (None, "UTC", "+00:00") and frequency.time_zone is None:
        raise DataError(f"ds is in the time zone {ds.tz}, and this panel's clock has none. Send ds without one.")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


# -- one row -----------------------------------------------------------------------------------------------------------------


def _told(unique_id: str, fault: Unreadable) -> str:
    is_told = fault.reason.startswith(("series ", "unique_id "))
    return fault.reason if is_told else f"series {unique_id!r}: {fault.reason}"


def _row(batch: pa.RecordBatch, n: int) -> bytes:
    """A row as a line of JSON, which can be mended and sent again."""
    unique_id, ds, y = (batch.column(name)[n] for name in COLUMNS)
    value = None if not y.is_valid else float(y.as_py())
    return bytes(orjson.dumps({"unique_id": unique_id.as_py(), "ds": _stamp(ds), "y": value}))


def _stamp(ds: pa.Scalar) -> int | str | None:
    if not ds.is_valid:
        return None
    try:
        return int(ds.as_py()) if pa.types.is_integer(ds.type) else str(ds)
    except OverflowError:  # a time that no calendar reaches
        return int(ds.cast(pa.int64()).as_py())


def _is_same(one: pa.Array, other: pa.Array) -> bool:
    """Whether two dictionaries are the same, by their place in memory or else by what they hold."""
    addresses = [
        [(buffer.address, buffer.size) if buffer is not None else None for buffer in array.buffers()] for array in (one, other)
    ]
    if addresses[0] == addresses[1] and (one.offset, len(one)) == (other.offset, len(other)):
        return True
    return len(one) == len(other) and bool(one.equals(other))
