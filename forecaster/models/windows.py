"""Windows of a panel for training: one pass over a window gives a loss at many of its positions (forking sequences).

Source: Wen et al. 2017, arXiv:1711.11053. A window's positions see the past through the scaler, which has walked the whole
series, and through the cell, which starts the window from nothing and is not scored until it has run a while.
Axes: B windows, T time steps, O origins in a window, D inputs, R ring size, L leads.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from forecaster.models.plan import WindowPlan
from forecaster.models.scaler import CLIP, Scaler, track
from forecaster.series import Panel

FURTHEST = 1_000.0  # spreads from the base: further a target does not pull, as when a constant series moves


class Batch(NamedTuple):
    """Windows, the origins scored in them, and what came after these."""

    features: Tensor  # [B, T, D]
    origins: Tensor  # [O] steps into the window
    ring: Tensor  # [B, O, R] in amplitudes from the level
    target: Tensor  # [B, O, L] what the future adds to the base, in spreads; 0 where unknown
    weight: Tensor  # [B, O, L] of the target's absolute error in the loss; 0 where it does not count


class PanelWindows:
    """The windows of a panel, walked once by the scaler, then gathered at will.

    A position is a target where it was observed; an origin counts from the series' first observed value on.
    """

    def __init__(self, scaler: Scaler, panel: Panel, *, horizon: int, plan: WindowPlan) -> None:
        self.plan = plan
        walk = track(scaler, panel)
        self.lengths = torch.from_numpy(panel.lengths)
        self.offsets = torch.from_numpy(panel.offsets[:-1].copy())
        self.features = torch.from_numpy(walk.features)
        self.level = torch.from_numpy(walk.level)
        self.amplitude = torch.from_numpy(walk.amplitude).clamp(min=scaler.least_spread)  # it is 0 before a series begins
        self.spread, self.age = torch.from_numpy(walk.spread), torch.from_numpy(walk.age)
        self.rings = torch.from_numpy(walk.padded).unfold(0, scaler.ring_size, 1)
        self.at = torch.from_numpy(walk.at)
        future = np.full(len(panel.values) + horizon, np.nan, dtype=np.float32)
        future[: len(panel.values)] = scaler.transform(panel.values)
        self.future = torch.from_numpy(future).unfold(0, horizon, 1)
        self.base_columns = torch.from_numpy(scaler.base_columns(horizon))
        self.importance = torch.from_numpy(series_importance(scaler, panel))
        self.leads = torch.arange(1, horizon + 1)

    def gather(self, series: Tensor, start: Tensor, *, origins: Tensor, first_origin: Tensor) -> Batch:
        """The windows [B] from steps `start` [B] of the given series, scored at `origins` [O] from step `first_origin` [B] on."""
        n = self.lengths[series][:, None]
        steps = start[:, None] + torch.arange(self.plan.length)  # [B, T]
        features = self.features[self.offsets[series][:, None] + torch.minimum(steps, n - 1)]
        at = start[:, None] + origins  # [B, O]
        rows = self.offsets[series][:, None] + torch.minimum(at, n - 2)
        spread = self.spread[rows][:, :, None]
        ring = self.rings[self.at[rows]]  # [B, O, R]
        truth = self.future[rows + 1]
        scored = (at < n - 1) & (at >= first_origin[:, None]) & (self.age[rows] > 0)
        counts = ((at[:, :, None] + self.leads) < n[:, :, None]) & ~truth.isnan() & scored[:, :, None]
        change = ((truth - ring[:, :, self.base_columns]) / spread).clamp(-FURTHEST, FURTHEST)
        target = torch.where(counts, change, torch.zeros(()))
        weight = counts * self.importance[series][:, None, None] * spread
        scaled = (ring - self.level[rows][:, :, None]) / self.amplitude[rows][:, :, None]
        return Batch(features, origins, scaled.clamp(-float(CLIP), float(CLIP)), target, weight)


class TrainingWindows(Dataset[Batch]):
    """The batches of one epoch, each a pure function of seed, epoch and number: any series, any place, every series alike."""

    def __init__(self, windows: PanelWindows, *, batches: int, seed: int, epoch: int) -> None:
        self.windows, self.batches, self.seed, self.epoch = windows, batches, seed, epoch
        self.eligible = np.flatnonzero(windows.lengths.numpy() >= 2)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, number: int) -> Batch:
        plan = self.windows.plan
        random = np.random.default_rng((self.seed, self.epoch, number))
        series = random.choice(self.eligible, size=plan.batch_size)
        latest = np.maximum(self.windows.lengths.numpy()[series] - plan.length, 0)
        start = random.integers(0, latest + 1)
        first = np.where(start > 0, start + plan.burn_in, 0)
        origins = torch.arange(int(random.integers(plan.stride)), plan.length, plan.stride)
        return self.windows.gather(
            torch.from_numpy(series), torch.from_numpy(start), origins=origins, first_origin=torch.from_numpy(first)
        )


class TailWindows(Dataset[Batch]):
    """The windows that end with each series, scored only on its last `tail` [B] values, of which training knows nothing."""

    def __init__(self, windows: PanelWindows, *, tail: NDArray[np.int64]) -> None:
        self.windows, self.tail = windows, tail
        order = np.argsort(windows.lengths.numpy(), kind="stable")  # so that the tails of a batch lie at much the same steps
        self.series = order[tail[order] > 0]

    def __len__(self) -> int:
        return -(-len(self.series) // self.windows.plan.batch_size)

    def __getitem__(self, number: int) -> Batch:
        plan = self.windows.plan
        chosen = self.series[number * plan.batch_size : (number + 1) * plan.batch_size]
        lengths = self.windows.lengths.numpy()[chosen]
        start = np.maximum(lengths - plan.length, 0)
        first = lengths - self.tail[chosen] - 1
        origins = torch.arange(max(int((first - start).min()), 0), int((lengths - start).max()) - 1)
        return self.windows.gather(
            torch.from_numpy(chosen), torch.from_numpy(start), origins=origins, first_origin=torch.from_numpy(first)
        )


def series_importance(scaler: Scaler, panel: Panel) -> NDArray[np.float32]:
    """The weight [B] of an absolute error, in the scaler's unit, in the loss.

    A panel's score averages series, each by its own scale, so an error counts by 1 / the series' mean change over a season
    (as in MASE). On a log scale, where all series have one unit, half of the weight is even, since an error there is a relative
    one (as in sMAPE), and no series counts for ten times the usual.
    """
    size = np.array([_mean_change(scaler.transform(panel.series(b)), scaler.base_season) for b in range(len(panel))])
    known = size[np.isfinite(size) & (size > 0)]
    typical = float(np.median(known)) if len(known) else 1.0
    size = np.where(np.isfinite(size) & (size > 0), size, typical)
    if scaler.kind == "signed":
        return np.asarray(1.0 / size, dtype=np.float32)
    own = 1.0 / np.maximum(size, 0.1 * typical)
    return np.asarray(0.5 * (own / own.mean() + 1.0) / typical, dtype=np.float32)


def _mean_change(v: NDArray[np.float32], season: int) -> float:
    """The mean absolute change over a season, but not less than a thousandth of the values' spread; NaN if none is known."""
    lag = season if len(v) > season else 1
    gone, known = np.abs(v[lag:] - v[:-lag]), v[~np.isnan(v)]
    if np.isnan(gone).all():
        return float("nan")
    return max(float(np.nanmean(gone)), 1e-3 * float(np.abs(known - np.median(known)).mean()))
