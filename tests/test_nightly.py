"""A night's work: published before it trains, ended in the same place whatever kills it, and done once."""

import contextlib
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Forecast

from forecaster.config import read_config
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home, clock_at
from forecaster.jobs.journal import Journal, one_night
from forecaster.jobs.nightly import nightly
from forecaster.jobs.service import service_of

CONFIG = """
horizon: 4
model: {hidden_size: 4, head_size: 8, members: 1}
training: {max_steps: 4, batch_size: 2, window_length: 32, validation_steps: 2}
evaluation: {origins: 12, stride: 4}
baselines: {names: [naive, naive2]}
operations:
  report: false
  retrain: {every_days: null}
  hooks: {on_failure: "cat > failure.json", on_promote: "cat > promotion.json"}
"""
TRAIN = ("--set", "operations.retrain.every_days=0", "--set", "operations.retrain.rest_days=0")
NOW = ("--now", "2007-12-20")  # the third quarter of 2007 is the panel's last; the fourth is not over


@pytest.fixture
def later(home: Path) -> pd.DataFrame:
    (home / "nightly.yaml").write_text(CONFIG)
    (home / "data" / "inbox" / "macro").mkdir(parents=True)
    return pd.read_csv(home / "later.csv", parse_dates=["ds"])


@pytest.fixture
def deliver(home: Path, later: pd.DataFrame) -> Callable[..., Path]:
    """Lays some quarters of later.csv into the inbox, changed on the way."""

    def to_inbox(name: str, *quarters: int, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> Path:
        times = sorted(later["ds"].unique())
        path = home / "data" / "inbox" / "macro" / f"{name}.csv"
        change(later[later["ds"].isin([times[q] for q in quarters])].copy()).to_csv(path, index=False)
        return path

    return to_inbox


@pytest.fixture
def night(forecast: Forecast, later: pd.DataFrame) -> Callable[..., Any]:
    def typed(*words: str, now: str = NOW[1], code: int = 0) -> dict[str, Any]:
        result = forecast("nightly", "nightly.yaml", "--panel", "macro", "--now", now, "--json", *words)
        assert result.exit_code == code, (result.exit_code, result.output[-2_000:], result.exception)
        return json.loads(result.stdout) if result.stdout else {}

    return typed


def published(home: Path) -> pd.DataFrame:
    return pd.read_parquet(home / "forecasts" / "macro" / "latest" / "forecasts.parquet")


def files_under(home: Path) -> dict[str, int]:
    """Every file and when it was written, but for the lock."""
    return {str(path): path.lstat().st_mtime_ns for path in home.rglob("*") if path.name != ".lock"}


def test_the_first_night_publishes_trains_and_puts_in_service(night: Any, home: Path) -> None:
    done = night(*TRAIN, "--set", "operations.report=true")
    assert done["published"]["forecaster"] == "seasonal_naive"  # nobody served when the forecasts were due
    assert done["training"]["promoted"]
    assert service_of("macro", Home(home)).current == done["training"]["run"]
    assert json.loads((home / "promotion.json").read_text())["night"] == "2007-12-20"
    assert list(done["steps"]) == ["ingest", "predict", "decide", "train", "evaluate", "promote", "warm", "report", "prune"]
    assert set(done["steps"].values()) == {"done"}
    assert (home / "runs" / done["training"]["run"] / "report.html").exists()


def test_a_night_done_twice_does_nothing_the_second_time(forecast: Forecast, night: Any, home: Path) -> None:
    forecast("runs", "promote", "tiny")
    first = night()
    before = files_under(home)
    second = night()
    assert second["is_repeated"]
    assert {**second, "is_repeated": False} == first
    assert files_under(home) == before


def test_the_run_in_service_speaks_and_yesterday_is_scored(forecast: Forecast, night: Any, deliver: Any, home: Path) -> None:
    forecast("runs", "promote", "tiny")
    night()
    deliver("q4", 0)
    done = night(now="2008-01-05")
    assert (done["published"]["run"], done["published"]["known_through"]) == ("tiny", "2007-10-01 00:00:00")
    assert done["last_night"]["values"] == 3
    assert 0 < done["last_night"]["mase"] < 10
    lines = (home / "nights" / "macro" / "nights.ndjson").read_text().splitlines()
    assert [json.loads(line)["night"] for line in lines] == ["2007-12-20", "2008-01-05"]
    assert "# macro, night of 2008-01-05: done" in (home / "nights" / "macro" / "2008-01-05" / "summary.md").read_text()


SCHEMA = [
    *(("unique_id", "string"), ("ds", "timestamp[us]"), ("origin", "timestamp[us]"), ("lead", "int32"), ("forecaster", "string")),
    *((f"q{decile / 10:g}", "double") for decile in range(1, 10)),
    *(("model", "string"), ("made_at", "timestamp[us, tz=UTC]"), ("known_through", "timestamp[us]")),
]


def test_what_is_published_has_a_schema_that_does_not_move(forecast: Forecast, night: Any, home: Path) -> None:
    forecast("runs", "promote", "tiny")
    night()
    folder = home / "forecasts" / "macro" / "latest"
    table = pq.read_table(folder / "forecasts.parquet")
    assert [(field.name, str(field.type)) for field in table.schema] == SCHEMA
    text = pd.read_csv(folder / "forecasts.csv")
    assert list(text.columns) == [name for name, _ in SCHEMA]
    assert len(text) == table.num_rows == 3 * 8
    assert text["q0.5"].tolist() == table["q0.5"].to_pylist()
    nights = pa.dataset.dataset(
        [str(path) for path in sorted((home / "forecasts" / "macro").glob("night=*/*.parquet"))],
        partitioning="hive",
        partition_base_dir=str(home / "forecasts" / "macro"),
    )
    assert nights.to_table()["night"].unique().to_pylist() == ["2007-12-20"]


def test_forecasts_are_those_of_the_run(forecast: Forecast, night: Any, home: Path) -> None:
    forecast("runs", "promote", "tiny")
    night()
    forecast("predict", "tiny", "--out", "said.parquet")
    said = pd.read_parquet(home / "said.parquet")
    assert published(home)["q0.5"].tolist() == said["q0.5"].tolist()


def test_after_a_change_by_hand_the_night_publishes_anew(forecast: Forecast, night: Any, home: Path) -> None:
    shutil.copytree(home / "runs" / "tiny", home / "runs" / "second")
    for run in ("tiny", "second"):
        forecast("runs", "promote", run)
    assert night()["published"]["run"] == "second"
    forecast("runs", "rollback")
    done = night()
    assert (done["published"]["run"], done["is_repeated"]) == ("tiny", False)
    assert night()["is_repeated"]


class KilledError(BaseException):
    """As kill -9 is: no step of the night hears of it."""


@contextlib.contextmanager
def killed(step: str, *, is_after: bool) -> Iterator[None]:
    """Ends the night in a step: before its work, or after it and before the journal knows."""
    take = Journal.take

    def cut_off(self: Journal, name: str, key: str, work: Callable[[], dict[str, Any]]) -> Any:
        def last() -> dict[str, Any]:
            if is_after:
                work()
            raise KilledError

        return take(self, name, key, last if name == step else work)

    Journal.take = cut_off  # type: ignore[method-assign]
    try:
        yield
    finally:
        Journal.take = take  # type: ignore[method-assign]


def what_stands(home: Path) -> dict[str, Any]:
    runs = {path.parent.name: json.loads(path.read_text())["model_fingerprint"] for path in (home / "runs").glob("*/run.json")}
    folder = home / "forecasts" / "macro" / "latest"
    return {
        "service": service_of("macro", Home(home)),
        "runs": runs,
        "panel": PanelStore(Home(home).panels).manifest("macro").fingerprint,
        "published": (folder / "manifest.json").read_bytes(),
        "rows": (folder / "forecasts.parquet").read_bytes(),
    }


def test_a_night_killed_in_every_step_ends_where_one_that_was_not_ends(
    forecast: Forecast, night: Any, deliver: Any, home: Path, tmp_path: Path
) -> None:
    deliver("q4", 0)
    words = (*TRAIN, "--set", "operations.retrain.max_minutes=null", "--set", "operations.report=true")
    twin, kills = Path(shutil.copytree(home, tmp_path / "twin", symlinks=True)), []
    for step in ("ingest", "predict", "decide", "train", "evaluate", "promote", "warm", "report", "prune"):
        for is_after in (False, True):
            with killed(step, is_after=is_after):
                try:
                    forecast("nightly", "nightly.yaml", "--panel", "macro", "--now", "2008-01-05", *words)
                except KilledError:
                    kills.append((step, is_after))
    done = night(*words, now="2008-01-05")
    assert len(kills) == 2 * 9
    ended = what_stands(home)
    for path in home.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(twin, home, symlinks=True, dirs_exist_ok=True)
    assert night(*words, now="2008-01-05")["training"]["run"] == done["training"]["run"]
    assert what_stands(home) == ended


def test_a_night_that_overlaps_leaves_with_one_line(forecast: Forecast, later: pd.DataFrame, home: Path) -> None:
    with one_night(Home(home), "macro"):
        result = forecast("nightly", "nightly.yaml", "--panel", "macro")
    assert result.exit_code == 75
    assert "is at a night of panel 'macro'. This one leaves it alone" in result.stderr
    assert len(result.stderr.splitlines()) == 1


# -- deliveries ----------------------------------------------------------------------------------------------------------------


def times(factor: float) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(y=factor * frame["y"].where(frame["unique_id"] != "infl", frame["y"] / factor))


def test_a_delivery_in_another_unit_waits_until_it_is_mended(forecast: Forecast, night: Any, deliver: Any, home: Path) -> None:
    forecast("runs", "promote", "tiny")
    store = PanelStore(Home(home).panels)
    before = store.manifest("macro").fingerprint
    deliver("q4", 0, change=times(1_000))
    done = night(now="2008-01-05", code=10)
    assert "scale: 2 of 3 series are of another size than before" in done["troubles"][0]
    assert store.manifest("macro").fingerprint == before
    assert done["published"]["known_through"] == "2007-07-01 00:00:00"
    assert done["training"]["reasons"] == ["nothing is trained while a delivery is held"]
    assert json.loads((home / "failure.json").read_text())["outcome"] == "needs a look"
    deliver("q4", 0)
    assert night(now="2008-01-05")["published"]["known_through"] == "2007-10-01 00:00:00"
    assert store.load("macro").lengths.tolist() == [196, 196, 196]


def test_a_finding_that_is_right_is_accepted_and_forecasts_are_still_checked(
    forecast: Forecast, night: Any, deliver: Any, home: Path
) -> None:
    forecast("runs", "promote", "tiny")
    deliver("q4", 0, change=times(1_000))
    night(now="2008-01-05", code=10)
    done = night("--accept", "scale", now="2008-01-05", code=10)
    assert done["warnings"][0].startswith("scale: ")
    assert "get the baseline, such as 'cpi': the median at lead 3 is" in done["troubles"][0]
    assert PanelStore(Home(home).panels).load("macro").lengths.tolist() == [196, 196, 196]


def test_a_file_that_comes_twice_is_taken_once(forecast: Forecast, night: Any, deliver: Any) -> None:
    forecast("runs", "promote", "tiny")
    deliver("q4", 0)
    deliver("q4_again", 0)
    assert night(now="2008-01-05")["warnings"] == ["duplicate: the same as q4.csv, which was taken in on 2008-01-05"]


def test_a_home_that_was_moved_meets_nothing_again(
    forecast: Forecast, night: Any, deliver: Any, home: Path, tmp_path: Path
) -> None:
    forecast("runs", "promote", "tiny")
    deliver("q4", 0)
    night(now="2008-01-05")
    moved = Home(Path(shutil.copytree(home, tmp_path / "moved", symlinks=True)))
    config = read_config(moved.path / "nightly.yaml")
    done = nightly(config, "macro", home=moved, clock=clock_at("2008-01-05"), say=print, progress=lambda *_: None)
    assert done.is_repeated


def test_a_file_that_cannot_be_read_is_held_and_the_others_are_taken(forecast: Forecast, night: Any, deliver: Any) -> None:
    forecast("runs", "promote", "tiny")
    deliver("a", 0).write_text("unique_id,ds,y\ncpi,yesterday,1\n")
    deliver("b", 0)
    done = night(now="2008-01-05", code=10)
    assert done["troubles"][0].startswith("unreadable: series 'cpi': ")
    assert done["published"]["known_through"] == "2007-10-01 00:00:00"


def test_a_quarter_that_is_missing_is_told_and_the_night_goes_on(forecast: Forecast, night: Any) -> None:
    forecast("runs", "promote", "tiny")
    done = night(now="2008-07-05")
    assert done["warnings"][0].startswith("stale: the newest value is of 2007-07-01 00:00:00, and 2008-04-01 00:00:00 was due")
    assert done["severity"] == 0


def test_a_policy_of_stop_ends_the_night_with_an_alarm(forecast: Forecast, night: Any) -> None:
    forecast("runs", "promote", "tiny")
    done = night("--set", "operations.guards.stale=stop", now="2008-07-05", code=20)
    assert list(done["steps"]) == ["ingest"]


def test_a_clock_that_goes_back_is_told(forecast: Forecast, night: Any) -> None:
    forecast("runs", "promote", "tiny")
    night(now="2007-12-25")
    assert "clock: the clock says 2007-12-20, and the night of 2007-12-25" in night()["warnings"][-1]


# -- what goes wrong ----------------------------------------------------------------------------------------------------------


def test_where_the_run_in_service_is_damaged_the_one_before_it_speaks(forecast: Forecast, night: Any, home: Path) -> None:
    shutil.copytree(home / "runs" / "tiny", home / "runs" / "second")
    for run in ("tiny", "second"):
        forecast("runs", "promote", run)
    (home / "runs" / "second" / "weights.safetensors").write_bytes(b"nothing")
    done = night(code=10)
    assert done["published"]["run"] == "tiny"
    assert "run second cannot forecast" in done["troubles"][0]
    assert done["training"]["reasons"][0].startswith("the run in service cannot be read (")
    assert done["training"]["contest"]["challenger_coverage"] > 0  # held with the one before it


def test_where_no_run_can_speak_the_baseline_does(forecast: Forecast, night: Any, home: Path) -> None:
    forecast("runs", "promote", "tiny")
    (home / "runs" / "tiny" / "weights.safetensors").write_bytes(b"nothing")
    done = night(code=10)
    assert done["published"]["forecaster"] == "seasonal_naive"
    assert done["training"]["verdict"][0].startswith("no other run can serve: OWA ")
    assert service_of("macro", Home(home)).current == done["training"]["run"]


def test_a_first_run_that_is_worse_than_the_baseline_does_not_serve(night: Any, home: Path) -> None:
    done = night(*TRAIN, "--set", "training.learning_rate=30")
    assert not done["training"]["promoted"]
    assert service_of("macro", Home(home)).current is None


def test_a_challenger_that_cannot_be_trained_costs_no_forecast(forecast: Forecast, night: Any) -> None:
    words = (*TRAIN, "--set", "horizon=150", "--set", "evaluation.origins=99")
    done = night(*words, code=10)
    assert done["published"]["rows"] == 3 * 150
    assert done["steps"]["train"] == "failed"
    assert done["troubles"][0].startswith("train failed: evaluation.origins is 1") or "horizon" in done["troubles"][0]


@contextlib.contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_what_was_published_whole(forecast: Forecast, night: Any, deliver: Any, home: Path) -> None:
    forecast("runs", "promote", "tiny")
    night()
    before = published(home)
    deliver("q4", 0)
    with no_file_beyond(1_000):
        result = forecast("nightly", "nightly.yaml", "--panel", "macro", "--now", "2008-01-05", "--json")
    assert result.exit_code == 20, result.output
    assert f"Free room under {home} and type the night again" in result.stderr
    assert published(home).equals(before)
    assert not list(home.rglob("*.part"))
    assert night(now="2008-01-05")["published"]["known_through"] == "2007-10-01 00:00:00"


def test_an_unknown_kind_to_accept_is_refused(forecast: Forecast, later: pd.DataFrame) -> None:
    result = forecast("nightly", "nightly.yaml", "--panel", "macro", "--accept", "sales")
    assert result.exit_code == 2
    assert "--accept 'sales' is no kind of finding; choose unreadable, future" in result.stderr


def test_who_asked_is_told_once(forecast: Forecast, night: Any, home: Path) -> None:
    words = ("--set", "operations.hooks.on_failure=echo told >> failures.txt", "--set", "operations.guards.stale=hold")
    forecast("runs", "promote", "tiny")
    for _ in range(2):
        night(*words, now="2008-07-05", code=10)
    assert (home / "failures.txt").read_text() == "told\n"


def test_a_hook_that_fails_costs_nothing(forecast: Forecast, later: pd.DataFrame) -> None:
    forecast("runs", "promote", "tiny")
    words = ("--set", "operations.hooks.on_failure=echo no mail >&2; exit 3", "--set", "operations.guards.stale=hold")
    result = forecast("nightly", "nightly.yaml", "--panel", "macro", "--now", "2008-07-05", *words)
    assert result.exit_code == 10
    assert "ended with exit code 3: no mail" in result.stderr


def test_a_panel_that_is_damaged_is_an_alarm(forecast: Forecast, night: Any, home: Path) -> None:
    (home / "data" / "panels" / "macro" / "manifest.json").write_text("{")
    assert "predict failed: " in "; ".join(night(code=20)["troubles"])


def test_damaged_pointers_cost_no_forecast(forecast: Forecast, night: Any, home: Path) -> None:
    forecast("runs", "promote", "tiny")
    (home / "runs" / ".in_service" / "macro.pointers.json").write_text("{")
    done = night(code=10)
    assert done["published"]["forecaster"] == "seasonal_naive"
    assert "does not say who serves 'macro'" in "; ".join(done["troubles"])


def test_an_inbox_that_is_no_pattern_is_refused(forecast: Forecast, later: pd.DataFrame) -> None:
    inbox = "operations.deliveries.inbox=in/{region}/*"
    result = forecast("nightly", "nightly.yaml", "--panel", "macro", "--set", inbox)
    assert result.exit_code == 2
    assert "expected a glob in which only {panel} stands in braces" in result.stderr


def test_a_panel_with_nothing_in_its_inbox_is_an_alarm(forecast: Forecast, later: pd.DataFrame) -> None:
    result = forecast("nightly", "nightly.yaml", "--panel", "empty")
    assert result.exit_code == 20
    assert "panel 'empty' holds nothing, and nothing was delivered. Fill the inbox." in result.stderr


def test_drift_tells_what_a_night_would_do_and_changes_nothing(forecast: Forecast, home: Path) -> None:
    forecast("runs", "promote", "tiny")
    before = files_under(home)
    told = json.loads(forecast("drift", "macro@current", "--json").stdout)
    assert not told["decision"]["is_taken"]
    assert told["drift"]["blocks_then"] == 4
    assert "would not train: no training is due" in forecast("drift", "tiny").stdout
    assert files_under(home) == before
