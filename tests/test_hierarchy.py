"""Sums of series, and forecasts that add up: held against slow loops and the textbook's dense formulas."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Forecast as Typed

from forecaster.covariates import static_column
from forecaster.errors import ConfigError, DataError
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.hierarchy import TOTAL, Hierarchy, reconcile, with_sums
from forecaster.hierarchy.reconciliation import shrinkage_of
from forecaster.jobs.hierarchy import past_errors
from forecaster.series import Origins, Panel, Static, Values

STEPS = Frequency("step", is_numbered=True)
REGIONS = ["north", "north", "north", "south", "south", "south"]
STORES = [1.0, 1.0, 2.0, 3.0, 3.0, 4.0]
KINDS = ["food", "tools", "food", "food", "tools", "tools"]
GROUPINGS = (("region",), ("region", "store"), ("kind",))  # the last one crosses the others


def panel_of_shops(values: Values | None = None) -> Panel:
    """Six series of 40 values that rise and err together within a region."""
    random = np.random.default_rng(7)
    shared = random.normal(size=(2, 40))[[0, 0, 0, 1, 1, 1]]
    table = 50 + 5 * np.arange(6)[:, None] + 3 * shared + random.normal(size=(6, 40)) if values is None else values
    ids = tuple("abcdef")
    offsets = np.arange(7) * table.shape[1]
    static = Static(("region", "store", "kind"), (static_column(REGIONS), static_column(STORES), static_column(KINDS)))
    return Panel(ids, np.zeros(6, dtype=np.int64), offsets, table.ravel(), STEPS, static=static)


class LastValue:
    """Says the last value again, with an interval of 10 on either side."""

    name = "last"

    def predict(self, panel: Panel, horizon: int, *, quantiles: Sequence[float], origins: Origins) -> Forecast:
        last = panel.values[panel.offsets[origins.index] + origins.known - 1]
        spread = np.array([(q - 0.5) * 20 for q in quantiles])
        values = last[:, None, None] + np.arange(horizon)[:, None] + spread
        ids = tuple(panel.ids[b] for b in origins.index)
        return Forecast(ids, origins.positions(panel), tuple(quantiles), values, panel.frequency, {})


@pytest.fixture
def hierarchy() -> Hierarchy:
    return Hierarchy.from_static(panel_of_shops(), GROUPINGS)


@pytest.fixture
def base(hierarchy: Hierarchy) -> Forecast:
    """Forecasts of 9 sums and 6 series at three leads that do not add up."""
    values = np.random.default_rng(3).normal(100, 20, size=(len(hierarchy.nodes), 3, 1)) + np.array([-5.0, 0.0, 8.0])
    origins = np.full(len(hierarchy.nodes), 39)
    return Forecast(hierarchy.nodes, origins, (0.1, 0.5, 0.9), values, STEPS, {})


@pytest.fixture
def errors(hierarchy: Hierarchy) -> Values:
    random = np.random.default_rng(5)
    own = random.normal(size=(25, 6)) * np.arange(1, 7) + 2 * random.normal(size=(25, 1))
    return np.hstack([own @ hierarchy.members.toarray().T + random.normal(size=(25, len(hierarchy.sums))), own])


def textbook(medians: Values, summing: Values, w: Values) -> Values:
    """S (S' W^-1 S)^-1 S' W^-1 y^, as in Wickramasuriya et al. 2019, eq. 9; dense."""
    inverse = np.linalg.inv(w)
    return summing @ np.linalg.inv(summing.T @ inverse @ summing) @ summing.T @ inverse @ medians


def shrunk_by_loops(errors: Values) -> Values:
    """The shrunk covariance pair by pair, as R's hts does it."""
    count, nodes = errors.shape
    covariance = errors.T @ errors / count
    deviation = np.sqrt(np.diag(covariance))
    x = errors / deviation
    variance = squared = 0.0
    for i in range(nodes):
        for j in range(nodes):
            if i != j:
                products = x[:, i] * x[:, j]
                variance += (np.sum(products**2) - np.sum(products) ** 2 / count) / (count * (count - 1))
                squared += (covariance[i, j] / deviation[i] / deviation[j]) ** 2
    share = min(max(variance / squared, 0), 1)
    assert shrinkage_of(errors) == pytest.approx(share, rel=1e-9)
    return share * np.diag(np.diag(covariance)) + (1 - share) * covariance


def test_sums_are_named_by_what_never_changes_and_may_cross(hierarchy: Hierarchy) -> None:
    assert hierarchy.sums == (
        TOTAL,
        *("region=north", "region=south"),
        *("region=north,store=1", "region=north,store=2", "region=south,store=3", "region=south,store=4"),
        *("kind=food", "kind=tools"),
    )
    members = {
        name: [hierarchy.series[b] for b in np.flatnonzero(row)]
        for name, row in zip(hierarchy.sums, hierarchy.members.toarray(), strict=True)
    }
    assert members[TOTAL] == list("abcdef")
    assert members["region=north"] == list("abc")
    assert members["region=south,store=3"] == list("de")
    assert members["kind=tools"] == list("bef")


@pytest.mark.parametrize("method", ["ols", "structural", "mint"])
def test_reconciled_medians_are_those_of_the_textbook(hierarchy: Hierarchy, base: Forecast, errors: Values, method: str) -> None:
    summing = np.vstack([hierarchy.members.toarray(), np.eye(6)])
    w = {"ols": np.eye(len(summing)), "structural": np.diag(summing.sum(axis=1)), "mint": shrunk_by_loops(errors)}[method]
    done = reconcile(base, hierarchy, method=method, errors=errors)
    # the textbook inverts W, ours solves for the sums: both err by some thousand roundings
    np.testing.assert_allclose(done.median, textbook(base.median, summing, w), rtol=1e-8)


@pytest.mark.parametrize("method", ["bottom_up", "ols", "structural", "mint"])
def test_medians_add_up_and_quantiles_move_along(hierarchy: Hierarchy, base: Forecast, errors: Values, method: str) -> None:
    done = reconcile(base, hierarchy, method=method, errors=errors)
    assert done.ids == hierarchy.nodes
    series = dict(zip(done.ids, done.median, strict=True))
    for a, name in enumerate(hierarchy.sums):  # a loop over members, one by one
        total = np.zeros(3)
        for b in np.flatnonzero(hierarchy.members.toarray()[a]):
            total += series[hierarchy.series[b]]
        np.testing.assert_allclose(series[name], total, rtol=1e-12)
        assert name in done.notes
    sums = len(hierarchy.sums)
    moved = done.values - done.median[:, :, None]
    np.testing.assert_allclose(moved[sums:], np.broadcast_to([-5.0, 0.0, 8.0], (6, 3, 3)), atol=1e-9)
    if method == "bottom_up":
        np.testing.assert_array_equal(done.median[sums:], base.median[sums:])
        assert np.isnan(done.values[:sums, :, [0, 2]]).all()
    else:
        np.testing.assert_allclose(moved[:sums], np.broadcast_to([-5.0, 0.0, 8.0], (sums, 3, 3)), atol=1e-9)


@pytest.mark.parametrize("method", ["ols", "structural", "mint"])
def test_forecasts_that_add_up_stay_as_they_are(hierarchy: Hierarchy, base: Forecast, errors: Values, method: str) -> None:
    once = reconcile(base, hierarchy, method=method, errors=errors)
    np.testing.assert_allclose(reconcile(once, hierarchy, method=method, errors=errors).values, once.values, rtol=1e-9)


def test_what_is_never_negative_stays_so_and_adds_up(hierarchy: Hierarchy, base: Forecast) -> None:
    low = replace(base, values=base.values - 200.0)
    assert (reconcile(low, hierarchy, method="ols").median < 0).any()
    done = reconcile(low, hierarchy, method="ols", is_nonnegative=True)
    assert (done.values >= 0).all()
    np.testing.assert_allclose(done.median[: len(hierarchy.sums)], hierarchy.members @ done.median[len(hierarchy.sums) :])


def test_sums_of_the_past_are_those_of_a_loop(hierarchy: Hierarchy) -> None:
    whole = panel_of_shops()
    cut = [whole.series(b)[8 * (b == 0) :].copy() for b in range(6)]  # a begins later
    cut[2][30] = np.nan
    lengths = np.array([len(part) for part in cut])
    starts, offsets = 40 - lengths, np.concatenate([[0], np.cumsum(lengths)])
    panel = replace(whole, starts=starts, offsets=offsets, values=np.concatenate(cut))
    added = with_sums(panel, hierarchy)
    assert added.ids == hierarchy.nodes
    frame = panel.to_frame().set_index(["ds", "unique_id"])["y"]
    for a, name in enumerate(hierarchy.sums):
        for step in range(40):
            parts = [panel.ids[b] for b in np.flatnonzero(hierarchy.members.toarray()[a]) if step >= panel.starts[b]]
            expected = sum(frame.loc[(step, part)] for part in parts)
            found = added.series(a)[step - added.starts[a]]
            assert found == pytest.approx(expected, rel=1e-12, nan_ok=True), (name, step)
    for b in range(6):
        np.testing.assert_array_equal(added.series(len(hierarchy.sums) + b), panel.series(b))


def test_past_errors_are_those_of_one_step_ahead_and_see_nothing_later(hierarchy: Hierarchy) -> None:
    panel = with_sums(panel_of_shops(), hierarchy)
    errors = past_errors(LastValue(), panel, origins=30)
    np.testing.assert_allclose(errors, np.diff(panel.matrix())[:, -30:].T)
    other = panel.values.copy()
    other[panel.offsets[1:] - 1] += 1_000  # the last value of each node is known to no origin before it
    changed = past_errors(LastValue(), replace(panel, values=other), origins=30) - errors
    np.testing.assert_allclose(changed[-1], 1_000)
    np.testing.assert_array_equal(changed[:-1], 0)


def test_a_tree_of_names_gives_the_same_sums_as_columns() -> None:
    tree = {"north": {1: ["a", "b"], 2: ["c"]}, "south": {3: ["d", "e"], 4: ["f"]}}
    made = Hierarchy.from_tree(tree, tuple("abcdef"))
    columns = Hierarchy.from_static(panel_of_shops(), GROUPINGS[:2])
    assert made.sums == (TOTAL, "north", "north/1", "north/2", "south", "south/3", "south/4")
    order = [columns.sums.index(name) for name in columns.sums]
    by_name = sorted(map(tuple, made.members.toarray().tolist()))
    assert by_name == sorted(map(tuple, columns.members.toarray()[order].tolist()))


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"north": ["a", "x"]}, "north holds 'x', which is no series of the panel"),
        ({"north": ["a", "b"]}, "series 'c' is not there; expected each series"),
        ({"north": ["a", "b", "c"], "south": ["a"]}, "series 'a' is there twice"),
        ({"north": "a"}, "north holds 'a'; expected names, or a list of series"),
    ],
)
def test_a_tree_that_is_none_is_refused(tree: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Hierarchy.from_tree(tree, ("a", "b", "c"))


def test_what_cannot_be_summed_is_refused(hierarchy: Hierarchy, base: Forecast, errors: Values) -> None:
    panel = panel_of_shops()
    with pytest.raises(ConfigError, match=r"--by size: no column 'size' that never changes; the panel has region, store, kind"):
        Hierarchy.from_static(panel, [("size",)])
    unknown = replace(panel, static=Static(("region",), (static_column([*REGIONS[:5], None]),)))
    with pytest.raises(DataError, match="series 'f' has no region; expected one for each series"):
        Hierarchy.from_static(unknown, [("region",)])
    with pytest.raises(DataError, match=r"series 'a' ends at 37, others at 39; sums need one end"):
        with_sums(panel.drop_last(np.array([2, 0, 0, 0, 0, 0])), hierarchy)
    with pytest.raises(DataError, match="'total' is the name of a sum and of a series"):
        Hierarchy.from_static(replace(panel, ids=("total", *"bcdef")), [])
    with pytest.raises(ConfigError, match="--method 'magic' is none; choose bottom_up, ols"):
        reconcile(base, hierarchy, method="magic")
    with pytest.raises(DataError, match=r"5 past times .* expected 8 or more. Use --method structural"):
        reconcile(base, hierarchy, method="mint", errors=errors[:5])
    apart = replace(base, origins=np.concatenate([base.origins[:-2], [38, 39]]))
    with pytest.raises(DataError, match="series 'e' is forecast from 38, 'f' from 39; sums need one origin"):
        reconcile(apart, hierarchy, method="ols")


# -- the command ---------------------------------------------------------------------------------------------------------------

TREE = "prices: [cpi, infl]\noutput: [realgdp]\n"


@pytest.mark.parametrize("words", [(), ("--method", "bottom_up"), ("--forecaster", "ses", "--method", "structural")])
def test_the_command_writes_forecasts_that_add_up(forecast: Typed, home: Path, words: tuple[str, ...]) -> None:
    (home / "tree.yaml").write_text(TREE)
    done = forecast("reconcile", "tiny", "--tree", "tree.yaml", "--out", "sums.parquet", *words)
    assert done.exit_code == 0, done.output
    frame = pd.read_parquet(home / "sums.parquet")
    wide = frame.pivot_table(index="lead", columns="unique_id", values="q0.5")
    np.testing.assert_allclose(wide["total"], wide["cpi"] + wide["infl"] + wide["realgdp"], rtol=1e-9)
    np.testing.assert_allclose(wide["prices"], wide["cpi"] + wide["infl"], rtol=1e-9)
    assert frame["forecaster"].unique() == ["gru+mint" if not words else "ses+structural" if "ses" in words else "gru+bottom_up"]


def test_the_command_says_what_is_missing(forecast: Typed, home: Path) -> None:
    for words, told in [
        ((), "ConfigError  neither of --by and --tree"),
        (("--by", "region"), "ConfigError  --by region: no column 'region' that never changes"),
        (("--tree", "none.yaml"), "ConfigError  --tree none.yaml: cannot be read"),
    ]:
        done = forecast("reconcile", "tiny", *words)
        assert done.exit_code == 2
        assert done.stderr.splitlines()[-1].startswith(told), done.stderr
