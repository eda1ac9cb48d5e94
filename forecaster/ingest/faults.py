"""What can be wrong with a file, what is done about it, and the one report that names it all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from forecaster.errors import ConfigError, DataError

EXAMPLES_SHOWN = 3
FAULTS_KEPT = 1_000  # of each kind, with their places; all are counted

Action = Literal["error", "warned", "kept", "repaired", "dropped"]


@dataclass(frozen=True)
class IngestPolicies:
    """What to do about each fault that leaves a choice; where data would be lost or changed, the default is to stop.

    `clock_change` is for local times that a clock change repeats or skips: `infer` takes the first of two as summer time and
    moves a skipped time forward. A series with fewer than `min_length` observed values is short.

    >>> IngestPolicies(duplicates="newest")
    Traceback (most recent call last):
        ...
    forecaster.errors.ConfigError: policy duplicates is 'newest'; choose error, first, last or mean.
    """

    duplicates: Literal["error", "first", "last", "mean"] = "error"
    misaligned: Literal["error", "floor", "drop"] = "error"
    unparsable: Literal["error", "drop"] = "error"
    infinite: Literal["error", "missing"] = "error"
    clock_change: Literal["error", "infer", "drop"] = "error"
    gaps: Literal["keep", "error"] = "keep"
    missing: Literal["keep", "error"] = "keep"
    short: Literal["keep", "drop", "error"] = "keep"
    min_length: int = 2

    def __post_init__(self) -> None:
        hints = get_type_hints(IngestPolicies)
        for policy in fields(self):
            choices = get_args(hints[policy.name])
            chosen = getattr(self, policy.name)
            if choices and chosen not in choices:
                raise ConfigError(f"policy {policy.name} is {chosen!r}; choose {', '.join(choices[:-1])} or {choices[-1]}.")
        if self.min_length < 1:
            raise ConfigError(f"policy min_length is {self.min_length}; expected 1 or more.")


@dataclass(frozen=True)
class Kind:
    """One kind of fault: what many of them are called, and what cures them."""

    plural: str
    cure: str = ""


UNPARSABLE_CURE = "Mend these rows, or pass --unparsable drop."
KINDS = {
    "unreadable_file": Kind("unreadable files"),
    "malformed_row": Kind("malformed rows", UNPARSABLE_CURE),
    "empty_id": Kind("rows without an id", UNPARSABLE_CURE),
    "unparsable_time": Kind("timestamps that cannot be read", UNPARSABLE_CURE),
    "out_of_range_time": Kind("timestamps out of range", UNPARSABLE_CURE),
    "non_numeric": Kind("values that are not numbers", UNPARSABLE_CURE),
    "infinite": Kind("infinite values", "Mend these values, or pass --infinite missing."),
    "too_large": Kind("values beyond 1e30", "Mend or rescale these values, or pass --infinite missing."),
    "text_covariate": Kind(
        "covariates that are not numbers",
        "Write numbers, or true and false; name a column that never changes in a series with --static; "
        "or pass --unparsable drop to leave such covariates unknown.",
    ),
    "changing_static": Kind("changes of what never changes in a series", "Mend these rows, or take the column out of --static."),
    "mixed_zones": Kind("timestamps that disagree about time zones", "Give all of them an offset, or name --time-zone."),
    "ambiguous_time": Kind("local times that the clock repeats", "Write offsets, or pass --clock-change infer."),
    "nonexistent_time": Kind("local times that the clock skips", "Write offsets, or pass --clock-change infer."),
    "no_frequency": Kind("unknown frequencies", "Give --freq (h, 15min, D, B, W-SUN, MS, QS, YS, or step)."),
    "mixed_frequency": Kind("different frequencies", "Pick series with --only GLOB, or give --freq to count all on one grid."),
    "misaligned": Kind("timestamps off the grid", "Give --freq, or pass --misaligned floor or drop."),
    "duplicate": Kind("duplicate timestamps", "Keep one of each, or pass --duplicates first, last or mean."),
    "too_sparse": Kind("series with far more gaps than values", "Mend the stray timestamps, or give a coarser --freq."),
    "gap": Kind("gaps", "Fill them, or pass --gaps keep."),
    "missing": Kind("missing values", "Fill them, or pass --missing keep."),
    "missing_covariate": Kind("missing covariates", "Fill them, or pass --missing keep."),
    "short": Kind("short series", "Pass --short drop or keep, or lower --min-length."),
    "unobserved": Kind("series without any value", "Take them out, or pass --short drop."),
    "constant": Kind("constant series"),
    "identical": Kind("identical rows collapsed"),
    "trimmed_id": Kind("ids with spaces around them"),
    "similar_id": Kind("ids that differ in case or spacing only"),
}


@dataclass(frozen=True)
class Fault:
    """One fault and its place; row is the line of a CSV or NDJSON file (the header is line 1), or the row of a Parquet file.

    >>> print(Fault("duplicate", "a", "sales.csv", 118, "2024-03-31 02:00 appears twice"))
    series 'a': 2024-03-31 02:00 appears twice (sales.csv, row 118)
    """

    kind: str
    series: str
    file: str
    row: int
    found: str

    def __str__(self) -> str:
        place = f"{self.file}, row {self.row}" if self.row else self.file
        series = f"series {_shortened(self.series)!r}: " if self.series else ""
        return f"{series}{self.found}{f' ({place})' if place else ''}"


@dataclass
class FaultGroup:
    """All faults of one kind that met one fate."""

    kind: str
    action: Action
    count: int = 0
    faults: list[Fault] = field(default_factory=list)


class Faults:
    """Every fault of one ingest, grouped by kind and by what was done."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, Action], FaultGroup] = {}

    def add(self, kind: str, action: Action, faults: Sequence[Fault], *, count: int | None = None) -> None:
        """Count `count` faults, and keep the places of those that are given."""
        group = self._groups.setdefault((kind, action), FaultGroup(kind, action))
        group.count += len(faults) if count is None else count
        group.faults.extend(faults[: FAULTS_KEPT - len(group.faults)])

    def __iter__(self) -> Iterator[FaultGroup]:
        """Groups, the worst first, then in the order of KINDS."""
        actions, kinds = list(get_args(Action)), list(KINDS)
        return iter(sorted(self._groups.values(), key=lambda group: (actions.index(group.action), kinds.index(group.kind))))

    @property
    def stop_ingest(self) -> bool:
        return any(group.action == "error" for group in self)

    def count(self, kind: str) -> int:
        """How many faults of a kind were found."""
        return sum(group.count for group in self if group.kind == kind)

    def to_dict(self) -> list[dict[str, Any]]:
        return [
            {"kind": g.kind, "action": g.action, "count": g.count, "examples": [vars(f) for f in g.faults[:EXAMPLES_SHOWN]]}
            for g in self
        ]

    def lines(self) -> list[str]:
        """The report for people: a headline for each group, and its first examples."""
        lines = []
        for group in self:
            kind = KINDS[group.kind]
            cure = f" - {kind.cure}" if group.action == "error" and kind.cure else ""
            lines.append(f"{group.action:<9}{group.count:>7,}  {kind.plural}{cure}")
            lines += [f"{'':18}{fault}" for fault in group.faults[:EXAMPLES_SHOWN]]
            if group.count > EXAMPLES_SHOWN and group.faults:
                lines.append(f"{'':18}and {group.count - EXAMPLES_SHOWN:,} more")
        return lines

    def raise_if_any_stops(self) -> None:
        """Raises FaultyDataError when a fault stands at error."""
        if self.stop_ingest:
            raise FaultyDataError(self)


class FaultyDataError(DataError):
    """The data has faults that stop an ingest; `faults` holds all of them, the message the first of each kind."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        sentences = []
        for group in faults:
            if group.action == "error":
                more = f", and {group.count - 1:,} more" if group.count > 1 else ""
                first = str(group.faults[0]).rstrip(".")
                sentences.append(f"{first}{more}. {KINDS[group.kind].cure}".strip())
        super().__init__(" ".join(sentences))


def action_of(choice: str) -> Action:
    """What a policy's choice does to the rows that it is about.

    >>> action_of("floor"), action_of("drop")
    ('repaired', 'dropped')
    """
    actions: dict[str, Action] = {"error": "error", "keep": "kept", "drop": "dropped"}
    return actions.get(choice, "repaired")


def first_of(indices: NDArray[np.bool_] | NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows [N] whose places are kept, of those that a mask or a list of rows names."""
    rows = np.flatnonzero(indices) if indices.dtype == bool else indices
    return np.asarray(rows[:FAULTS_KEPT], dtype=np.int64)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
