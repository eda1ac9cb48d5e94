"""`forecast evaluate` with others, at every origin, by lead; champions that predict obeys; and any forecaster as a stepper."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import CONFIG, TINY_SETTINGS, Forecast
from test_cli import HOLDOUT_0, mistake

from forecaster.baselines import BASELINES
from forecaster.errors import ConfigError
from forecaster.forecast import warm_state
from forecaster.ingest import PanelStore
from forecaster.jobs import evaluate as job
from forecaster.jobs import results
from forecaster.jobs.evaluate import evaluate
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.jobs.speakers import stepper_of
from forecaster.series import Origins


def told(forecast: Forecast, *words: str) -> dict:
    result = forecast("evaluate", "tiny", *words, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def kept_forecasts(home: Path, name: str, kind: str = "evaluation") -> pd.DataFrame:
    frame = pd.read_parquet(home / "runs" / "tiny" / kind / "forecasts.parquet")
    return frame[frame["forecaster"] == name].drop(columns=["y"])


def rows_of(summary: dict) -> dict[str, dict]:
    return {row["forecaster"]: row for row in summary["leaderboard"]}


# -- what the table says ---------------------------------------------------------------------------------------------------


def test_the_summary_holds_tests_and_one_conclusion(forecast: Forecast) -> None:
    summary = told(forecast)
    assert summary["significance"]["conclusion"] in summary["verdict"]
    assert all("may_be_best" in row for row in summary["leaderboard"])
    assert summary["significance"]["units"] == 4  # three series are too few, and four origins as well
    assert "too few to tell forecasters from luck" in summary["verdict"]


def test_every_origin_is_scored_in_one_pass_and_only_steps_are_added(forecast: Forecast, home: Path) -> None:
    sparse = told(forecast)
    few = kept_forecasts(home, "gru")
    dense = told(forecast, "--stride", "1")
    many = kept_forecasts(home, "gru")
    assert (sparse["origins"], dense["origins"]) == (4, 25)
    both = few.merge(many, on=["unique_id", "ds", "origin", "lead"], suffixes=("", "_again"))
    assert len(both) == len(few)
    np.testing.assert_array_equal(both["q0.5"], both["q0.5_again"])
    assert rows_of(dense)["gru"]["revision"] is not None
    assert rows_of(sparse)["gru"]["revision"] is None


def test_very_many_forecasts_are_scored_all_and_kept_from_the_last_origins(
    forecast: Forecast, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = told(forecast, "--stride", "1")
    monkeypatch.setattr(results, "MOST_KEPT", 1_000)
    monkeypatch.setattr(job, "SERIES_AT_ONCE", 2)
    assert told(forecast, "--stride", "1")["leaderboard"] == whole["leaderboard"]
    assert kept_forecasts(home, "gru").groupby("unique_id")["origin"].nunique().tolist() == [1, 1, 1]


@pytest.mark.parametrize(("by", "column", "count"), [("lead", "lead", 8), ("series", "unique_id", 3), ("origin", "origin", 4)])
def test_scores_are_broken_down_as_asked(forecast: Forecast, by: str, column: str, count: int) -> None:
    summary = told(forecast, "--by", by)
    rows = [row for row in summary["by"]["rows"] if row["forecaster"] == "gru"]
    assert len({row[column] for row in rows}) == len(rows) == count
    assert np.mean([row["mae"] for row in rows]) == pytest.approx(rows_of(summary)["gru"]["mae"])
    shown = forecast("evaluate", "tiny", "--by", by).stdout
    assert f"MASE by {by}" in shown
    assert str(rows[0][column]) in shown


def test_the_picture_of_scores_is_written_or_refused(forecast: Forecast, home: Path) -> None:
    told(forecast, "--chart", "to/scores.png")
    assert (home / "to" / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert mistake(forecast("evaluate", "tiny", "--chart", "x.gif", "--json")).startswith("ConfigError  --chart 'x.gif' ends in")
    assert mistake(forecast("evaluate", "tiny", "--chart", "/proc/x.png", "--json")).startswith("DataError  --chart /proc/x.png")


def test_a_second_evaluation_fits_nothing_again(forecast: Forecast, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = told(forecast)
    monkeypatch.setattr("forecaster.baselines.fitting.fit_job", lambda *_: pytest.fail("fitted again"))
    assert told(forecast)["leaderboard"] == first["leaderboard"]
    assert sorted(path.stem for path in (home / "data" / "fits").iterdir()) == ["naive", "naive2", "ses"]


def test_baselines_that_are_fitted_anew_say_at_each_origin_what_a_fit_there_says(forecast: Forecast, home: Path) -> None:
    told(forecast, "--refit-every", "1")
    said = kept_forecasts(home, "ses")
    panel = Run.open("tiny", Home(home)).known_part(PanelStore(home / "data" / "panels").load("macro"))
    known = panel.drop_last(16)  # the third of four origins, eight steps apart
    config = Run.open("tiny", Home(home)).config
    expected = BASELINES["ses"]().fit(known).predict(known, 8, quantiles=config.quantiles, origins=Origins.back(known)).to_frame()
    both = said.merge(expected, on=["unique_id", "ds", "lead"])
    both = both[both["origin_x"] == both["origin_y"]]
    assert len(both) == 24
    np.testing.assert_allclose(both["q0.9_x"], both["q0.9_y"], rtol=1e-12)


# -- forecasts of others ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(trained_home: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """What the network said from all origins, as somebody might hand it over."""
    home = Path(shutil.copytree(trained_home, tmp_path_factory.mktemp("others") / "home"))
    run = Run.open(str(home / "runs" / "tiny"), Home(home))
    evaluate(run, home=Home(home), say=lambda _: None, progress=lambda *_: None)
    return kept_forecasts(home, "gru").drop(columns="forecaster")


def write(frame: pd.DataFrame, path: Path) -> str:
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif path.suffix == ".ndjson":
        frame.to_json(path, orient="records", lines=True, date_format="iso")
    else:
        frame.to_csv(path, index=False)
    return path.name


def earlier(times: pd.Series) -> pd.Series:
    return times - pd.DateOffset(years=10)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".ndjson"])
def test_forecasts_from_a_file_score_what_they_score_at_home(
    forecast: Forecast, home: Path, ours: pd.DataFrame, suffix: str
) -> None:
    file = write(ours.assign(forecaster="theirs"), home / f"f{suffix}")
    rows = rows_of(told(forecast, "--with", file))
    for measure in ("smape", "mase", "owa", "wql", "coverage_80", "msis", "crps"):
        assert rows["theirs"][measure] == pytest.approx(rows["gru"][measure], rel=1e-9)


def test_a_plain_file_of_points_from_one_origin_is_scored_there_beside_all_others(
    forecast: Forecast, home: Path, ours: pd.DataFrame
) -> None:
    last = ours[ours["origin"] == ours["origin"].max()]
    file = write(last[["unique_id", "ds", "q0.5"]].rename(columns={"q0.5": "AutoMagic"}), home / "points.csv")
    result = forecast("evaluate", "tiny", "--with", file, "--json")
    summary = json.loads(result.stdout)
    rows = rows_of(summary)
    assert summary["origins"] == 1
    assert "from 3 of 12 origins, of 3 series: everybody is scored on those" in result.stderr
    assert rows["AutoMagic"]["mase"] == pytest.approx(rows["gru"]["mase"], rel=1e-9)
    assert rows["AutoMagic"]["wql"] is None


def test_names_that_are_taken_give_way_to_that_of_the_file(forecast: Forecast, home: Path, ours: pd.DataFrame) -> None:
    write(ours.assign(forecaster="gru"), home / "mine.csv")
    write(ours, home / "yours.csv")
    rows = rows_of(told(forecast, "--with", "mine.csv", "--with", "yours.csv"))
    assert {"gru", "mine", "yours"} <= set(rows)


def test_what_predict_writes_is_scored_against_what_came(forecast: Forecast) -> None:
    assert forecast("predict", "tiny", "--out", "f.csv").exit_code == 0
    rows = rows_of(told(forecast, "--actuals", "later.csv", "--with", "f.csv"))
    assert rows["f"]["owa"] == pytest.approx(rows["gru"]["owa"], rel=1e-9)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.assign(unique_id=f["unique_id"] + "x"), "f forecasts series such as 'cpix', the panel has 'cpi'"),
        (lambda f: f.assign(origin=earlier(f["origin"]), ds=earlier(f["ds"])), "f forecasts series 'cpi' from 1989-07-01"),
        (lambda f: f[f["lead"] < 8], "series 'cpi' from 1999-07-01 00:00:00 has 7 of the 8 leads"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "row 98: series 'cpi' is forecast twice for 1999-10-01"),
        (lambda f: f.assign(origin=f["ds"]), "row 2: series 'cpi' is forecast for 1999-10-01 00:00:00 from 1999-10-01 00:00:00"),
        (lambda f: f.drop(columns="q0.5"), "has q0.025, q0.1, q0.2, q0.3, q0.4, q0.6, q0.7, q0.8, q0.9, q0.975 and no q0.5"),
        (lambda f: f.drop(columns="unique_id"), "has columns ds, origin, lead, q0.025"),
        (lambda f: f[["unique_id", "ds"]].assign(a=1.0, b=2.0), "has columns of numbers a, b; expected quantiles such as q0.5"),
        (lambda f: f[["unique_id", "ds"]].assign(word="up"), "has no column of numbers; expected quantiles"),
        (lambda f: f.assign(ds="soon"), "row 2: ds is 'soon'; expected a time on the grid of QS-JAN"),
        (lambda f: f.assign(ds=f["ds"] + pd.Timedelta(days=1)), "row 2: ds is '1999-10-02"),
        (lambda f: f.assign(ds=range(len(f))).drop(columns="origin"), "ds holds step numbers, the panel dates"),
        (lambda f: f.assign(**{"q0.5": "high"}), "row 2: q0.5 is 'high'; expected a number"),
        (lambda f: f.drop(columns="origin").assign(lead=0.5), "row 2: lead is '0.5'; expected 1, 2"),
    ],
)
def test_a_file_that_does_not_match_is_told_in_one_line(
    forecast: Forecast, home: Path, ours: pd.DataFrame, change, expected: str
) -> None:
    write(change(ours), home / "f.csv")
    line = mistake(forecast("evaluate", "tiny", "--with", "f.csv"))
    assert line.startswith(f"DataError  --with f.csv{',' if expected.startswith('row') else ':'} {expected}")


def test_a_file_that_is_not_there_and_a_stride_without_origins_are_told(forecast: Forecast) -> None:
    assert mistake(forecast("evaluate", "tiny", "--with", "no.csv")).startswith("DataError  file no.csv does not exist")
    words = ["evaluate", "tiny", "--actuals", "later.csv", "--stride", "2"]
    assert mistake(forecast(*words)).startswith("ConfigError  --stride goes with rolling origins")


# -- champions -------------------------------------------------------------------------------------------------------------


def test_an_evaluation_chooses_champions_that_predict_obeys(forecast: Forecast, home: Path) -> None:
    summary = told(forecast)
    table = pd.read_parquet(home / "runs" / "tiny" / "evaluation" / "champions.parquet").set_index("unique_id")
    assert sum(summary["champions"]["speaks_for"].values()) == len(table) == 3
    assert (table["origins"] == 13).all()  # two steps apart, within the 32 that were held back
    assert forecast("predict", "tiny", "--forecaster", "champions", "--out", "c.csv").exit_code == 0
    said = pd.read_csv(home / "c.csv")
    assert set(said["forecaster"]) == {"champions"}
    for unique_id, name in table["forecaster"].items():
        assert forecast("predict", "tiny", "--forecaster", name, "--out", "one.csv").exit_code == 0
        alone = pd.read_csv(home / "one.csv")
        mine, own = (f[f["unique_id"] == unique_id].drop(columns="forecaster") for f in (said, alone))
        pd.testing.assert_frame_equal(mine, own)
    combined = json.loads(forecast("predict", "tiny", "--forecaster", "combination", "--out", "m.csv", "--json").stdout)
    assert (combined["forecaster"], combined["rows"]) == ("combination", 24)


def test_champions_are_chosen_by_what_lies_before_the_end_and_judged_by_what_comes(forecast: Forecast, home: Path) -> None:
    assert {"champions", "combination"}.isdisjoint(rows_of(told(forecast, "--actuals", "later.csv")))
    told(forecast)
    path = home / "runs" / "tiny" / "evaluation" / "champions.parquet"
    before = path.read_bytes()
    rows = rows_of(told(forecast, "--actuals", "later.csv"))
    assert {"champions", "combination"} <= set(rows)
    assert path.read_bytes() == before
    members = [rows[name]["owa"] for name in pd.read_parquet(path)["forecaster"]]
    assert min(members) * 0.5 < rows["champions"]["owa"] < max(members) * 2


def test_the_choice_does_not_depend_on_how_the_table_was_asked_for(forecast: Forecast, home: Path) -> None:
    path = home / "runs" / "tiny" / "evaluation" / "champions.parquet"
    told(forecast)
    plain = pd.read_parquet(path)
    for words in (["--stride", "2"], ["--refit-every", "1"]):
        told(forecast, *words)
        pd.testing.assert_frame_equal(pd.read_parquet(path), plain)


@pytest.mark.parametrize("name", ["champions", "combination"])
def test_champions_that_nobody_has_chosen_are_told(forecast: Forecast, name: str) -> None:
    line = mistake(forecast("predict", "tiny", "--forecaster", name))
    assert line == (
        "ConfigError  run 'tiny' has no champions; expected those of an evaluation. Choose them with `forecast evaluate tiny`."
    )
    assert forecast("train", CONFIG, "--panel", "macro", "--name", "all", *TINY_SETTINGS, *HOLDOUT_0).exit_code == 0
    assert "The run held nothing back to choose them on" in mistake(forecast("predict", "all", "--forecaster", name))


def test_damaged_champions_are_told(forecast: Forecast, home: Path) -> None:
    told(forecast)
    path = home / "runs" / "tiny" / "evaluation" / "champions.parquet"
    path.write_bytes(path.read_bytes()[:100])
    assert "champions.parquet is damaged" in mistake(forecast("predict", "tiny", "--forecaster", "champions"))


# -- as steppers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "gru", *BASELINES])
def test_every_forecaster_of_a_run_steps_and_says_what_predict_does(home: Path, name: str | None) -> None:
    run, at = Run.open("tiny", Home(home)), Home(home)
    stepper, warm = stepper_of(run, at, name)
    panel = PanelStore(at.panels).load("macro")
    state = warm(panel)
    assert state.shape == (len(panel), stepper.state_size)
    assert stepper.forecast(state, panel.ends).shape == (3, 8, len(run.config.quantiles))
    again, _ = stepper_of(run, at, name)
    assert again.fingerprint == stepper.fingerprint
    if name in (None, "gru"):
        np.testing.assert_array_equal(state, warm_state(stepper, panel))
    else:
        fitted = BASELINES[name]().fit(panel)  # nothing was added since the training
        said = fitted.predict(panel, 8, quantiles=run.config.quantiles, origins=Origins.back(panel)).values
        np.testing.assert_allclose(stepper.forecast(state, panel.ends), said, rtol=1e-12)


def test_champions_step_and_say_what_predict_does(forecast: Forecast, home: Path) -> None:
    told(forecast)
    run, at = Run.open("tiny", Home(home)), Home(home)
    path = run.path / "evaluation" / "champions.parquet"
    table = pd.read_parquet(path)
    losses = [name for name in table if name.startswith("loss_of_")]
    for row, name in enumerate(("gru", "ses", "naive")):  # somebody else for each series
        table.loc[row, losses] = 2.0
        table.loc[row, f"loss_of_{name}"] = 1.0
    table.to_parquet(path, index=False)
    stepper, warm = stepper_of(run, at, "champions")
    panel = PanelStore(at.panels).load("macro")
    said = stepper.forecast(warm(panel), panel.ends)
    assert forecast("predict", "tiny", "--forecaster", "champions", "--out", "c.parquet").exit_code == 0
    frame = pd.read_parquet(home / "c.parquet")
    np.testing.assert_allclose(frame.filter(like="q0").to_numpy().reshape(said.shape), said, rtol=1e-12)


def test_a_stepper_stays_the_same_when_the_panel_grows(forecast: Forecast, home: Path) -> None:
    run, at = Run.open("tiny", Home(home)), Home(home)
    told(forecast)
    names = ("ses", "champions")
    before = [stepper_of(run, at, name)[0].fingerprint for name in names]
    assert forecast("ingest", "later.csv", "--name", "macro").exit_code == 0
    os.rename(at.fits, home / "gone")
    assert [stepper_of(run, at, name)[0].fingerprint for name in names] == before


def test_a_name_that_cannot_be_stepped_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"--forecaster 'prophet' cannot be stepped for this run; choose gru, champions, naive"):
        stepper_of(Run.open("tiny", Home(home)), Home(home), "prophet")
