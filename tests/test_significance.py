"""What is better than luck, and what cannot be told: against statsmodels, arch, scipy and textbook figures."""

import json
import math
import warnings

import numpy as np
import pytest
from evaluation_doubles import HORIZON, Repeat, compare, waves
from scipy import stats
from statsmodels.stats.multitest import multipletests

from forecaster.evaluation.losses import Losses, paired_losses
from forecaster.evaluation.significance import (
    conclusion,
    confidence_p_values,
    diebold_mariano,
    mean_ranks,
    significance,
    significance_by_series,
    significance_summary,
)


def losses_of(values, series=None, origins=None, names=None, horizon=1):
    """Losses [R, F], one row a series unless said otherwise."""
    values = np.asarray(values, dtype=float)
    series = np.arange(len(values)) if series is None else np.asarray(series)
    origins = np.zeros(len(values), dtype=int) if origins is None else np.asarray(origins)
    names = names or tuple("abcdefgh"[: values.shape[1]])
    ids = tuple(f"s{b:04d}" for b in range(int(series.max(initial=-1)) + 1))
    return Losses(names, values, ids, series, origins, horizon, "owa", 0, {})


def noisy(units=60, shifts=(0.0, 0.0, 1.0), seed=4):
    rng = np.random.default_rng(seed)
    return 10 + rng.normal(size=(units, 1)) + 0.5 * rng.normal(size=(units, len(shifts))) + np.array(shifts)


# -- losses ----------------------------------------------------------------------------------------------------------------


def test_losses_mean_to_the_measure_of_the_leaderboard():
    leaderboard = compare([Repeat("naive2"), Repeat("gru", 4, shift=1.0), Repeat("smoothing", 4)], waves())
    losses = paired_losses(leaderboard)
    assert losses.forecasters == ("naive2", "gru", "smoothing")
    means = dict(zip(losses.forecasters, losses.by_series()[1].mean(axis=0), strict=True))
    for name, mean in means.items():
        assert mean == pytest.approx(leaderboard.row(name).owa, rel=1e-9)


def test_who_failed_or_hardly_answered_takes_no_part_and_takes_no_rows_from_the_others():
    silent = [Repeat(f"silent_{k}", 4, silent_on=f"s00{k}") for k in range(2)]
    forecasters = [Repeat("gru", 4), Repeat("broken", raises="no."), *silent]
    leaderboard = compare(forecasters, waves(3), reference="nobody")
    losses = paired_losses(leaderboard)
    assert losses.absent == {"broken": "failed"}
    assert (len(losses.values), losses.dropped) == (3, 6)  # three origins of each series; two were not answered by all
    mute = compare([Repeat("gru", 4), Repeat("silent", 4, silent_on="s000")], waves(1), reference="nobody")
    assert paired_losses(mute).absent == {"silent": "gave too few numbers"}
    assert paired_losses(mute).forecasters == ("gru",)


def test_the_order_of_the_rows_changes_no_loss():
    leaderboard = compare([Repeat("naive2"), Repeat("gru", 4)], waves(), stride=1)
    losses = paired_losses(leaderboard)
    assert losses.overlap == HORIZON
    assert (np.diff(losses.series) >= 0).all()
    assert paired_losses(leaderboard, ["gru"]).forecasters == ("gru",)


# -- two forecasters -------------------------------------------------------------------------------------------------------


def test_diebold_mariano_over_independent_units_is_the_paired_t_test():
    values = noisy(25)
    ours = diebold_mariano(values[:, 2] - values[:, 0])
    assert ours == pytest.approx(stats.ttest_rel(values[:, 2], values[:, 0]).pvalue, rel=1e-9)


def test_equal_forecasters_are_called_different_as_often_as_was_promised():
    rng = np.random.default_rng(1)
    called = [diebold_mariano(rng.normal(size=12)) < 0.05 for _ in range(2_000)]
    assert np.mean(called) == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / 2_000))


def test_differences_without_variance_have_an_answer():
    assert diebold_mariano(np.zeros(20)) == 1
    assert diebold_mariano(np.full(20, 0.1 + 0.2)) == 0
    assert math.isnan(diebold_mariano(np.ones(9)))


# -- several ---------------------------------------------------------------------------------------------------------------


def test_the_confidence_set_is_that_of_arch():
    from arch.bootstrap import MCS

    values = noisy(40, (0.0, 0.05, 0.3, 2.0))
    theirs = MCS(values, size=0.05, reps=2_000, block_size=1, seed=7)
    theirs.compute()
    np.testing.assert_array_equal(confidence_p_values(values, seed=7), theirs.pvalues["Pvalue"].sort_index())


def test_forecasters_with_equal_losses_share_their_place_in_the_confidence_set():
    values = noisy(40, (0.0, 0.0, 3.0))
    twice = confidence_p_values(values[:, [0, 1, 0, 2, 2]])
    assert twice[0] == twice[2] > 0.05
    assert twice[3] == twice[4] < 0.05
    np.testing.assert_array_equal(twice[[0, 1, 3]], confidence_p_values(values))


def test_a_perfect_forecaster_and_one_that_is_always_off_by_the_same_are_told_apart():
    assert confidence_p_values(np.tile([0.0, 1.0, 0.0], (20, 1))).tolist() == [1, 0, 1]
    assert np.isnan(confidence_p_values(np.tile([0.0, 1.0], (9, 1)))).all()


def test_very_many_units_are_grouped_and_tell_the_same():
    values = noisy(12_000, (0.0, 0.0, 0.05), seed=1)
    assert (confidence_p_values(values) > 0.05).tolist() == [True, True, False]


@pytest.mark.parametrize(("count", "q"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_that_of_the_textbook(count, q):
    distance = mean_ranks(np.random.default_rng(0).normal(size=(14, count)))[2]
    assert distance == pytest.approx(q * math.sqrt(count * (count + 1) / (6 * 14)), rel=1e-3)  # Demšar 2006, table 5a


def test_mean_ranks_count_who_was_better_ties_by_half():
    values = np.round(noisy(20), 0)
    slow = [
        [1 + sum(row[g] < row[f] for g in range(3)) + sum(row[g] == row[f] for g in range(3) if g != f) / 2 for f in range(3)]
        for row in values
    ]
    ranks, p_value, _ = mean_ranks(values)
    np.testing.assert_allclose(ranks, np.mean(slow, axis=0))
    assert p_value == pytest.approx(stats.friedmanchisquare(*values.T).pvalue)


def test_ranks_of_ties_of_two_and_of_few_units_have_an_answer():
    ranks, p_value, _ = mean_ranks(np.ones((12, 3)))
    assert (ranks.tolist(), p_value) == ([2, 2, 2], 1)
    two = np.tile([1.0, 2.0], (12, 1))
    assert mean_ranks(two)[1] == pytest.approx(2 / 2**12)
    assert np.isnan([*mean_ranks(two[:9])[0], *mean_ranks(two[:9])[1:]]).all()
    assert np.isnan(mean_ranks(two[:, :1])[1])


# -- what a reader may conclude --------------------------------------------------------------------------------------------


def test_the_conclusion_says_what_was_shown_and_what_was_not():
    found = significance(losses_of(noisy(), names=("gru", "arima", "seasonal_naive")))
    best = found.forecasters[0]
    level = ({"gru", "arima"} - {best}).pop()
    assert found.beaten == ("seasonal_naive",)
    assert found.confidence_set == (best, level)
    assert conclusion(found) == (
        f"{best} is better than seasonal_naive beyond luck (p below 0.001); no difference between {best} and {level} could be "
        f"shown, over 60 series. The best is among {best} and {level} (95 % confidence)."
    )


def test_pairs_are_corrected_for_how_many_there_are():
    values = noisy(30, (0.0, 0.2, 0.25, 0.3))
    found = significance(losses_of(values))
    raw = [diebold_mariano(values[:, "abcd".index(n)] - values[:, "abcd".index(found.forecasters[0])]) for n in found.p_values]
    np.testing.assert_allclose(list(found.p_values.values()), multipletests(raw, method="holm")[1])


def test_a_season_of_origins_of_few_series_counts_those_that_share_no_value():
    series, origins = np.repeat([0, 1, 2], 60), np.tile(np.arange(60), 3)
    values = np.tile(noisy(60, (0.0, 2.0)), (3, 1))
    alone = significance(losses_of(values, series, origins))
    assert (alone.unit, alone.units, alone.beaten) == ("origins", 60, ("b",))
    shared = significance(losses_of(values, series, origins, horizon=6))
    assert (shared.units, shared.beaten) == (10, ("b",))
    few = significance(losses_of(values, series, origins, horizon=24))
    assert few.units == 3
    assert conclusion(few) == "3 origins: too few to tell forecasters from luck; 10 are needed."
    assert few.confidence_set == ("a", "b")
    assert significance(losses_of(values, series, origins), unit="series").units == 3


def test_one_or_no_forecaster_leaves_nothing_to_tell():
    assert conclusion(significance(losses_of(noisy(20)[:, :1]))) == "Only a could be scored, so there is nothing to tell apart."
    assert conclusion(significance(losses_of(np.zeros((0, 0))))).startswith("No forecaster could be scored")
    one = conclusion(significance(losses_of([[1.0, 2.0]])))
    assert one == "1 origin: too few to tell forecasters from luck; 10 are needed."


def test_equal_forecasters_differ_in_nothing():
    values = noisy(20)[:, [0, 0, 0]]
    found = significance(losses_of(values))
    assert found.beaten == ()
    assert (found.ranks_p_value, set(found.p_values.values())) == (1, {1})
    assert conclusion(found) == (
        "no difference between a and b or c could be shown, over 20 series. The best is among a, b and c (95 % confidence)."
    )


def test_the_summary_is_json_with_null_for_what_is_undefined():
    few = json.loads(json.dumps(significance_summary(significance(losses_of(noisy(3)))), allow_nan=False))
    assert (few["units"], few["critical_difference"], few["forecasters"][0]["p_value"]) == (1, None, None)
    many = significance_summary(significance(losses_of(noisy())))
    assert [row["in_confidence_set"] for row in many["forecasters"]] == [True, True, False]


def test_the_order_of_forecasters_and_series_changes_no_conclusion():
    values = noisy(30, (0.0, 0.3, 1.0))
    columns, rows = [2, 0, 1], np.random.default_rng(0).permutation(30)
    plain = significance(losses_of(values))
    other = significance(losses_of(values[rows][:, columns], names=tuple("abc"[f] for f in columns)))
    assert other.forecasters == plain.forecasters
    assert other.p_values == pytest.approx(plain.p_values)
    assert other.mean_ranks == pytest.approx(plain.mean_ranks)
    assert other.confidence_set == plain.confidence_set


# -- thousands of series ---------------------------------------------------------------------------------------------------


def test_of_a_thousand_series_without_a_difference_hardly_any_is_declared():
    rng = np.random.default_rng(5)
    series, origins = np.repeat(np.arange(1_000), 15), np.tile(np.arange(15), 1_000)
    values = rng.normal(5, 1, (15_000, 2))
    values[series < 100, 1] += 3  # a true difference in every tenth
    frame = significance_by_series(losses_of(values, series, origins), "a", "b")
    declared = frame["p_adjusted"] < 0.05
    assert declared[:100].mean() > 0.95
    assert declared[100:].sum() <= 0.1 * declared.sum()
    assert (frame["p_value"][100:] < 0.05).sum() > 20  # as many as luck gives, uncorrected
    assert (frame["origins"] == 15).all()


def test_a_series_with_too_few_origins_of_its_own_has_no_p_value():
    series = np.r_[np.zeros(12, int), np.ones(3, int)]
    origins = np.r_[np.arange(12), np.arange(3)]
    frame = significance_by_series(losses_of(noisy(15), series, origins), "a", "c")
    assert frame["p_value"].isna().tolist() == [False, True]
    assert frame["p_adjusted"].isna().tolist() == [False, True]
    empty = significance_by_series(losses_of(np.zeros((0, 2))), "a", "b")
    assert (len(empty), list(empty.columns)) == (0, ["unique_id", "difference", "origins", "p_value", "p_adjusted"])


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        significance(losses_of(np.tile([0.0, 1.0, 0.0], (20, 1))))
        significance(losses_of(np.zeros((20, 3))))
