"""Windows of a panel for training: one pass over a window gives a loss at many of its positions (forking sequences).

Source: Wen et al. 2017, arXiv:1711.11053. A window's positions see the past through the scaler, which has walked the whole
series, and through the cell, which starts the window from nothing and is not scored until it has run a while.
Axes: B windows, T time steps, O origins in a window, D inputs of a step, C inputs of a lead, R ring size, L leads.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from forecaster.models.inputs import Inputs
from forecaster.models.leads import LeadTable
from forecaster.models.plan import WindowPlan
from forecaster.models.scaler import AGE, AMPLITUDE, CLIP, CONTEXT, LEVEL, LOG, SLOPE, SMOOTH, SPREAD, TINY, Scaler
from forecaster.models.track import track
from forecaster.series import Panel

FURTHEST = 1_000.0  # spreads from the base: further a target does not pull, as when a constant series moves


class Batch(NamedTuple):
    """Windows, the origins scored in them, and what came after these."""

    features: Tensor  # [B, T, D]
    origins: Tensor  # [O] steps into the window
    sight: Tensor  # [B, O, scaler.sight_count] what the head sees of the past besides the memory
    target: Tensor  # [B, O, L] what the future adds to the base, in spreads; 0 where unknown
    weight: Tensor  # [B, O, L] of the target's absolute error in the loss; 0 where it does not count
    leads: Tensor  # [B, O, L, C] what is known of the future


class PanelWindows:
    """The windows of a panel, walked once by the scaler, then gathered at will; `inputs` is what is seen beside the values.

    A position is a target where it was observed; an origin counts from the series' first observed value on.
    """

    def __init__(self, scaler: Scaler, panel: Panel, *, horizon: int, plan: WindowPlan, inputs: Inputs | None = None) -> None:
        self.plan = plan
        walk = track(scaler, panel)
        self.lengths = torch.from_numpy(panel.lengths)
        self.offsets = torch.from_numpy(panel.offsets[:-1].copy())
        features, self.context, self.table = walk.features, torch.from_numpy(walk.features[:, CONTEXT]), None
        if inputs and inputs.step_count:
            features = np.concatenate([features, inputs.steps(panel)], axis=1)
        if inputs and inputs.lead_count:
            self.table = LeadTable(inputs, panel, horizon=horizon, base_season=scaler.base.length)
        self.features = torch.from_numpy(features)
        self.numbers = torch.from_numpy(walk.numbers)
        self.rings, self.at = torch.from_numpy(walk.padded).unfold(0, scaler.ring_size, 1), torch.from_numpy(walk.at)
        self.seasons = torch.from_numpy(walk.seasons).unfold(0, scaler.base.length, 1)
        self.season_at = torch.from_numpy(walk.season_at)
        self.season_columns = torch.arange(horizon) % scaler.base.length
        self.path = torch.from_numpy(scaler.base.path(horizon))
        self.logs, self.plain = (_futures(panel, horizon, logs=logs) for logs in (True, False))
        self.importance = torch.from_numpy(series_importance(scaler, panel, walk.numbers[:, LOG] > 0))
        self.leads = torch.arange(1, horizon + 1)

    def gather(self, series: Tensor, start: Tensor, *, origins: Tensor, first_origin: Tensor) -> Batch:
        """The windows [B] from steps `start` [B] of the given series, scored at `origins` [O] from step `first_origin` [B] on."""
        n = self.lengths[series][:, None]
        steps = start[:, None] + torch.arange(self.plan.length)  # [B, T]
        features = self.features[self.offsets[series][:, None] + torch.minimum(steps, n - 1)]
        at = start[:, None] + origins  # [B, O]
        rows = self.offsets[series][:, None] + torch.minimum(at, n - 2)
        numbers = self.numbers[rows]
        spread = numbers[:, :, SPREAD, None].clamp(min=float(TINY))
        base = numbers[:, :, SMOOTH, None] + numbers[:, :, SLOPE, None] * self.path
        base = base + self.seasons[self.season_at[rows]][:, :, self.season_columns]
        seen = torch.cat([self.rings[self.at[rows]], base], dim=-1) - numbers[:, :, LEVEL, None]
        near = (seen / numbers[:, :, AMPLITUDE, None].clamp(min=float(TINY))).clamp(-float(CLIP), float(CLIP))
        truth = torch.where(numbers[:, :, LOG, None] > 0, self.logs[rows + 1], self.plain[rows + 1])
        scored = (at < n - 1) & (at >= first_origin[:, None]) & (numbers[:, :, AGE] > 0)
        counts = ((at[:, :, None] + self.leads) < n[:, :, None]) & ~truth.isnan() & scored[:, :, None]
        target = torch.where(counts, ((truth - base) / spread).clamp(-FURTHEST, FURTHEST), torch.zeros(()))
        weight = counts * self.importance[rows][:, :, None] * spread
        sight = torch.cat([near, self.context[rows]], dim=-1)
        leads = self.table.at(series, torch.minimum(at, n - 2)) if self.table else torch.zeros(*target.shape, 0)
        return Batch(features, origins, sight, target, weight, leads)

    def mean_changes(self) -> list[float]:
        """The mean absolute target at each lead [L], weighted as in the loss, over some batches of windows."""
        batches = TrainingWindows(self, batches=8, seed=0, epoch=0)
        total, count = torch.zeros(len(self.leads)), torch.zeros(len(self.leads))
        for number in range(len(batches)):
            batch = batches[number]
            total += (batch.target.abs() * batch.weight).sum(dim=(0, 1))
            count += batch.weight.sum(dim=(0, 1))
        return [float(size) if size > 0 else 1.0 for size in total / count.clamp(min=1e-12)]


def _futures(panel: Panel, horizon: int, *, logs: bool) -> Tensor:
    """The `horizon` values from each position on [N + 1, L], NaN beyond the panel; what has no logarithm is at the bottom."""
    future = np.full(len(panel.values) + horizon, np.nan, dtype=np.float32)
    y = panel.values
    if logs:
        known = y[y > 0]
        y = np.log(np.where(y > 0, y, np.where(np.isnan(y), y, 0.5 * known.min() if len(known) else 1.0)))
    future[: len(y)] = y
    return torch.from_numpy(future).unfold(0, horizon, 1)


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
        origins = origins[origins >= int((first - start).min())]  # what no window scores is not worked out either
        return self.windows.gather(
            torch.from_numpy(series), torch.from_numpy(start), origins=origins, first_origin=torch.from_numpy(first)
        )


class TailWindows(Dataset[Batch]):
    """The windows that hold each series' last `tail` [B] values, of which training knows nothing, and score those alone."""

    def __init__(self, windows: PanelWindows, *, tail: NDArray[np.int64]) -> None:
        self.windows = windows
        plan, lengths = windows.plan, windows.lengths.numpy()
        cuts = []  # series, start, first origin
        for b in np.flatnonzero(tail):
            first = max(int(lengths[b] - tail[b]) - 1, 0)
            while first < lengths[b] - 1:
                start = max(min(first - plan.burn_in, int(lengths[b]) - plan.length), 0)
                cuts.append((b, start, first))
                first = start + plan.length
        table = np.array(cuts, dtype=np.int64).reshape(-1, 3)
        self.cuts = table[np.argsort(lengths[table[:, 0]] - table[:, 1], kind="stable")]  # alike beside each other
        self.series = np.flatnonzero(tail)

    def __len__(self) -> int:
        return -(-len(self.cuts) // self.windows.plan.batch_size)

    def __getitem__(self, number: int) -> Batch:
        plan = self.windows.plan
        series, start, first = self.cuts[number * plan.batch_size : (number + 1) * plan.batch_size].T
        last = np.minimum(self.windows.lengths.numpy()[series] - start, plan.length + 1) - 1
        origins = torch.arange(max(int((first - start).min()), 0), int(last.max()))
        chosen, begin, from_here = (torch.from_numpy(column.copy()) for column in (series, start, first))
        return self.windows.gather(chosen, begin, origins=origins, first_origin=from_here)


def series_importance(scaler: Scaler, panel: Panel, log: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The weight [N] in the loss of an absolute error at each position, in its unit; `log` [N] says where that is logarithms.

    A panel's score averages series, each by its own scale, so an error counts by 1 / the series' mean change over a season
    (as in MASE). In logarithms, where all series have one unit, half of the weight is even, since an error there is a relative
    one (as in sMAPE), and no series counts for ten times the usual.
    """
    plain = _known_or_typical([_mean_change(panel.series(b), scaler.base.length) for b in range(len(panel))])
    weight = 1.0 / plain
    if not log.any():
        return np.repeat(weight, panel.lengths).astype(np.float32)
    size = _known_or_typical([_mean_change(_logarithms(panel.series(b)), scaler.base.length) for b in range(len(panel))])
    typical = float(np.median(size))
    own = 1.0 / np.maximum(size, 0.1 * typical)
    relative = 0.5 * (own / own.mean() + 1.0) / typical
    return np.where(log, np.repeat(relative, panel.lengths), np.repeat(weight, panel.lengths)).astype(np.float32)


def _known_or_typical(sizes: list[float]) -> NDArray[np.float64]:
    """The sizes, and the median one in place of those that are unknown or zero."""
    found = np.asarray(sizes)
    known = found[np.isfinite(found) & (found > 0)]
    return np.where(np.isfinite(found) & (found > 0), found, np.median(known) if len(known) else 1.0)


def _logarithms(y: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.where(y > 0, y, np.nan))


def _mean_change(v: NDArray[np.float64], season: int) -> float:
    """The mean absolute change over a season, but not less than a thousandth of the values' spread; NaN if none is known."""
    lag = season if len(v) > season else 1
    gone, known = np.abs(v[lag:] - v[:-lag]), v[~np.isnan(v)]
    if np.isnan(gone).all():
        return float("nan")
    return max(float(np.nanmean(gone)), 1e-3 * float(np.abs(known - np.median(known)).mean()))
