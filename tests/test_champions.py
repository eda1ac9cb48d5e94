"""Who speaks for each series: by evidence, from before, and with somebody else at hand."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from evaluation_doubles import HORIZON, STEPS, Repeat, waves
from test_significance import losses_of

from forecaster.errors import ConfigError, DataError
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import backtest, check_no_look_ahead, rolling_origins
from forecaster.evaluation.champions import Champions, ChampionTable, choose_champions
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.losses import paired_losses
from forecaster.evaluation.scores import score
from forecaster.evaluation.shrinkage import expected_losses
from forecaster.forecast import Forecast
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.5, 0.9)


def losses_by(effects, noise, origins=8, seed=0, **options):
    """Losses of forecasters whose true log losses on each series are `effects` [S, F], noisy from origin to origin."""
    series_count = len(effects)
    series, at = np.repeat(np.arange(series_count), origins), np.tile(np.arange(origins), series_count)
    wobble = noise * np.random.default_rng(seed).normal(size=(len(series), np.shape(effects)[1]))
    return losses_of(np.exp(np.asarray(effects)[series] + wobble), series, at, **options)


def two_camps(series=40, gap=0.5):
    """Every other series is better served by b than by a; on all together a is a little better."""
    effects = np.zeros((series, 2))
    effects[1::2, 0], effects[::2, 1] = gap, gap + 0.1
    return effects


# -- evidence --------------------------------------------------------------------------------------------------------------


def test_with_clear_evidence_each_series_gets_its_own_best():
    table = choose_champions(losses_by(two_camps(), noise=0.05))
    assert table.forecasters[0] == "a"
    assert table.champions == ("a", "b") * 20


def test_with_much_noise_all_fall_to_the_best_of_the_panel():
    own, chosen = [], []
    for seed in range(5):
        losses = losses_by(np.tile([0.0, 0.15], (200, 1)), noise=0.8, seed=seed)
        own.append((losses.by_series()[1].argmin(axis=1) == 1).mean())  # what the series say of themselves
        chosen.append(choose_champions(losses).champions.count("b") / 200)
    assert np.mean(own) > 0.3
    assert np.mean(chosen) < 0.03


def test_one_origin_is_no_evidence_against_the_panel():
    table = choose_champions(losses_by(two_camps(), noise=0.0, origins=1))
    assert set(table.champions) == {"a"}
    assert np.unique(table.weights.round(6)).size == 4  # an average uses it all the same


def test_expected_losses_lie_between_what_the_series_and_what_the_panel_says():
    found = expected_losses(losses_by(two_camps(gap=0.3), noise=0.3))
    own = np.log(found.seen[:, 1] / found.seen[:, 0])
    panel = math.log(found.seen[:, 1].mean() / found.seen[:, 0].mean())
    expected = np.log(found.losses[:, 1] / found.losses[:, 0])
    share = (expected - panel) / (own - panel)
    np.testing.assert_allclose(share, share[0], rtol=1e-9)  # as many origins of every series
    assert 0.1 < share[0] < 1
    np.testing.assert_array_equal(found.losses[:, 0], found.seen[:, 0])


def test_the_share_of_evidence_is_how_much_of_the_variance_is_between_series():
    rng = np.random.default_rng(2)
    effects = np.zeros((4_000, 2))
    effects[:, 1] = rng.normal(0.2, 0.1, 4_000)
    found = expected_losses(losses_by(effects, noise=0.1, origins=4))
    own, expected = (np.log(part[:, 1] / part[:, 0]) for part in (found.seen, found.losses))
    share = np.polyfit(own, expected, 1)[0]
    assert share == pytest.approx(0.1**2 / (0.1**2 + 2 * 0.1**2 / 4), abs=0.03)  # tau2 / (tau2 + v), v of two noises


def test_a_series_with_more_origins_is_trusted_more():
    series = np.r_[np.repeat(np.arange(40), 8), np.repeat(np.arange(40, 80), 2)]
    origins = np.r_[np.tile(np.arange(8), 40), np.tile(np.arange(2), 40)]
    wobble = 0.4 * np.random.default_rng(3).normal(size=(len(series), 2))
    found = expected_losses(losses_of(np.exp(two_camps(80)[series] + wobble), series, origins))
    panel = math.log(found.seen[:, 1].mean() / found.seen[:, 0].mean())
    own, expected = (np.log(part[:, 1] / part[:, 0]) for part in (found.seen, found.losses))
    share = (expected - panel) / (own - panel)
    assert share[:40].min() > share[40:].max()


# -- edges -----------------------------------------------------------------------------------------------------------------


def test_one_series_has_its_own_best_and_one_forecaster_has_no_rival():
    alone = choose_champions(losses_by([[0.5, 0.0]], noise=0.01))
    assert alone.champions == ("b",)
    single = choose_champions(losses_by(np.zeros((5, 1)), noise=0.3))
    assert single.champions == ("a",) * 5
    assert single.to_frame()["runner_up"].isna().all()
    assert (single.weights == 1).all()


def test_equal_and_perfect_forecasters_are_the_panels_best():
    series, origins = np.repeat(np.arange(6), 4), np.tile(np.arange(4), 6)
    equal = choose_champions(losses_of(np.ones((24, 3)), series, origins))
    assert set(equal.champions) == {"a"}
    np.testing.assert_allclose(equal.weights, 1 / 3)
    perfect = choose_champions(losses_of(np.zeros((24, 2)), series, origins))
    assert set(perfect.champions) == {"a"}
    better = choose_champions(losses_of(np.tile([1.0, 0.0], (24, 1)), series, origins))
    assert set(better.champions) == {"b"}
    assert (better.weights[:, 0] > 0.999).all()


def test_nothing_scored_is_nothing_to_choose_by():
    with pytest.raises(DataError, match=r"no forecaster was scored on any origin; .* Hold back more origins\."):
        choose_champions(losses_of(np.zeros((0, 2))))


def test_a_shuffle_of_series_or_forecasters_changes_nothing():
    losses = losses_by(two_camps(), noise=0.4, names=("a", "b"))
    order = np.random.default_rng(1).permutation(40)
    rows = np.concatenate([np.flatnonzero(losses.series == b) for b in order])
    ids = tuple(losses.ids[b] for b in order)
    shuffled = replace(
        losses, ids=ids, series=np.repeat(np.arange(40), 8), values=losses.values[rows], origins=losses.origins[rows]
    )
    swapped = replace(losses, forecasters=("b", "a"), values=losses.values[:, ::-1])
    plain = choose_champions(losses).to_frame().set_index("unique_id")
    for other in (shuffled, swapped):
        pd.testing.assert_frame_equal(choose_champions(other).to_frame().set_index("unique_id").loc[plain.index], plain)


# -- the artefact ----------------------------------------------------------------------------------------------------------


def test_the_table_goes_through_parquet_and_says_who_came_second(tmp_path):
    table = choose_champions(losses_by(two_camps(), noise=0.05))
    table.to_frame().to_parquet(tmp_path / "champions.parquet", index=False)
    frame = pd.read_parquet(tmp_path / "champions.parquet")
    assert list(frame.columns[:7]) == ["unique_id", "forecaster", "loss", "runner_up", "margin", "origins", "through"]
    assert frame.loc[0, "through"] == 7 + losses_by(two_camps(), noise=0.05).horizon  # the last origin's last lead
    assert frame.loc[0, ["forecaster", "runner_up", "origins"]].tolist() == ["a", "b", 8]
    assert (frame["margin"] > 0).all()
    back = ChampionTable.from_frame(frame)
    assert (back.ids, back.forecasters, back.champions) == (table.ids, table.forecasters, table.champions)
    np.testing.assert_array_equal(back.weights, table.weights)
    np.testing.assert_array_equal(back.through, table.through)


def test_a_table_that_is_none_is_refused():
    frame = choose_champions(losses_by(two_camps(), noise=0.05)).to_frame()
    with pytest.raises(DataError, match=r"no column 'weight_of_b'; .* Choose them again\."):
        ChampionTable.from_frame(frame.drop(columns="weight_of_b"))
    with pytest.raises(DataError, match=r"no column loss_of_…"):
        ChampionTable.from_frame(frame[frame.columns[:7]])
    with pytest.raises(DataError, match=r"has no row"):
        ChampionTable.from_frame(frame.iloc[:0])
    first = str(frame["unique_id"].iloc[0])
    with pytest.raises(DataError, match=rf"series '{first}' has two rows; expected a row each.*Choose them again"):
        ChampionTable.from_frame(pd.concat([frame, frame.iloc[:1]]))
    for number in (np.nan, np.inf, -1.0):
        changed = frame.copy()
        changed.loc[0, "loss_of_b"] = number
        with pytest.raises(DataError, match=rf"series '{first}' has a loss or weight that is no number of 0 or more"):
            ChampionTable.from_frame(changed)


# -- the forecaster --------------------------------------------------------------------------------------------------------

FORECASTERS = {one.name: one for one in (Repeat("naive"), Repeat("seasonal", 4), Repeat("drifting", 4, shift=5.0))}


def mixed(length=80):
    """Six series with a season, and six that step up and down at random, which their last value foretells best."""
    rng = np.random.default_rng(8)
    walks = np.cumsum(rng.normal(0, 2, (6, length)), axis=1) + 50
    seasons = 30 + 6 * np.sin(np.arange(length) * np.pi / 2) + 0.5 * rng.normal(size=(6, length))
    ids = tuple(f"s{b:02d}" for b in range(12))
    return Panel(ids, np.zeros(12, int), length * np.arange(13), np.concatenate([*seasons, *walks]), STEPS)


def chosen_on(panel, forecasters=FORECASTERS, holdout=24):
    origins = rolling_origins(panel, holdout, horizon=HORIZON, stride=HORIZON)
    made = backtest(list(forecasters.values()), panel, horizon=HORIZON, quantiles=QUANTILES, origins=origins)
    truth = actuals_matrix(next(iter(made.forecasts.values())), panel)
    scores = score(made, history=panel, actuals=truth, season_length=1, reference="naive")
    return choose_champions(paired_losses(rank(scores)))


def predict(champions, panel):
    return champions.predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel))


def test_each_series_is_forecast_by_its_champion():
    panel = mixed()
    table = chosen_on(panel)
    assert table.champions[:6] == ("seasonal",) * 6
    assert table.champions[6:].count("naive") >= 4
    said = predict(Champions(table, FORECASTERS), panel)
    for row, name in enumerate(table.champions):
        np.testing.assert_array_equal(said.values[row], predict(FORECASTERS[name], panel).values[row])
    assert said.notes == {}


def test_champions_beat_every_single_forecaster_where_series_differ():
    panel = mixed(120)
    history = panel.drop_last(HORIZON)
    table = chosen_on(history)
    everyone = [*FORECASTERS.values(), Champions(table, FORECASTERS), Champions(table, FORECASTERS, is_combined=True)]
    origins = rolling_origins(panel, HORIZON, horizon=HORIZON, stride=1)
    made = backtest(everyone, panel, horizon=HORIZON, quantiles=QUANTILES, origins=origins, verify=True)
    assert made.failures == {}
    truth = actuals_matrix(made.forecasts["naive"], panel)
    board = rank(score(made, history=history, actuals=truth, season_length=1, reference="naive"))
    best_single = min(board.row(name).mase for name in FORECASTERS)
    assert board.row("champions").mase < best_single
    assert board.row("combination").mase < best_single


def test_values_after_the_choice_change_neither_choice_nor_forecast():
    panel = mixed()
    history = panel.drop_last(10)
    values = panel.values.copy()
    within = np.arange(len(values)) % 80
    values[within >= 70] *= -3
    other = replace(panel, values=values).drop_last(10)
    table, again = chosen_on(history), chosen_on(other)
    pd.testing.assert_frame_equal(table.to_frame(), again.to_frame(), check_exact=True)
    for is_combined in (False, True):
        champions, origins = Champions(table, FORECASTERS, is_combined), rolling_origins(panel, 10, horizon=4, stride=3)
        check_no_look_ahead(champions, panel, horizon=HORIZON, quantiles=QUANTILES, origins=origins)


def test_a_champion_that_peeks_is_handed_nothing_to_see():
    panel = mixed()
    peeking = FORECASTERS | {"seasonal": Repeat("seasonal", 4, peeks=True)}
    champions, origins = Champions(chosen_on(panel), peeking), Origins(np.arange(12), np.full(12, 60))
    check_no_look_ahead(champions, panel, horizon=HORIZON, quantiles=QUANTILES, origins=origins)


@pytest.mark.parametrize("is_combined", [False, True])
def test_a_forecaster_without_numbers_is_never_listened_to(is_combined):
    panel = mixed()
    table = chosen_on(panel)
    silent = FORECASTERS | {"seasonal": Repeat("seasonal", 4, silent_on="s02")}
    said = predict(Champions(table, silent, is_combined), panel)
    assert np.isfinite(said.values).all()
    whole = predict(Champions(table, FORECASTERS, is_combined), panel)
    others = [row for row in range(12) if row != 2]
    np.testing.assert_array_equal(said.values[others], whole.values[others])
    assert "seasonal gave no number" in said.notes["s02"]


def test_a_champion_that_is_missing_or_refuses_leaves_its_series_to_the_best_of_the_panel():
    panel = mixed()
    table = chosen_on(panel)
    best = table.forecasters[0]
    gone = next(name for name in table.champions if name != best)
    refusing = FORECASTERS | {gone: Repeat(gone, raises="not today")}
    absent = {name: one for name, one in FORECASTERS.items() if name != gone}
    for given in (refusing, absent):
        said = predict(Champions(table, given), panel)
        for row, name in enumerate(table.champions):
            speaks = best if name == gone else name
            np.testing.assert_array_equal(said.values[row], predict(FORECASTERS[speaks], panel).values[row])
            if name == gone:
                assert said.notes[panel.ids[row]] == f"{gone} gave no number; {best} speaks for it"
    with pytest.raises(ConfigError, match=r"chosen among .*, and none of these is given; .* Choose champions among"):
        Champions(table, {"stranger": Repeat("stranger")})


def test_where_nobody_has_a_number_there_is_none():
    panel = mixed()
    silent = {name: replace(one, silent_on="s03") for name, one in FORECASTERS.items()}
    for is_combined in (False, True):
        said = predict(Champions(chosen_on(panel), silent, is_combined), panel)
        assert np.isnan(said.values).any(axis=(1, 2)).tolist() == [unique_id == "s03" for unique_id in panel.ids]


def test_a_series_that_was_not_chosen_for_is_the_panels_best():
    panel, table = mixed(), chosen_on(mixed())
    stranger = waves(2, prefix="new")
    said = predict(Champions(table, FORECASTERS), stranger)
    np.testing.assert_array_equal(said.values, predict(FORECASTERS[table.forecasters[0]], stranger).values)
    mean = table.weights.mean(axis=0)
    expected = sum(w * predict(FORECASTERS[name], stranger).values for w, name in zip(mean, table.forecasters, strict=True))
    np.testing.assert_allclose(predict(Champions(table, FORECASTERS, True), stranger).values, expected / mean.sum())
    assert panel.ids[0] not in stranger.ids


def test_a_combination_averages_quantiles_and_they_do_not_cross():
    panel, table = mixed(), chosen_on(mixed())
    said = predict(Champions(table, FORECASTERS, is_combined=True), panel)
    parts = [predict(FORECASTERS[name], panel).values for name in table.forecasters]
    np.testing.assert_allclose(said.values, np.einsum("sf,fslq->slq", table.weights, parts), rtol=1e-12)
    assert (np.diff(said.values, axis=-1) >= 0).all()


@dataclass(frozen=True)
class Counting:
    """Counts the rows it is asked for."""

    name: str
    asked: list

    def predict(self, panel, horizon, *, quantiles, origins):
        self.asked.append(len(origins))
        return Repeat(self.name).predict(panel, horizon, quantiles=quantiles, origins=origins)


def test_a_champion_is_asked_for_its_own_series_only():
    panel, table = mixed(), chosen_on(mixed())
    counting = {name: Counting(name, []) for name in FORECASTERS}
    assert isinstance(predict(Champions(table, counting), panel), Forecast)
    for name, one in counting.items():
        assert one.asked == ([table.champions.count(name)] if name in table.champions else [])
