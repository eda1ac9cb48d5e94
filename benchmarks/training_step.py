"""How fast a training step is, by threads, and where its time goes, on M4 Hourly.

    python benchmarks/training_step.py --data ../shared/data [--threads 1 2] [--steps 50] [--hidden 128] [--decay]

One member of the default configuration, as each trains by itself. The same batches are stepped with each number of threads, in
turns: seconds, CPU-seconds, and for a CPU-second the targets (values of the future in the loss) and tokens (positions that the
cell walks). On a machine that does something else as well, threads wait for each other. Then the parts of a step on one thread,
each forwards and backwards, the median of the steps.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import Tensor, nn

from forecaster.frequency import Frequency
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.plan import TrainingConfig, plan_windows
from forecaster.models.scaler import Scaler, scaler_for
from forecaster.models.training import changes_of, pinball
from forecaster.models.windows import Batch, PanelWindows, TrainingWindows
from forecaster.series import Panel

QUANTILES = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
HORIZON = 48


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--hidden", type=int, default=ModelConfig().hidden_size)
    parser.add_argument("--decay", action="store_true")
    given = parser.parse_args()
    batches, scaler = hourly_batches(given.data / "m4_hourly_train.parquet", count=given.steps)
    network = one_member(ModelConfig(hidden_size=given.hidden, decay=given.decay), scaler)
    for turn in range(2):
        for threads in given.threads:
            with torch_threads(threads):
                wall, cpu, targets = steps(network, batches)
            tokens = given.steps * batches[0].features[..., 0].numel()
            each = f"{1000 * wall / given.steps:.1f} ms a step, {1000 * cpu / given.steps:.1f} ms of CPU"
            rates = f"{targets / cpu:,.0f} targets and {tokens / cpu:,.0f} tokens a CPU-second"
            print(f"turn {turn + 1}, {threads} threads: {each}; {rates}")
    with torch_threads(1):
        tell_parts(network, batches)


def hourly_batches(train: Path, *, count: int) -> tuple[TrainingWindows, Scaler]:
    """So many training batches of M4 Hourly, and the scaler through which they are seen."""
    panel = Panel.from_frame(pd.read_parquet(train), Frequency("h", is_numbered=True))
    scaler = scaler_for(panel, HORIZON)
    windows = PanelWindows(scaler, panel, horizon=HORIZON, plan=plan_windows(TrainingConfig(), panel, scaler))
    return TrainingWindows(windows, batches=count, seed=1, epoch=0), scaler


def one_member(config: ModelConfig, scaler: Scaler) -> Network:
    """An untrained network of one member."""
    return Network(config.model_copy(update={"members": 1}), scaler, horizon=HORIZON, quantiles=QUANTILES)


def steps(network: Network, batches: TrainingWindows) -> tuple[float, float, int]:
    """Seconds, CPU-seconds and targets of one pass over the batches, with all that a training step does."""
    optimizer = torch.optim.AdamW(network.parameters())
    wall, cpu, targets = time.monotonic(), time.process_time(), 0
    for number in range(len(batches)):
        batch = batches[number]
        optimizer.zero_grad()
        loss_of(changes_of(network, batch), batch).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        targets += int((batch.weight > 0).sum())
    return time.monotonic() - wall, time.process_time() - cpu, targets


def loss_of(change: Tensor, batch: Batch) -> Tensor:
    """The loss of a training step."""
    return (pinball(change, batch.target, torch.tensor(QUANTILES)) * batch.weight).sum() / (batch.weight > 0).sum()


def tell_parts(network: Network, batches: TrainingWindows) -> None:
    """Print how long each part of a step takes."""
    batch, count = batches[0], len(batches)
    optimizer = torch.optim.AdamW(network.parameters())
    start = network.initial_state(len(batch.features))
    memory = network.remember(batch.features, start)[0][:, batch.origins].detach().requires_grad_()
    change = network.speak(memory, batch.sight, batch.leads).detach().requires_grad_()
    parts: dict[str, Callable[[], object]] = {
        "windows gathered": lambda: batches[0],
        "cell": lambda: network.remember(batch.features, start)[0].sum().backward(),
        "head": lambda: network.speak(memory, batch.sight, batch.leads).sum().backward(),
        "loss": lambda: loss_of(change, batch).backward(),
        "gradients clipped": lambda: nn.utils.clip_grad_norm_(network.parameters(), 1.0),
        "optimiser": optimizer.step,
    }
    for name, part in parts.items():
        print(f"{name:20} {1000 * median_of(count, part):5.1f} ms")


def median_of(count: int, work: Callable[[], object]) -> float:
    """CPU-seconds of the median turn."""
    seconds = []
    for _ in range(count):
        before = time.process_time()
        work()
        seconds.append(time.process_time() - before)
    return median(seconds)


if __name__ == "__main__":
    main()
