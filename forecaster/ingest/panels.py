"""The two ways in: files into a stored panel, and files into a panel of a known frequency."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO
from zoneinfo import ZoneInfo

import numpy as np

from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.ingest.calendar import FoundFrequency, find_frequency, share_of_one_step
from forecaster.ingest.checks import check_constants, check_gaps, check_ids, check_lengths, stored_values
from forecaster.ingest.cleaning import Placed, place, to_utc
from forecaster.ingest.faults import Fault, Faults, IngestPolicies
from forecaster.ingest.files import FileFormat
from forecaster.ingest.numbers import Decimal
from forecaster.ingest.report import IngestReport
from forecaster.ingest.rows import Gathered, Progress, Reading, gather
from forecaster.ingest.schema import ColumnNames, LayoutName
from forecaster.ingest.store import PanelStore, time_range
from forecaster.series import Panel

DEFAULT_POLICIES = IngestPolicies()
DEFAULT_COLUMNS = ColumnNames()


def ingest_files(
    sources: Sequence[str],
    name: str,
    *,
    store: PanelStore,
    policies: IngestPolicies = DEFAULT_POLICIES,
    columns: ColumnNames = DEFAULT_COLUMNS,
    freq: str | None = None,
    time_zone: str | None = None,
    layout: LayoutName = "auto",
    file_format: FileFormat = "auto",
    encoding: str | None = None,
    decimal: Decimal = ".",
    time_format: str | None = None,
    only: Sequence[str] = (),
    stdin: BinaryIO | None = None,
    progress: Progress | None = None,
    dry_run: bool = False,
) -> IngestReport:
    """Adds the rows of files to the panel stored under `name`, or makes it; what comes later revises what was there.

    Raises DataError, FaultyDataError (which holds every fault) when one stands at `error`, ConfigError for a name that
    cannot be a folder, and StateError when the stored panel is damaged or in use. Then nothing is changed.
    """
    stored = store.load(name) if (store.folder(name) / "manifest.json").exists() else None
    old = stored.frequency if stored else None
    reading = Reading(
        columns, layout, file_format, encoding, decimal, time_format, tuple(only), freq == "step" or bool(old and old.is_numbered)
    )
    faults = Faults()
    gathered = gather(sources, reading, policies=policies, faults=faults, stdin=stdin, progress=progress)
    placed, found = _placed(gathered, old, freq=freq, time_zone=time_zone, policies=policies, faults=faults, only=only)
    check_ids(tuple(sorted({*gathered.rows.ids, *(stored.ids if stored else ())})), faults)
    check_gaps(placed, stored, policies, faults)
    placed = check_lengths(placed, stored, policies, faults)
    faults.raise_if_any_stops()
    if not len(placed.rows):
        raise DataError("no row is left when the faulty ones are dropped; expected at least one. Mend the files.")
    merged = _merged(placed, stored, found.frequency)
    check_constants(merged.panel, set(placed.rows.ids), faults)
    is_written = not dry_run and (stored is None or merged.added + merged.revised > 0)
    if is_written:
        counts = {group.kind: group.count for group in faults}
        replaces = stored.fingerprint if stored else None
        store.write(name, merged.panel, sources=placed.rows.files, faults=counts, replaces=replaces)
    return _report(name, gathered, merged, found, faults=faults, is_written=is_written)


def read_panel(
    sources: Sequence[str],
    *,
    like: Frequency,
    policies: IngestPolicies = DEFAULT_POLICIES,
    columns: ColumnNames = DEFAULT_COLUMNS,
    layout: LayoutName = "auto",
    file_format: FileFormat = "auto",
    encoding: str | None = None,
    decimal: Decimal = ".",
    time_format: str | None = None,
    only: Sequence[str] = (),
    stdin: BinaryIO | None = None,
) -> Panel:
    """The panel in files whose frequency is known; times without an offset are read on its clock.

    Raises DataError as `ingest_files` does.
    """
    reading = Reading(columns, layout, file_format, encoding, decimal, time_format, tuple(only), like.is_numbered)
    faults = Faults()
    gathered = gather(sources, reading, policies=policies, faults=faults, stdin=stdin)
    placed, _ = _placed(gathered, like, freq=None, time_zone=like.time_zone, policies=policies, faults=faults, only=only)
    check_gaps(placed, None, policies, faults)
    placed = check_lengths(placed, None, policies, faults)
    faults.raise_if_any_stops()
    if not len(placed.rows):
        raise DataError("no row is left when the faulty ones are dropped; expected at least one. Mend the files.")
    return _merged(placed, None, like).panel


def _placed(
    gathered: Gathered,
    old: Frequency | None,
    *,
    freq: str | None,
    time_zone: str | None,
    policies: IngestPolicies,
    faults: Faults,
    only: Sequence[str],
) -> tuple[Placed, FoundFrequency]:
    """Rows at positions of the frequency that they have; raises when there are no rows or no frequency."""
    if not len(gathered.rows):
        faults.raise_if_any_stops()
        raise DataError(
            f"no series matches --only {' '.join(only)}. Check the pattern."
            if only
            else "no row can be used; expected at least one."
        )
    zone = None if gathered.is_numbered else _zone_of(gathered, old, time_zone)
    rows = to_utc(gathered.rows, None if gathered.is_numbered else time_zone, policies, faults)
    if old is None:
        try:
            found = find_frequency(rows, is_numbered=gathered.is_numbered, alias=freq, time_zone=zone, faults=faults)
        except DataError as error:
            faults.add("no_frequency", "error", [Fault("no_frequency", "", "", 0, str(error).split(" Give ")[0])])
            faults.raise_if_any_stops()
            raise
        if freq and found.share == 0:
            gathered.notes[f"no two neighbouring times are one step of --freq {freq} apart; without it the step is found"] = None
    else:
        _check_clash(gathered, old, freq=freq, zone=zone)
        found = FoundFrequency(old, "stored", share_of_one_step(old, rows))
    return place(rows, found.frequency, policies, faults), found


def _zone_of(gathered: Gathered, old: Frequency | None, time_zone: str | None) -> str | None:
    """The zone of the panel: as given, as stored, or as the timestamps have it."""
    if time_zone is not None:
        try:
            ZoneInfo(time_zone) if not re.fullmatch(r"UTC[+-]\d\d:\d\d", time_zone) else None
        except (KeyError, ValueError, OSError):
            raise DataError(f"time zone {time_zone!r} is unknown; expected a name such as Europe/Berlin or UTC.") from None
        return time_zone
    if not gathered.zones:
        return None
    if old is not None and old.time_zone is not None:
        return old.time_zone
    if len(gathered.zones) > 1:
        met = ", ".join(sorted(gathered.zones)[:4])
        gathered.notes[f"offsets differ ({met}), so the panel is kept in UTC; name the zone with --time-zone"] = None
        return "UTC"
    zone = next(iter(gathered.zones))
    if re.fullmatch(r"[+-]\d\d(:?\d\d)?", zone):
        minutes = zone[3:].lstrip(":") or "00"
        zone = "UTC" if zone[1:3] == minutes == "00" else f"UTC{zone[:3]}:{minutes}"
    return zone


def _check_clash(gathered: Gathered, old: Frequency, *, freq: str | None, zone: str | None) -> None:
    """Raises DataError when rows cannot belong to a panel of the stored frequency."""
    has, wants = ("step numbers" if numbered else "dates" for numbered in (gathered.is_numbered, old.is_numbered))
    if has != wants:
        raise DataError(f"the files hold {has} and the panel holds {wants}. Ingest them under another --name.")
    if freq is not None and replace(Frequency(freq, is_numbered=old.is_numbered), phase=0) != _plain(old):
        raise DataError(f"--freq {freq} clashes with the panel's frequency {old.alias}. Leave it out, or use another --name.")
    if zone != old.time_zone and not old.is_numbered:
        cure = f"Pass --time-zone {old.time_zone}" if old.time_zone else "Write them without offsets"
        shown = f"time zone {zone}" if zone else "no time zone"
        raise DataError(f"the files have {shown} and the panel has {old.time_zone or 'none'}. {cure}, or use another --name.")


def _plain(frequency: Frequency) -> Frequency:
    return Frequency(frequency.alias, is_numbered=frequency.is_numbered)


@dataclass(frozen=True)
class _Merged:
    panel: Panel
    added: int
    revised: int
    unchanged: int
    gaps_filled: int


def _merged(placed: Placed, stored: Panel | None, frequency: Frequency) -> _Merged:
    """A panel of rows and what was stored, the rows winning, and how many of them are news."""
    rows = placed.rows
    if stored is None:
        used, codes = np.unique(rows.codes, return_inverse=True)
        ids = tuple(rows.ids[code] for code in used)
        panel = Panel.from_codes(ids, codes, positions=placed.positions, values=rows.values, frequency=frequency)
        return _Merged(panel, len(rows), 0, 0, len(panel.values) - len(rows))
    ids = tuple(sorted({*stored.ids, *(rows.ids[code] for code in np.unique(rows.codes))}))
    index = {series: code for code, series in enumerate(ids)}
    stored_codes = np.repeat([index[series] for series in stored.ids], stored.lengths)
    stored_positions = np.arange(len(stored.values)) + np.repeat(stored.starts - stored.offsets[:-1], stored.lengths)
    codes = np.asarray([index.get(series, -1) for series in rows.ids], dtype=np.int64)[rows.codes]
    all_codes = np.concatenate([stored_codes, codes])
    positions = np.concatenate([stored_positions, placed.positions])
    values = np.concatenate([stored.values, rows.values])
    order = np.lexsort((positions, all_codes))  # stable: a row comes after what is stored at its place
    last = np.ones(len(order), dtype=bool)
    last[:-1] = (np.diff(all_codes[order]) != 0) | (np.diff(positions[order]) != 0)
    kept = order[last]
    panel = Panel.from_codes(ids, all_codes[kept], positions=positions[kept], values=values[kept], frequency=frequency)
    before, is_stored = stored_values(placed, stored)
    is_added = ~is_stored | (np.isnan(before) & ~np.isnan(rows.values))
    is_revised = is_stored & ~np.isnan(before) & (before != rows.values)
    added, revised = int(is_added.sum()), int(is_revised.sum())
    gaps_filled = len(panel.values) - len(kept)
    return _Merged(panel, added, revised, len(rows) - added - revised, gaps_filled)


def _report(
    name: str, gathered: Gathered, merged: _Merged, found: FoundFrequency, *, faults: Faults, is_written: bool
) -> IngestReport:
    panel = merged.panel
    first, last = time_range(panel)
    return IngestReport(
        name=name,
        files=gathered.rows.files,
        rows_read=gathered.rows_read,
        series=len(panel),
        positions=len(panel.values),
        missing=int(np.isnan(panel.values).sum()),
        gaps_filled=merged.gaps_filled,
        frequency=found.frequency,
        frequency_found=str(found),
        share_explained=found.share,
        first=first,
        last=last,
        added=merged.added,
        revised=merged.revised,
        unchanged=merged.unchanged,
        fingerprint=panel.fingerprint,
        faults=faults,
        ignored_columns=tuple(gathered.ignored),
        notes=tuple(gathered.notes),
        is_written=is_written,
    )
