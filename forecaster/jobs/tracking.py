"""A run told to MLflow: its settings, scores, losses and files, once for what there is to tell."""

import hashlib
import importlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from forecaster.errors import ConfigError, DataError
from forecaster.jobs.runs import Run

FILES = ("config.yaml", "run.json", "training.csv", "refit.csv", "evaluation.json", "report.html", "evaluation/*.png")
WEIGHTS = ("weights.safetensors", "judged.safetensors")
RUN, DIGEST = "forecaster.run", "forecaster.digest"  # tags
AT_ONCE = 500  # metrics of one request; a server takes 1,000
LONGEST = 500  # characters of a parameter


@dataclass(frozen=True)
class Logged:
    """What MLflow was told, and as what; `is_there` says that it knew all of it before."""

    server: str
    experiment: str
    mlflow_run: str
    parameters: int
    metrics: int
    files: tuple[str, ...]
    is_there: bool


def log_run(run: Run, server: str, *, experiment: str | None = None, has_weights: bool = False) -> Logged:
    """Tell MLflow of a run, under an experiment of its panel's name; what was told before is told anew only if there is more.

    `server` is a folder, sqlite:///FILE or the address of a server. Raises ConfigError where MLflow is not installed, DataError
    when it refuses.
    """
    mlflow = _mlflow(server)
    name = experiment or run.facts.panel
    files = _files(run, has_weights=has_weights)
    parameters, metrics = parameters_of(run), metrics_of(run)
    digest = _digest(parameters, metrics, files)
    with _refusals_told(mlflow, server):
        client = mlflow.MlflowClient(tracking_uri=server, registry_uri=server)
        found = client.get_experiment_by_name(name)
        home = found.experiment_id if found else client.create_experiment(name)
        before = client.search_runs([home], filter_string=f"tags.`{RUN}` = '{run.path.name}'")
        known = next((one for one in before if one.data.tags.get(DIGEST) == digest), None)
        told = known or _told(mlflow, client, home, run, parameters=parameters, metrics=metrics, files=files, digest=digest)
        for old in before:  # of fewer scores, or cut off
            if old.info.run_id != told.info.run_id:
                client.delete_run(old.info.run_id)
    names = tuple(str(path.relative_to(run.path)) for path in files)
    return Logged(_shown(server), name, told.info.run_id, len(parameters), len(metrics), names, known is not None)


def parameters_of(run: Run) -> dict[str, str]:
    """The settings, flat (`model.hidden_size`), and what the training was of."""
    facts = asdict(run.facts)
    given = {name: facts[name] for name in ("panel", "horizon", "holdout")} | _flat(run.config.model_dump(mode="json"))
    return {name: str(value)[:LONGEST] for name, value in given.items()}


def metrics_of(run: Run) -> list[tuple[str, float, int]]:
    """(name, value, step): scores such as `mase/gru`, the losses of each member's training, and the seconds it took."""
    found = [("training_seconds", run.facts.seconds, 0)]
    if (run.path / "evaluation.json").exists():
        for row in json.loads((run.path / "evaluation.json").read_text(encoding="utf-8"))["leaderboard"]:
            scores = {
                name: value for name, value in row.items() if isinstance(value, (int, float)) and not isinstance(value, bool)
            }
            found += [(f"{name}/{row['forecaster']}", float(value), 0) for name, value in scores.items()]
    for part in ("training", "refit"):
        if (run.path / f"{part}.csv").exists():
            found += _losses(pd.read_csv(run.path / f"{part}.csv"), part)
    return [metric for metric in found if np.isfinite(metric[1])]


def _losses(log: pd.DataFrame, part: str) -> Iterator[tuple[str, float, int]]:
    for name in ("loss", "validation"):
        if name in log:
            rows = log.dropna(subset=[name])
            for member, step, value in zip(rows["member"], rows["step"], rows[name], strict=True):
                yield f"{part}/{name}/member_{int(member)}", float(value), int(step)


def _told(
    mlflow: ModuleType,
    client: Any,
    home: str,
    run: Run,
    *,
    parameters: dict[str, str],
    metrics: list[tuple[str, float, int]],
    files: list[Path],
    digest: str,
) -> Any:
    """A run of MLflow with all there is to tell; its digest comes last, so that one that was cut off is known as such."""
    ended = int(1000 * datetime.fromisoformat(run.facts.created).timestamp())
    began = ended - int(1000 * run.facts.seconds)
    tags = {RUN: run.path.name, "forecaster.model": run.facts.model_fingerprint, "forecaster.panel": run.facts.panel_fingerprint}
    tags |= {"forecaster.code": run.facts.code, "forecaster.parent": run.facts.parent or ""}
    tags |= {f"version.{name}": version for name, version in run.facts.versions.items()}
    made = client.create_run(home, start_time=began, tags=tags, run_name=run.path.name)
    key, entities = made.info.run_id, mlflow.entities
    names = list(parameters)
    for first in range(0, len(names), 100):  # a server takes 100
        client.log_batch(key, params=[entities.Param(name, parameters[name]) for name in names[first : first + 100]])
    for first in range(0, len(metrics), AT_ONCE):
        batch = [entities.Metric(name, value, ended, step) for name, value, step in metrics[first : first + AT_ONCE]]
        client.log_batch(key, metrics=batch)
    for path in files:
        place = path.relative_to(run.path).parent
        client.log_artifact(key, str(path), None if str(place) == "." else str(place))
    client.set_tag(key, DIGEST, digest)
    client.set_terminated(key, "FINISHED", end_time=ended)
    return made


def _files(run: Run, *, has_weights: bool) -> list[Path]:
    patterns = (*FILES, *(WEIGHTS if has_weights else ()))
    return [path for pattern in patterns for path in sorted(run.path.glob(pattern))]


def _digest(parameters: dict[str, str], metrics: list[tuple[str, float, int]], files: list[Path]) -> str:
    """Changes with anything that is told."""
    digest = hashlib.sha256(json.dumps([parameters, metrics], sort_keys=True).encode())
    for path in files:
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _flat(tree: dict[str, Any], above: str = "") -> dict[str, Any]:
    """A tree of settings as one level of dotted names.

    >>> _flat({"horizon": 8, "model": {"layers": 1}})
    {'horizon': 8, 'model.layers': 1}
    """
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, dict) and value else {f"{above}{name}": value}
    return flat


def _mlflow(server: str) -> ModuleType:
    """The library; a folder is what it keeps less gladly than a database, and still keeps when told so."""
    if urlsplit(server).scheme in ("", "file"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    try:
        mlflow = importlib.import_module("mlflow")
        importlib.import_module("mlflow.entities")
    except ImportError:
        raise ConfigError("--to needs MLflow, which is not installed. Install it: pip install 'forecaster[mlflow]'.") from None
    return mlflow


@contextmanager
def _refusals_told(mlflow: ModuleType, server: str) -> Iterator[None]:
    try:
        yield
    except (mlflow.MlflowException, OSError) as error:  # requests' own errors are OSErrors
        said = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".").replace(server, _shown(server))
        raise DataError(f"--to {_shown(server)}: MLflow refuses ({said}). Mend that, and give the command again.") from error


def _shown(server: str) -> str:
    """An address without a password.

    >>> _shown("https://me:secret@mlflow.example/x"), _shown("mlruns")
    ('https://mlflow.example/x', 'mlruns')
    """
    parts = urlsplit(server)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else server
