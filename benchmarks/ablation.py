"""What each element of the network is worth: it is taken out, all else trained as before, under the budget of `gates.py`.

    python benchmarks/ablation.py --data ../shared/data --home gates [--panels tourism …] [--elements memory …] [--rungs gru …]

The rungs of the ladder are the affair of `forecast ablate` (`gates.py` types it on five panels); the whole network is its rung
`gru`, taken from there if it was trained already. Test parts are not read. What is told is by how much the loss rises without
an element, with the 95 % interval over series (or origins) and seeds: an interval above 0 means that it earns something.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch
from gates import CHOSEN, ingest, settings_of
from torch import Tensor

from forecaster.ablation.ladder import Ladder, Rung, ladder_of
from forecaster.config import read_config
from forecaster.ingest import PanelStore
from forecaster.jobs.ablate import ablation_key, exam_of
from forecaster.jobs.home import Home
from forecaster.jobs.rungs import Exam, Training, on_one_core
from forecaster.models import ensemble, lessons
from forecaster.models.cells import LADDER
from forecaster.models.holt_winters import HoltWinters
from forecaster.models.network import Network
from forecaster.models.plan import TrainingConfig, WindowPlan, plan_windows
from forecaster.models.scaler import Scaler, scaler_for
from forecaster.series import Panel


def whole_base(change: Callable[[HoltWinters], HoltWinters]) -> Callable[[Panel, int], Scaler]:
    """The scaler of a panel with another base."""

    def changed(panel: Panel, horizon: int) -> Scaler:
        scaler = scaler_for(panel, horizon)
        return replace(scaler, base=change(scaler.base))

    return changed


def seasonal_naive(base: HoltWinters) -> HoltWinters:
    return HoltWinters(level=float(base.length == 1), slope=0.0, season=1.0, damping=1.0, length=base.length)


@contextmanager
def plain_scale() -> Iterator[None]:
    """Values as they are, where the panel asks for logarithms."""
    with patch.object(ensemble, "scaler_for", lambda panel, horizon: replace(scaler_for(panel, horizon), kind="signed")):
        yield


@contextmanager
def no_smoothing() -> Iterator[None]:
    """The value of one season ago, or the last one, in place of the panel's smoothing."""
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

    with patch.object(lessons, "plan_windows", sparse):
        yield


@contextmanager
def nothing() -> Iterator[None]:
    yield


ELEMENTS = {  # how it is taken out, and what it is
    "memory": (lambda: blind("memory"), "what the cell remembers"),
    "ring": (lambda: blind("ring"), "the ring of the last values"),
    "base": (no_smoothing, "the panel's smoothing as base"),
    "logarithms": (plain_scale, "logarithms"),
    "origins": (one_origin, "many origins in a window"),
    "averaging": (nothing, "averaged weights"),
}


def learned(exam: Exam, element: str | None, *, rung: str, seed: int, home: Home) -> Training:
    """A rung trained and scored without an element, unless it was before."""
    key = ablation_key(exam)
    folder = home.runs / ".ablations" / (f"{key}-without-{element}" if element else key)
    (folder / "unfinished").mkdir(parents=True, exist_ok=True)
    training = Training(exam, rung, seed, folder, folder / "unfinished")
    if not training.is_done:
        with on_one_core(), ELEMENTS[element][0]() if element else nothing():
            training.learn()
    return training


def ladder_without(name: str, elements: list[str], rungs: list[str], seeds: list[int], *, home: Home) -> Ladder:
    """The rung `gru` of the whole network, and rungs without an element as `element rung`, beside each other."""
    settings = settings_of(name)
    panel = PanelStore(home.panels).load(name)
    exam = exam_of(read_config(Path("configs/default.yaml"), settings), panel, name)
    unaveraged = exam_of(read_config(Path("configs/default.yaml"), [*settings, "training.average_decay=0"]), panel, name)
    made = {"gru": [learned(exam, None, rung="gru", seed=seed, home=home) for seed in seeds]}
    for element in elements:
        its_exam = unaveraged if element == "averaging" else exam
        for rung in rungs:
            made[f"{element} {rung}"] = [learned(its_exam, element, rung=rung, seed=seed, home=home) for seed in seeds]
    tallies = {label: [training.tally() for training in each] for label, each in made.items()}
    no_costs = [Rung(label, 0, 0, 0, 0.0, (), 0.0) for label in made]
    return ladder_of(no_costs, tallies, {}, seeds=seeds, of=exam.scores(made["gru"][0].forecaster()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--home", type=Path, default=Path("gates"))
    parser.add_argument("--panels", nargs="*", choices=CHOSEN, default=list(CHOSEN))
    parser.add_argument("--elements", nargs="*", choices=ELEMENTS, default=list(ELEMENTS))
    parser.add_argument("--rungs", nargs="*", choices=LADDER, default=["gru"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    given = parser.parse_args()
    given.home.mkdir(parents=True, exist_ok=True)
    for name in given.panels:
        ingest(name, data=given.data, home=given.home)
        ladder = ladder_without(name, given.elements, given.rungs, given.seeds, home=Home(given.home))
        print(f"{CHOSEN[name]}: the whole network (gru) has {ladder.measure} {ladder.losses['gru'].mean():.3f}")
        for element in given.elements:
            print(f"    without {ELEMENTS[element][1]}")
            for rung in given.rungs:
                rise = -ladder.gain(f"{element} {rung}", "gru")
                told = f"{100 * rise.share:+6.1f} % (95 % interval {100 * rise.low:.1f} to {100 * rise.high:.1f} %)"
                if rung != "gru" and "gru" in given.rungs:
                    beside = -ladder.gain(f"{element} {rung}", f"{element} gru")
                    told += f"; beside gru {100 * beside.share:+.1f} % ({100 * beside.low:.1f} to {100 * beside.high:.1f} %)"
                print(f"        {rung:18}{told}", flush=True)


if __name__ == "__main__":
    main()
