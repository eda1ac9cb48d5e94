"""Streams of a run, and their states, as a user types them."""

import os
from pathlib import Path

import orjson
import pandas as pd
import pytest
from conftest import Forecast

from forecaster.streaming.directory import lock_directory

STATE = Path("state") / "tiny"


def streamed(forecast: Forecast, *words: object) -> str:
    done = forecast("stream", "tiny", *words)
    assert done.exit_code == 0, done.output
    return str(done.stderr)


def told(forecast: Forecast, *words: object) -> dict:
    done = forecast(*words, "--json")
    assert done.exit_code == 0, done.output
    return dict(orjson.loads(done.stdout))


def refused(forecast: Forecast, *words: object) -> str:
    done = forecast(*words)
    assert done.exit_code == 2, done.output
    return str(done.stderr.splitlines()[-1])


def last_lines(path: Path) -> dict[str, dict]:
    return {row["unique_id"]: row for row in map(orjson.loads, path.read_bytes().splitlines())}


@pytest.mark.parametrize("speaker", [(), ("--forecaster", "ses"), ("--calibrate",)], ids=["network", "ses", "calibrated"])
def test_a_live_state_says_what_its_stream_said_last(forecast: Forecast, home: Path, speaker: tuple[str, ...]) -> None:
    streamed(forecast, "--in", "later.csv", "--out", "live.ndjson", *speaker)
    live = last_lines(home / "live.ndjson")
    assert forecast("predict", "--live", STATE, "--out", "now.csv").exit_code == 0
    for unique_id, rows in pd.read_csv(home / "now.csv").groupby("unique_id"):
        assert rows["q0.5"].tolist() == live[str(unique_id)]["q0.5"]
        assert (rows["origin"] == live[str(unique_id)]["origin"][:10]).all()


def test_a_stream_says_what_predict_says_of_the_same_values(forecast: Forecast, home: Path) -> None:
    streamed(forecast, "--in", "later.csv", "--out", "live.ndjson")
    assert forecast("ingest", "later.csv", "--name", "macro").exit_code == 0
    assert forecast("predict", "tiny", "--out", "batch.csv").exit_code == 0
    live = last_lines(home / "live.ndjson")
    for unique_id, rows in pd.read_csv(home / "batch.csv").groupby("unique_id"):
        for column in ("q0.1", "q0.5", "q0.9"):
            assert rows[column].tolist() == live[str(unique_id)][column]


def test_a_file_is_read_on_and_forecasts_follow_each_other(forecast: Forecast, home: Path) -> None:
    streamed(forecast, "--in", "later.csv", "--out", "whole.ndjson", "--state", "state/whole")
    lines = (home / "later.csv").read_bytes().splitlines(keepends=True)
    (home / "part.csv").write_bytes(b"".join(lines[:9]))
    streamed(forecast, "--in", "part.csv", "--out", "part.ndjson")
    (home / "part.csv").write_bytes(b"".join(lines))
    assert "16 observations" in streamed(forecast, "--in", "part.csv", "--out", "part.ndjson")
    assert (home / "part.ndjson").read_bytes() == (home / "whole.ndjson").read_bytes()


def test_a_file_that_something_else_wrote_is_not_written_over(forecast: Forecast, home: Path) -> None:
    (home / "mine.ndjson").write_text("precious\n")
    said = refused(forecast, "stream", "tiny", "--in", "later.csv", "--out", "mine.ndjson")
    assert "holds 9 bytes that this stream did not write; expected its own file, or none" in said
    assert (home / "mine.ndjson").read_text() == "precious\n"


def test_a_folder_is_no_place_for_forecasts(forecast: Forecast, home: Path) -> None:
    (home / "folder").mkdir()
    said = refused(forecast, "stream", "tiny", "--in", "later.csv", "--out", "folder")
    assert "folder is a folder; expected a file. Name one in it, such as" in said


def test_a_state_is_inspected_with_the_warming_steps_of_its_stream(forecast: Forecast, home: Path) -> None:
    streamed(forecast, "--in", "later.csv", "--out", "live.ndjson", "--cold", "--set", "warming_steps=9")
    assert told(forecast, "state", "inspect", STATE)["warming"] == 3
    assert told(forecast, "state", "inspect", STATE, "--series", "cpi")["warming"] is True
    streamed(forecast, "--in", "later.csv", "--out", "live.ndjson", "--set", "warming_steps=2")
    assert told(forecast, "state", "inspect", STATE)["warming"] == 0


def test_states_are_listed_inspected_and_exported(forecast: Forecast, home: Path) -> None:
    streamed(forecast, "--in", "later.csv", "--out", "live.ndjson", "--calibrate")
    (entry,) = told(forecast, "state", "list")["states"]
    assert (Path(entry["path"]).name, Path(entry["run"]).name, entry["series"], entry["lines"]) == ("tiny", "tiny", 3, 25)
    looked = told(forecast, "state", "inspect", STATE)
    assert (looked["counts"]["next"], looked["forecasts"], looked["owner"]["forecaster"]) == (24, 24, None)
    one = told(forecast, "state", "inspect", STATE, "--series", "cpi")
    later = pd.read_csv(home / "later.csv").query("unique_id == 'cpi'")
    assert list(one["recent"].values()) == later["y"].tolist()
    assert told(forecast, "state", "export", STATE, "--out", "state.parquet")["series"] == 3
    table = pd.read_parquet(home / "state.parquet").set_index("unique_id")
    assert table.loc["cpi", "last"] == one["last"]
    assert "'nobody' does not live in" in refused(forecast, "state", "inspect", STATE, "--series", "nobody")
    assert "there is no state in nowhere" in refused(forecast, "state", "inspect", "nowhere")


def test_a_state_is_handed_over_and_back(forecast: Forecast, home: Path) -> None:
    lines = (home / "later.csv").read_bytes().splitlines(keepends=True)
    (home / "early.csv").write_bytes(b"".join(lines[:4] + lines[9:12] + lines[17:20]))  # three quarters of each series
    streamed(forecast, "--in", "early.csv", "--out", "live.ndjson")
    done = told(forecast, "state", "handover", STATE, "tiny", "--forecaster", "ses")
    assert (done["before"]["forecaster"], done["after"]["forecaster"], done["cut"]) == (None, "ses", [])
    assert forecast("predict", "--live", STATE, "--out", "ses.csv").exit_code == 0
    assert set(pd.read_csv(home / "ses.csv")["forecaster"]) == {"ses"}
    assert "was written by model ses-" in refused(forecast, "stream", "tiny", "--in", "later.csv")
    streamed(forecast, "--in", "later.csv", "--out", "more.ndjson", "--forecaster", "ses")
    assert told(forecast, "state", "handback", STATE)["after"]["forecaster"] is None
    assert forecast("predict", "--live", STATE, "--out", "back.csv").exit_code == 0
    streamed(forecast, "--in", "later.csv", "--out", "whole.ndjson", "--state", "state/whole")
    whole = last_lines(home / "whole.ndjson")
    for unique_id, rows in pd.read_csv(home / "back.csv").groupby("unique_id"):
        assert rows["q0.5"].tolist() == whole[str(unique_id)]["q0.5"]


def test_a_state_whose_history_nobody_holds_is_not_handed_over(forecast: Forecast, home: Path) -> None:
    streamed(forecast, "--in", "later.csv", "--out", "live.ndjson", "--set", "revision_window=2")
    said = refused(forecast, "state", "handover", STATE, "tiny", "--forecaster", "ses")
    assert "3 series of state/tiny ('cpi', 'infl', 'realgdp') have moved on too far" in said
    assert not (home / STATE / "previous").exists()  # nothing that a later command would hand back
    assert told(forecast, "state", "handover", STATE, "tiny", "--forecaster", "ses", "--anyway")["cut"] == [
        "cpi",
        "infl",
        "realgdp",
    ]
    assert forecast("ingest", "later.csv", "--name", "macro").exit_code == 0


def test_a_state_goes_back_to_who_has_been_away_for_long_where_history_knows_what_came(forecast: Forecast, home: Path) -> None:
    """What the former one left is older than the window reaches; the panel has what lies between."""
    lines, narrow = (home / "later.csv").read_bytes().splitlines(keepends=True), ("--set", "revision_window=1")
    (home / "early.csv").write_bytes(b"".join(lines[:2] + lines[9:10] + lines[17:18]))  # one value of each series
    streamed(forecast, "--in", "early.csv", "--out", "live.ndjson", *narrow)
    assert told(forecast, "state", "handover", STATE, "tiny", "--forecaster", "ses")["cut"] == []
    streamed(forecast, "--in", "later.csv", "--out", "more.ndjson", "--forecaster", "ses", *narrow)
    assert "have moved on too far" in refused(forecast, "state", "handback", STATE)
    assert forecast("ingest", "later.csv", "--name", "macro").exit_code == 0
    assert told(forecast, "state", "handback", STATE)["cut"] == []
    assert forecast("predict", "--live", STATE, "--out", "back.csv").exit_code == 0
    assert forecast("predict", "tiny", "--out", "batch.csv").exit_code == 0
    back, batch = (pd.read_csv(home / name).sort_values(["unique_id", "lead"]) for name in ("back.csv", "batch.csv"))
    assert back["q0.5"].tolist() == batch["q0.5"].tolist()


def test_a_damaged_state_is_rebuilt_from_the_panel(forecast: Forecast, home: Path) -> None:
    streamed(forecast, "--in", "later.csv", "--out", "live.ndjson")
    shard = next((home / STATE).glob("shard-*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")
    assert "has a damaged snapshot" in refused(forecast, "stream", "tiny", "--in", "later.csv")
    assert "is now in" in streamed(forecast, "--in", "later.csv", "--out", "again.ndjson", "--rebuild")
    assert (home / "again.ndjson").read_bytes() == (home / "live.ndjson").read_bytes()


def test_a_state_is_not_moved_from_under_its_stream(forecast: Forecast, home: Path) -> None:
    streamed(forecast, "--in", "later.csv", "--out", "live.ndjson")
    lock = lock_directory(home / STATE)
    assert "is in use by process" in refused(forecast, "stream", "tiny", "--in", "later.csv", "--rebuild")
    os.close(lock)
    assert [path.name for path in (home / "state").iterdir()] == ["tiny"]


def test_a_feed_that_is_not_there_leaves_the_place_in_the_right_one(forecast: Forecast, home: Path) -> None:
    streamed(forecast, "--in", "later.csv", "--out", "live.ndjson")
    assert "the feed typo.csv cannot be read" in refused(forecast, "stream", "tiny", "--in", "typo.csv")
    (home / "later.txt").write_text("")
    assert "ends in no known suffix" in refused(forecast, "stream", "tiny", "--in", "later.txt")
    assert forecast("stream", "tiny", "--replay", "nobody").exit_code == 2
    assert "0 observations" in streamed(forecast, "--in", "later.csv", "--out", "live.ndjson")


def test_a_stream_is_logged_and_pruned(forecast: Forecast, home: Path) -> None:
    rows = pd.read_csv(home / "later.csv")
    rows[rows["unique_id"] != "infl"].to_csv(home / "two.csv", index=False)
    streamed(forecast, "--in", "two.csv", "--out", "live.ndjson", "--log", "stream.log")
    assert told(forecast, "state", "prune", STATE, "--silent-for", "4")["forgotten"] == ["infl"]
    assert told(forecast, "state", "inspect", STATE)["series"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict",), "neither a run nor --live STATE was given"),
        (("predict", "tiny", "--live", STATE), "and RUN was given as well"),
        (("predict", "--live", STATE, "--horizon", "4"), "and --horizon was given as well"),
        (("predict", "--live", "nowhere"), "there is no state in nowhere"),
        (("stream", "tiny", "--in", "nowhere.csv"), "nowhere.csv"),
        (("stream", "tiny", "--set", "revision_windows=3"), "did you mean revision_window?"),
        (("stream", "tiny", "--forecaster", "oracle"), "cannot be stepped for this run"),
        (("stream", "tiny", "--in", "later.csv", "--speed", "2"), "--speed does not go with that"),
        (("state", "handback", STATE), "there is no"),
    ],
)
def test_a_mistake_is_told_in_one_line(forecast: Forecast, words: tuple[object, ...], message: str) -> None:
    assert message in refused(forecast, *words)


def test_a_warm_state_is_what_a_stream_begins_with(forecast: Forecast, home: Path) -> None:
    assert told(forecast, "warm", "tiny", "--state", "state/warm") | {"state": "", "run": ""} == {
        "state": "", "run": "", "added": 3, "series": 3,
    }  # fmt: skip
    assert told(forecast, "warm", "tiny", "--state", "state/warm")["added"] == 0
    streamed(forecast, "--in", "later.csv", "--out", "warm.ndjson", "--state", "state/warm")
    streamed(forecast, "--in", "later.csv", "--out", "own.ndjson")
    assert (home / "warm.ndjson").read_bytes() == (home / "own.ndjson").read_bytes()
