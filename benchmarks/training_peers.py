"""Training beside other people's recurrent networks: targets a CPU-second, and the OWA that the same CPU time leads to.

    python benchmarks/training_peers.py [--data ../shared/data] [--peers PYTHON] [--only neuralforecast darts gluonts]
        [--sizes usual ours] [--budget-seconds 300] [--at-once 1] [--seed 1]

M4 Hourly: 414 series are learned for so many CPU-seconds, on one thread, and the 48 hours after their ends are forecast once, and
scored by `forecast evaluate` against the competition's test part. PYTHON is the interpreter of an environment that has the peers
(`make network_peers` makes `.peers/networks/bin/python`); without it ours is alone. What the peers do is in
`benchmarks/peers/recurrent_training.py`. Ours is `forecast train configs/default.yaml` with as many steps as fit into the budget
by the CPU time of a step, which is measured first; its CPU time is that of the whole command, loading of libraries included,
while a peer's counts from its first batch. A target is a value of the future that enters a loss: 48 from each origin, for DeepAR
one from each step. `--budget-seconds 20` is a short form, which tells speed and no accuracy. Prints one JSON object for each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "LOKY_MAX_CPU_COUNT": "1"}  # members train one after the other

import pandas as pd
from training_step import hourly_batches, one_member, steps

from forecaster.models.network import ModelConfig, torch_threads

PEERS = ("neuralforecast", "darts", "gluonts")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--peers", metavar="PYTHON", type=Path, help="the interpreter of an environment that has the peers")
    parser.add_argument("--only", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--sizes", nargs="*", choices=["usual", "ours"], default=["usual", "ours"], help="of the peers' networks")
    parser.add_argument("--budget-seconds", type=float, default=300, help="of CPU, for each")
    parser.add_argument("--at-once", type=int, default=1, help="trainings at the same time")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="training_peers_"))
    train, budget = given.data / "m4_hourly_train.parquet", given.budget_seconds
    asked = [(peer, size) for size in given.sizes for peer in given.only] if given.peers else []
    with ThreadPoolExecutor(given.at_once) as turns:
        waiting: list[Future[dict[str, Any] | None]] = [turns.submit(ours, train, budget=budget, seed=given.seed, home=home)]
        waiting += [
            turns.submit(train_peer, given.peers, peer, size, train.resolve(), budget=budget, seed=given.seed, home=home)
            for peer, size in asked
        ]
        found = [one for future in waiting if (one := future.result())]
    words = ["evaluate", "ours", "--actuals", str(given.data / "m4_hourly_test.parquet")]
    words += [word for one in found if "file" in one for word in ("--with", str(one["file"]))]
    rows = {row["forecaster"]: row for row in forecast(*words, home=home)[0]["leaderboard"]}
    for one in found:
        row = rows["gru" if one["forecaster"] == "ours" else one["forecaster"]]
        scores = {score: round(float(row[score]), 3) for score in ("owa", "mase", "smape")}
        print(json.dumps({key: value for key, value in one.items() if key != "file"} | scores), flush=True)


def train_peer(python: Path, peer: str, size: str, train: Path, *, budget: float, seed: int, home: Path) -> dict[str, Any] | None:
    """What a peer tells of its training, with the file of its forecasts; tells and returns nothing where it failed."""
    file = home / f"{peer}-{size}.parquet"
    script = Path(__file__).resolve().parent / "peers" / "recurrent_training.py"
    words = [os.path.abspath(python), str(script), peer, str(train), "--out", str(file), "--size", size, "--seed", str(seed)]
    done = subprocess.run([*words, "--budget-seconds", str(budget)], capture_output=True, text=True, check=False, cwd=home)
    told = [line for line in done.stdout.splitlines() if line.startswith('{"forecaster"')]
    if done.returncode or not told:
        print(json.dumps({"peer": peer, "size": size, "failed": done.stderr.strip().splitlines()[-1:]}), flush=True)
        return None
    found: dict[str, Any] = json.loads(told[0])
    return found | {"file": file}


def ours(train: Path, *, budget: float, seed: int, home: Path) -> dict[str, Any] | None:
    """Train the default configuration through the program's commands, for as many steps as fit into the budget."""
    model = ModelConfig()
    batches, scaler = hourly_batches(train, count=20)
    with torch_threads(1):
        _, cpu, targets = steps(one_member(model, scaler), batches)
    count = max(round(budget * len(batches) / cpu / model.members), 1)
    settings = (
        f"seed={seed}",
        "horizon=48",
        "evaluation.origins=0",
        "evaluation.season_length=24",
        "baselines.names=[seasonal_naive]",
        f"training.max_steps={count}",
    )
    forecast("ingest", str(train), "--name", "hourly", "--freq", "h", home=home)
    words = [word for setting in settings for word in ("--set", setting)]
    _, seconds = forecast("train", "configs/default.yaml", "--panel", "hourly", "--name", "ours", *words, home=home)
    trained = steps_of(home / "runs" / "ours")
    return {
        "forecaster": "ours",
        "steps": trained,
        "targets": round(trained * targets / len(batches)),
        "cpu_seconds": round(seconds, 1),
        "targets_per_cpu_second": round(trained * targets / len(batches) / seconds),
    }


def steps_of(run: Path) -> int:
    """The training steps of a run, those of all members together."""
    logs = [pd.read_csv(log) for log in (run / "training.csv", run / "refit.csv") if log.exists()]
    return sum(int(log.groupby("member")["step"].max().add(1).sum()) for log in logs)


def forecast(*words: str, home: Path) -> tuple[dict[str, Any], float]:
    """What a command prints with --json, and its seconds of CPU."""
    command = [sys.executable, "-m", "forecaster", *words, "--json"]
    with (home / "stdout").open("w+b") as out, (home / "stderr").open("w+b") as told:
        child = subprocess.Popen(command, env={**os.environ, "FORECASTER_HOME": str(home)}, stdout=out, stderr=told)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            told.seek(0)
            sys.exit(f"{' '.join(words)}: {told.read().decode()}")
        out.seek(0)
        return json.loads(out.read()), used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
