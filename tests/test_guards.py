"""Guard rails: what is held, what passes, and which forecasts nobody gets to see."""

import numpy as np
import pytest

from forecaster.forecast import DECILES, Forecast
from forecaster.frequency import Frequency
from forecaster.operations.bounds import ForecastChecksConfig, check_forecast, learn_bounds, stand_in
from forecaster.operations.guards import GuardsConfig, change_of_scale, check_arrivals, check_delivery, worst
from forecaster.series import Panel

HOURS = Frequency("h")
CONFIG = GuardsConfig()
START, DAYS = 400_000, 40


def panel_of(rows: dict[str, np.ndarray], start: int = START) -> Panel:
    offsets = np.concatenate([[0], np.cumsum([len(values) for values in rows.values()])]).astype(np.int64)
    return Panel(tuple(rows), np.full(len(rows), start), offsets, np.concatenate(list(rows.values())), HOURS)


def days(count: int, *, series: int = 10, seed: int = 0, begin: int = 0) -> dict[str, np.ndarray]:
    """Positive hourly values with a daily pattern, noise, and a level that wanders like weather."""
    rng = np.random.default_rng(seed)
    rows = {}
    for s in range(series):
        hours = np.arange((begin + count) * 24)
        weather = np.repeat(np.exp(0.3 * rng.normal(size=begin + count)), 24)
        noise = np.exp(0.2 * rng.normal(size=len(hours)))
        values = 10 * (s + 1) * weather * (1.5 + np.sin(hours * np.pi / 12)) * noise
        rows[f"s{s}"] = values[begin * 24 :]
    return rows


STORED = panel_of(days(DAYS))


def next_day(**change) -> Panel:
    rows = days(1, begin=DAYS) | change
    return panel_of(rows, START + DAYS * 24)


def kinds(findings) -> list[str]:
    return [finding.kind for finding in findings]


def test_an_ordinary_day_passes() -> None:
    assert check_delivery(STORED, next_day(), config=CONFIG, now=START + DAYS * 24 + 25) == []


def test_ordinary_days_of_many_series_pass() -> None:
    found = 0
    for seed in range(20):
        stored, arrived = days(DAYS, series=50, seed=seed), days(1, series=50, seed=seed, begin=DAYS)
        found += len(check_delivery(panel_of(stored), panel_of(arrived, START + DAYS * 24), config=CONFIG))
    assert found == 0  # of 1,000 series and days


@pytest.mark.parametrize("factor", [1_000.0, 0.001, 60.0])
def test_a_delivery_in_another_unit_is_held(factor: float) -> None:
    rows = {name: factor * values for name, values in days(1, begin=DAYS).items()}
    (finding,) = check_delivery(STORED, panel_of(rows, START + DAYS * 24), config=CONFIG)
    assert (finding.kind, finding.severity, finding.series) == ("scale", "hold", ())
    assert "10 of 10 series are of another size than before" in finding.told
    assert "the delivery is left out" in finding.told


def test_one_series_in_another_unit_is_held_alone() -> None:
    (finding,) = check_delivery(STORED, next_day(s3=1_000 * days(1, begin=DAYS)["s3"]), config=CONFIG)
    assert (finding.kind, finding.series) == ("scale", ("s3",))
    assert "these series are left out" in finding.told


def test_a_temperature_in_fahrenheit_is_found_by_its_move() -> None:
    celsius = 15 + 3 * np.sin(np.arange(60)) + np.random.default_rng(1).normal(size=60)
    assert change_of_scale(celsius[:-1], celsius[-1:]) is None
    told = change_of_scale(celsius[:-1], 1.8 * celsius[-1:] + 32)
    assert told is not None
    assert "where it moved by" in told


def test_a_series_that_never_was_negative_may_not_become_so() -> None:
    finding = check_delivery(STORED, next_day(s0=-days(1, begin=DAYS)["s0"]), config=CONFIG)[-1]
    assert (finding.kind, finding.series) == ("negative", ("s0",))


def test_values_after_the_present_are_held() -> None:
    (finding,) = check_delivery(STORED, next_day(), config=CONFIG, now=START + DAYS * 24 + 15)
    assert (finding.kind, finding.numbers["steps"]) == ("future", 8)
    assert "8 steps after the present" in finding.told


def test_history_that_arrives_moved_is_told_as_another_time_zone() -> None:
    rows = {name: values[-72:] for name, values in days(DAYS).items()}
    moved = panel_of(rows, START + DAYS * 24 - 72 - 8)
    (finding,) = check_delivery(STORED, moved, config=CONFIG)
    assert finding.kind == "rewritten"
    assert "they fit when moved by 8 steps" in finding.told


def test_history_in_another_unit_is_told_with_its_factor() -> None:
    rows = {name: 0.001 * values[-72:] for name, values in days(DAYS).items()}
    (finding,) = check_delivery(STORED, panel_of(rows, START + DAYS * 24 - 72), config=CONFIG)
    assert finding.kind == "rewritten"
    assert "all are 0.001 times as large" in finding.told


def test_history_that_arrives_again_passes() -> None:
    rows = {name: values[-72:] for name, values in days(DAYS).items()}
    assert check_delivery(STORED, panel_of(rows, START + DAYS * 24 - 72), config=CONFIG) == []


def test_a_series_that_is_new_passes() -> None:
    assert check_delivery(STORED, next_day(newcomer=np.full(24, 1e9)), config=CONFIG) == []


ENDS = dict(zip(STORED.ids, STORED.ends.tolist(), strict=True))


def joined(absent: int, *, holes: float = 0.0) -> Panel:
    rows, fresh = days(DAYS), days(1, begin=DAYS)
    rng = np.random.default_rng(2)
    for s in range(absent, 10):
        day = np.where(rng.random(24) < holes, np.nan, fresh[f"s{s}"])
        day[-1] = fresh[f"s{s}"][-1]
        rows[f"s{s}"] = np.concatenate([rows[f"s{s}"], day])
    return panel_of(rows)


@pytest.mark.parametrize(("absent", "severity"), [(0, None), (1, "warn"), (5, "hold")])
def test_series_without_news_are_counted(absent: int, severity: str | None) -> None:
    found = check_arrivals(joined(absent), ENDS, config=CONFIG)
    assert worst(found) == severity
    assert kinds(found) == (["gone"] if absent else [])
    assert not absent or found[0].series == tuple(f"s{s}" for s in range(absent))


def test_a_day_that_is_missing_is_told_with_its_steps() -> None:
    night = START + DAYS * 24 + 1  # two hours after midnight, when yesterday's values are there, and today's are not
    (finding,) = check_arrivals(STORED, ENDS, config=CONFIG, due=night + 24)
    assert (finding.kind, finding.severity, finding.numbers) == ("stale", "warn", {"steps": 26.0})
    assert check_arrivals(STORED, ENDS, config=CONFIG, due=night) == []
    assert check_arrivals(STORED, ENDS, config=GuardsConfig(max_delay_steps=26), due=night + 24) == []


def test_news_full_of_holes_are_told() -> None:
    (finding,) = check_arrivals(joined(0, holes=0.8), ENDS, config=CONFIG)
    assert finding.kind == "sparse"
    assert "usually 0 %" in finding.told


def test_a_policy_decides_and_accepting_only_tells() -> None:
    rows = {name: 1_000 * values for name, values in days(1, begin=DAYS).items()}
    delivery = panel_of(rows, START + DAYS * 24)
    assert worst(check_delivery(STORED, delivery, config=GuardsConfig(scale="stop"))) == "stop"
    assert worst(check_delivery(STORED, delivery, config=CONFIG.accepting(["scale"]))) == "warn"
    assert check_delivery(STORED, delivery, config=GuardsConfig(scale="off").accepting(["scale"])) == []


# -- forecasts -------------------------------------------------------------------------------------------------------------


BOUNDS = learn_bounds(STORED, ForecastChecksConfig())


def forecast_of(median: float, *, spread: float = 1.0, name: str = "s0") -> Forecast:
    values = np.tile(median + spread * (np.array(DECILES) - 0.5), (1, 4, 1))
    return Forecast((name,), np.array([START + DAYS * 24 - 1]), DECILES, values, HOURS, {})


def test_a_usual_forecast_passes_untouched() -> None:
    checked = check_forecast(forecast_of(15.0), BOUNDS)
    assert (checked.failures, checked.moved) == ({}, 0)
    assert np.array_equal(checked.forecast.values, forecast_of(15.0).values)


@pytest.mark.parametrize(
    ("forecast", "told"),
    [
        (forecast_of(np.nan), "a number is not finite"),
        (forecast_of(15.0, spread=-1.0), "quantiles cross"),
        (forecast_of(-5.0), "the median at lead 1 is -5, below 0"),
        (forecast_of(1e6), "the median at lead 1 is 1e+06, above "),
    ],
)
def test_a_forecast_that_cannot_be_is_refused(forecast: Forecast, told: str) -> None:
    assert check_forecast(forecast, BOUNDS).failures["s0"].startswith(told)


def test_quantiles_below_zero_are_moved_where_values_never_were() -> None:
    checked = check_forecast(forecast_of(1.0, spread=10.0), BOUNDS)
    assert checked.failures == {}
    assert checked.moved > 0
    assert checked.forecast.values.min() == 0.0


def test_values_of_either_sign_may_be_negative() -> None:
    signed = learn_bounds(panel_of({"s0": np.sin(np.arange(100.0))}), ForecastChecksConfig())
    assert check_forecast(forecast_of(-1.0), signed).failures == {}


def test_a_baseline_stands_in_for_failed_series_only() -> None:
    both = Forecast(("a", "b"), np.zeros(2, int), (0.5,), np.array([[[np.nan]], [[2.0]]]), HOURS, {})
    instead = Forecast(("a", "b"), np.zeros(2, int), (0.5,), np.array([[[7.0]], [[8.0]]]), HOURS, {})
    assert stand_in(both, instead, {"a": "why"}).values.ravel().tolist() == [7.0, 2.0]
