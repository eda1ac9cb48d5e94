"""From a panel to the rungs of the ladder, trained under one budget and scored from the same origins."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pandas as pd
import torch
from joblib import Parallel, delayed

from forecaster.ablation.answers import answers, answers_summary, recommendation
from forecaster.ablation.costs import step_costs
from forecaster.ablation.ladder import CONFIDENCE, Ladder, Rung, ladder_of, ladder_rows, remarks
from forecaster.baselines import make_baselines
from forecaster.baselines.fitting import usable_cores
from forecaster.config import Config
from forecaster.errors import ConfigError, DataError
from forecaster.evaluation.backtest import holdout_steps, rolling_origins, scale_season_length
from forecaster.evaluation.scores import scores_by_lead, scores_by_series
from forecaster.evaluation.significance import significance_summary
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.rungs import Exam, Training, Untrained, learn_alone, on_one_core
from forecaster.jobs.runs import package_versions, unfinished_folder
from forecaster.jobs.whole import write_whole
from forecaster.models.cells import LADDER
from forecaster.models.plan import TrainingConfig
from forecaster.models.training import Progress
from forecaster.series import Panel

BASE = "base"  # the smoothing that every network of the panel starts from
PLAIN = ("seasonal_naive", "ses")
LOOK_SECONDS = 0.5  # between two looks at how far the trainings are
SHARED = {"quantiles", "inputs", "model", "training"}  # the settings that shape a training, with those that shape its exam


def ablate(
    config: Config,
    panel_name: str,
    *,
    home: Home,
    rungs: Sequence[str] = tuple(LADDER),
    seeds: int = 3,
    max_minutes: float | None = None,
    jobs: int | None = None,
    worth: float = 0.01,
    command: str = "",
    say: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    """Train every rung from every seed without the last part of the panel, score them there, and say what is needed.

    All have the same steps and windows. With `max_minutes` each has the same share of them, and a slow rung may make fewer steps.
    Each training that ends is kept: the same command goes on where it was cut off, and more rungs or seeds cost only themselves
    (but with `max_minutes`, where the shares change with them). `jobs` train at a time: one for each core, or one on a GPU.
    Returns what `--json` prints. Raises ConfigError where nothing of the panel can be held back, and for unknown rungs.
    """
    rungs, jobs = check_rungs(rungs), jobs or _beside(config.training)
    check_decay(config, rungs)
    config = _shared_out(config, trainings=len(rungs) * seeds, jobs=jobs, max_minutes=max_minutes)
    exam = exam_of(config, PanelStore(home.panels).load(panel_name), panel_name)
    key = ablation_key(exam)
    folder = home.runs / ".ablations" / key
    numbers = tuple((config.seed + k) % 2**32 for k in range(seeds))
    say(_told(exam, panel_name, rungs, seeds))
    with unfinished_folder(home, f"ablation-{key}", fresh=False) as scratch:
        folder.mkdir(parents=True, exist_ok=True)
        trainings = [Training(exam, rung, seed, folder, scratch) for seed in numbers for rung in rungs]
        done = sum(training.is_done for training in trainings)
        if done:
            say(f"{done} of {len(trainings)} trainings are done already, in {folder}")
        _learn_all(trainings, jobs=jobs, progress=progress)
        ladder = _ladder(exam, trainings, rungs, numbers, jobs=jobs)
        summary = _summary(ladder, exam, worth=worth) | {
            "panel": panel_name,
            "panel_fingerprint": exam.panel.fingerprint,
            "folder": str(folder),
            "command": command,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": package_versions(),
        }
        write_ablation(folder, ladder, summary)
        shutil.rmtree(scratch)
    return summary


def check_rungs(names: Sequence[str]) -> tuple[str, ...]:
    """The rungs in the order of the ladder; ConfigError for what is none."""
    unknown = [name for name in names if name not in LADDER]
    if unknown or not names:
        found = repr(unknown[0]) if unknown else "nothing"
        raise ConfigError(f"--rungs: {found} is no rung of the ladder. Choose among {', '.join(LADDER)}.")
    return tuple(name for name in LADDER if name in names)


def check_decay(config: Config, rungs: Sequence[str]) -> None:
    """Raises ConfigError where a state is to decay, and a rung has none that does."""
    without = [rung for rung in rungs if rung != "gru"]
    if config.model.decay and without:
        found = f"model.decay is true, and the rung {without[0]} has no decay"
        raise ConfigError(f"{found}; expected one setting for all rungs. Give --set model.decay=false, or --rungs gru.")


def exam_of(config: Config, panel: Panel, name: str) -> Exam:
    """What every rung is given of a panel; raises DataError or ConfigError where nothing can be held back, or learned from."""
    horizon = config.horizon or panel.frequency.horizon
    holdout = holdout_steps(config.evaluation, panel, horizon)
    if not holdout:
        asked, longest = config.evaluation.origins, int(panel.lengths.max(initial=0))
        raise ConfigError(
            f"panel {name!r}: nothing is held back for scores (evaluation.origins is {asked}, the horizon {horizon}, the "
            f"longest series has {longest} values). Ask for one origin or more, or for a shorter --horizon."
        )
    if not (panel.drop_last(holdout).lengths > 1).any():
        raise DataError(f"panel {name!r}: no series has two values before the part held back. Ingest a longer history.")
    stride = config.evaluation.stride or horizon
    season = config.evaluation.season_length or scale_season_length(panel.frequency)
    origins = rolling_origins(panel, holdout, horizon=horizon, stride=stride)
    return Exam(panel, config.model_copy(update={"horizon": horizon}), horizon, holdout, season, origins)


def ablation_key(exam: Exam) -> str:
    """What two trainings of a ladder share: the exam, the settings but for rung and seed, and the versions that compute them."""
    settings = exam.config.model_dump(mode="json", include=SHARED)
    del settings["model"]["cell"]
    rows = exam.origins.index.tolist(), exam.origins.known.tolist()
    asked = exam.panel.fingerprint, exam.horizon, exam.holdout, exam.season_length, *rows
    return hashlib.sha256(json.dumps([settings, asked, package_versions()], sort_keys=True).encode()).hexdigest()[:12]


def _beside(training: TrainingConfig) -> int:
    """How many trainings at a time pay: one for each core, one after the other on a GPU."""
    is_on_gpu = training.accelerator != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())
    return 1 if is_on_gpu else max(usable_cores() // training.threads, 1)


def _shared_out(config: Config, *, trainings: int, jobs: int, max_minutes: float | None) -> Config:
    """The configuration with each training's share of the minutes."""
    if max_minutes is None:
        return config
    minutes = max_minutes / ceil(trainings / min(jobs, trainings))
    return config.model_copy(update={"training": config.training.model_copy(update={"max_minutes": minutes})})


def _learn_all(trainings: Sequence[Training], *, jobs: int, progress: Progress) -> None:
    """Do what is not done yet, side by side or one after the other."""
    waiting = [training for training in trainings if not training.is_done]
    with _told_of(trainings, progress):
        if min(jobs, len(waiting)) > 1:
            Parallel(n_jobs=min(jobs, len(waiting)))(delayed(learn_alone)(training) for training in waiting)
            return
        with on_one_core():
            for training in waiting:
                training.learn()


@contextmanager
def _told_of(trainings: Sequence[Training], progress: Progress) -> Iterator[None]:
    """Tells, while trainings run here or elsewhere, how far they are together and how long it may take."""
    over, began = Event(), time.monotonic()
    before = sum(training.share_done()[0] for training in trainings)

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            shares = {training.name: training.share_done() for training in trainings}
            done = sum(share for share, _ in shares.values())
            at = [f"{name} {word.split(',')[0]}" for name, (share, word) in shares.items() if 0 < share < 1]
            progress(int(1000 * done), 1000 * len(trainings), ", ".join([*at, *_time_left(done, before, len(trainings), began)]))

    thread = Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _time_left(done: float, before: float, whole: int, began: float) -> list[str]:
    """How long the rest may take, at the pace so far; nothing before there is a pace."""
    if done - before < 0.2:
        return []
    minutes = (time.monotonic() - began) / (done - before) * (whole - done) / 60
    return [f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"]


def _ladder(exam: Exam, trainings: Sequence[Training], rungs: Sequence[str], seeds: tuple[int, ...], *, jobs: int) -> Ladder:
    """The finished trainings beside each other, and beside the base and plain baselines."""
    networks = {rung: next(one for one in trainings if one.rung == rung).forecaster() for rung in rungs}
    with on_one_core():
        costs = step_costs(networks, exam.known)
    made = {rung: [training for training in trainings if training.rung == rung] for rung in rungs}
    known = exam.known
    baselines = make_baselines(exam.config.baselines.model_copy(update={"names": PLAIN, "jobs": jobs}))
    references = [exam.scores(Untrained.of(exam, BASE)), *(exam.scores(baseline.fit(known)) for baseline in baselines)]
    return ladder_of(
        [_rung(rung, made[rung], costs[rung]) for rung in rungs],
        {rung: [training.tally() for training in made[rung]] for rung in rungs},
        {name: tally for scores in references for name, tally in scores.tallies.items()},
        seeds=seeds,
        of=references[0],
    )


def _rung(name: str, trainings: Sequence[Training], step_microseconds: float) -> Rung:
    facts = [training.facts() for training in trainings]
    seconds = sum(one.seconds for one in facts) / len(facts)
    sizes = facts[0].parameters, facts[0].cell_parameters, facts[0].state_size
    return Rung(name, *sizes, seconds, tuple(one.steps for one in facts), step_microseconds)


def _summary(ladder: Ladder, exam: Exam, *, worth: float) -> dict[str, Any]:
    """What was found, as JSON has it."""
    advice = recommendation(ladder, worth=worth)
    training, model = exam.config.training, exam.config.model
    return {
        "answer": advice.text,
        "recommended": advice.rung,
        "best": advice.best,
        "questions": answers_summary(answers(ladder, worth=worth)),
        "remarks": remarks(ladder),
        "ladder": ladder_rows(ladder),
        "measure": ladder.measure,
        "confidence": CONFIDENCE,
        "worth": worth,
        "unit": ladder.found.unit,
        "units": ladder.found.units,
        "seeds": list(ladder.seeds),
        "significance": significance_summary(ladder.found),
        "horizon": exam.horizon,
        "holdout": exam.holdout,
        "origins": len(exam.origins) // max(len(set(exam.origins.index.tolist())), 1),
        "series": len(set(exam.origins.index.tolist())),
        "season_length": exam.season_length,
        "budget": {
            **{name: getattr(training, name) for name in ("max_steps", "max_minutes", "window_length", "batch_size")},
            **{name: getattr(model, name) for name in ("hidden_size", "layers", "head_size", "members")},
        },
    }


def write_ablation(folder: Path, ladder: Ladder, summary: dict[str, Any]) -> None:
    """The ladder as a table, its scores by series and lead, and all that was found, which comes last."""
    rows = [{key: value for key, value in row.items() if not isinstance(value, dict | list | tuple)} for row in summary["ladder"]]
    for row, whole in zip(rows, summary["ladder"], strict=True):
        row |= {f"gain_{name}": whole["gain_on_best"][name] for name in ("share", "low", "high")}
    pd.DataFrame(rows).to_csv(folder / "ladder.csv", index=False)
    scores_by_series(ladder.leaderboard.scores).to_parquet(folder / "by_series.parquet", index=False)
    scores_by_lead(ladder.leaderboard.scores).to_parquet(folder / "by_lead.parquet", index=False)
    write_whole(folder / "ablation.json", json.dumps(summary, indent=1).encode())


def check_place(path: Path) -> Path:
    """The path of a file to write, if its folder is there; DataError otherwise."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        found = "is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise DataError(f"--write-config {path}: {found}; expected a file in a folder that is there. Make the folder first.")
    return path


def write_recommended(config: Config, rung: str, path: Path) -> None:
    """The configuration with that rung as its cell, as a file; DataError where it cannot be written."""
    chosen = config.model_copy(update={"model": config.model.model_copy(update={"cell": rung})})
    try:
        path.write_text(chosen.to_yaml(), encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written ({error.strerror}). Give --write-config a file in a folder of yours."
        ) from error


def _told(exam: Exam, panel_name: str, rungs: Sequence[str], seeds: int) -> str:
    learn = f"{', '.join(rungs)} learn from {seeds} seeds each"
    held_back = f"without the last {exam.holdout} values of each series, which score them"
    return f"{panel_name}: {len(exam.panel):,} series, horizon {exam.horizon}; {learn}, {held_back}"
