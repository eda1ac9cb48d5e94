"""From a panel to a run."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from forecaster.config import Config
from forecaster.errors import ConfigError, DataError
from forecaster.evaluation.backtest import holdout_steps
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Clock, Home, wall_clock
from forecaster.jobs.runs import (
    Run,
    RunFacts,
    check_run_name,
    code_fingerprint,
    finish,
    package_versions,
    settings_fingerprint,
    training_key,
    unfinished_folder,
    write_facts,
)
from forecaster.jobs.service import service_of
from forecaster.models.checkpoint import load_recurrent, save_recurrent, with_pool
from forecaster.models.ensemble import refit_network, train_network
from forecaster.models.inputs import Inputs
from forecaster.models.network import torch_threads
from forecaster.models.plan import TrainingConfig, refit_pays, sample_series, share_of_budget
from forecaster.models.pooling import pool_for
from forecaster.models.recurrent import Recurrent
from forecaster.models.training import Progress
from forecaster.series import Panel


def train(
    config: Config,
    panel_name: str,
    *,
    home: Home,
    name: str | None = None,
    command: str = "",
    fresh: bool = False,
    clock: Clock = wall_clock,
    say: Callable[[str], None],
    progress: Progress,
) -> Run:
    """Train twice: on all but the last part of the panel, for honest scores, then a little more on all of it, for use.

    A training of the same data and settings that was cut off goes on where it was, unless `fresh`. Raises DataError or
    ConfigError when the panel is too short to learn from, or for the horizon, and for inputs that it does not have.
    """
    if name is not None:
        check_run_name(name)
    panel = PanelStore(home.panels).load(panel_name)
    horizon = config.horizon or panel.frequency.horizon
    if not (panel.lengths > 1).any():
        raise DataError(f"panel {panel_name!r}: no series has two values. Ingest a longer history.")
    if horizon >= (longest := int(panel.lengths.max())):
        raise ConfigError(
            f"horizon is {horizon}, and the longest series of {panel_name!r} has {longest} values. "
            "Choose a shorter --horizon, or ingest a longer history."
        )
    holdout = holdout_steps(config.evaluation, panel, horizon)
    config = config.model_copy(update={"horizon": horizon})
    say(f"{panel_name}: {len(panel):,} series, {len(panel.values):,} positions, horizon {horizon}; {_told(holdout)}")
    learned = sample_series(panel, config.training.max_positions, seed=config.seed)
    if len(learned) < len(panel):
        say(f"learning from a sample of {len(learned):,} series, {len(learned.values):,} positions (training.max_positions)")
    if beside := Inputs.fit(learned.drop_last(holdout), config.inputs).words:
        say(f"beside the values, the network sees {', '.join(beside)}")
    with unfinished_folder(home, training_key(config, panel), fresh=fresh) as folder:
        began = time.monotonic()
        if any(folder.iterdir()):
            say("going on from an unfinished training of the same data and settings (--fresh starts over)")
        training = _budget(config.training, learned, holdout=holdout, horizon=horizon)
        judged = _judged(learned.drop_last(holdout), config, training, folder=folder, progress=progress)
        if judged.mixture:
            say(f"forecasts go {100 * judged.mixture.weight:g} % of the way towards smoothings of each series (training.lean)")
        deployed = judged
        if training.refit_share > 0:
            say("refit on the whole panel" if learned is panel else "refit on the whole of the sample")
            deployed = refit_network(
                judged,
                learned,
                training=training,
                seed=config.seed,
                folder=folder / "refit",
                trained=folder / "training",
                progress=progress,
            )
            deployed = _pooled(deployed, panel, training)
        save_recurrent(deployed, folder / "weights.safetensors")
        facts = RunFacts(
            panel=panel_name,
            panel_fingerprint=panel.fingerprint,
            model_fingerprint=deployed.fingerprint,
            horizon=horizon,
            holdout=holdout,
            seconds=round(time.monotonic() - began, 1),
            created=clock().isoformat(timespec="seconds"),
            command=command,
            versions=package_versions(),
            known_through=str(panel.frequency.labels(panel.ends.max(keepdims=True)).iloc[0]),
            parent=service_of(panel_name, home).current,
            settings=settings_fingerprint(config),
            code=code_fingerprint(),
        )
        _keep_the_log(folder)
        write_facts(folder, config, facts, panel)
        stamp = clock().strftime("%Y%m%d-%H%M%S")
        path = finish(folder, home, name or f"{panel_name}-{stamp}")
    return Run(path, config, facts)


def _budget(training: TrainingConfig, panel: Panel, *, holdout: int, horizon: int) -> TrainingConfig:
    """The settings with no share for a refit that does not pay, and with at least one validation."""
    share = training.refit_share if refit_pays(panel, holdout=holdout, horizon=horizon) else 0.0
    steps = min(training.validation_steps, share_of_budget(training, 1 - share).max_steps)
    return training.model_copy(update={"refit_share": share, "validation_steps": steps})


def _judged(known: Panel, config: Config, training: TrainingConfig, *, folder: Path, progress: Progress) -> Recurrent:
    """The forecaster trained on the known part alone, kept in the folder as soon as it is there."""
    path = folder / "judged.safetensors"
    if not path.exists():
        judged = train_network(
            known,
            model=config.model,
            training=training,
            horizon=config.horizon or known.frequency.horizon,
            quantiles=config.quantiles,
            seed=config.seed,
            folder=folder / "training",
            inputs=config.inputs,
            progress=progress,
        )
        save_recurrent(_pooled(judged, known, training), path)
    return load_recurrent(path)


def _pooled(network: Recurrent, panel: Panel, training: TrainingConfig) -> Recurrent:
    """The network with what series begin with that have shown little, learned from those of the panel."""
    with torch_threads(training.threads):
        return with_pool(network, pool_for(network, panel))


def _keep_the_log(folder: Path) -> None:
    """Leave the losses of every member's training, and drop what only a restart needed."""
    for part in ("training", "refit"):
        logs = sorted((folder / part).glob("member-*/log/metrics.csv"))
        losses = [pd.read_csv(log).assign(member=number) for number, log in enumerate(logs)]
        if losses:
            pd.concat(losses).to_csv(folder / f"{part}.csv", index=False)
        shutil.rmtree(folder / part, ignore_errors=True)


def _told(holdout: int) -> str:
    if holdout:
        return f"the last {holdout} values of each series are held back for its scores"
    return "nothing is held back: score it with `forecast evaluate RUN --actuals FILE`"
