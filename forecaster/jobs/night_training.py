"""A challenger for the run in service: whether one is due, its training, its contest, and what follows from it."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from forecaster.config import Config
from forecaster.errors import ConfigError, ForecasterError, StateError
from forecaster.jobs.champions import read_champions
from forecaster.jobs.contest import hold_contest
from forecaster.jobs.drift import NAMED, measure_drift, since_last_training
from forecaster.jobs.evaluate import choose
from forecaster.jobs.home import Clock, Home
from forecaster.jobs.journal import key_of
from forecaster.jobs.night_forecasts import NETWORK
from forecaster.jobs.registry import promote
from forecaster.jobs.runs import Run, settings_fingerprint
from forecaster.jobs.service import service_of
from forecaster.jobs.train import train
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.training import Progress
from forecaster.operations.decisions import Situation, decide_first, decide_promotion, decide_training
from forecaster.series import Panel


def decide(panel: Panel, *, name: str, home: Home, config: Config, held: str) -> dict[str, Any]:
    """Whether to train tonight, and on what evidence; `champion` is who has to be beaten, None where nobody can speak."""
    operations = config.operations
    champion, broken = _champion(name, home)
    drift = measure_drift(champion, panel, operations) if champion else None
    days, growth = since_last_training(name, panel, home)
    decision = decide_training(Situation(days, growth, drift, held, broken), operations.retrain)
    told: dict[str, Any] = {
        "train": decision.is_taken,
        "reasons": list(decision.reasons),
        "champion": champion.path.name if champion else None,
        "days_since_training": days,
        "growth": growth,
    }
    if drift is not None:
        told["drift"] = {key: value for key, value in asdict(drift).items() if key != "series"} | {
            "series": dict(list(drift.series.items())[:NAMED]),
            "series_drifted": len(drift.series),
        }
    return told


def _champion(name: str, home: Home) -> tuple[Run | None, str]:
    """The run in service, or the one before it where that cannot be read; and what is wrong with the former."""
    service, broken = service_of(name, home), ""
    for candidate in (service.current, service.previous):
        if candidate is not None:
            try:
                run = Run.open(candidate, home)
                load_recurrent(run.deployed_weights)
                load_recurrent(run.judged_weights)
            except ForecasterError as error:
                broken = broken or f"the run in service cannot be read ({error})"
            else:
                return run, broken
    return None, broken


def train_challenger(
    panel: Panel,
    *,
    name: str,
    night: str,
    home: Home,
    config: Config,
    clock: Clock,
    say: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    """Train on the panel within the time budget; a training that ended before, by the same night, is taken as it is.

    Raises whatever the training raises: nothing serves that was not trained.
    """
    budget = config.training.max_minutes or config.operations.retrain.max_minutes
    config = config.model_copy(update={"training": config.training.model_copy(update={"max_minutes": budget})})
    run_name = f"{name}-{night}-{key_of(panel.fingerprint, settings_fingerprint(config))[:6]}"
    try:
        run = Run.open(run_name, home)
    except ConfigError:
        run = train(config, name, home=home, name=run_name, command="nightly", clock=clock, say=say, progress=progress)
    return {"run": run.path.name, "model": run.facts.model_fingerprint, "training_seconds": run.facts.seconds}


def judge_challenger(panel: Panel, *, challenger: str, champion: str | None, home: Home, config: Config) -> dict[str, Any]:
    """The contest between the two, and whether the challenger is to serve.

    It is held between their networks, whoever of a run speaks: that is what a training changes. Where no run can serve, the
    baseline that speaks instead is who must not be better, unless it is a candidate of the champions that are to speak.
    """
    rules, is_alone = config.operations.promote, champion is None or champion == challenger
    try:
        other = config.operations.baseline if is_alone else Run.open(str(champion), home)
        contest = hold_contest(other, Run.open(challenger, home), panel)
    except ConfigError as error:
        return {"promote": is_alone, "reasons": [str(error)], "contest": None}
    if is_alone:
        chosen = _has_candidate(challenger, home, config)
        decision = decide_first(contest, rules, config.operations.baseline, may_be_worse=chosen)
    else:
        decision = decide_promotion(contest, rules)
    return {"promote": decision.is_taken, "reasons": list(decision.reasons), "contest": asdict(contest)}


def _has_candidate(challenger: str, home: Home, config: Config) -> bool:
    """Whether champions are to speak that were chosen among the baseline, too."""
    table = None if config.operations.forecaster == NETWORK else read_champions(Run.open(challenger, home))
    return table is not None and config.operations.baseline in table.forecasters


def lacks_champions(run: str, home: Home) -> bool:
    """Whether a run has none, or none that can be read; False where the run cannot."""
    try:
        return read_champions(Run.open(run, home)) is None
    except ConfigError:
        return False
    except StateError:
        return True


def choose_champions(run: str, *, home: Home, say: Callable[[str], None], progress: Progress) -> dict[str, Any]:
    """Champions of a run, chosen on the part that its training held back, and kept with it; those that are there stay.

    Raises ConfigError when nothing was held back.
    """
    chosen = choose(Run.open(run, home), home=home, say=say, progress=progress) if lacks_champions(run, home) else {}
    return {"run": run} | chosen


def promote_challenger(challenger: str, *, why: str, home: Home, clock: Clock) -> dict[str, Any]:
    """Let the challenger serve; taken twice, it serves once."""
    service = promote(Run.open(challenger, home), home, why=why, clock=clock)
    return {"current": service.current, "previous": service.previous}
