# ruff: noqa: F811 -- fixtures of test_nightly are asked for by name
"""What a night passes on: live states to the run in service, champions of its series, forecasts to other places."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import Forecast
from test_nightly import NOW, TRAIN, KilledError, deliver, files_under, killed, later, night, published  # noqa: F401

from forecaster.errors import StateError
from forecaster.jobs.home import Home
from forecaster.jobs.registry import prune
from forecaster.jobs.service import service_of
from forecaster.streaming.directory import peek

LIVE = ("--set", "operations.live=[state/live]")


def owner(home: Path, state: str = "state/live") -> str:
    return Path(peek(home / state)["owner"]["run"]).name


@pytest.fixture
def second(forecast: Forecast, home: Path) -> str:
    """Another run than `tiny`, with weights of its own."""
    words = [
        "--set",
        "seed=7",
        "--set",
        "training.max_steps=3",
        "--set",
        "training.batch_size=2",
        "--set",
        "training.window_length=32",
    ]
    small = ["--set", "model.members=1", "--set", "model.hidden_size=4", "--set", "model.head_size=8"]
    config = home / "second.yaml"
    config.write_text("horizon: 4\n")
    done = forecast("train", config, "--panel", "macro", "--name", "second", *words, *small)
    assert done.exit_code == 0, done.output
    return "second"


def test_a_declared_state_is_made_and_follows_whoever_serves(forecast: Forecast, night: Any, home: Path, second: str) -> None:
    forecast("runs", "promote", "tiny")
    made = night(*LIVE)
    assert made["live"] == [{"state": "state/live", "run": "tiny", "before": None, "done": "made", "series": 3}]
    forecast("runs", "promote", second)
    moved = night(*LIVE)["live"][0]
    assert (moved["before"], moved["run"], moved["done"], moved["series"]) == ("tiny", second, "handed over", 3)
    assert moved["moved"] > 0
    assert owner(home) == second
    assert (
        "live state state/live handed over from run tiny to second"
        in (home / "nights" / "macro" / NOW[1] / "summary.md").read_text()
    )
    before = files_under(home)
    assert night(*LIVE)["is_repeated"]
    assert files_under(home) == before


def test_a_rollback_takes_the_state_back_in_one_command(forecast: Forecast, night: Any, home: Path, second: str) -> None:
    forecast("runs", "promote", "tiny")
    night(*LIVE)
    forecast("runs", "promote", second)
    night(*LIVE)
    done = forecast("runs", "rollback", "--panel", "macro", "--state", "state/live")
    assert done.exit_code == 0, done.output
    assert (service_of("macro", Home(home)).current, owner(home)) == ("tiny", "tiny")
    assert night(*LIVE)["live"][0]["done"] == "nothing"


def test_a_hand_over_that_fails_costs_nothing_else_and_is_tried_again(
    forecast: Forecast, night: Any, home: Path, second: str
) -> None:
    forecast("runs", "promote", "tiny")
    night(*LIVE)
    forecast("runs", "promote", second)
    sound = (home / "state" / "live" / "state.sqlite").read_bytes()
    (home / "state" / "live" / "state.sqlite").write_bytes(sound[:4_096])
    done = night(*LIVE, code=10)
    assert done["steps"]["hand over state/live"] == "failed"
    assert (done["steps"]["predict"], done["steps"]["prune"]) == ("done", "done")
    assert done["published"]["run"] == second
    (home / "state" / "live" / "state.sqlite").write_bytes(sound)
    assert night(*LIVE)["live"][0]["done"] == "handed over"


def test_a_night_killed_in_a_hand_over_ends_with_the_state_handed_over(
    forecast: Forecast, night: Any, home: Path, second: str
) -> None:
    forecast("runs", "promote", "tiny")
    night(*LIVE)
    forecast("runs", "promote", second)
    for is_after in (False, True):
        with killed("hand over state/live", is_after=is_after), pytest.raises(KilledError):
            forecast("nightly", "nightly.yaml", "--panel", "macro", *NOW, *LIVE)
    night(*LIVE)
    assert owner(home) == second


def test_a_run_that_a_live_state_speaks_by_is_not_removed(forecast: Forecast, night: Any, home: Path) -> None:
    for name in ("second", "third", "fourth"):
        shutil.copytree(home / "runs" / "tiny", home / "runs" / name)
    forecast("runs", "promote", "tiny")
    night(*LIVE)
    for name in ("third", "fourth"):
        forecast("runs", "promote", name)
    assert prune(Home(home), keep=1, panel="macro") == ["second"]


def test_a_state_that_no_run_can_read_keeps_none(home: Path) -> None:
    (home / "state" / "live").mkdir(parents=True)
    (home / "state" / "live" / "state.sqlite").write_bytes(b"nothing")
    with pytest.raises(StateError):
        peek(home / "state" / "live")
    assert prune(Home(home), keep=1, panel="macro") == []


# -- who speaks -----------------------------------------------------------------------------------------------------------------


CHAMPIONS = ("--set", "operations.forecaster=champions", "--set", "baselines.names=[naive, seasonal_naive, ses, naive2]")


@pytest.mark.parametrize("name", ["champions", "combination"])
def test_a_night_says_what_predict_says_of_the_champions(forecast: Forecast, night: Any, home: Path, name: str) -> None:
    assert forecast("evaluate", "tiny").exit_code == 0
    forecast("runs", "promote", "tiny")
    done = night("--set", f"operations.forecaster={name}")
    assert done["published"]["forecaster"] == name
    assert sum(done["published"]["speaks_for"].values()) == (3 if name == "champions" else 0)
    forecast("predict", "tiny", "--forecaster", name, "--out", "said.parquet")
    said = pd.read_parquet(home / "said.parquet")
    for column in ("q0.1", "q0.5", "q0.9"):
        assert published(home)[column].tolist() == said[column].tolist()
    assert set(published(home)["forecaster"]) == {name}


def test_a_first_night_chooses_champions_and_serves_them_where_the_network_alone_would_not(night: Any, home: Path) -> None:
    words = (*TRAIN, *CHAMPIONS, "--set", "operations.promote.coverage=[0,1]", "--set", "training.learning_rate=30")
    done = night(*words)
    assert list(done["steps"])[3:7] == ["train", "choose", "evaluate", "promote"]
    run = service_of("macro", Home(home)).current
    table = pd.read_parquet(home / "runs" / str(run) / "evaluation" / "champions.parquet")
    assert set(table["forecaster"]) <= {"naive", "seasonal_naive", "ses", "naive2"}
    again = night(*words)
    assert (again["published"]["run"], again["is_repeated"]) == ("", True)
    next_night = night(*CHAMPIONS, now="2007-12-21")
    assert next_night["published"]["forecaster"] == "champions"
    assert next_night["published"]["speaks_for"] == table["forecaster"].value_counts().to_dict()


def test_where_nobody_chose_champions_the_network_speaks_tonight_and_they_do_tomorrow(
    forecast: Forecast, night: Any, home: Path
) -> None:
    forecast("runs", "promote", "tiny")
    done = night(*CHAMPIONS, code=10)
    assert done["published"]["forecaster"] == "gru"
    assert "the champions of run tiny cannot forecast, its network speaks: run 'tiny' has no champions" in done["troubles"][0]
    assert done["steps"]["choose in service"] == "done"
    assert night(*CHAMPIONS, now="2007-12-21")["published"]["forecaster"] == "champions"


def test_champions_see_nothing_behind_the_part_that_was_held_back(
    forecast: Forecast, night: Any, deliver: Any, home: Path
) -> None:
    """Values that came after the training change nobody's choice."""
    assert forecast("evaluate", "tiny").exit_code == 0
    path = home / "runs" / "tiny" / "evaluation" / "champions.parquet"
    before = pd.read_parquet(path)
    path.unlink()
    forecast("runs", "promote", "tiny")
    deliver("q4", 0, change=lambda frame: frame.assign(y=frame["y"] * 1.01))
    done = night(*CHAMPIONS, now="2008-01-05", code=10)
    assert done["steps"]["choose in service"] == "done"
    pd.testing.assert_frame_equal(pd.read_parquet(path)[list(before)], before)


# -- where forecasts go --------------------------------------------------------------------------------------------------------


def rows_in(database: Path, table: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(database) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY unique_id, ds, origin").fetchall()


@pytest.fixture
def to_places(home: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    pytest.importorskip("sqlalchemy", reason="needs SQLAlchemy")
    monkeypatch.setenv("PLANNING", f"sqlite:///{home}/planning.db")
    words = (
        "operations.publish.to=$PLANNING",
        "operations.publish.table=forecasts_{panel}",
        "operations.publish.folder=out/{panel}",
    )
    return tuple(word for setting in words for word in ("--set", setting))


def test_forecasts_go_where_they_are_wanted_and_once(
    forecast: Forecast, night: Any, home: Path, to_places: tuple[str, ...]
) -> None:
    forecast("runs", "promote", "tiny")
    done = night(*to_places)
    assert done["sent"]["database"]["rows"] == published(home).shape[0] == 24
    rows = rows_in(home / "planning.db", "forecasts_macro")
    sent = pd.read_parquet(home / "out" / "macro" / f"night={NOW[1]}" / "forecasts.parquet")
    assert sent.equals(published(home))
    assert [row[0] for row in rows] == sorted(sent["unique_id"])
    before = files_under(home)
    assert night(*to_places)["is_repeated"]
    assert files_under(home) == before


def test_a_database_that_is_away_costs_nothing_else_and_gets_its_rows_later(
    forecast: Forecast, night: Any, home: Path, to_places: tuple[str, ...]
) -> None:
    forecast("runs", "promote", "tiny")
    (home / "planning.db").mkdir()
    done = night(*to_places, code=10)
    assert done["steps"]["publish"] == "failed"
    assert "publish failed: " in done["troubles"][0]
    assert (done["steps"]["predict"], done["steps"]["prune"]) == ("done", "done")
    (home / "planning.db").rmdir()
    assert night(*to_places)["sent"]["database"]["rows"] == 24
    assert json.loads((home / "nights" / "macro" / NOW[1] / "summary.json").read_text())["severity"] == 0


def test_a_word_that_the_environment_lacks_is_told(forecast: Forecast, night: Any) -> None:
    forecast("runs", "promote", "tiny")
    done = night("--set", "operations.publish.to=postgresql://$NOBODY_SET_THIS@db/planning", code=10)
    assert "names $NOBODY_SET_THIS, which the environment does not have" in done["troubles"][0]


def test_a_table_of_other_braces_is_refused(forecast: Forecast, night: Any) -> None:
    result = forecast("nightly", "nightly.yaml", "--panel", "macro", "--set", "operations.publish.table=of_{region}")
    assert result.exit_code == 2
    assert "expected a name in which only {panel} stands in braces" in result.stderr
