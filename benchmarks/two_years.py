"""Two years of hourly data of 1,000 live series in one durable run: memory and files, sampled each month, must not grow.

    python benchmarks/two_years.py [--series 1000] [--months 24] [--hidden 64] [--lines]

A network of random weights (one member, 24 leads by 3 quantiles) forecasts every series once a day. Six hours of all series make
a micro-batch, which is committed with the disk's fsync. The feed is as bad as feeds are: of a thousand observations five come an
hour late, one is sent again, one is corrected an hour later, and one never comes. With --lines it is sent as NDJSON and parsed,
and the forecasts are written as NDJSON to nowhere. Prints a JSON object for each month, and one for a restart at the end; files
are the largest sizes of the month, by kind.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import torch
from step_kernel import HOURLY, NOW, forecaster_of

from forecaster.streaming.arrivals import Arrivals, CodedIds, read_arrivals
from forecaster.streaming.dates import Dates
from forecaster.streaming.engine import Engine
from forecaster.streaming.live import FeedPosition
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.sinks import NdjsonSink
from forecaster.streaming.state import StateStore

HOURS_A_MONTH, HOURS_A_BATCH = 730, 6
LATE, AGAIN, CORRECTED, LOST = 0.005, 0.001, 0.001, 0.001
CONFIG = StreamingConfig(emit_at=24, revision_window=24)

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # series, positions and values of observations
Step = Callable[[Engine, Rows, int], None]


def bad_feed(series: int, hours: int) -> Iterator[Rows]:
    """Micro-batches of a few hours each, in the order of arrival."""
    rng = np.random.default_rng(0)
    level, everyone = rng.gamma(4.0, 25.0, series), np.arange(series)
    waiting: Rows = (everyone[:0], everyone[:0], level[:0])
    batch: list[Rows] = []
    for hour in range(hours):
        y = (level * (1 + 0.3 * np.sin(2 * np.pi * hour / 24)) + rng.normal(0, 5, series)).round(3)
        fate = rng.choice(5, series, p=(1 - LATE - AGAIN - CORRECTED - LOST, LATE, AGAIN, CORRECTED, LOST))
        position = np.full(series, NOW + hour)
        batch += [(everyone[on_time], position[on_time], y[on_time]) for on_time in [(fate != 1) & (fate != 4)]]
        batch.append(waiting)
        later = (fate > 0) & (fate < 4)
        waiting = (everyone[later], position[later], np.where(fate == 3, y + 1, y)[later])
        if (hour + 1) % HOURS_A_BATCH == 0:
            yield tuple(np.concatenate(column) for column in zip(*batch, strict=True))  # type: ignore[misc]
            batch = []


def step_plainly(names: tuple[str, ...]) -> Step:
    """Observations as arrays with coded ids; forecasts are dropped."""

    def step(engine: Engine, rows: Rows, taken: int) -> None:
        codes, positions, values = rows
        lines = np.arange(taken - len(codes), taken)
        feed = FeedPosition(taken)
        engine.advance(Arrivals(CodedIds(names, codes), positions, values, lines, (), feed, original=lambda _: b""))

    return step


def step_by_lines(names: tuple[str, ...]) -> Step:
    """Observations as lines of JSON, which are parsed; forecasts written as lines."""
    dates, sink = Dates(HOURLY), NdjsonSink(Path(os.devnull).open("wb"), HOURLY)  # noqa: SIM115 - as long as the process

    def step(engine: Engine, rows: Rows, taken: int) -> None:
        codes, positions, values = rows
        stamps = np.datetime_as_string(HOURLY.timestamps(positions).to_numpy(), unit="s").tolist()
        written = zip(codes.tolist(), stamps, values.tolist(), strict=True)
        lines = [f'{{"unique_id":"{names[code]}","ds":"{ds}","y":{y}}}\n'.encode() for code, ds, y in written]
        first = taken - len(lines) + 1
        live = engine.take_in(read_arrivals(lines, HOURLY, first_line=first, feed=FeedPosition(taken), dates=dates))
        sink.emit(live)
        engine.commit()

    return step


def kinds_of(folder: Path) -> Counter[str]:
    """Bytes of a state's files by kind: the log, the snapshots of its shards, dead letters."""
    found: Counter[str] = Counter()
    for file in folder.iterdir():
        kind = "log" if file.name.startswith("state") else file.name.split("-")[0].split(".")[0]
        found[kind] += file.stat().st_size
    return found


def memory_mb() -> float:
    """What the process holds at this moment."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def live_through(engine: Engine, folder: Path, step: Step, *, series: int, months: int) -> None:
    """Take in all months, and print what memory and files hold after each."""
    taken, largest, began, before = 0, Counter[str](), time.process_time(), 0
    batches_a_month = HOURS_A_MONTH // HOURS_A_BATCH
    for n, rows in enumerate(bad_feed(series, months * batches_a_month * HOURS_A_BATCH), 1):
        taken += len(rows[0])
        step(engine, rows, taken)
        largest |= kinds_of(folder)
        if n % batches_a_month == 0:
            rate = (taken - before) / (time.process_time() - began)
            files = {f"{kind}_kb": round(size / 1024) for kind, size in sorted(largest.items())}
            tell({"month": n // batches_a_month, "taken": taken, "rss_mb": memory_mb(), **files, "per_cpu_second": round(rate)})
            largest, began, before = Counter(), time.process_time(), taken


def tell(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--months", type=int, default=24)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--lines", action="store_true", help="observations as NDJSON, parsed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    forecaster = forecaster_of(given.hidden, 1)
    identity = {"fingerprint": "random", "frequency": HOURLY, "state_size": forecaster.state_size, "window": 24}
    names = tuple(f"meter-{b:05}" for b in range(given.series))
    step = step_by_lines(names) if given.lines else step_plainly(names)
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        with StateStore.open(folder, **identity) as store:
            engine = Engine(forecaster, HOURLY, store, CONFIG)
            live_through(engine, folder, step, series=given.series, months=given.months)
        began = time.perf_counter()
        with StateStore.open(folder, **identity) as store:
            engine = Engine(forecaster, HOURLY, store, CONFIG)
            seconds = time.perf_counter() - began
            counts = {name: count for name, count in engine.progress.counts.items() if count}
            tell({"restart_ms": round(1000 * seconds, 1), "replayed": engine.logged, "counts": counts})


if __name__ == "__main__":
    main()
