"""What a member of a network is taught, and members taught side by side, each in a process of its own."""

import os
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from threading import Event, Thread

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from forecaster.models.inputs import Inputs
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.plan import TrainingConfig, held_back_tail, judges, leads_to_learn, plan_windows
from forecaster.models.scaler import Scaler
from forecaster.models.training import Progress, fit
from forecaster.models.windows import PanelWindows, TailWindows
from forecaster.series import Panel

SEED_STEP = 1_000_003  # between the seeds of two members
LOOK_SECONDS = 0.5  # between two looks at how far the members are


@dataclass(frozen=True)
class Lesson:
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
    until: float = 1.0  # of its budget

    @property
    def weights(self) -> Path:
        """Where the member lies when it is done."""
        return self.folder / "weights.safetensors"

    def share(self) -> float:
        """The share of its budget after which the member, when it is done, was at its best."""
        return float(self._told()["share"])

    def is_done(self) -> bool:
        """Whether the member lies there, taught by this very panel."""
        return self.weights.exists() and self._told().get("panel") == self.panel.fingerprint

    def _told(self) -> dict[str, str]:
        """What stands beside the weights."""
        with safe_open(self.weights, framework="pt") as file:
            return dict(file.metadata())

    def again(self, panel: Panel, folder: Path) -> "Lesson":
        """The same lesson on a panel of which nothing is held back, ended where this one was at its best."""
        return replace(self, panel=panel, folder=folder, judged=False, until=self.share())


def lessons_for(
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
) -> list[Lesson]:
    """One lesson for each member; where they take turns, they share the minutes."""
    rounds = ceil(model.members / _beside(training, model.members))
    if training.max_minutes is not None:
        training = training.model_copy(update={"max_minutes": training.max_minutes / rounds})
    one = model.model_copy(update={"members": 1})
    return [
        Lesson(panel, scaler, inputs, one, training, horizon, quantiles, (seed + k * SEED_STEP) % 2**32, folder / f"member-{k}")
        for k in range(model.members)
    ]


def _beside(training: TrainingConfig, members: int) -> int:
    """How many members train at once: one for each core, one after the other on a GPU."""
    gpu = training.accelerator != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())
    return 1 if gpu else max(min(members, cpu_count() // training.threads), 1)


def taught(lessons: list[Lesson], model: ModelConfig, progress: Progress | None) -> Network:
    """The members after their lessons, as one network."""
    at_once = _beside(lessons[0].training, len(lessons))
    waiting = [lesson for lesson in lessons if not lesson.weights.exists()]
    if at_once == 1 or len(waiting) == 1:
        for lesson in waiting:
            _learn(lesson, _turn(progress, lessons.index(lesson), len(lessons)))
    elif waiting:
        with _Watch(lessons, progress):
            Parallel(n_jobs=at_once)(delayed(_learn_alone)(lesson) for lesson in waiting)
    first = lessons[0]
    with torch.random.fork_rng(devices=[]):
        network = Network(model, first.scaler, horizon=first.horizon, quantiles=first.quantiles, inputs=first.inputs)
    for number, lesson in enumerate(lessons):
        network.member(number).load_state_dict(load_file(lesson.weights))
    return network.eval()


def _learn(lesson: Lesson, progress: Progress | None) -> None:
    """Train one member, and leave its weights in its folder."""
    panel, horizon, scaler, inputs = lesson.panel, lesson.horizon, lesson.scaler, lesson.inputs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(lesson.seed)
        network = Network(lesson.model, scaler, horizon=horizon, quantiles=lesson.quantiles, inputs=inputs)
    plan = plan_windows(lesson.training, panel, scaler)
    tail = held_back_tail(panel, horizon) * lesson.judged
    known_part = panel.drop_last(tail)
    known = PanelWindows(scaler, known_part, horizon=horizon, plan=plan, inputs=inputs)
    judged = tail_windows(lesson, tail) if tail.any() else None
    if lesson.begin:
        network.member(0).load_state_dict(load_file(lesson.begin))
    else:
        with torch_threads(lesson.training.threads):
            network.begin_at(known.mean_changes())
    trained = fit(
        network,
        known,
        judged,
        config=lesson.training,
        quantiles=lesson.quantiles,
        seed=lesson.seed,
        folder=lesson.folder,
        progress=progress,
        until=lesson.until,
    )
    if (known_leads := leads_to_learn(known_part, horizon)) < horizon:
        trained.network.member(0).head.repeat_lead(known_leads)
    beside = lesson.weights.with_suffix(".part")
    save_file(trained.network.member(0).state_dict(), beside, metadata={"share": str(trained.share), "panel": panel.fingerprint})
    beside.replace(lesson.weights)


def _learn_alone(lesson: Lesson) -> None:
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

    def __init__(self, lessons: list[Lesson], progress: Progress | None) -> None:
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


def _told(lesson: Lesson) -> tuple[float, str]:
    """The share done, 0 to 1, and what a member says of it."""
    if lesson.weights.exists():
        return 1.0, ""
    try:
        done, planned, word = (lesson.folder / "progress").read_text(encoding="utf-8").split(" ", 2)
        return int(done) / int(planned), word
    except (OSError, ValueError):  # not begun
        return 0.0, ""


def tail_windows(lesson: Lesson, tail: NDArray[np.int64]) -> TailWindows:
    """The windows of a lesson's panel that judge it."""
    plan = plan_windows(lesson.training, lesson.panel, lesson.scaler)
    windows = PanelWindows(lesson.scaler, lesson.panel, horizon=lesson.horizon, plan=plan, inputs=lesson.inputs)
    return TailWindows(windows, tail=judges(tail, plan, lesson.training))
