"""Drift: false alarms as often as promised, changes found, and what follows from either."""

import numpy as np
import pytest

from forecaster.operations.decisions import (
    ClassScore,
    Contest,
    PromoteConfig,
    RetrainConfig,
    Situation,
    decide_first,
    decide_promotion,
    decide_training,
)
from forecaster.operations.drift import Blocks, Drift, DriftConfig, find_drift

CONFIG = DriftConfig()


def blocks(count: int, *, series: int = 50, seed: int = 0, factor: float = 1.0, bad: int = 0, coverage: float = 0.8) -> Blocks:
    """Errors of independent blocks with heavy tails, of series of different sizes; the first `bad` grew by `factor`."""
    rng = np.random.default_rng(seed)
    errors = np.exp(rng.normal(size=(series, count))) * np.linspace(1, 100, series)[:, None]
    errors[:bad] *= factor
    covered = rng.binomial(24, coverage, size=(series, count)) / 24
    return Blocks(tuple(f"s{b}" for b in range(series)), errors, covered)


def found(*, now: Blocks | None = None, seed: int = 0, then_blocks: int = 14, **change) -> Drift:
    then = blocks(then_blocks, seed=1_000 + seed)
    return find_drift(then, now or blocks(14, seed=2_000 + seed, **change), CONFIG)


def test_false_alarms_are_as_rare_as_promised() -> None:
    drifts = [found(seed=seed) for seed in range(100)]
    alarms = sum(drift.is_found for drift in drifts)
    named = sum(bool(drift.series) for drift in drifts)
    assert alarms <= 4  # 1 of 100 is promised; 5 and more have a chance of 0.3 %
    assert named <= 4


def test_a_growth_of_all_errors_is_found() -> None:
    drift = found(factor=2.0, bad=50)
    assert drift.is_found
    assert drift.growth == pytest.approx(1.0, abs=0.5)
    assert any("errors grew by" in reason for reason in drift.reasons)


def test_the_series_that_drifted_are_named_the_worst_first() -> None:
    drift = found(factor=30.0, bad=6)
    assert set(drift.series) == {f"s{b}" for b in range(6)}
    assert list(drift.series.values()) == sorted(drift.series.values(), reverse=True)
    assert drift.reasons[-1] == "6 of 50 series drifted beyond luck"


@pytest.mark.parametrize("coverage", [0.5, 0.99])
def test_a_coverage_that_moved_either_way_is_found(coverage: float) -> None:
    assert any("the 80 % interval held" in reason for reason in found(coverage=coverage).reasons)


def test_errors_that_shrink_are_no_drift() -> None:
    assert not found(factor=0.3, bad=50).is_found


def test_few_blocks_are_not_tested() -> None:
    drift = found(then_blocks=3, factor=100.0, bad=50)
    assert not drift.is_found
    assert np.isnan(drift.p_error)
    assert drift.series_tested == 0


def test_missing_blocks_do_not_count() -> None:
    now = blocks(14, seed=5)
    now.errors[:, 3:] = np.nan
    now.covered[:, 3:] = np.nan
    assert found(now=now).blocks_now == 3


def test_the_rank_test_is_the_one_of_the_textbook() -> None:
    """Mann and Whitney's table: of samples of 4 and 4 that do not overlap, one side has p = 1 / 70."""
    then = Blocks(("a",), np.array([[1.0, 2.0, 3.0, 4.0]]), np.full((1, 4), 0.8))
    now = Blocks(("a",), np.array([[5.0, 6.0, 7.0, 8.0]]), np.full((1, 4), 0.8))
    assert find_drift(then, now, CONFIG).p_error == pytest.approx(1 / 70)


# -- when to train -----------------------------------------------------------------------------------------------------------


RETRAIN = RetrainConfig()


@pytest.mark.parametrize(
    ("situation", "is_taken", "told"),
    [
        (Situation(None), True, "no run yet"),
        (Situation(2.0), False, "no training is due"),
        (Situation(7.0), True, "one is due every 7"),
        (Situation(4.0, growth=0.5), True, "grew by 50 %"),
        (Situation(5.0, drift=found(factor=5.0, bad=50)), True, "errors grew"),
        (Situation(1.0, drift=found(factor=5.0, bad=50)), False, "3 lie between two"),
        (Situation(99.0, held="a delivery is held"), False, "while a delivery is held"),
    ],
)
def test_when_to_train(situation: Situation, is_taken: bool, told: str) -> None:
    decision = decide_training(situation, RETRAIN)
    assert decision.is_taken == is_taken
    assert told in "; ".join(decision.reasons)


def test_nothing_asks_for_a_training_that_is_switched_off() -> None:
    never = RetrainConfig(every_days=None, growth=None, on_drift=False)
    assert not decide_training(Situation(999.0, 9.0, found(factor=5.0, bad=50)), never).is_taken


# -- who serves -----------------------------------------------------------------------------------------------------------------


def contest(**change) -> Contest:
    usual = {
        "measure": "mase",
        "unit": "series",
        "units": 100,
        "origins": 14,
        "champion": 1.0,
        "challenger": 0.9,
        "p_value": 0.001,
        "champion_coverage": 0.8,
        "challenger_coverage": 0.8,
    }
    return Contest(**(usual | change))


def test_a_challenger_that_is_better_beyond_luck_serves() -> None:
    decision = decide_promotion(contest(), PromoteConfig())
    assert decision.is_taken
    assert decision.reasons == ("it is better: MASE 0.9 against 1, p 0.001 over 100 series",)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"p_value": 0.2}, "not better beyond luck"),
        ({"challenger": 1.2}, "not better (MASE 1.2 against 1"),
        ({"p_value": float("nan"), "units": 4}, "4 series are too few"),
        ({"challenger_coverage": 0.3}, "its 80 % interval held 30 %"),
        ({"challenger_coverage": float("nan")}, "its 80 % interval held"),
        ({"classes": (ClassScore("region north", 9, 1.0, 1.3),)}, "30 % worse on 9 series with region north"),
    ],
)
def test_a_challenger_serves_on_evidence_only(change: dict, told: str) -> None:
    decision = decide_promotion(contest(**change), PromoteConfig())
    assert not decision.is_taken
    assert told in "; ".join(decision.reasons)


def test_the_first_run_serves_unless_the_baseline_is_better() -> None:
    assert decide_first(contest(), PromoteConfig(), "naive").is_taken
    assert decide_first(contest(challenger=1.01, p_value=0.4), PromoteConfig(), "naive").is_taken
    worse = decide_first(contest(challenger=9.0), PromoteConfig(), "naive")
    assert worse.reasons == ("no run can serve, and the naive is better: MASE 9, the naive has 1",)
    assert not decide_first(contest(challenger_coverage=1.0), PromoteConfig(), "naive").is_taken
    assert not decide_first(contest(challenger=float("nan"), p_value=float("nan")), PromoteConfig(), "naive").is_taken


def test_a_class_of_two_series_is_no_class() -> None:
    assert decide_promotion(contest(classes=(ClassScore("many zeros", 2, 1.0, 9.0),)), PromoteConfig()).is_taken
