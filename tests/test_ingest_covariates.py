"""Covariates and what never changes, from files to the store and back."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import ConfigError, DataError
from forecaster.ingest import ColumnNames, IngestPolicies, PanelStore, ingest_files

PRICED = ColumnNames(known=("price", "promotion"), static=("region",))
SHOPS = """\
unique_id,ds,y,price,promotion,region
a,2024-01-01,1,2.0,false,north
a,2024-01-02,2,,true,
a,2024-01-03,3,3.5,false,north
a,2024-01-04,,4.0,true,
b,2024-01-01,1,2.0,0,007
b,2024-01-02,2,2.5,1,007
b,2024-01-03,,2.5,0,007
b,2024-01-04,,2.5,0,007
"""


def prices(panel, name, start="2024-01-01", periods=5, column="price"):
    """What is known of one covariate of one series, day by day."""
    days = panel.frequency.positions(pd.date_range(start, periods=periods))
    index = np.array([panel.ids.index(name)])
    return panel.known_at(index, days[None])[0, :, panel.known.names.index(column)].tolist()


def test_rows_with_an_empty_value_hold_the_future(store, write):
    report = ingest_files([write("x.csv", SHOPS)], "shops", store=store, columns=PRICED)
    panel = store.load("shops")
    assert panel.fingerprint == report.fingerprint
    assert panel.lengths.tolist() == [3, 2]
    assert str(prices(panel, "a")) == "[2.0, 2.0, 3.5, 4.0, nan]"
    assert str(prices(panel, "b", column="promotion")) == "[0.0, 1.0, 0.0, 0.0, nan]"
    assert panel.static.columns[0].tolist() == ["north", "007"]
    assert (report.known_added, report.static_changed, report.missing, report.ignored_columns) == (15, 2, 0, ())
    lines = report.lines()
    assert "           price is known 1 step ahead, missing values take the one before (1)" in lines
    assert "           promotion is known 1 step ahead" in lines
    assert "static     region (2 new)" in lines
    assert (report.faults.count("missing"), report.faults.count("missing_covariate")) == (0, 1)


def test_other_programs_read_the_values_and_the_covariates(store, write):
    ingest_files([write("x.csv", SHOPS)], "shops", store=store, columns=PRICED)
    panel, manifest = store.load("shops"), store.manifest("shops")
    folder = store.root / "shops" / manifest.rows
    assert pd.read_parquet(folder)["y"].tolist() == panel.values.tolist()
    known = pd.read_parquet(folder / "_known-000.parquet")
    assert known[["unique_id", "ds", "price"]].astype(str).to_numpy()[3].tolist() == ["a", "2024-01-04", "4.0"]
    assert (manifest.schema_version, manifest.known, manifest.static) == (3, ["price", "promotion"], ["region"])


def test_a_panel_of_the_first_version_is_read(store, write):
    ingest_files([write("x.csv", "ds,y\n1,1\n2,2\n")], "x", store=store)
    path = store.root / "x" / "manifest.json"
    fields = {name: value for name, value in json.loads(path.read_text()).items() if name not in ("known", "static")}
    path.write_text(json.dumps(fields | {"schema_version": 1}))
    assert store.load("x").values.tolist() == [1, 2]


@pytest.mark.parametrize("form", ["parquet", "ndjson"])
def test_every_format_has_room_for_covariates(form, store, write):
    frame = pd.read_csv(io.StringIO(SHOPS), dtype={"region": str})
    frame["promotion"] = frame["promotion"].isin(["true", "1"])
    frame["region"] = frame["region"].where(frame["region"].notna(), None)
    ingest_files([write("x.csv", SHOPS)], "csv", store=store, columns=PRICED)
    if form == "parquet":
        sink = io.BytesIO()
        frame.assign(ds=pd.to_datetime(frame["ds"])).to_parquet(sink, index=False)
        path = write("x.parquet", sink.getvalue())
    else:
        path = write("x.ndjson", frame.to_json(orient="records", lines=True))
    report = ingest_files([path], "other", store=store, columns=PRICED)
    assert report.fingerprint == store.load("csv").fingerprint


def test_covariates_may_stand_in_a_file_of_their_own(store, write):
    frame = pd.read_csv(io.StringIO(SHOPS), dtype=str)
    values = frame[["unique_id", "ds", "y"]].dropna()
    regions = frame[["unique_id", "ds", "region"]].dropna()
    beside = frame[["unique_id", "ds", "price", "promotion"]]
    parts = [write(f"{n}.csv", part.to_csv(index=False)) for n, part in enumerate((beside, values, regions))]
    ingest_files([write("x.csv", SHOPS)], "one", store=store, columns=PRICED)
    report = ingest_files(parts, "three", store=store, columns=PRICED)
    assert report.fingerprint == store.load("one").fingerprint
    assert report.faults.count("duplicate") == report.faults.count("identical") == 0


def test_a_later_file_revises_covariates_and_never_takes_a_value_away(store, write):
    ingest_files([write("x.csv", SHOPS)], "shops", store=store, columns=PRICED)
    later = "unique_id,ds,y,price,region\na,2024-01-03,,9,east\na,2024-01-05,,6,east\n"
    report = ingest_files([write("later.csv", later)], "shops", store=store)
    panel = store.load("shops")
    np.testing.assert_array_equal(panel.series(0), [1, 2, 3])
    assert prices(panel, "a") == [2.0, 2.0, 9.0, 4.0, 6.0]
    assert panel.static.columns[0].tolist() == ["east", "007"]
    assert (report.added, report.revised, report.known_added, report.known_revised, report.static_changed) == (0, 0, 1, 1, 1)
    assert report.is_written
    again = ingest_files([write("later.csv", later)], "shops", store=store)
    assert (again.is_written, again.lines()[-1]) == (False, f"panel      {panel.fingerprint}, nothing changed")


def test_a_value_that_comes_makes_its_row_part_of_the_past(store, write):
    ingest_files([write("x.csv", SHOPS)], "shops", store=store, columns=PRICED)
    report = ingest_files([write("later.csv", "unique_id,ds,y\na,2024-01-04,4\n")], "shops", store=store)
    panel = store.load("shops")
    assert (report.added, panel.lengths.tolist(), panel.known.reach.tolist()) == (1, [4, 2], [[0, 0], [2, 2]])
    assert str(prices(panel, "a")) == "[2.0, 2.0, 3.5, 4.0, nan]"


def test_a_stored_panel_takes_covariates_later(store, write):
    plain = "\n".join(",".join(line.split(",")[:3]) for line in SHOPS.splitlines() if ",," not in line) + "\n"
    ingest_files([write("plain.csv", plain)], "shops", store=store)
    report = ingest_files([write("x.csv", SHOPS)], "shops", store=store, columns=PRICED)
    ingest_files([write("x.csv", SHOPS)], "other", store=store, columns=PRICED)
    assert (report.added, report.revised, report.fingerprint) == (1, 0, store.load("other").fingerprint)


def test_a_missing_value_between_values_stays_one(store, write):
    text = "ds,y,price\n2024-01-01,1,1\n2024-01-02,,2\n2024-01-03,3,3\n2024-01-04,,4\n"
    report = ingest_files([write("x.csv", text)], "x", store=store, columns=ColumnNames(known=("price",)))
    assert (report.positions, report.missing, report.gaps_filled, report.faults.count("missing")) == (3, 1, 0, 1)
    strict = IngestPolicies(missing="error")
    with pytest.raises(DataError, match=r"the value is missing \(.*x.csv, row 3\)"):
        ingest_files([write("x.csv", text)], "y", store=store, columns=ColumnNames(known=("price",)), policies=strict)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("2.5,1,", "high,1,"),
            r"series 'b': price is 'high', which is no number \(.*x.csv, row 7\). Write numbers, or true and",
        ),
        (("2.5,1,", "inf,1,"), r"series 'b': price is inf; expected a value up to 1e30 \(.*x.csv, row 7\). Mend these values"),
        (("2.5,1,007", "2.5,1,8"), r"series 'b': region is 8, and '007' in row 6 \(.*x.csv, row 7\). Mend these rows, or take"),
        (("b,2024-01-02,2,2.5", "b,2024-01-01,1,2.5"), r"2024-01-01 00:00:00 appears twice with price 2, 2.5, again in row 7"),
    ],
)
def test_faults_of_covariates_are_named_with_their_place(change, expected, store, write):
    with pytest.raises(DataError, match=expected):
        ingest_files([write("x.csv", SHOPS.replace(*change))], "shops", store=store, columns=PRICED)
    assert not store.names()


def test_a_stray_time_far_in_the_future_is_named(store, write):
    text = "ds,y,price\n1,1,1\n2,2,2\n900000,,3\n"
    with pytest.raises(DataError, match=r"covariates of 3 rows lie over 899,999 positions \(.*x.csv, row 4\). Mend the stray"):
        ingest_files([write("x.csv", text)], "x", store=store, columns=ColumnNames(known=("price",)))


@pytest.mark.parametrize(("choice", "price"), [("first", 2.0), ("last", 2.5), ("mean", 2.25)])
def test_of_two_covariates_the_policy_takes_one(choice, price, store, write):
    text = SHOPS + "b,2024-01-01,,2.5,,\n"
    ingest_files([write("x.csv", text)], "x", store=store, columns=PRICED, policies=IngestPolicies(duplicates=choice))
    panel = store.load("x")
    assert prices(panel, "b", periods=1) == [price]
    assert panel.series(1)[0] == 1


def test_what_is_no_number_can_be_left_unknown(store, write):
    text = SHOPS.replace("2.5,1,", "high,1,").replace("2.0,false", "inf,false")
    policies = IngestPolicies(unparsable="drop", infinite="missing")
    report = ingest_files([write("x.csv", text)], "x", store=store, columns=PRICED, policies=policies)
    assert str(prices(store.load("x"), "a", periods=4)) == "[nan, nan, 3.5, 4.0]"
    assert prices(store.load("x"), "b", periods=3) == [2.0, 2.0, 2.5]
    assert "           price is known 1 step ahead, missing values take the one before (1), and 2 have none before them" in (
        report.lines()
    )


def test_numbers_that_never_change_are_numbers_and_texts_stay_as_they_were_written(store, write):
    text = "unique_id,ds,y,size,code,zone\na,1,1,10,007,NA\na,2,1,10.0,007,NA\nb,1,1,,8,\nb,2,1,,8,\n"
    ingest_files([write("x.csv", text)], "x", store=store, columns=ColumnNames(static=("size", "code", "zone")))
    static = store.load("x").static
    assert [column.tolist() for column in static.columns[1:]] == [["007", "8"], ["NA", ""]]
    np.testing.assert_array_equal(static.columns[0], [10, np.nan])


def test_a_series_without_a_value_is_named_or_dropped(store, write):
    text = SHOPS + "c,2024-01-01,,1,0,\nc,2024-01-02,,1,0,\n"
    with pytest.raises(DataError, match=r"series 'c': 0 values are known; expected 2 or more \(.*x.csv, row 10\)"):
        ingest_files([write("x.csv", text)], "x", store=store, columns=PRICED)
    ingest_files([write("x.csv", text)], "x", store=store, columns=PRICED, policies=IngestPolicies(short="drop"))
    assert store.load("x").ids == ("a", "b")


@pytest.mark.parametrize(
    ("columns", "error", "expected"),
    [
        ({"known": ("cost",)}, DataError, r"no file has a column 'cost' \(--known\); expected one of unique_id, ds, y, price"),
        ({"static": ("zone",)}, DataError, r"no file has a column 'zone' \(--static\)"),
        ({"value": "price", "known": ("price",)}, ConfigError, r"'price' is named twice \(--value-column, --known\)"),
        ({"known": ("y",)}, ConfigError, r"column 'y' cannot be --known: a panel calls another column so. Rename it"),
    ],
)
def test_columns_that_cannot_be_covariates_are_named(columns, error, expected, store, write):
    with pytest.raises(error, match=expected):
        ingest_files([write("x.csv", SHOPS)], "x", store=store, columns=ColumnNames(**columns))


def test_a_wide_file_has_no_room_for_covariates(store, write):
    text = "ds,a,b,price\n2024-01-01,1,2,3\n2024-01-02,1,2,3\n"
    with pytest.raises(DataError, match=r"x.csv is wide, with a column for each series, and --known price needs a row for each"):
        ingest_files([write("x.csv", text)], "x", store=store, columns=ColumnNames(known=("price",)))


def test_a_file_of_covariates_alone_makes_no_panel(store, write):
    text = "unique_id,ds,price\na,2024-01-01,3\na,2024-01-02,3\n"
    with pytest.raises(DataError, match=r"series 'a': 0 values are known"):
        ingest_files([write("x.csv", text)], "x", store=store, columns=ColumnNames(known=("price",)))


# -- properties --------------------------------------------------------------------------------------------------------------

numbers = st.integers(-99, 99) | st.none()
tables = st.dictionaries(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 20)), st.tuples(numbers, numbers, numbers), min_size=3, max_size=30
)


def as_csv(rows):
    day = pd.Timestamp("2024-01-01")
    lines = [
        f"{name},{(day + pd.Timedelta(days=step)).date()}," + ",".join("" if cell is None else str(cell) for cell in cells)
        for (name, step), cells in rows
    ]
    return ("unique_id,ds,y,price,promotion\n" + "\n".join(lines) + "\n").encode()


@given(table=tables, data=st.data())
@settings(max_examples=15, deadline=None)
def test_neither_the_order_of_rows_nor_their_files_change_a_panel(table, data, tmp_path_factory):
    table |= {("a", 9): (1, None, 2), ("b", 9): (2, 3, None)}
    shuffled = data.draw(st.permutations(list(table.items())))
    cut = data.draw(st.integers(0, len(shuffled)))
    store = PanelStore(tmp_path_factory.mktemp("panels"))

    def ingest(name, part):
        columns, policies = ColumnNames(known=("price", "promotion")), IngestPolicies(short="drop", min_length=1)
        stdin = io.BytesIO(as_csv(part))
        return ingest_files(["-"], name, store=store, columns=columns, freq="D", policies=policies, stdin=stdin)

    first = ingest("first", list(table.items()))
    assert ingest("other", shuffled).fingerprint == first.fingerprint == store.load("other").fingerprint
    again = ingest("first", shuffled)
    assert (again.added, again.revised, again.known_added, again.known_revised, again.is_written) == (0, 0, 0, 0, False)
    parts = [part for part in (shuffled[:cut], shuffled[cut:]) if part]
    if all({name for (name, _), cells in part if cells[0] is not None} == {"a", "b"} for part in parts):
        for part in parts:
            halves = ingest("halves", part)
        assert halves.fingerprint == first.fingerprint
