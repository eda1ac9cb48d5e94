"""A durable live stream beside other people's forecasters at the same work: a value comes, and the next one is forecast.

    python benchmarks/stream_peers.py [--data ../shared/data] [--river PYTHON] [--statsmodels PYTHON] [--statsforecast PYTHON]
        [--darts PYTHON] [--neuralforecast PYTHON] [--budget-seconds 20] [--peers-alone]

M4 Hourly: 414 series learn from their training part, and the 48 hours of the test part come one after the other. Each peer is
given by the interpreter of an environment that has it, and one that is not given is passed over; what they do is in
`benchmarks/peers/one_step_ahead.py`. Ours is the engine with its store, every micro-batch committed to the disk with its fsync: a
network (hidden 64, one member, 300 steps of training) and Holt-Winters, 24 leads by 3 quantiles for every observation, where the
others say one number of one lead. By hours (414 observations a commit), in micro-batches of 16,384, and one observation at a
time. None of it reads a feed or writes forecasts. Prints one JSON object for each way, as the peers do.

Environments that were used: `pip install river==0.26.1 statsmodels==0.15.0 pyarrow`, and `pip install 'pandas<3' pyarrow
statsforecast==2.1.1 darts==0.48.1 neuralforecast==3.3.0`, which brings a torch of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import torch

from forecaster.baselines import BASELINES
from forecaster.forecast import State, Stepper
from forecaster.frequency import Frequency
from forecaster.models.ensemble import train_network
from forecaster.models.network import ModelConfig
from forecaster.models.plan import TrainingConfig
from forecaster.series import Panel
from forecaster.streaming.arrivals import Arrivals, CodedIds
from forecaster.streaming.engine import Engine
from forecaster.streaming.live import FeedPosition
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.state import StateStore

SOME = {"statsmodels": 20, "statsforecast": 20}  # series of those that take one after the other, and long to learn
PEERS = ("river", "statsmodels", "statsforecast", "darts", "neuralforecast")
HOURLY, M, LEADS, QUANTILES = Frequency("h", is_numbered=True), 24, 24, (0.1, 0.5, 0.9)
SERIES, TURNS, SINGLES = 414, 5, 828  # times that a way is measured; observations one at a time
MODEL, TRAINING = ModelConfig(hidden_size=64, members=1), TrainingConfig(max_steps=300, refit_share=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    for peer in PEERS:
        parser.add_argument(f"--{peer}", metavar="PYTHON", help=f"the interpreter of an environment that has {peer}")
    parser.add_argument("--budget-seconds", type=float, default=20, help="of CPU, for each way of a peer")
    parser.add_argument("--peers-alone", action="store_true", help="leave ours out")
    given = parser.parse_args()
    train, test = given.data / "m4_hourly_train.parquet", given.data / "m4_hourly_test.parquet"
    for peer in PEERS:
        python = getattr(given, peer)
        if python is None:
            print(json.dumps({"peer": peer, "absent": f"--{peer} was not given"}))
        else:
            limits = ["--budget-seconds", str(given.budget_seconds), "--series", str(SOME.get(peer, SERIES))]
            measure_peer(peer, [python, peer, str(train), str(test), *limits])
    if not given.peers_alone:
        torch.set_num_threads(1)
        measure_ours(train, test)


def measure_peer(peer: str, command: list[str]) -> None:
    """Print what a peer tells, or why it tells nothing."""
    script = Path(__file__).parent / "peers" / "one_step_ahead.py"
    done = subprocess.run([command[0], str(script), *command[1:]], capture_output=True, text=True, check=False)
    sys.stdout.write("".join(f"{line}\n" for line in done.stdout.splitlines() if line.startswith('{"way"')))
    if done.returncode:
        print(json.dumps({"peer": peer, "failed": done.stderr.strip().splitlines()[-1:]}))
    sys.stdout.flush()


def measure_ours(train: Path, test: Path) -> None:
    """Print what the engine does with a network and with Holt-Winters."""
    known, live = (Panel.from_frame(pd.read_parquet(path), HOURLY) for path in (train, test))
    baseline = BASELINES["holt_winters"](season_length=M).fit(known)
    with tempfile.TemporaryDirectory() as folder:
        network = train_network(
            known, model=MODEL, training=TRAINING, horizon=LEADS, quantiles=QUANTILES, seed=1, folder=Path(folder)
        )
    holt_winters = baseline.stepper(HOURLY, horizon=LEADS, quantiles=QUANTILES)
    with torch.inference_mode():
        for name, stepper, state in (
            ("network, hidden 64", network, network.warm(known)),
            ("Holt-Winters", holt_winters, holt_winters.warm(known)),
        ):
            for way, size, most in (
                ("by hours", len(live), None),
                ("by 16,384", 16_384, None),
                ("one by one", 1, SINGLES),
            ):
                tell(f"forecaster, {name}, {way}", [walk(stepper, state, known, live, size, most) for _ in range(TURNS)])


def walk(
    stepper: Stepper, state: State, known: Panel, live: Panel, size: int, most: int | None
) -> tuple[float, float, int, float]:
    """CPU seconds, seconds of the wall, observations and MASE of one walk over the feed in a new state."""
    with tempfile.TemporaryDirectory() as folder:
        identity = {"fingerprint": stepper.fingerprint, "frequency": HOURLY, "state_size": stepper.state_size, "window": M}
        with StateStore.open(Path(folder), **identity) as store:
            engine = Engine(stepper, HOURLY, store, StreamingConfig(revision_window=M))
            engine.warm(known, build=lambda _: state)
            batches, said = list(batches_of(live, size, most)), []
            began, clock = time.process_time(), time.perf_counter()
            for arrivals in batches:
                said.append(engine.advance(arrivals).forecast.values[:, 0, 1])
            spent = time.process_time() - began, time.perf_counter() - clock
    medians = np.concatenate(said)
    return *spent, len(medians), mase(medians, known, live)


def batches_of(live: Panel, size: int, most: int | None) -> Iterator[Arrivals]:
    """The hours one after the other, each with a value of every series, cut into micro-batches."""
    hours = int(live.lengths[0])
    values = live.values.reshape(len(live), hours).T.ravel()
    codes, positions = np.tile(np.arange(len(live)), hours), (live.starts[None, :] + np.arange(hours)[:, None]).ravel()
    for first in range(0, most or len(codes), size):
        at = slice(first, min(first + size, most or len(codes)))
        ids, lines = CodedIds(live.ids, codes[at]), np.arange(first, at.stop)
        yield Arrivals(ids, positions[at], values[at], lines, (), FeedPosition(at.stop), original=lambda _: b"")


def mase(medians: np.ndarray, known: Panel, live: Panel) -> float:
    """The error of the forecasts one step ahead, over the series' daily differences."""
    hours = live.values.reshape(len(live), -1).T
    count = min(len(medians) // len(live), len(hours) - 1)
    scale = [np.abs(y[M:] - y[:-M]).mean() for y in (known.series(b) for b in range(len(known)))]
    errors = np.abs(medians[: count * len(live)].reshape(count, -1) - hours[1 : count + 1])
    return float((errors / np.array(scale)).mean())


def tell(way: str, walks: list[tuple[float, float, int, float]]) -> None:
    """Print the median of the walks."""
    cpu, wall = (float(np.median(seconds)) for seconds in list(zip(*walks, strict=True))[:2])
    count = walks[0][2]
    found = {"way": way, "observations_per_cpu_second": round(count / cpu, 1), "observations": count}
    print(json.dumps(found | {"mase": round(walks[0][3], 3), "per_second_of_the_wall": round(count / wall, 1)}), flush=True)


if __name__ == "__main__":
    main()
