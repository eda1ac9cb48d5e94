"""A run is a folder: what was trained, on what, with what, and what was found out about it.

It is written beside and renamed, so a folder under `runs/` is a training that ended. What a training that was cut off has
left lies under `runs/.unfinished`, and the same training goes on from there.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forecaster.config import Config, read_config
from forecaster.errors import ConfigError, DataError, StateError
from forecaster.jobs.home import Home
from forecaster.jobs.locks import take_lock
from forecaster.jobs.service import POINTERS, serving_run
from forecaster.series import Panel

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
PACKAGES = ("forecaster", "torch", "pytorch-lightning", "pandas", "numpy", "statsmodels", "holidays")


@dataclass(frozen=True)
class RunFacts:
    """What a run is: its panel as it was then, the part held back from the first weights, and where it comes from.

    `panel_fingerprint`, `settings` and `code` name data, configuration and program; `parent` is the run that served the panel
    when this one was trained. Runs made before these were kept have them empty.
    """

    panel: str
    panel_fingerprint: str
    model_fingerprint: str
    horizon: int
    holdout: int
    seconds: float
    created: str
    command: str
    versions: dict[str, str]
    known_through: str = ""
    parent: str | None = None
    settings: str = ""
    code: str = ""


@dataclass(frozen=True)
class Run:
    """A finished training."""

    path: Path
    config: Config
    facts: RunFacts

    @classmethod
    def open(cls, name: str, home: Home) -> "Run":
        """The run at a path, of a name under `runs/`, or the one that serves: `current`, `PANEL@current`, `PANEL@previous`.

        Raises ConfigError when there is none, StateError when it is not whole.
        """
        name = serving_run(name, home)
        path = next((place for place in (Path(name), home.runs / name) if (place / "run.json").is_file()), None)
        if path is None:
            known = sorted(place.parent.name for place in home.runs.glob("*/run.json"))
            names = ", ".join(known[-5:]) or "none yet"
            raise ConfigError(f"run {name!r}: no finished run there; {home.runs} holds {names}. Make one with `forecast train`.")
        try:
            facts = RunFacts(**json.loads((path / "run.json").read_text()))
            return cls(path, read_config(path / "config.yaml"), facts)
        except (ValueError, TypeError, OSError) as error:
            raise StateError(f"{path / 'run.json'} is damaged ({_first_line(error)}). Train again.") from None
        except ConfigError as error:
            raise StateError(f"run {path} is not whole: {error} Train again.") from None

    @property
    def deployed_weights(self) -> Path:
        """The weights that have seen the whole panel, for forecasts to come."""
        return self.path / "weights.safetensors"

    @property
    def judged_weights(self) -> Path:
        """The weights that have not seen the last `holdout` values, for scores."""
        return self.path / "judged.safetensors"

    def known_ends(self) -> dict[str, int]:
        """The last position of each series when the run was trained; raises StateError when that is not known any more."""
        try:
            table = pq.read_table(self.path / "known.parquet", columns=["unique_id", "end"]).to_pydict()
        except (OSError, pa.ArrowException) as error:
            raise StateError(
                f"{self.path / 'known.parquet'} is missing or damaged ({_first_line(error)}). Train again."
            ) from error
        return dict(zip(table["unique_id"], table["end"], strict=True))

    def known_part(self, panel: Panel) -> Panel:
        """The panel as far as it reached when the run was trained; series that came later are left out.

        Raises StateError when the run does not know that any more.
        """
        ends = self.known_ends()
        known = [b for b in range(len(panel)) if panel.ids[b] in ends]
        then = np.array([ends[panel.ids[b]] for b in known], dtype=np.int64)
        part = panel.select(known)
        return part.drop_last(np.maximum(part.ends - then, 0))


def check_run_name(name: str) -> str:
    """The name, if it can be that of a folder under `runs/`; ConfigError otherwise."""
    if not NAME.fullmatch(name):
        raise ConfigError(f"--name {name!r} cannot be a folder; use letters, digits, dots, dashes and underscores.")
    if name in POINTERS:
        raise ConfigError(f"--name {name!r} is a word for the run that serves. Choose another name.")
    return name


def write_facts(folder: Path, config: Config, facts: RunFacts, panel: Panel) -> None:
    """Put into a folder what makes it a run, besides its weights; `run.json` comes last."""
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    table = pa.table({"unique_id": list(panel.ids), "end": panel.ends})
    pq.write_table(table, folder / "known.parquet")
    (folder / "run.json").write_text(json.dumps(asdict(facts), indent=1), encoding="utf-8")


def training_key(config: Config, panel: Panel) -> str:
    """What makes two trainings the same one: data, settings and the versions that compute them."""
    told = json.dumps([_trained_with(config), panel.fingerprint, package_versions()], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def settings_fingerprint(config: Config) -> str:
    """Twelve hexadecimal digits that change with any setting that a training knows of."""
    return hashlib.sha256(json.dumps(_trained_with(config), sort_keys=True).encode()).hexdigest()[:12]


def code_fingerprint() -> str:
    """Twelve hexadecimal digits that change with any line of this program."""
    digest, root = hashlib.sha256(), Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _trained_with(config: Config) -> dict[str, Any]:
    """The settings that make a training what it is: how it is operated is none of them."""
    return config.model_dump(mode="json", exclude={"operations"})


def package_versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


@contextmanager
def unfinished_folder(home: Home, key: str, *, fresh: bool) -> Iterator[Path]:
    """The folder in which one training works, alone; emptied first if `fresh`.

    Raises StateError when another process is at the same training, DataError when nothing can be written there.
    """
    place = home.runs / ".unfinished"
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{place}: no run can be written there ({error.strerror}). Set $FORECASTER_HOME to a folder of yours."
        ) from error
    with (place / f"{key}.lock").open("a+") as lock:
        if holder := take_lock(lock):
            raise StateError(f"process {holder} is at this very training (runs/.unfinished/{key}). Wait for it, or stop it.")
        folder = place / key
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(exist_ok=True)
        yield folder
        if not folder.exists():
            (place / f"{key}.lock").unlink(missing_ok=True)


def finish(folder: Path, home: Home, name: str) -> Path:
    """Give a whole run its name under `runs/`, with a number behind it if the name is taken."""
    for number in range(1, 10_000):
        target = home.runs / (name if number == 1 else f"{name}-{number}")
        if not target.exists():
            folder.rename(target)
            return target
    raise StateError(f"{home.runs} holds 10,000 runs called {name}. Remove some, or pass --name.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
