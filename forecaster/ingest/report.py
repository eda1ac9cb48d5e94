"""What an ingest did, for people and for programs."""

from dataclasses import dataclass
from typing import Any

from forecaster.frequency import Frequency
from forecaster.ingest.faults import Faults


@dataclass(frozen=True)
class IngestReport:
    """What was read, what was found, and what stands in the store now.

    `rows_read` counts rows of files; `added`, `revised` and `unchanged` count series' positions against what was stored
    before; `missing` counts positions without a value, `gaps_filled` those that no row spoke of.
    """

    name: str
    files: tuple[str, ...]
    rows_read: int
    series: int
    positions: int
    missing: int
    gaps_filled: int
    frequency: Frequency
    frequency_found: str
    share_explained: float
    first: str
    last: str
    added: int
    revised: int
    unchanged: int
    fingerprint: str
    faults: Faults
    ignored_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_written: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        plain = {name: value for name, value in vars(self).items() if name not in ("faults", "frequency")}
        return {**plain, "frequency": vars_of(self.frequency), "faults": self.faults.to_dict()}

    def lines(self) -> list[str]:
        """The report for people."""
        files = self.files[0] if len(self.files) == 1 else f"{len(self.files)} files"
        lines = [
            f"{self.name}: {self.series:,} series, {self.positions:,} positions from {self.first} to {self.last}",
            f"read       {self.rows_read:,} rows of {files}",
            f"frequency  {self.frequency_found}",
            f"rows       {self.added:,} added, {self.revised:,} revised, {self.unchanged:,} unchanged",
            f"missing    {self.missing:,} positions without a value, {self.gaps_filled:,} of them filled gaps of this ingest",
        ]
        if self.ignored_columns:
            lines.append(f"ignored    columns {', '.join(self.ignored_columns)}")
        lines += [f"note       {note}" for note in self.notes]
        lines += self.faults.lines()
        written = (
            "written" if self.is_written else "nothing changed" if not self.added + self.revised else "not written (dry run)"
        )
        lines.append(f"panel      {self.fingerprint}, {written}")
        return lines


def vars_of(frequency: Frequency) -> dict[str, Any]:
    """The fields of a frequency, which make it again: `Frequency(**vars_of(frequency))`."""
    names = ("alias", "time_zone", "is_numbered", "stride", "phase")
    return {name: getattr(frequency, name) for name in names}
