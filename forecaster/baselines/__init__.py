"""What a network has to beat: fitted by statsmodels, then alive as linear recursions."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from forecaster.baselines.arima import fit_arima
from forecaster.baselines.baseline import Baseline, Method
from forecaster.baselines.ets import fit_ets, fit_stl_ets
from forecaster.baselines.fitting import Progress, SeriesFit, usable_cores
from forecaster.baselines.innovations import SARIMA
from forecaster.baselines.kalman import ARIMA
from forecaster.baselines.memory import NAIVE, SEASONAL_NAIVE
from forecaster.baselines.moments import DRIFT, MEAN, fit_moments
from forecaster.baselines.naive import fit_naive, fit_naive2
from forecaster.baselines.seasonal_arima import fit_sarima
from forecaster.baselines.smoothing import SMOOTHING
from forecaster.baselines.smoothing_fits import (
    fit_additive,
    fit_damped,
    fit_holt,
    fit_holt_winters,
    fit_multiplicative,
    fit_ses,
    fit_theta,
)
from forecaster.baselines.stepping import BaselineStepper

ModelName = Literal[
    "naive",
    "seasonal_naive",
    "naive2",
    "mean",
    "drift",
    "ses",
    "holt",
    "damped",
    "theta",
    "holt_winters",
    "holt_winters_additive",
    "holt_winters_multiplicative",
    "ets",
    "stl_ets",
    "arima",
    "sarima",
]

BASELINES: dict[ModelName, Callable[..., Baseline]] = {
    "naive": partial(Baseline, Method("naive", fit_naive, NAIVE)),
    "seasonal_naive": partial(Baseline, Method("seasonal_naive", fit_naive, SEASONAL_NAIVE)),
    "naive2": partial(Baseline, Method("naive2", fit_naive2, SMOOTHING, seconds_each=0.001)),
    "mean": partial(Baseline, Method("mean", fit_moments, MEAN)),
    "drift": partial(Baseline, Method("drift", fit_moments, DRIFT)),
    "ses": partial(Baseline, Method("ses", fit_ses, SMOOTHING, finds_spread=True, seconds_each=0.005)),
    "holt": partial(Baseline, Method("holt", fit_holt, SMOOTHING, finds_spread=True, seconds_each=0.01)),
    "damped": partial(Baseline, Method("damped", fit_damped, SMOOTHING, finds_spread=True, seconds_each=0.01)),
    "theta": partial(Baseline, Method("theta", fit_theta, SMOOTHING, finds_spread=True, seconds_each=0.01)),
    "holt_winters": partial(Baseline, Method("holt_winters", fit_holt_winters, SMOOTHING, finds_spread=True, seconds_each=0.05)),
    "holt_winters_additive": partial(
        Baseline, Method("holt_winters_additive", fit_additive, SMOOTHING, finds_spread=True, seconds_each=0.03)
    ),
    "holt_winters_multiplicative": partial(
        Baseline, Method("holt_winters_multiplicative", fit_multiplicative, SMOOTHING, finds_spread=True, seconds_each=0.03)
    ),
    "ets": partial(Baseline, Method("ets", fit_ets, SMOOTHING, finds_spread=True, seconds_each=0.3)),
    "stl_ets": partial(Baseline, Method("stl_ets", fit_stl_ets, SMOOTHING, seconds_each=0.1)),
    "arima": partial(Baseline, Method("arima", fit_arima, ARIMA, seconds_each=0.2)),
    "sarima": partial(Baseline, Method("sarima", fit_sarima, SARIMA, seconds_each=0.3)),
}

DEFAULT: tuple[ModelName, ...] = ("naive", "seasonal_naive", "naive2", "ses", "holt_winters", "arima")


class BaselinesConfig(BaseModel):
    """Which baselines, and how they are fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[ModelName, ...] = DEFAULT
    jobs: int | None = Field(default=None, ge=1, description="processes to fit in; all usable cores where not given")
    season_length: int | None = Field(default=None, ge=1, description="steps in a season; that of the frequency where not given")
    max_seconds_per_series: float | None = Field(
        default=30.0, gt=0, description="of the processor: when to stop the search for a better form or order"
    )


def make_baselines(
    config: BaselinesConfig, *, progress: Progress | None = None, cache: Path | None = None
) -> tuple[Baseline, ...]:
    """The baselines of a configuration, not yet fitted, in its order; fits are kept in the folder `cache`, where one is given.

    >>> [baseline.name for baseline in make_baselines(BaselinesConfig(names=("naive", "ses")))]
    ['naive', 'ses']
    """
    return tuple(
        BASELINES[name](
            season_length=config.season_length,
            jobs=config.jobs or usable_cores(),
            max_seconds_per_series=config.max_seconds_per_series,
            progress=progress,
            cache=cache,
        )
        for name in config.names
    )


__all__ = [
    "BASELINES",
    "Baseline",
    "BaselineStepper",
    "BaselinesConfig",
    "Method",
    "ModelName",
    "Progress",
    "SeriesFit",
    "make_baselines",
]
