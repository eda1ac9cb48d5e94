"""Training, by Lightning; no other file knows it.

A batch is a handful of windows, each scored at many origins. The learning rate falls along a half cosine to the end of the
budget, the weights that are kept are an exponential average of those visited, and the average that forecasts a held-back
tail of time best is the one that stays.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import cos, pi
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint, WeightAveraging
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.data import DataLoader

from forecaster.errors import ConfigError
from forecaster.models.network import Network, torch_threads
from forecaster.models.plan import TrainingConfig
from forecaster.models.products import trained_linear
from forecaster.models.windows import Batch, PanelWindows, TailWindows, TrainingWindows

Progress = Callable[[int, int, str], None]  # steps done, steps planned, a word on how it goes

WARM_UP_STEPS = 100
MEDIAN_SHARE = 0.5  # of the absolute error of the median, beside the quantile loss


def pinball(change: Tensor, target: Tensor, quantiles: Tensor) -> Tensor:
    """The quantile loss [..., L], averaged over quantiles, with half of the absolute error of the median beside it.

    Source: Koenker and Bassett 1978. change [..., L, Q], target [..., L], quantiles [Q].
    """
    loss: Tensor = _Pinball.apply(change, target, quantiles)  # type: ignore[no-untyped-call]
    return loss


class _Pinball(torch.autograd.Function):
    """`pinball` with its gradient by hand, where torch's takes as long as the head's products."""

    @staticmethod
    def forward(ctx: Any, change: Tensor, target: Tensor, quantiles: Tensor) -> Tensor:
        median = int((quantiles == 0.5).nonzero())
        error = target.unsqueeze(-1) - change
        pull = error.sign().mul_(0.5).add_(quantiles - 0.5)  # q above, q - 1 below, in between at 0
        loss = (error * pull).mean(-1) + MEDIAN_SHARE * error[..., median].abs()
        pull.div_(-len(quantiles))
        pull[..., median].sub_(error[..., median].sign(), alpha=MEDIAN_SHARE)
        ctx.save_for_backward(pull)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, asked: Tensor) -> tuple[Tensor, None, None]:
        (pull,) = ctx.saved_tensors
        return pull * asked.unsqueeze(-1), None, None


def changes_of(network: Network, batch: Batch) -> Tensor:
    """What the network adds to the base at the batch's origins, in spreads [B, O, L, Q]."""
    memory, _ = network.remember(batch.features, network.initial_state(len(batch.features)))
    return network.speak(memory[:, batch.origins], batch.sight, batch.leads, trained_linear)


class Trained(NamedTuple):
    """A network after its training, and the share of the budget, 0 to 1, after which its weights were what they are."""

    network: Network
    share: float


class _Task(pl.LightningModule):
    """The network as Lightning trains it, until a share of the budget is used."""

    def __init__(
        self, network: Network, *, config: TrainingConfig, quantiles: tuple[float, ...], seed: int, until: float = 1.0
    ) -> None:
        super().__init__()
        self.network, self.config, self.seed, self.until = network, config, seed, until
        self.share_of_checkpoint = 1.0
        self.least, self.share_of_least = float("inf"), 0.0
        self.quantiles = torch.tensor(quantiles)
        self.seconds_before = 0.0
        self.started = time.monotonic()

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The weighted loss over all targets of the batch, and the number of them."""
        change = changes_of(self.network, batch)
        loss = pinball(change, batch.target, self.quantiles.to(change.device))
        return (loss * batch.weight).sum(), (batch.weight > 0).sum()

    def training_step(self, batch: Batch, number: int) -> Tensor:  # noqa: ARG002
        loss, count = self.loss(batch)
        loss = loss / count.clamp(min=1)
        self.log("loss", loss.detach(), on_step=False, on_epoch=True, batch_size=1)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.validation_sums = torch.zeros(2, dtype=torch.float64)

    def validation_step(self, batch: Batch, number: int) -> None:  # noqa: ARG002
        loss, count = self.loss(batch)
        self.validation_sums += torch.stack([loss.double().cpu(), count.double().cpu()])

    def on_validation_epoch_end(self) -> None:
        loss = (self.validation_sums[0] / self.validation_sums[1].clamp(min=1)).float()
        self.log("validation", loss)
        if float(loss) < self.least:
            self.least, self.share_of_least = float(loss), self.share_done()
        if self.share_done() >= self.share_of_least + self.config.patience_share:
            self.trainer.should_stop = True

    def seconds(self) -> float:
        """Training time so far, that of the parts before a restart included."""
        return self.seconds_before + time.monotonic() - self.started

    def share_done(self) -> float:
        """How much of the budget is used, 0 to 1, by steps or by time, whichever is nearer to its end."""
        return self.share_of(self.global_step, self.seconds())

    def share_of(self, steps: int, seconds: float) -> float:
        """How much of the budget so many steps and seconds are, 0 to 1."""
        share = steps / self.config.max_steps
        if self.config.max_minutes is not None:
            share = max(share, seconds / (60 * self.config.max_minutes))
        return min(share, 1.0)

    def on_train_batch_start(self, batch: Batch, number: int) -> None:  # noqa: ARG002
        share = self.share_done()
        rate = 0.5 * (1 + cos(pi * share)) * min(1.0, (self.global_step + 1) / WARM_UP_STEPS)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.config.learning_rate * rate
        torch.manual_seed(self.seed + self.global_step)  # so that dropout goes on after a restart as it would have

    def on_train_batch_end(self, outputs: object, batch: Batch, number: int) -> None:  # noqa: ARG002
        if self.share_done() >= self.until:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        checkpoint["seconds"] = self.seconds()
        checkpoint["least"] = self.least, self.share_of_least

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seconds_before = float(checkpoint["seconds"])
        self.least, self.share_of_least = checkpoint["least"]
        self.share_of_checkpoint = self.share_of(int(checkpoint["global_step"]), self.seconds_before)


class _Data(pl.LightningDataModule):
    """New batches every epoch, each known by its number, so that a restart goes on with the batch it would have had."""

    def __init__(self, training: PanelWindows, validation: TailWindows | None, *, config: TrainingConfig, seed: int) -> None:
        super().__init__()
        self.training, self.validation, self.config, self.seed = training, validation, config, seed

    def train_dataloader(self) -> "DataLoader[Batch]":
        epoch = self.trainer.current_epoch if self.trainer else 0
        batches = TrainingWindows(self.training, batches=self.config.validation_steps, seed=self.seed, epoch=epoch)
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> "DataLoader[Batch] | list[Batch]":
        return DataLoader(self.validation, batch_size=None) if self.validation is not None else []


class _Tell(Callback):
    """Tells how far the training has come, now and then."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_batch_start(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Batch, number: int) -> None:  # noqa: ARG002
        if trainer.global_step % 10 == 0 and isinstance(module, _Task):
            held_back = trainer.callback_metrics.get("validation")
            word = f"held-back loss {float(held_back):.4f}" if held_back is not None else "first steps"
            self.progress(int(1000 * module.share_done() / module.until), 1000, f"step {trainer.global_step}, {word}")


def fit(
    network: Network,
    known: PanelWindows,
    judged: TailWindows | None,
    *,
    config: TrainingConfig,
    quantiles: tuple[float, ...],
    seed: int,
    folder: Path,
    progress: Progress | None = None,
    until: float = 1.0,
) -> Trained:
    """The best average of the weights that the training visited, going on from where `folder` says it was.

    Without windows to be judged by, the last average is the best. The training ends when a share of the budget is used, its
    learning rate wherever that of the whole budget then is.
    """
    data = _Data(known, judged, config=config, seed=seed)
    task = _Task(network.train(), config=config, quantiles=quantiles, seed=seed, until=until)
    folder.mkdir(parents=True, exist_ok=True)
    best = ModelCheckpoint(folder, filename="best", monitor="validation", save_on_train_epoch_end=True)
    # a keeper of its own: `save_last` keeps the last only where it is the best too, and a restart would begin there
    latest = ModelCheckpoint(folder, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
    callbacks: list[Callback] = [WeightAveraging(avg_fn=_averaging(config.average_decay))]
    if judged is not None:
        callbacks.append(best)
        # not strict: a restart first ends the epoch that was kept, without its loss, which has been counted already
        callbacks.append(EarlyStopping("validation", patience=config.patience, check_on_train_epoch_end=True, strict=False))
    callbacks.append(latest)
    if progress:
        callbacks.append(_Tell(progress))
    last = folder / "last.ckpt"
    with _quiet_lightning(), torch_threads(config.threads), torch.random.fork_rng(devices=[]):
        trainer = _trainer(config, callbacks, folder)
        trainer.fit(task, datamodule=data, ckpt_path=str(last) if last.exists() else None, weights_only=True)
        if judged is not None and best.best_model_path:
            task = _Task.load_from_checkpoint(
                best.best_model_path,
                map_location="cpu",
                weights_only=True,
                network=network,
                config=config,
                quantiles=quantiles,
                seed=seed,
            )
    return Trained(task.network, task.share_of_checkpoint if judged is not None else until)


def _trainer(config: TrainingConfig, callbacks: list[Callback], folder: Path) -> pl.Trainer:
    """Lightning's loop; ConfigError where the accelerator is not there."""
    try:
        return pl.Trainer(
            accelerator=config.accelerator,
            devices=1,
            max_steps=config.max_steps,
            max_epochs=-1,
            gradient_clip_val=config.gradient_clip,
            callbacks=callbacks,
            logger=CSVLogger(folder, name="log", version=""),
            log_every_n_steps=config.validation_steps,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
    except MisconfigurationException as error:
        raise ConfigError(
            f"training.accelerator is {config.accelerator!r}, which this machine lacks. Choose auto or cpu."
        ) from error


def _averaging(decay: float) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """An exponential average of the weights, of shorter memory while there is little to remember."""

    def average(kept: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        return kept.lerp(current, 1 - share)

    return average


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning without its talk of hardware, worker processes and folders that exist: a restart uses the same folder."""
    log = logging.getLogger("pytorch_lightning")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message="Experiment logs directory .* exists and is not empty")
            yield
    finally:
        log.setLevel(level)
