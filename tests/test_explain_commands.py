"""`forecast explain` as typed: what it shows, what it gives to a program, and what it says to a mistake."""

import json
from pathlib import Path

import pytest
from conftest import CONFIG, TINY_SETTINGS, Forecast

TRACE = ("explain", "trace", "tiny", "--series", "cpi", "--at", "2006-01-01")


def test_a_trace_shows_formulas_beside_their_numbers(forecast: Forecast) -> None:
    done = forecast(*TRACE, "--unit", "2", "--unit", "4", "--convention", "torch")
    assert done.exit_code == 0, done.output
    assert "cpi through gru: member 1 of 1, layer 1 of 1, 2 of 4 units, --convention torch" in done.stdout
    assert done.stdout.count("sigmoid(W_ir x + b_ir + W_hr h + b_hr)") == 4
    assert "step 2 of 2: 2006-04-01" in done.stdout
    told = json.loads(forecast(*TRACE, "--all", "--steps", "3", "--json").stdout)
    assert [len(step["units"]) for step in told["steps"]] == [4, 4, 4]
    assert max(step["difference"] for step in told["steps"]) < 1e-6
    assert told["formulas"][0]["text"] == "sigmoid(W_r x + b_r + U_r h)"


def test_a_trace_at_the_end_says_that_it_is_the_end(forecast: Forecast) -> None:
    done = forecast("explain", "trace", "tiny", "--series", "cpi", "--at", "2007-07", "--steps", "5")
    assert done.exit_code == 0, done.output
    assert "series 'cpi' ends at 2007-07-01: 1 of 5 steps" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--series", "nothing"), "DataError  series 'nothing' is not in the panel, which has 3 such as cpi, infl, realgdp."),
        (("--at", "2006-02-01"), "DataError  --at: ds is '2006-02-01', between steps of 'QS-JAN'; the one before is 2006-01-01"),
        (("--at", "soon"), "DataError  --at: ds is 'soon'; expected ISO 8601. Give it as 2024-01-31"),
        (("--at", "1950-01-01"), "DataError  series 'cpi': 1950-01-01 00:00:00 lies before it begins; it goes from 1959-01-01"),
        (("--at", "2030-01-01"), "DataError  series 'cpi': 2030-01-01 00:00:00 lies after its end"),
        (("--unit", "5"), "ConfigError  unit 5 was asked for, and the network has units 1 to 4."),
        (("--member", "2"), "ConfigError  member 2 was asked for, and the network has one member."),
        (("--layer", "2"), "ConfigError  layer 2 was asked for, and the network has one layer."),
    ],
)
def test_a_mistake_is_told_in_one_line(forecast: Forecast, words: tuple[str, ...], said: str) -> None:
    done = forecast(*TRACE, *words)
    assert done.exit_code == 2, done.output
    assert done.stderr.splitlines()[-1].startswith(said)
    assert done.stdout == ""


def test_numbered_steps_are_asked_for_by_number(forecast: Forecast, home: Path) -> None:
    rows = [f"a,{t},{10 + t % 5}" for t in range(0, 600, 10)]
    (home / "steps.csv").write_text("unique_id,ds,y\n" + "\n".join(rows))
    assert forecast("ingest", "steps.csv", "--name", "steps").exit_code == 0
    done = forecast("train", CONFIG, "--panel", "steps", "--name", "steps", *TINY_SETTINGS, "--set", "evaluation.origins=0")
    assert done.exit_code == 0, done.output
    at = ("explain", "trace", "steps", "--series", "a", "--at")
    assert "step 1 of 2: 300, y = 10" in forecast(*at, "300").stdout
    assert forecast(*at, "today").stderr.startswith("DataError  --at 'today': this panel counts steps. Give a whole number.")
    assert "--at: ds is 305, between steps of 'step'; the one before is 300. Give that." in forecast(*at, "305").stderr
    held = forecast("explain", "smoothness", "steps")
    assert held.exit_code == 2
    assert held.stderr.startswith("ConfigError  run 'steps' was trained on every value of 'steps', so no part of it can tell")
    shown = forecast("explain", "timescales", "steps").stdout
    assert "half-life in steps" in shown
    assert "days" not in shown, "a numbered step has no length"


def test_time_scales_are_shown_and_told(forecast: Forecast) -> None:
    done = forecast("explain", "timescales", "tiny")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("4 units of gru (members: 1, layers: 1), 3 series, ")
    assert "Nothing can be said here of the claim" in done.stdout
    told = json.loads(forecast("explain", "timescales", "tiny", "--json").stdout)
    assert [unit["unit"] for unit in told["units"]] == [1, 2, 3, 4]
    assert {one["unique_id"] for one in told["series"]} == {"cpi", "infl", "realgdp"}
    assert all(0 < one["ses_alpha"] <= 1 for one in told["series"])


def test_smoothness_is_shown_and_told(forecast: Forecast) -> None:
    done = forecast("explain", "smoothness", "tiny")
    assert done.exit_code == 0, done.output
    assert "3 series, held-out origins: 4 each, horizon 8" in done.stdout
    told = json.loads(forecast("explain", "smoothness", "tiny", "--json", "--at-most", "2").stdout)
    assert told["ids"] == ["cpi", "realgdp"]
    assert told["measure"] == "mase"
    assert len(told["removals"][0]["by_lead"]) == 8
    assert told["removals"][0]["loss"]["low"] is None, "eight origins at most are too few"


def test_the_three_stand_under_one_word(forecast: Forecast) -> None:
    done = forecast("explain", "--help")
    for name in ("trace", "timescales", "smoothness"):
        assert name in done.stdout
