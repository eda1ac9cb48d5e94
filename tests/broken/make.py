"""Writes the broken files beside it: `python tests/broken/make.py`. The files are committed; this says how they came to be."""

import gzip
import io
import zipfile
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
DAYS = [f"2024-01-{day:02}" for day in range(1, 11)]
GOOD = ["unique_id,ds,y", *(f"a,{day},{value}.5" for value, day in enumerate(DAYS, start=1))]


def lines(*rows: str) -> str:
    return "\n".join(rows) + "\n"


def good_with(*rows: str) -> str:
    """Ten good rows, then these."""
    return lines(*GOOD, *rows)


def hourly(zone: str = "", start: str = "2024-03-30", periods: int = 8) -> list[str]:
    return [f"a,{time:%Y-%m-%dT%H:%M}{zone},1.{n}" for n, time in enumerate(pd.date_range(start, periods=periods, freq="h"))]


TEXTS = {
    "header_only.csv": "unique_id,ds,y\n",
    "blank_lines_only.csv": "\n\n\n",
    "no_header.csv": lines(*GOOD[1:]),
    "one_row.csv": lines("unique_id,ds,y", "a,2024-01-01,1"),
    "mixed_offset_and_naive.csv": lines("unique_id,ds,y", *hourly("+01:00"), "a,2024-03-30T08:00,2"),
    "mixed_offsets.csv": lines("unique_id,ds,y", *hourly("+01:00", "2024-03-30"), "a,2024-03-30T10:00+02:00,2"),
    "clock_repeats_an_hour.csv": lines(
        "unique_id,ds,y", *(f"a,2024-10-27 {h}:00,{h}" for h in ("00", "01", "02", "02", "03", "04"))
    ),
    "clock_skips_an_hour.csv": lines("unique_id,ds,y", *(f"a,2024-03-31 {h}:00,{h}" for h in ("00", "01", "02", "03", "04"))),
    "year_0000.csv": good_with("a,0000-01-01,1"),
    "year_9999.csv": good_with("a,9999-12-31,1"),
    "far_outlier.csv": lines("unique_id,ds,y", "a,1700-01-01,1", *(f"a,2024-01-01 00:0{m}:00,1" for m in range(9))),
    "all_missing.csv": lines("unique_id,ds,y", *(f"a,{day},NaN" for day in DAYS)),
    "infinities.csv": good_with("a,2024-01-11,inf", "a,2024-01-12,-inf"),
    "thousands_separators.csv": good_with('a,2024-01-11,"1,234.5"'),
    "decimal_commas.csv": lines("unique_id;ds;y", *(f"a;{day};1,5" for day in DAYS)),
    "ids_in_other_spelling.csv": good_with(
        *(f"{name},{day},1" for name, day in zip(("A", " a", "a "), [DAYS[0], "2024-01-11", "2024-01-12"], strict=True))
    ),
    "ids_with_conflicting_spaces.csv": good_with("a ,2024-01-10,99"),
    "huge_value.csv": good_with("a,2024-01-11,1e308"),
    "beyond_double.csv": good_with("a,2024-01-11,1e400"),
    "one_observation_series.csv": good_with("b,2024-01-05,1"),
    "ragged_rows.csv": good_with("a,2024-01-11", "a,2024-01-12,1,2"),
    "two_columns_of_one_name.csv": lines("unique_id,ds,y,y", "a,2024-01-01,1,2"),
    "no_time_column.csv": lines("unique_id,y", "a,1", "a,2"),
    "no_value_column.csv": lines("unique_id,ds,height,width", "a,2024-01-01,1,2", "a,2024-01-02,1,2"),
    "two_time_columns.csv": lines("unique_id,date,time,y", "a,2024-01-01,10:00,1", "a,2024-01-02,10:00,2"),
    "mixed_frequency.csv": lines(
        "unique_id,ds,y",
        *(f"day,{day},1" for day in DAYS),
        *(f"hour,{time:%Y-%m-%d %H:%M},1" for time in pd.date_range("2024-01-01", periods=10, freq="h")),
    ),
    "misaligned.csv": lines("unique_id,ds,y", *(f"a,2024-01-01 {h:02}:00,{h}" for h in range(23)), "a,2024-01-01 23:20,1"),
    "text_in_values.csv": good_with("a,2024-01-11,broken sensor"),
    "unreadable_time.csv": good_with("a,yesterday,1", "a,,2"),
    "impossible_date.csv": good_with("a,2024-02-30,1"),
    "day_or_month_first.csv": lines("unique_id,ds,y", "a,01/02/2024,1", "a,02/02/2024,2", "a,03/02/2024,3"),
    "steps_overflow.csv": lines("unique_id,ds,y", "a,1,1", "a,2,1", "a,9223372036854775807,1", "a,99999999999999999999999,1"),
    "steps_negative_and_far.csv": lines("unique_id,ds,y", "a,-5,1", "a,-4,1", "a,4000000000000000,1"),
    "fractional_steps.csv": lines("unique_id,ds,y", "a,1,1", "a,2,1", "a,3,1", "a,3.5,1"),
    "empty_ids.csv": good_with(",2024-01-11,1", '"  ",2024-01-12,1'),
    "newline_in_quotes.csv": good_with('"a\nb",2024-01-01,1', '"a\nb",2024-01-02,1'),
    "open_quote.csv": good_with('"a,2024-01-11,1', "a,2024-01-12,1"),
    "duplicates.csv": good_with("a,2024-01-10,11", "a,2024-01-01,1.5"),
    "text_column_without_id.csv": lines("date,shop,y", "2024-01-01,north,1", "2024-01-01,south,2"),
    "wide_with_repeated_times.csv": lines("date,shop,units", *(f"2024-01-0{d},{s},{d}" for d in (1, 2, 3) for s in (1, 2, 3))),
    "broken_line.ndjson": lines(
        '{"unique_id":"a","ds":"2024-01-01","y":1}', '{"unique_id":"a","ds":', '{"unique_id":"a","ds":"2024-01-02","y":2}'
    ),
    "nested_values.ndjson": lines(
        *(f'{{"unique_id":"a","ds":"{day}","y":1}}' for day in DAYS), '{"unique_id":"a","ds":"2024-01-11","y":{"value":3}}'
    ),
    "not_objects.ndjson": "{}\n[1,2]\n3\n",
    "lone_surrogate.ndjson": '{"unique_id":"\\ud800","ds":"2024-01-01","y":1}\n{"unique_id":"a","ds":"2024-01-02","y":1}\n',
    "array.json": '[{"unique_id":"a","ds":"2024-01-01","y":1}]\n',
}


def parquet(**columns: list[object]) -> bytes:
    sink = io.BytesIO()
    pd.DataFrame(columns).to_parquet(sink, index=False)
    return sink.getvalue()


def excel() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(zipfile.ZipInfo("xl/workbook.xml"), "<workbook/>")
    return sink.getvalue()


def main() -> None:
    whole = parquet(unique_id=["a"] * 10, ds=DAYS, y=[1.0] * 10)
    blobs = {
        "empty.csv": b"",
        "binary_junk.csv": bytes(range(256)) * 4,
        "zeros.csv": b"unique_id,ds,y\na,2024-01-01,\0\0\n",
        "utf16.csv": lines(*GOOD).encode("utf-16"),
        "latin1.csv": good_with("Zürich,2024-01-01,1").encode("latin-1"),
        "truncated.parquet": whole[: len(whole) // 2],
        "no_rows.parquet": parquet(unique_id=[], ds=[], y=[]),
        "lists.parquet": parquet(unique_id=["a", "a"], ds=[1, 2], y=[[1.0], [2.0]]),
        "truncated.csv.gz": gzip.compress(lines(*GOOD).encode(), mtime=0)[:-20],
        "excel.csv": excel(),
    }
    for name, text in TEXTS.items():
        (HERE / name).write_bytes(text.encode())
    for name, data in blobs.items():
        (HERE / name).write_bytes(data)


if __name__ == "__main__":
    main()
