"""Where panels, runs and states live."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """The folder that holds `data/panels`, `runs` and `state`: $FORECASTER_HOME, or the working directory."""

    path: Path

    @classmethod
    def here(cls) -> "Home":
        return cls(Path(os.environ.get("FORECASTER_HOME") or "."))

    @property
    def panels(self) -> Path:
        return self.path / "data" / "panels"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def states(self) -> Path:
        return self.path / "state"
