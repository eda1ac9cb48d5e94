"""A panel holds what its rows said, whatever their order."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

STEPS = Frequency("step", is_numbered=True)
cells = st.tuples(st.sampled_from(["a", "B", "ä", ""]), st.integers(-20, 20))
tables = st.dictionaries(cells, st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=40)


def as_panel(rows, frequency=STEPS):
    frame = pd.DataFrame([(name, step, y) for (name, step), y in rows], columns=["unique_id", "ds", "y"])
    return Panel.from_frame(frame, frequency)


@given(table=tables, data=st.data())
def test_the_order_of_rows_changes_nothing(table, data):
    rows = list(table.items())
    shuffled = data.draw(st.permutations(rows))
    assert as_panel(shuffled).fingerprint == as_panel(rows).fingerprint


@given(table=tables)
def test_a_panel_holds_its_rows_and_missing_values_between_them(table):
    panel = as_panel(table.items())
    assert list(panel.ids) == sorted({name for name, _ in table})
    for b, name in enumerate(panel.ids):
        steps = [step for series, step in table if series == name]
        assert (panel.starts[b], panel.ends[b]) == (min(steps), max(steps))
        expected = [table.get((name, step), np.nan) for step in range(min(steps), max(steps) + 1)]
        np.testing.assert_array_equal(panel.series(b), expected)


@given(table=tables)
def test_a_panel_comes_back_from_its_frame(table):
    panel = as_panel(table.items())
    assert Panel.from_frame(panel.to_frame(), STEPS).fingerprint == panel.fingerprint


@given(table=tables, steps=st.integers(0, 45))
def test_dropping_the_last_values_is_not_having_seen_them(table, steps):
    panel = as_panel(table.items())
    ends = dict(zip(panel.ids, panel.ends, strict=True))
    shorter = panel.drop_last(steps)
    whole = {(name, t): y for name, t, y in panel.to_frame().itertuples(index=False) if t <= ends[name] - steps}
    seen = {(name, t): y for name, t, y in shorter.to_frame().itertuples(index=False)}
    assert seen.keys() == whole.keys()
    np.testing.assert_array_equal([*seen.values()], [*whole.values()])


def test_the_matrix_puts_the_last_values_beside_each_other():
    panel = as_panel({("a", 1): 1.0, ("a", 3): 3.0, ("b", 7): 7.0}.items())
    np.testing.assert_array_equal(panel.matrix(), [[1, np.nan, 3], [np.nan, np.nan, 7]])


def test_two_rows_at_one_position_are_refused():
    with pytest.raises(DataError, match=r"series 'a': 2 appears twice. Keep one row for each series and time"):
        as_panel([(("a", 1), 1.0), (("a", 2), 1.0), (("a", 2), 1.0)])


def test_a_fingerprint_changes_with_everything_that_a_panel_is():
    base = {("a", 1): 1.0, ("a", 2): 2.0}
    variants = [{("b", 1): 1.0, ("b", 2): 2.0}, {("a", 2): 1.0, ("a", 3): 2.0}, {("a", 1): 1.0, ("a", 2): 2.5}]
    prints = {as_panel(rows.items()).fingerprint for rows in [base, *variants]}
    prints.add(as_panel(base.items(), Frequency("h", is_numbered=True)).fingerprint)
    assert len(prints) == 5


def test_series_can_be_selected():
    panel = as_panel({("a", 1): 1.0, ("b", 1): 2.0, ("c", 1): 3.0}.items())
    chosen = panel.select([0, 2])
    assert chosen.ids == ("a", "c")
    np.testing.assert_array_equal(chosen.values, [1, 3])


@given(table=tables, back=st.lists(st.integers(0, 30), min_size=1, max_size=5))
def test_origins_lie_where_something_was_seen_the_earliest_first(table, back):
    panel = as_panel(table.items())
    origins = Origins.back(panel, back)
    expected = [(b, n - k) for b, n in enumerate(panel.lengths) for k in sorted(set(back), reverse=True) if n > k]
    assert list(zip(origins.index, origins.known, strict=True)) == expected
    np.testing.assert_array_equal(origins.positions(panel), [panel.starts[b] + known - 1 for b, known in expected])
