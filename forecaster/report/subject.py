"""What a page is about: a run, its data, what was found out of it. Plain values, put together by whoever asks for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from forecaster.frequency import Positions
from forecaster.series import Panel, Values


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a run: its summary, and the folder with its tables."""

    summary: Mapping[str, Any]
    folder: Path

    @property
    def is_of_actuals(self) -> bool:
        """Whether it was scored against values that came after the training, not from rolling origins."""
        return bool(self.summary.get("kind") == "actuals")

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The leaderboard, best first."""
        return list(self.summary.get("leaderboard", ()))

    def row(self, forecaster: str) -> Mapping[str, Any]:
        """The leaderboard's row of one forecaster; empty where it has none."""
        return next((row for row in self.rows if row["forecaster"] == forecaster), {})

    @property
    def measure(self) -> str:
        """What the leaderboard is ordered by."""
        return str(self.summary.get("measure", "mase"))

    @property
    def is_scored(self) -> bool:
        """Whether anybody was scored at all."""
        return any(row.get(self.measure) is not None for row in self.rows)

    @property
    def series_measure(self) -> str:
        """The measure that a single series, lead or origin has."""
        return "smape" if self.measure == "smape" else "mase"

    def rival(self, ours: str) -> str | None:
        """The best of the others, which ours is shown beside."""
        scored = (row["forecaster"] for row in self.rows if row.get(self.measure) is not None)
        return next((str(name) for name in scored if name != ours), None)

    def path(self, table: str) -> Path:
        """Where a table of the evaluation lies."""
        return self.folder / f"{table}.parquet"

    @cached_property
    def by_series(self) -> pd.DataFrame:
        return pd.read_parquet(self.path("by_series"))

    @cached_property
    def by_lead(self) -> pd.DataFrame:
        return pd.read_parquet(self.path("by_lead"))

    @cached_property
    def by_origin(self) -> pd.DataFrame:
        return pd.read_parquet(self.path("by_origin"))

    @cached_property
    def champions(self) -> pd.DataFrame | None:
        """Who speaks for each series, where that was chosen."""
        return pd.read_parquet(self.path("champions")) if self.path("champions").exists() else None


@dataclass(frozen=True)
class Gates:
    """The gates of one series over time: positions [T], values [T], and for each gate the units [U, T], the slowest first."""

    unique_id: str
    positions: Positions
    values: Values
    tables: Mapping[str, Values]


@dataclass(frozen=True)
class Inside:
    """What the network's gates do: over time, and as half-lives [U] over so many series, with what may be said of them."""

    gates: tuple[Gates, ...]
    half_lives: Values
    alphas: Values
    series: int
    said: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """A run with all that a page tells of it.

    `ours` is the network's name in the tables, `is_refit` says that in the end it was trained on every value. `panel` reaches as
    far as the run knew it; `facts`, `config` and `source` are run.json, config.yaml and the panel's manifest; `faults` are counts
    by what the kind is called. What is None is not there.
    """

    run: str
    path: Path
    ours: str
    is_refit: bool
    panel: Panel
    facts: Mapping[str, Any]
    config: Mapping[str, Any]
    config_text: str
    source: Mapping[str, Any]
    faults: Mapping[str, int]
    parameters: int
    evaluation: Evaluation | None
    actuals: Evaluation | None
    inside: Inside | None
    ablation: Mapping[str, Any] | None

    @property
    def judged(self) -> Evaluation | None:
        """The evaluation that most of the page is about."""
        return self.evaluation or self.actuals

    @property
    def scored(self) -> Evaluation | None:
        """The same, where it has scores to show."""
        return self.judged if self.judged and self.judged.is_scored else None
