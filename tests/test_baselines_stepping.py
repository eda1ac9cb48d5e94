"""The baselines alive: what they say step by step is what they say in batch, to the bit."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from forecaster.baselines import BASELINES, Baseline, BaselineStepper
from forecaster.errors import DataError, StateError
from forecaster.forecast import Stepper, warm_state
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.engine import Engine
from forecaster.streaming.state import StateStore

STEPS = Frequency("step", is_numbered=True)
QUANTILES = (0.1, 0.5, 0.9)
HORIZON = 9
M = 4

everyone = pytest.mark.parametrize("name", list(BASELINES))


def wavy(seed: int, count: int, *, has_gaps: bool) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y = 60 + np.resize([0.0, 8.0, -6.0, 2.0], count) + 0.05 * np.arange(count) + np.cumsum(rng.normal(0, 0.7, count))
    if has_gaps:
        y[rng.random(count) < 0.06] = np.nan
        y[100:109] = np.nan
    return y


def panel_of(series: dict[str, np.ndarray], start: int = 3) -> Panel:
    ids = np.repeat(np.array(list(series), dtype=object), [len(values) for values in series.values()])
    positions = np.concatenate([np.arange(len(values)) + start for values in series.values()])
    return Panel.from_positions(ids, positions, values=np.concatenate(list(series.values())), frequency=STEPS)


@cache
def mixed_panel() -> Panel:
    """Series of other lengths, with gaps, one that never moves, and one that is too short to fit."""
    series = {f"s{b}": wavy(b, 90 - 7 * b, has_gaps=False) for b in range(3)}
    series["s1"][[0, 11, 12, 50, 83 - 1]] = np.nan
    return panel_of(
        series | {"flat": np.full(60, 7.0), "short": np.array([np.nan, 3.0, 4.0]), "negative": -wavy(9, 70, has_gaps=False)}
    )


@cache
def fitted(name: str) -> Baseline:
    return BASELINES[name](season_length=M).fit(mixed_panel())


def live(name: str) -> BaselineStepper:
    return fitted(name).stepper(STEPS, horizon=HORIZON, quantiles=QUANTILES)


# -- batch and stream ----------------------------------------------------------------------------------------------------


@everyone
def test_a_live_baseline_says_what_the_batch_says_to_the_bit(name: str) -> None:
    panel, stepper = mixed_panel(), live(name)
    origins = Origins.back(panel, range(20))
    batch = fitted(name).predict(panel, HORIZON, quantiles=QUANTILES, origins=origins)
    for back in (19, 0):
        part = panel.drop_last(back)
        state = stepper.warm(part)
        said = stepper.forecast(state, part.ends)
        rows = np.flatnonzero(origins.known == panel.lengths[origins.index] - back)
        assert tuple(batch.ids[row] for row in rows) == part.ids
        np.testing.assert_array_equal(said, batch.values[rows])


@everyone
def test_a_step_is_the_same_whatever_batch_it_comes_in(name: str) -> None:
    panel, stepper = mixed_panel(), live(name)
    together = stepper.warm(panel)
    before = together.copy()
    y, ends = np.array([5.0, np.nan, 61.0, 55.0, -60.0, np.inf]), panel.ends
    after = stepper.step(together, y, ends + 1)
    assert together.tobytes() == before.tobytes()  # a step leaves the state that it began from
    alone = [stepper.step(together[b : b + 1], y[b : b + 1], ends[b : b + 1] + 1) for b in range(len(panel))]
    assert after.tobytes() == b"".join(state.tobytes() for state in alone)
    said = stepper.forecast(after, ends + 1)
    apart = [stepper.forecast(state, ends[b : b + 1] + 1) for b, state in enumerate(alone)]
    np.testing.assert_array_equal(said, np.concatenate(apart))


@everyone
def test_a_warm_state_is_the_one_that_steps_lead_to(name: str) -> None:
    panel, stepper = mixed_panel(), live(name)
    some = panel.drop_last(30)
    shared = panel.select([panel.ids.index(unique_id) for unique_id in some.ids])
    state = stepper.warm(some)
    for step in range(30):
        state = stepper.step(state, shared.values[shared.offsets[1:] - 30 + step], shared.ends - 29 + step)
    assert state.tobytes() == stepper.warm(shared).tobytes()


@everyone
def test_a_series_that_no_fit_has_seen_comes_to_a_forecast_of_its_own(name: str) -> None:
    stepper: Stepper = live(name)
    newcomer = panel_of({"newcomer": 1000 * wavy(21, 120, has_gaps=True)})
    state = stepper.initial_state(1)
    assert np.isnan(stepper.forecast(state, newcomer.starts - 1)).all()
    state = stepper.step(state, newcomer.values[:1], newcomer.starts)
    assert np.isfinite(stepper.forecast(state, newcomer.starts)).all()
    state = warm_state(stepper, newcomer)
    said = stepper.forecast(state, newcomer.ends)[0]
    assert np.isfinite(said).all()
    assert (np.diff(said, axis=1) > 0).all()
    assert np.abs(said[:, 1] - newcomer.values[-1]).max() < 20_000
    warm = live(name).warm(newcomer)
    assert warm.tobytes() == state.tobytes()


def test_nothing_fitted_makes_every_series_a_newcomer() -> None:
    empty = mixed_panel().select([])
    for make in BASELINES.values():
        stepper = make(season_length=M).fit(empty).stepper(STEPS, horizon=2, quantiles=QUANTILES)
        said = stepper.forecast(warm_state(stepper, mixed_panel()), mixed_panel().ends)
        assert np.isfinite(said).all()


@pytest.mark.parametrize("name", ["naive2", "drift", "theta"])
def test_the_fingerprint_changes_with_what_was_fitted_and_asked(name: str) -> None:
    same = BASELINES[name](season_length=M).from_frame(fitted(name).to_frame())
    earlier = BASELINES[name](season_length=M).fit(mixed_panel().drop_last(5))
    prints = {
        live(name).fingerprint,
        same.stepper(STEPS, horizon=HORIZON, quantiles=QUANTILES).fingerprint,
        fitted(name).stepper(STEPS, horizon=2, quantiles=QUANTILES).fingerprint,
        earlier.stepper(STEPS, horizon=HORIZON, quantiles=QUANTILES).fingerprint,
    }
    assert len(prints) == 3
    assert all(text.startswith(f"{name}-") for text in prints)


def test_a_stepper_needs_a_fit_a_horizon_and_the_season_of_the_fit() -> None:
    with pytest.raises(DataError, match=r"naive was not fitted, .* Call fit\(panel\) first\."):
        BASELINES["naive"]().stepper(STEPS, horizon=1, quantiles=QUANTILES)
    with pytest.raises(DataError, match=r"horizon is 0; expected 1 or more\."):
        fitted("naive").stepper(STEPS, horizon=0, quantiles=QUANTILES)
    with pytest.raises(DataError, match=r"naive was fitted with season length 4, and this panel's is 24\."):
        BASELINES["naive"]().from_frame(fitted("naive").to_frame()).stepper(Frequency("h"), horizon=1, quantiles=QUANTILES)


@pytest.mark.parametrize("name", ["holt_winters", "arima"])
def test_a_baseline_streams_through_the_engine_and_a_restart(tmp_path: Path, name: str) -> None:
    panel, stepper = mixed_panel(), live(name)
    history = panel.drop_last(6)
    tail = [(b, panel.lengths[b] - 6 + step) for step in range(6) for b in range(len(panel)) if panel.lengths[b] > 6]
    lines = [(panel.ids[b], panel.starts[b] + t, panel.series(b)[t]) for b, t in tail]
    said = []
    for part in (lines[:17], lines[17:]):
        with StateStore.open(tmp_path, fingerprint=stepper.fingerprint, frequency=STEPS, state_size=stepper.state_size) as store:
            engine = Engine(stepper, STEPS, store)
            engine.warm(history, build=stepper.warm)
            ids, positions, values = zip(*part, strict=True)
            numbers = np.arange(1, len(part) + 1)
            feed = engine.progress.feed
            arrivals = Arrivals(ids, np.array(positions), np.array(values), numbers, (), feed, original=lambda _: b"")
            said.append(engine.advance(arrivals).forecast)
    batch = fitted(name).predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel))
    last = {unique_id: values for forecast in said for unique_id, values in zip(forecast.ids, forecast.values, strict=True)}
    for unique_id, values in last.items():
        np.testing.assert_array_equal(values, batch.values[batch.ids.index(unique_id)])
    with pytest.raises(StateError, match="was written by model"):
        StateStore.open(tmp_path, fingerprint=live("ses").fingerprint, frequency=STEPS, state_size=stepper.state_size)
