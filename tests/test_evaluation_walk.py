"""One walk through time against a forecast from each origin."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from evaluation_doubles import HORIZON, STEPS, waves

from forecaster.errors import ConfigError, StateError
from forecaster.evaluation import answers
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.answers import score_walk
from forecaster.evaluation.backtest import backtest, rolling_origins
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.metrics import METRICS, SCORE_QUANTILES
from forecaster.evaluation.scores import score, scores_by_lead, scores_by_origin, scores_by_series
from forecaster.evaluation.walk import origin_blocks, up_to_first_origin, walk_forward
from forecaster.forecast import Forecast, warm_state
from forecaster.frequency import Frequency
from forecaster.models.checkpoint import recurrent_from
from forecaster.models.network import ModelConfig, Network
from forecaster.models.scaler import scaler_for
from forecaster.series import Origins, Panel


@dataclass(frozen=True)
class Smoothing:
    """Simple smoothing as a state and a step, and as a forecast from each origin that walks all of the past again."""

    name: str
    alpha: float
    raises_at: int = -1
    silent_below: float = -np.inf
    horizon: int = HORIZON
    quantiles: tuple = SCORE_QUANTILES
    fingerprint: str = "smoothing"
    state_size: int = 2

    def initial_state(self, count):
        return np.zeros((count, 2), dtype=np.float32)

    def step(self, state, y, position):
        assert not (position == self.raises_at).any(), "a position it cannot bear"
        level = np.where(state[:, 1] == 0, y, state[:, 0] + self.alpha * (y - state[:, 0]))
        after = np.stack([level, state[:, 1] + 1], axis=1)
        return np.where(np.isnan(y)[:, None], state, after).astype(np.float32)

    def forecast(self, state, position):
        values = state[:, 0, None, None] + np.array(self.quantiles) - 0.5 + np.zeros((1, self.horizon, 1))
        values[(state[:, 1] == 0) | (state[:, 0] < self.silent_below)] = np.nan
        return values

    def predict(self, panel, horizon, *, quantiles, origins):
        values = np.empty((len(origins), horizon, len(quantiles)))
        for row, (b, known) in enumerate(zip(origins.index, origins.known, strict=True)):
            state = self.initial_state(1)
            for t in range(known):
                state = self.step(state, panel.series(b)[t : t + 1], panel.starts[b : b + 1] + t)
            values[row] = self.forecast(state, None)[:, :horizon]
        return Forecast(tuple(panel.ids[b] for b in origins.index), origins.positions(panel), quantiles, values, STEPS, {})


def ragged(series=7):
    """Series of different lengths, some with gaps, one that begins with missing values."""
    panel = waves(series, length=30)
    values = panel.values.copy()
    values[[1, 40, 41, 100]] = np.nan
    values[panel.offsets[3] : panel.offsets[3] + 24] = np.nan
    return replace(panel, values=values)


def walked(stepper, panel, origins, **options):
    """The rows of all blocks, put back in the order of the origins."""
    blocks = list(walk_forward(stepper, panel, origins, **options))
    values = np.full((len(origins), stepper.horizon, len(stepper.quantiles)), -1.0)
    for rows, forecast in zip(origin_blocks(origins), blocks, strict=True):
        assert forecast.ids == tuple(panel.ids[b] for b in origins.index[rows])
        np.testing.assert_array_equal(forecast.origins, origins.positions(panel)[rows])
        values[rows] = forecast.values
    return values


@pytest.mark.parametrize("stride", [1, 3])
def test_a_walk_forecasts_what_predict_does_at_every_origin(stride):
    panel, stepper = ragged(), Smoothing("s", 0.3)
    origins = rolling_origins(panel, 14, horizon=HORIZON, stride=stride)
    expected = stepper.predict(panel, HORIZON, quantiles=SCORE_QUANTILES, origins=origins)
    np.testing.assert_array_equal(walked(stepper, panel, origins), expected.values)


def test_origins_in_any_order_and_of_some_series_only_are_answered_in_their_rows():
    panel, stepper = ragged(), Smoothing("s", 0.3)
    origins = Origins(np.array([5, 2, 5, 6, 2, 5]), np.array([30, 9, 4, 30, 1, 29]))
    expected = stepper.predict(panel, HORIZON, quantiles=SCORE_QUANTILES, origins=origins)
    np.testing.assert_array_equal(walked(stepper, panel, origins), expected.values)
    assert list(walk_forward(stepper, panel, Origins(np.zeros(0, int), np.zeros(0, int)))) == []


def test_a_walk_from_kept_state_goes_on_as_if_it_had_begun_at_the_beginning():
    panel, stepper = ragged(), Smoothing("s", 0.3)
    origins = rolling_origins(panel.select([0, 2, 5]), 14, horizon=HORIZON, stride=2)
    origins = Origins(np.array([0, 2, 5])[origins.index], origins.known)
    state = warm_state(stepper, up_to_first_origin(panel, origins))
    kept = state.copy()
    np.testing.assert_array_equal(walked(stepper, panel, origins, state=state), walked(stepper, panel, origins))
    np.testing.assert_array_equal(state, kept)
    with pytest.raises(StateError, match=r"shape \(2, 2\); expected \(3, 2\), a row for each series that has an origin"):
        next(walk_forward(stepper, panel, origins, state=state[:2]))


def test_a_walk_of_a_network_is_its_predict_to_the_bit():
    panel, quantiles = replace(ragged(41), frequency=Frequency("D")), (0.1, 0.5, 0.9)
    scaler, config = scaler_for(panel, HORIZON), ModelConfig(hidden_size=8, head_size=8, members=1)
    network = Network(config, scaler, horizon=HORIZON, quantiles=quantiles)
    recurrent = recurrent_from(network, scaler, config, frequency=panel.frequency, horizon=HORIZON, quantiles=quantiles)
    origins = rolling_origins(panel, 14, horizon=HORIZON, stride=3)
    expected = recurrent.predict(panel, HORIZON, quantiles=quantiles, origins=origins).values
    np.testing.assert_array_equal(walked(recurrent, panel, origins), expected)
    state = recurrent.warm(up_to_first_origin(panel, origins))
    np.testing.assert_array_equal(walked(recurrent, panel, origins, state=state), expected)


def test_a_stepper_is_not_handed_what_comes_after_its_last_origin():
    panel = ragged()
    origins = Origins(np.arange(len(panel)), panel.lengths - 3)
    last = panel.offsets[1:] - 3
    values = panel.values.copy()
    values[last] = 1e9
    stepper = Smoothing("s", 0.3)
    np.testing.assert_array_equal(walked(stepper, panel, origins), walked(stepper, replace(panel, values=values), origins))


def assert_same_frames(one, other):
    for frame in (scores_by_series, scores_by_lead, scores_by_origin):
        a, b = frame(one), frame(other)
        assert list(a["forecaster"]) == list(b["forecaster"])
        np.testing.assert_allclose(a[list(METRICS)], b[list(METRICS)], rtol=1e-12, atol=1e-12)  # sums in another order


@pytest.mark.parametrize("at_once", [2, 4_096])
def test_a_walk_scores_what_a_backtest_does(at_once, monkeypatch):
    monkeypatch.setattr(answers, "SERIES_AT_ONCE", at_once)
    panel = ragged()
    origins = rolling_origins(panel, 16, horizon=HORIZON, stride=1)
    both = [Smoothing("naive2", 1.0), Smoothing("slow", 0.1, silent_below=25.0)]
    made = backtest(both, panel, horizon=HORIZON, quantiles=SCORE_QUANTILES, origins=origins)
    truth = actuals_matrix(made.forecasts["slow"], panel)
    expected = score(made, history=panel, actuals=truth, season_length=4)
    calls = []
    scores = score_walk(
        {one.name: one for one in both},
        panel,
        origins=origins,
        horizon=HORIZON,
        quantiles=SCORE_QUANTILES,
        season_length=4,
        progress=lambda *call: calls.append(call),
    )
    assert_same_frames(scores, expected)
    assert calls[-1] == (len(origins), len(origins), "")
    for name in ("naive2", "slow"):
        ours, theirs = scores.tallies[name], expected.tallies[name]
        assert (ours.missing, ours.skipped) == (theirs.missing, theirs.skipped)
    assert scores.tallies["slow"].missing > 0
    assert rank(scores).winner == rank(expected).winner


def test_scores_of_a_walk_from_kept_state_are_those_of_the_whole_walk(monkeypatch):
    monkeypatch.setattr(answers, "SERIES_AT_ONCE", 2)
    panel, stepper = waves(3, length=30), Smoothing("naive2", 0.4)
    origins = rolling_origins(panel, 10, horizon=HORIZON, stride=1)
    state = warm_state(stepper, up_to_first_origin(panel, origins))
    assert_same_frames(walk_scores([stepper], states={"naive2": state}), walk_scores([stepper]))
    with pytest.raises(StateError, match=r"shape \(2, 2\); expected \(3, 2\)"):
        walk_scores([stepper], states={"naive2": state[:2]})


def walk_scores(steppers, panel=None, **options):
    panel = panel or waves(3, length=30)
    origins = rolling_origins(panel, 10, horizon=HORIZON, stride=1)
    options = {"horizon": HORIZON, "quantiles": SCORE_QUANTILES, "season_length": 1} | options
    return score_walk({one.name: one for one in steppers}, panel, origins=origins, **options)


def test_a_stepper_that_raises_half_way_has_failed_and_costs_the_others_nothing():
    plain = walk_scores([Smoothing("naive2", 1.0)])
    scores = walk_scores([Smoothing("naive2", 1.0), Smoothing("broken", 0.2, raises_at=25)])
    assert set(scores.tallies) == {"naive2"}
    assert "a position it cannot bear" in str(scores.failures["broken"])
    assert_same_frames(scores, plain)


def test_a_stepper_that_does_not_reach_the_horizon_or_a_quantile_is_refused():
    with pytest.raises(ConfigError, match=r"short forecasts 2 steps, and 4 are to be scored"):
        walk_scores([Smoothing("short", 0.5, horizon=2)])
    with pytest.raises(ConfigError, match=r"few was asked for quantile 0\.025; it forecasts 0\.5"):
        walk_scores([Smoothing("few", 0.5, quantiles=(0.5,))])


# -- stability --------------------------------------------------------------------------------------------------------------


def test_revision_is_the_mean_change_of_what_was_said_of_a_position():
    panel = waves(1, length=30)
    stepper = Smoothing("slow", 0.4)
    origins = rolling_origins(panel, 10, horizon=HORIZON, stride=2)
    scores = walk_scores([Smoothing("naive2", 1.0), stepper], panel)
    strided = score_walk(
        {"slow": stepper}, panel, origins=origins, horizon=HORIZON, quantiles=SCORE_QUANTILES, season_length=1, reference="slow"
    )
    for given, rows in ((scores, rolling_origins(panel, 10, horizon=HORIZON, stride=1)), (strided, origins)):
        said = stepper.predict(panel, HORIZON, quantiles=SCORE_QUANTILES, origins=rows)
        changes = [
            abs(said.median[r, lead] - said.median[r - 1, lead + gap])
            for r in range(1, len(rows))
            for gap in [int(rows.known[r] - rows.known[r - 1])]
            for lead in range(HORIZON - gap)
        ]
        frame = scores_by_series(given).set_index("forecaster")
        assert frame.loc["slow", "revision"] == pytest.approx(np.mean(changes) / given.scale[0], rel=1e-12)


def test_what_never_changes_its_mind_has_no_revision_and_origins_far_apart_have_none_to_show():
    flat = Panel(("a",), np.array([0]), np.array([0, 40]), np.r_[np.arange(20.0), np.full(20, 7.0)], STEPS)
    scores = walk_scores([Smoothing("naive2", 1.0)], flat)
    assert rank(scores).row("naive2").revision == 0
    assert np.isnan(scores_by_lead(scores)["revision"].iloc[-1])  # nothing was said of it before
    apart = rolling_origins(flat, 12, horizon=HORIZON, stride=HORIZON)
    options = {"horizon": HORIZON, "quantiles": SCORE_QUANTILES, "season_length": 1}
    assert np.isnan(rank(score_walk({"naive2": Smoothing("naive2", 1.0)}, flat, origins=apart, **options)).rows[0].revision)
