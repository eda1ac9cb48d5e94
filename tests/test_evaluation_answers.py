"""Whoever answers is scored by the same lines: steppers, forecasters in batch, refitted ones, and files."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from evaluation_doubles import HORIZON, STEPS, Repeat, of, waves
from test_evaluation_walk import Smoothing, assert_same_frames, ragged

from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.answers import given, predicted, refitted, score_answers, stepped
from forecaster.evaluation.backtest import backtest, check_no_look_ahead, rolling_origins
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.losses import Losses, paired_losses
from forecaster.evaluation.metrics import METRICS, SCORE_QUANTILES
from forecaster.evaluation.scores import score, scores_by_lead, scores_by_origin_time, scores_by_series
from forecaster.evaluation.trust import check_choice, trusted_champions
from forecaster.evaluation.walk import origin_blocks
from forecaster.forecast import Forecast
from forecaster.series import Origins, Panel


def scores_of(answers, panel, origins, **options):
    options = {"horizon": HORIZON, "quantiles": SCORE_QUANTILES, "season_length": 1, "reference": "naive2"} | options
    return score_answers(answers, panel, origins=origins, **options)


def in_batch(forecaster):
    return predicted(forecaster, HORIZON, SCORE_QUANTILES)


@pytest.mark.parametrize("at_once", [2, 4_096])
def test_batches_and_files_score_what_a_backtest_does(at_once):
    panel = ragged()
    origins = rolling_origins(panel, 16, horizon=HORIZON, stride=1)
    both = [Repeat("naive2"), Repeat("late", 4, shift=1.0, silent_on="s002")]
    made = backtest(both, panel, horizon=HORIZON, quantiles=SCORE_QUANTILES, origins=origins)
    truth = actuals_matrix(made.forecasts["late"], panel)
    expected = score(made, history=panel, actuals=truth, season_length=1)
    for answers in (
        {one.name: in_batch(one) for one in both},
        {name: given(said) for name, said in made.forecasts.items()},
    ):
        scores = scores_of(answers, panel, origins, series_at_once=at_once)
        assert_same_frames(scores, expected)
        assert scores.tallies["late"].missing == expected.tallies["late"].missing > 0


def test_who_is_refitted_at_every_origin_is_fitted_on_what_was_known_there():
    panel = waves(5)
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=2)
    seen = []

    def fit(history):
        seen.append(history)
        stepper = Smoothing("s", 0.3)
        return stepper, lambda part: np.stack([[part.series(b)[-1], 1] for b in range(len(part))]).astype(np.float32)

    said = list(refitted(fit, 2)(panel, origins))
    assert len(said) == len(origin_blocks(origins)) == 5
    assert [panel.lengths[0] - history.lengths[0] for history in seen] == [12, 8, 4]
    for b in range(5):
        np.testing.assert_array_equal(seen[1].series(b), panel.series(b)[:-8])
    assert all(forecast.ids == panel.ids for forecast in said)


def test_refits_of_what_does_not_change_change_nothing():
    panel, stepper = ragged(), Smoothing("naive2", 0.4)
    origins = rolling_origins(panel, 14, horizon=HORIZON, stride=2)

    def warm(part):
        state = stepper.initial_state(len(part))
        for b in range(len(part)):
            for t in range(part.lengths[b]):
                state[[b]] = stepper.step(state[[b]], part.series(b)[t : t + 1], part.starts[[b]] + t)
        return state

    never = scores_of({"naive2": stepped(stepper, warm)}, panel, origins)
    often = scores_of({"naive2": refitted(lambda _: (stepper, warm), 2)}, panel, origins)
    assert_same_frames(often, never)


def test_points_alone_are_scored_as_points():
    panel = waves(5)
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=HORIZON)
    whole = Repeat("naive2").predict(panel, HORIZON, quantiles=SCORE_QUANTILES, origins=origins)
    points = Forecast(whole.ids, whole.origins, (0.5,), whole.median[:, :, None], STEPS, {})
    board = rank(scores_of({"naive2": in_batch(Repeat("naive2")), "theirs": given(points)}, panel, origins))
    ours, theirs = board.row("naive2"), board.row("theirs")
    assert (theirs.mase, theirs.smape, theirs.mae, theirs.missing) == (ours.mase, ours.smape, ours.mae, 0)
    assert np.isnan([theirs.wql, theirs.coverage_80, theirs.msis]).all()
    assert theirs.crps == pytest.approx(theirs.mae)


def test_an_origin_that_a_file_does_not_have_is_filled_and_counted():
    panel = waves(3)
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=HORIZON)
    some = Origins(origins.index[::2], origins.known[::2])
    said = Repeat("x", 4).predict(panel, HORIZON, quantiles=SCORE_QUANTILES, origins=some)
    scores = scores_of({"naive2": in_batch(Repeat("naive2")), "x": given(said)}, panel, origins)
    assert scores.tallies["x"].missing == (len(origins) - len(some)) * HORIZON


def test_one_that_raises_costs_the_others_nothing_wherever_it_raises():
    panel = waves(5)
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=HORIZON)
    plain = scores_of({"naive2": in_batch(Repeat("naive2"))}, panel, origins)
    answers = {"naive2": in_batch(Repeat("naive2")), "broken": in_batch(Repeat("broken", raises="not today"))}
    scores = scores_of(answers, panel, origins, series_at_once=2)
    assert_same_frames(scores, plain)
    assert "not today" in str(scores.failures["broken"])


# -- what must hold of any evaluation ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Oracle:
    """Knows what comes: every quantile is the value itself."""

    name: str
    truth: Panel

    def predict(self, panel, horizon, *, quantiles, origins):
        values = np.empty((len(origins), horizon, len(quantiles)))
        for row, (b, known) in enumerate(zip(origins.index, origins.known, strict=True)):
            own = self.truth.ids.index(panel.ids[b])
            values[row] = self.truth.series(own)[known : known + horizon, None]
        return Forecast(tuple(panel.ids[b] for b in origins.index), origins.positions(panel), quantiles, values, STEPS, {})


def test_a_perfect_forecast_scores_zero_and_leads():
    panel = waves(12)
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=1)
    board = rank(scores_of({"naive2": in_batch(Repeat("naive2")), "oracle": in_batch(Oracle("oracle", panel))}, panel, origins))
    best = board.row("oracle")
    assert board.winner == "oracle"
    zero = [
        getattr(best, name)
        for name in ("smape", "mase", "owa", "wql", "msis", "mae", "rmse", "bias", "crps", "width_80", "revision")
    ]
    assert zero == [0.0] * len(zero)
    assert (best.coverage_80, best.coverage_95) == (1.0, 1.0)


@pytest.mark.parametrize("peeks", [False, True])
def test_a_forecaster_that_peeks_gains_nothing_behind_the_last_origin_and_is_caught_before_it(peeks):
    panel = waves(6)
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=2)
    peeking = Repeat("peeking", 4, peeks=peeks)
    said = {}

    def listen(name, rows, values, quantiles):
        said.update(zip(rows.tolist(), values, strict=True))

    scores_of({"peeking": in_batch(peeking)}, panel, origins, listen=listen)
    last = [row for row in range(len(origins)) if origins.known[row] == origins.known[origins.index == origins.index[row]].max()]
    honest = Repeat("honest", 4).predict(panel, HORIZON, quantiles=SCORE_QUANTILES, origins=origins).values
    np.testing.assert_array_equal([said[row] for row in last], honest[last])
    if peeks:
        with pytest.raises(AssertionError, match="peeking looks ahead"):
            check_no_look_ahead(peeking, panel, horizon=HORIZON, quantiles=SCORE_QUANTILES, origins=origins)
    else:
        check_no_look_ahead(peeking, panel, horizon=HORIZON, quantiles=SCORE_QUANTILES, origins=origins)


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_series_change_nothing(seed):
    panel = ragged()
    order = np.random.default_rng(seed).permutation(len(panel))
    shuffled = panel.select(order.tolist())
    answers = {"naive2": stepped(Smoothing("naive2", 1.0)), "slow": stepped(Smoothing("slow", 0.2, silent_below=25.0))}
    plain, other = (scores_of(answers, one, rolling_origins(one, 12, horizon=HORIZON, stride=1)) for one in (panel, shuffled))
    for frame, keys in ((scores_by_series, ["forecaster", "unique_id"]), (scores_by_lead, ["forecaster", "lead"])):
        a, b = (frame(one).set_index(keys).sort_index() for one in (plain, other))
        np.testing.assert_allclose(a[list(METRICS)], b[list(METRICS)], rtol=1e-12, atol=1e-12)
    a, b = (rank(one) for one in (plain, other))
    assert [row.forecaster for row in a.rows] == [row.forecaster for row in b.rows]
    assert a.rows[0].owa == pytest.approx(b.rows[0].owa, rel=1e-12)


def test_constant_short_and_unobserved_series_have_the_scores_that_are_written_down():
    """As docs/benchmarks.md says: no MASE without change, no origin without a past, no score without an actual value."""
    ordinary = waves(3, length=40)
    panel = Panel(
        ("a", "b", "c", "constant", "short", "unobserved"),
        np.zeros(6, dtype=int),
        np.cumsum([0, 40, 41, 42, 40, 5, 40]),
        np.concatenate([ordinary.values, np.full(40, 7.0), np.arange(5.0), np.full(40, np.nan)]),
        STEPS,
    )
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=1)
    scores = scores_of({"naive2": stepped(Smoothing("naive2", 1.0)), "slow": stepped(Smoothing("slow", 0.5))}, panel, origins)
    rows = of("slow", scores_by_series(scores)).set_index("unique_id")
    assert "short" not in rows.index  # it had not begun at the first origin
    constant, unobserved = rows.loc["constant"], rows.loc["unobserved"]
    assert np.isnan([constant["mase"], constant["msis"], constant["revision"]]).all()
    assert (constant["smape"], constant["mae"], constant["pairs"]) == (0.0, 0.0, 9 * HORIZON)
    assert np.isnan([unobserved["smape"], unobserved["mase"], unobserved["mae"]]).all()
    assert unobserved["pairs"] == 0
    board = rank(scores)
    assert (board.rows[0].series, board.rows[0].without_mase) == (4, 1)
    assert board.rows[0].mase == pytest.approx(of(board.rows[0].forecaster, scores_by_series(scores))["mase"].mean())
    assert board.row("slow").missing == 0  # nothing was known that it left out
    losses = paired_losses(board)
    assert "unobserved" not in {losses.ids[b] for b in losses.series}


# -- breakdown and choice ----------------------------------------------------------------------------------------------------


def test_scores_by_time_of_origin_are_means_over_the_series_there():
    panel = waves(6)
    origins = rolling_origins(panel, 12, horizon=HORIZON, stride=2)
    scores = scores_of({"naive2": stepped(Smoothing("naive2", 1.0)), "slow": stepped(Smoothing("slow", 0.2))}, panel, origins)
    frame = of("slow", scores_by_origin_time(scores))
    for at in (frame["origin"].min(), frame["origin"].max()):
        here = np.flatnonzero(scores.origins == at)
        errors = []
        for row in here:
            b = panel.ids.index(scores.ids[scores.series[row]])
            own = Origins(np.array([b]), np.array([at - panel.starts[b] + 1]))
            said = Smoothing("slow", 0.2).predict(panel, HORIZON, quantiles=SCORE_QUANTILES, origins=own)
            errors.append(np.abs(said.median - actuals_matrix(said, panel)).mean())
        row = frame[frame["origin"] == at].iloc[0]
        assert row["mae"] == pytest.approx(np.mean(errors), rel=1e-6)  # its state is float32
        assert row["series"] == len(here)


def test_the_check_of_a_choice_scores_later_origins_that_share_no_value_with_the_evidence():
    panel = waves(12, length=80)
    origins = rolling_origins(panel, 24, horizon=HORIZON, stride=1)
    answers = {"naive2": in_batch(Repeat("naive2")), "season": in_batch(Repeat("season", 4))}
    losses = paired_losses(rank(scores_of(answers, panel, origins)))
    checked = check_choice(losses)
    assert (checked.evidence_origins, checked.scored_origins, checked.series) == (9, 9, 12)  # 21 origins, a horizon apart
    assert checked.single_forecaster == checked.hindsight_forecaster == "season"
    assert checked.champions == checked.single == checked.hindsight  # one is best everywhere
    values = losses.values.copy()
    last = np.array([losses.origins[losses.series == b].max() for b in range(12)])[losses.series]
    values[losses.origins > last - 12] *= 10  # what came later
    assert check_choice(replace(losses, values=values)).single_forecaster == "season"
    few = losses.select(np.flatnonzero(losses.origins > last - HORIZON))
    assert check_choice(few) is None


def test_where_a_choice_would_not_have_paid_the_panels_best_speaks_for_all():
    series, origins = np.repeat(np.arange(12), 24), np.tile(np.arange(24), 12)
    early = origins < 12
    turns = np.where((series % 2 == 0) == early, 1.0, 2.0)  # what is best of a series early is worst of it late
    values = np.stack([np.full(len(series), 1.45), turns, 3.0 - turns], axis=1)
    ids = tuple(f"s{b:02d}" for b in range(12))
    losses = Losses(("steady", "even", "odd"), values, ids, series, origins, 4, "mase", 0, {})
    table, checked = trusted_champions(losses)
    assert not checked.pays
    assert checked.p_value < 0.05
    assert set(table.champions) == {"steady"}
    assert table.weights.shape == (12, 3)
    kind = np.where((series % 2 == 0)[:, None], [1.0, 2.0], [2.0, 1.0])
    lasting = Losses(("even", "odd"), kind, ids, series, origins, 4, "mase", 0, {})
    table, checked = trusted_champions(lasting)
    assert checked.pays
    assert table.champions == ("even", "odd") * 6
