"""Feeds with gaps, duplicates and missing values, streamed as they come, beside the same feeds cleaned beforehand.

    python benchmarks/nab_gaps.py [--data ../shared/data] [--groups nab_5min nab_hourly pm25] [--set key=value]

NAB's twelve series (cloud metrics, temperatures, keystrokes: gaps of minutes to a week, an hour that came twice, eleven values at
one time, three clocks that tick at other minutes) and Beijing's PM2.5. Everything goes through the program's own commands. The
first part of each series is ingested and trains a network of 32 units; the rest, in the order of the source, is streamed

* raw: what is missing is not sent, what came twice is sent twice, times as they were written;
* cleaned: on the grid, the last of the values for one time, and null for each that is missing;
* with NaN (PM2.5 alone): missing values as Python's json writes them, which is no JSON.

Forecasts are scored by the cleaned values, at the origins that have a value: the last forecast that was made from each. MASE is
scaled by daily differences in the first part. Prints a JSON object for each feed, and what was refused, by reason.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pyarrow as pa

SMALL = ("model.hidden_size=32", "model.members=1", "training.max_steps=100", "baselines.names=[]", "training.accelerator=cpu")
DAY = pd.Timedelta("1D")


@dataclass(frozen=True)
class Group:
    """Series of one frequency: which of a file's, how far they are forecast, and the share of each that is known before."""

    file: str
    alias: str
    horizon: int
    known: float
    is_hourly: bool = True


GROUPS = {
    "nab_5min": Group("nab_gaps_dev", "5min", 12, 0.4, is_hourly=False),  # what came twice lies before the middle
    "nab_hourly": Group("nab_gaps_dev", "h", 24, 0.4),
    "pm25": Group("beijing_pm25_dev", "h", 24, 0.8),
}


def read_group(group: Group, data: Path) -> pd.DataFrame:
    """The rows of a group in the order of the source, with `part`: the share of its series that lies before each."""
    frame = pd.read_parquet(data / f"{group.file}.parquet").reset_index(drop=True)
    frame["ds"] = pd.to_datetime(frame["ds"]).astype("datetime64[ns]")
    by_series = frame.groupby("unique_id")
    steps = by_series["ds"].transform(lambda ds: ds.diff().median())
    frame["part"] = by_series.cumcount() / by_series["ds"].transform("size")
    return frame[(steps == pd.Timedelta("1h")) == group.is_hourly]


def cleaned(frame: pd.DataFrame, alias: str) -> pd.DataFrame:
    """On the grid, the last value for each time, and NaN for the times between that have none; in the order of time."""
    floored = frame.assign(ds=frame["ds"].dt.floor(alias)).drop_duplicates(["unique_id", "ds"], keep="last")
    whole = [
        rows.set_index("ds")["y"].asfreq(alias).reset_index().assign(unique_id=unique_id)
        for unique_id, rows in floored.sort_values("ds").groupby("unique_id")
    ]
    return pd.concat(whole).sort_values(["ds", "unique_id"], kind="stable")


def as_they_came(frame: pd.DataFrame) -> pd.DataFrame:
    """Series beside each other, as live ones are: by the time that each had come to, and in the order of its source."""
    reached = frame.groupby("unique_id")["ds"].cummax()
    return frame.assign(reached=reached).sort_values("reached", kind="stable")


def write_lines(frame: pd.DataFrame, path: Path, *, missing: str = "null") -> Path:
    rows = zip(frame["unique_id"], frame["ds"].dt.strftime("%Y-%m-%dT%H:%M"), frame["y"].tolist(), strict=True)
    lines = [f'{{"unique_id":"{unique_id}","ds":"{ds}","y":{missing if y != y else y}}}\n' for unique_id, ds, y in rows]
    path.write_text("".join(lines))
    return path


def forecast(*words: str, home: Path) -> dict[str, Any]:
    """What a command tells with --json: on stdout or, of a stream, as the last line of stderr."""
    command = [sys.executable, "-m", "forecaster", *words, "--json"]
    done = subprocess.run(command, env={**os.environ, "FORECASTER_HOME": str(home)}, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr.decode()[-2000:]}")
    return dict(json.loads(done.stderr.decode().strip().splitlines()[-1] if words[0] == "stream" else done.stdout))


def stream(feed: Path, home: Path, settings: list[str]) -> tuple[dict[str, Any], pd.DataFrame]:
    """The summary of a stream from the run's history on, and the last forecast from each origin: medians [L]."""
    out, state = feed.with_suffix(".arrow"), feed.with_suffix("")
    words = [word for setting in settings for word in ("--set", setting)]
    told = forecast("stream", "run", "--state", str(state), "--in", str(feed), "--out", str(out), *words, home=home)
    frame = pa.ipc.open_stream(out).read_all().select(["unique_id", "origin", "q0.5"]).to_pandas()
    return told, frame.drop_duplicates(["unique_id", "origin"], keep="last")


def refused(told: dict[str, Any]) -> dict[str, int]:
    """How many observations were refused, by the reason without its names and numbers."""
    letters = Path(told["dead_letters"])
    lines = letters.read_text().splitlines() if letters.exists() else []
    reasons = (f"{json.loads(line)['arrival']}: {json.loads(line)['reason']}" for line in lines)
    return dict(Counter(re.sub(r"'[^']*'|\d[-\d:T ]*", "…", reason)[:120] for reason in reasons))


def errors_of(made: pd.DataFrame, whole: pd.DataFrame, known: pd.DataFrame, group: Group) -> pd.Series:
    """The MASE of each series."""
    step, found = pd.tseries.frequencies.to_offset(group.alias), {}
    leads = np.arange(1, group.horizon + 1) * pd.Timedelta(step).to_numpy()
    for unique_id, said in made.groupby("unique_id"):
        y = whole[whole["unique_id"] == unique_id].set_index("ds")["y"]
        before = y[: known[known["unique_id"] == unique_id]["ds"].max()]
        scale = (before - before.shift(freq=DAY)).abs().mean()
        said = said[said["origin"].isin(y.index[y.notna()])]
        times = said["origin"].to_numpy("datetime64[ns]")[:, None] + leads[None, :]
        truths = y.reindex(times.ravel()).to_numpy().reshape(times.shape)
        found[unique_id] = float(np.nanmean(np.abs(np.stack(said["q0.5"].to_numpy()) - truths)) / scale)
    return pd.Series(found)


def states_of(state: Path, home: Path) -> pd.DataFrame:
    """What each series carries at the end."""
    out = state.with_suffix(".parquet")
    forecast("state", "export", str(state), "--out", str(out), home=home)
    return pd.read_parquet(out).set_index("unique_id").sort_index()


def measure(name: str, data: Path, home: Path, settings: list[str]) -> None:
    """Ingest, train, and stream the feeds of a group."""
    group = GROUPS[name]
    frame = read_group(group, data)
    whole, known, live = cleaned(frame, group.alias), frame[frame["part"] < group.known], frame[frame["part"] >= group.known]
    history = home / "history.parquet"
    known[["unique_id", "ds", "y"]].to_parquet(history, index=False)
    forecast("ingest", str(history), "--name", "panel", "--misaligned", "floor", "--duplicates", "last", home=home)
    small = [word for setting in (*SMALL, f"horizon={group.horizon}") for word in ("--set", setting)]
    forecast("train", "configs/default.yaml", "--panel", "panel", "--name", "run", *small, home=home)
    ends = whole["unique_id"].map(known.groupby("unique_id")["ds"].max())
    came, clean = as_they_came(live), whole[whole["ds"] > ends]
    feeds = {
        "raw": write_lines(came.dropna(subset="y"), home / "raw.ndjson"),
        "cleaned": write_lines(clean, home / "cleaned.ndjson"),
    }
    if live["y"].isna().any():
        feeds["with NaN"] = write_lines(came, home / "nan.ndjson", missing="NaN")
    made, states = {}, {}
    for feed, path in feeds.items():
        told, made[feed] = stream(path, home, settings)
        states[feed] = states_of(path.with_suffix(""), home)
        mase = errors_of(made[feed], whole, known, group)
        counts = {arrival: count for arrival, count in told["counts"].items() if count}
        numbers = {key: told[key] for key in ("missing", "behind", "forecasts", "not_finite")}
        print(json.dumps({"group": name, "feed": feed, "series": len(mase), **counts, **numbers, "mase": round(mase.mean(), 5)}))
        print(json.dumps({"refused": refused(told), "state_equals_raw": is_same(states["raw"], states[feed])}), flush=True)


def is_same(one: pd.DataFrame, other: pd.DataFrame) -> int:
    """Of how many series the two states are the same, to the bit."""
    return sum(
        unique_id in other.index and np.array_equal(one.loc[unique_id, "state"], other.loc[unique_id, "state"], equal_nan=True)
        for unique_id in one.index
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--set", dest="settings", nargs="*", default=[], help="of streaming, such as revision_window=48")
    given = parser.parse_args()
    for name in given.groups:
        with tempfile.TemporaryDirectory() as home:
            measure(name, given.data, Path(home), given.settings)


if __name__ == "__main__":
    main()
