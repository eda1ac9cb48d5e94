"""Fits kept in a folder, so that the same values with the same settings are not fitted twice.

One NDJSON file for each baseline, to which every fit is added as soon as it is there: an evaluation that was cut off goes on
where it stopped. A line that is damaged or of another version is one that is not there.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from forecaster.baselines.parameters import Job, Numbers
from forecaster.errors import DataError

RULES = 1  # raise it when a fit of the same values finds other numbers than before

Kept = tuple[Numbers, dict[str, Any]]  # what was fitted, and what is told of it


@dataclass(frozen=True)
class FitStore:
    """The fits of one baseline in `folder/NAME.ndjson`.

    Raises DataError when the folder cannot be read or written.
    """

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.ndjson"

    def read(self, jobs: Iterable[Job]) -> dict[str, Kept]:
        """What was kept for these jobs, by unique_id."""
        wanted = {self._key(job): job.unique_id for job in jobs}
        kept: dict[str, Kept] = {}
        try:
            lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        except OSError as error:
            raise self._refusal(error) from error
        for line in lines:
            key, fit = _parse(line)
            if fit is not None and key in wanted:
                kept[wanted[key]] = fit
        return kept

    def add(self, job: Job, numbers: Numbers, facts: dict[str, Any]) -> None:
        """Keep one fit."""
        line = orjson.dumps({"key": self._key(job), "numbers": numbers, "facts": facts})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(b"\n" + line + b"\n")  # what was cut off before it stays on a line of its own
        except OSError as error:
            raise self._refusal(error) from error

    def _key(self, job: Job) -> str:
        settings = (RULES, _versions(), self.name, job.start, job.season_length, job.max_seconds, len(job.values))
        return hashlib.sha256(repr(settings).encode() + job.values.astype("<f8").tobytes()).hexdigest()

    def _refusal(self, error: OSError) -> DataError:
        return DataError(
            f"kept fits in {self.path}: cannot be read or written ({error.strerror}); expected a folder with room and permission "
            "to write. Mend that, or give another folder."
        )


def _parse(line: bytes) -> tuple[str, Kept | None]:
    try:
        fields = orjson.loads(line)
        return str(fields["key"]), (dict(fields["numbers"]), dict(fields["facts"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return "", None


@cache
def _versions() -> tuple[str, ...]:
    return tuple(version(name) for name in ("statsmodels", "scipy", "numpy"))
