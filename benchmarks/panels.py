"""The default configuration on every panel, through the program's own commands, beside the scores to beat.

    python benchmarks/panels.py --data ../shared/data [--panels hourly weekly …] [--seeds 1 2 3] [--set key=value]

Nothing is set but the seed, and what the protocol of a panel's scores asks for (`evaluation.*`). Nothing of a test part is
read before the last command. A panel's line is the mean over the seeds, with the standard deviation between them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import pandas as pd

SCORES = ("smape", "mase", "owa", "msis", "coverage_80", "coverage_95")


@dataclass(frozen=True)
class Scored:
    """A panel's files, frequency and protocol: a test part in a file of its own, or rolling origins in the last part."""

    train: str
    alias: str
    horizon: int
    goal: str
    test: str | None = None
    settings: tuple[str, ...] = ()
    length: int | None = None  # positions of each series to use


PANELS = {
    "hourly": Scored("m4_hourly_train", "h", 48, "OWA below 0.37", "m4_hourly_test", ("evaluation.season_length=24",)),
    "weekly": Scored("m4_weekly_train", "W-SUN", 13, "OWA below 0.70", "m4_weekly_test", ("evaluation.season_length=1",)),
    "quarterly": Scored(
        "m4_quarterly_dev_train", "QS", 8, "OWA below 0.83", "m4_quarterly_dev_test", ("evaluation.season_length=4",)
    ),
    "tourism": Scored("tourism_monthly_train", "MS", 24, "MASE below 1.35, sMAPE below 17.8", "tourism_monthly_test"),
    "monthly": Scored("m4_monthly_short_selfsplit_train", "MS", 18, "OWA below 0.85", "m4_monthly_short_selfsplit_test"),
    "etth1": Scored(
        "etth1", "h", 24, "MASE below 0.80", None, ("evaluation.origins=120", "evaluation.season_length=24"), length=14_400
    ),
    "pm25": Scored(
        "beijing_pm25_dev", "h", 24, "MASE below 0.65", None, ("evaluation.origins=365", "evaluation.season_length=24")
    ),
}


def forecast(*words: str, home: Path) -> dict[str, object]:
    """What a command prints with --json."""
    command = [sys.executable, "-m", "forecaster", *words, "--json"]
    done = subprocess.run(command, env={**os.environ, "FORECASTER_HOME": str(home)}, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr.decode()[-2000:]}")
    return json.loads(done.stdout)


def run_panel(name: str, seed: int, *, data: Path, settings: list[str]) -> dict[str, float]:
    """The scores of one training with the default configuration, and its seconds."""
    panel, home = PANELS[name], Path(tempfile.mkdtemp(prefix=f"panels_{name}_"))
    file = data / f"{panel.train}.parquet"
    if panel.length:
        frame = pd.read_parquet(file)
        file = home / "part.parquet"
        frame[frame.groupby("unique_id").cumcount() < panel.length].to_parquet(file)
    forecast("ingest", str(file), "--name", name, "--freq", panel.alias, home=home)
    chosen = [f"seed={seed}", f"horizon={panel.horizon}", "baselines.names=[seasonal_naive]", *panel.settings, *settings]
    if panel.test:
        chosen.append("evaluation.origins=0")
    began = time.monotonic()
    words = [word for setting in chosen for word in ("--set", setting)]
    run = forecast("train", "configs/default.yaml", "--panel", name, *words, home=home)
    seconds = time.monotonic() - began
    actuals = ("--actuals", str(data / f"{panel.test}.parquet")) if panel.test else ()
    summary = forecast("evaluate", str(run["run"]), *actuals, home=home)
    rows = {str(row["forecaster"]): row for row in summary["leaderboard"]}  # type: ignore[index, union-attr]
    ours = next(row for row in rows.values() if row["forecaster"] not in ("seasonal_naive", "naive2"))
    naive = rows["seasonal_naive"]
    scores = {score: float(ours[score]) for score in SCORES if ours.get(score) is not None}
    return scores | {"seconds": seconds, "seasonal naive's mase": float(naive["mase"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--panels", nargs="*", choices=PANELS, default=list(PANELS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    given = parser.parse_args()
    for name in given.panels:
        runs = [run_panel(name, seed, data=given.data, settings=given.settings) for seed in given.seeds]
        told = []
        for score in runs[0]:
            values = [run[score] for run in runs]
            spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
            told.append(f"{score} {mean(values):.3f}{spread}")
        print(f"{name:10} {', '.join(told)}   (goal: {PANELS[name].goal})", flush=True)


if __name__ == "__main__":
    main()
