"""What a series that nobody knows costs in accuracy, by its age: begun from nothing, and from what its panel has in common.

    python benchmarks/cold_start.py [--data ../shared/data] [--steps 300] [--panels m4_hourly pm25 etth1]

A network of 64 units is trained for a few hundred steps on two thirds of a panel's series and steps the others, which it has
never seen: from their whole history, from nothing, and from the pool that training left. The same origins, the same values to
come: MAE of the medians, in mean changes of the series and as a share of that of who knows the history, and coverage of 80 %
intervals, by how many values a series had shown. Where series are few, each is begun at forty places.
"""

import argparse
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from forecaster.config import changed, read_config
from forecaster.forecast import State
from forecaster.ingest import PanelStore, ingest_files
from forecaster.jobs.home import Home
from forecaster.jobs.train import train
from forecaster.models.checkpoint import load_recurrent, with_pool
from forecaster.models.recurrent import Recurrent
from forecaster.series import Origins, Panel

FILES = {"m4_hourly": "m4_hourly_train.parquet", "pm25": "beijing_pm25_dev.parquet", "etth1": "etth1.parquet"}
HORIZON, LENGTH, PLACES = 24, 7 * 24 + 1, 40
AGES = (1, 2, 3, 6, 9, 12, 18, 24, 36, 48, 96, 168)
SMALL = ("model.hidden_size=64", "model.members=1", "baselines.names=[]", f"horizon={HORIZON}")


@dataclass(frozen=True)
class Begun:
    """Series [B] that begin somewhere: their place in the panel, how much of them is known before, and what they show."""

    index: np.ndarray
    known: np.ndarray
    positions: np.ndarray
    y: np.ndarray  # [B, LENGTH + HORIZON]


def quiet(*_: object) -> None:
    """No words, no progress."""


def places(panel: Panel) -> Begun:
    """Where the panel's series are begun anew: at their last days, and at others before where the series are few."""
    random, found = np.random.default_rng(0), []
    for b in range(len(panel)):
        for place in range(1 if len(panel) > PLACES else PLACES):
            begin = int(panel.lengths[b]) - (place + 1) * (LENGTH + HORIZON) - int(random.integers(24))
            if begin >= 48 and not np.isnan(panel.series(b)[begin]):
                found.append((b, begin, panel.series(b)[begin : begin + LENGTH + HORIZON]))
    index, known, y = zip(*found, strict=True)
    return Begun(np.array(index), np.array(known), panel.starts[list(index)] + known, np.array(y))


def trained(name: str, data: Path, *, steps: int, home: Home) -> tuple[Recurrent, Panel]:
    """A network of two thirds of the series, and the panel of the others."""
    frame = pd.read_parquet(data / FILES[name])
    ids = frame["unique_id"].unique()
    strangers = set(np.random.default_rng(1).permutation(ids)[: len(ids) // 3])
    for part, rows in (
        (f"{name}_known", ~frame["unique_id"].isin(strangers)),
        (f"{name}_new", frame["unique_id"].isin(strangers)),
    ):
        frame[rows].to_parquet(home.path / f"{part}.parquet")
        ingest_files([str(home.path / f"{part}.parquet")], part, store=PanelStore(home.panels), freq="h")
    config = read_config(Path(__file__).parents[1] / "configs" / "default.yaml")
    config = changed(config, (*SMALL, f"training.max_steps={steps}"))
    run = train(config, f"{name}_known", home=home, name=name, command="", fresh=False, say=quiet, progress=quiet)
    return load_recurrent(run.deployed_weights), PanelStore(home.panels).load(f"{name}_new")


def measure(network: Recurrent, panel: Panel) -> pd.DataFrame:
    """A row for each age: the errors of the three, and what their intervals covered."""
    begun = places(panel)
    nothing = with_pool(network, None)
    ways: dict[str, tuple[Recurrent, State]] = {
        "history": (network, network.states_at(panel, Origins(begun.index, begun.known))),
        "nothing": (nothing, nothing.initial_state(len(begun.y))),
        "pool": (network, network.initial_state(len(begun.y))),
    }
    sizes, rows = np.nanmean(np.abs(np.diff(begun.y, axis=1)), axis=1)[:, None], []
    for t in range(LENGTH):
        position = begun.positions + t
        ways = {way: (one, one.step(state, begun.y[:, t], position)) for way, (one, state) in ways.items()}
        if t + 1 in AGES:
            row: dict[str, float] = {"age": t + 1}
            actual = begun.y[:, t + 1 : t + 1 + HORIZON]
            for way, (one, state) in ways.items():
                values = one.forecast(state, position)
                low, middle, high = (values[:, :, network.quantiles.index(q)] for q in (0.1, 0.5, 0.9))
                row[f"{way} MAE"] = float(np.nanmean(np.abs(middle - actual) / sizes))
                row[f"{way} covered"] = float(((low <= actual) & (actual <= high))[~np.isnan(actual)].mean())
            rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--panels", nargs="+", choices=FILES, default=list(FILES))
    given = parser.parse_args()
    for name in given.panels:
        with tempfile.TemporaryDirectory() as folder:
            network, panel = trained(name, given.data, steps=given.steps, home=Home(Path(folder)))
        table = measure(network, panel)
        courses = len(network.pool.courses) if network.pool else None
        print(f"\n{name}: {len(panel)} series that nobody knows; {courses} courses in the pool\n")
        print("| values shown | MAE with history | from nothing | from the pool | covered: history | nothing | pool |")
        print("|---|---|---|---|---|---|---|")
        for row in table.to_dict("records"):
            ratios = " | ".join(f"{row[f'{way} MAE'] / row['history MAE']:.2f}" for way in ("nothing", "pool"))
            shares = " | ".join(f"{row[f'{way} covered']:.0%}" for way in ("history", "nothing", "pool"))
            print(f"| {row['age']:.0f} | {row['history MAE']:.2f} | {ratios} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
