"""How a training is laid out: its settings, what is derived from the panel, and which part of time judges it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from forecaster.models.scaler import Scaler
from forecaster.series import Panel

POSITIONS_PER_BATCH = 4_096
BLOCKS_TO_JUDGE = 200  # horizons, over all series
LEAST_JUDGES = 200  # windows
LEAST_LEFT = 4  # values of a series that gives a tail


class TrainingConfig(BaseModel):
    """How the network is trained. `None` is derived from the panel.

    With `max_minutes`, the learning rate falls by whichever of time and steps is nearer to its end, so the result then depends
    on the speed of the machine; without it, the same seed on the same machine gives the same weights. `refit_share` of the
    budget is kept for `refit_network`. The training ends after `patience` validations without a better one, or after a
    `patience_share` of the budget: what is left is for a training anew (`train_network`). `threads` are those of torch on a
    CPU: the matrices are small, so a second one made a step 1.4 times as fast on an idle machine and 0.15 times as fast on a
    busy one (`benchmarks/training_step.py`). Of a panel with more than `max_positions`, a sample of its series is learned from,
    the same one for the same seed. `lean` is how far medians go towards a mixture of smoothings where the
    held-back tail does not say otherwise; with 0 the network speaks alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_steps: int = Field(default=3_000, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)
    window_length: int | None = Field(default=None, ge=4)
    burn_in: int | None = Field(default=None, ge=0)
    origin_stride: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    gradient_clip: float = Field(default=1.0, gt=0)
    average_decay: float = Field(default=0.995, ge=0, lt=1)
    refit_share: float = Field(default=0.2, ge=0, lt=1)
    validation_steps: int = Field(default=50, ge=1)
    patience: int = Field(default=20, ge=1)
    patience_share: float = Field(default=0.35, gt=0, le=1)
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    threads: int = Field(default=1, ge=1)
    max_positions: int = Field(default=5_000_000, ge=1)
    lean: float = Field(default=0.25, ge=0, le=0.4)


@dataclass(frozen=True)
class WindowPlan:
    """How windows are cut: T steps, the first `burn_in` not scored, then every `stride`-th an origin; B windows a batch."""

    length: int
    burn_in: int
    stride: int
    batch_size: int


def sample_series(panel: Panel, positions: int, *, seed: int) -> Panel:
    """The panel, or of a larger one so many of its series as have no more positions together, and one at least.

    Which ones depends on the seed, and on how many series there are.

    >>> from forecaster.frequency import Frequency
    >>> panel = Panel(("a", "b", "c"), np.zeros(3, int), np.array([0, 4, 8, 12]), np.ones(12), Frequency("h"))
    >>> sample_series(panel, 9, seed=1).ids, sample_series(panel, 12, seed=1).ids
    (('a', 'b'), ('a', 'b', 'c'))
    """
    if len(panel.values) <= positions:
        return panel
    order = np.random.default_rng(seed).permutation(len(panel))
    count = int(np.searchsorted(np.cumsum(panel.lengths[order]), positions, side="right"))
    return panel.select(np.sort(order[: max(count, 1)]).tolist())


def plan_windows(config: TrainingConfig, panel: Panel, scaler: Scaler) -> WindowPlan:
    """How this panel's windows are cut: longer ones where seasons are long, about as many positions in every batch.

    >>> from forecaster.frequency import Frequency
    >>> from forecaster.models.scaler import scaler_for
    >>> panel = Panel(("a",), np.array([0]), np.array([0, 900]), np.ones(900), Frequency("h"))
    >>> plan_windows(TrainingConfig(), panel, scaler_for(panel, 48))
    WindowPlan(length=256, burn_in=51, stride=4, batch_size=16)
    """
    longest = max(scaler.season_lengths, default=1)
    usual = 256 if longest > 60 else 128 if longest > 12 else 64
    length = config.window_length or usual
    length = max(min(length, int(panel.lengths.max())), 4)
    burn_in = length // 5 if config.burn_in is None else min(config.burn_in, length - 2)
    stride = min(config.origin_stride, max(length // 16, 1))
    return WindowPlan(length, burn_in, stride, config.batch_size or max(POSITIONS_PER_BATCH // length, 8))


def held_back_tail(panel: Panel, horizon: int) -> NDArray[np.int64]:
    """How many of each series' last values [B] judge the training and take no part in it.

    One horizon of every series, but no more than an eighth; more, up to a sixteenth of a series, where a panel of few long
    series would else be judged by few horizons. All series give theirs, because what moves one on a day moves others too:
    trained on some and judged by the rest over the same days, a network is praised for knowing what came.

    >>> from forecaster.frequency import Frequency
    >>> panel = Panel(("a", "b", "c"), np.array([0, 0, 0]), np.array([0, 900, 920, 924]), np.ones(924), Frequency("D"))
    >>> held_back_tail(panel, 14)
    array([56,  3,  0])
    """
    blocks = -(-BLOCKS_TO_JUDGE // max(len(panel), 1))
    long = np.maximum(horizon, np.minimum(blocks * horizon, panel.lengths // 16))
    return np.where(panel.lengths > LEAST_LEFT, np.minimum(long, -(-panel.lengths // 8)), 0).astype(np.int64)


def judges(tail: NDArray[np.int64], plan: WindowPlan, training: TrainingConfig) -> NDArray[np.int64]:
    """The tail [B] of so many series that a look at them costs a fraction of the steps between two looks; 0 for the others.

    >>> plan = WindowPlan(length=64, burn_in=12, stride=4, batch_size=16)
    >>> (judges(np.full(1_000, 8), plan, TrainingConfig()) > 0).sum()
    np.int64(200)
    """
    windows = -(-tail // plan.length)
    most = max(training.validation_steps * plan.batch_size // 4, LEAST_JUDGES)
    every = -(-int(windows.sum()) // most)
    return np.where(np.cumsum(tail > 0) % max(every, 1) == 0, tail, 0)


def leads_to_learn(panel: Panel, horizon: int) -> int:
    """The leads that a typical series shows from origins in the first half of its life; later ones only the very young show.

    What a network learns of a lead from series that have shown a value or two, it cannot say of older ones: of series of seven
    values and a horizon of 6, the fifth lead was forecast at up to 10^9 times the last value.

    >>> from forecaster.frequency import Frequency
    >>> panel = Panel(("a", "b"), np.zeros(2, int), np.array([0, 7, 14]), np.ones(14), Frequency("YS"))
    >>> leads_to_learn(panel, 6), leads_to_learn(panel, 2)
    (3, 2)
    """
    lengths = panel.lengths[panel.lengths > 1]
    return min(horizon, max(int(np.median(lengths)) // 2, 1)) if len(lengths) else horizon


def share_of_budget(training: TrainingConfig, share: float) -> TrainingConfig:
    """The configuration with a share of its budget."""
    minutes = None if training.max_minutes is None else training.max_minutes * share
    return training.model_copy(update={"max_steps": max(round(training.max_steps * share), 1), "max_minutes": minutes})


def refit_pays(panel: Panel, *, holdout: int, horizon: int) -> bool:
    """Whether the first training leaves enough of the panel unseen, at least a twentieth, for a refit to be worth its time.

    Measured on M4, one seed each, where seeds differ by 1 %: with 20 and with 6 % unseen a refit lowered the OWA of Hourly by
    0.8 and 0.6 %, with 12 % that of Quarterly by 0.5 %; with 1 % it raised the latter by 0.7 %.
    """
    known = panel.drop_last(holdout)
    unseen = len(panel.values) - len(known.values) + int(held_back_tail(known, horizon).sum())
    return unseen >= len(panel.values) / 20
