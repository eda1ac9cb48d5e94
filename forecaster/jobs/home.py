"""Where panels, runs and states live, and what time it is there."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from forecaster.errors import ConfigError

Clock = Callable[[], datetime]  # aware, in UTC


def wall_clock() -> datetime:
    """What time it is."""
    return datetime.now(UTC)


def clock_at(time: str | None) -> Clock:
    """A clock that stands at a time, written as ISO 8601, in UTC where it has no offset; the wall clock for None.

    Raises ConfigError for what is no time.

    >>> clock_at("2024-05-01T02:00")().isoformat()
    '2024-05-01T02:00:00+00:00'
    """
    if time is None:
        return wall_clock
    try:
        stands = datetime.fromisoformat(time)
    except ValueError:
        raise ConfigError(
            f"--now {time!r} is no time; expected one such as 2024-05-01T02:00 or 2024-05-01T02:00+02:00."
        ) from None
    stands = stands.replace(tzinfo=UTC) if stands.tzinfo is None else stands.astimezone(UTC)
    return lambda: stands


@dataclass(frozen=True)
class Home:
    """The folder that holds what is taken in and what is made: $FORECASTER_HOME, or the working directory."""

    path: Path

    @classmethod
    def here(cls) -> "Home":
        return cls(Path(os.environ.get("FORECASTER_HOME") or "."))

    @property
    def panels(self) -> Path:
        return self.path / "data" / "panels"

    @property
    def fits(self) -> Path:
        """Fits of baselines, by what they were fitted to: nothing is lost with it but time."""
        return self.path / "data" / "fits"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def states(self) -> Path:
        return self.path / "state"

    @property
    def forecasts(self) -> Path:
        """What the nightly job publishes, a folder for each panel."""
        return self.path / "forecasts"

    @property
    def nights(self) -> Path:
        """The journals of the nightly job, a folder for each panel."""
        return self.path / "nights"
