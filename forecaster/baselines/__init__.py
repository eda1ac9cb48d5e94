"""What a network has to beat, fitted by statsmodels."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from forecaster.baselines.arima import arima_paths, fit_arima
from forecaster.baselines.baseline import Baseline, Method
from forecaster.baselines.fitting import Progress, SeriesFit, usable_cores
from forecaster.baselines.naive import fit_naive, fit_naive2, naive2_paths, naive_paths, seasonal_naive_paths
from forecaster.baselines.smoothing import fit_holt_winters, fit_ses, holt_winters_paths, holt_winters_sigma, ses_paths, ses_sigma

ModelName = Literal["naive", "seasonal_naive", "naive2", "ses", "holt_winters", "arima"]

BASELINES: dict[ModelName, Callable[..., Baseline]] = {
    "naive": partial(Baseline, Method("naive", fit_naive, naive_paths)),
    "seasonal_naive": partial(Baseline, Method("seasonal_naive", fit_naive, seasonal_naive_paths)),
    "naive2": partial(Baseline, Method("naive2", fit_naive2, naive2_paths, seconds_each=0.001)),
    "ses": partial(Baseline, Method("ses", fit_ses, ses_paths, sigma=ses_sigma, seconds_each=0.005)),
    "holt_winters": partial(
        Baseline, Method("holt_winters", fit_holt_winters, holt_winters_paths, sigma=holt_winters_sigma, seconds_each=0.05)
    ),
    "arima": partial(Baseline, Method("arima", fit_arima, arima_paths, seconds_each=0.2)),
}


class BaselinesConfig(BaseModel):
    """Which baselines, and how they are fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[ModelName, ...] = tuple(BASELINES)
    jobs: int | None = Field(default=None, ge=1, description="processes to fit in; all usable cores where not given")
    season_length: int | None = Field(default=None, ge=1, description="steps in a season; that of the frequency where not given")
    max_seconds_per_series: float | None = Field(
        default=30.0, gt=0, description="when to stop the search for a better form or order"
    )


def make_baselines(config: BaselinesConfig, *, progress: Progress | None = None) -> tuple[Baseline, ...]:
    """The baselines of a configuration, not yet fitted, in its order.

    >>> [baseline.name for baseline in make_baselines(BaselinesConfig(names=("naive", "ses")))]
    ['naive', 'ses']
    """
    return tuple(
        BASELINES[name](
            season_length=config.season_length,
            jobs=config.jobs or usable_cores(),
            max_seconds_per_series=config.max_seconds_per_series,
            progress=progress,
        )
        for name in config.names
    )


__all__ = ["BASELINES", "Baseline", "BaselinesConfig", "Method", "ModelName", "Progress", "SeriesFit", "make_baselines"]
