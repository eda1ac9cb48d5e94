"""What leaning towards smoothings is worth, on the last horizon of training parts and of panels made from them.

    python benchmarks/leaning.py --data ../shared/data [--panels hourly yearly …] [--steps 1500] [--folds 2] [--seeds 1]

No test part is read. Of each panel the last horizon is held back (with --folds 2 also the one before it, from a training that
ends earlier), one network of the default size is trained on what is left, and its forecasts are scored as they lean by each of
some weights, 0 being the network alone, and by the weight that the training chose by its own held-back tail. Printed is the OWA
against Naive2. The panels made from others stand for what else users bring: yearly means, thirteen values a series, daily
sums, seven or eight series only, and random walks.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import geometric_mean

import numpy as np
import pandas as pd
from gates import ingest
from panels import PANELS, forecast

from forecaster.baselines import BASELINES
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import backtest, scale_season_length
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.scores import score
from forecaster.forecast import Forecaster
from forecaster.ingest import PanelStore
from forecaster.models.ensemble import train_network
from forecaster.models.inputs import InputsConfig
from forecaster.models.leaning import mixture_for
from forecaster.models.network import ModelConfig
from forecaster.models.plan import TrainingConfig, held_back_tail
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.5, 0.9)
WEIGHTS = (0.0, 0.1, 0.25, 0.4)
LEAST_SEASONS = 2  # of a typical series, to learn from


def blocks_of(file: str, data: Path, *, size: int, alias: str, how: str) -> pd.DataFrame:
    """The mean or the sum of each `size` values of every series, counted from its end."""
    frame = pd.read_parquet(data / f"{file}.parquet").sort_values(["unique_id", "ds"])
    frame["block"] = frame.groupby("unique_id").cumcount(ascending=False) // size
    blocks = frame.groupby(["unique_id", "block"])["y"].agg([how, "count"]).reset_index()
    blocks = blocks[blocks["count"] == size]
    end = pd.Timestamp("2020-01-01")
    years = [end - pd.DateOffset(years=int(block)) for block in blocks["block"]] if alias == "YS" else None
    blocks["ds"] = years if years is not None else end - pd.to_timedelta(blocks["block"], unit="D")
    return blocks.rename(columns={how: "y"})[["unique_id", "ds", "y"]]


def yearly(data: Path, *, most: int | None = None) -> pd.DataFrame:
    """Yearly means of M4 Quarterly; of so many years, the last ones, where that many are known."""
    frame = blocks_of("m4_quarterly_dev_train", data, size=4, alias="YS", how="mean")
    count = frame.groupby("unique_id")["y"].transform("size")
    frame = frame[count >= (most or 10)]
    return frame.groupby("unique_id").tail(most) if most else frame


def some_of(data: Path, *, name: str, count: int, seed: int) -> pd.DataFrame:
    """So many series of a panel."""
    frame = pd.read_parquet(data / f"{PANELS[name].train}.parquet")
    chosen = np.random.default_rng(seed).choice(sorted(frame["unique_id"].unique()), count, replace=False)
    return frame[frame["unique_id"].isin(chosen)]


def rates(_: Path) -> pd.DataFrame:
    """Eight random walks of logarithms with heavy tails, on business days."""
    random = np.random.default_rng(3)
    days = pd.date_range("2001-01-01", periods=5000, freq="B")
    walks = [np.exp(np.cumsum(random.standard_t(4, size=len(days)) * 0.006)) for _ in range(8)]
    return pd.concat([pd.DataFrame({"unique_id": f"rate{k}", "ds": days, "y": walk}) for k, walk in enumerate(walks)])


MADE: dict[str, tuple[str, int, Callable[[Path], pd.DataFrame]]] = {  # frequency and horizon
    "yearly": ("YS", 4, yearly),
    "thirteen": ("YS", 6, partial(yearly, most=19)),
    "daily": ("D", 7, partial(blocks_of, "m4_hourly_train", size=24, alias="D", how="sum")),
    **{f"seven {k}": ("MS", 12, partial(some_of, name="tourism", count=7, seed=k)) for k in (1, 2, 3)},
    **{f"eight {k}": ("W-SUN", 13, partial(some_of, name="weekly", count=8, seed=k)) for k in (1, 2, 3)},
    "rates": ("B", 20, rates),
}


def load(name: str, *, data: Path, home: Path) -> tuple[Panel, int]:
    """A panel and its horizon."""
    stored, panels = name.replace(" ", "-"), PanelStore(home / "data" / "panels")
    if name in PANELS:
        ingest(name, data=data, home=home)
        return panels.load(name), PANELS[name].horizon
    alias, horizon, make = MADE[name]
    file = home / f"{stored}.parquet"
    make(data).to_parquet(file)
    forecast("ingest", str(file), "--name", stored, "--freq", alias, home=home)
    return panels.load(stored), horizon


def owa_of(full: Panel, horizon: int, fold: int, *, seed: int, steps: int, home: Path) -> tuple[float, dict[str, float]] | None:
    """The weight that the training chose, and the OWA by weight, "chosen" among them; None where hardly anything is left."""
    season, panel = scale_season_length(full.frequency), full.drop_last(fold * horizon)
    known = panel.drop_last(horizon)
    if len(known) < len(full) / 2 or np.median(known.lengths) < LEAST_SEASONS * season:
        return None
    trained = train_network(
        known,
        model=ModelConfig(members=1),
        training=TrainingConfig(max_steps=steps),
        horizon=horizon,
        quantiles=QUANTILES,
        seed=seed,
        folder=Path(tempfile.mkdtemp(dir=home)),
        inputs=InputsConfig(),
    )
    chosen = trained.mixture.weight if trained.mixture else 0.0
    mixture = trained.mixture or mixture_for(known.drop_last(held_back_tail(known, horizon)), trained.scaler, horizon, weight=0.0)
    naive, origins = BASELINES["naive2"]().fit(known), Origins.back(panel, (horizon,))
    owa: dict[float, float] = {}
    for weight in {*WEIGHTS, chosen}:
        both: list[Forecaster] = [replace(trained, mixture=replace(mixture, weight=weight)), naive]
        result = backtest(both, panel, horizon=horizon, quantiles=QUANTILES, origins=origins)
        truth = actuals_matrix(result.forecasts[trained.name], panel)
        row = rank(score(result, history=known, actuals=truth, season_length=season)).row(trained.name)
        assert row
        owa[weight] = row.owa
    return chosen, {f"{weight:g}": owa[weight] for weight in WEIGHTS} | {"chosen": owa[chosen]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--panels", nargs="*", choices=[*PANELS, *MADE], default=[*PANELS, *MADE])
    parser.add_argument("--steps", type=int, default=1_500)
    parser.add_argument("--folds", type=int, default=1)
    parser.add_argument("--seeds", nargs="*", type=int, default=[1])
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="leaning_"))
    ratios: dict[str, list[float]] = {}
    print(f"{'panel':12} fold seed  {'  '.join(f'{weight:>5g}' for weight in WEIGHTS)}  chosen")
    for name in given.panels:
        panel, horizon = load(name, data=given.data, home=home)
        for fold, seed in ((fold, seed) for fold in range(given.folds) for seed in given.seeds):
            found = owa_of(panel, horizon, fold, seed=seed, steps=given.steps, home=home)
            if not found:
                continue
            chosen, said = found
            told = "  ".join(f"{said[f'{weight:g}']:.3f}" for weight in WEIGHTS)
            print(f"{name:12} {fold + 1:4} {seed:4}  {told}  {said['chosen']:.3f} ({chosen:g})", flush=True)
            for key, owa in said.items():
                ratios.setdefault(key, []).append(owa / said["0"])
    keys = [*(f"{weight:g}" for weight in WEIGHTS), "chosen"]
    print(f"{'in the mean':22}  {'  '.join(f'{geometric_mean(ratios[key]) - 1:+.1%}' for key in keys)}")


if __name__ == "__main__":
    main()
