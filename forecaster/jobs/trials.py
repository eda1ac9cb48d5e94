"""What a trial of a search is asked, and how its answer is judged: by rolling origins inside the training part.

The part of the panel that `forecast evaluate` scores is dropped before anything is looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from forecaster.config import Config, changed
from forecaster.errors import ConfigError
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import EvaluationConfig, backtest, holdout_steps, rolling_origins, scale_season_length
from forecaster.evaluation.metrics import means
from forecaster.evaluation.scores import score
from forecaster.models.ensemble import train_network
from forecaster.models.plan import plan_windows
from forecaster.models.scaler import scaler_for
from forecaster.models.training import Progress
from forecaster.series import Origins, Panel, Values

CHOICES: Mapping[str, tuple[Any, ...]] = {
    "model.hidden_size": (32, 64, 128, 256),
    "model.layers": (1, 2),
    "model.dropout": (0.0, 0.1, 0.2),
}
RANGES: Mapping[str, tuple[float, float]] = {  # searched on a logarithmic scale
    "training.learning_rate": (5e-4, 2e-2),
    "training.weight_decay": (1e-3, 1e-1),
}
WINDOW = "training.window_length"  # half, once and twice what the panel suggests


@dataclass(frozen=True)
class Question:
    """What every trial is asked: to learn from `learned`, and to forecast `known`, which goes on, from `origins`."""

    config: Config
    learned: Panel
    known: Panel
    origins: Origins
    horizon: int
    holdout: int


def ask(config: Config, panel: Panel, name: str) -> Question:
    """What trials learn from and are judged by, both without the part that is held back for scores; raises ConfigError."""
    horizon = config.horizon or panel.frequency.horizon
    holdout = holdout_steps(config.evaluation, panel, horizon)
    known = panel.drop_last(holdout)
    inner = holdout_steps(EvaluationConfig(), known, horizon) if len(known) else 0
    if inner == 0:
        raise ConfigError(
            f"panel {name!r} is too short: horizon {horizon} and the {holdout} values held back leave no room to judge trials. "
            "Choose a shorter --horizon, fewer --set evaluation.origins=…, or ingest a longer history."
        )
    one = config.model.model_copy(update={"members": 1})
    steps = min(config.training.validation_steps, config.training.max_steps)
    training = config.training.model_copy(update={"validation_steps": steps})
    asked = config.model_copy(update={"horizon": horizon, "model": one, "training": training})
    origins = rolling_origins(known, inner, horizon=horizon, stride=horizon)
    return Question(asked, known.drop_last(inner), known, origins, horizon, holdout)


def search_space(optuna: ModuleType, question: Question) -> tuple[dict[str, Any], dict[str, Any]]:
    """Optuna's distributions by setting, and the configuration's own values, which lie among them."""
    config = question.config
    tree = config.model_dump(mode="json")
    usual = plan_windows(config.training, question.learned, scaler_for(question.learned, question.horizon)).length
    choices = {**CHOICES, WINDOW: (max(usual // 2, 4), usual, 2 * usual)}
    default = {key: tree[key.split(".")[0]][key.split(".")[1]] for key in (*choices, *RANGES)} | {WINDOW: usual}
    space: dict[str, Any] = {
        key: optuna.distributions.CategoricalDistribution(sorted({*values, default[key]})) for key, values in choices.items()
    }
    for key, (low, high) in RANGES.items():
        low, high = (min(low, default[key]), max(high, default[key])) if default[key] > 0 else (low, high)
        space[key] = optuna.distributions.FloatDistribution(low, high, log=True)
        default[key] = default[key] or low
    return space, default


def judge(
    question: Question, settings: Mapping[str, Any], *, folder: Path, seconds: float, progress: Progress | None = None
) -> Values:
    """The MASE of each series [S] of a network of these settings, from the question's origins; NaN where it has no scale."""
    config = changed(question.config, [f"{key}={value}" for key, value in settings.items()])
    share = 1 - config.training.refit_share  # which train_network leaves for a refit
    limit = min(seconds / 60 / share, config.training.max_minutes or np.inf)
    network = train_network(
        question.learned,
        model=config.model,
        training=config.training.model_copy(update={"max_minutes": limit}),
        horizon=question.horizon,
        quantiles=config.quantiles,
        seed=config.seed,
        folder=folder,
        inputs=config.inputs,
        progress=progress,
    )
    said = backtest([network], question.known, horizon=question.horizon, quantiles=config.quantiles, origins=question.origins)
    if said.failures:
        raise said.failures[network.name]
    forecast = said.forecasts[network.name]
    season_length = config.evaluation.season_length or scale_season_length(question.known.frequency)
    actuals = actuals_matrix(forecast, question.known)
    scores = score(said, history=question.known, actuals=actuals, season_length=season_length)
    return np.asarray(means(scores.series_sums(network.name), scores.scale)["mase"])
