"""From a configuration to a better one: a search within a time budget, judged by rolling origins inside the training part.

runs/.studies/KEY/   study.sqlite (Optuna's own), scores-N.npy (the MASE of each series in trial N), and unfinished trainings

KEY names settings and training part, so that the same command goes on where a search was cut off.
"""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from forecaster.config import Config, changed
from forecaster.errors import ConfigError, DataError, StateError
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.locks import take_lock
from forecaster.jobs.runs import training_key
from forecaster.jobs.trials import Question, ask, judge, search_space
from forecaster.models.training import Progress

SHARE_OF_A_TRIAL = 0.1  # of the whole budget, where no --trial-minutes are given
TRIALS_BEFORE_PRUNING = 4
REPORTS = 20  # of a training, at equal shares of its budget; none of the first six stops it
LOSS_TOLD = re.compile(r"held-back loss (\d+\.\d+)")


@dataclass(frozen=True)
class Tuned:
    """What came of a search: MASE of the best and of the default on the validation part, and how sure their difference is.

    `standard_error` is that of the mean difference over series, NaN of one series; `settings` are those of the best.
    """

    panel: str
    trials: int
    pruned: int
    seconds: float
    default: float
    best: float
    standard_error: float
    settings: dict[str, Any]
    config: Config
    study: str
    holdout: int


class _StoppedEarlyError(Exception):
    """Half of the trials before were better at this point."""


def tune(
    config: Config,
    panel_name: str,
    *,
    home: Home,
    max_minutes: float,
    trials: int | None = None,
    trial_minutes: float | None = None,
    fresh: bool = False,
    say: Callable[[str], None],
    progress: Progress,
) -> Tuned:
    """Search around a configuration until the minutes, those of earlier calls included, or the trials are used up.

    A trial is one network (the members come back in the result) trained for at most `trial_minutes`, a tenth of the budget
    otherwise; it is begun only where that time is left. The first one is the configuration itself. Raises ConfigError where
    Optuna is not installed or the panel is too short, StateError when another process is at the same search.
    """
    optuna = _optuna()
    question = ask(config, PanelStore(home.panels).load(panel_name), panel_name)
    space, default = search_space(optuna, question)
    key = training_key(question.config, question.known)
    with _alone(home, key, fresh=fresh) as folder:
        study = _study(optuna, folder, question, default)
        seconds_each = 60 * _trial_minutes(study, trial_minutes, max_minutes)
        search = _Search(optuna, study, folder, question, seconds_each, 60 * max_minutes, progress)
        say(
            f"{panel_name}: {len(question.origins):,} forecasts of {question.horizon} leads judge each trial; the last "
            f"{question.holdout} values of each series are not looked at"
        )
        if search.ended():
            say(f"going on after {search.ended()} trials (--fresh starts over)")
        while search.may_begin(trials):
            search.try_one(space, say)
        return _told(search, panel_name, config)


class _Search:
    """A study, and the time it has."""

    def __init__(
        self,
        optuna: ModuleType,
        study: Any,
        folder: Path,
        question: Question,
        seconds_each: float,
        seconds: float,
        progress: Progress,
    ) -> None:
        self.optuna, self.study, self.folder, self.question, self.progress = optuna, study, folder, question, progress
        self.seconds_each, self.seconds = seconds_each, seconds
        self.before, self.began, self.beside = float(study.user_attrs.get("seconds", 0.0)), time.monotonic(), 0.0
        self.best = np.inf  # of the trials of this call

    def spent(self) -> float:
        """Seconds of search so far, those of earlier calls included."""
        return self.before + time.monotonic() - self.began

    def ended(self, *, failed: bool = False) -> int:
        """How many trials came to an end, those that failed with them or not."""
        states = self.optuna.trial.TrialState
        counted = (states.COMPLETE, states.PRUNED, *((states.FAIL,) if failed else ()))
        return len(self.study.get_trials(deepcopy=False, states=counted))

    def may_begin(self, trials: int | None) -> bool:
        """Whether another trial is wanted, and its whole time is left; the first one always is."""
        if self.ended(failed=True) == 0:
            return True
        is_wanted = trials is None or self.ended() < trials
        return is_wanted and self.spent() + self.seconds_each + self.beside <= self.seconds

    def try_one(self, space: dict[str, Any], say: Callable[[str], None]) -> None:
        """One trial, kept in the study whatever comes of it."""
        trial = self.study.ask(space)
        states, began = self.optuna.trial.TrialState, time.monotonic()
        place = self.folder / f"unfinished-{_hash(trial.params)}"
        try:
            mase = judge(self.question, trial.params, folder=place, seconds=self.seconds_each, progress=self._heard(trial))
            np.save(self.folder / f"scores-{trial.number}.npy", mase)
            mean = float(np.nanmean(mase)) if np.isfinite(mase).any() else np.nan
            self.study.tell(trial, mean) if np.isfinite(mean) else self.study.tell(trial, state=states.FAIL)
            self.best = min(self.best, mean) if np.isfinite(mean) else self.best
        except _StoppedEarlyError:
            self.study.tell(trial, state=states.PRUNED)
        except RuntimeError as error:  # torch's, of a network that is too large for this machine
            if not self.ended():
                raise
            self.study.tell(trial, state=states.FAIL)
            say(f"trial {trial.number + 1} failed: {(str(error).splitlines() or ['no reason given'])[0]}")
        self.beside = max(self.beside, time.monotonic() - began - self.seconds_each)
        self.study.set_user_attr("seconds", self.spent())
        shutil.rmtree(place, ignore_errors=True)

    def _heard(self, trial: Any) -> Progress:
        """Progress of the whole search, and of one training to the pruner."""
        told = {"share": -1}

        def hear(done: int, planned: int, word: str) -> None:
            left = max(self.seconds - self.spent(), 0) / 60
            best = f", best {self.best:.4f}" if np.isfinite(self.best) else ""
            spent = min(int(1000 * self.spent() / self.seconds), 1000)
            self.progress(spent, 1000, f"trial {trial.number + 1}{best}, {left:.0f} minutes left")
            found, share = LOSS_TOLD.search(word), REPORTS * done // max(planned, 1)
            if found and share > told["share"]:
                told["share"] = share
                trial.report(float(found[1]), share)
                if trial.should_prune():
                    raise _StoppedEarlyError

        return hear


# -- the study ---------------------------------------------------------------------------------------------------------------


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ConfigError("tune needs Optuna, which is not installed. Install it: pip install 'forecaster[tune]'.") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


@contextmanager
def _alone(home: Home, key: str, *, fresh: bool) -> Iterator[Path]:
    """The folder of a study, for one process; emptied first if `fresh`. Raises StateError when another is at it."""
    folder = home.runs / ".studies" / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder.parent / f"{key}.lock").open("a+")
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}). Set $FORECASTER_HOME to a folder of yours.") from error
    with lock:
        if take_lock(lock):
            raise StateError(f"another process is at this very search ({folder}). Wait for it, or stop it.")
        if fresh:
            shutil.rmtree(folder)
            folder.mkdir()
        yield folder


def _study(optuna: ModuleType, folder: Path, question: Question, default: dict[str, Any]) -> Any:
    """The study in a folder, its unfinished trials asked again first; a new one begins with the configuration itself."""
    storage = f"sqlite:///{folder / 'study.sqlite'}"
    pruner = optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING, n_warmup_steps=6)
    try:
        study = optuna.create_study(storage=storage, study_name="tune", load_if_exists=True, pruner=pruner)
        count = len(study.get_trials(deepcopy=False))
        study.sampler = optuna.samplers.TPESampler(seed=question.config.seed + count)
        for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("optuna", "sqlalchemy"):
            raise
        raise StateError(f"{folder / 'study.sqlite'} is damaged ({type(error).__name__}). Start over with --fresh.") from error
    if count == 0:
        study.enqueue_trial(default)
    return study


def _trial_minutes(study: Any, given: float | None, max_minutes: float) -> float:
    """How long a trial may train: all of a study alike, or their scores could not be compared."""
    kept = study.user_attrs.get("trial_minutes")
    if kept is not None and given is not None and kept != given:
        raise ConfigError(f"--trial-minutes {given:g}: this search began with {kept:g}. Keep that, or start over with --fresh.")
    minutes = float(kept or given or SHARE_OF_A_TRIAL * max_minutes)
    if kept is None:
        study.set_user_attr("trial_minutes", minutes)
    return minutes


def _told(search: _Search, panel: str, config: Config) -> Tuned:
    """The best of the trials, beside the first one."""
    states = search.optuna.trial.TrialState
    done = search.study.get_trials(deepcopy=False, states=(states.COMPLETE,))
    if not done:
        raise DataError(f"panel {panel!r}: no series has a scale to measure errors by. Ingest series that change.")
    best, first = min(done, key=lambda trial: trial.value), done[0]
    difference = np.load(search.folder / f"scores-{best.number}.npy") - np.load(search.folder / f"scores-{first.number}.npy")
    paired = difference[np.isfinite(difference)]
    error = float(paired.std(ddof=1) / np.sqrt(len(paired))) if len(paired) > 1 else float("nan")
    is_default = best.number == first.number
    settings = {} if is_default else dict(best.params)
    return Tuned(
        panel=panel,
        trials=search.ended(),
        pruned=search.ended() - len(done),
        seconds=round(search.spent(), 1),
        default=float(first.value),
        best=float(best.value),
        standard_error=error,
        settings=settings,
        config=changed(config, [f"{key}={value}" for key, value in settings.items()]),
        study=str(search.folder),
        holdout=search.question.holdout,
    )


def _hash(params: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:12]
