"""A panel keeps what is known beside its values, and its future."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.covariates import Known
from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

STEPS = Frequency("step", is_numbered=True)
numbers = st.none() | st.integers(-9, 9).map(float)
cells = st.tuples(st.sampled_from(["a", "b"]), st.integers(-5, 20))
tables = st.dictionaries(cells, st.tuples(numbers, numbers, numbers), max_size=40)


def as_frame(table):
    """Rows of a table, and one observed value in each series."""
    rows = [(name, step, y, price, flag) for (name, step), (y, price, flag) in table.items() if (name, step) != (name, 7)]
    rows += [("a", 7, 1.0, None, None), ("b", 7, 2.0, 5.0, None)]
    frame = pd.DataFrame(rows, columns=["unique_id", "ds", "y", "price", "flag"])
    return frame.astype({"y": float, "price": float, "flag": float}).assign(region=frame["unique_id"].str.upper(), size=2)


def as_panel(table):
    return Panel.from_frame(as_frame(table), STEPS, known=["price", "flag"], static=["region", "size"])


@given(table=tables)
def test_a_series_runs_over_what_was_observed_and_its_covariates_over_what_was_given(table):
    frame, panel = as_frame(table), as_panel(table)
    for b, name in enumerate(panel.ids):
        rows = frame[frame["unique_id"] == name].set_index("ds")
        seen = rows["y"].dropna()
        assert (panel.starts[b], panel.ends[b]) == (seen.index.min(), seen.index.max())
        steps = np.arange(-8, 24)
        np.testing.assert_array_equal(panel.series(b), rows["y"].reindex(np.arange(panel.starts[b], panel.ends[b] + 1)))
        whole = rows[["price", "flag"]].reindex(steps)
        np.testing.assert_array_equal(panel.known.given_at(np.full(32, b), steps), whole)
        carried = np.where(steps[:, None] > panel.ends[b], whole, whole.ffill())
        np.testing.assert_array_equal(panel.known_at(np.array([b]), steps[None])[0], carried)


@given(table=tables, data=st.data())
def test_the_order_of_rows_changes_nothing(table, data):
    frame = as_frame(table)
    shuffled = frame.iloc[data.draw(st.permutations(range(len(frame))))]
    other = Panel.from_frame(shuffled, STEPS, known=["price", "flag"], static=["region", "size"])
    assert other.fingerprint == as_panel(table).fingerprint


@given(table=tables)
def test_a_panel_comes_back_from_its_frame_with_all_that_it_knows(table):
    panel = as_panel(table)
    frame = panel.to_frame()
    assert list(frame.columns) == ["unique_id", "ds", "y", "price", "flag", "region", "size"]
    back = Panel.from_frame(frame, STEPS, known=["price", "flag"], static=["region", "size"])
    assert back.fingerprint == panel.fingerprint


@given(table=tables, steps=st.integers(0, 30))
def test_dropping_the_last_values_keeps_what_was_known_of_the_future(table, steps):
    panel = as_panel(table)
    shorter = panel.drop_last(steps)
    positions = np.arange(-8, 24)[None]
    for b, name in enumerate(shorter.ids):
        whole = panel.known_at(np.array([panel.ids.index(name)]), positions)
        np.testing.assert_array_equal(shorter.known_at(np.array([b]), positions), whole)
        assert shorter.static.columns[0][b] == name.upper()
    chosen = panel.select([1])
    assert (chosen.ids, chosen.static.columns[0].tolist()) == (("b",), ["B"])
    np.testing.assert_array_equal(chosen.known_at(np.array([0]), positions), panel.known_at(np.array([1]), positions))


@given(table=tables)
def test_reach_counts_the_leads_that_are_known(table):
    panel = as_panel(table)
    ahead = panel.ends[:, None] + np.arange(1, 30)
    known = ~np.isnan(panel.known_at(np.arange(2), ahead))
    np.testing.assert_array_equal(panel.known.reach, np.minimum.accumulate(known, axis=1).sum(axis=1))


def test_a_fingerprint_changes_with_covariates_and_with_what_never_changes():
    panel = as_panel({("a", 8): (None, 3.0, 1.0)})
    price = panel.known.values + np.array([0.0, 1.0])
    variants = [panel, replace(panel, known=None), replace(panel, static=None), as_panel({})]
    variants += [replace(panel, known=replace(panel.known, values=price))]
    variants += [replace(panel, known=replace(panel.known, names=("cost", "flag")))]
    assert len({variant.fingerprint for variant in variants}) == len(variants)


def test_a_panel_without_covariates_knows_none():
    panel = Panel.from_frame(as_frame({}), STEPS)
    assert panel.known is None
    assert panel.known_at(np.array([0]), np.array([[1, 2]])).shape == (1, 2, 0)
    assert Origins.back(panel.drop_last(0)).known.tolist() == [1, 1]


def test_a_series_with_covariates_and_no_value_is_refused():
    frame = pd.DataFrame({"unique_id": ["a", "b"], "ds": [1, 1], "y": [1.0, np.nan], "price": [1.0, 2.0]})
    with pytest.raises(DataError, match=r"series 'b' has covariates and no value; expected one value or more. Leave the series"):
        Panel.from_frame(frame, STEPS, known=["price"])


def test_what_changes_is_not_static():
    frame = pd.DataFrame({"unique_id": ["a", "a"], "ds": [1, 2], "y": [1.0, 2.0], "region": ["north", "south"]})
    with pytest.raises(DataError, match=r"series 'a': region is 'north' and 'south'; expected what never changes in a series"):
        Panel.from_frame(frame, STEPS, static=["region"])


def test_covariates_of_nobody_take_no_room():
    none = np.zeros(0, dtype=np.int64)
    known = Known.from_rows(("price",), none, positions=none, values=np.zeros((0, 1)), carried_to=np.array([3, 4]))
    assert (known.lengths.tolist(), known.reach.tolist()) == ([0, 0], [[0], [0]])
    assert np.isnan(known.at(np.array([1]), np.array([[3, 4]]))).all()
