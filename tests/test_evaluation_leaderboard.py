"""The leaderboard, its verdict, actual values from a file, and the published table."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_doubles import HORIZON, STEPS, Repeat, compare, waves

from forecaster.errors import DataError
from forecaster.evaluation.actuals import actuals_frame, actuals_matrix, match_actuals
from forecaster.evaluation.backtest import (
    backtest,
    scale_season_length,
)
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.losses import paired_losses
from forecaster.evaluation.scores import score
from forecaster.evaluation.significance import conclusion, significance
from forecaster.evaluation.verdict import leaderboard_summary, verdict
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

# -- actuals ---------------------------------------------------------------------------------------------------------------


def forecast_after(panel):
    return Repeat("gru", 4).predict(panel, HORIZON, quantiles=[0.5], origins=Origins.back(panel))


def test_actuals_from_a_file_are_matched_by_series_and_time():
    whole = waves(3)
    training = whole.drop_last(HORIZON)
    frame = whole.to_frame().groupby("unique_id").tail(HORIZON)
    frame = pd.concat([frame[frame["unique_id"] != "s001"], frame.iloc[:1].assign(unique_id="stranger")])
    matched = match_actuals(forecast_after(training), Panel.from_frame(frame, STEPS))
    np.testing.assert_array_equal(matched.values[0], whole.series(0)[-HORIZON:])
    assert np.isnan(matched.values[1]).all()
    assert (matched.without_actuals, matched.without_forecast) == (("s001",), ("stranger",))


def test_actuals_that_match_nothing_are_refused_with_examples_and_times():
    panel = waves(3)
    with pytest.raises(
        DataError, match=r"series such as 'x000' \(0 to 63\), the forecasts of series such as 's000' \(60 to 67\)"
    ):
        match_actuals(forecast_after(panel), waves(3, prefix="x"))
    with pytest.raises(DataError, match=r"reach from 0 to 61, falls on a time that was forecast, from 60 to 67"):
        match_actuals(forecast_after(panel), panel.drop_last(2))
    with pytest.raises(DataError, match=r"Read the actual values with the frequency of the training panel"):
        match_actuals(forecast_after(panel), replace(panel, frequency=Frequency("D")))


def test_the_frame_of_forecasts_holds_the_actuals_beside_them():
    panel = waves(2).drop_last(HORIZON)
    made = forecast_after(panel)
    frame = actuals_frame("gru", made, actuals_matrix(made, waves(2)))
    assert list(frame.columns) == ["forecaster", "unique_id", "ds", "origin", "lead", "y", "q0.5"]
    np.testing.assert_array_equal(frame["y"].to_numpy()[:HORIZON], waves(2).series(0)[-HORIZON:])


# -- verdict ---------------------------------------------------------------------------------------------------------------


def test_the_verdict_says_plainly_who_won():
    lost = compare([Repeat("naive2"), Repeat("gru", 4, shift=2.0), Repeat("seasonal_naive", 4)], waves())
    assert lost.winner == "seasonal_naive"
    low, high = lost.row("seasonal_naive").owa, lost.row("gru").owa
    assert verdict(lost) == (
        f"seasonal_naive leads: its OWA is {100 * (high - low) / high:.1f} % below that of gru ({low:.3f} against {high:.3f}). "
        "seasonal_naive is better than gru and naive2 beyond luck (p 0.001), over 12 series. "
        "On this panel seasonal_naive is enough."
    )
    won = compare([Repeat("naive2"), Repeat("gru", 4)], waves())
    assert verdict(won).startswith("gru leads: its OWA is ")
    assert "below that of naive2, the next best" in verdict(won)
    assert "gru is better than naive2 beyond luck" in verdict(won)


def test_a_difference_within_luck_is_called_that():
    leaderboard = compare([Repeat("naive2"), Repeat("gru", 4, shift=0.004), Repeat("smoothing", 4)], waves())
    assert "no difference between gru and smoothing could be shown" in verdict(leaderboard)
    assert "Take the simpler of the two." in verdict(leaderboard)


def test_one_series_is_judged_by_its_origins_and_too_few_of_them_are_no_evidence():
    forecasters = [Repeat("naive2"), Repeat("gru", 4, shift=1.0), Repeat("smoothing", 4)]
    few = compare(forecasters, waves(1))
    assert "3 origins: too few to tell forecasters from luck" in verdict(few)
    many = compare(forecasters, waves(1, length=200), holdout=120)
    assert "beyond luck (p below 0.001), over 30 origins" in verdict(many)
    overlapping = compare(forecasters, waves(1, length=200), holdout=120, stride=1)
    assert "over 30 origins" in verdict(overlapping)  # 117 origins, four of which share their values


def test_who_is_not_among_the_best_is_not_said_to_be_level_with_it():
    found = significance(
        paired_losses(compare([Repeat("naive2"), Repeat("gru", 4, shift=0.004), Repeat("smoothing", 4)], waves()))
    )
    out = replace(found, confidence_set=("gru",), p_values={"smoothing": 0.06, "naive2": 0.01})
    assert out.contenders == ("gru",)
    assert conclusion(out) == (
        "gru is better than naive2 beyond luck (p 0.010); smoothing is not among the best, over 12 series."
    )


def test_a_leader_that_the_tests_put_second_is_told_with_that():
    leaderboard = compare([Repeat("naive2"), Repeat("gru", 4)], waves())
    found = significance(paired_losses(leaderboard))
    turned = replace(found, forecasters=found.forecasters[::-1], p_values={"gru": 0.7})
    said = verdict(leaderboard, found=turned)
    assert "gru leads" in said
    assert "On the 12 series that can be tested naive2 is ahead: no difference between naive2 and gru could be shown" in said


@pytest.mark.parametrize("shift", [0.0, 0.002, 0.004, 0.01, 0.1, 2.0])
def test_table_tests_and_verdict_say_one_thing(shift):
    summary = leaderboard_summary(compare([Repeat("naive2"), Repeat("gru", 4, shift=shift), Repeat("smoothing", 4)], waves()))
    assert summary["significance"]["conclusion"] in summary["verdict"]
    rows = {row["forecaster"]: row for row in summary["leaderboard"]}
    tested = {row["forecaster"]: row for row in summary["significance"]["forecasters"]}
    assert rows[summary["winner"]]["may_be_best"] is True
    assert {name: row["may_be_best"] for name, row in rows.items()} == {name: row["may_be_best"] for name, row in tested.items()}
    assert rows["naive2"]["may_be_best"] is False
    is_behind = summary["winner"] == "smoothing" and not rows["gru"]["may_be_best"]
    assert ("On this panel smoothing is enough" in summary["verdict"]) == is_behind


def test_equal_forecasters_share_the_lead():
    leaderboard = compare([Repeat("naive2"), Repeat("gru")], waves())
    assert verdict(leaderboard).startswith("naive2 and gru have the same OWA (1.000). ")
    assert "no difference between naive2 and gru could be shown" in verdict(leaderboard)


def test_the_summary_is_json_with_null_for_what_is_undefined():
    leaderboard = compare([Repeat("gru", 4), Repeat("naive2"), Repeat("broken", raises="no.")], waves())
    summary = json.loads(json.dumps(leaderboard_summary(leaderboard), allow_nan=False))
    assert set(summary) == {"leaderboard", "winner", "measure", "significance", "verdict"}
    first, last = summary["leaderboard"][0], summary["leaderboard"][-1]
    assert {"forecaster", "smape", "mase", "owa", "wql", "coverage_80"} <= set(first)
    assert summary["winner"] == first["forecaster"] == "gru"
    assert (last["forecaster"], last["owa"], last["failure"]) == ("broken", None, "DataError: no.")


# -- the published table ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "alias", "season_length", "horizon", "expected"),
    [
        ("hourly", "h", 1, 48, (43.003, 11.608)),
        ("hourly", "h", 24, 48, (13.912, 1.193)),
        ("weekly", "W-SUN", 1, 13, (9.161, 2.777)),
    ],
)
def test_naive_and_seasonal_naive_score_what_the_m4_table_prints(group, alias, season_length, horizon, expected):
    folder = Path(os.environ.get("FORECASTER_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (folder / f"m4_{group}_train.parquet").exists():
        pytest.skip(f"m4_{group}_train.parquet is not in {folder}; set FORECASTER_DATA to the folder that holds it")
    frequency = Frequency(alias, is_numbered=True)
    training, test = (
        Panel.from_frame(pd.read_parquet(folder / f"m4_{group}_{part}.parquet"), frequency) for part in ("train", "test")
    )
    made = backtest([Repeat("naive", season_length)], training, horizon=horizon, quantiles=[0.5], origins=Origins.back(training))
    matched = match_actuals(made.forecasts["naive"], test)
    scores = score(made, history=training, actuals=matched.values, season_length=scale_season_length(frequency))
    row = rank(scores).row("naive")
    assert (round(row.smape, 3), round(row.mase, 3)) == expected
    assert row.series == len(training)
