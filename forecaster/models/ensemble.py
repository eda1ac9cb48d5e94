"""From a panel to a forecaster: its members trained side by side, each in a process of its own, then put together.

A member is a network like any other, begun from another seed and shown other windows. Their quantiles are averaged, which
costs a step as many times as there are members and no more; their states lie side by side, so the whole still streams.
"""

import os
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from threading import Event, Thread

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed
from safetensors.torch import load_file, save_file

from forecaster.errors import DataError
from forecaster.models.checkpoint import recurrent_from
from forecaster.models.inputs import Inputs, InputsConfig
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.plan import TrainingConfig, held_back_tail, plan_windows, share_of_budget
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import Scaler, scaler_for
from forecaster.models.training import Progress, changes_of, fit, pinball
from forecaster.models.windows import PanelWindows, TailWindows
from forecaster.series import Panel

REFIT_RATE = 0.3  # the refit's learning rate begins at this share of the first one
SEED_STEP = 1_000_003  # between the seeds of two members
LOOK_SECONDS = 0.5  # between two looks at how far the members are
NOTHING_BESIDE = InputsConfig(calendar=False, known=(), static=())


@dataclass(frozen=True)
class _Lesson:
    """What one member is told: the panel, how to learn from it, and the weights it goes on from."""

    panel: Panel
    scaler: Scaler
    inputs: Inputs
    model: ModelConfig
    training: TrainingConfig
    horizon: int
    quantiles: tuple[float, ...]
    seed: int
    folder: Path
    begin: Path | None = None
    judged: bool = True

    @property
    def weights(self) -> Path:
        """Where the member lies when it is done."""
        return self.folder / "weights.safetensors"


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

    `inputs` is what it sees beside the values. What it needs to go on after a restart is kept in `folder` while it trains.
    Raises DataError when no series has two values to learn from, ConfigError for inputs that the panel does not have.
    """
    if not any((~np.isnan(panel.series(b))).sum() >= 2 for b in range(len(panel))):
        raise DataError(f"the panel has {len(panel)} series, none with two values; a network learns from at least one change.")
    scaler, seen = scaler_for(panel, horizon), Inputs.fit(panel, inputs)
    config = share_of_budget(training, 1 - training.refit_share)
    lessons = _lessons(panel, scaler, seen, model, config, horizon=horizon, quantiles=quantiles, seed=seed, folder=folder)
    network = _taught(lessons, model, progress)
    tail = held_back_tail(panel, horizon)
    if tail.any():
        plan = plan_windows(training, panel, scaler)
        windows = TailWindows(PanelWindows(scaler, panel, horizon=horizon, plan=plan, inputs=seen), tail=tail)
        with torch_threads(training.threads):
            network.widen(stretch_of(network, windows, quantiles))
    return recurrent_from(network, scaler, model, frequency=panel.frequency, horizon=horizon, quantiles=quantiles, inputs=seen)


def refit_network(
    forecaster: Recurrent, panel: Panel, *, training: TrainingConfig, seed: int, folder: Path, progress: Progress | None = None
) -> Recurrent:
    """The forecaster after some more training on the whole panel, also on the parts that chose and scored it.

    What has been judged goes on from its weights, at a lower rate, for the `refit_share` of the budget, so that what is put
    to use has seen the latest values too.
    """
    config = share_of_budget(training, training.refit_share).model_copy(
        update={"learning_rate": REFIT_RATE * training.learning_rate}
    )
    folder.mkdir(parents=True, exist_ok=True)
    lessons = _lessons(
        panel,
        forecaster.scaler,
        forecaster.inputs,
        forecaster.config,
        config,
        horizon=forecaster.horizon,
        quantiles=forecaster.quantiles,
        seed=seed + 1,
        folder=folder,
    )
    begun = []
    for number, lesson in enumerate(lessons):
        begin = folder / f"begin-{number}.safetensors"
        save_file(forecaster.network.member(number).state_dict(), begin)
        begun.append(replace(lesson, begin=begin, judged=False))
    network = _taught(begun, forecaster.config, progress)
    return recurrent_from(
        network,
        forecaster.scaler,
        forecaster.config,
        frequency=forecaster.frequency,
        horizon=forecaster.horizon,
        quantiles=forecaster.quantiles,
        inputs=forecaster.inputs,
    )


def _lessons(
    panel: Panel,
    scaler: Scaler,
    inputs: Inputs,
    model: ModelConfig,
    training: TrainingConfig,
    *,
    horizon: int,
    quantiles: tuple[float, ...],
    seed: int,
    folder: Path,
) -> list[_Lesson]:
    """One lesson for each member; where they take turns, they share the minutes."""
    rounds = ceil(model.members / _beside(training, model.members))
    if training.max_minutes is not None:
        training = training.model_copy(update={"max_minutes": training.max_minutes / rounds})
    one = model.model_copy(update={"members": 1})
    return [
        _Lesson(panel, scaler, inputs, one, training, horizon, quantiles, (seed + k * SEED_STEP) % 2**32, folder / f"member-{k}")
        for k in range(model.members)
    ]


def _beside(training: TrainingConfig, members: int) -> int:
    """How many members train at once: one for each core, one after the other on a GPU."""
    gpu = training.accelerator != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())
    return 1 if gpu else max(min(members, cpu_count() // training.threads), 1)


def _taught(lessons: list[_Lesson], model: ModelConfig, progress: Progress | None) -> Network:
    """The members after their lessons, as one network."""
    beside = _beside(lessons[0].training, len(lessons))
    waiting = [lesson for lesson in lessons if not lesson.weights.exists()]
    if beside == 1 or len(waiting) == 1:
        for lesson in waiting:
            _learn(lesson, _turn(progress, lessons.index(lesson), len(lessons)))
    elif waiting:
        with _Watch(lessons, progress):
            Parallel(n_jobs=beside)(delayed(_learn_alone)(lesson) for lesson in waiting)
    first = lessons[0]
    with torch.random.fork_rng(devices=[]):
        network = Network(model, first.scaler, horizon=first.horizon, quantiles=first.quantiles, inputs=first.inputs)
    for number, lesson in enumerate(lessons):
        network.member(number).load_state_dict(load_file(lesson.weights))
    return network.eval()


def _learn(lesson: _Lesson, progress: Progress | None) -> None:
    """Train one member, and leave its weights in its folder."""
    panel, horizon, scaler, inputs = lesson.panel, lesson.horizon, lesson.scaler, lesson.inputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lesson.seed)
        network = Network(lesson.model, scaler, horizon=horizon, quantiles=lesson.quantiles, inputs=inputs)
    plan = plan_windows(lesson.training, panel, scaler)
    tail = held_back_tail(panel, horizon) * lesson.judged
    known = PanelWindows(scaler, panel.drop_last(tail), horizon=horizon, plan=plan, inputs=inputs)
    whole = PanelWindows(scaler, panel, horizon=horizon, plan=plan, inputs=inputs) if tail.any() else None
    judged = TailWindows(whole, tail=tail) if whole else None
    if lesson.begin:
        network.member(0).load_state_dict(load_file(lesson.begin))
    else:
        with torch_threads(lesson.training.threads):
            network.begin_at(known.mean_changes())
    network = fit(
        network,
        known,
        judged,
        config=lesson.training,
        quantiles=lesson.quantiles,
        seed=lesson.seed,
        folder=lesson.folder,
        progress=progress,
    )
    beside = lesson.weights.with_suffix(".part")
    save_file(network.member(0).state_dict(), beside)
    beside.replace(lesson.weights)


def _learn_alone(lesson: _Lesson) -> None:
    """Train one member in a process of its own, which tells how far it is by a file, and ends when the one who asked is gone.

    Else it would write on in a folder that the next attempt goes on from.
    """
    lesson.folder.mkdir(parents=True, exist_ok=True)
    asked_by = os.getppid()

    def tell(done: int, planned: int, word: str) -> None:
        beside = lesson.folder / "progress.part"
        beside.write_text(f"{done} {planned} {word}", encoding="utf-8")
        beside.replace(lesson.folder / "progress")
        if os.getppid() != asked_by:
            os._exit(1)

    _learn(lesson, tell)


def _turn(progress: Progress | None, number: int, count: int) -> Progress | None:
    """The progress of one of several that take turns, as the progress of all."""
    if progress is None or count == 1:
        return progress
    return lambda done, planned, word: progress(number * planned + done, count * planned, f"member {number + 1}, {word}")


class _Watch:
    """Tells, while members train in other processes, how far they are together, and never less than it told before."""

    def __init__(self, lessons: list[_Lesson], progress: Progress | None) -> None:
        self.lessons, self.progress, self.over, self.most = lessons, progress, Event(), 0
        self.thread = Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()
        if error[0] is None:
            self._tell()

    def _look(self) -> None:
        while not self.over.wait(LOOK_SECONDS):
            self._tell()

    def _tell(self) -> None:
        if self.progress:
            told = [_told(lesson) for lesson in self.lessons]
            self.most = max(self.most, int(1000 * sum(done for done, _ in told) / len(told)))
            word = next((word for done, word in told if done < 1 and word), "first steps" if self.most < 1000 else "done")
            self.progress(self.most, 1000, f"{len(told)} members, {word}")


def _told(lesson: _Lesson) -> tuple[float, str]:
    """The share done, 0 to 1, and what a member says of it."""
    if lesson.weights.exists():
        return 1.0, ""
    try:
        done, planned, word = (lesson.folder / "progress").read_text(encoding="utf-8").split(" ", 2)
        return int(done) / int(planned), word
    except (OSError, ValueError):  # not begun
        return 0.0, ""


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
