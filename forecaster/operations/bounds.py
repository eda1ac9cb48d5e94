"""Forecasts looked at before anybody sees them: finite, of a possible sign, and within what the past makes possible."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from forecaster.forecast import Forecast
from forecaster.series import Panel, Values

FEWEST_VALUES = 10  # of a series, to know its range; with fewer, ten times the reach


class ForecastChecksConfig(BaseModel):
    """How far a forecast may reach beyond the smallest and largest value of its series, in ranges between the two."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reach: float = Field(default=1.0, gt=0)


@dataclass(frozen=True)
class Bounds:
    """What the values of each series may be [B], learned from its own past."""

    ids: tuple[str, ...]
    low: Values
    high: Values


@dataclass(frozen=True)
class CheckedForecast:
    """A forecast with its quantiles within bounds, what speaks against some series, and how many numbers were moved."""

    forecast: Forecast
    failures: dict[str, str]
    moved: int


def learn_bounds(panel: Panel, config: ForecastChecksConfig) -> Bounds:
    """The bounds of every series; what was never below zero may not be.

    >>> from forecaster.frequency import Frequency
    >>> panel = Panel(("a",), np.array([0]), np.array([0, 12]), np.linspace(4.0, 10.0, 12), Frequency("D"))
    >>> bounds = learn_bounds(panel, ForecastChecksConfig())
    >>> bounds.low, bounds.high
    (array([0.]), array([16.]))
    """
    low, high = np.full(len(panel), -np.inf), np.full(len(panel), np.inf)
    for b in range(len(panel)):
        values = panel.series(b)
        values = values[np.isfinite(values)]
        if not len(values):
            continue
        least, most = float(values.min()), float(values.max())
        reach = config.reach * (1 if len(values) >= FEWEST_VALUES else 10)
        room = reach * (most - least) or reach * max(abs(most), 1.0)
        low[b] = max(least - room, 0.0) if least >= 0 else least - room
        high[b] = most + room
    return Bounds(panel.ids, low, high)


def check_forecast(forecast: Forecast, bounds: Bounds) -> CheckedForecast:
    """The forecast held against the bounds of its series.

    A series fails if a number is not finite, if its quantiles cross, or if its median leaves the bounds. Outer quantiles that do
    are moved to the bound: the interval of a series near zero may well begin below it.
    """
    place = {unique_id: b for b, unique_id in enumerate(bounds.ids)}
    rows = np.array([place[unique_id] for unique_id in forecast.ids], dtype=np.int64)
    low, high = bounds.low[rows, None], bounds.high[rows, None]
    finite = np.asarray(np.isfinite(forecast.values).all(axis=(1, 2)))
    values = np.where(np.isfinite(forecast.values), forecast.values, 0.0)
    median = values[:, :, forecast.quantiles.index(0.5)]
    slack = 1e-9 * np.maximum(np.abs(values).max(axis=(1, 2), initial=0.0), 1.0)
    crosses = np.asarray((np.diff(values, axis=2) < -slack[:, None, None]).any(axis=(1, 2)))
    is_beyond = np.asarray((median < low - slack[:, None]) | (median > high + slack[:, None]))  # [B, L]
    failures: dict[str, str] = {}
    for r in np.flatnonzero(~finite | crosses | is_beyond.any(axis=1)):
        told = "quantiles cross" if crosses[r] else _beyond(median[r], is_beyond[r], float(low[r, 0]), float(high[r, 0]))
        failures[forecast.ids[r]] = told if finite[r] else "a number is not finite"
    moved = np.clip(forecast.values, low[:, :, None], high[:, :, None])
    count = int((moved != forecast.values)[finite].sum())
    return CheckedForecast(replace(forecast, values=moved), failures, count)


def stand_in(forecast: Forecast, baseline: Forecast, failures: dict[str, str]) -> Forecast:
    """The forecast with the rows of failed series taken from a baseline's, which has the same rows."""
    failed = np.array([unique_id in failures for unique_id in forecast.ids])
    return replace(forecast, values=np.where(failed[:, None, None], baseline.values, forecast.values))


def _beyond(median: Values, is_beyond: NDArray[np.bool_], low: float, high: float) -> str:
    """Where a median leaves its bounds, in words."""
    lead = int(np.argmax(is_beyond))
    bound, side = (low, "below") if median[lead] < low else (high, "above")
    return f"the median at lead {lead + 1} is {median[lead]:.6g}, {side} {bound:.6g}"
