"""The metrics against utilsforecast, a slow loop, and tables worked by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from utilsforecast import losses

from forecaster.evaluation.metrics import METRICS, SCORE_QUANTILES, crps, error_scale, group_means, means, tally
from forecaster.forecast import DECILES, quantile_column

SERIES, LEADS, SEASON = 5, 7, 4


def one_panel(seed=1):
    """Actuals [S, L], quantile forecasts [S, L, Q] and histories of several lengths."""
    rng = np.random.default_rng(seed)
    y = rng.normal(10, 4, (SERIES, LEADS))
    forecast = np.sort(rng.normal(10, 4, (SERIES, LEADS, len(SCORE_QUANTILES))), axis=-1)
    histories = [rng.normal(10, 4, 20 + 3 * b) for b in range(SERIES)]
    return y, forecast, histories


def scored(y, forecast, histories=None, quantiles=SCORE_QUANTILES):
    scale = np.ones(len(y)) if histories is None else np.array([error_scale(past, SEASON) for past in histories])
    return means(tally(y, forecast, quantiles).sum(axis=1), scale)


def long_frames(y, forecast, histories):
    ids, leads = np.repeat([f"s{b}" for b in range(SERIES)], LEADS), np.tile(np.arange(LEADS) + 100, SERIES)
    future = pd.DataFrame({"unique_id": ids, "ds": leads, "y": y.ravel()})
    for q, quantile in enumerate(SCORE_QUANTILES):
        future[quantile_column(quantile)] = forecast[:, :, q].ravel()
    future = future.assign(**{"m": future["q0.5"], "m-lo-80": future["q0.1"], "m-hi-80": future["q0.9"]})
    future = future.assign(**{"m-lo-95": future["q0.025"], "m-hi-95": future["q0.975"]})
    past = pd.concat(
        [pd.DataFrame({"unique_id": f"s{b}", "ds": np.arange(len(values)), "y": values}) for b, values in enumerate(histories)]
    )
    return future, past


def test_scores_by_series_are_those_of_utilsforecast():
    y, forecast, histories = one_panel()
    future, past = long_frames(y, forecast, histories)
    ours = scored(y, forecast, histories)
    theirs = {
        "smape": 200 * losses.smape(future, ["m"])["m"],
        "mase": losses.mase(future, ["m"], SEASON, past)["m"],
        "mae": losses.mae(future, ["m"])["m"],
        "rmse": losses.rmse(future, ["m"])["m"],
        "bias": losses.bias(future, ["m"])["m"],
        "coverage_80": losses.coverage(future, ["m"], 80)["m"],
        "coverage_95": losses.coverage(future, ["m"], 95)["m"],
        "wql": losses.scaled_crps(future, {"m": [quantile_column(q) for q in DECILES]}, np.array(DECILES))["m"],
    }
    for metric, expected in theirs.items():
        np.testing.assert_allclose(ours[metric], expected, rtol=1e-12, err_msg=metric)


def test_msis_is_the_sum_that_the_m4_guide_writes():
    y, forecast, histories = one_panel()
    for b in range(SERIES):
        total = 0.0
        for lead in range(LEADS):
            lower, upper, actual = forecast[b, lead, 0], forecast[b, lead, -1], y[b, lead]
            total += upper - lower
            total += 2 / 0.05 * (lower - actual) if actual < lower else 0.0
            total += 2 / 0.05 * (actual - upper) if actual > upper else 0.0
        past = histories[b]
        scale = sum(abs(past[t] - past[t - SEASON]) for t in range(SEASON, len(past))) / (len(past) - SEASON)
        assert scored(y, forecast, histories)["msis"][b] == pytest.approx(total / LEADS / scale, rel=1e-12)


def test_crps_of_many_quantiles_is_that_of_the_distribution():
    from scipy.stats import norm

    quantiles = tuple((np.arange(2_000) + 0.5) / 2_000)
    y = np.array([-1.5, 0.0, 0.7])
    exact = y * (2 * norm.cdf(y) - 1) + 2 * norm.pdf(y) - 1 / np.sqrt(np.pi)  # Gneiting, Raftery 2007, eq. 22
    ours = crps(y, np.broadcast_to(norm.ppf(quantiles), (3, 2_000)), quantiles)
    np.testing.assert_allclose(ours, exact, atol=1e-3)  # the step of the quantiles


def test_a_table_worked_by_hand():
    y = np.array([[10.0, 20.0], [0.0, 5.0]])
    forecast = np.repeat(np.array([[12.0, 16.0], [0.0, 15.0]])[..., None], len(SCORE_QUANTILES), axis=-1)
    ours = means(tally(y, forecast, SCORE_QUANTILES).sum(axis=1), np.array([1.0, 5.0]))
    np.testing.assert_allclose(ours["smape"], [(400 / 22 + 800 / 36) / 2, (0 + 100) / 2])
    np.testing.assert_allclose(ours["mae"], [3.0, 5.0])
    np.testing.assert_allclose(ours["mase"], [3.0, 1.0])
    np.testing.assert_allclose(ours["rmse"], [math.sqrt(10), math.sqrt(50)])
    np.testing.assert_allclose(ours["bias"], [-1.0, 5.0])
    np.testing.assert_allclose(ours["wql"], [6 / 30, 10 / 5])  # with all quantiles equal, WQL is sum |error| / sum |y|
    np.testing.assert_allclose(ours["coverage_80"], [0.0, 0.5])


def test_group_means_are_over_series_and_wql_over_all_values():
    y = np.array([[1.0, 1.0], [100.0, np.nan]])
    forecast = np.repeat(np.array([[2.0, 2.0], [100.0, 7.0]])[..., None], len(SCORE_QUANTILES), axis=-1)
    group = group_means(tally(y, forecast, SCORE_QUANTILES).sum(axis=1), np.array([0.5, np.nan]))
    assert group["mae"] == pytest.approx((1 + 0) / 2)
    assert group["mase"] == pytest.approx(2.0)  # the series without a scale is in no MASE
    assert group["wql"] == pytest.approx(2 / 102)


@settings(deadline=None)
@given(arrays(float, (3, 4), elements=st.floats(-1e6, 1e6, allow_subnormal=False)))
def test_a_perfect_forecast_scores_zero(y):
    ours = scored(y, np.repeat(y[..., None], len(SCORE_QUANTILES), axis=-1))
    assert all(
        (ours[metric] == 0).all() for metric in ("smape", "mase", "wql", "msis", "mae", "rmse", "bias", "crps", "width_80")
    )
    assert (ours["coverage_80"] == 1).all()
    assert (ours["coverage_95"] == 1).all()


@settings(deadline=None)
@given(st.permutations(range(SERIES)), st.floats(0.001, 1000))
def test_order_and_unit_of_the_series_do_not_matter(order, unit):
    y, forecast, histories = one_panel()
    plain = scored(y, forecast, histories)
    other = scored(unit * y[order], unit * forecast[order], [unit * histories[b] for b in order])
    for metric in ("smape", "mase", "wql", "coverage_80", "msis", "width_80"):
        np.testing.assert_allclose(other[metric], plain[metric][order], rtol=1e-9)


def test_a_missing_actual_takes_its_pair_out_and_nothing_else():
    y, forecast, _ = one_panel()
    y[2, 3] = np.nan
    kept = [lead for lead in range(LEADS) if lead != 3]
    ours, shorter = scored(y, forecast), scored(y[2:3, kept], forecast[2:3, kept])
    for metric in METRICS:
        assert ours[metric][2] == pytest.approx(shorter[metric][0], rel=1e-12, nan_ok=metric == "revision")


def test_a_series_without_any_actual_has_no_score():
    y, forecast, _ = one_panel()
    y[1] = np.nan
    ours = scored(y, forecast)
    assert all(np.isnan(ours[metric][1]) for metric in METRICS)
    assert not np.isnan(ours["smape"][0])


def test_metrics_whose_quantiles_were_not_forecast_are_undefined():
    y, forecast, _ = one_panel()
    ours = scored(y, forecast[..., :3], quantiles=(0.1, 0.5, 0.9))
    assert np.isnan([*ours["wql"], *ours["coverage_95"], *ours["msis"]]).all()
    assert not np.isnan([*ours["smape"], *ours["coverage_80"]]).any()


def test_all_zero_actuals_leave_wql_undefined_unless_the_forecast_is_zero_too():
    y = np.zeros((2, 3))
    forecast = np.zeros((2, 3, len(SCORE_QUANTILES)))
    forecast[1] = 1.0
    ours = scored(y, forecast)
    assert ours["wql"][0] == 0
    assert np.isnan(ours["wql"][1])
    np.testing.assert_allclose(ours["smape"], [0, 200])


@pytest.mark.parametrize(
    ("past", "season_length"),
    [([3.0] * 9, 1), ([0.1 + 0.2, 0.3] * 5, 1), ([1.0, 2.0], 2), ([np.nan] * 5, 1), ([], 4), ([1.0, np.nan, 2.0, np.nan], 1)],
    ids=["constant", "constant but for rounding", "shorter than a season", "all missing", "empty", "no two neighbours"],
)
def test_a_past_without_change_gives_no_scale(past, season_length):
    assert np.isnan(error_scale(np.array(past, dtype=float), season_length))


def test_the_scale_skips_pairs_with_a_missing_value():
    assert error_scale(np.array([1.0, np.nan, 4.0, 2.0, 9.0]), 2) == pytest.approx(4.0)  # |4 - 1| and |9 - 4|
