"""`forecast ablate`: the ladder on a real panel, from the command line."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import CONFIG, TINY_SETTINGS, Forecast, type_words
from models_panels import weekly_panel

from forecaster.config import Config, read_config
from forecaster.jobs.ablate import ablation_key, check_rungs, exam_of
from forecaster.jobs.rungs import Exam, Training, Untrained, on_one_core
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.network import ModelConfig
from forecaster.models.plan import TrainingConfig
from forecaster.series import Panel

SETTINGS = [*TINY_SETTINGS, "--set", "evaluation.origins=12", "--set", "evaluation.stride=8"]  # twelve units for the tests
WORDS = ["ablate", CONFIG, "--panel", "macro", "--jobs", "1", *SETTINGS]
TWO, ONE = ["--rungs", "smoothing,gru"], ["--rungs", "gru"]
TINY = Config(
    model=ModelConfig(hidden_size=4, head_size=8, members=1),
    training=TrainingConfig(max_steps=3, batch_size=2, window_length=16, accelerator="cpu"),
    horizon=4,
)


def results(home: Path) -> Path:
    """The one folder of results."""
    (folder,) = (home / "runs" / ".ablations").iterdir()
    return folder


def trained(exam: Exam, folder: Path, rung: str = "gru", seed: int = 1) -> Training:
    (folder / "scratch").mkdir(parents=True)
    training = Training(exam, rung, seed, folder, folder / "scratch")
    with on_one_core():
        training.learn()
    return training


@pytest.fixture(scope="module")
def climbed(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A home where two rungs were trained and compared, and what the command printed."""
    home = Path(shutil.copytree(trained_home, tmp_path_factory.mktemp("ladder") / "my home"))
    done = type_words(home, [*WORDS, *TWO, "--json", "--write-config", home / "chosen.yaml"])
    assert done.exit_code == 0, done.output
    return home, done.stdout


@pytest.fixture
def ladder_home(climbed: tuple[Path, str], home: Path) -> Path:
    """The home of the test, where two rungs were trained and compared before."""
    return Path(shutil.copytree(climbed[0], home, dirs_exist_ok=True))


# -- what the command tells ----------------------------------------------------------------------------------------------------


def test_a_ladder_is_told_as_json_with_the_costs_of_each_rung(climbed: tuple[Path, str]) -> None:
    home, told = climbed[0], json.loads(climbed[1])
    rows = {row["forecaster"]: row for row in told["ladder"]}
    assert set(rows) == {"smoothing", "gru", "base", "seasonal_naive", "ses"}
    for name in ("smoothing", "gru"):
        assert rows[name]["step_microseconds"] > 0
        assert rows[name]["train_seconds"] > 0
        assert rows[name]["steps"] == [5, 5, 5]
        assert len(rows[name]["by_seed"]) == 3
    cell = load_recurrent(results(home) / "gru-1.safetensors").network.member(0).cell
    assert rows["gru"]["cell_parameters"] == 3 * 4 * (cell.recurrence.input_size + 4 + 2)  # torch keeps two biases
    assert (told["unit"], told["units"], told["origins"], told["series"]) == ("origins", 12, 12, 3)
    assert [one["question"] for one in told["questions"]] == ["Is plain smoothing enough?"]
    assert told["recommended"] in ("smoothing", "gru")
    assert read_config(home / "chosen.yaml").model.cell == told["recommended"]
    assert read_config(home / "chosen.yaml").training.max_steps == 5
    assert json.loads((results(home) / "ablation.json").read_text()) == told
    assert list(pd.read_csv(results(home) / "ladder.csv")["forecaster"]) == [row["forecaster"] for row in told["ladder"]]
    assert set(pd.read_parquet(results(home) / "by_lead.parquet")["forecaster"]) == set(rows)


def test_a_ladder_is_told_in_words_that_end_with_what_to_use(forecast: Forecast, ladder_home: Path) -> None:
    done = forecast(*WORDS, *TWO)
    assert done.exit_code == 0, done.output
    assert "macro: horizon 8 from 12 rolling origins of 3 series, seeds 1, 2, 3" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("* ")
    assert "smoothing, gru learn from 3 seeds each, without the last 96 values of each series" in done.stderr


# -- going on ------------------------------------------------------------------------------------------------------------------


def test_what_was_trained_is_not_trained_again(forecast: Forecast, ladder_home: Path) -> None:
    folder = results(ladder_home)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*-[123].json")}
    assert len(before) == 6
    (folder / "gru-2.json").unlink()
    again = forecast(*WORDS, "--rungs", "rnn,gru,smoothing")
    assert again.exit_code == 0, again.output
    assert "5 of 9 trainings are done already" in again.stderr
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*-[123].json")}
    assert len(after) == 9
    assert {name for name in before if before[name] != after[name]} == {"gru-2.json"}


@pytest.mark.slow
def test_side_by_side_gives_the_networks_of_one_after_the_other(forecast: Forecast, home: Path) -> None:
    words = ["ablate", CONFIG, "--panel", "macro", *SETTINGS, "--set", "model.members=2", *ONE]
    said, fingerprints = [], []
    for jobs in ("1", "2"):
        done = forecast(*words, "--jobs", jobs, "--json")
        assert done.exit_code == 0, done.output
        folder = results(home)
        fingerprints.append({path.name: json.loads(path.read_text())["fingerprint"] for path in folder.glob("*-[123].json")})
        said.append({row["forecaster"]: row["by_seed"] for row in json.loads(done.stdout)["ladder"]})
        for path in folder.iterdir():
            path.unlink()
    assert fingerprints[0] == fingerprints[1]
    assert said[0] == said[1]


def test_an_ablation_that_was_killed_goes_on(home: Path, forecast: Forecast) -> None:
    words = [*map(str, WORDS), *ONE, "--set", "training.max_steps=60"]
    environment = {**os.environ, "FORECASTER_HOME": str(home)}
    with subprocess.Popen(
        [sys.executable, "-m", "forecaster", *words], cwd=home, env=environment, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + 60
        while not list((home / "runs" / ".ablations").glob("*/*-1.json")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
    done = forecast(*words)
    assert done.exit_code == 0, done.output
    assert "trainings are done already" in done.stderr
    assert not list((home / "runs" / ".unfinished").glob("ablation-*"))


def test_minutes_are_shared_out_and_steps_that_were_made_are_told(forecast: Forecast) -> None:
    minutes = 3 * 0.4 / 60  # for three trainings of a hundred thousand steps
    words = [*WORDS, *ONE, "--json", "--max-minutes", str(minutes), "--set", "training.max_steps=100000"]
    words += ["--set", "training.validation_steps=5"]
    done = forecast(*words)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["budget"]["max_minutes"] == pytest.approx(minutes / 3)
    assert told["remarks"] == []  # one rung has nothing to differ from
    steps = [row["steps"] for row in told["ladder"] if row["kind"] == "rung"]
    assert all(0 < made < 100_000 for each in steps for made in each)


# -- no look-ahead -------------------------------------------------------------------------------------------------------------


def another_end(panel: Panel, steps: int) -> Panel:
    """The panel with other values in the last steps of each series."""
    values = panel.values.copy()
    for end in panel.offsets[1:]:
        values[end - steps : end] = 1_000 + 7 * np.arange(steps)
    return Panel(panel.ids, panel.starts, panel.offsets, values, panel.frequency)


def test_a_rung_learns_nothing_from_the_part_that_scores_it(tmp_path: Path) -> None:
    panel = weekly_panel(4)
    exam = exam_of(TINY, panel, "weekly")
    other = exam_of(TINY, another_end(panel, exam.holdout), "weekly")
    one, two = trained(exam, tmp_path / "one"), trained(other, tmp_path / "two")
    assert one.forecaster().fingerprint == two.forecaster().fingerprint
    assert ablation_key(exam) != ablation_key(other)


def test_what_is_forecast_does_not_change_with_what_comes_later(tmp_path: Path) -> None:
    panel = weekly_panel(4)
    exam = exam_of(TINY, panel, "weekly")
    other = exam_of(TINY, another_end(panel, exam.horizon), "weekly")  # all but the last origin see the same
    forecaster = trained(exam, tmp_path).forecaster()
    rows = [each.scores(forecaster).tallies["gru"].rows for each in (exam, other)]
    origins = len(exam.origins) // len(panel)
    is_last = np.arange(len(rows[0])) % origins == origins - 1
    assert np.array_equal(rows[0][~is_last], rows[1][~is_last])
    assert not np.array_equal(rows[0][is_last], rows[1][is_last])


# -- the plain reference -------------------------------------------------------------------------------------------------------


def test_the_base_is_what_any_untrained_rung_says() -> None:
    panel = weekly_panel(4)
    exam = exam_of(TINY, panel, "weekly")
    large = exam_of(TINY.model_copy(update={"model": ModelConfig(hidden_size=32, members=2, cell="lstm")}), panel, "weekly")
    small, big = (
        Untrained.of(each, "base").predict(panel, 4, quantiles=(0.1, 0.5, 0.9), origins=each.origins) for each in (exam, large)
    )
    assert np.array_equal(small.values, big.values)


def test_losses_come_back_from_their_files_to_the_bit(tmp_path: Path) -> None:
    exam = exam_of(TINY, weekly_panel(4), "weekly")
    training = trained(exam, tmp_path)
    scored = exam.scores(training.forecaster()).tallies["gru"]
    kept = training.tally()
    assert np.array_equal(kept.rows, scored.rows, equal_nan=True)
    assert all(np.array_equal(kept.by_lead[name], scored.by_lead[name], equal_nan=True) for name in scored.by_lead)


# -- mistakes ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rungs", "gru,gruu"], "ConfigError  --rungs: 'gruu' is no rung of the ladder. Choose among smoothing, adaptive, "),
        (["--rungs", ""], "ConfigError  --rungs: '' is no rung of the ladder. Choose among "),
        (
            ["--set", "evaluation.origins=0"],
            "ConfigError  panel 'macro': nothing is held back for scores (evaluation.origins is 0",
        ),
        (["--set", "model.decay=true"], "ConfigError  model.decay is true, and the rung smoothing has no decay; expected one "),
        (["--horizon", "150"], "ConfigError  evaluation.origins is 12: with horizon 150 and stride 8"),
        (["--write-config", "no/such/folder.yaml"], "DataError  --write-config no/such/folder.yaml: there is no folder no/such"),
    ],
)
def test_a_mistake_is_told_in_one_line_before_anything_is_trained(
    forecast: Forecast, home: Path, words: list[str], told: str
) -> None:
    done = forecast(*WORDS, *TWO, *words)
    assert done.exit_code == 2, done.output
    assert done.stderr.splitlines()[-1].startswith(told)
    assert not (home / "runs" / ".ablations").exists()


def test_fewer_than_three_seeds_are_refused(forecast: Forecast) -> None:
    assert forecast(*WORDS, "--seeds", "2").exit_code == 2


def test_rungs_stand_in_the_order_of_the_ladder() -> None:
    assert check_rungs(["lstm", "gru", "smoothing"]) == ("smoothing", "gru", "lstm")
