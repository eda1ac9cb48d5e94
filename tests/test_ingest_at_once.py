"""However few rows are worked on at once, the panel and the report are those of all rows together."""

import gzip
import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forecaster.errors import DataError
from forecaster.ingest import ColumnNames, FaultyDataError, IngestPolicies, PanelStore, ingest_files

BROKEN = sorted(path for path in (Path(__file__).parent / "broken").iterdir() if path.is_file())
LENIENT = IngestPolicies("last", "floor", "drop", "missing", "infer", short="drop")


def ingested(folder, sources, at_once, **arguments):
    """What an ingest came to: its report, or its refusal, and the panel that is stored then."""
    store = PanelStore(folder)
    try:
        told = ingest_files(sources, "demand", store=store, at_once=at_once, **arguments).to_dict()
    except FaultyDataError as error:
        told = error.faults.to_dict()
    except DataError as error:
        told = str(error)
    return told, store.load("demand").fingerprint if store.names() else None


def both(tmp_path, sources, at_once=7, **arguments):
    few = ingested(tmp_path / "few", sources, at_once, **arguments)
    return few, ingested(tmp_path / "all", sources, 1 << 20, **arguments)


@pytest.mark.parametrize("policies", [IngestPolicies(), LENIENT], ids=["strict", "lenient"])
@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.name)
def test_a_broken_file_has_the_same_faults(path, policies, tmp_path):
    few, together = both(tmp_path, [str(path)], policies=policies)
    assert few == together


def many(random, *, with_covariates=False, series=9):
    """Rows of a few series in any order, some missing, some twice."""
    parts = []
    for n in range(series):
        days = pd.date_range("2024-01-01", periods=int(random.integers(3, 40)), freq="h") + pd.Timedelta(hours=n)
        part = pd.DataFrame({"unique_id": f"series {n}", "ds": days, "y": random.normal(size=len(days)).round(3)})
        part.loc[random.random(len(part)) < 0.1, "y"] = np.nan
        parts.append(part[random.random(len(part)) > 0.1])
    frame = pd.concat(parts).sample(frac=1.0, random_state=int(random.integers(1 << 30)))
    if with_covariates:
        frame["price"] = random.integers(1, 5, len(frame))
        frame["region"] = frame["unique_id"].map(lambda name: f"r{name[-1]}")
    return frame


def written(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False, row_group_size=11)
    elif path.suffix == ".ndjson":
        frame.assign(ds=frame["ds"].astype(str)).to_json(path, orient="records", lines=True)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(frame.to_csv(index=False).encode()))
    else:
        path.write_text(frame.to_csv(index=False))
    return str(path)


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz", "x.parquet", "x.ndjson"])
@pytest.mark.parametrize("with_covariates", [False, True], ids=["values", "covariates"])
def test_every_format_is_read_in_pieces(name, with_covariates, tmp_path):
    random = np.random.default_rng(11)
    columns = ColumnNames(known=("price",), static=("region",)) if with_covariates else ColumnNames()
    first, second = (many(random, with_covariates=with_covariates, series=n) for n in (9, 12))
    (tmp_path / "in").mkdir()
    old, more = written(first, tmp_path / "in" / name), written(second, tmp_path / "in" / f"more-{name}")
    for sources in ([old], [more], [more, old]):
        few, together = both(tmp_path, sources, policies=IngestPolicies(duplicates="last"), columns=columns)
        assert isinstance(few[0], dict), few
        assert few == together


def test_a_wide_file_is_read_in_pieces(tmp_path):
    hours = pd.date_range("2024-01-01", periods=60, freq="h")
    frame = pd.DataFrame(np.arange(300.0).reshape(60, 5), columns=list("abcde"), index=hours).rename_axis("ds").reset_index()
    frame.loc[:30, "c"] = np.nan
    source = written(frame, tmp_path / "wide.csv")
    few, together = both(tmp_path, [source])
    assert few == together
    assert PanelStore(tmp_path / "few").load("demand").lengths.tolist() == [60, 60, 29, 60, 60]


def test_quoted_line_ends_fall_into_no_gap(tmp_path):
    frame = many(np.random.default_rng(2)).assign(note='two\nlines, and "quotes"')
    few, together = both(tmp_path, [written(frame, tmp_path / "x.csv")])
    assert few == together
    assert few[0]["rows_read"] == len(frame)


def test_how_dates_are_written_is_found_in_the_whole_file(tmp_path):
    days = pd.date_range("2024-01-01", periods=60)
    frame = pd.DataFrame({"ds": days.strftime("%d/%m/%Y"), "y": np.arange(60.0)})
    few, together = both(tmp_path, [written(frame, tmp_path / "x.csv")], at_once=4)
    assert few == together
    assert few[0]["last"] == "2024-02-29 00:00:00"


def test_an_encoding_is_kept_across_pieces(tmp_path):
    frame = many(np.random.default_rng(3)).assign(unique_id=lambda rows: rows["unique_id"].str.replace("series", "Größe"))
    for encoding in ("latin-1", "utf-16"):
        (tmp_path / "x.csv").write_bytes(frame.to_csv(index=False).encode(encoding))
        few, together = both(tmp_path / encoding, [str(tmp_path / "x.csv")], encoding=encoding)
        assert few == together
        assert PanelStore(tmp_path / encoding / "few").load("demand").ids[0] == "Größe 0"


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1 << 20), st.integers(8, 80))
@example(871, 8)  # half of the rows off the grid, in many series
def test_any_number_of_rows_at_once_gives_the_same_panel(tmp_path_factory, seed, at_once):
    folder = tmp_path_factory.mktemp("pieces")
    random = np.random.default_rng(seed)
    frames = [many(random, series=int(random.integers(1, 12))) for _ in range(2)]
    for number, frame in enumerate(frames):
        source = written(frame, folder / f"{number}.csv")
        few, together = both(folder, [source], at_once=at_once)
        assert few == together


def test_stdin_is_read_in_pieces(tmp_path):
    data = many(np.random.default_rng(5)).to_csv(index=False).encode()
    few = ingested(tmp_path / "few", ["-"], 5, stdin=io.BytesIO(data))
    assert few == ingested(tmp_path / "all", ["-"], 1 << 20, stdin=io.BytesIO(data))
