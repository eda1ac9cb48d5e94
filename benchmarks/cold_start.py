"""What a series that begins cold costs in accuracy, by its age.

    python benchmarks/cold_start.py [--data ../shared/data] [--steps 300]

M4 Hourly: a network of 64 units, trained for a few hundred steps on two thirds of the series, steps the other third, which it has
never seen. Twice: warm, from their whole history, and cold, from nothing, over the last two weeks of it. The same origins, the
same values to come: MAE of the medians and 80 % coverage, cold against warm, by how many values a series had shown.
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from forecaster.config import changed, read_config
from forecaster.ingest import PanelStore, ingest_files
from forecaster.jobs.home import Home
from forecaster.jobs.train import train
from forecaster.models.checkpoint import load_recurrent
from forecaster.series import Panel

HORIZON, LENGTH = 24, 14 * 24
AGES = (1, 2, 3, 6, 12, 24, 36, 48, 72, 96, 168, 240, 312)
SMALL = ("model.hidden_size=64", "model.members=1", "baselines.names=[]", f"horizon={HORIZON}")


def quiet(*_: object) -> None:
    """No words, no progress."""


def last_part(panel: Panel, length: int) -> Panel:
    """The last values of each series, as series of their own."""
    return Panel(
        panel.ids,
        panel.ends - length + 1,
        np.arange(len(panel) + 1) * length,
        np.concatenate([panel.series(b)[-length:] for b in range(len(panel))]),
        panel.frequency,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--steps", type=int, default=300)
    given = parser.parse_args()
    frame = pd.read_parquet(given.data / "m4_hourly_train.parquet")
    ids = frame["unique_id"].unique()
    strangers = set(np.random.default_rng(1).permutation(ids)[: len(ids) // 3])
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        for name, part in (("known", ~frame["unique_id"].isin(strangers)), ("new", frame["unique_id"].isin(strangers))):
            frame[part].to_parquet(home.path / f"{name}.parquet")
            ingest_files([str(home.path / f"{name}.parquet")], name, store=PanelStore(home.panels), freq="h")
        config = changed(
            read_config(Path(__file__).parents[1] / "configs" / "default.yaml"), (*SMALL, f"training.max_steps={given.steps}")
        )
        run = train(config, "known", home=home, name="cold", command="", fresh=False, say=quiet, progress=quiet)
        network, panel = load_recurrent(run.deployed_weights), PanelStore(home.panels).load("new")
    part = last_part(panel, LENGTH + HORIZON)
    y = part.matrix() if not np.isnan(part.values).any() else part.values.reshape(len(part), -1)
    warm, cold = network.warm(panel.drop_last(LENGTH + HORIZON)), network.initial_state(len(panel))
    print("| values shown | MAE, cold against warm | covered by 80 % intervals: cold | warm |\n|---|---|---|---|")
    for t in range(LENGTH):
        position = part.starts + t
        warm, cold = network.step(warm, y[:, t], position), network.step(cold, y[:, t], position)
        if t + 1 in AGES:
            actual = y[:, t + 1 : t + 1 + HORIZON]
            errors, covered = [], []
            for state in (cold, warm):
                values = network.forecast(state, position)
                low, middle, high = (values[:, :, network.quantiles.index(q)] for q in (0.1, 0.5, 0.9))
                scale = np.abs(np.diff(y, axis=1)).mean(axis=1)[:, None]
                errors.append(float((np.abs(middle - actual) / scale).mean()))
                covered.append(float(((low <= actual) & (actual <= high)).mean()))
            print(f"| {t + 1} | {errors[0] / errors[1]:.2f} | {covered[0]:.1%} | {covered[1]:.1%} |")


if __name__ == "__main__":
    main()
