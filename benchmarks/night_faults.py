"""The faults of thirty nights, and what the runbook asks of a person."""

import json
import resource
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
from nights import FIRST, HISTORY, LIVE, PANEL, Nights, day, deliver, scaled

from forecaster.streaming.directory import peek

HASTY = ["--set", "training.max_steps=12", "--set", "training.validation_steps=6"]  # so that there is something to improve on
BROKEN = [
    "--set",
    "training.learning_rate=30",
    "--set",
    "operations.retrain.every_days=0",
    "--set",
    "operations.retrain.rest_days=0",
]


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def with_faults(out: Path, truth: pd.DataFrame, nights: int) -> tuple["Nights", float]:
    """All nights, each with its fault; what the runbook asks of a person is done where it says so."""
    began = cpu_of_children()
    job = Nights(out / "faults")
    deliver(job.home, truth[(truth["ds"] >= HISTORY) & (truth["ds"] < FIRST)], "history")
    print("night  exit   cpu  fault                              spoke           training           troubles")
    for number in range(nights):
        fault = FAULTS.get(number, plain)
        fault(job, truth, number)
    return job, cpu_of_children() - began


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
    with_twin(job, number, ("ingest", "predict", "publish", "decide", "train", "evaluate", "prune"))


def with_twin(job: Nights, number: int, steps: tuple[str, ...]) -> None:
    """A night that is killed before the first of some steps, after each, and half through a training; and one that is not."""
    twin = Nights(job.home.with_name(f"twin-{number}"))
    shutil.rmtree(twin.home)
    shutil.copytree(job.home, twin.home, symlinks=True)
    job.kill(number, steps[0], "before")
    for step in steps:
        if step == "train":
            job.kill_in_training(number)
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
    """The weights in service are cut short, and the night that trains and promotes others is killed as it does so."""
    weights = job.home / "runs" / serving(job.home)["current"] / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])
    deliver(job.home, day(truth, number), f"day-{number:02}")
    with_twin(job, number, ("promote", f"hand over {LIVE}", "prune"))
    job.end(job.start(["runs", "rollback", "--panel", PANEL, "--json"]), number, "a rollback to the damaged one")
    (job.home / LIVE).rename(job.home / f"{LIVE}.lost")
    job.do(number, "runbook: its state moved away")


def promoted_by_mistake(job: Nights, truth: pd.DataFrame, number: int) -> None:
    """Somebody lets the worst run serve, live state included; the runbook says: roll back, and type the night again."""
    deliver(job.home, day(truth, number), f"day-{number:02}")
    broken = next(line["summary"]["training"]["run"] for line in job.log if line["fault"] == "a broken challenger")
    job.end(job.start(["runs", "promote", str(broken), "--state", str(job.home / LIVE), "--json"]), number, "promoted by mistake")
    job.do(number, "a night with it")
    words = ["runs", "rollback", "--panel", PANEL, "--state", str(job.home / LIVE), "--json"]
    job.end(job.start(words), number, "runbook: forecast runs rollback")
    job.do(number, "and the night typed again")


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
    28: promoted_by_mistake,
}


def serving(home: Path) -> dict[str, object]:
    return json.loads((home / "runs" / ".in_service" / f"{PANEL}.pointers.json").read_bytes())


def what_stands(home: Path) -> dict[str, object]:
    """What a night leaves for others: the panel, who serves and streams, the weights of every run, and what was published."""
    runs = {path.parent.name: json.loads(path.read_bytes())["model_fingerprint"] for path in (home / "runs").glob("*/run.json")}
    manifest = json.loads((home / "data" / "panels" / PANEL / "manifest.json").read_bytes())
    edition = json.loads((home / "forecasts" / PANEL / "latest" / "manifest.json").read_bytes())
    with closing(sqlite3.connect(home / "planning.db")) as connection:
        rows = connection.execute("SELECT * FROM forecasts ORDER BY 1, 2, 3, 5").fetchall()
    return {
        "service": serving(home),
        "runs": runs,
        "panel": manifest["fingerprint"],
        "published": edition,
        "live": Path(peek(home / LIVE)["owner"]["run"]).name,
        "database": rows,
    }
