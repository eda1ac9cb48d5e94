"""Kill a stream again and again over real feeds, fill its disk, flip its bytes; nothing may be lost, doubled or believed.

    python benchmarks/soak.py [--data ../shared/data] [--feeds pm25 hourly] [--kills 300] [--seed 1]

For each feed: train a small network on the history, let one stream take in the rest (with repetitions, corrections, late and
broken lines sown in), and another one that is killed `--kills` times with SIGKILL, half of the time at a call that touches the
disk (before or after it), half of the time at a random moment. Output, dead letters and state must be equal to the byte. Then
single bytes of every file are flipped, and the disk is filled at many sizes. Prints one JSON object a feed.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import orjson
import pandas as pd
from crashes import flip_bytes, one_life, soak

from forecaster.config import changed, read_config
from forecaster.ingest import PanelStore, ingest_files
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker, open_live
from forecaster.jobs.runs import Run
from forecaster.jobs.stream import Feed, Outlet, stream
from forecaster.jobs.train import train
from forecaster.streaming.live import LiveSeries

MOST_POINTS = 60  # a life of some four micro-batches
BATCHES = 2_500  # of a feed: enough to be cut off in 300 times
SMALL = ("model.hidden_size=16", "model.members=1", "model.head_size=32", "training.max_steps=20", "baselines.names=[]")


def split(data: Path, name: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """History and what comes after it, in the order of time."""
    if name == "pm25":
        frame = pd.read_parquet(data / "beijing_pm25_dev.parquet")
        cut = frame["ds"].quantile(0.8)
        before, after = frame[frame["ds"] <= cut], frame[frame["ds"] > cut]
    else:
        before, after = (pd.read_parquet(data / f"m4_hourly_{part}.parquet") for part in ("train", "test"))
    return before, after.sort_values(["ds", "unique_id"])


def sow(frame: pd.DataFrame, seed: int) -> bytes:
    """The rows as lines, with what a real feed brings besides."""
    generator = np.random.default_rng(seed)
    lines: list[bytes] = []
    later: list[tuple[int, bytes]] = []
    for n, (unique_id, ds, y) in enumerate(zip(frame["unique_id"], frame["ds"], frame["y"], strict=True)):
        stamp = ds.isoformat() if hasattr(ds, "isoformat") else int(ds)
        row = {"unique_id": unique_id, "ds": stamp, "y": None if y != y else float(y)}
        right = orjson.dumps(row) + b"\n"
        kind = generator.random()
        if kind < 0.01:
            later.append((n + int(generator.integers(10, 3_000)), right))  # late, some of it too late
        elif kind < 0.02:
            lines.append(orjson.dumps(row | {"y": 1.0}) + b"\n")
            later.append((n + int(generator.integers(10, 3_000)), right))  # corrected
        else:
            lines.append(right)
            if kind > 0.99:
                later.append((n + int(generator.integers(1, 3_000)), right))  # sent twice
            if kind > 0.999:
                lines.append(right[: len(right) // 2] + b"\n")
        while later and min(later)[0] <= n:
            later.sort()
            lines.append(later.pop(0)[1])
    return b"".join(lines + [line for _, line in sorted(later)])


def measure(data: Path, name: str, *, kills: int, seed: int, folder: Path) -> dict[str, object]:
    home = Home(folder)
    before, after = split(data, name)
    before.to_parquet(folder / "history.parquet")
    (folder / "feed.ndjson").write_bytes(sow(after, seed))
    ingest_files([str(folder / "history.parquet")], name, store=PanelStore(home.panels))
    config = read_config(Path(__file__).parents[1] / "configs" / "default.yaml", SMALL)
    (folder / "small.yaml").write_text(config.to_yaml())
    quiet: Callable[..., None] = lambda *_: None  # noqa: E731
    run = train(config, name, home=home, name=name, command="", fresh=False, say=quiet, progress=quiet)
    speaker = Speaker.of(Run.open(str(run.path), home), home, None, say=quiet)
    lines = (folder / "feed.ndjson").read_bytes().count(b"\n")
    settings = changed(config, [f"streaming.max_batch={max(lines // BATCHES, 4)}"]).streaming

    def live(state: Path) -> None:
        stream(
            speaker,
            home=home,
            state=state,
            feed=Feed(str(folder / "feed.ndjson")),
            outlet=Outlet(str(state.with_suffix(".ndjson"))),
            config=settings,
            should_stop=lambda: False,
            say=quiet,
            progress=quiet,
        )

    def content(state: Path) -> bytes:
        with open_live(speaker, home, state, config=settings, cold=True, rebuild=False, say=quiet) as engine:
            series, count = engine.series, len(engine.series)
            arrays = [getattr(series, array)[:count].tobytes() for array in LiveSeries.ARRAYS]
            counts = {**engine.progress.__dict__, "output": ""}
            return repr((counts, series.ids)).encode() + b"".join(arrays)

    def left(state: Path) -> list[bytes]:
        return [content(state), state.with_suffix(".ndjson").read_bytes(), (state / "dead_letters.ndjson").read_bytes()]

    one_life(lambda: live(folder / "unbroken"))
    began = time.monotonic()
    found = soak(lambda: live(folder / "killed"), kills=kills, seed=seed, most_points=MOST_POINTS, at_random_ms=1000)
    seconds = time.monotonic() - began
    equal = [one == other for one, other in zip(left(folder / "unbroken"), left(folder / "killed"), strict=True)]
    refused = 0
    for limit in np.linspace(200_000, 30_000_000, 12).astype(int).tolist():
        try:
            one_life(lambda: live(folder / "full"), file_bytes=limit)
        except AssertionError as error:
            if "StateError" not in str(error):
                raise
            refused += 1
    one_life(lambda: live(folder / "full"))
    full = [one == other for one, other in zip(left(folder / "unbroken"), left(folder / "full"), strict=True)]
    flipped = flip_bytes(folder / "killed", lambda: content(folder / "killed"), times=40, seed=seed)
    with open_live(speaker, home, folder / "killed", config=settings, cold=True, rebuild=False, say=quiet) as engine:
        counts = {name: count for name, count in engine.progress.counts.items() if count}
    return {
        "feed": name,
        "lines": lines,
        "series": len(before["unique_id"].unique()),
        "counts": counts,
        "kills": found.killed,
        "kills_by_point": dict(found.kills.most_common()),
        "seconds": round(seconds),
        "state_output_dead_letters_equal": equal,
        "disk_full": {"refused": refused, "state_output_dead_letters_equal": full},
        "flipped": {file: dict(outcome) for file, outcome in flipped.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--feeds", nargs="+", default=["pm25", "hourly"], choices=["pm25", "hourly"])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for name in given.feeds:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(given.data, name, kills=given.kills, seed=given.seed, folder=Path(folder))), flush=True)


if __name__ == "__main__":
    main()
