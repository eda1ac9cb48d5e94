"""All files read, table by table, into rows that are put by, with what came to light besides."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from forecaster.errors import DataError
from forecaster.ingest.content import read_content
from forecaster.ingest.covariates import Beside
from forecaster.ingest.faults import Fault, Faults, IngestPolicies
from forecaster.ingest.files import find_files, label, stem
from forecaster.ingest.rows import Progress, Reading, SoFar, are_whole, rows_of
from forecaster.ingest.schema import find_layout
from forecaster.ingest.spool import Spool
from forecaster.ingest.tables import RawTable, Tables
from forecaster.ingest.timestamps import Times, parse_times


@dataclass
class Gathered:
    """The rows of all files, and what reading them brought to light."""

    spool: Spool
    is_numbered: bool = False
    rows_read: int = 0
    zones: set[str] = field(default_factory=set)
    ignored: dict[str, None] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    beside: Beside = field(default_factory=Beside)


def gather(
    sources: Sequence[str],
    reading: Reading,
    *,
    policies: IngestPolicies,
    faults: Faults,
    stdin: BinaryIO | None = None,
    progress: Progress | None = None,
) -> Gathered:
    """The rows of all files; what is wrong with files and rows goes to `faults`, and such rows are left out.

    Raises DataError when there are no files, and FaultyDataError when none of them can be read.
    """
    files, is_any_read = find_files(sources), False
    gathered = Gathered(Spool(len(reading.columns.known), reading.at_once))
    numbered: dict[bool, str] = {}
    for done, name in enumerate(files):
        try:
            is_numbered = _gather_file(name, gathered, reading, policies=policies, faults=faults, stdin=stdin)
        except DataError as error:
            faults.add("unreadable_file", "error", [Fault("unreadable_file", "", "", 0, str(error))])
        else:
            is_any_read = True
            numbered.setdefault(is_numbered, label(name))
        if progress:
            progress(done + 1, len(files), label(name))
    if len(numbered) > 1:
        found = f"{numbered[False]} holds dates and {numbered[True]} holds step numbers; expected one of them. Ingest them apart."
        faults.add("unreadable_file", "error", [Fault("unreadable_file", "", "", 0, found)])
    if not is_any_read or len(numbered) > 1:
        faults.raise_if_any_stops()
    gathered.is_numbered = True in numbered
    return gathered


def _gather_file(
    name: str, gathered: Gathered, reading: Reading, *, policies: IngestPolicies, faults: Faults, stdin: BinaryIO | None
) -> bool:
    """Put the rows of one file by; whether its times are step numbers. Raises DataError when it has no rows."""
    file, so_far, is_numbered = _File(name, reading, stdin), SoFar(), False
    so_far.has_whole_ids = file.has_whole_ids
    gathered.ignored |= dict.fromkeys(file.layout.ignored)
    for table, times in file.tables():
        gathered.rows_read += len(table.rows) + len(table.malformed)
        gathered.zones |= times.zones
        gathered.notes |= {times.note: None} if times.note else {}
        gathered.beside.columns |= dict.fromkeys(table.columns)
        for rows in rows_of(
            table,
            file.layout,
            times,
            stem(name),
            reading=reading,
            policies=policies,
            faults=faults,
            beside=gathered.beside,
            so_far=so_far,
        ):
            gathered.spool.add(rows)
        is_numbered = is_numbered or times.is_numbered
    return is_numbered


class _File:
    """One file: where its series are, as its first table shows, and its tables with their times.

    How times are written is found in all of them, each looked at once, before the first table is given.
    """

    def __init__(self, name: str, reading: Reading, stdin: BinaryIO | None) -> None:
        self.reading = reading
        content = read_content(name, stdin, asked=reading.file_format, encoding=reading.encoding)
        self._tables = Tables(content, reading.at_once)
        self.has_whole_ids: bool | None = None
        few = list(islice(self._tables, 2))
        self.layout = find_layout(few[0], reading.columns, reading.layout, decimal=reading.decimal)
        self._only = few[0] if len(few) == 1 else None
        self._known: tuple[pa.Array, Times] | None = None
        if self._only is None:
            self._survey()

    def tables(self) -> Iterator[tuple[RawTable, Times]]:
        """Each table and its times; raises DataError like `Tables`."""
        for table in self._tables if self._only is None else [self._only]:
            yield table, self._times(_plain(table.columns[self.layout.time]))

    def _survey(self) -> None:
        """Look at all tables for what one alone cannot tell."""
        words: list[pa.Array] = []
        identity, is_whole = self.layout.id, True
        for table in self._tables:
            column = _plain(table.columns[self.layout.time])
            if not _is_dated(column):
                words = [pa.concat_arrays([*words, column.unique()]).unique()]
            ids = table.columns[identity] if identity is not None else None
            is_whole = is_whole and ids is not None and are_whole(ids)
        self.has_whole_ids = is_whole
        if words:
            self._known = words[0], self._parsed(pa.chunked_array(words))

    def _times(self, column: pa.ChunkedArray) -> Times:
        if self._known is None:
            return self._parsed(column)
        words, times = self._known
        return times.take(pc.index_in(column, value_set=words).to_numpy())

    def _parsed(self, column: pa.ChunkedArray) -> Times:
        try:
            return parse_times(column, time_format=self.reading.time_format, as_steps=self.reading.as_steps)
        except DataError as error:
            raise DataError(f"{self._tables.file}: {error}") from error


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _is_dated(column: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_timestamp(column.type) or pa.types.is_date(column.type))
