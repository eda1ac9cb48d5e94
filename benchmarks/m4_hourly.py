"""M4 Hourly through the program's own commands, beside the published scores.

    python benchmarks/m4_hourly.py --data ../shared/data [--config configs/m4_hourly.yaml] [--seed 1] [--set key=value]

Prints the leaderboard with the competition's scores between its rows, and how long each command took. Nothing of the test
part is read before the last command.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# sMAPE, MASE and OWA as the competition's evaluation gives them (Makridakis et al. 2020, doi:10.1016/j.ijforecast.2019.04.014)
PUBLISHED = {
    "M4: Naive2": (18.383, 2.395, 1.000),
    "M4: seasonal naive": (13.912, 1.193, 0.627),
    "M4: the organisers' RNN": (14.698, 3.048, 1.036),
    "M4: Theta": (18.138, 2.455, 1.006),
    "M4: FFORMA, 2nd overall": (11.506, 0.819, 0.484),
    "M4: ES-RNN, 1st overall": (9.328, 0.893, 0.440),
    "M4: best of all 60 in this group": (8.913, 0.801, 0.410),
}


def forecast(*words: str, home: Path) -> tuple[dict[str, object], float]:
    """What a command prints with --json, and its seconds."""
    began = time.monotonic()
    command = [sys.executable, "-m", "forecaster", *words, "--json"]
    done = subprocess.run(command, env={**os.environ, "FORECASTER_HOME": str(home)}, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr.decode()}")
    return json.loads(done.stdout), time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--config", default="configs/m4_hourly.yaml")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="m4_hourly_"))
    _, ingest_seconds = forecast(
        "ingest", str(given.data / "m4_hourly_train.parquet"), "--name", "m4_hourly", "--freq", "h", home=home
    )
    settings = [word for setting in [f"seed={given.seed}", *given.settings] for word in ("--set", setting)]
    run, train_seconds = forecast("train", given.config, "--panel", "m4_hourly", *settings, home=home)
    actuals = str(given.data / "m4_hourly_test.parquet")
    summary, evaluate_seconds = forecast("evaluate", str(run["run"]), "--actuals", actuals, home=home)
    rows = {str(row["forecaster"]): row for row in summary["leaderboard"]}
    table = [(name, row["smape"], row["mase"], row["owa"], f"{100 * row['coverage_80']:.1f} %") for name, row in rows.items()]
    table += [(name, *scores, "") for name, scores in PUBLISHED.items()]
    print(f"{'':34}{'sMAPE':>8}{'MASE':>8}{'OWA':>8}{'80 % coverage':>15}")
    for name, smape, mase, owa, coverage in sorted(table, key=lambda row: row[3]):
        print(f"{name:34}{smape:8.3f}{mase:8.3f}{owa:8.3f}{coverage:>15}")
    print(f"ingest {ingest_seconds:.1f} s, train {train_seconds:.0f} s, evaluate {evaluate_seconds:.0f} s")
    print(f"on {os.cpu_count()} cores; the run is in {home}")


if __name__ == "__main__":
    main()
