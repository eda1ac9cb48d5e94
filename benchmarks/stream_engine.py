"""How many observations a second the engine takes in, and where the time goes, with a stepper that costs next to nothing.

    python benchmarks/stream_engine.py [--series 1000] [--steps 100] [--max-batch 4096] [--every 1] [--state-size 64] [--profile]

Prints one JSON object; seconds are of the wall, on one thread.
"""

import argparse
import cProfile
import io
import json
import pstats
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from forecaster.forecast import State
from forecaster.frequency import Frequency, Positions
from forecaster.series import Panel, Values
from forecaster.streaming.engine import Engine, StreamingConfig
from forecaster.streaming.sinks import NdjsonSink
from forecaster.streaming.sources import read_ndjson
from forecaster.streaming.state import StateStore
from forecaster.streaming.stream import stream_forecasts

HOURLY = Frequency("h")


@dataclass(frozen=True)
class LastValue:
    """Carries the last value, and forecasts it."""

    state_size: int
    fingerprint: str = "last-value"
    horizon: int = 24
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)

    def initial_state(self, count: int) -> State:
        return np.zeros((count, self.state_size), np.float32)

    def step(self, state: State, y: Values, position: Positions) -> State:  # noqa: ARG002 - the door has it
        after = state.copy()
        after[:, 0] = y
        return after

    def forecast(self, state: State, position: Positions) -> Values:  # noqa: ARG002 - the door has it
        return np.repeat(state[:, :1], self.horizon * len(self.quantiles), axis=1).astype(float).reshape(len(state), -1, 3)


def make_feed(series: int, steps: int) -> bytes:
    generator = np.random.default_rng(0)
    stamps = np.datetime_as_string(np.datetime64("2024-01-01T00") + np.arange(steps), unit="s").tolist()
    values = generator.normal(100, 10, size=(steps, series)).round(3)
    return b"".join(
        orjson.dumps({"unique_id": f"series_{b}", "ds": stamps[t], "y": values[t, b]}, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n"
        for t in range(steps)
        for b in range(series)
    )


def measure_stream(directory: Path, feed: bytes, *, state_size: int, config: StreamingConfig) -> dict[str, float]:
    stepper = LastValue(state_size)
    with open_store(directory, stepper) as store, (directory / "forecasts.ndjson").open("wb") as out:
        engine = Engine(stepper, HOURLY, store, config)
        source = read_ndjson(io.BytesIO(feed), HOURLY, max_batch=config.max_batch, max_latency_ms=1e6)
        summary = stream_forecasts(source, engine, NdjsonSink(out, HOURLY))
    return {"observations_per_second": round(sum(summary.counts.values()) / summary.seconds), "seconds": summary.seconds}


def measure_store(directory: Path, *, series: int, state_size: int) -> dict[str, float]:
    stepper = LastValue(state_size)
    panel = Panel(
        tuple(f"s{b:07}" for b in range(series)), np.zeros(series, np.int64), np.arange(series + 1), np.ones(series), HOURLY
    )
    with open_store(directory, stepper) as store:
        engine = Engine(stepper, HOURLY, store)
        began = time.perf_counter()
        engine.warm(panel)
        saved = time.perf_counter() - began
    began = time.perf_counter()
    with open_store(directory, stepper) as store:
        store.load()
    loaded = time.perf_counter() - began
    return {"series": series, "saved_per_second": round(series / saved), "loaded_per_second": round(series / loaded)}


def open_store(directory: Path, stepper: LastValue) -> StateStore:
    return StateStore.open(directory, fingerprint="last-value", frequency=HOURLY, state_size=stepper.state_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--max-batch", type=int, default=4096)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--state-size", type=int, default=64)
    parser.add_argument("--stored", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    feed = make_feed(given.series, given.steps)
    config = StreamingConfig(max_batch=given.max_batch, emit_every=given.every)
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        if given.profile:
            profile.enable()
        stream = measure_stream(Path(folder), feed, state_size=given.state_size, config=config)
        profile.disable()
    with tempfile.TemporaryDirectory() as folder:
        store = measure_store(Path(folder), series=given.stored, state_size=given.state_size)
    print(json.dumps({"stream": stream, "store": store}))
    if given.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(22)


if __name__ == "__main__":
    main()
