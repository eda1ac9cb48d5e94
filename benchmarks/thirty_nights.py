"""Thirty nights of a batch job that nobody watches, with everything going wrong that a night can bring.

Beijing's PM2.5 is replayed day by day: each morning a file of yesterday's values lies in the inbox, or does not, and `forecast
nightly` is started. The faults of `FAULTS` are injected; a night that is killed is started again, and compared with a twin that
was not. The same nights without faults are then done in three ways: as configured, never trained again, and trained again every
night. `--out` keeps the log, a line for each process.

    python benchmarks/thirty_nights.py --data DATA --out FOLDER
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

FIRST = pd.Timestamp("2016-11-01")
HISTORY = pd.Timestamp("2016-01-01")
PANEL, HORIZON, NIGHTS = "air", 24, 30
CONFIG = """\
horizon: 24
seed: 1
model: {hidden_size: 16, head_size: 32, members: 1}
training: {max_steps: 100, validation_steps: 25}
evaluation: {origins: 28}
baselines: {names: [naive, seasonal_naive, naive2, ses]}
operations:
  deliveries: {freq: h}
  retrain: {every_days: 7, max_minutes: null}
  hooks: {on_failure: "cat >> failures.ndjson; echo >> failures.ndjson", on_promote: "cat >> promotions.ndjson"}
"""
HASTY = ["--set", "training.max_steps=12", "--set", "training.validation_steps=6"]  # so that there is something to improve on
BROKEN = [
    "--set",
    "training.learning_rate=30",
    "--set",
    "operations.retrain.every_days=0",
    "--set",
    "operations.retrain.rest_days=0",
]

KILLER = """
import os, signal, sys
from forecaster.jobs.journal import Journal
step, moment = sys.argv[1:3]
take = Journal.take
def killed(self, name, key, work):
    def last():
        if name == step and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = work()
        if name == step:
            os.kill(os.getpid(), signal.SIGKILL)  # its work is done, and nobody knows
        return result
    return take(self, name, key, last)
Journal.take = killed
sys.argv = ["forecast", *sys.argv[3:]]
from forecaster.cli import app
app()
"""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--data", type=Path, required=True)
    asked.add_argument("--out", type=Path, required=True)
    asked.add_argument("--nights", type=int, default=NIGHTS)
    asked.add_argument("--only", choices=["faults", "ways"], default=None)
    options = asked.parse_args()
    truth = pd.read_parquet(options.data / "beijing_pm25_dev.parquet")
    truth["ds"] = pd.to_datetime(truth["ds"])
    shutil.rmtree(options.out, ignore_errors=True)
    options.out.mkdir(parents=True)
    (options.out / "nightly.yaml").write_text(CONFIG)
    if options.only != "ways":
        show("with faults", *with_faults(options.out, truth, options.nights), truth, options.nights)
    if options.only != "faults":
        for name, settings, promote_all in (
            ("as configured", [], False),
            ("never trained again", NEVER, False),
            ("trained every night", EVERY, True),
        ):
            show(name, *without_faults(options.out, truth, options.nights, name, settings, promote_all), truth, options.nights)


NEVER = ["retrain.every_days=null", "retrain.growth=null", "retrain.on_drift=false"]
EVERY = ["retrain.every_days=0", "retrain.rest_days=0"]


# -- what lies in the inbox ------------------------------------------------------------------------------------------------


def day(truth: pd.DataFrame, number: int) -> pd.DataFrame:
    """The values of the day before night `number`."""
    end = FIRST + pd.Timedelta(days=number)
    return truth[(truth["ds"] >= end - pd.Timedelta(days=1)) & (truth["ds"] < end)].copy()


def deliver(home: Path, frame: pd.DataFrame, name: str) -> None:
    inbox = home / "data" / "inbox" / PANEL
    inbox.mkdir(parents=True, exist_ok=True)
    beside = inbox / f".{name}"
    frame.to_csv(beside, index=False)
    beside.rename(inbox / f"{name}.csv")


def scaled(frame: pd.DataFrame, factor: float, station: str | None = None) -> pd.DataFrame:
    chosen = frame["unique_id"] == station if station else frame["unique_id"].notna()
    return frame.assign(y=frame["y"].where(~chosen, frame["y"] * factor))


# -- nights -------------------------------------------------------------------------------------------------------------------


class Nights:
    """A home and its log: one line for each process that was started."""

    def __init__(self, folder: Path) -> None:
        self.home, self.config = folder, folder.parent / "nightly.yaml"
        self.log: list[dict[str, object]] = []
        folder.mkdir()

    def words(self, number: int, *more: str, now: pd.Timestamp | None = None) -> list[str]:
        moment = now or FIRST + pd.Timedelta(days=number, hours=2)
        return ["nightly", str(self.config), "--panel", PANEL, "--now", moment.isoformat(), "--json", *more]

    def start(self, words: list[str], *, program: list[str] | None = None, limit: int | None = None) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "FORECASTER_HOME": str(self.home), "OMP_NUM_THREADS": "1"}

        def little_room() -> None:
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        command = [*(program or [sys.executable, "-m", "forecaster"]), *words]
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=little_room,
        )

    def end(self, process: subprocess.Popen[bytes], number: int, fault: str) -> dict[str, object]:
        """Wait for a night and log what it said."""
        began = cpu_of_children()
        out, err = process.communicate()
        summary = json.loads(out) if out.strip() else {}
        line = {
            "night": number,
            "fault": fault,
            "exit": process.returncode,
            "cpu_seconds": round(cpu_of_children() - began, 1),
            "summary": summary,
            "said": err.decode(errors="replace").strip().splitlines(),
        }
        self.log.append(line)
        with (self.home.parent / "log.ndjson").open("a") as file:
            file.write(json.dumps(line) + "\n")
        training = summary.get("training") or {}
        said = line["said"][-1:] if process.returncode else []
        word = "; ".join([*summary.get("troubles", [])[:2], *([] if summary else said)])
        print(
            f"{number:>3}  {process.returncode:>4}  {line['cpu_seconds']:>5}  {fault or '-':<34} "
            f"{summary.get('published', {}).get('forecaster', '-'):<15} "
            f"{('trained' + (', promoted' if training.get('promoted') else '')) if training.get('run') else '':<18} "
            f"{word[:110]}",
            flush=True,
        )
        return line

    def do(self, number: int, fault: str = "", *more: str, limit: int | None = None, now: pd.Timestamp | None = None) -> dict:
        return self.end(self.start(self.words(number, *more, now=now), limit=limit), number, fault)

    def kill(self, number: int, step: str, moment: str) -> None:
        program = [sys.executable, "-c", KILLER, step, moment]
        self.end(self.start(self.words(number), program=program), number, f"killed {moment} {step}")

    def kill_in_training(self, number: int) -> None:
        """Kill a night as soon as its training has left a checkpoint."""
        process = self.start(self.words(number))
        while process.poll() is None and not list((self.home / "runs" / ".unfinished").glob("*/training/*/last.ckpt")):
            time.sleep(0.05)
        process.kill()
        self.end(process, number, "killed half through train")


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def with_faults(out: Path, truth: pd.DataFrame, nights: int) -> tuple["Nights", float]:
    """All nights, each with its fault; what the runbook asks of a person is done where it says so."""
    began = time.monotonic()
    job = Nights(out / "faults")
    deliver(job.home, truth[(truth["ds"] >= HISTORY) & (truth["ds"] < FIRST)], "history")
    print("night  exit   cpu  fault                              spoke           training           troubles")
    for number in range(nights):
        fault = FAULTS.get(number, plain)
        fault(job, truth, number)
    return job, time.monotonic() - began


def plain(job: Nights, truth: pd.DataFrame, number: int) -> None:
    if number:
        deliver(job.home, day(truth, number), f"day-{number:02}")
    job.do(number)


def first_night(job: Nights, _: pd.DataFrame, number: int) -> None:
    job.do(number, "the first night", *HASTY)


def missing_day(job: Nights, _: pd.DataFrame, number: int) -> None:
    job.do(number, "yesterday is missing")


def late_day(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, day(truth, number - 1), f"day-{number - 1:02}")
    deliver(job.home, day(truth, number), f"day-{number:02}")
    job.do(number, "two days at once")


def duplicate_delivery(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, day(truth, number), f"day-{number:02}")
    deliver(job.home, day(truth, number), f"day-{number:02}-again")
    deliver(job.home, day(truth, number - 1), f"day-{number - 1:02}-again")
    job.do(number, "delivered twice")


def changed_unit(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, scaled(day(truth, number), 1e-3), f"day-{number:02}")
    job.do(number, "mg in place of ug")


def corrected_day(job: Nights, truth: pd.DataFrame, number: int) -> None:
    """Who delivers has mended yesterday's file."""
    deliver(job.home, day(truth, number - 1), f"day-{number - 1:02}")
    plain(job, truth, number)


def killed_everywhere(job: Nights, truth: pd.DataFrame, number: int) -> None:
    """Killed in each step, started again, and compared with a twin that was not killed."""
    deliver(job.home, day(truth, number), f"day-{number:02}")
    twin = Nights(job.home.with_name(f"twin-{number}"))
    shutil.rmtree(twin.home)
    shutil.copytree(job.home, twin.home, symlinks=True)
    job.kill(number, "ingest", "before")
    for step in ("ingest", "predict", "decide"):
        job.kill(number, step, "after")
    job.kill_in_training(number)
    for step in ("train", "evaluate", "promote", "warm", "prune"):
        job.kill(number, step, "after")
    job.do(number, "and started again")
    job.do(number, "and once more")
    twin.do(number, "(the twin that was not killed)")
    same = what_stands(job.home) == what_stands(twin.home)
    print(f"     killed and unkilled end in the same place: {same}")
    job.log[-1]["same_as_twin"] = same


def two_at_once(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, day(truth, number), f"day-{number:02}")
    processes = [job.start(job.words(number)) for _ in range(2)]
    for which, process in enumerate(processes):
        job.end(process, number, f"two at once ({which + 1})")


def disk_nearly_full(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, day(truth, number), f"day-{number:02}")
    job.do(number, "no file beyond 60 kB", limit=60_000)


def disk_full(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, day(truth, number), f"day-{number:02}")
    job.do(number, "no file beyond 1 kB", limit=1_000)
    job.do(number, "and room again")


def clock_ahead(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, day(truth, number), f"day-{number:02}")
    job.do(number, "the clock 40 days ahead", now=FIRST + pd.Timedelta(days=number + 40, hours=2))


def clock_back(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, day(truth, number), f"day-{number:02}")
    job.do(number, "the clock 3 days back", now=FIRST + pd.Timedelta(days=number - 3, hours=2))
    job.do(number, "and set right")


def broken_challenger(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, day(truth, number), f"day-{number:02}")
    job.do(number, "a broken challenger", *BROKEN)


def one_unit_changed(job: Nights, truth: pd.DataFrame, number: int) -> None:
    frame = day(truth, number)
    deliver(job.home, scaled(frame, 1e3, frame["unique_id"].iloc[0]), f"day-{number:02}")
    job.do(number, "one station in ng")


def half_gone(job: Nights, truth: pd.DataFrame, number: int) -> None:
    frame = day(truth, number)
    names = sorted(frame["unique_id"].unique())
    deliver(job.home, frame[frame["unique_id"].isin(names[: len(names) // 2])], f"day-{number:02}")
    job.do(number, "half of the stations gone")


def other_time_zone(job: Nights, truth: pd.DataFrame, number: int) -> None:
    frame = day(truth, number)
    deliver(job.home, frame.assign(ds=frame["ds"] + pd.Timedelta(hours=8)), f"day-{number:02}")
    job.do(number, "eight hours ahead")


def unreadable_day(job: Nights, truth: pd.DataFrame, number: int) -> None:
    deliver(job.home, day(truth, number), f"day-{number:02}")
    path = job.home / "data" / "inbox" / PANEL / f"day-{number:02}.csv"
    path.write_bytes(path.read_bytes()[:900] + b"\x00\xff\xfe,,,\n" * 3)
    job.do(number, "a file cut off")


def damaged_champion(job: Nights, truth: pd.DataFrame, number: int) -> None:
    """The weights in service are cut short; the runbook says: roll back."""
    service = json.loads((job.home / "runs" / ".in_service" / f"{PANEL}.pointers.json").read_bytes())
    weights = job.home / "runs" / service["current"] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])
    deliver(job.home, day(truth, number), f"day-{number:02}")
    job.do(number, "the champion's weights damaged")
    job.end(job.start(["runs", "rollback", "--panel", PANEL, "--json"]), number, "runbook: forecast runs rollback")


FAULTS: dict[int, Callable[[Nights, pd.DataFrame, int], None]] = {
    0: first_night,
    2: missing_day,
    3: late_day,
    4: duplicate_delivery,
    5: changed_unit,
    6: corrected_day,
    7: killed_everywhere,
    9: two_at_once,
    10: disk_nearly_full,
    11: disk_full,
    12: clock_ahead,
    14: broken_challenger,
    16: clock_back,
    17: one_unit_changed,
    18: corrected_day,
    19: half_gone,
    20: corrected_day,
    22: other_time_zone,
    23: corrected_day,
    24: damaged_champion,
    26: unreadable_day,
    27: corrected_day,
}


# -- three ways without faults ----------------------------------------------------------------------------------------------


def without_faults(
    out: Path, truth: pd.DataFrame, nights: int, name: str, settings: list[str], promote_all: bool
) -> tuple[Nights, float]:
    """The same nights in this process, nothing going wrong; with `promote_all`, whatever was trained serves."""
    from forecaster.config import read_config
    from forecaster.jobs.home import Home
    from forecaster.jobs.nightly import nightly
    from forecaster.jobs.registry import promote
    from forecaster.jobs.runs import Run

    job, began = Nights(out / name.replace(" ", "-")), time.process_time()
    home = Home(job.home)
    deliver(job.home, truth[(truth["ds"] >= HISTORY) & (truth["ds"] < FIRST)], "history")
    given = [f"operations.{setting}" for setting in settings]
    hasty = [word for word in HASTY if word != "--set"]
    for number in range(nights):
        if number:
            deliver(job.home, day(truth, number), f"day-{number:02}")
        now = (FIRST + pd.Timedelta(days=number, hours=2)).tz_localize("UTC").to_pydatetime()
        config = read_config(job.config, [*given, *(hasty if number == 0 else [])])
        summary = nightly(config, PANEL, home=home, clock=lambda now=now: now, say=lambda _: None, progress=lambda *_: None)
        job.log.append({"summary": summary.to_dict()})
        if promote_all and summary.training["run"] and not summary.training["promoted"]:
            promote(Run.open(summary.training["run"], home), home, clock=lambda now=now: now)
    return job, time.process_time() - began


# -- what came of it ----------------------------------------------------------------------------------------------------------


def what_stands(home: Path) -> dict[str, object]:
    """What a night leaves for others: the panel, who serves, the weights of every run, and what was published."""
    pointers = json.loads((home / "runs" / ".in_service" / f"{PANEL}.pointers.json").read_bytes())
    runs = {path.parent.name: json.loads(path.read_bytes())["model_fingerprint"] for path in (home / "runs").glob("*/run.json")}
    manifest = json.loads((home / "data" / "panels" / PANEL / "manifest.json").read_bytes())
    edition = json.loads((home / "forecasts" / PANEL / "latest" / "manifest.json").read_bytes())
    return {"service": pointers, "runs": runs, "panel": manifest["fingerprint"], "published": edition}


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
        path = job.home / "forecasts" / PANEL / f"night={night}" / "forecasts.parquet"
        if not path.exists():
            continue
        published += 1
        rows = pd.read_parquet(path)
        rows = rows[(rows["ds"] >= pd.Timestamp(night)) & (rows["ds"] < pd.Timestamp(night) + pd.Timedelta(days=1))]
        y = actual.reindex(pd.MultiIndex.from_frame(rows[["unique_id", "ds"]])).to_numpy()
        known = ~np.isnan(y)
        errors.append((np.abs(y - rows["q0.5"]) / rows["unique_id"].map(scale))[known])
        inside.append(((y >= rows["q0.1"]) & (y <= rows["q0.9"]))[known])
        speakers.append(rows["forecaster"].mode().iloc[0] if len(rows) else "-")
    trained = sum(bool((line["summary"].get("training") or {}).get("run")) for line in job.log)
    promoted = sum(bool((line["summary"].get("training") or {}).get("promoted")) for line in job.log)
    service = json.loads((job.home / "runs" / ".in_service" / f"{PANEL}.pointers.json").read_bytes())
    found = {
        "way": name,
        "nights_with_forecasts": published,
        "mase": round(float(np.concatenate(errors).mean()), 4),
        "coverage_80": round(float(np.concatenate(inside).mean()), 3),
        "values": int(sum(map(len, errors))),
        "runs_trained": trained,
        "changes_of_service": len(service["changes"]),
        "promoted": promoted,
        "seconds": round(seconds, 1),
        "exits": [line.get("exit") for line in job.log],
        "by_network": sum(speaker == "gru" for speaker in speakers),
    }
    print(json.dumps(found), flush=True)
    with (job.home.parent / "ways.ndjson").open("a") as file:
        file.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
