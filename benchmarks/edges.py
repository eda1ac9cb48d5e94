"""How many rows a second the sources parse, and how many forecasts a second the sinks emit, in each format.

    python benchmarks/edges.py [--rows 400000] [--series 10000] [--max-batch 16384] [--only arrow] [--profile csv]

Prints one JSON object. Rates are per second of CPU on one thread, the best of three; `coded` is Arrow with ids as a dictionary.
Forecasts have 24 leads and 3 quantiles, and go to /dev/null, or to a file in the folder for temporary files.
"""

import argparse
import cProfile
import io
import json
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.streaming.edges import open_sink, open_source
from forecaster.streaming.live import LiveForecast

HOURLY = Frequency("h")
HORIZON, QUANTILES = 24, (0.1, 0.5, 0.9)
ROUNDS = 3


def make_table(rows: int, series: int) -> pa.Table:
    """So many observations, hour by hour, of so many series."""
    generator = np.random.default_rng(0)
    hours = np.arange(rows) // series
    return pa.table(
        {
            "unique_id": pa.array([f"series_{n}" for n in range(series)]).take(pa.array(np.arange(rows) % series)),
            "ds": pa.array(np.datetime64("2024-01-01T00", "s") + hours.astype("timedelta64[h]")),
            "y": generator.normal(100, 10, size=rows).round(3),
        }
    )


def feeds(table: pa.Table) -> dict[str, bytes]:
    """The table in each format."""
    stamps = table["ds"].cast(pa.string())
    lines = zip(table["unique_id"].to_pylist(), stamps.to_pylist(), table["y"].to_pylist(), strict=True)
    ndjson = "".join(f'{{"unique_id":"{unique_id}","ds":"{ds}","y":{y}}}\n' for unique_id, ds, y in lines)
    csv = io.BytesIO()
    pyarrow.csv.write_csv(table.set_column(1, "ds", stamps), csv, pyarrow.csv.WriteOptions(quoting_style="none"))
    coded = table.set_column(0, "unique_id", table["unique_id"].dictionary_encode())
    return {"ndjson": ndjson.encode(), "csv": csv.getvalue(), "arrow": as_stream(table), "coded": as_stream(coded)}


def as_stream(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=65_536)
    return stream.getvalue()


def parse(feed: bytes, name: str, *, max_batch: int) -> int:
    form = "arrow" if name == "coded" else name
    source = open_source(io.BytesIO(feed), HOURLY, format=form, max_batch=max_batch, max_latency_ms=1e6)
    return sum(len(batch) for batch in source)


def make_forecasts(count: int) -> LiveForecast:
    generator = np.random.default_rng(0)
    values = generator.normal(100, 10, size=(count, HORIZON, len(QUANTILES))).astype(np.float32).astype(np.float64)
    ids = tuple(f"series_{n}" for n in range(count))
    forecast = Forecast(ids, np.full(count, 480_000), QUANTILES, np.sort(values, axis=2), HOURLY, {})
    return LiveForecast(forecast, np.full(count, 100), np.zeros(count, dtype=bool))


def emit(path: Path, name: str, live: LiveForecast, *, times: int) -> int:
    path.unlink(missing_ok=True) if path.is_file() else None
    sink = open_sink(path, HOURLY, format=name) if str(path) != "/dev/null" else open_sink(path.open("wb"), HOURLY, format=name)
    for _ in range(times):
        sink.emit(live)
        sink.sync()
    sink.close()
    return times * len(live)


def rate(work: Callable[[], int]) -> int:
    """Of the best round, per second of CPU."""
    best = 0.0
    for _ in range(ROUNDS):
        began = time.process_time()
        done = work()
        best = max(best, done / (time.process_time() - began))
    return round(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--max-batch", type=int, default=16_384)
    parser.add_argument("--only", choices=["ndjson", "csv", "arrow", "coded"])
    parser.add_argument("--profile", choices=["ndjson", "csv", "arrow", "coded"])
    given = parser.parse_args()
    sources = {name: feed for name, feed in feeds(make_table(given.rows, given.series)).items() if given.only in (None, name)}
    if given.profile:
        profile = cProfile.Profile()
        profile.runcall(parse, sources[given.profile], given.profile, max_batch=given.max_batch)
        pstats.Stats(profile).sort_stats("tottime").print_stats(18)
        return
    parsed = {name: rate(lambda: parse(feed, name, max_batch=given.max_batch)) for name, feed in sources.items()}  # noqa: B023
    live, emitted = make_forecasts(min(given.max_batch, 4_096)), {}
    with tempfile.TemporaryDirectory() as folder:
        for name, times in (("ndjson", 10), ("csv", 10), ("arrow", 40)):
            if given.only not in (None, name):
                continue
            emitted[name] = {
                "stream": rate(lambda: emit(Path("/dev/null"), name, live, times=times)),  # noqa: B023
                "file": rate(lambda: emit(Path(folder) / name, name, live, times=times)),  # noqa: B023
            }
    print(json.dumps({"rows_parsed": parsed, "forecasts_emitted": emitted, "bytes": {n: len(f) for n, f in sources.items()}}))


if __name__ == "__main__":
    main()
