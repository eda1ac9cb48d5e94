"""The state of a calibration is a pure function of what was observed, and what it keeps is small."""

import json
from dataclasses import replace

import numpy as np
import pytest
from conformal_doubles import LastValue, Normal, panel_of, walks

from forecaster.errors import ConfigError, StateError
from forecaster.forecast import warm_state
from forecaster.streaming.conformal import Calibrated, CalibrationConfig, Prior
from forecaster.streaming.pending import Schedule


@pytest.mark.parametrize("companions", [1, 2, 5, 23, 40])
def test_batch_companions_and_their_order_leave_no_trace(companions: int) -> None:
    stepper, panel = Calibrated(LastValue()), walks(40)
    whole = warm_state(stepper, panel)
    chosen = np.random.default_rng(companions).permutation(40)[:companions]
    alone = panel.select(chosen.tolist())
    assert np.array_equal(warm_state(stepper, alone), whole[chosen], equal_nan=True)
    said = stepper.forecast(whole, panel.ends)
    assert np.array_equal(stepper.forecast(whole[chosen], alone.ends), said[chosen])


def test_the_order_of_memory_leaves_no_trace() -> None:
    stepper, panel = Calibrated(LastValue()), walks(9)
    state, y = warm_state(stepper, panel), np.linspace(-3, 3, 9)
    other = np.asfortranarray(state)
    assert np.array_equal(stepper.step(other, y, panel.ends + 1), stepper.step(state, y, panel.ends + 1), equal_nan=True)
    assert np.array_equal(stepper.forecast(other, panel.ends), stepper.forecast(state, panel.ends))


def test_a_step_leaves_the_state_it_was_given_untouched() -> None:
    stepper, panel = Calibrated(LastValue()), walks(4)
    state = warm_state(stepper, panel)
    before = state.copy()
    stepper.step(state, np.ones(4), panel.ends + 1)
    stepper.forecast(state, panel.ends)
    assert np.array_equal(state, before, equal_nan=True)


def test_a_state_warmed_on_all_positions_equals_plain_stepping() -> None:
    stepper, panel = Calibrated(LastValue(), CalibrationConfig(warm_positions=10_000)), walks(11)
    assert np.array_equal(stepper.warm(panel), warm_state(stepper, panel), equal_nan=True)


def test_a_warm_state_equals_stepping_from_where_calibration_begins() -> None:
    stepper, panel = Calibrated(LastValue(), CalibrationConfig(warm_positions=50)), walks(11)
    head = panel.drop_last(50)
    state = stepper.begin(warm_state(stepper.stepper, head), head.ends)
    for step in range(50, 0, -1):
        state = stepper.step(state, panel.values[panel.offsets[1:] - step], panel.ends - step + 1)
    assert np.array_equal(stepper.warm(panel, lambda part: warm_state(LastValue(), part)), state, equal_nan=True)


def test_the_inner_state_is_that_of_the_inner_stepper() -> None:
    stepper, panel = Calibrated(LastValue()), walks(7)
    assert np.array_equal(warm_state(stepper, panel)[:, :2], warm_state(LastValue(), panel), equal_nan=True)


def test_what_comes_later_changes_no_earlier_state_and_no_prior() -> None:
    panel, inner = walks(8), LastValue()
    values = panel.values.copy()
    for end in panel.offsets[1:]:
        values[end - 20 : end] = 1e6
    changed = replace(panel, values=values)
    stepper, other = (Calibrated.fitted(inner, some.drop_last(20)) for some in (panel, changed))
    assert stepper.prior == other.prior
    assert np.array_equal(stepper.warm(panel.drop_last(20)), stepper.warm(changed.drop_last(20)), equal_nan=True)


def test_a_forecast_is_scored_when_its_lead_has_come_and_not_before() -> None:
    stepper = Calibrated(Normal(horizon=1), CalibrationConfig(spacing=5))
    state, scores = stepper.initial_state(1), []
    for position in range(12):
        state = stepper.step(state, np.zeros(1), np.array([position]))
        scores.append(int(stepper.coverage_of(state).scores[0]))
    assert scores == [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3]


def test_a_missing_value_scores_nothing() -> None:
    stepper = Calibrated(Normal(horizon=4))
    state = warm_state(stepper, panel_of(np.zeros(30)))
    after = stepper.step(state, np.array([np.nan]), np.array([30]))
    learned = slice(1, 1 + stepper.tracker.bends.stop)
    assert np.array_equal(after[:, learned], state[:, learned])
    assert stepper.coverage_of(after).scores[0] < stepper.coverage_of(stepper.step(state, np.zeros(1), np.array([30]))).scores[0]


@pytest.mark.parametrize("spacing", [None, 1, 3, 7, 24])
@pytest.mark.parametrize("horizon", [1, 2, 5, 18, 24, 48])
def test_every_kept_lead_matures_once_in_a_slot_that_nobody_took(horizon: int, spacing: int | None) -> None:
    schedule = Schedule.of(horizon, spacing)
    slots: dict[int, tuple[int, int]] = {}
    matured, kept, leads_seen = 0, 0, set()
    slots_at, leads_at = schedule.matured
    for position in range(-schedule.period, 2 * schedule.period):
        phase = position % schedule.period
        for slot, lead in zip(slots_at[phase], leads_at[phase], strict=True):
            if slot in slots:
                assert slots.pop(slot) == (position - lead, lead)
                matured += 1
        if position % schedule.spacing == 0:
            number = phase // schedule.spacing
            for slot, lead in zip(schedule.kept_slots[number], schedule.kept_leads[number], strict=True):
                assert 0 <= slot < schedule.slot_count
                assert slot not in slots
                slots[slot] = (position, lead)
                leads_seen.add(int(lead))
                kept += 1
    assert matured + len(slots) == kept
    assert max(leads_seen) <= horizon
    assert len(leads_seen) >= min(horizon, 8)


def test_a_prior_comes_back_from_json_with_the_same_fingerprint() -> None:
    stepper = Calibrated.fitted(LastValue(), walks(20))
    assert stepper.prior is not None
    again = Calibrated(LastValue(), prior=Prior.from_dict(json.loads(json.dumps(stepper.prior.to_dict()))))
    assert again.fingerprint == stepper.fingerprint
    assert np.array_equal(again.initial_state(3), stepper.initial_state(3), equal_nan=True)


def test_the_fingerprint_changes_with_model_settings_and_prior() -> None:
    inner, panel = LastValue(), walks(20)
    others = [
        Calibrated(inner),
        Calibrated(replace(inner, fingerprint="another")),
        Calibrated(inner, CalibrationConfig(rate=0.02)),
        Calibrated.fitted(inner, panel),
    ]
    assert len({stepper.fingerprint for stepper in others}) == 4
    assert all(stepper.fingerprint.startswith(stepper.stepper.fingerprint) for stepper in others)


def test_a_median_alone_cannot_be_calibrated() -> None:
    with pytest.raises(ConfigError, match=r"quantiles are \[0.5\]; a calibration needs 0.5 and others beside it"):
        Calibrated(Normal(quantiles=(0.5,)))


def test_a_prior_of_other_leads_or_quantiles_is_refused() -> None:
    prior = Calibrated.fitted(LastValue(), walks(5)).prior
    with pytest.raises(StateError, match=r"is of 5 blocks of leads and \[5\] quantiles; this model has 1 and 5"):
        Calibrated(Normal(horizon=1), prior=prior)
    for damaged in ({"bends": [[1.0]]}, {"bends": [[float("nan")]], "mean_errors": [1.0]}, {"bends": 3, "mean_errors": 2}):
        with pytest.raises(StateError, match=r"is {'bends': .*; expected finite numbers in bends and mean_errors"):
            Prior.from_dict(damaged)
