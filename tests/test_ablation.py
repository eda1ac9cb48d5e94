"""What may be said of rungs: intervals over units and seeds, answers that they support, and the rung to use."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation_doubles import Repeat, scored, waves
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forecaster.ablation.answers import answers, recommendation
from forecaster.ablation.costs import step_costs
from forecaster.ablation.intervals import gain
from forecaster.ablation.ladder import Ladder, Rung, ladder_of, ladder_rows, remarks

RNG = np.random.default_rng(5)
SEEDS = (1, 2, 3)


def rung(name: str, cost: float) -> Rung:
    return Rung(name, 100, 10, 5, train_seconds=1.0, steps=(5, 5, 5), step_microseconds=cost)


def ladder(shifts: dict[str, tuple[float, float, float]], costs: dict[str, float], *, series: int = 12) -> Ladder:
    """A ladder of forecasters that are wrong by so much with each seed, beside one that repeats the season."""
    panel = waves(series=series)
    made = {f"{name} {seed}": shift for name, each in shifts.items() for seed, shift in zip(SEEDS, each, strict=True)}
    forecasters = [Repeat(label, season_length=4, shift=shift) for label, shift in made.items()]
    scores = scored([*forecasters, Repeat("plain", season_length=4, shift=2.0)], panel)
    return ladder_of(
        [rung(name, costs[name]) for name in shifts],
        {name: [scores.tallies[f"{name} {seed}"] for seed in SEEDS] for name in shifts},
        {"plain": scores.tallies["plain"]},
        seeds=SEEDS,
        of=scores,
    )


# -- intervals -----------------------------------------------------------------------------------------------------------------


def test_without_seeds_the_interval_is_that_of_the_t_test():
    ours = RNG.normal(0.9, 0.2, size=(40, 1))
    found = gain(ours, np.ones((40, 1)))
    low, high = stats.ttest_1samp(1 - ours[:, 0], 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_where_only_seeds_differ_the_interval_is_that_of_the_seeds():
    by_seed = np.array([0.90, 0.93, 0.87])
    found = gain(np.tile(by_seed, (40, 1)), np.ones((40, 1)))
    low, high = stats.ttest_1samp(1 - by_seed, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("units", "of_units", "of_seeds", "of_both"), [(30, 1.0, 0.0, 1.0), (30, 1.0, 0.3, 1.0), (100, 0.2, 1.0, 1.0)]
)
def test_the_interval_holds_the_truth_about_as_often_as_it_says(units, of_units, of_seeds, of_both):
    """600 draws: 95 % within two standard errors is 93.2 %; the estimate of three variances costs up to two more."""
    rng, held = np.random.default_rng(7), 0
    for _ in range(600):
        noise = (
            of_units * rng.normal(size=(units, 1)) + of_seeds * rng.normal(size=(1, 3)) + of_both * rng.normal(size=(units, 3))
        )
        found = gain(99.0 + noise, np.full((units, 1), 100.0))
        held += found.low <= 0.01 <= found.high
    assert held / 600 >= 0.915


def test_a_gain_does_not_depend_on_the_unit_of_the_losses():
    ours, theirs = RNG.uniform(1, 2, size=(20, 3)), RNG.uniform(1, 2, size=(20, 3))
    one, thousand = gain(ours, theirs), gain(1_000 * ours, 1_000 * theirs)
    assert (one.share, one.low, one.high) == pytest.approx((thousand.share, thousand.low, thousand.high))


def test_few_units_and_no_loss_leave_the_interval_open():
    assert not gain(np.ones((9, 3)), np.full((9, 3), 2.0)).is_known
    assert not gain(np.zeros((20, 3)), np.zeros((20, 3))).is_known


# -- the ladder ----------------------------------------------------------------------------------------------------------------


def test_a_rung_scores_the_mean_of_its_seeds():
    found = ladder({"gru": (0.1, 0.4, 1.0)}, {"gru": 1.0})
    alone = [ladder({"gru": (shift,) * 3}, {"gru": 1.0}) for shift in (0.1, 0.4, 1.0)]
    scores = [one.leaderboard.row("gru").mase for one in alone]
    assert found.leaderboard.row("gru").mase == pytest.approx(np.mean(scores))
    rows = {row["forecaster"]: row for row in ladder_rows(found)}
    assert rows["gru"]["by_seed"] == pytest.approx(scores)
    assert rows["gru"]["seed_deviation"] == pytest.approx(np.std(scores, ddof=1))
    assert rows["plain"]["by_seed"] == pytest.approx([found.leaderboard.row("plain").mase])


def test_the_gain_in_the_table_is_the_ratio_of_the_scores():
    found = ladder({"gru": (0.1, 0.4, 1.0), "smoothing": (0.5, 0.5, 0.6)}, {"gru": 1.0, "smoothing": 1.0})
    rows = {row["forecaster"]: row for row in ladder_rows(found)}
    best = rows[found.best.name]["mase"]
    assert rows["plain"]["gain_on_best"]["share"] == pytest.approx(1 - rows["plain"]["mase"] / best)


# -- answers -------------------------------------------------------------------------------------------------------------------


def said(question: str, found: Ladder, worth: float = 0.01) -> str:
    return next(one.text for one in answers(found, worth=worth) if one.question == question)


RESET = "Is the reset gate needed?"


def test_a_gate_that_helps_beyond_luck_is_needed():
    found = ladder({"gru": (0.1, 0.11, 0.1), "gru_no_reset": (2.0, 2.1, 2.0)}, {"gru": 1.0, "gru_no_reset": 0.5})
    assert said(RESET, found).startswith("Yes: the reset gate earns something: the MASE of gru is ")
    assert recommendation(found).text.startswith(
        "gru has the lowest mean loss, and no cheaper rung is shown to come within 1.0 %"
    )
    assert recommendation(found).rung == "gru"


def test_a_gate_that_does_harm_is_told():
    found = ladder({"gru": (2.0, 2.1, 2.0), "gru_no_reset": (0.1, 0.11, 0.1)}, {"gru": 1.0, "gru_no_reset": 0.5})
    assert said(RESET, found).startswith("No: the reset gate does harm: the MASE of gru is ")
    assert recommendation(found).text == "gru_no_reset has the lowest mean loss, and no rung is cheaper: use gru_no_reset."


def test_a_gate_that_earns_nothing_makes_room_for_the_cheaper_rung():
    found = ladder({"gru": (0.1, 0.1, 0.1), "gru_no_reset": (0.1, 0.1, 0.1001)}, {"gru": 1.3, "gru_no_reset": 1.0})
    assert said(RESET, found).startswith("No: the reset gate earns nothing, or less than 1.0 %: ")
    advice = recommendation(found)
    assert advice.rung == "gru_no_reset"
    assert advice.text.endswith("the best rung, and its step is 1.3x cheaper: use gru_no_reset.")


def test_seeds_that_differ_leave_the_question_open():
    found = ladder({"gru": (0.1, 1.5, 0.7), "gru_no_reset": (0.9, 0.2, 1.4)}, {"gru": 1.3, "gru_no_reset": 1.0})
    assert said(RESET, found).startswith("Cannot be told: the MASE of gru is ")
    assert recommendation(found).rung == found.best.name


def test_few_series_and_origins_leave_every_question_open():
    found = ladder({"gru": (0.1, 0.1, 0.1), "gru_no_reset": (2.0, 2.0, 2.0)}, {"gru": 1.3, "gru_no_reset": 1.0}, series=3)
    assert said(RESET, found) == "Cannot be told: 7 origins are too few."
    assert recommendation(found).text == (
        "gru has the lowest mean loss; over 7 origins that is no evidence. Score more series or origins."
    )


def test_plain_smoothing_is_enough_where_no_rung_is_better():
    found = ladder({"gru": (2.0, 2.0, 2.0), "smoothing": (2.0, 2.0, 2.0)}, {"gru": 1.3, "smoothing": 1.0})
    assert said("Is plain smoothing enough?", found).startswith("Yes: the MASE of ")
    better = ladder({"gru": (0.1, 0.1, 0.1), "smoothing": (0.1, 0.1, 0.1)}, {"gru": 1.3, "smoothing": 1.0})
    assert said("Is plain smoothing enough?", better).startswith("No: the MASE of ")


shifts = st.tuples(*[st.floats(0.0, 2.5)] * 3)


@settings(max_examples=20, deadline=None)
@given(gru=shifts, plain=shifts, worth=st.sampled_from([0.0, 0.01, 0.1]))
def test_no_answer_says_more_than_its_interval(gru, plain, worth):
    found = ladder({"gru": gru, "gru_no_reset": plain}, {"gru": 1.3, "gru_no_reset": 1.0})
    for one in answers(found, worth=worth):
        claim, interval = one.text.split(":")[0], one.gain
        is_smoothing = one.question.startswith("Is plain")
        allowed = {"Cannot be told": not (interval.low > 0 or interval.high < min(worth, 0))}
        allowed["No" if is_smoothing else "Yes"] = interval.low > 0 and interval.high >= worth
        allowed["Nearly" if is_smoothing else "Hardly"] = 0 < interval.low <= interval.high < worth
        allowed["Yes" if is_smoothing else "No"] = interval.low <= 0 and (interval.high < 0 or interval.high < worth)
        assert allowed[claim], (one.text, interval)
    advice = recommendation(found, worth=worth)
    if advice.rung != advice.best:
        assert advice.gain_on_best.low > -worth


def test_rungs_of_unequal_steps_are_told():
    costs = {"gru": 1.0, "smoothing": 1.0}
    found = ladder({"gru": (0.1, 0.1, 0.1), "smoothing": (0.1, 0.1, 0.1)}, costs)
    assert remarks(found) == []
    slow = replace(found.rungs[0], steps=(2, 3, 4))
    assert remarks(replace(found, rungs=(slow, found.rungs[1])))[0].startswith(
        "Not all had the same training: gru made 3 steps in the mean and smoothing 5, as time or patience ended."
    )


# -- costs ---------------------------------------------------------------------------------------------------------------------


class Slow:
    """A stepper that computes for as long as it is told."""

    def __init__(self, work: int) -> None:
        self.work = work

    def initial_state(self, count):
        return np.zeros((count, 1), dtype=np.float32)

    def step(self, state, y, position):
        for _ in range(self.work):
            state = np.sqrt(state + y[:, None].astype(np.float32) ** 2)
        return state


def test_what_computes_ten_times_as_long_costs_about_ten_times_as_much():
    costs = step_costs({"short": Slow(40), "long": Slow(400)}, waves())
    assert 5 < costs["long"] / costs["short"] < 20  # the processor is shared
