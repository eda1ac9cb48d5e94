"""What an ingest did, for people and for programs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forecaster.frequency import Frequency
from forecaster.ingest.faults import Faults
from forecaster.series import Panel, spread_out


@dataclass(frozen=True)
class Covariate:
    """How well one covariate of a panel is known.

    `steps_ahead` is how many positions after its last value every series knows it for, `filled` counts those up to there that
    take the value before them, and `unknown` those that have none before them.
    """

    name: str
    steps_ahead: int
    filled: int
    unknown: int

    def __str__(self) -> str:
        ahead = f"{self.name} is known {self.steps_ahead:,} step{'' if self.steps_ahead == 1 else 's'} ahead"
        filled = f", missing values take the one before ({self.filled:,})" if self.filled else ""
        return ahead + filled + (f", and {self.unknown:,} have none before them" if self.unknown else "")


@dataclass(frozen=True)
class IngestReport:
    """What was read, what was found, and what stands in the store now.

    `rows_read` counts rows of files; `added`, `revised` and `unchanged` count series' positions against what was stored
    before; `missing` counts positions without a value, `gaps_filled` those that no row spoke of. `known_added` and
    `known_revised` count values of covariates, `static_changed` what never changes in a series, and is new.
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
    covariates: tuple[Covariate, ...] = ()
    known_added: int = 0
    known_revised: int = 0
    static: tuple[str, ...] = ()
    static_changed: int = 0
    ignored_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_written: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON can hold it."""
        plain = {name: value for name, value in vars(self).items() if name not in ("faults", "frequency", "covariates")}
        covariates = [asdict(covariate) for covariate in self.covariates]
        return {**plain, "frequency": vars_of(self.frequency), "covariates": covariates, "faults": self.faults.to_dict()}

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
        if self.covariates:
            lines.append(f"covariates {self.known_added:,} values added, {self.known_revised:,} revised")
            lines += [f"{'':11}{covariate}" for covariate in self.covariates]
        if self.static:
            lines.append(f"static     {', '.join(self.static)}" + (f" ({self.static_changed:,} new)" * (self.static_changed > 0)))
        if self.ignored_columns:
            lines.append(f"ignored    columns {', '.join(self.ignored_columns)}")
        lines += [f"note       {note}" for note in self.notes]
        lines += self.faults.lines()
        news = self.added + self.revised + self.known_added + self.known_revised + self.static_changed
        written = "written" if self.is_written else "not written (dry run)" if news else "nothing changed"
        lines.append(f"panel      {self.fingerprint}, {written}")
        return lines


def covariates_of(panel: Panel) -> tuple[Covariate, ...]:
    """How well each covariate of a panel is known."""
    if panel.known is None:
        return ()
    codes, positions = spread_out(panel.starts, panel.lengths)
    is_unknown = np.isnan(panel.known_at(codes, positions[:, None])[:, 0]).sum(axis=0)
    is_missing = np.isnan(panel.known.given_at(codes, positions)).sum(axis=0)
    reach = panel.known.reach.min(axis=0, initial=np.iinfo(np.int64).max)
    return tuple(
        Covariate(name, int(reach[k]), int(is_missing[k] - is_unknown[k]), int(is_unknown[k]))
        for k, name in enumerate(panel.known.names)
    )


def vars_of(frequency: Frequency) -> dict[str, Any]:
    """The fields of a frequency, which make it again: `Frequency(**vars_of(frequency))`."""
    names = ("alias", "time_zone", "is_numbered", "stride", "phase")
    return {name: getattr(frequency, name) for name in names}
