"""A new model takes a stream over: what its series cost, and for how long the switch holds the stream up.

    python benchmarks/takeover.py [--series 1000 100000] [--hidden 64] [--batch 16384]

Two networks of random weights (one layer, one member, an hourly panel's season and calendar), 24 leads by 3 quantiles, a window
of 24 positions. A stream of the first has taken in two hours of all series; the other's series adopt what it took in last, are
saved, loaded again, and read the log along; then one more micro-batch is committed, and between it and the next the stream
switches: the other's series take that one in, their files are moved, and a transaction changes whose the state is. Milliseconds
of wall and of CPU of each part; of these, a running stream is held up by the switch alone. Prints one JSON object for each number
of series.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from step_kernel import HOURLY, NOW, forecaster_of

from forecaster.streaming.arrivals import Arrivals, CodedIds
from forecaster.streaming.directory import identity_of
from forecaster.streaming.engine import Engine
from forecaster.streaming.heir import Heir, rehearse
from forecaster.streaming.live import FeedPosition, LiveSeries
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.state import StateStore

HOURS, WINDOW = 2, 24


@dataclass
class Clock:
    """Milliseconds of wall and of CPU, by part."""

    parts: dict[str, dict[str, float]] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.parts[name] = {
            "wall_ms": round(1000 * (time.perf_counter() - wall), 1),
            "cpu_ms": round(1000 * (time.process_time() - cpu), 1),
        }


def feed_of(series: int, batch: int) -> Callable[[int, int], list[Arrivals]]:
    """Micro-batches of an hour of all series, or of as many as are asked for."""
    names, generator = tuple(f"meter-{b:07}" for b in range(series)), np.random.default_rng(0)

    def hour(number: int, most: int) -> list[Arrivals]:
        rows = [np.arange(first, min(first + batch, series)) for first in range(0, series, batch)][:most]
        return [
            Arrivals(
                ids=CodedIds(names, row),
                positions=np.full(len(row), NOW + number),
                values=generator.gamma(4.0, 25.0, size=len(row)),
                lines=row + 1,
                rejected=(),
                feed=FeedPosition(number * series + int(row[-1]) + 1),
                original=bytes,
            )
            for row in rows
        ]

    return hour


def measure(series: int, *, hidden: int, batch: int) -> dict[str, Any]:
    one, other = forecaster_of(hidden, 1), forecaster_of(hidden, 1)
    hour, clock = feed_of(series, batch), Clock()
    config = StreamingConfig(emit_every=0, revision_window=WINDOW)
    with tempfile.TemporaryDirectory() as name:
        state, beside = Path(name) / "state", Path(name) / "state" / "beside"
        size = other.state_size
        with StateStore.open(state, fingerprint="one", frequency=HOURLY, state_size=size, window=WINDOW) as store:
            engine = Engine(one, HOURLY, store, config)
            for number in range(HOURS):
                for arrivals in hour(number, series):
                    engine.advance(arrivals)
            store.keeps_log_after = store.batch
            heir = Heir(other, LiveSeries(size, window=WINDOW))
            with clock.of("adopt the last values"):
                heir.adopt(engine.series, batch=store.batch)
            with clock.of("save"):
                saved = heir.save(beside)
            with clock.of("load, and rehearse"):
                heir = Heir.load(beside, saved, other, engine.series.ids, window=WINDOW)
                rehearse(other, heir.series)
            (arrivals,) = hour(HOURS, 1)
            engine.advance(arrivals)
            heir.follow(store.blocks_after(heir.batch))
            with clock.of("a micro-batch of the stream"):
                engine.advance(replace(arrivals, positions=arrivals.positions + 1))
            with clock.of("switch"):
                behind = heir.follow(store.blocks_after(heir.batch))
                identity = identity_of("other", HOURLY, size, WINDOW)
                engine.change_model(heir, beside, saved, name="other", identity=identity, owner={})
            with clock.of("the next micro-batch"):
                engine.advance(replace(arrivals, positions=arrivals.positions + 2))
    return {"series": series, "observations_behind": behind, **clock.parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16_384)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for series in given.series:
        print(json.dumps(measure(series, hidden=given.hidden, batch=given.batch)), flush=True)


if __name__ == "__main__":
    main()
