"""A running stream handed over to another run by the commands a user types: how long, the pause, and whether all is said once.

    python benchmarks/handover.py --folder FOLDER [--series 100000]

Ingests a made-up panel of 72 hours, trains two runs for a handful of steps (hidden 64, 24 leads by 3 quantiles), follows a feed
of NDJSON that gets another hour of all series a second after the last one is forecast, and hands the state over meanwhile. Needs
about 2 kB of disk for each series and forecast hour. Prints one JSON object.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FORECAST = [sys.executable, "-m", "forecaster"]
HOURS, FIRST = 72, np.datetime64("2025-01-01T00", "s")
SETTINGS = ("model.hidden_size=64", "model.members=1", "training.max_steps=5", "training.refit_share=0", "horizon=24")
SETTLED_SECONDS = 3.0  # without another forecast, and the hour is over
MOST_HOURS = 40  # a state keeps the last 48 values: what is older has to be ingested before another run takes over


def typed(folder: Path, *words: str) -> str:
    """What a command says."""
    return subprocess.run([*FORECAST, *words], cwd=folder, env=env_of(folder), check=True, capture_output=True, text=True).stdout


def env_of(folder: Path) -> dict[str, str]:
    return {**os.environ, "FORECASTER_HOME": str(folder), "OMP_NUM_THREADS": "1"}


def begin(folder: Path, series: int) -> None:
    """A panel, and two runs that were trained on it."""
    generator = np.random.default_rng(0)
    level, hours = generator.gamma(4.0, 25.0, size=(series, 1)), np.arange(HOURS)
    y = level * (1 + 0.4 * np.sin(2 * np.pi * hours / 24)) * np.exp(0.1 * generator.normal(size=(series, HOURS)))
    ids = np.repeat([f"meter-{b:07}" for b in range(series)], HOURS)
    ds = np.tile(FIRST + hours * np.timedelta64(3600, "s"), series)
    pq.write_table(pa.table({"unique_id": ids, "ds": ds, "y": y.ravel().round(3)}), folder / "big.parquet")
    typed(folder, "ingest", "big.parquet", "--name", "big")
    (folder / "small.yaml").write_text("quantiles: [0.1, 0.5, 0.9]\n")
    for seed, name in enumerate(("one", "two")):
        words = [word for setting in (*SETTINGS, f"seed={seed}") for word in ("--set", setting)]
        typed(folder, "train", "small.yaml", "--panel", "big", "--name", name, *words)


class Feed:
    """A feed that is followed, an hour of all series at a time, and the file of forecasts that it becomes."""

    def __init__(self, folder: Path, series: int) -> None:
        self.path, self.out, self.series, self.hours = folder / "feed.ndjson", folder / "out.arrow", series, 0
        self._generator = np.random.default_rng(1)
        self.path.write_bytes(b"")

    def give(self) -> None:
        stamp, values = FIRST + (HOURS + self.hours) * np.timedelta64(3600, "s"), self._generator.gamma(4.0, 25.0, self.series)
        lines = [f'{{"unique_id":"meter-{b:07}","ds":"{stamp}","y":{y}}}\n' for b, y in enumerate(values.round(2).tolist())]
        with self.path.open("ab") as file:
            file.write("".join(lines).encode())
        self.hours += 1

    def said(self) -> int:
        """Bytes of forecasts."""
        return self.out.stat().st_size if self.out.exists() else 0

    def settle(self) -> int:
        """Wait until the forecasts do not grow any more."""
        before, since = self.said(), time.monotonic()
        while not before or time.monotonic() < since + SETTLED_SECONDS:
            time.sleep(0.1)
            if self.said() != before:
                before, since = self.said(), time.monotonic()
        return before


def measure(folder: Path, series: int) -> dict[str, object]:
    feed = Feed(folder, series)
    words = ["stream", "one", "--in", feed.path.name, "--follow", "--out", feed.out.name]
    stream = subprocess.Popen([*FORECAST, *words], cwd=folder, env=env_of(folder), stderr=subprocess.DEVNULL)
    feed.give()
    an_hour, began = feed.settle(), time.monotonic()
    words = ["state", "handover", "state/one", "two", "--json"]
    asked = subprocess.Popen([*FORECAST, *words], cwd=folder, env=env_of(folder), stdout=subprocess.PIPE, text=True)
    while asked.poll() is None:
        if feed.hours < MOST_HOURS and feed.said() > 0.97 * an_hour * feed.hours:
            feed.give()
            time.sleep(1.0)
        time.sleep(0.01)
    took = time.monotonic() - began
    feed.give()
    feed.settle()
    stream.send_signal(signal.SIGTERM)
    stream.wait(120)
    assert asked.stdout is not None
    said = pa.ipc.open_stream(feed.out).read_all()
    return {
        "series": series,
        "handover_seconds": round(took, 1),
        "pause_ms": round(json.loads(asked.stdout.read())["pause_ms"], 1),
        "lines": series * feed.hours,
        "forecasts": said.num_rows,
        "distinct": said.group_by(["unique_id", "origin"]).aggregate([]).num_rows,
        "by_model": {row["values"]: row["counts"] for row in said["model"].value_counts().to_pylist()},
        "stream_left_with": stream.returncode,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="An empty one, to work in.")
    parser.add_argument("--series", type=int, default=100_000)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    folder = given.folder.resolve()
    begin(folder, given.series)
    print(json.dumps(measure(folder, given.series)), flush=True)


if __name__ == "__main__":
    main()
