"""A panel of ten million rows, made of real series, and what a command takes that is given it.

    python benchmarks/ten_million.py make FOLDER [--series 10000] [--rows 1000]
    python benchmarks/ten_million.py measure forecast ingest FOLDER/panel.csv --name large

`make` cuts pieces from M4 Hourly, ETTh1 and Beijing PM2.5 at seeded places, puts each in a unit of its own, adds 2 % of noise,
and writes panel.csv and panel.parquet. `measure` runs any command and prints one JSON object: its CPU time, the most memory that
it had of its own (`anonymous_mb`, which nothing but the end of the process gives back) and with the pages of files that it looked
at (`resident_mb`, which the system takes back when others need memory). Processes that it starts count for their CPU time alone.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

SOURCES = ("m4_hourly_train.parquet", "etth1.parquet", "beijing_pm25_dev.parquet")
SCHEMA = pa.schema([("unique_id", pa.string()), ("ds", pa.timestamp("s")), ("y", pa.float64())])
SERIES_AT_ONCE, LOOK_SECONDS = 100, 0.02


def pieces(data: Path, series: int, rows: int, seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Names and values, each a piece of a real series."""
    random = np.random.default_rng(seed)
    tables = [pd.read_parquet(data / name) for name in SOURCES]
    sources = [group["y"].to_numpy(dtype=np.float64) for table in tables for _, group in table.groupby("unique_id")]
    for number in range(series):
        source = sources[number % len(sources)]
        source = np.tile(source, -(-rows // len(source)))
        begin = random.integers(0, len(source) - rows + 1)
        piece = source[begin : begin + rows]
        size = float(np.nanmean(np.abs(piece))) or 1.0
        scale = 10.0 ** random.uniform(-1, 2) / (size if size == size else 1.0)
        noisy = np.maximum(piece * (1 + 0.02 * random.normal(size=rows)), np.nanmin(piece))
        yield f"series-{number:06}", np.round(noisy * scale, 4)


def make(folder: Path, data: Path, series: int, rows: int) -> None:
    """Write the panel, some series at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    stamps = pd.date_range("2024-01-01", periods=rows, freq="h").to_numpy().astype("datetime64[s]")
    text, parquet = folder / "panel.csv", folder / "panel.parquet"
    with pyarrow.csv.CSVWriter(text, SCHEMA) as lines, pyarrow.parquet.ParquetWriter(parquet, SCHEMA) as groups:
        batch = []
        for number, (unique_id, values) in enumerate(pieces(data, series, rows), start=1):
            columns = {"unique_id": [unique_id] * rows, "ds": stamps, "y": pa.array(values, from_pandas=True)}
            batch.append(pa.table(columns, schema=SCHEMA))
            if len(batch) == SERIES_AT_ONCE or number == series:
                table = pa.concat_tables(batch)
                lines.write_table(table)
                groups.write_table(table)
                batch = []


def measure(command: list[str]) -> dict[str, object]:
    """What a command takes."""
    began, process, anonymous = time.monotonic(), subprocess.Popen(command), 0
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            anonymous = max([anonymous, *(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))])
        except OSError:
            break
        time.sleep(LOOK_SECONDS)
    code, used = process.wait(), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "command": " ".join(command),
        "exit": code,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "wall_seconds": round(time.monotonic() - began, 1),
        "anonymous_mb": anonymous // 1024,
        "resident_mb": used.ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="what", required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    making.add_argument("--series", type=int, default=10_000)
    making.add_argument("--rows", type=int, default=1_000)
    commands.add_parser("measure").add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if given.what == "make":
        make(given.folder, given.data, given.series, given.rows)
    else:
        print(json.dumps(measure(given.command)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
