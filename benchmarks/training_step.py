"""How fast a training step is, by threads: seconds, CPU seconds and supervised targets a second, on M4 Hourly.

    python benchmarks/training_step.py --data ../shared/data [--threads 1 2] [--steps 50]

The same batches are stepped with each number of threads, in turns. On a machine that does something else as well, threads wait
for each other: run it beside `python -c "while True: pass"` to see.
"""

import argparse
import os
import time
from pathlib import Path

import pandas as pd
import torch

from forecaster.frequency import Frequency
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.plan import TrainingConfig, plan_windows
from forecaster.models.scaler import scaler_for
from forecaster.models.training import changes_of, pinball
from forecaster.models.windows import PanelWindows, TrainingWindows
from forecaster.series import Panel

QUANTILES = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
HORIZON = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=50)
    given = parser.parse_args()
    frame = pd.read_parquet(given.data / "m4_hourly_train.parquet")
    panel = Panel.from_frame(frame, Frequency("h", is_numbered=True))
    scaler = scaler_for(panel, HORIZON)
    windows = PanelWindows(scaler, panel, horizon=HORIZON, plan=plan_windows(TrainingConfig(), panel, scaler))
    batches = TrainingWindows(windows, batches=given.steps, seed=1, epoch=0)
    network = Network(ModelConfig(), scaler, horizon=HORIZON, quantiles=QUANTILES)
    for turn in range(2):
        for threads in given.threads:
            with torch_threads(threads):
                wall, cpu, targets = steps(network, batches)
            print(
                f"turn {turn + 1}, {threads} threads: {1000 * wall / given.steps:.0f} ms a step, "
                f"{1000 * cpu / given.steps:.0f} ms of CPU, {targets / cpu:,.0f} targets per CPU second"
            )


def steps(network: Network, batches: TrainingWindows) -> tuple[float, float, int]:
    """Seconds, CPU seconds and targets of one pass over the batches, forwards and backwards."""
    quantiles = torch.tensor(QUANTILES)
    wall, cpu, targets = time.monotonic(), time.process_time(), 0
    for number in range(len(batches)):
        batch = batches[number]
        (pinball(changes_of(network, batch), batch.target, quantiles) * batch.weight).sum().backward()
        targets += int((batch.weight > 0).sum())
    return time.monotonic() - wall, time.process_time() - cpu, targets


if __name__ == "__main__":
    main()
