"""Runs as folders: what a damaged one says, and that an unfinished training goes on."""

from pathlib import Path

import pytest
from conftest import CONFIG, TINY_SETTINGS, Forecast

from forecaster.errors import StateError
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run, unfinished_folder

FILES = ("run.json", "config.yaml", "known.parquet", "judged.safetensors")
DAMAGES = ("removed", "truncated", "emptied", "overwritten")
UNSEEN = {("config.yaml", "truncated"), ("config.yaml", "emptied")}  # a shorter YAML file is still a configuration


@pytest.mark.parametrize(
    ("what", "damage"), [(what, damage) for what in FILES for damage in DAMAGES if (what, damage) not in UNSEEN]
)
def test_a_damaged_run_is_refused_in_one_line(forecast: Forecast, home: Path, what: str, damage: str) -> None:
    path = home / "runs" / "tiny" / what
    content = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 3], "emptied": b"", "overwritten": b"\xff\x00[" * 40}[damage])
    result = forecast("evaluate", "tiny")
    assert result.exit_code == 2, (result.output, result.exception)
    assert result.stderr.splitlines()[-1].startswith(("StateError  ", "ConfigError  run 'tiny': no finished run there"))


@pytest.mark.parametrize("command", ["predict", "stream"])
def test_missing_weights_are_told(forecast: Forecast, home: Path, command: str) -> None:
    (home / "runs" / "tiny" / "weights.safetensors").unlink()
    result = forecast(command, "tiny")
    assert result.exit_code == 2
    assert "weights.safetensors: no readable weights" in result.stderr.splitlines()[-1]


def test_a_run_knows_how_far_its_panel_reached(home: Path) -> None:
    run = Run.open("tiny", Home(home))
    assert (run.facts.panel, run.facts.horizon, run.facts.holdout) == ("macro", 8, 32)
    assert Run.open(str(home / "runs" / "tiny"), Home(home)).facts == run.facts


def test_only_one_process_is_at_a_training(tmp_path: Path) -> None:
    with (
        unfinished_folder(Home(tmp_path), "key", fresh=False),
        pytest.raises(StateError, match="is at this very training"),
        unfinished_folder(Home(tmp_path), "key", fresh=False),
    ):
        pass


def test_an_unfinished_training_is_kept_unless_fresh(tmp_path: Path) -> None:
    with unfinished_folder(Home(tmp_path), "key", fresh=False) as folder:
        (folder / "half").touch()
    with unfinished_folder(Home(tmp_path), "key", fresh=False) as folder:
        assert (folder / "half").exists()
    with unfinished_folder(Home(tmp_path), "key", fresh=True) as folder:
        assert not (folder / "half").exists()


def test_a_training_shorter_than_its_first_validation_still_ends(forecast: Forecast) -> None:
    assert forecast("train", CONFIG, "--panel", "macro", *TINY_SETTINGS, "--set", "training.max_steps=1").exit_code == 0
