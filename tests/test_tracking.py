"""A run told to MLflow, in a folder of files and in SQLite: read back by MLflow's own client."""

import json
import sys
import warnings
from pathlib import Path

import pandas as pd
import pytest
from conftest import Forecast as Typed

from forecaster.errors import ConfigError, DataError
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.jobs.tracking import log_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own
    mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'forecaster[mlflow]'")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.usefixtures("in_its_folder"),
]  # it warns of itself, and of SQLAlchemy


@pytest.fixture
def in_its_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow puts the files of a database's runs into the working directory."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


@pytest.fixture
def server(home: Path) -> str:
    return str(home / "mlruns")


def read(server: str, experiment: str = "macro") -> list[object]:
    client = mlflow.MlflowClient(tracking_uri=server)
    return list(client.search_runs([client.get_experiment_by_name(experiment).experiment_id]))


@pytest.mark.parametrize("kind", ["folder", "sqlite"])
def test_mlflow_holds_what_the_run_holds(home: Path, kind: str) -> None:
    server = str(home / "mlruns") if kind == "folder" else f"sqlite:///{home / 'mlflow.db'}"
    run = Run.open("tiny", Home(home))
    logged = log_run(run, server)
    (found,) = read(server)
    assert (found.info.run_id, found.info.status, found.info.run_name) == (logged.mlflow_run, "FINISHED", "tiny")
    assert found.data.params["model.hidden_size"] == "4"
    assert found.data.params["horizon"] == "8"
    assert found.data.tags["forecaster.model"] == run.facts.model_fingerprint
    assert found.data.metrics["training_seconds"] == run.facts.seconds
    client = mlflow.MlflowClient(tracking_uri=server)
    log = pd.read_csv(run.path / "training.csv").dropna(subset=["loss"])
    told = client.get_metric_history(logged.mlflow_run, "training/loss/member_0")
    assert [(metric.step, metric.value) for metric in told] == list(zip(log["step"], log["loss"], strict=True))
    names = {file.path for file in client.list_artifacts(logged.mlflow_run)}
    assert {"config.yaml", "run.json", "training.csv"} <= names
    assert "weights.safetensors" not in names
    kept = client.download_artifacts(logged.mlflow_run, "config.yaml", str(home))
    assert Path(kept).read_bytes() == (run.path / "config.yaml").read_bytes()


def test_told_twice_nothing_changes_and_an_evaluation_is_told_anew(home: Path, server: str) -> None:
    run = Run.open("tiny", Home(home))
    first, second = log_run(run, server), log_run(run, server)
    assert (first.is_there, second.is_there) == (False, True)
    assert first.mlflow_run == second.mlflow_run
    rows = [{"forecaster": "gru", "mase": 0.5, "owa": None}, {"forecaster": "ses", "mase": 0.75, "may_be_best": True}]
    (run.path / "evaluation.json").write_text(json.dumps({"leaderboard": rows}))
    third = log_run(run, server)
    assert not third.is_there
    (found,) = read(server)
    assert found.info.run_id == third.mlflow_run
    assert {name: value for name, value in found.data.metrics.items() if "mase" in name} == {"mase/gru": 0.5, "mase/ses": 0.75}
    assert not {"owa/gru", "may_be_best/ses"} & set(found.data.metrics)


def test_a_run_that_was_cut_off_while_told_is_told_anew(home: Path, server: str) -> None:
    client = mlflow.MlflowClient(tracking_uri=server)
    client.create_run(client.create_experiment("macro"), tags={"forecaster.run": "tiny"})
    logged = log_run(Run.open("tiny", Home(home)), server)
    assert [one.info.run_id for one in read(server)] == [logged.mlflow_run]


def test_the_command_tells_and_says_so(forecast: Typed, home: Path) -> None:
    done = forecast("runs", "log", "tiny", "--to", "mlruns", "--experiment", "mine", "--weights", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    told = json.loads(done.stdout)
    assert told["experiment"] == "mine"
    assert {"weights.safetensors", "judged.safetensors"} <= set(told["files"])
    assert len(read(str(home / "mlruns"), "mine")) == 1


def test_a_server_that_refuses_is_told_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(DataError, match=r"--to http://127.0.0.1:1: MLflow refuses \(.*\). Mend that") as told:
        log_run(Run.open("tiny", Home(home)), "http://me:secret@127.0.0.1:1")
    assert "secret" not in str(told.value)


def test_a_missing_library_names_its_install_command(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(
        ConfigError, match=r"needs MLflow, which is not installed. Install it: pip install 'forecaster\[mlflow\]'"
    ):
        log_run(Run.open("tiny", Home(home)), "mlruns")
