"""The two ways in: files into a stored panel, and files into a panel of a known frequency."""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import BinaryIO
from zoneinfo import ZoneInfo

from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.ingest.calendar import FoundFrequency, Share, Spacing, find_frequency
from forecaster.ingest.checks import check_constants, check_covariates, check_gaps, check_ids, check_lengths
from forecaster.ingest.cleaning import place, to_utc
from forecaster.ingest.faults import Fault, Faults, IngestPolicies
from forecaster.ingest.files import FileFormat
from forecaster.ingest.gathering import Gathered, gather
from forecaster.ingest.merging import Assembly, Merged, all_columns, merge, rows_with_values
from forecaster.ingest.numbers import Decimal
from forecaster.ingest.report import IngestReport, covariates_of
from forecaster.ingest.rows import ROWS_AT_ONCE, Progress, Reading, Rows
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
    at_once: int = ROWS_AT_ONCE,
) -> IngestReport:
    """Adds the rows of files to the panel stored under `name`, or makes it; what comes later revises what was there.

    The memory that it needs grows with the rows that are worked on `at_once`, and with the longest series, not with the files.

    Raises DataError, FaultyDataError (which holds every fault) when one stands at `error`, ConfigError for a name that
    cannot be a folder, and StateError when the stored panel is damaged or in use. Then nothing is changed.
    """
    stored = store.load(name) if (store.folder(name) / "manifest.json").exists() else None
    old = stored.frequency if stored else None
    as_steps = freq == "step" or bool(old and old.is_numbered)
    wanted = all_columns(columns, stored)
    reading = Reading(wanted, layout, file_format, encoding, decimal, time_format, tuple(only), as_steps, at_once)
    faults = Faults()
    gathered = gather(sources, reading, policies=policies, faults=faults, stdin=stdin, progress=progress)
    gathered.beside.check_columns(columns)
    merged, found = _merged(gathered, stored, old, reading, freq=freq, time_zone=time_zone, policies=policies, faults=faults)
    is_written = not dry_run and (stored is None or merged.panel.fingerprint != stored.fingerprint)
    if is_written:
        counts = {group.kind: group.count for group in faults}
        replaces = stored.fingerprint if stored else None
        store.write(name, merged.panel, sources=gathered.spool.files, faults=counts, replaces=replaces)
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
    gathered.beside.check_columns(columns)
    zone = like.time_zone
    return _merged(gathered, None, like, reading, freq=None, time_zone=zone, policies=policies, faults=faults)[0].panel


def _merged(
    gathered: Gathered,
    stored: Panel | None,
    old: Frequency | None,
    reading: Reading,
    *,
    freq: str | None,
    time_zone: str | None,
    policies: IngestPolicies,
    faults: Faults,
) -> tuple[Merged, FoundFrequency]:
    """The panel of rows and what is stored, some series at a time.

    Raises DataError when there are no rows or no frequency, FaultyDataError when a fault stops it.
    """
    _check_rows_are_left(gathered, reading, faults)
    zone = None if gathered.is_numbered else _zone_of(gathered, old, time_zone)
    parts, clocks = gathered.spool.parts(stored), gathered.spool.clocks
    given_zone = None if gathered.is_numbered else time_zone
    if old is not None:
        _check_clash(gathered, old, freq=freq, zone=zone)
        found = FoundFrequency(old, "stored", 1.0)
    else:
        read = (to_utc(rows, clocks, given_zone, policies, faults) for rows in parts.rows())
        spacings = (Spacing.of(rows, is_numbered=gathered.is_numbered, time_zone=zone) for rows in read)
        found = _found_frequency(reduce(add, spacings), gathered, freq=freq, zone=zone, faults=faults)
    check_ids(tuple(sorted({*gathered.spool.ids, *(stored.ids if stored else ())})), faults)
    assembly, share = Assembly(found.frequency, reading.columns), Share()
    for rows, own in zip(parts.rows(), parts.stored_parts(), strict=True):
        utc = to_utc(rows, clocks, given_zone, policies, faults if old else Faults())  # else they were told above
        share.note(found.frequency, utc)
        _append(assembly, utc, own, policies=policies, faults=faults)
    faults.raise_if_any_stops()
    if not assembly.rows and not (stored and reading.columns.known):
        raise DataError("no row is left when the faulty ones are dropped; expected at least one. Mend the files.")
    if freq and old is None and share.value == 0:
        gathered.notes[f"no two neighbouring times are one step of --freq {freq} apart; without it the step is found"] = None
    return assembly.whole(stored, gathered.beside), replace(found, share=share.value)


def _append(assembly: Assembly, rows: Rows, stored: Panel | None, *, policies: IngestPolicies, faults: Faults) -> None:
    """Add the panel of some series, with what is stored of them, to the others, unless a fault stops the ingest."""
    columns, frequency = assembly.columns, assembly.frequency
    placed = place(rows, frequency, policies, faults, names=columns.known)
    valued = rows_with_values(placed, stored, policies, faults) if columns.known else placed
    check_gaps(valued, stored, policies, faults)
    check_covariates(placed, stored, faults)
    valued = check_lengths(valued, stored, policies, faults)
    if not faults.stop_ingest and (len(valued.rows) or stored is not None):
        merged = merge(valued, stored, frequency, columns=columns, placed=placed)
        check_constants(merged.panel, set(placed.rows.ids), faults)
        assembly.append(merged, len(valued.rows))


def _check_rows_are_left(gathered: Gathered, reading: Reading, faults: Faults) -> None:
    """Raises DataError, or FaultyDataError, where no file had a row that can be used."""
    if not len(gathered.spool):
        faults.raise_if_any_stops()
        raise DataError(
            f"no series matches --only {' '.join(reading.only)}. Check the pattern."
            if reading.only
            else "no row can be used; expected at least one."
        )


def _found_frequency(
    spacing: Spacing, gathered: Gathered, *, freq: str | None, zone: str | None, faults: Faults
) -> FoundFrequency:
    """The frequency that rows have; raises when there is none."""
    try:
        return find_frequency(spacing, is_numbered=gathered.is_numbered, alias=freq, time_zone=zone, faults=faults)
    except DataError as error:
        faults.add("no_frequency", "error", [Fault("no_frequency", "", "", 0, str(error).split(" Give ")[0])])
        faults.raise_if_any_stops()
        raise


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


def _report(
    name: str, gathered: Gathered, merged: Merged, found: FoundFrequency, *, faults: Faults, is_written: bool
) -> IngestReport:
    panel = merged.panel
    first, last = time_range(panel)
    return IngestReport(
        name=name,
        files=gathered.spool.files,
        rows_read=gathered.rows_read,
        series=len(panel),
        positions=len(panel.values),
        missing=panel.missing,
        gaps_filled=merged.gaps_filled,
        frequency=found.frequency,
        frequency_found=str(found),
        share_explained=found.share,
        first=first,
        last=last,
        added=merged.added,
        revised=merged.revised,
        unchanged=merged.unchanged,
        covariates=covariates_of(panel),
        known_added=merged.known_added,
        known_revised=merged.known_revised,
        static=tuple(panel.static.names) if panel.static else (),
        static_changed=merged.static_changed,
        fingerprint=panel.fingerprint,
        faults=faults,
        ignored_columns=tuple(gathered.ignored),
        notes=tuple(gathered.notes),
        is_written=is_written,
    )
