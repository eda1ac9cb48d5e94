"""From a panel to a forecaster: its members trained side by side, each in a process of its own, then put together.

A member is a network like any other, begun from another seed and shown other windows. Their quantiles are averaged, which
costs a step as many times as there are members and no more; their states lie side by side, so the whole still streams.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from forecaster.errors import DataError
from forecaster.models.checkpoint import recurrent_from
from forecaster.models.inputs import Inputs, InputsConfig
from forecaster.models.leaning import errors_by_leaning, leaning, mixture_for, tail_origins, tolerance_of, truths_at
from forecaster.models.lessons import Lesson, lessons_for, tail_windows, taught
from forecaster.models.mixture import Mixture
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.plan import TrainingConfig, held_back_tail, share_of_budget
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import scaler_for
from forecaster.models.training import Progress, changes_of, pinball
from forecaster.models.windows import TailWindows
from forecaster.series import Panel

REFIT_RATE = 0.3  # the refit's learning rate begins at this share of the first one
EARLY = 0.4  # of the budget: a member that was at its best by then is trained anew on the whole panel, for as long
AGAIN = "again"  # the folder of those
FIRST = 0.8  # of the progress: that of the training that a tail judges
NOTHING_BESIDE = InputsConfig(calendar=False, known=(), static=())


def train_network(
    panel: Panel,
    *,
    model: ModelConfig,
    training: TrainingConfig,
    horizon: int,
    quantiles: tuple[float, ...],
    seed: int,
    folder: Path,
    inputs: InputsConfig = NOTHING_BESIDE,
    progress: Progress | None = None,
) -> Recurrent:
    """A network trained on the panel, each member chosen by how it forecasts a held-back tail of it.

    Small panels are learned by heart early: a member that was at its best by then is trained anew for as long, on the tail too.
    Its medians then lean towards a mixture of smoothings, as far as the same tail says (`leaning.py`).
    `inputs` is what it sees beside the values. What it needs to go on after a restart is kept in `folder` while it trains.
    Raises DataError when no series has two values to learn from, ConfigError for inputs that the panel does not have.
    """
    if not any((~np.isnan(panel.series(b))).sum() >= 2 for b in range(len(panel))):
        raise DataError(f"the panel has {len(panel)} series, none with two values; a network learns from at least one change.")
    scaler, seen = scaler_for(panel, horizon), Inputs.fit(panel, inputs)
    config = share_of_budget(training, 1 - training.refit_share)
    lessons = lessons_for(panel, scaler, seen, model, config, horizon=horizon, quantiles=quantiles, seed=seed, folder=folder)
    network, stretch, tail = taught(lessons, model, _part(progress, 0.0, FIRST)), 1.0, held_back_tail(panel, horizon)
    mixture = mixture_for(panel.drop_last(tail), scaler, horizon, weight=training.lean) if training.lean > 0 else None
    whole = partial(
        recurrent_from,
        scaler=scaler,
        config=model,
        frequency=panel.frequency,
        horizon=horizon,
        quantiles=quantiles,
        inputs=seen,
    )
    if tail.any():
        with torch_threads(training.threads):
            stretch = stretch_of(network, tail_windows(lessons[0], tail), quantiles)
            mixture = leaned(whole(network, mixture=mixture), panel, tail) if mixture else None
        anew = [
            lesson.again(panel, folder / AGAIN / lesson.folder.name) if lesson.share() <= EARLY else lesson for lesson in lessons
        ]
        network = taught(anew, model, _part(progress, FIRST, 1.0))
    network.widen(stretch)
    return whole(network, mixture=mixture)


def leaned(forecaster: Recurrent, panel: Panel, tail: NDArray[np.int64]) -> Mixture | None:
    """The mixture of a forecaster, with the weight that forecasts the tail [B] of a panel best; none where that is 0."""
    mixture, origins = forecaster.mixture, tail_origins(tail, panel.lengths)
    assert mixture
    (network, mixed), log = forecaster.medians_at(panel, origins, (0.0, 1.0))
    truth, counts = truths_at(panel, forecaster.scaler, origins, forecaster.horizon, log)
    errors, tolerance = errors_by_leaning(network, mixed, truth, counts), tolerance_of(tail, forecaster.horizon)
    weight = leaning(errors, usual=mixture.weight, tolerance=tolerance)
    return replace(mixture, weight=weight) if weight > 0 else None


def refit_network(
    forecaster: Recurrent,
    panel: Panel,
    *,
    training: TrainingConfig,
    seed: int,
    folder: Path,
    trained: Path | None = None,
    progress: Progress | None = None,
) -> Recurrent:
    """The forecaster after some more training on the whole panel, also on the parts that chose and scored it.

    What is put to use has seen the latest values too. A member that was at its best early is trained anew for as long, if
    `trained` is the folder of its first training. The others go on from their weights, at a lower rate, for that share of the
    `refit_share` of the budget after which they had been at their best: what was learned by heart is not to be learned again.
    A network is the surer the longer it was trained, which no unseen values are left to correct, so it is as wide as before.
    """
    first = share_of_budget(training, 1 - training.refit_share)
    more = share_of_budget(training, training.refit_share)
    more = more.model_copy(update={"learning_rate": REFIT_RATE * training.learning_rate})
    folder.mkdir(parents=True, exist_ok=True)

    def told(config: TrainingConfig, seed: int, folder: Path) -> list[Lesson]:
        own = forecaster.scaler, forecaster.inputs, forecaster.config
        goal = forecaster.horizon, forecaster.quantiles
        return lessons_for(panel, *own, config, horizon=goal[0], quantiles=goal[1], seed=seed, folder=folder)

    lessons, begun = told(more, seed + 1, folder), told(first, seed, trained) if trained else []
    for number, lesson in enumerate(lessons):
        before = begun[number] if begun else None
        share = before.share() if before else 1.0
        if before and trained and share <= EARLY:
            done = before.again(panel, trained / AGAIN / before.folder.name)
            lessons[number] = done if done.is_done() else replace(done, folder=lesson.folder)
            continue
        begin = folder / f"begin-{number}.safetensors"
        save_file(forecaster.network.member(number).state_dict(), begin)
        lessons[number] = replace(lesson, training=share_of_budget(lesson.training, share), begin=begin, judged=False)
    network = taught(lessons, forecaster.config, progress)
    for number, lesson in enumerate(lessons):
        if not lesson.begin:
            network.member(number).head.stretch.copy_(forecaster.network.member(number).head.stretch)
    tail = held_back_tail(panel, forecaster.horizon)
    if tail.any() and any(lesson.begin for lesson in lessons):
        windows = tail_windows(lessons[0], tail)
        with torch_threads(training.threads):
            network.widen(width_of(forecaster.network, windows) / width_of(network, windows))
    return recurrent_from(
        network,
        forecaster.scaler,
        forecaster.config,
        frequency=forecaster.frequency,
        horizon=forecaster.horizon,
        quantiles=forecaster.quantiles,
        inputs=forecaster.inputs,
        mixture=forecaster.mixture,
    )


def _part(progress: Progress | None, begin: float, end: float) -> Progress | None:
    """The progress of a part of the work as that of the whole, of which it is the share between two."""
    if progress is None:
        return None
    return lambda done, planned, word: progress(int(begin * planned + (end - begin) * done), planned, word)


def width_of(network: Network, tail: TailWindows) -> float:
    """The mean width from the first to the last quantile at the origins of a tail, weighted as in the loss; at least rounding."""
    network, total, count = network.cpu().eval(), 0.0, 0.0
    with torch.inference_mode():
        for number in range(len(tail)):
            batch = tail[number]
            change = changes_of(network, batch)
            total += float(((change[..., -1] - change[..., 0]) * batch.weight).sum())
            count += float(batch.weight.sum())
    return max(total / max(count, 1e-12), 1e-12)


def stretch_of(network: Network, tail: TailWindows, quantiles: tuple[float, ...]) -> float:
    """By how much all intervals have to be widened (or narrowed) for the least quantile loss on values not trained on.

    A network is surer of what it was trained on than of what comes. Between 1/2 and 2, and nearer to 1 where few series speak:
    the logarithm is shrunk by n / (n + 10).
    """
    levels, grid = torch.tensor(quantiles), torch.logspace(-1, 1, 41, base=2)
    median, losses = quantiles.index(0.5), torch.zeros(len(grid), dtype=torch.float64)
    network = network.cpu().eval()
    with torch.inference_mode():
        for number in range(len(tail)):
            batch = tail[number]
            change = changes_of(network, batch)
            centre = change[..., median, None]
            for k, stretch in enumerate(grid):
                loss = pinball(centre + stretch * (change - centre), batch.target, levels)
                losses[k] += (loss * batch.weight).sum().double()
    count = len(tail.series)
    return float(grid[losses.argmin()] ** (count / (count + 10)))
