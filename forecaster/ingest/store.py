"""Panels on disk: values to be mapped, Parquet for others and a manifest, replaced as a whole or not at all.

A panel is a folder: `manifest.json`, and one folder of files that the manifest names. Another version is written
beside, synced, and comes to life when the manifest is replaced, in one rename. Whatever a killed writer left behind is
named by no manifest; the next writer clears it away.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

import numpy as np

from forecaster.errors import ConfigError, DataError, StateError
from forecaster.frequency import Frequency
from forecaster.ingest.mapped import mapped_files, mapped_panel
from forecaster.ingest.parts import panel_of, parts_of
from forecaster.ingest.report import vars_of
from forecaster.series import Panel

SCHEMA_VERSION, READABLE = 3, (1, 2, 3)  # 2: with covariates, 3: with files that are mapped
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Manifest:
    """What a stored panel is, and its files for others and to be mapped: (name, bytes, sha256), in the folder `rows`."""

    schema_version: int
    name: str
    fingerprint: str
    frequency: dict[str, Any]
    series: int
    positions: int
    missing: int
    first: str
    last: str
    rows: str
    files: list[tuple[str, int, str]]
    sources: list[str]
    faults: dict[str, int]
    created: str
    updated: str
    known: list[str] = field(default_factory=list)
    static: list[str] = field(default_factory=list)
    mapped: list[tuple[str, int, str]] = field(default_factory=list)


class PanelStore:
    """Named panels under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def names(self) -> list[str]:
        """The panels that are stored."""
        return sorted(path.parent.name for path in self.root.glob("*/manifest.json") if NAME.fullmatch(path.parent.name))

    def manifest(self, name: str) -> Manifest:
        """What is stored under a name; raises DataError when nothing is, StateError when the manifest is damaged."""
        path = self.folder(name) / "manifest.json"
        if not path.is_file():
            stored = ", ".join(self.names()) or "none yet"
            raise DataError(f"panel {name!r} is not in {self.root} (stored: {stored}). Make it with `forecast ingest`.")
        try:
            fields = json.loads(path.read_bytes())
            if fields["schema_version"] not in READABLE:
                version = fields["schema_version"]
                raise StateError(f"{path} has schema version {version}; this program reads {SCHEMA_VERSION}. Ingest again.")
            lists = {name: [tuple(file) for file in fields.get(name, [])] for name in ("files", "mapped")}
            return Manifest(**{**fields, **lists})
        except (ValueError, KeyError, TypeError) as error:
            raise StateError(f"{path} is damaged ({type(error).__name__}). Remove {path.parent} and ingest again.") from error

    def load(self, name: str) -> Panel:
        """The panel stored under a name, its values left on disk; raises StateError when a file is not what the manifest says."""
        manifest = self.manifest(name)
        try:
            return self._read(name, manifest)
        except StateError:
            latest = self.manifest(name)
            if latest.rows == manifest.rows:
                raise
            return self._read(name, latest)  # another ingest replaced it in between

    def write(
        self,
        name: str,
        panel: Panel,
        *,
        sources: Sequence[str] = (),
        faults: Mapping[str, int] | None = None,
        replaces: str | None = None,
    ) -> Manifest:
        """Puts a panel in the place of the one with the fingerprint `replaces` (None: of none), whole or not at all.

        Raises StateError when something else is stored there by now, or another ingest is writing.
        """
        folder = self.folder(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder, name):
                return self._swap(name, panel, sources=sources, faults=faults, replaces=replaces)
        except OSError as error:
            raise StateError(
                f"panel {name!r} cannot be written to {folder}: {error.strerror}. It is as it was; free the way."
            ) from error

    def _swap(
        self, name: str, panel: Panel, *, sources: Sequence[str], faults: Mapping[str, int] | None, replaces: str | None
    ) -> Manifest:
        folder = self.folder(name)
        old = self.manifest(name) if (folder / "manifest.json").exists() else None
        if (old.fingerprint if old else None) != replaces:
            raise StateError(f"panel {name!r} was changed by another ingest meanwhile. Run this one again.")
        _clear(folder, keep=old.rows if old else None)
        rows = f"rows-{panel.fingerprint}-{os.urandom(3).hex()}"
        (folder / rows).mkdir()
        files = [_written(folder / rows / file, [data]) for file, data in parts_of(panel)]
        mapped = [_written(folder / rows / file, pieces) for file, pieces in mapped_files(panel)]
        _sync(folder / rows)
        manifest = self._describe(name, panel, rows, sources=sources, faults=faults, old=old)
        manifest = replace(manifest, files=files, mapped=mapped)
        _replace_synced(folder / "manifest.json", json.dumps(asdict(manifest), indent=1).encode())
        _sync(self.root)
        _clear(folder, keep=rows)
        return manifest

    def folder(self, name: str) -> Path:
        """Where a panel lies; raises ConfigError when its name cannot be a folder."""
        if not NAME.fullmatch(name):
            raise ConfigError(f"panel name {name!r} cannot be a folder; use letters, digits, dots, dashes and underscores.")
        return self.root / name

    def _read(self, name: str, manifest: Manifest) -> Panel:
        folder = self.folder(name) / manifest.rows
        for file, size, sha256 in (*manifest.files, *manifest.mapped):
            try:
                with (folder / file).open("rb") as stream:
                    is_whole = os.fstat(stream.fileno()).st_size == size and file_digest(stream, "sha256").hexdigest() == sha256
            except OSError as error:
                raise StateError(f"panel {name!r}: {folder / file} is gone ({error.strerror}). {_again(folder)}") from error
            if not is_whole:
                raise StateError(f"panel {name!r}: {folder / file} is not what was written. {_again(folder)}")
        try:
            frequency = Frequency(**manifest.frequency)
            if manifest.mapped:
                return mapped_panel(folder, frequency)
            return panel_of({file: (folder / file).read_bytes() for file, _, _ in manifest.files}, frequency)
        except OSError as error:
            raise StateError(f"panel {name!r}: {folder} is gone ({error.strerror}). {_again(folder)}") from error

    def _describe(
        self,
        name: str,
        panel: Panel,
        rows: str,
        *,
        sources: Sequence[str],
        faults: Mapping[str, int] | None,
        old: Manifest | None,
    ) -> Manifest:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        first, last = time_range(panel)
        return Manifest(
            schema_version=SCHEMA_VERSION,
            name=name,
            fingerprint=panel.fingerprint,
            frequency=vars_of(panel.frequency),
            series=len(panel),
            positions=len(panel.values),
            missing=panel.missing,
            first=first,
            last=last,
            rows=rows,
            files=[],
            sources=list(dict.fromkeys([*(old.sources if old else ()), *sources])),
            faults=dict(faults or {}),
            created=old.created if old else now,
            updated=now,
            known=list(panel.known.names) if panel.known else [],
            static=list(panel.static.names) if panel.static else [],
        )


def time_range(panel: Panel) -> tuple[str, str]:
    """The first and the last time of a panel, as its user reads them."""
    labels = panel.frequency.labels(np.array([panel.starts.min(), panel.ends.max()]))
    return str(labels.iloc[0]), str(labels.iloc[1])


def _written(path: Path, pieces: Iterable[bytes | memoryview]) -> tuple[str, int, str]:
    """Writes a file, synced, and says what is in it: its name, bytes and sha256."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in pieces:
            size += file.write(piece)
            digest.update(piece)
        file.flush()
        os.fsync(file.fileno())
    return path.name, size, digest.hexdigest()


@contextlib.contextmanager
def _lock(folder: Path, name: str) -> Iterator[None]:
    """One writer at a time; the lock dies with its process."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StateError(
                f"panel {name!r} is being written by another ingest. Wait for it, then run this one again."
            ) from None
        yield


def _clear(folder: Path, *, keep: str | None) -> None:
    """Removes what no manifest names."""
    for path in folder.iterdir():
        if path.name.startswith("rows-") and path.name != keep:
            shutil.rmtree(path)
        elif path.name == "manifest.json.beside":
            path.unlink()


def _replace_synced(path: Path, data: bytes) -> None:
    beside = path.with_name(f"{path.name}.beside")
    _written(beside, [data])
    beside.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _again(folder: Path) -> str:
    return f"Remove {folder.parent} and ingest its sources again."
