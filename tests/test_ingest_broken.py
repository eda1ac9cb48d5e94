"""Broken files: each ends in one clear line, or in a repair that is counted; never in anything else, never half-written."""

from pathlib import Path

import pytest

from forecaster.errors import DataError
from forecaster.ingest import ColumnNames, FaultyDataError, IngestPolicies, PanelStore, ingest_files

BROKEN = Path(__file__).parent / "broken"

REFUSED = {
    "all_missing.csv": "series 'a': 0 values are known",
    "array.json": "one JSON array; expected one object on each line",
    "beyond_double.csv": "value inf; expected a finite value",
    "binary_junk.csv": r"holds a NUL \(byte 0\)",
    "blank_lines_only.csv": "is empty",
    "broken_line.ndjson": r"no JSON.*broken_line.ndjson, row 2\)",
    "day_or_month_first.csv": "--time-format '%d/%m/%Y' or '%m/%d/%Y'",
    "decimal_commas.csv": "'1,5' has a decimal comma; expected 1.5, or pass --decimal ,",
    "duplicates.csv": "2024-01-10 00:00:00 appears twice with values 10.5, 11.*--duplicates first, last or mean",
    "empty.csv": "is empty",
    "empty_ids.csv": r"the id is empty \(.*row 12\), and 1 more",
    "excel.csv": "an Excel or zip file.*Save the sheet as CSV",
    "far_outlier.csv": "series 'a': 10 rows and .* missing positions.*coarser --freq",
    "fractional_steps.csv": r"timestamp '3.5' cannot be read; expected a whole number \(.*row 5\)",
    "header_only.csv": "a header and no rows",
    "huge_value.csv": r"value 1e\+308; expected no more than 1e30.*--infinite missing",
    "ids_with_conflicting_spaces.csv": "appears twice with values 10.5, 99",
    "impossible_date.csv": "timestamp '2024-02-30' cannot be read",
    "infinities.csv": r"value inf.*row 12\), and 1 more",
    "latin1.csv": r"byte 187 \(0xfc\) is not UTF-8 text. Pass --encoding latin-1",
    "lists.parquet": r"value '\[1.0\]' is no number",
    "lone_surrogate.ndjson": "surrogates not allowed",
    "misaligned.csv": "2024-01-01 23:20:00 is not on the grid of h .*--misaligned floor or drop",
    "mixed_frequency.csv": r"1 series step by D \('day'\), 1 series step by h \('hour'\).*--only GLOB",
    "mixed_offset_and_naive.csv": r"2024-03-30 08:00:00 has no offset, others have one \(.*row 10\)",
    "nested_values.ndjson": r"""value '{"value": 3}' is no number; expected one such as 12.5 \(.*row 11\)""",
    "no_header.csv": "no header: its first row holds '2024-01-01'",
    "no_rows.parquet": "no rows",
    "no_time_column.csv": "--time-column NAME",
    "no_value_column.csv": r"\(height, width\). Pass --value-column NAME",
    "not_objects.ndjson": "its columns are none",
    "one_row.csv": "the frequency is unknown. Give --freq",
    "open_quote.csv": "1 columns instead of 3",
    "ragged_rows.csv": r"2 columns instead of 3: 'a,2024-01-11' \(.*row 12\), and 1 more",
    "steps_negative_and_far.csv": "4,000,000,000,000,003 missing positions",
    "steps_overflow.csv": "'9223372036854775807' is out of range; expected a step number below 2",
    "text_column_without_id.csv": "Pass --id-column shop",
    "text_in_values.csv": r"'broken sensor' is no number; expected one such as 12.5 \(.*row 12\)",
    "thousands_separators.csv": "'1,234.5' has thousands separators; expected 1234.5",
    "truncated.csv.gz": "damaged gzip file",
    "truncated.parquet": "damaged Parquet file",
    "two_columns_of_one_name.csv": "2 columns named 'y'",
    "two_time_columns.csv": "columns date and time could each be the time. Pass --time-column date",
    "unreadable_time.csv": r"timestamp 'yesterday' cannot be read.*row 12\), and 1 more",
    "utf16.csv": r"UTF-16 text \(byte 0\).*--encoding utf-16",
    "wide_with_repeated_times.csv": "times repeat in 'date'.*--id-column shop",
    "year_0000.csv": "timestamp '0000-01-01' is out of range; expected a year from 1678 to 2261",
    "year_9999.csv": "timestamp '9999-12-31' is out of range",
    "zeros.csv": r"holds a NUL \(byte 28\)",
}
REPAIRED = {
    "clock_repeats_an_hour.csv": {"identical": 1},
    "clock_skips_an_hour.csv": {},
    "ids_in_other_spelling.csv": {"trimmed_id": 1, "similar_id": 1, "short": 1},
    "mixed_offsets.csv": {"gap": 1},
    "newline_in_quotes.csv": {"constant": 1},
    "one_observation_series.csv": {"short": 1},
}
CURED = {
    "beyond_double.csv": ({"infinite": "missing"}, {}, {"infinite": 1}),
    "broken_line.ndjson": ({"unparsable": "drop"}, {}, {"malformed_row": 1}),
    "clock_repeats_an_hour.csv": ({"clock_change": "infer"}, {"time_zone": "Europe/Berlin"}, {"ambiguous_time": 2}),
    "clock_skips_an_hour.csv": ({"clock_change": "drop"}, {"time_zone": "Europe/Berlin"}, {"nonexistent_time": 1, "gap": 0}),
    "day_or_month_first.csv": ({}, {"time_format": "%d/%m/%Y"}, {"gap": 0}),
    "decimal_commas.csv": ({}, {"decimal": ","}, {"constant": 1}),
    "duplicates.csv": ({"duplicates": "mean"}, {}, {"duplicate": 1, "identical": 1}),
    "empty_ids.csv": ({"unparsable": "drop"}, {}, {"empty_id": 2}),
    "huge_value.csv": ({"infinite": "missing"}, {}, {"too_large": 1}),
    "infinities.csv": ({"infinite": "missing"}, {}, {"infinite": 2}),
    "latin1.csv": ({}, {"encoding": "latin-1"}, {"short": 1}),
    "misaligned.csv": ({"misaligned": "drop"}, {}, {"misaligned": 1}),
    "mixed_frequency.csv": ({}, {"only": ["day"]}, {"mixed_frequency": 0}),
    "mixed_offset_and_naive.csv": ({"duplicates": "last"}, {"time_zone": "Europe/Berlin"}, {"mixed_zones": 0}),
    "one_observation_series.csv": ({"short": "drop"}, {}, {"short": 1}),
    "one_row.csv": ({}, {"freq": "D"}, {"short": 1}),
    "ragged_rows.csv": ({"unparsable": "drop"}, {}, {"malformed_row": 2}),
    "text_in_values.csv": ({"unparsable": "drop"}, {}, {"non_numeric": 1}),
    "utf16.csv": ({}, {"encoding": "utf-16"}, {"gap": 0}),
    "wide_with_repeated_times.csv": ({}, {"columns": "shop"}, {"duplicate": 0}),
    "year_9999.csv": ({"unparsable": "drop"}, {}, {"out_of_range_time": 1}),
}


def test_every_broken_file_is_accounted_for():
    files = {path.name for path in BROKEN.iterdir() if path.is_file() and path.suffix != ".py"}
    assert files == {*REFUSED, *REPAIRED}
    assert len(files) >= 25


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_broken_file_is_refused_in_one_line_and_nothing_is_written(name, tmp_path):
    store = PanelStore(tmp_path / "panels")
    with pytest.raises(DataError, match=REFUSED[name]) as refusal:
        ingest_files([str(BROKEN / name)], "demand", store=store)
    assert "\n" not in str(refusal.value)
    assert not store.root.exists()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_broken_file_leaves_a_stored_panel_as_it_was(name, tmp_path):
    store = PanelStore(tmp_path)
    (tmp_path / "good.csv").write_text("unique_id,ds,y\n" + "".join(f"a,2023-12-{day:02},{day}\n" for day in range(1, 32)))
    ingest_files([str(tmp_path / "good.csv")], "demand", store=store)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    try:
        ingest_files([str(BROKEN / name)], "demand", store=store)
    except DataError:
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    else:  # what is too little for a panel of its own can be enough for one that exists
        assert name in {"one_row.csv", "all_missing.csv"}


@pytest.mark.parametrize("name", sorted(REPAIRED))
def test_what_loses_nothing_is_repaired_and_counted(name, tmp_path):
    report = ingest_files([str(BROKEN / name)], "demand", store=PanelStore(tmp_path))
    assert {group.kind: group.count for group in report.faults} == REPAIRED[name]


@pytest.mark.parametrize("name", sorted(CURED))
def test_the_flag_that_a_message_names_cures_the_file(name, tmp_path):
    policies, arguments, counts = CURED[name]
    if "columns" in arguments:
        arguments = {"columns": ColumnNames(id=arguments["columns"])}
    report = ingest_files(
        [str(BROKEN / name)], "demand", store=PanelStore(tmp_path), policies=IngestPolicies(**policies), **arguments
    )
    assert {kind: report.faults.count(kind) for kind in counts} == counts


def test_all_broken_files_at_once_stand_in_one_report(tmp_path):
    with pytest.raises(FaultyDataError) as refusal:
        ingest_files([str(BROKEN / "*.csv"), str(BROKEN / "*.parquet")], "demand", store=PanelStore(tmp_path))
    kinds = {group.kind for group in refusal.value.faults}
    assert {"unreadable_file"} <= kinds
    assert refusal.value.faults.count("unreadable_file") > 10


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match=r"is a folder; expected files. Name them, for example '.*/\*.csv'"):
        ingest_files([str(BROKEN)], "demand", store=PanelStore(tmp_path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere.csv does not exist. Check the path"):
        ingest_files(["nowhere.csv"], "demand", store=PanelStore(tmp_path))


def test_a_pattern_without_matches_is_named(tmp_path):
    with pytest.raises(DataError, match=r"pattern '.*\*.xyz' matches no file"):
        ingest_files([str(tmp_path / "*.xyz")], "demand", store=PanelStore(tmp_path))
