"""The ladder on five panels: what each gate earns, through the program's own commands.

    python benchmarks/gates.py --data ../shared/data --home gates [--panels hourly …] [--seeds 5] [--jobs 1] [--set key=value]

One small network a rung, so that three seeds take half an hour of an idle core; what was trained is kept under --home, the same
command goes on from there. The test parts of the competitions are not read: scored are rolling origins in the last part of the
training parts, and of the single files. What it prints is the table of `docs/gates.md`.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
from panels import PANELS, forecast

PARTS = {"pm25": ("evaluation.origins=120", "evaluation.season_length=24")}  # where not those of panels.py
LENGTHS = {"pm25": 17_520}  # positions of each series: two years of hours
CHOSEN = {"hourly": "M4 Hourly", "weekly": "M4 Weekly", "tourism": "Tourism monthly", "etth1": "ETTh1", "pm25": "Beijing PM2.5"}
BUDGET = (
    "model.hidden_size=64",
    "model.head_size=128",
    "model.members=1",
    "training.max_steps=300",
    "training.accelerator=cpu",
)


def ingest(name: str, *, data: Path, home: Path) -> None:
    """Take a panel in, unless it is there."""
    panel, length = PANELS[name], LENGTHS.get(name, PANELS[name].length)
    if (home / "data" / "panels" / name).exists():
        return
    file = data / f"{panel.train}.parquet"
    if length:
        frame = pd.read_parquet(file)
        file = home / f"{name}.parquet"
        frame[frame.groupby("unique_id").cumcount() < length].to_parquet(file)
    forecast("ingest", str(file), "--name", name, "--freq", panel.alias, home=home)


def settings_of(name: str) -> list[str]:
    """What a panel is ablated with."""
    return [f"horizon={PANELS[name].horizon}", *PARTS.get(name, PANELS[name].settings), *BUDGET]


def command(name: str, settings: list[str], *, seeds: int, jobs: int) -> list[str]:
    """The words of the command that ablates a panel."""
    chosen = [*settings_of(name), *settings]
    words = [word for setting in chosen for word in ("--set", setting)]
    return ["ablate", "configs/default.yaml", "--panel", name, "--seeds", str(seeds), "--jobs", str(jobs), *words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--home", type=Path, default=Path("gates"))
    parser.add_argument("--panels", nargs="*", choices=CHOSEN, default=list(CHOSEN))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    given = parser.parse_args()
    given.home.mkdir(parents=True, exist_ok=True)
    for name in given.panels:
        ingest(name, data=given.data, home=given.home)
        words = command(name, given.settings, seeds=given.seeds, jobs=given.jobs)
        print(f"\n{CHOSEN[name]}\n    forecast {' '.join(words)}\n", flush=True)
        environment = {**os.environ, "FORECASTER_HOME": str(given.home), "COLUMNS": "120"}
        subprocess.run([sys.executable, "-m", "forecaster", *words], env=environment, check=True)


if __name__ == "__main__":
    main()
