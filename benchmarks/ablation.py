"""What each element of the network is worth: every rung of the ladder, and every element taken out, under one small budget.

    python benchmarks/ablation.py --data ../shared/data [--panels tourism hourly …] [--seeds 1 2 3] [--steps 600] [--only rungs]

Trained on the training part, its last horizon held back from training and scored; test parts are not read. MASE and the mean
pinball loss relative to the whole network's with the same seed: above 1 means that the element earns something. The standard
deviation is that between seeds.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from forecaster.evaluation.metrics import error_scales, pinball_loss
from forecaster.frequency import Frequency
from forecaster.models import ensemble
from forecaster.models.cells import LADDER
from forecaster.models.holt_winters import HoltWinters
from forecaster.models.network import ModelConfig, Network
from forecaster.models.plan import TrainingConfig, WindowPlan, plan_windows
from forecaster.models.scaler import Scaler, scaler_for
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
PANELS = {  # file, frequency, horizon, lag of the scale, positions of each series
    "tourism": ("tourism_monthly_train", "MS", 24, 12, None),
    "hourly": ("m4_hourly_train", "h", 48, 24, None),
    "weekly": ("m4_weekly_train", "W-SUN", 13, 1, None),
    "etth1": ("etth1", "h", 24, 24, 11_520),
}


def whole_base(change: Callable[[HoltWinters], HoltWinters]) -> Callable[[Panel, int], Scaler]:
    """The scaler of a panel with another base."""

    def changed(panel: Panel, horizon: int) -> Scaler:
        scaler = scaler_for(panel, horizon)
        return replace(scaler, base=change(scaler.base))

    return changed


def seasonal_naive(base: HoltWinters) -> HoltWinters:
    return HoltWinters(level=0.0, slope=0.0, season=1.0, damping=1.0, length=base.length)


@contextmanager
def plain_scale() -> Iterator[None]:
    """Values as they are, where the panel asks for logarithms."""
    with patch.object(ensemble, "scaler_for", lambda panel, horizon: replace(scaler_for(panel, horizon), kind="signed")):
        yield


@contextmanager
def no_smoothing() -> Iterator[None]:
    """The value of one season ago in place of the panel's smoothing."""
    with patch.object(ensemble, "scaler_for", whole_base(seasonal_naive)):
        yield


@contextmanager
def blind(part: str) -> Iterator[None]:
    """Heads that do not see the ring, or nothing that the cell remembers."""
    speak = Network.speak

    def without(self: Network, memory: Tensor, sight: Tensor, *more: Tensor) -> Tensor:
        if part == "ring":
            keep = torch.ones(sight.shape[-1])
            keep[: ring_size[0]] = 0
            sight = sight * keep
        else:
            memory = memory * 0
        return speak(self, memory, sight, *more)

    ring_size = [0]

    def noted(panel: Panel, horizon: int) -> Scaler:
        scaler = scaler_for(panel, horizon)
        ring_size[0] = scaler.ring_size
        return scaler

    with patch.object(ensemble, "scaler_for", noted), patch.object(Network, "speak", without):
        yield


@contextmanager
def one_origin() -> Iterator[None]:
    """One place of every window scored, as a library of windows does it."""

    def sparse(config: TrainingConfig, panel: Panel, scaler: Scaler) -> WindowPlan:
        plan = plan_windows(config, panel, scaler)
        return replace(plan, stride=plan.length - plan.burn_in)

    with patch.object(ensemble, "plan_windows", sparse):
        yield


@contextmanager
def nothing() -> Iterator[None]:
    yield


ELEMENTS = {
    "logarithms": (plain_scale, {}),
    "the panel's smoothing as base": (no_smoothing, {}),
    "the ring": (lambda: blind("ring"), {}),
    "the cell's memory": (lambda: blind("memory"), {}),
    "many origins in a window": (one_origin, {}),
    "averaged weights": (nothing, {"average_decay": 0.0}),
}


def trained(panel: Panel, horizon: int, lag: int, *, cell: str, seed: int, settings: dict[str, float]) -> dict[str, float]:
    """The scores of a network trained without the last horizon, which it then forecasts, and the CPU seconds it took."""
    known = panel.drop_last(horizon)
    config = TrainingConfig(refit_share=0.0, accelerator="cpu", **settings)
    model = ModelConfig.model_validate({"cell": cell, "members": 1})
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        forecaster = ensemble.train_network(
            known, model=model, training=config, horizon=horizon, quantiles=QUANTILES, seed=seed, folder=Path(folder)
        )
    seconds = time.process_time() - began
    origins = Origins.back(panel, (horizon,))
    values = forecaster.predict(panel, horizon, quantiles=QUANTILES, origins=origins).values
    ends = panel.offsets[origins.index] + origins.known
    y = panel.values[ends[:, None] + np.arange(horizon)]
    scale = error_scales(panel, origins.index, origins.known, lag)[:, None]
    scale = np.where(scale > 0, scale, np.nan)
    losses = [np.nanmean(pinball_loss(y, values[:, :, q], quantile) / scale) for q, quantile in enumerate(QUANTILES)]
    return {"mase": float(np.nanmean(np.abs(y - values[:, :, 4]) / scale)), "pinball": float(np.mean(losses)), "seconds": seconds}


def read(name: str, data: Path) -> tuple[Panel, int, int]:
    file, alias, horizon, lag, length = PANELS[name]
    frame = pd.read_parquet(data / f"{file}.parquet")
    if length:
        frame = frame[frame.groupby("unique_id").cumcount() < length]
    panel = Panel.from_frame(frame, Frequency(alias, is_numbered=frame["ds"].dtype.kind == "i"))
    return panel, horizon, lag


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--panels", nargs="*", choices=PANELS, default=["tourism", "hourly"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", choices=("rungs", "elements"))
    given = parser.parse_args()
    rows = {"the whole network (gru)": ("gru", nothing, {})}
    if given.only != "elements":
        rows |= {f"rung {cell}": (cell, nothing, {}) for cell in LADDER if cell != "gru"}
    if given.only != "rungs":
        rows |= {f"without {name}": ("gru", out, settings) for name, (out, settings) in ELEMENTS.items()}
    for name in given.panels:
        panel, horizon, lag = read(name, given.data)
        print(f"{name}, {given.steps} steps, seeds {given.seeds}")
        whole: list[dict[str, float]] = []
        for label, (cell, out, settings) in rows.items():
            with out():
                said = [
                    trained(panel, horizon, lag, cell=cell, seed=seed, settings={"max_steps": given.steps, **settings})
                    for seed in given.seeds
                ]
            whole = whole or said
            told = []
            for score in ("mase", "pinball"):
                ratios = [one[score] / best[score] for one, best in zip(said, whole, strict=True)]
                spread = stdev(ratios) if len(ratios) > 1 else 0.0
                told.append(f"{score} {mean(one[score] for one in said):.4f}, ratio {mean(ratios):.3f} ± {spread:.3f}")
            print(f"  {label:44}{'   '.join(told)}   {mean(one['seconds'] for one in said):.0f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
