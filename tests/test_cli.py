"""The command line as its user meets it: results on stdout, talk on stderr, and one line for each mistake."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import Result
from conftest import CONFIG, TINY_SETTINGS, Forecast

from forecaster.ingest import PanelStore

MEASURES = ("forecaster", "smape", "mase", "owa", "wql", "coverage_80")
HOLDOUT_0 = ["--set", "evaluation.origins=0"]


def mistake(result: Result) -> str:
    """The last line on stderr, after checking that it is that of a user's mistake."""
    assert result.exit_code == 2, (result.output, result.exception)
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    return result.stderr.splitlines()[-1]


def test_every_command_with_json_prints_exactly_one_object(forecast: Forecast, home: Path) -> None:
    for words in (
        ["ingest", "macro.csv", "--name", "again"],
        ["train", CONFIG, "--panel", "macro", *TINY_SETTINGS],
        ["evaluate", "tiny"],
        ["predict", "tiny", "--out", "forecasts.csv"],
    ):
        result = forecast(*words, "--json")
        assert result.exit_code == 0, result.output
        assert result.stdout.count("\n") == 1
        assert isinstance(json.loads(result.stdout), dict)


def test_train_names_the_run_and_gives_a_taken_name_a_number(forecast: Forecast) -> None:
    told = json.loads(forecast("train", CONFIG, "--panel", "macro", "--name", "tiny", *TINY_SETTINGS, "--json").stdout)
    assert Path(told["run"]).name == "tiny-2"
    assert (Path(told["run"]) / "weights.safetensors").is_file()


def test_evaluate_has_a_row_for_each_forecaster_and_keeps_what_it_prints(forecast: Forecast, home: Path) -> None:
    told = json.loads(forecast("evaluate", "tiny", "--json").stdout)
    assert {row["forecaster"] for row in told["leaderboard"]} == {"gru", "naive", "ses", "naive2"}
    assert all(row[measure] is not None for row in told["leaderboard"] for measure in MEASURES)
    assert json.loads((home / "runs" / "tiny" / "evaluation.json").read_text())["leaderboard"] == told["leaderboard"]


def test_evaluate_scores_against_actual_values(forecast: Forecast) -> None:
    told = json.loads(forecast("evaluate", "tiny", "--actuals", "later.csv", "--json").stdout)
    assert (told["kind"], told["origins"], told["horizon"]) == ("actuals", 1, 8)


def test_evaluate_prints_a_table_and_marks_the_winner(forecast: Forecast) -> None:
    result = forecast("evaluate", "tiny")
    assert result.exit_code == 0
    assert "sMAPE" in result.stdout
    assert " *" in result.stdout
    assert "fitting" in result.stderr


def test_values_that_came_later_change_forecasts_but_no_scores(forecast: Forecast, home: Path) -> None:
    before = json.loads(forecast("evaluate", "tiny", "--json").stdout)["leaderboard"]
    assert forecast("predict", "tiny", "--out", "before.csv").exit_code == 0
    assert forecast("ingest", "later.csv", "--name", "macro").exit_code == 0
    assert forecast("predict", "tiny", "--out", "after.csv").exit_code == 0
    origins = [pd.read_csv(home / name)["origin"].unique().tolist() for name in ("before.csv", "after.csv")]
    assert origins == [["2007-07-01"], ["2009-07-01"]]
    assert json.loads(forecast("evaluate", "tiny", "--json").stdout)["leaderboard"] == before


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".ndjson"])
def test_predict_writes_the_format_that_the_suffix_names(forecast: Forecast, home: Path, suffix: str) -> None:
    told = json.loads(forecast("predict", "tiny", "--horizon", "3", "--out", f"to/f{suffix}", "--json").stdout)
    path = home / "to" / f"f{suffix}"
    if suffix == ".parquet":
        frame = pd.read_parquet(path)
    elif suffix == ".ndjson":
        frame = pd.read_json(path, lines=True)
    else:
        frame = pd.read_csv(path)
    assert told["rows"] == len(frame) == 9
    assert list(frame.columns[:6]) == ["unique_id", "ds", "origin", "lead", "forecaster", "q0.025"]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_ndjson_holds_the_numbers_of_the_csv_to_the_bit(forecast: Forecast, home: Path) -> None:
    for suffix in ("csv", "ndjson"):
        assert forecast("predict", "tiny", "--out", f"f.{suffix}").exit_code == 0
    rows = [json.loads(line) for line in (home / "f.ndjson").read_text().splitlines()]
    table = pd.read_csv(home / "f.csv")
    assert [row["q0.5"] for row in rows] == table["q0.5"].tolist()
    assert rows[0]["ds"] == pd.Timestamp(table["ds"][0]).isoformat()


def test_actual_values_may_have_columns_of_other_names(forecast: Forecast, home: Path) -> None:
    later = pd.read_csv(home / "later.csv").rename(columns={"unique_id": "store", "ds": "date", "y": "sales"})
    later.to_csv(home / "renamed.csv", index=False)
    named = ["--id-column", "store", "--time-column", "date", "--value-column", "sales"]
    one = forecast("evaluate", "tiny", "--actuals", "renamed.csv", *named, "--json")
    other = forecast("evaluate", "tiny", "--actuals", "later.csv", "--json")
    assert json.loads(one.stdout)["leaderboard"] == json.loads(other.stdout)["leaderboard"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU, so that asking for one is no mistake")
def test_an_accelerator_that_is_not_there_is_told(forecast: Forecast) -> None:
    words = ["train", str(CONFIG), "--panel", "macro", *TINY_SETTINGS, "--set", "training.accelerator=cuda"]
    assert mistake(forecast(*words)).startswith("ConfigError  training.accelerator is 'cuda', which this machine lacks")


def test_predict_goes_beyond_the_horizon_of_the_training_and_says_so(forecast: Forecast) -> None:
    result = forecast("predict", "tiny", "--horizon", "20")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 1 + 3 * 20
    assert "train with --horizon 20" in result.stderr


@pytest.mark.parametrize("name", ["naive", "seasonal_naive", "naive2", "ses", "holt_winters", "arima", "gru"])
def test_predict_speaks_with_any_forecaster(forecast: Forecast, name: str) -> None:
    result = forecast("predict", "tiny", "--forecaster", name, "--only", "cpi", "--horizon", "2")
    assert [line.split(",")[4] for line in result.stdout.splitlines()] == ["forecaster", name, name]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["predict", "tiny", "--out", "f.xlsx"], "ConfigError  --out 'f.xlsx': the name ends in none of .csv"),
        (["predict", "tiny", "--out", "macro.csv/f.csv"], "DataError  --out macro.csv/f.csv: cannot be written"),
        (["predict", "tiny", "--out", "/proc/f.csv"], "DataError  --out /proc/f.csv: cannot be written"),
        (["predict", "tiny", "--chart", "/proc/f.png", "--json"], "DataError  --chart /proc/f.png: cannot be written"),
        (["predict", "tiny", "--chart", "f.gif", "--json"], "ConfigError  chart 'f.gif' ends in '.gif'"),
        (["predict", "tiny", "--only", "gdp"], "DataError  series 'gdp' is not in panel 'macro'"),
        (["predict", "tiny", "--forecaster", "prophet"], "ConfigError  --forecaster 'prophet' is none of this run's; choose gru"),
        (["predict", "other"], "ConfigError  run 'other': no finished run there"),
        (["evaluate", "/"], "ConfigError  run '/': no finished run there"),
        (["evaluate", "tiny", "--actuals", "nowhere.csv"], "DataError  file nowhere.csv does not exist"),
        (["evaluate", "tiny", "--actuals", "macro.csv"], "DataError  none of the actual values"),
        (["stream", "tiny", "--replay", "nope"], "DataError  panel 'nope' is not in"),
        (["train", str(CONFIG), "--panel", "nope"], "DataError  panel 'nope' is not in"),
        (["train", str(CONFIG), "--panel", "macro", "--name", "../out"], "ConfigError  --name '../out' cannot be a folder"),
        (["train", "nope.yaml", "--panel", "macro"], "ConfigError  nope.yaml: there is no such file"),
        (["train", str(CONFIG), "--panel", "macro", "--horizon", "500"], "ConfigError  horizon is 500, and the longest series"),
        (["demo", "--folder", "macro.csv"], "ForecasterError  macro.csv is a file; expected a folder"),
        (["ingest", "nope.csv", "--name", "x"], "DataError  file nope.csv does not exist"),
        (["ingest", "macro.csv", "--name", "a/b"], "ConfigError  panel name 'a/b' cannot be a folder"),
        (["ingest", "macro.csv", "--name", "macro", "--freq", "MS"], "DataError  --freq MS clashes"),
    ],
)
def test_a_mistake_is_told_in_one_line(forecast: Forecast, words: list[str], told: str) -> None:
    assert mistake(forecast(*words)).startswith(told)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("gdp,2007-10-01,1", "DataError  the actual values are of series such as 'gdp'"),
        ("cpi,2007-10-02,1\ncpi,2007-10-03,1", "DataError  series 'cpi': 2007-10-02 00:00:00 is not on the grid of QS-JAN"),
        ("cpi,1,1\ncpi,2,1", "DataError  the files hold step numbers and the panel holds dates"),
    ],
)
def test_actual_values_that_fit_no_forecast_are_refused(forecast: Forecast, home: Path, rows: str, told: str) -> None:
    (home / "other.csv").write_text(f"unique_id,ds,y\n{rows}\n")
    assert mistake(forecast("evaluate", "tiny", "--actuals", "other.csv")).startswith(told)


def test_unreadable_actual_values_are_told_before_anything_is_fitted(forecast: Forecast) -> None:
    assert "fitting" not in forecast("evaluate", "tiny", "--actuals", "nowhere.csv").stderr


@pytest.mark.parametrize("words", [["predict", "tiny", "--outt", "f.csv"], ["trian"], ["predict", "tiny", "--horizon", "0"], []])
def test_a_misspelt_command_ends_with_2(forecast: Forecast, words: list[str]) -> None:
    assert forecast(*words).exit_code == 2


def test_every_fault_of_an_ingest_stands_above_its_one_line(forecast: Forecast, home: Path) -> None:
    (home / "bad.csv").write_text("unique_id,ds,y\na,2020-01-01,1\na,2020-01-01,2\na,soon,3\na,2020-01-03,x\n")
    result = forecast("ingest", "bad.csv", "--name", "bad")
    assert mistake(result).startswith("DataError  series 'a'")
    assert sum(line.startswith("error ") for line in result.stderr.splitlines()) >= 2
    assert "bad" not in PanelStore(home / "data" / "panels").names()


def test_a_run_that_held_nothing_back_is_scored_by_actual_values_only(forecast: Forecast) -> None:
    assert forecast("train", CONFIG, "--panel", "macro", "--name", "all", *TINY_SETTINGS, *HOLDOUT_0).exit_code == 0
    assert "Give what came after with --actuals FILE" in mistake(forecast("evaluate", "all"))
    assert forecast("evaluate", "all", "--actuals", "later.csv").exit_code == 0


def test_panels_and_runs_live_in_the_working_directory_without_a_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from forecaster.cli import app

    monkeypatch.chdir(home)
    monkeypatch.delenv("FORECASTER_HOME", raising=False)
    result = CliRunner().invoke(app, ["predict", "tiny", "--json"])
    assert json.loads(result.stdout)["run"] == "runs/tiny"
