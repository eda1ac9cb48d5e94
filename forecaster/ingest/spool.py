"""Rows put by while files are read, and given back a few series at a time: what is worked on together fits into memory."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forecaster.frequency import DAY_NS
from forecaster.ingest.rows import Rows
from forecaster.paged import Growing, paged_array
from forecaster.series import Panel


@dataclass
class Clocks:
    """How many rows have an offset, and how many are on a clock that it leaves open; whether all of those are at midnight."""

    zoned: int = 0
    local: int = 0
    is_midnight: bool = True

    def note(self, rows: Rows) -> None:
        """Take in some more rows."""
        zoned = int(rows.is_zoned.sum())
        self.zoned, self.local = self.zoned + zoned, self.local + len(rows) - zoned
        self.is_midnight = self.is_midnight and bool((rows.times[~rows.is_zoned] % DAY_NS == 0).all())


@dataclass
class Spool:
    """Rows of many files, each a few numbers: on disk, under $TMPDIR, where they are many."""

    covariates: int
    at_once: int
    clocks: Clocks = field(default_factory=Clocks)

    def __post_init__(self) -> None:
        fields = [("code", "<i4"), ("time", "<i8"), ("zoned", "?"), ("value", "<f8"), ("file", "<i4"), ("row", "<i8")]
        self._records = Growing(dtype=np.dtype([*fields, ("known", "<f8", (self.covariates,))]))
        self._codes: dict[str, int] = {}
        self._files: dict[str, int] = {}
        self._counts = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return self._records.count

    @property
    def ids(self) -> tuple[str, ...]:
        """The series that have a row, sorted."""
        return tuple(sorted(self._codes))

    @property
    def files(self) -> tuple[str, ...]:
        """The files that rows came from, those included that had no sound one."""
        return tuple(self._files)

    def add(self, rows: Rows) -> None:
        """Put rows by; those of one file each time."""
        file = self._files.setdefault(rows.files[0], len(self._files))
        if not len(rows):
            return
        self.clocks.note(rows)
        present = np.unique(rows.codes)
        translation = np.zeros(len(rows.ids), dtype=np.int32)
        translation[present] = [self._codes.setdefault(rows.ids[code], len(self._codes)) for code in present]
        records = np.empty(len(rows), dtype=self._records.dtype)
        records["code"], records["time"], records["zoned"] = translation[rows.codes], rows.times, rows.is_zoned
        records["value"], records["row"], records["known"] = rows.values, rows.row, rows.known
        records["file"] = file
        self._records.append(records)
        self._counts = np.pad(self._counts, (0, len(self._codes) - len(self._counts)))
        self._counts += np.bincount(records["code"], minlength=len(self._counts))

    def parts(self, stored: Panel | None) -> "Parts":
        """All rows, some series at a time, in the order of their ids; those that are stored among them."""
        own, counts = tuple(self._codes), self._counts
        rank = {series: code for code, series in enumerate(own)}
        place = {series: b for b, series in enumerate(stored.ids)} if stored else {}
        ids = tuple(sorted({*own, *place}))
        codes = np.asarray([rank.get(series, -1) for series in ids], dtype=np.int64)
        stored_at = np.asarray([place.get(series, -1) for series in ids], dtype=np.int64)
        weights = np.where(codes >= 0, np.append(counts, 0)[codes], 0)
        if stored is not None:
            weights = weights + np.where(stored_at >= 0, np.append(stored.lengths, 0)[stored_at], 0)
        number = _runs(weights, self.at_once)
        part_of_code = np.zeros(len(own), dtype=np.int64)
        part_of_code[codes[codes >= 0]] = number[codes >= 0]
        records, bounds = _sorted_by(self._records.whole(), part_of_code, int(number.max(initial=0)) + 1, self.at_once)
        return Parts(own, self.files, records, bounds, stored, [stored_at[number == p] for p in range(len(bounds) - 1)])


@dataclass(frozen=True)
class Parts:
    """Rows and what is stored of the same series, part by part; no series is in two parts."""

    ids: tuple[str, ...]
    files: tuple[str, ...]
    records: NDArray[np.void]
    bounds: NDArray[np.int64]
    stored: Panel | None
    stored_at: list[NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def rows(self) -> Iterator[Rows]:
        """The rows of each part, in the order in which they were put by, over its sorted ids that have one."""
        for first, last in zip(self.bounds[:-1], self.bounds[1:], strict=True):
            some = self.records[first:last]
            present, codes = np.unique(np.ascontiguousarray(some["code"]), return_inverse=True)
            names = np.asarray([self.ids[code] for code in present], dtype=object)
            order = np.argsort(names, kind="stable")
            rank = np.empty(len(order), dtype=np.int64)
            rank[order] = np.arange(len(order))
            times, zoned, values = (np.ascontiguousarray(some[name]) for name in ("time", "zoned", "value"))
            file, row, known = (np.ascontiguousarray(some[name]) for name in ("file", "row", "known"))
            yield Rows(tuple(names[order]), rank[codes], times, zoned, values, self.files, file, row, known)

    def stored_parts(self) -> Iterator[Panel | None]:
        """What is stored of the series of each part; None where that is nothing."""
        for indices in self.stored_at:
            kept = indices[indices >= 0]
            yield self.stored.select(kept.tolist()) if self.stored is not None and len(kept) else None


def _runs(weights: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Which run each of some neighbours belongs to, where a run weighs no more than so much, or is one of them.

    >>> _runs(np.array([3, 4, 9, 1, 1]), 8)
    array([0, 0, 1, 2, 2])
    """
    number, total, runs = 0, 0, []
    for weight in weights.tolist():
        if total and total + weight > most:
            number, total = number + 1, 0
        total += weight
        runs.append(number)
    return np.asarray(runs, dtype=np.int64)


def _sorted_by(
    records: NDArray[np.void], part_of_code: NDArray[np.int64], parts: int, at_once: int
) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """The records part by part, otherwise in their order, and where each part begins and ends [parts + 1]."""
    if parts == 1:
        return records, np.array([0, len(records)])
    counts = np.zeros(parts, dtype=np.int64)
    for first in range(0, len(records), at_once):
        counts += np.bincount(part_of_code[records["code"][first : first + at_once]], minlength=parts)
    bounds = np.concatenate([[0], np.cumsum(counts)])
    ordered, filled = paged_array((len(records),), records.dtype), bounds[:-1].copy()
    for first in range(0, len(records), at_once):
        some = records[first : first + at_once]
        number = part_of_code[some["code"]]
        order = np.argsort(number, kind="stable")
        sizes = np.bincount(number, minlength=parts)
        at = np.concatenate([[0], np.cumsum(sizes)])
        for p in np.flatnonzero(sizes):
            ordered[filled[p] : filled[p] + sizes[p]] = some[order[at[p] : at[p + 1]]]
        filled += sizes
    return ordered, bounds
