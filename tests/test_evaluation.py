"""Rolling origins, no look-ahead, and scores, entered as a command would."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from evaluation_doubles import HORIZON, STEPS, Repeat, compare, of, waves

from forecaster.errors import ConfigError
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import (
    EvaluationConfig,
    backtest,
    check_no_look_ahead,
    holdout_steps,
    rolling_origins,
    scale_season_length,
    without_origin,
)
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.metrics import METRICS, SCORE_QUANTILES
from forecaster.evaluation.scores import ROWS_AT_ONCE, score, scores_by_lead, scores_by_origin, scores_by_series
from forecaster.evaluation.verdict import verdict
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

# -- origins ---------------------------------------------------------------------------------------------------------------


def test_origins_roll_by_the_stride_and_leave_room_for_the_horizon():
    panel = waves(2)
    origins = rolling_origins(panel, 12, horizon=4, stride=4)
    np.testing.assert_array_equal(origins.index, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(panel.lengths[origins.index] - origins.known, [12, 8, 4] * 2)


def test_a_series_that_had_not_begun_at_the_first_origin_is_left_out_and_named():
    panel = Panel(("long", "short"), np.array([0, 0]), np.array([0, 20, 28]), np.arange(28.0), STEPS)
    origins = rolling_origins(panel, 8, horizon=4, stride=4)
    assert without_origin(panel, origins) == ("short",)
    assert set(origins.index) == {0}


@pytest.mark.parametrize(
    ("length", "horizon", "expected"), [(960, 48, 192), (100, 5, 20), (100, 15, 15), (29, 6, 6), (17, 6, 0), (1, 1, 0)]
)
def test_the_derived_holdout_is_four_origins_within_a_fifth_or_one_within_a_third(length, horizon, expected):
    panel = Panel(("a",), np.array([0]), np.array([0, length]), np.zeros(length), STEPS)
    assert holdout_steps(EvaluationConfig(), panel, horizon) == expected


def test_a_holdout_that_was_asked_for_is_kept_or_refused():
    panel = Panel(("a",), np.array([0]), np.array([0, 50]), np.zeros(50), STEPS)
    assert holdout_steps(EvaluationConfig(origins=10, stride=2), panel, 5) == 23
    with pytest.raises(ConfigError, match=r"evaluation.origins is 10: .* holds back 50 steps, and the longest series has 50"):
        holdout_steps(EvaluationConfig(origins=10), panel, 5)


def test_the_scale_lag_is_that_of_the_m4_competition_by_frequency():
    expected = {"h": 24, "D": 1, "B": 1, "W-SUN": 1, "ME": 12, "QE-DEC": 4, "YS": 1, "15min": 96}
    assert {alias: scale_season_length(Frequency(alias)) for alias in expected} == expected
    assert scale_season_length(STEPS) == 1
    assert scale_season_length(Frequency("h", is_numbered=True)) == 24


# -- no look-ahead ---------------------------------------------------------------------------------------------------------


def test_a_forecaster_that_reads_past_its_origin_is_caught():
    panel = waves(3)
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=HORIZON)
    with pytest.raises(AssertionError, match=r"peeker looks ahead: its forecast of series 's000' after 48 values"):
        check_no_look_ahead(Repeat("peeker", peeks=True), panel, horizon=HORIZON, quantiles=SCORE_QUANTILES, origins=origins)
    check_no_look_ahead(Repeat("honest"), panel, horizon=HORIZON, quantiles=SCORE_QUANTILES, origins=origins)
    leaderboard = compare([Repeat("peeker", peeks=True), Repeat("honest")], panel, verify=True)
    assert leaderboard.winner == "honest"
    assert "looks ahead" in leaderboard.row("peeker").failure


def test_nothing_behind_the_last_origin_is_within_reach():
    panel = waves(3)
    origins = rolling_origins(panel, HORIZON, horizon=HORIZON, stride=HORIZON)
    changed = replace(panel, values=panel.values.copy())
    for b in range(len(panel)):
        changed.series(b)[-HORIZON:] = 1e6
    seen, other = (
        backtest([Repeat("peeker", peeks=True)], given, horizon=HORIZON, quantiles=[0.5], origins=origins).forecasts["peeker"]
        for given in (panel, changed)
    )
    np.testing.assert_array_equal(seen.values, other.values)


# -- backtest and scores ---------------------------------------------------------------------------------------------------


def test_scores_are_those_of_a_slow_loop_over_series_origins_and_leads():
    panel = waves(4)
    panel.values[[57, 58, 118]] = np.nan
    leaderboard = compare([Repeat("naive2"), Repeat("gru", 4)], panel, holdout=10, stride=2)
    smape, mase, by_lead = [], [], {lead: [] for lead in range(1, HORIZON + 1)}
    for b in range(len(panel)):
        y = panel.series(b)
        scale = np.nanmean([abs(y[t] - y[t - 1]) for t in range(1, len(y) - 10)])
        terms = []
        for back in (10, 8, 6, 4):
            n = len(y) - back
            terms += [(lead, y[n + lead - 1], y[n - 4 + (lead - 1) % 4]) for lead in range(1, HORIZON + 1)]
        known = [(lead, actual, said) for lead, actual, said in terms if not math.isnan(actual)]
        smape.append(np.mean([200 * abs(a - f) / (abs(a) + abs(f)) for _, a, f in known]))
        mase.append(np.mean([abs(a - f) for _, a, f in known]) / scale)
        for lead in by_lead:
            by_lead[lead].append(np.mean([abs(a - f) for at, a, f in known if at == lead]) / scale)
    row, reference = leaderboard.row("gru"), leaderboard.row("naive2")
    assert row.smape == pytest.approx(np.mean(smape), rel=1e-12)
    assert row.mase == pytest.approx(np.mean(mase), rel=1e-12)
    assert row.owa == pytest.approx((row.smape / reference.smape + row.mase / reference.mase) / 2, rel=1e-12)
    assert (row.series, row.origins) == (4, 4)
    leads = of("gru", scores_by_lead(leaderboard.scores))
    np.testing.assert_allclose(leads["mase"], [np.mean(values) for values in by_lead.values()], rtol=1e-12)


def test_frames_agree_with_the_leaderboard():
    leaderboard = compare([Repeat("naive2"), Repeat("gru", 4)], waves())
    by_series, by_origin = scores_by_series(leaderboard.scores), scores_by_origin(leaderboard.scores)
    assert len(by_series) == 2 * 12
    assert len(by_origin) == 2 * 12 * 3
    for row in leaderboard.rows:
        mine = of(row.forecaster, by_series)
        assert mine["mase"].mean() == pytest.approx(row.mase, rel=1e-12)
        assert mine["pairs"].sum() == row.pairs == 12 * 3 * HORIZON
        rolled = of(row.forecaster, by_origin).groupby("unique_id")["smape"].mean()
        np.testing.assert_allclose(rolled, mine["smape"], rtol=1e-12)
    assert set(METRICS) <= set(by_series.columns) & set(by_origin.columns)


def test_the_order_of_rows_changes_no_score_to_the_bit():
    panel = waves()
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=2)
    order = np.random.default_rng(0).permutation(len(origins))
    boards = []
    for rows in (origins, Origins(origins.index[order], origins.known[order])):
        made = backtest([Repeat("naive2"), Repeat("gru", 4)], panel, horizon=HORIZON, quantiles=SCORE_QUANTILES, origins=rows)
        actuals = actuals_matrix(made.forecasts["gru"], panel)
        boards.append(rank(score(made, history=panel, actuals=actuals, season_length=1)))
    assert boards[0].rows == boards[1].rows
    pd.testing.assert_frame_equal(scores_by_series(boards[0].scores), scores_by_series(boards[1].scores), check_exact=True)


def test_other_names_and_hence_another_order_of_series_change_no_score():
    panel = waves()
    backwards = panel.select(range(len(panel) - 1, -1, -1))
    renamed = replace(backwards, ids=panel.ids)
    plain, other = (compare([Repeat("naive2"), Repeat("gru", 4)], given, stride=2) for given in (panel, renamed))
    for row in plain.rows:
        for metric in (*METRICS, "owa"):
            assert getattr(other.row(row.forecaster), metric) == pytest.approx(getattr(row, metric), rel=1e-12)


def test_more_rows_than_are_scored_at_once_give_the_same_scores():
    few, many = (compare([Repeat("naive2"), Repeat("gru", 4)], waves(series)) for series in (12, 900))
    assert ROWS_AT_ONCE < 900 * 3
    for name in ("naive2", "gru"):
        by_series = of(name, scores_by_series(many.scores))
        alone = of(name, scores_by_series(few.scores))
        np.testing.assert_array_equal(by_series["mase"].to_numpy()[:12], alone["mase"])
        by_lead = of(name, scores_by_lead(many.scores))
        assert by_lead["mase"].mean() == pytest.approx(by_series["mase"].mean(), rel=1e-12)


def test_a_forecaster_that_raises_is_listed_last_with_its_reason_and_costs_the_others_nothing():
    panel = waves()
    told = []
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=4)
    forecasters = [Repeat("broken", raises="series 's001': no."), Repeat("naive2"), Repeat("gru", 4)]
    made = backtest(
        forecasters, panel, horizon=HORIZON, quantiles=[0.5], origins=origins, progress=lambda *news: told.append(news)
    )
    assert list(made.forecasts) == ["naive2", "gru"]
    assert told == [(0, 3, "broken"), (1, 3, "naive2"), (2, 3, "gru"), (3, 3, "")]
    leaderboard = compare(forecasters, panel)
    assert [row.forecaster for row in leaderboard.rows] == ["gru", "naive2", "broken"]
    assert leaderboard.rows[-1].failure == "DataError: series 's001': no."
    assert verdict(leaderboard).endswith("broken failed and has no scores.")


def test_where_a_forecaster_gives_no_number_the_reference_is_scored_and_counted():
    panel = waves()
    leaderboard = compare([Repeat("naive2"), Repeat("gru", 4, silent_on="s003"), Repeat("whole", 4)], panel)
    row = leaderboard.row("gru")
    assert (row.missing, row.notes, row.series) == (3 * HORIZON, 1, 12)
    frame = scores_by_series(leaderboard.scores).set_index(["forecaster", "unique_id"])
    assert frame.loc[("gru", "s003"), "mase"] == frame.loc[("naive2", "s003"), "mase"]
    assert frame.loc[("gru", "s004"), "mase"] == frame.loc[("whole", "s004"), "mase"]
    assert "gru gave no number for 12 values; those of naive2 are scored in their place." in verdict(leaderboard)


def test_a_forecaster_that_leaves_values_out_stands_behind_those_that_answered_all():
    leaderboard = compare([Repeat("worse"), Repeat("gru", 4, silent_on="s003")], waves())
    assert leaderboard.measure == "mase"
    assert [row.forecaster for row in leaderboard.rows] == ["worse", "gru"]
    assert "the MASE of gru is a mean over those values only that it answered" in verdict(leaderboard)
    assert "gru gave no number for 12 values, 12 of which are not scored." in verdict(leaderboard)


def test_a_forecast_of_other_rows_than_asked_for_is_a_failure():
    class Shuffled(Repeat):
        def predict(self, panel, horizon, *, quantiles, origins):
            made = super().predict(panel, horizon, quantiles=quantiles, origins=origins)
            return made.select(np.arange(len(origins))[::-1])

    class Short(Repeat):
        def predict(self, panel, horizon, *, quantiles, origins):
            return super().predict(panel, horizon - 1, quantiles=quantiles, origins=origins)

    leaderboard = compare([Shuffled("shuffled"), Short("short")], waves())
    assert "not those of the origins asked for" in leaderboard.row("shuffled").failure
    assert "expected (36, 4, 11)" in leaderboard.row("short").failure
    assert leaderboard.winner is None
    assert verdict(leaderboard).startswith("No forecaster could be scored.")


def test_two_forecasters_of_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"two forecasters are called 'gru'"):
        compare([Repeat("gru"), Repeat("gru")], waves())


def test_constant_series_have_no_mase_and_are_counted():
    panel = waves(3)
    panel.series(1)[:] = 7.0
    row = compare([Repeat("naive2"), Repeat("gru", 4)], panel).row("gru")
    assert row.without_mase == 1
    assert math.isfinite(row.mase)
    assert math.isfinite(row.owa)


def test_a_panel_of_constants_is_ranked_by_smape():
    panel = replace(waves(3), values=np.full(len(waves(3).values), 5.0))
    leaderboard = compare([Repeat("gru", shift=1.0), Repeat("naive2")], panel)
    assert (leaderboard.measure, leaderboard.winner) == ("smape", "naive2")
    assert leaderboard.row("naive2").smape == 0
    assert math.isnan(leaderboard.row("naive2").mase)


def test_a_panel_without_any_actual_has_no_winner_and_says_so():
    panel = waves(3)
    for b in range(3):
        panel.series(b)[-12:] = np.nan
    leaderboard = compare([Repeat("gru"), Repeat("naive2")], panel)
    assert leaderboard.winner is None
    assert verdict(leaderboard) == "No forecaster could be scored."
