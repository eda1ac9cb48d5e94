"""What the network sees beside the values, worked out by hand."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from forecaster.errors import ConfigError, DataError
from forecaster.frequency import Frequency
from forecaster.models.inputs import Inputs, InputsConfig
from forecaster.series import Panel

DAYS = 60
OFF = InputsConfig(calendar=False)


def shops(ahead=7, frequency="D"):
    """Two shops, their prices and promotions known some days ahead."""
    random = np.random.default_rng(1)
    days = pd.date_range("2024-11-01", periods=DAYS + ahead)
    parts = []
    for name, level in (("a", 1.0), ("b", 100.0)):
        price = level * (1 + 0.1 * random.integers(0, 3, len(days)))
        y = np.where(np.arange(len(days)) < DAYS, random.normal(10, 1, len(days)), np.nan)
        promotion = (random.random(len(days)) < 0.2).astype(float)
        parts.append(pd.DataFrame({"unique_id": name, "ds": days, "y": y, "price": price, "promotion": promotion}))
    frame = pd.concat(parts, ignore_index=True)
    frame["region"] = frame["unique_id"].map({"a": "north", "b": "south"})
    frame["size"] = frame["unique_id"].map({"a": 1.0, "b": 3.0})
    return frame


def as_panel(frame, known=("price", "promotion"), static=("region", "size")):
    return Panel.from_frame(frame, Frequency("D"), known=known, static=static)


def test_a_step_sees_the_covariates_of_the_next_position():
    frame = shops()
    panel = as_panel(frame)
    inputs = Inputs.fit(panel, OFF)
    steps = inputs.steps(panel)
    assert steps.shape == (2 * DAYS, inputs.step_count) == (2 * DAYS, 3)  # each region has one series only
    past = frame[frame["y"].notna()]
    logs = np.log(past["price"])
    ahead = frame.groupby("unique_id").apply(lambda own: own.iloc[1 : DAYS + 1])
    np.testing.assert_allclose(steps[:, 0], (np.log(ahead["price"]) - logs.mean()) / logs.std(ddof=0), rtol=1e-6)
    np.testing.assert_allclose(steps[:, 1], ahead["promotion"] - past["promotion"].mean(), rtol=1e-6)
    np.testing.assert_array_equal(steps[:, 2], np.repeat([-1.0, 1.0], DAYS))


def test_the_head_sees_covariates_at_each_lead_and_their_change_from_the_base():
    frame = shops()
    panel = as_panel(frame)
    inputs = Inputs.fit(panel, InputsConfig(calendar=False, country="DE"))
    index, positions = np.array([1, 0]), np.array([panel.starts[1] + 50, panel.ends[0]])
    leads = inputs.leads(panel, index, positions, horizon=7, base_season=3)
    assert leads.shape == (2, 7, inputs.lead_count) == (2, 7, 6)
    own = frame[frame["unique_id"] == "b"].reset_index(drop=True)
    x = np.log(own["price"]).to_numpy()
    scale = inputs.known[0]
    base = np.array([48, 49, 50, 48, 49, 50, 48])
    np.testing.assert_allclose(leads[0, :, 0], (x[51:58] - scale.centre) / scale.deviation, rtol=1e-6)
    np.testing.assert_allclose(leads[0, :, 1], (x[51:58] - x[base]) / scale.change, rtol=1e-5, atol=1e-6)
    promotion = own["promotion"].to_numpy()
    np.testing.assert_array_equal(leads[0, :, 3], promotion[51:58] - promotion[base])
    christmas = own["ds"].isin(pd.to_datetime(["2024-12-25", "2024-12-26", "2025-01-01"])).to_numpy()
    np.testing.assert_array_equal(leads[0, :, 4], christmas[51:58])
    np.testing.assert_array_equal(leads[0, :, 5], christmas[base])
    alone = inputs.leads_at(positions, horizon=7, base_season=3)
    np.testing.assert_array_equal(alone[..., 4:], leads[..., 4:])
    assert not alone[..., :4].any()


def test_the_change_of_a_price_is_seen_in_the_unit_of_its_own_changes():
    panel = as_panel(shops())
    price = Inputs.fit(panel, OFF).known[0]
    assert price.least > 0
    assert price.deviation == pytest.approx(np.log(100) / 2, rel=0.05)
    assert price.change < 0.1


@given(steps=st.integers(1, 70), hole=st.integers(0, DAYS + 6))
def test_dropping_the_last_values_changes_no_input_of_those_that_stay(steps, hole):
    frame = shops()
    frame.loc[frame.index[[hole, hole + 67]], "price"] = np.nan
    panel = as_panel(frame)
    inputs = Inputs.fit(panel, InputsConfig(calendar=True, country="DE"))
    shorter = panel.drop_last(np.array([steps, 1]))
    whole, part = inputs.steps(panel), inputs.steps(shorter)
    for b, name in enumerate(shorter.ids):
        old = panel.ids.index(name)
        kept = slice(panel.offsets[old], panel.offsets[old] + shorter.lengths[b])
        np.testing.assert_array_equal(part[shorter.offsets[b] : shorter.offsets[b + 1]], whole[kept])
        positions = np.array([shorter.ends[b]])
        seen = [inputs.leads(of, np.array([k]), positions, horizon=9, base_season=7) for of, k in ((shorter, b), (panel, old))]
        np.testing.assert_array_equal(*seen)


def test_inputs_have_the_same_bits_in_any_batch():
    panel = as_panel(shops())
    inputs = Inputs.fit(panel, InputsConfig(calendar=True, country="DE"))
    whole = inputs.steps(panel)
    leads = inputs.leads(panel, np.arange(2), panel.ends - 3, horizon=7, base_season=7)
    for b in range(2):
        np.testing.assert_array_equal(inputs.steps(panel.select([b])), whole[panel.offsets[b] : panel.offsets[b + 1]])
        one = inputs.leads(panel, np.array([b]), panel.ends[b : b + 1] - 3, horizon=7, base_season=7)
        np.testing.assert_array_equal(one[0], leads[b])
    calendar = len(inputs.calendar.columns)
    for n in (0, 17, DAYS - 1):
        alone = inputs.at(np.array([panel.starts[0] + n]))
        np.testing.assert_array_equal(alone[0, :calendar], whole[n, :calendar])


def test_inputs_come_back_from_json():
    frame = shops()
    other = frame.assign(unique_id="c", region="south")
    panel = as_panel(pd.concat([frame, other[frame["unique_id"] == "a"]]))
    inputs = Inputs.fit(panel, InputsConfig(calendar=True, country="DE-BY"))
    back = Inputs.from_dict(json.loads(json.dumps(inputs.to_dict())), Frequency("D"))
    assert back == inputs
    assert back.texts[0].texts == ("south",)
    np.testing.assert_array_equal(back.steps(panel), inputs.steps(panel))


def test_a_region_that_was_never_seen_is_no_region():
    frame = pd.concat([shops().assign(unique_id=name, region=region) for name, region in zip("abcd", "nnss", strict=True)])
    panel = as_panel(frame.drop_duplicates(["unique_id", "ds"]))
    inputs = Inputs.fit(panel, OFF)
    later = as_panel(frame.drop_duplicates(["unique_id", "ds"]).assign(region=lambda own: own["region"].replace("n", "x")))
    np.testing.assert_array_equal(inputs.static_of(panel)[:, 1:], [[1, 0], [1, 0], [0, 1], [0, 1]])
    np.testing.assert_array_equal(inputs.static_of(later)[:, 1:], [[0, 0], [0, 0], [0, 1], [0, 1]])
    assert not inputs.static_of(as_panel(frame.drop_duplicates(["unique_id", "ds"]), static=())).any()


def test_a_covariate_that_is_unknown_at_a_lead_is_named():
    frame = shops(ahead=7)
    inputs = Inputs.fit(as_panel(frame), OFF)
    frame.loc[frame.index[-2], "promotion"] = np.nan
    panel = as_panel(frame)
    inputs.check_leads(panel, np.arange(2), panel.ends, horizon=5)
    expected = (
        r"series 'b': promotion is unknown at 2025-01-05 00:00:00, lead 6 of 7; expected it at each. "
        r"Ingest rows with an empty value and the promotion of these times, or choose a shorter horizon."
    )
    with pytest.raises(DataError, match=expected):
        inputs.check_leads(panel, np.arange(2), panel.ends, horizon=7)
    with pytest.raises(DataError, match=r"series 'a' and 1 more: price is unknown at 2025-01-07 00:00:00, lead 8 of 9"):
        inputs.check_leads(panel, np.arange(2), panel.ends, horizon=9)
    with pytest.raises(DataError, match=r"the panel has no covariate 'promotion', which .* Ingest it with --known promotion"):
        inputs.check_leads(as_panel(frame, known=("price",)), np.arange(2), panel.ends, horizon=1)


def test_what_is_unknown_in_training_is_the_usual():
    frame = shops(ahead=0)
    panel = as_panel(frame)
    inputs = Inputs.fit(panel, OFF)
    leads = inputs.leads(panel, np.array([0]), panel.ends[:1] - 2, horizon=4, base_season=1)
    assert leads[0, :2].any()
    assert not leads[0, 2:].any()
    assert not inputs.steps(as_panel(frame, known=("price",), static=()))[:, 1:].any()


def test_the_calendar_is_on_where_the_panel_has_lived_through_its_cycles():
    panel = as_panel(shops(), known=(), static=())
    columns = {calendar: Inputs.fit(panel, InputsConfig(calendar=calendar)).calendar.cycles for calendar in (None, True, False)}
    assert columns == {None: ("week",), True: ("week", "year"), False: ()}


def test_numbered_steps_have_no_calendar():
    frame = pd.DataFrame({"unique_id": "a", "ds": range(100), "y": np.arange(100.0)})
    panel = Panel.from_frame(frame, Frequency("h", is_numbered=True))
    assert Inputs.fit(panel, InputsConfig()).step_count == 0
    with pytest.raises(ConfigError, match=r"inputs.country is 'DE', and the panel counts numbered steps; expected dates"):
        Inputs.fit(panel, InputsConfig(country="DE"))


def test_inputs_that_are_not_there_are_named():
    panel = as_panel(shops())
    with pytest.raises(
        ConfigError, match=r"inputs.known names 'cost', and the panel has price, promotion. Choose among them, or"
    ):
        Inputs.fit(panel, InputsConfig(known=("cost",)))
    with pytest.raises(ConfigError, match=r"inputs.static names 'zone', and the panel has region, size"):
        Inputs.fit(panel, InputsConfig(static=("zone",)))
    assert Inputs.fit(panel, InputsConfig(calendar=False, known=("promotion",), static=())).step_count == 1


def test_a_country_that_is_none_is_refused():
    with pytest.raises(ValidationError, match=r"expected a code such as DE, US or US-CA; did you mean FR \(France\)"):
        InputsConfig(country="Frnce")
