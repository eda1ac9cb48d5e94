"""The registry of runs: who serves, what came from what, what goes, and that no moment is half-way."""

import json
import shutil
import threading
from pathlib import Path

import pytest
from conftest import Forecast

from forecaster.errors import ConfigError, StateError
from forecaster.jobs.home import Home, clock_at
from forecaster.jobs.registry import diff_runs, lineage, list_runs, promote, prune, rollback
from forecaster.jobs.runs import Run
from forecaster.jobs.service import put_back, put_in_service, service_of


def copy_run(home: Path, name: str, *, created: str, parent: str | None = None, seed: int = 1) -> Run:
    """Another run with the weights of `tiny`, as if trained at another time with another seed."""
    folder = Path(shutil.copytree(home / "runs" / "tiny", home / "runs" / name))
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"created": created, "parent": parent}))
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace("\nseed: 1\n", f"\nseed: {seed}\n"))
    return Run.open(name, Home(home))


def test_a_run_serves_and_the_one_before_it_is_remembered(home: Path) -> None:
    second = copy_run(home, "second", created="2030-01-01T00:00:00+00:00")
    first = promote(Run.open("tiny", Home(home)), Home(home), clock=clock_at("2030-01-01"))
    assert (first.current, first.previous) == ("tiny", None)
    after = promote(second, Home(home), why="better", clock=clock_at("2030-01-02"))
    assert (after.current, after.previous, after.since) == ("second", "tiny", "2030-01-02T00:00:00+00:00")
    assert [change.why for change in after.changes] == ["by hand", "better"]


def test_promoting_who_serves_changes_nothing(home: Path) -> None:
    run = Run.open("tiny", Home(home))
    assert promote(run, Home(home)) == promote(run, Home(home))


def test_a_rollback_typed_twice_leaves_all_as_it_was(forecast: Forecast, home: Path) -> None:
    copy_run(home, "second", created="2030-01-01T00:00:00+00:00")
    for run in ("tiny", "second"):
        assert forecast("runs", "promote", run).exit_code == 0
    assert json.loads(forecast("runs", "rollback", "--json").stdout)["current"] == "tiny"
    assert json.loads(forecast("runs", "rollback", "--json").stdout)["current"] == "second"


def test_a_rollback_with_nothing_before_is_refused(forecast: Forecast) -> None:
    assert forecast("runs", "promote", "tiny").exit_code == 0
    result = forecast("runs", "rollback")
    assert result.exit_code == 2
    assert "panel 'macro' has no previous run to go back to" in result.stderr


def test_a_run_whose_weights_are_damaged_never_serves(home: Path) -> None:
    run = Run.open("tiny", Home(home))
    run.deployed_weights.write_bytes(run.deployed_weights.read_bytes()[:500])
    with pytest.raises(StateError, match="no readable weights"):
        promote(run, Home(home))
    assert service_of("macro", Home(home)).current is None


def test_a_rollback_to_a_damaged_run_is_refused(home: Path) -> None:
    promote(Run.open("tiny", Home(home)), Home(home))
    promote(copy_run(home, "second", created="2030"), Home(home))
    (home / "runs" / "tiny" / "weights.safetensors").unlink()
    with pytest.raises(StateError, match="no readable weights"):
        rollback("macro", Home(home))
    assert service_of("macro", Home(home)).current == "second"


def test_a_reader_never_sees_one_pointer_moved_without_the_other(home: Path) -> None:
    place, seen, is_over = Home(home), set(), threading.Event()

    def read() -> None:
        while not is_over.is_set():
            service = service_of("macro", place)
            seen.add((service.current, service.previous))

    put_in_service("macro", "a", place, at="", why="")
    put_in_service("macro", "b", place, at="", why="")
    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        put_back("macro", place, at="", why="")
    is_over.set()
    reader.join()
    assert seen <= {("a", "b"), ("b", "a")}


def test_damaged_pointers_are_told_with_their_cure(home: Path) -> None:
    promote(Run.open("tiny", Home(home)), Home(home))
    (home / "runs" / ".in_service" / "macro.pointers.json").write_text("{")
    with pytest.raises(StateError, match=r"does not say who serves 'macro' .* Remove it, then `forecast runs promote RUN`"):
        service_of("macro", Home(home))


@pytest.mark.parametrize("name", ["current", "macro@current"])
def test_a_run_is_called_by_its_service(forecast: Forecast, name: str) -> None:
    assert forecast("runs", "promote", "tiny").exit_code == 0
    shown = json.loads(forecast("runs", "show", name, "--json").stdout)
    assert (shown["run"], shown["serves"]) == ("tiny", "current")
    assert len(forecast("predict", name, "--horizon", "2").stdout.splitlines()) == 1 + 3 * 2


def test_who_is_called_and_does_not_serve_is_told(forecast: Forecast, home: Path) -> None:
    for name, told in (
        ("current", "'current': 0 panels are served here"),
        ("macro@previous", "panel 'macro' has no previous run"),
    ):
        result = forecast("runs", "show", name)
        assert result.exit_code == 2
        assert told in result.stderr
    put_in_service("macro", "tiny", Home(home), at="", why="")
    put_in_service("other", "tiny", Home(home), at="", why="")
    assert "Say which (macro@current, other@current)" in forecast("runs", "show", "current").stderr


def test_no_run_may_be_called_current(forecast: Forecast) -> None:
    result = forecast("train", "demo.yaml", "--panel", "macro", "--name", "current")
    assert result.exit_code == 2


def test_runs_are_listed_with_what_they_descend_from(forecast: Forecast, home: Path) -> None:
    copy_run(home, "second", created="2030-01-01T00:00:00+00:00", parent="tiny")
    assert forecast("runs", "promote", "second").exit_code == 0
    rows = json.loads(forecast("runs", "list", "--panel", "macro", "--json").stdout)["runs"]
    assert [(row["run"], row["serves"], row["parent"]) for row in rows] == [("tiny", "", None), ("second", "current", "tiny")]
    assert "second" in forecast("runs", "list").stdout.splitlines()[-1]
    assert lineage(Run.open("second", Home(home)), Home(home)) == ["second", "tiny"]


def test_a_training_says_where_it_comes_from(home: Path) -> None:
    facts = Run.open("tiny", Home(home)).facts
    assert facts.known_through == "2007-07-01 00:00:00"
    assert len(facts.settings) == len(facts.code) == len(facts.panel_fingerprint) == 12
    assert facts.parent is None


def test_a_difference_names_facts_settings_and_nothing_else(home: Path) -> None:
    one, other = Run.open("tiny", Home(home)), copy_run(home, "second", created="2030", parent="tiny", seed=7)
    assert {row["what"] for row in diff_runs(one, other)} == {"facts.created", "facts.parent", "config.seed"}
    assert diff_runs(one, one) == []


def test_old_runs_go_and_those_in_service_stay(forecast: Forecast, home: Path) -> None:
    for number in range(5):
        copy_run(home, f"run-{number}", created=f"203{number}-01-01T00:00:00+00:00")
    for run in ("run-0", "run-1"):
        promote(Run.open(run, Home(home)), Home(home))
    dry = json.loads(forecast("runs", "prune", "--keep", "2", "--dry-run", "--json").stdout)
    assert dry["removed"] == ["tiny", "run-2"]
    assert len(list_runs(Home(home))) == 6
    assert prune(Home(home), keep=2) == ["tiny", "run-2"]
    assert [entry.run for entry in list_runs(Home(home))] == ["run-0", "run-1", "run-3", "run-4"]
    assert not list((home / "runs").glob(".removed*"))


def test_a_state_that_somebody_writes_to_keeps_its_run(home: Path) -> None:
    copy_run(home, "second", created="2030")
    (home / "state" / "tiny").mkdir(parents=True)
    (home / "state" / "tiny" / "log").write_text("just now")
    assert prune(Home(home), keep=1) == []


def test_keeping_none_is_refused(home: Path) -> None:
    with pytest.raises(ConfigError, match="--keep is 0; expected 1 or more"):
        prune(Home(home), keep=0)


def test_a_live_state_goes_with_the_run_that_serves(forecast: Forecast, home: Path) -> None:
    copy_run(home, "second", created="2030-01-01T00:00:00+00:00")
    assert forecast("runs", "promote", "tiny").exit_code == 0
    assert (
        forecast("stream", "tiny", "--in", "later.csv", "--out", "live.ndjson", "--calibrate", "--state", "live").exit_code == 0
    )

    def owner() -> dict:
        return dict(json.loads(forecast("state", "inspect", "live", "--json").stdout)["owner"])

    before = owner()
    assert forecast("runs", "promote", "second", "--state", "live").exit_code == 0
    assert Path(owner()["run"]).name == "second"
    assert before["calibration"]
    assert owner()["calibration"] == before["calibration"]
    assert forecast("runs", "rollback", "--state", "live").exit_code == 0
    assert owner() == before
    refused = forecast("runs", "promote", "second", "--state", "nowhere")
    assert refused.exit_code == 2
    assert service_of("macro", Home(home)).current == "tiny"
