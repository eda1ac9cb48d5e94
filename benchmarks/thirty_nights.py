"""Thirty nights of a batch job that nobody watches, with everything going wrong that a night can bring.

Beijing's PM2.5 is replayed day by day: each morning a file of yesterday's values lies in the inbox, or does not, and `forecast
nightly` is started. The faults of `FAULTS` are injected; a night that is killed is started again, and compared with a twin that
was not. The same nights without faults are then done in several ways: as configured, never trained again, trained again every
night, and with champions or their combination speaking in place of the network. `--out` keeps the log, a line for each process.

    python benchmarks/thirty_nights.py --data DATA --out FOLDER
"""

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
from night_faults import HASTY, with_faults
from nights import CONFIG, FIRST, HISTORY, PANEL, Nights, day, deliver

from forecaster.config import read_config
from forecaster.jobs.home import Home
from forecaster.jobs.nightly import nightly
from forecaster.jobs.registry import promote
from forecaster.jobs.runs import Run

NIGHTS = 30
WAYS = {  # settings of operations, and whether all that was trained serves
    "as configured": ([], False),
    "never trained again": (["retrain.every_days=null", "retrain.growth=null", "retrain.on_drift=false"], False),
    "trained every night": (["retrain.every_days=0", "retrain.rest_days=0"], True),
    "champions speak": (["forecaster=champions"], False),
    "the combination speaks": (["forecaster=combination"], False),
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--out", type=Path, required=True)
    asked.add_argument("--nights", type=int, default=NIGHTS)
    asked.add_argument("--only", choices=["faults", *WAYS], default=None)
    options = asked.parse_args()
    truth = pd.read_parquet(options.data / "beijing_pm25_dev.parquet")
    truth["ds"] = pd.to_datetime(truth["ds"])
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    (options.out / "nightly.yaml").write_text(CONFIG)
    if options.only in (None, "faults"):
        show("with faults", *with_faults(options.out, truth, options.nights), truth, options.nights)
    for name, (settings, promote_all) in WAYS.items():
        if options.only in (None, name):
            show(name, *without_faults(options.out, truth, options.nights, name, settings, promote_all), truth, options.nights)


def without_faults(
    out: Path, truth: pd.DataFrame, nights: int, name: str, settings: list[str], promote_all: bool
) -> tuple[Nights, float]:
    """The same nights in this process, nothing going wrong; with `promote_all`, whatever was trained serves."""

    job, began = Nights(out / name.replace(" ", "-")), time.process_time()
    home = Home(job.home)
    os.environ["PLANNING"] = f"sqlite:///{job.home.resolve()}/planning.db"
    deliver(job.home, truth[(truth["ds"] >= HISTORY) & (truth["ds"] < FIRST)], "history")
    given = [f"operations.{setting}" for setting in settings]
    hasty = [word for word in HASTY if word != "--set"]
    for number in range(nights):
        if number:
            deliver(job.home, day(truth, number), f"day-{number:02}")
        now = (FIRST + pd.Timedelta(days=number, hours=2)).tz_localize("UTC").to_pydatetime()
        config = read_config(job.config, [*given, *(hasty if number == 0 else [])])
        summary = nightly(config, PANEL, home=home, clock=lambda now=now: now, say=lambda _: None, progress=lambda *_: None)
        job.keep(number, {"night": number, "summary": summary.to_dict()})
        if promote_all and summary.training["run"] and not summary.training["promoted"]:
            promote(Run.open(summary.training["run"], home), home, clock=lambda now=now: now)
    return job, time.process_time() - began


def show(name: str, job: Nights, seconds: float, truth: pd.DataFrame, nights: int) -> None:
    """The accuracy of what was published on each night, over the day after it, and what the nights cost."""
    actual = truth.set_index(["unique_id", "ds"])["y"]
    scale = {
        station: float(np.nanmean(np.abs(part["y"].to_numpy()[24:] - part["y"].to_numpy()[:-24])))
        for station, part in truth[(truth["ds"] >= HISTORY) & (truth["ds"] < FIRST)].groupby("unique_id")
    }
    published, errors, inside, speakers = 0, [], [], []
    for number in range(nights):
        night = (FIRST + pd.Timedelta(days=number)).date()
        if number not in job.published:
            continue
        published += 1
        rows = job.published[number]
        rows = rows[(rows["ds"] >= pd.Timestamp(night)) & (rows["ds"] < pd.Timestamp(night) + pd.Timedelta(days=1))]
        y = actual.reindex(pd.MultiIndex.from_frame(rows[["unique_id", "ds"]])).to_numpy()
        known = ~np.isnan(y)
        errors.append((np.abs(y - rows["q0.5"]) / np.array([scale[station] for station in rows["unique_id"]]))[known])
        inside.append(((y >= rows["q0.1"]) & (y <= rows["q0.9"]))[known])
        speakers.append(rows["forecaster"].mode().iloc[0] if len(rows) else "-")
    trained = {(line["summary"].get("training") or {}).get("run") for line in job.log} - {None}
    service = json.loads((job.home / "runs" / ".in_service" / f"{PANEL}.pointers.json").read_bytes())
    found = {
        "way": name,
        "nights_with_forecasts": published,
        "mase": round(float(np.concatenate(errors).mean()), 4),
        "coverage_80": round(float(np.concatenate(inside).mean()), 3),
        "values": int(sum(map(len, errors))),
        "runs_trained": len(trained),
        "changes_of_service": len(service["changes"]),
        "cpu_seconds": round(seconds, 1),
        "training_seconds": round(sum((line["summary"].get("seconds") or {}).get("train", 0.0) for line in job.log), 1),
        "exits": [line.get("exit") for line in job.log],
        "by_network": sum(speaker == "gru" for speaker in speakers),
    }
    print(json.dumps(found), flush=True)
    with (job.home.parent / "ways.ndjson").open("a") as file:
        file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
