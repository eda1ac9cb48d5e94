"""Files in, panels out, by the public door."""

import gzip
import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecaster.errors import ConfigError, DataError
from forecaster.frequency import Frequency
from forecaster.ingest import ColumnNames, FaultyDataError, IngestPolicies, PanelStore, ingest_files, read_panel


def daily(periods=6, start="2024-01-01", ids=("a", "b")):
    days = pd.date_range(start, periods=periods)
    parts = [
        pd.DataFrame({"unique_id": name, "ds": days, "y": np.arange(1.0, periods + 1) * (n + 1)}) for n, name in enumerate(ids)
    ]
    return pd.concat(parts, ignore_index=True)


def csv(frame, **options):
    return frame.to_csv(index=False, **options)


def ndjson(frame):
    return frame.assign(ds=frame["ds"].astype(str)).to_json(orient="records", lines=True)


def parquet(frame):
    sink = io.BytesIO()
    frame.to_parquet(sink, index=False)
    return sink.getvalue()


# -- formats and layouts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", csv(daily())),
        ("x.tsv", csv(daily(), sep="\t")),
        ("x.csv.gz", gzip.compress(csv(daily()).encode())),
        ("semicolons.csv", csv(daily(), sep=";")),
        ("marked.csv", "\ufeff" + csv(daily())),
        ("old_mac.csv", csv(daily(), lineterminator="\r")),
        ("windows.csv", csv(daily(), lineterminator="\r\n")),
        ("x.ndjson", ndjson(daily())),
        ("x.jsonl.gz", gzip.compress(ndjson(daily()).encode())),
        ("x.parquet", parquet(daily())),
        ("misnamed.csv", parquet(daily())),
        ("wide.csv", csv(daily().pivot_table(index="ds", columns="unique_id", values="y").reset_index())),
        ("capitals.csv", csv(daily().set_axis(["Series_ID", "Timestamp", "Value"], axis=1))),
        ("target.csv", csv(daily().set_axis(["item_id", "date", "target"], axis=1))),
        ("days.csv", csv(daily().assign(ds=lambda frame: frame["ds"].dt.strftime("%Y%m%d")))),
        ("seconds.csv", csv(daily().assign(ds=lambda frame: frame["ds"].astype("datetime64[s]").astype(int)))),
        ("german.csv", csv(daily().assign(ds=lambda frame: frame["ds"].dt.strftime("%d.%m.%Y")))),
    ],
)
def test_every_format_gives_the_same_panel(name, content, store, write):
    report = ingest_files([write(name, content)], "demand", store=store)
    expected = daily()
    assert store.load("demand").fingerprint == report.fingerprint
    pd.testing.assert_frame_equal(store.load("demand").to_frame(), expected, check_dtype=False, check_column_type=False)
    assert (report.series, report.positions, report.added, report.revised) == (2, 12, 12, 0)


def test_stdin_is_a_source(store):
    report = ingest_files(["-"], "demand", store=store, stdin=io.BytesIO(csv(daily()).encode()))
    assert report.files == ("stdin",)
    assert report.series == 2


def test_a_file_without_ids_is_one_series_with_the_name_of_the_file(store, write):
    ingest_files([write("store_17.csv", csv(daily(ids=["a"])[["ds", "y"]]))], "demand", store=store)
    assert store.load("demand").ids == ("store_17",)


def test_columns_can_be_named(store, write):
    text = csv(daily().set_axis(["shop", "opened", "sold"], axis=1).assign(price=2.0))
    report = ingest_files(
        [write("x.csv", text)], "demand", store=store, columns=ColumnNames(id="shop", time="opened", value="sold")
    )
    assert report.ignored_columns == ("price",)
    assert report.series == 2


def test_a_column_that_is_not_there_is_named_with_those_that_are(store, write):
    with pytest.raises(DataError, match=r"no column 'shop' \(--id-column\); expected one of unique_id, ds, y"):
        ingest_files([write("x.csv", csv(daily()))], "demand", store=store, columns=ColumnNames(id="shop"))


def test_files_are_found_by_a_pattern_each_once_and_progress_is_told(store, write, tmp_path):
    for day in range(3):
        write(f"part-{day}.csv", csv(daily(periods=2, start=f"2024-01-{1 + 2 * day:02}")))
    seen = []
    pattern = str(tmp_path / "part-*.csv")
    report = ingest_files(
        [pattern, str(tmp_path / "part-0.csv")], "demand", store=store, progress=lambda *told: seen.append(told)
    )
    assert (report.positions, report.rows_read) == (12, 12)
    assert [(done, of, Path(name).name) for done, of, name in seen] == [(n + 1, 3, f"part-{n}.csv") for n in range(3)]


def test_ids_keep_their_zeros(store, write):
    ingest_files([write("x.csv", csv(daily(ids=["007", "7"])))], "demand", store=store)
    assert store.load("demand").ids == ("007", "7")


def test_leading_blanks_of_a_wide_file_are_not_rows(store, write):
    text = "ds,a,b\n2024-01-01,1,\n2024-01-02,2,5\n2024-01-03,,6\n2024-01-04,4,7\n"
    ingest_files([write("x.csv", text)], "demand", store=store)
    panel = store.load("demand")
    assert list(panel.lengths) == [4, 3]
    np.testing.assert_array_equal(panel.series(0), [1, 2, np.nan, 4])


def test_series_can_be_picked_before_their_faults_are_judged(store, write):
    text = csv(daily()) + "b,2024-01-07,broken\n"
    report = ingest_files([write("x.csv", text)], "demand", store=store, only=["a*"])
    assert store.load("demand").ids == ("a",)
    assert not list(report.faults)


def test_a_pattern_that_picks_nothing_is_named(store, write):
    with pytest.raises(DataError, match=r"no series matches --only z\*"):
        ingest_files([write("x.csv", csv(daily()))], "demand", store=store, only=["z*"])


# -- time zones --------------------------------------------------------------------------------------------------------------


def test_offsets_become_utc_and_the_offset_is_kept(store, write):
    text = "ds,y\n2024-01-01T00:00+02:00,1\n2024-01-01T01:00+02:00,2\n2024-01-01T02:00+02:00,3\n"
    report = ingest_files([write("x.csv", text)], "demand", store=store)
    assert report.frequency == Frequency("h", "UTC+02:00")
    assert str(store.load("demand").to_frame()["ds"].iloc[0]) == "2024-01-01 00:00:00+02:00"


def test_a_named_zone_counts_days_on_its_own_clock(store, write):
    days = pd.date_range("2024-03-25", periods=12, tz="Europe/Berlin")  # the clock changes on March 31
    text = csv(pd.DataFrame({"ds": [day.isoformat() for day in days], "y": range(12)}))
    report = ingest_files([write("x.csv", text)], "demand", store=store, time_zone="Europe/Berlin")
    assert report.frequency == Frequency("D", "Europe/Berlin")
    assert (report.positions, report.missing) == (12, 0)
    assert list(store.load("demand").to_frame()["ds"]) == list(days)


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Africa/Cairo"])
def test_a_year_of_local_half_hours_comes_back_as_it_went_in(zone, store, write):
    hours = pd.date_range("2024-01-01", "2025-01-01", freq="30min", tz="UTC").tz_convert(zone)
    text = csv(pd.DataFrame({"ds": hours.tz_localize(None), "y": np.arange(len(hours))}))
    inferred = IngestPolicies(clock_change="infer")
    ingest_files([write("x.csv", text)], "demand", store=store, time_zone=zone, policies=inferred)
    frame = store.load("demand").to_frame().dropna()
    assert list(frame["ds"]) == list(hours)
    assert list(frame["y"]) == list(range(len(hours)))


def test_local_times_that_a_clock_change_repeats_are_a_fault(store, write):
    text = "ds,y\n" + "".join(f"2024-10-27 {h}:00,{n}\n" for n, h in enumerate(["01", "02", "02", "03"]))
    with pytest.raises(DataError, match=r"02:00:00 stands twice on the clock of Europe/Berlin .*--clock-change infer"):
        ingest_files([write("x.csv", text)], "demand", store=store, time_zone="Europe/Berlin")


def test_a_zone_that_is_none_is_named(store, write):
    with pytest.raises(DataError, match="time zone 'Mars/Base' is unknown; expected a name such as Europe/Berlin"):
        ingest_files([write("x.csv", csv(daily()))], "demand", store=store, time_zone="Mars/Base")


# -- faults and policies -----------------------------------------------------------------------------------------------------

FAULTY = csv(daily(ids=["a"])) + "a,2024-01-06,60\na,2024-01-09,x\na,2024-01-10,inf\na,never,1\n,2024-01-11,1\na,2024-01-12\n"


def test_one_report_names_every_fault_with_its_place(store, write):
    path = write("faulty.csv", FAULTY)
    with pytest.raises(FaultyDataError) as refusal:
        ingest_files([path], "demand", store=store)
    groups = {group.kind: group for group in refusal.value.faults}
    stops = ["duplicate", "empty_id", "infinite", "malformed_row", "non_numeric", "unparsable_time"]
    assert sorted(kind for kind, group in groups.items() if group.action == "error") == stops
    rows = {kind: group.faults[0].row for kind, group in groups.items()}
    assert rows["non_numeric"] == 9
    assert rows["malformed_row"] == 13
    assert groups["non_numeric"].faults[0].series == "a"
    assert groups["non_numeric"].faults[0].file == path
    report = "\n".join(refusal.value.faults.lines())
    assert "--duplicates first, last or mean" in report
    assert "value 'x' is no number" in report


@pytest.mark.parametrize(("choice", "value"), [("first", 6.0), ("last", 60.0), ("mean", 33.0)])
def test_policies_settle_duplicates(choice, value, store, write):
    policies = IngestPolicies(duplicates=choice, unparsable="drop", infinite="missing")
    report = ingest_files([write("faulty.csv", FAULTY)], "demand", store=store, policies=policies)
    panel = store.load("demand")
    np.testing.assert_array_equal(panel.series(0), [1, 2, 3, 4, 5, value, np.nan, np.nan, np.nan, np.nan])
    assert report.gaps_filled == 3
    assert report.rows_read == 12


def test_floored_times_collide_like_duplicates(store, write):
    text = "unique_id,ds,y\n" + "".join(f"a,2024-01-01 {h:02}:00,{h}\n" for h in range(23)) + "a,2024-01-01 22:20,5\n"
    floored = IngestPolicies(misaligned="floor")
    with pytest.raises(DataError, match="appears twice with values 22, 5"):
        ingest_files([write("x.csv", text)], "demand", store=store, policies=floored)


@pytest.mark.parametrize(
    ("policies", "text", "expected"),
    [
        ({"gaps": "error"}, "a,2024-01-09,1\n", r"2 positions are missing before it \(.*row 8\)"),
        ({"missing": "error"}, "a,2024-01-07,NA\n", r"the value is missing \(.*row 8\)"),
        ({"short": "error"}, "b,2024-01-07,1\n", r"series 'b': 1 values are known; expected 2 or more"),
    ],
)
def test_what_is_kept_can_be_made_an_error(policies, text, expected, store, write):
    path = write("x.csv", csv(daily(ids=["a"])) + text)
    with pytest.raises(DataError, match=expected):
        ingest_files([path], "demand", store=store, policies=IngestPolicies(**policies))
    ingest_files([path], "demand", store=store)


def test_a_policy_that_is_none_is_named():
    with pytest.raises(ConfigError, match="policy gaps is 'fill'; choose keep or error"):
        IngestPolicies(gaps="fill")


# -- again, and again --------------------------------------------------------------------------------------------------------


def test_the_same_file_twice_changes_nothing(store, write):
    path = write("x.csv", csv(daily()))
    first = ingest_files([path], "demand", store=store)
    again = ingest_files([path], "demand", store=store)
    assert (again.added, again.revised, again.unchanged) == (0, 0, 12)
    assert again.fingerprint == first.fingerprint
    assert not again.is_written


def test_a_later_file_adds_and_revises(store, write):
    ingest_files([write("x.csv", csv(daily()))], "demand", store=store)
    late = "unique_id,ds,y\na,2024-01-06,60\na,2024-01-08,80\nc,2024-01-01,1\n"
    report = ingest_files([write("late.csv", late)], "demand", store=store)
    assert (report.added, report.revised, report.unchanged, report.gaps_filled) == (2, 1, 0, 1)
    assert report.frequency_found.startswith("D, stored")
    np.testing.assert_array_equal(store.load("demand").series(0), [1, 2, 3, 4, 5, 60, np.nan, 80])


def test_a_dry_run_writes_nothing(store, write):
    report = ingest_files([write("x.csv", csv(daily()))], "demand", store=store, dry_run=True)
    assert report.added == 12
    assert not store.root.exists()
    assert "not written (dry run)" in report.lines()[-1]


@pytest.mark.parametrize(
    ("arguments", "text", "expected"),
    [
        ({"freq": "h"}, csv(daily()), "--freq h clashes with the panel's frequency D"),
        ({"time_zone": "Europe/Berlin"}, csv(daily()), "the files have time zone Europe/Berlin and the panel has none"),
        ({}, "unique_id,ds,y\na,2024-01-01T00:00Z,1\n", "the files have time zone UTC and the panel has none"),
        ({}, "unique_id,ds,y\na,1,1\na,2,1\n", "the files hold step numbers and the panel holds dates"),
        ({}, "unique_id,ds,y\na,2024-01-01 05:00,1\n", "05:00:00 is not on the grid of D"),
    ],
)
def test_another_calendar_is_refused(arguments, text, expected, store, write):
    ingest_files([write("x.csv", csv(daily()))], "demand", store=store)
    with pytest.raises(DataError, match=expected):
        ingest_files([write("other.csv", text)], "demand", store=store, **arguments)


def test_numbered_steps_take_their_season_from_the_flag(store, write):
    text = csv(pd.DataFrame({"unique_id": "H1", "ds": range(1, 6), "y": range(5)}))
    report = ingest_files([write("x.csv", text)], "hourly", store=store, freq="h")
    assert report.frequency == Frequency("h", is_numbered=True)
    actuals = write("test.csv", csv(pd.DataFrame({"unique_id": "H1", "ds": [6, 7], "y": [1, 2]})))
    panel = read_panel([actuals], like=report.frequency)
    assert panel.starts[0] == store.load("hourly").ends[0] + 1


def test_the_report_is_json(store, write):
    import orjson

    report = ingest_files([write("x.csv", csv(daily()))], "demand", store=store)
    assert orjson.loads(orjson.dumps(report.to_dict()))["frequency"]["alias"] == "D"


# -- properties --------------------------------------------------------------------------------------------------------------

cells = st.tuples(st.sampled_from(["a", "b", "Ä c"]), st.integers(0, 40))
values = st.floats(-1e6, 1e6).map(lambda value: round(value, 3)) | st.none()
tables = st.dictionaries(cells, values, min_size=3, max_size=60)


def as_csv(rows):
    day = pd.Timestamp("2024-01-01")
    lines = [f"{name},{(day + pd.Timedelta(days=step)).date()},{'' if y is None else y}" for (name, step), y in rows]
    return ("unique_id,ds,y\n" + "\n".join(lines) + "\n").encode()


@given(table=tables, data=st.data())
@settings(max_examples=30, deadline=None)
def test_neither_the_order_of_rows_nor_a_second_reading_changes_a_panel(table, data, tmp_path_factory):
    rows = list(table.items())
    shuffled = data.draw(st.permutations(rows))
    cut = data.draw(st.integers(0, len(rows)))
    folder = tmp_path_factory.mktemp("panels")
    store = PanelStore(folder)
    keep = IngestPolicies(short="drop", min_length=1)
    if all(y is None for y in table.values()):
        return

    def ingest(name, part):
        return ingest_files(["-"], name, store=store, freq="D", policies=keep, stdin=io.BytesIO(as_csv(part)))

    first = ingest("first", rows)
    again = ingest("first", shuffled)
    assert (again.added, again.revised, again.fingerprint) == (0, 0, first.fingerprint)
    other = ingest("other", shuffled)
    assert other.fingerprint == first.fingerprint == store.load("other").fingerprint
    parts = [part for part in (rows[:cut], rows[cut:]) if any(y is not None for _, y in part)]
    if len(parts) == 2 and all(y is not None for y in table.values()):
        for part in parts:
            halves = ingest("halves", part)
        assert halves.fingerprint == first.fingerprint


@given(junk=st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_no_bytes_bring_anything_but_a_data_error(junk, tmp_path_factory):
    store = PanelStore(Path(tmp_path_factory.getbasetemp()) / "nothing")
    for prefix in (b"", b"unique_id,ds,y\na,2024-01-01,1\n", b'{"ds":1,"y":2}\n{"ds":2,"y":'):
        with suppress(DataError):
            ingest_files(["-"], "junk", store=store, stdin=io.BytesIO(prefix + junk), dry_run=True)


@given(lines=st.lists(st.lists(st.text("ab019-:.,;\"'T Z+eINFnaæ\t/", max_size=12), max_size=4).map(",".join), max_size=8))
@settings(max_examples=80, deadline=None)
def test_no_text_brings_anything_but_a_data_error(lines, tmp_path_factory):
    store = PanelStore(Path(tmp_path_factory.getbasetemp()) / "nothing")
    for prefix in ("", "unique_id,ds,y\n", "unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\n", "ds,y\n1,1\n2,2\n"):
        text = prefix + "\n".join(lines)
        with suppress(DataError):
            ingest_files(["-"], "junk", store=store, stdin=io.BytesIO(text.encode()), dry_run=True)


def test_duplicates_in_two_files_name_both(store, write):
    first, second = write("one.csv", csv(daily(ids=["a"]))), write("two.csv", "unique_id,ds,y\na,2024-01-06,7\n")
    with pytest.raises(DataError, match=r"with values 6, 7, again in row 2 of .*two.csv \(.*one.csv, row 7\)"):
        ingest_files([first, second], "demand", store=store)


def test_a_wide_file_of_one_series_is_named_by_its_column_when_asked(store, write):
    ingest_files([write("x.csv", "date,load\n2024-01-01,1\n2024-01-02,2\n")], "demand", store=store, layout="wide")
    assert store.load("demand").ids == ("load",)


def test_a_name_that_cannot_be_a_folder_is_refused_before_anything_is_read(store):
    with pytest.raises(ConfigError, match="panel name 'a/b' cannot be a folder"):
        ingest_files(["nowhere.csv"], "a/b", store=store)
