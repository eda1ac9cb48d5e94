"""A whole live stream on one core: a feed in, durable steps, forecasts out; by stage, by CPU time and by wall.

    python benchmarks/throughput.py [--series 1000 100000 1000000] [--hidden 64] [--events 1000000] [--formats arrow ndjson]

A network of random weights (hidden 64, one layer, one member, an hourly panel's season and calendar), 24 leads by 3 quantiles, a
forecast for every observation. For each number of series: one hour of all series after the other, in micro-batches of 16,384,
committed with the disk's fsync. "stepped" makes no forecasts; "forecast" writes them to a file, which is synced as well. Then one
event at a time, durable end to end, beside the disk's own fsync; the size of a series; and a restart. Prints one JSON object for
each number of series.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pyarrow as pa
import torch
from step_kernel import HOURLY, NOW, forecaster_of

from forecaster.models.recurrent import Recurrent
from forecaster.streaming.edges import open_sink, open_source
from forecaster.streaming.engine import Engine
from forecaster.streaming.live import LiveForecast
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.state import StateStore

STAGES = ("parse", "take in", "of which forecast", "commit", "emit")


def write_feed(path: Path, series: int, hours: int, form: str) -> None:
    """One hour of all series after the other, with dictionary-coded ids in Arrow."""
    generator = np.random.default_rng(0)
    ids = pa.array([f"meter-{b:07}" for b in range(series)])
    schema = pa.schema([("unique_id", pa.dictionary(pa.int32(), pa.string())), ("ds", pa.timestamp("s")), ("y", pa.float64())])
    stamps = (np.datetime64("1970-01-01T00", "s") + np.arange(NOW + 1, NOW + 1 + hours) * np.timedelta64(3600, "s")).tolist()
    with path.open("wb") as file:
        writer = pa.ipc.new_stream(file, schema) if form == "arrow" else None
        for stamp in stamps:
            values = generator.gamma(4.0, 25.0, size=series).round(3)
            for first in range(0, series, 16_384):
                rows = np.arange(first, min(first + 16_384, series), dtype=np.int32)
                if writer is None:
                    text = stamp.isoformat()
                    file.writelines(
                        f'{{"unique_id":"meter-{b:07}","ds":"{text}","y":{y}}}\n'.encode()
                        for b, y in zip(rows.tolist(), values[rows].tolist(), strict=True)
                    )
                else:
                    coded = pa.DictionaryArray.from_arrays(rows, ids)
                    columns = [coded, pa.array([stamp] * len(rows), pa.timestamp("s")), pa.array(values[rows])]
                    writer.write_batch(pa.record_batch(columns, schema=schema))
        if writer is not None:
            writer.close()


class Stages:
    """CPU seconds by stage; a wrapped call counts for its own."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        began = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] += time.process_time() - began


def open_engine(folder: Path, forecaster: Recurrent, *, every: int, window: int) -> tuple[StateStore, Engine]:
    store = StateStore.open(folder, fingerprint="random", frequency=HOURLY, state_size=forecaster.state_size, window=window)
    return store, Engine(forecaster, HOURLY, store, StreamingConfig(emit_every=every, revision_window=window))


def run(
    folder: Path, feed: Path, out: Path, forecaster: Recurrent, *, every: int, window: int, warm: int
) -> dict[str, float | dict[str, float]]:
    """Events a second over the feed after its first `warm` events, which make the series known."""
    stages = Stages()
    store, engine = open_engine(folder, forecaster, every=every, window=window)
    sink = open_sink(out, HOURLY, committed_bytes=engine.progress.output_bytes)
    source = open_source(feed, HOURLY, committed=engine.progress.feed, max_batch=16_384)
    plain = forecaster.forecast

    def forecast(state: np.ndarray, position: np.ndarray) -> np.ndarray:
        with stages.of("of which forecast"):
            return plain(state, position)

    object.__setattr__(forecaster, "forecast", forecast)
    began, wall, events = time.process_time(), time.perf_counter(), 0
    while True:
        with stages.of("parse"):
            arrivals = next(source, None)
        if arrivals is None:
            break
        if warm and events >= warm:
            warm, events, stages.seconds = 0, 0, dict.fromkeys(STAGES, 0.0)
            began, wall = time.process_time(), time.perf_counter()
        events += len(arrivals)
        with stages.of("take in"):
            live = engine.take_in(arrivals)
        with stages.of("emit"):
            emit(sink, live)
        with stages.of("commit"):
            engine.commit(output_bytes=sink.length)
    cpu, wall = time.process_time() - began, time.perf_counter() - wall
    object.__delattr__(forecaster, "forecast")
    sink.close()
    store.close()
    each = {name: round(1e9 * seconds / events) for name, seconds in stages.seconds.items()}
    return {"events_per_cpu_second": round(events / cpu), "events_per_second": round(events / wall), "ns_an_event": each}


def emit(sink: object, live: LiveForecast) -> None:
    sink.emit(live)  # type: ignore[attr-defined]
    sink.sync()  # type: ignore[attr-defined]


def latency(folder: Path, forecaster: Recurrent, *, series: int, window: int, times: int = 400) -> dict[str, float]:
    """Milliseconds from a line to its forecast on the disk, one event at a time, and of the disk's own fsync."""
    store, engine = open_engine(folder, forecaster, every=1, window=window)
    sink = open_sink(folder / "one.ndjson", HOURLY)
    generator = np.random.default_rng(1)
    position = int(engine.series.positions[: len(engine.series)].max()) + 1
    stamp = (np.datetime64("1970-01-01T00", "s") + position * np.timedelta64(3600, "s")).item().isoformat()
    milliseconds, syncs = [], []
    lines = [
        b'{"unique_id":"meter-%07d","ds":"%s","y":9.5}\n' % (b, stamp.encode()) for b in generator.permutation(series)[:times]
    ]
    (folder / "lines.ndjson").write_bytes(b"".join(lines))
    source = open_source(
        folder / "lines.ndjson", HOURLY, committed=replace(engine.progress.feed, offset=0, token=""), max_batch=1
    )
    while True:
        began = time.perf_counter()
        arrivals = next(source, None)
        if arrivals is None:
            break
        live = engine.take_in(arrivals)
        emit(sink, live)
        engine.commit(output_bytes=sink.length)
        milliseconds.append(1000 * (time.perf_counter() - began))
    with (folder / "sync").open("wb") as file:
        for _ in range(times):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            syncs.append(1000 * (time.perf_counter() - began))
    store.close()
    return {
        "p50_ms": round(float(np.median(milliseconds)), 2),
        "p99_ms": round(float(np.quantile(milliseconds, 0.99)), 2),
        "fsync_p50_ms": round(float(np.median(syncs)), 2),
    }


def measure(series: int, *, hidden: int, events: int, forms: list[str], window: int) -> dict[str, object]:
    forecaster = forecaster_of(hidden, 1)
    hours = max(2, -(-events // series)) + 1
    found: dict[str, object] = {"series": series, "events": series * (hours - 1), "window": window}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form in forms:
            feed = folder / f"feed.{form}"
            write_feed(feed, series, hours, form)
            for what, every in (("stepped", 0), ("forecast", 1)):
                state = folder / f"{form}-{what}"
                out = folder / f"{form}-{what}.arrow"
                found[f"{form}, {what}"] = run(state, feed, out, forecaster, every=every, window=window, warm=series)
                out.unlink()
            feed.unlink()
        state = folder / f"{forms[0]}-forecast"
        found["one event"] = latency(state, forecaster, series=series, window=window)
        store, engine = open_engine(state, forecaster, every=0, window=window)
        engine.rest()
        arrays = [getattr(engine.series, array) for array in engine.series.ARRAYS]
        found["bytes_a_series"] = {
            "memory": round(sum(array[:1].nbytes for array in arrays)),
            "disk": round(
                sum(file.stat().st_size for file in state.iterdir() if file.name.startswith(("shard", "state"))) / series
            ),
        }
        store.close()
        began = time.perf_counter()
        store, engine = open_engine(state, forecaster, every=0, window=window)
        found["restart_seconds"] = round(time.perf_counter() - began, 2)
        store.close()
        found["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--formats", nargs="+", default=["arrow", "ndjson"], choices=["arrow", "ndjson"])
    parser.add_argument("--window", type=int, default=24)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for series in given.series:
        with torch.inference_mode():
            found = measure(series, hidden=given.hidden, events=given.events, forms=given.formats, window=given.window)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
