"""What lies in the inbox, and how it comes into the panel: looked at first, file by file.

Files are left where they lie. A ledger remembers, by content, which were taken in and what was found; it is written before a
file is taken in and after, so that a night that was killed in between takes it again, with the same findings.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forecaster.errors import DataError, ForecasterError, StateError
from forecaster.ingest import ColumnNames, IngestPolicies, PanelStore, ingest_files, read_panel
from forecaster.jobs.home import Home
from forecaster.jobs.whole import write_json
from forecaster.operations.guards import Finding, GuardsConfig, check_delivery, worst
from forecaster.operations.settings import DeliveriesConfig
from forecaster.series import Panel

WAITING, TAKING, TAKEN = "waiting", "taking", "taken"


@dataclass(frozen=True)
class Delivery:
    """A file of the inbox: by content, with what was found in it and the series that were left out."""

    file: str
    bytes: int
    modified: int
    sha256: str
    status: str
    night: str = ""
    rows: int = 0
    left_out: tuple[str, ...] = ()
    findings: tuple[dict[str, Any], ...] = ()


class Ledger:
    """What is known of the files that a panel's inbox ever held."""

    def __init__(self, home: Home, panel: str) -> None:
        self.path = home.nights / panel / "deliveries.json"
        self._files: dict[str, Delivery] = {}
        if self.path.exists():
            try:
                self._files = {file: _delivery(fields) for file, fields in json.loads(self.path.read_bytes()).items()}
            except (ValueError, TypeError) as error:
                raise StateError(
                    f"{self.path} is damaged. Remove it: what was taken in before will only be met again."
                ) from error

    def note(self, delivery: Delivery) -> Delivery:
        """Remember a delivery, on disk."""
        self._files[delivery.file] = delivery
        write_json(self.path, {file: asdict(known) for file, known in self._files.items()})
        return delivery

    def of_night(self, night: str) -> list[Delivery]:
        """What was taken in during a night."""
        return [known for known in self._files.values() if known.night == night and known.status == TAKEN]

    def waiting(self, files: dict[str, Path], accepted: Sequence[str]) -> list[Delivery]:
        """The deliveries that are to be looked at, by name: those not taken in, and those of which series were left out for
        what is `accepted` now."""
        met = []
        for name, path in files.items():
            status = path.stat()
            known = self._files.get(name)
            if known is None or (known.bytes, known.modified) != (status.st_size, status.st_mtime_ns):
                met.append(Delivery(name, status.st_size, status.st_mtime_ns, _sha256(path), WAITING))
            elif known.status != TAKEN or (known.left_out and any(f["kind"] in accepted for f in known.findings)):
                met.append(known)
        return met

    def has_taken(self, delivery: Delivery) -> bool:
        """Whether a file is in the panel by now."""
        known = self._files.get(delivery.file)
        return known is not None and known.status == TAKEN

    def same_content(self, delivery: Delivery) -> Delivery | None:
        """Another file of the same content that was taken in."""
        return next((d for d in self._files.values() if d.sha256 == delivery.sha256 and d.status == TAKEN), None)


@dataclass(frozen=True)
class Inbox:
    """A panel's inbox, and how its files are read."""

    panel: str
    home: Home
    config: DeliveriesConfig
    guards: GuardsConfig
    accepted: tuple[str, ...] = ()

    def listing(self) -> list[tuple[str, int, int]]:
        """What lies there, by name, size and time of its last change."""
        found = []
        for path in self.files():
            with contextlib.suppress(FileNotFoundError):  # taken away meanwhile
                status = path.stat()
                found.append((self._name(path), status.st_size, status.st_mtime_ns))
        return found

    def files(self) -> list[Path]:
        """The files that lie there, by name; hidden ones are those that somebody is still writing."""
        pattern = self.config.inbox.format(panel=self.panel)
        root = Path(pattern).anchor or str(self.home.path)
        found = Path(root).glob(pattern.removeprefix(Path(pattern).anchor))
        return sorted(path for path in found if path.is_file() and not path.name.startswith("."))

    def _name(self, path: Path) -> str:
        """What a file is remembered by: its place under the home, so that the home may be moved."""
        return str(path.relative_to(self.home.path) if path.is_relative_to(self.home.path) else path)

    @property
    def store(self) -> PanelStore:
        return PanelStore(self.home.panels)

    def stored(self) -> Panel | None:
        """The panel, None before the first delivery."""
        return self.store.load(self.panel) if self.panel in self.store.names() else None

    def take_in(
        self, *, night: str, scratch: Path, now: Callable[[Panel], int | None], say: Callable[[str], None]
    ) -> tuple[list[Delivery], list[Finding]]:
        """Look at every waiting delivery and take in what may; all of tonight's deliveries, and what was found in them.

        `now` is the position of the present on a panel's calendar. A delivery that stops the night ends the round.
        """
        ledger, held = Ledger(self.home, self.panel), list[Finding]()
        guards = self.guards.accepting(self.accepted)
        for delivery in ledger.waiting({self._name(path): path for path in self.files()}, self.accepted):
            found = self._take(delivery, ledger, guards, night=night, scratch=scratch, now=now)
            for finding in found:
                say(f"{Path(delivery.file).name}: {finding.told}")
            if not ledger.has_taken(delivery):
                held += found
                if worst(found) == "stop":
                    break
        taken = ledger.of_night(night)
        return taken, [*held, *(_finding(fields) for delivery in taken for fields in delivery.findings)]

    def _take(
        self,
        delivery: Delivery,
        ledger: Ledger,
        guards: GuardsConfig,
        *,
        night: str,
        scratch: Path,
        now: Callable[[Panel], int | None],
    ) -> list[Finding]:
        """Take one delivery in, whole or without some series, unless what is found holds it."""
        stored, left_out, arrived = self.stored(), delivery.left_out, None
        found = [_finding(fields) for fields in delivery.findings]
        if delivery.status != TAKING:
            twin = ledger.same_content(delivery)
            if twin is not None and twin.file != delivery.file:
                told = f"the same as {Path(twin.file).name}, which was taken in on {twin.night}"
                found = [Finding("duplicate", "warn", told)]
                ledger.note(_with(delivery, TAKEN, night, found))
                return found
            found, arrived = self._look(delivery, stored, guards, now)
            if worst([finding for finding in found if not finding.series]) in ("hold", "stop") or worst(found) == "stop":
                return found
            left_out = tuple({name: None for f in found if f.severity == "hold" for name in f.series})
            delivery = ledger.note(_with(delivery, TAKING, night, found, left_out))
        try:
            rows = self._ingest(delivery, stored, arrived, scratch)
        except DataError as error:
            ledger.note(_with(delivery, WAITING, "", []))
            return [_unreadable(error, guards)] if guards.unreadable != "off" else []
        ledger.note(_with(delivery, TAKEN, night, found, left_out, rows))
        return found

    def _look(
        self, delivery: Delivery, stored: Panel | None, guards: GuardsConfig, now: Callable[[Panel], int | None]
    ) -> tuple[list[Finding], Panel | None]:
        """What is found in a delivery, and what it holds; nothing is known against a first one."""
        if stored is None:
            return [], None
        try:
            arrived = self._read(delivery, stored)
        except ForecasterError as error:
            severity = guards.unreadable if guards.unreadable != "off" else "hold"
            return [Finding("unreadable", severity, str(error))], None
        return check_delivery(stored, arrived, config=guards, now=now(stored)), arrived

    def _read(self, delivery: Delivery, stored: Panel) -> Panel:
        names = ColumnNames(
            self.config.id_column,
            self.config.time_column,
            self.config.value_column,
            tuple(dict.fromkeys([*(stored.known.names if stored.known else ()), *self.config.known])),
            tuple(dict.fromkeys([*(stored.static.names if stored.static else ()), *self.config.static])),
        )
        return read_panel(
            [str(self.home.path / delivery.file)],
            like=stored.frequency,
            policies=self._policies,
            columns=names,
            time_format=self.config.time_format,
        )

    def _ingest(self, delivery: Delivery, stored: Panel | None, arrived: Panel | None, scratch: Path) -> int:
        """Join a delivery to the panel, without the series that are left out; how many rows of it were news."""
        config, source = self.config, str(self.home.path / delivery.file)
        columns = ColumnNames(config.id_column, config.time_column, config.value_column, config.known, config.static)
        time_format, time_zone = config.time_format, config.time_zone
        if delivery.left_out and stored is not None:
            arrived = arrived or self._read(delivery, stored)
            kept = arrived.select([b for b, name in enumerate(arrived.ids) if name not in set(delivery.left_out)])
            if not len(kept):
                return 0
            scratch.mkdir(parents=True, exist_ok=True)
            source, time_format, time_zone = str(scratch / f"{delivery.sha256[:12]}.parquet"), None, None
            kept.to_frame().to_parquet(source, index=False)
            columns = ColumnNames(known=columns.known, static=columns.static)
        report = ingest_files(
            [source],
            self.panel,
            store=self.store,
            policies=self._policies,
            columns=columns,
            freq=None if stored else config.freq,
            time_zone=time_zone,
            time_format=time_format,
        )
        return report.added + report.revised + report.known_added + report.known_revised

    @property
    def _policies(self) -> IngestPolicies:
        return IngestPolicies(duplicates=self.config.duplicates, unparsable=self.config.unparsable)


def _with(
    delivery: Delivery, status: str, night: str, found: Sequence[Finding], left_out: tuple[str, ...] = (), rows: int = 0
) -> Delivery:
    findings = tuple(asdict(finding) for finding in found)
    return Delivery(delivery.file, delivery.bytes, delivery.modified, delivery.sha256, status, night, rows, left_out, findings)


def _unreadable(error: ForecasterError, guards: GuardsConfig) -> Finding:
    return Finding("unreadable", "hold" if guards.unreadable == "off" else guards.unreadable, str(error))


def _delivery(fields: dict[str, Any]) -> Delivery:
    return Delivery(**{**fields, "left_out": tuple(fields["left_out"]), "findings": tuple(fields["findings"])})


def _finding(fields: dict[str, Any]) -> Finding:
    return Finding(**{**fields, "series": tuple(fields["series"])})


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
