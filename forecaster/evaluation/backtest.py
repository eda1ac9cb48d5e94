"""Forecasts from rolling origins, the same ones for every forecaster.

A forecaster is handed each series only up to that series' last origin: what lies behind it cannot be seen. Values between
the first origin and the last one are in reach of a forecaster that breaks its promise; `check_no_look_ahead` finds it out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from pandas.tseries.frequencies import to_offset
from pydantic import BaseModel, ConfigDict, Field

from forecaster.errors import ConfigError, DataError
from forecaster.forecast import Forecast, Forecaster, check_quantiles
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

Progress = Callable[[int, int, str], None]

MOST_DERIVED_ORIGINS = 4
SHARE_HELD_BACK = 0.2


class EvaluationConfig(BaseModel):
    """How forecasters are compared; None means that the panel decides.

    `origins` rolling origins (0: none, all of the panel is learned from), `stride` steps apart (the horizon); errors are
    scaled by the change over `season_length` steps (`scale_season_length`); OWA is relative to the forecaster `reference`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    origins: int | None = Field(default=None, ge=0)
    stride: int | None = Field(default=None, ge=1)
    season_length: int | None = Field(default=None, ge=1)
    reference: str = "naive2"


@dataclass(frozen=True)
class Backtest:
    """What each forecaster said from the same rows of origins, in the order they were given, and why some said nothing."""

    forecasts: dict[str, Forecast]
    failures: dict[str, Exception] = field(default_factory=dict)


def scale_season_length(frequency: Frequency) -> int:
    """The lag of the MASE scale that the M4 competition used: 1 for daily, business and weekly data, else the season.

    >>> [scale_season_length(Frequency(alias)) for alias in ("h", "D", "B", "W-SUN", "MS", "QS", "YS")]
    [24, 1, 1, 1, 12, 4, 1]
    """
    by_day_or_week = {"Day", "BusinessDay", "Week"}
    if frequency.alias != "step" and type(to_offset(frequency.alias)).__name__ in by_day_or_week:
        return 1
    return frequency.season_length


def holdout_steps(config: EvaluationConfig, panel: Panel, horizon: int) -> int:
    """How many of the last steps of each series are kept from training, so that rolling origins fit in: 0 if none does.

    As many origins as the configuration says, else up to 4 within a fifth of the median length; a single one may take a
    third. Raises ConfigError when the origins asked for leave no series anything to learn from.

    >>> daily = Panel(("a",), np.array([0]), np.array([0, 100]), np.zeros(100), Frequency("D"))
    >>> [holdout_steps(EvaluationConfig(), daily, horizon) for horizon in (5, 8, 30, 40)]
    [20, 16, 30, 0]
    """
    stride = config.stride or horizon
    if config.origins == 0:
        return 0
    if config.origins is not None:
        steps, longest = (config.origins - 1) * stride + horizon, int(panel.lengths.max(initial=0))
        if steps >= longest:
            raise ConfigError(
                f"evaluation.origins is {config.origins}: with horizon {horizon} and stride {stride} that holds back "
                f"{steps} steps, and the longest series has {longest}. Ask for fewer origins or a shorter horizon."
            )
        return steps
    length = float(np.median(panel.lengths)) if len(panel) else 0.0
    fitting = int((SHARE_HELD_BACK * length - horizon) // stride) + 1
    if fitting >= 1:
        return (min(fitting, MOST_DERIVED_ORIGINS) - 1) * stride + horizon
    return horizon if 3 * horizon <= length else 0


def rolling_origins(panel: Panel, holdout: int, *, horizon: int, stride: int) -> Origins:
    """Origins `holdout`, `holdout - stride`, … steps before the end of each series, none nearer to it than the horizon.

    A series that had not begun at the first origin has none at all (`without_origin` names it), so that every series in
    the comparison has equally many.

    >>> frequency = Frequency("step", is_numbered=True)
    >>> panel = Panel(("a", "b"), np.array([0, 4]), np.array([0, 10, 13]), np.zeros(13), frequency)
    >>> rolling_origins(panel, 6, horizon=2, stride=2).known
    array([4, 6, 8])
    """
    began = np.flatnonzero(panel.lengths > holdout)
    back = np.arange(holdout, horizon - 1, -stride)
    known = panel.lengths[began][:, None] - back
    return Origins(np.repeat(began, len(back)), known.ravel())


def without_origin(panel: Panel, origins: Origins) -> tuple[str, ...]:
    """The ids of the series from which no forecast is made."""
    has_one = np.bincount(origins.index, minlength=len(panel)) > 0
    return tuple(unique_id for unique_id, has in zip(panel.ids, has_one, strict=True) if not has)


def backtest(
    forecasters: Sequence[Forecaster],
    panel: Panel,
    *,
    horizon: int,
    quantiles: Sequence[float],
    origins: Origins,
    progress: Progress | None = None,
    verify: bool = False,
) -> Backtest:
    """Forecasts of fitted forecasters from each origin; one that raises stands under `failures` with its exception.

    A row that a forecaster left without numbers stays NaN: `score` fills it, and counts it. With `verify`, a forecaster
    that looked ahead has failed. Raises ConfigError when two forecasters have one name.
    """
    names = [forecaster.name for forecaster in forecasters]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"two forecasters are called {twice[0]!r}; expected different names. Leave one out, or rename it.")
    result = Backtest({}, {})
    quantiles = check_quantiles(quantiles)
    past, rows = known_part(panel, origins)
    for done, forecaster in enumerate(forecasters):
        if progress:
            progress(done, len(forecasters), forecaster.name)
        try:
            forecast = forecaster.predict(past, horizon, quantiles=quantiles, origins=rows)
            check_rows(forecast, past, horizon=horizon, quantiles=quantiles, origins=rows)
            if verify:
                check_no_look_ahead(forecaster, past, horizon=horizon, quantiles=quantiles, origins=rows)
        except Exception as error:  # noqa: BLE001 -- one forecaster's failure is a result, and must not cost the others theirs
            result.failures[forecaster.name] = error
        else:
            result.forecasts[forecaster.name] = forecast
    if progress:
        progress(len(forecasters), len(forecasters), "")
    return result


def known_part(panel: Panel, origins: Origins) -> tuple[Panel, Origins]:
    """The series that have an origin, each up to its last one, and the same origins in that panel.

    >>> panel = Panel(("a", "b"), np.array([0, 0]), np.array([0, 3, 6]), np.arange(6.0), Frequency("D"))
    >>> past, rows = known_part(panel, Origins(np.array([1, 1]), np.array([1, 2])))
    >>> past.ids, past.values, rows.index
    (('b',), array([3., 4.]), array([0, 0]))
    """
    last = np.zeros(len(panel), dtype=np.int64)
    np.maximum.at(last, origins.index, origins.known)
    past = panel.drop_last(panel.lengths - last)
    kept = np.flatnonzero(last)
    return past, Origins(np.searchsorted(kept, origins.index), origins.known)


def check_rows(forecast: Forecast, panel: Panel, *, horizon: int, quantiles: tuple[float, ...], origins: Origins) -> None:
    """Raises DataError when a forecast does not answer what was asked: these rows, leads and quantiles."""
    asked = (len(origins), horizon, len(quantiles))
    if forecast.values.shape != asked or forecast.quantiles != quantiles:
        raise DataError(
            f"the forecast has shape {forecast.values.shape} and quantiles {forecast.quantiles}; expected {asked} and "
            f"{quantiles}. Mend its predict."
        )
    ids = tuple(panel.ids[b] for b in origins.index)
    if forecast.ids != ids or not np.array_equal(forecast.origins, origins.positions(panel)):
        raise DataError("the forecast's rows are not those of the origins asked for, in their order. Mend its predict.")


def check_no_look_ahead(
    forecaster: Forecaster, panel: Panel, *, horizon: int, quantiles: Sequence[float], origins: Origins
) -> None:
    """Raises AssertionError when a forecast changes with what comes after its origin.

    Forecasts from the first origin of each series are made with and without other values behind it, then those from the
    second, and so on; they must be equal to the bit. It costs two `predict` for each origin of a series.
    """
    for rows in _one_of_each_series(origins):
        chosen = Origins(origins.index[rows], origins.known[rows])
        before, after = (
            forecaster.predict(seen, horizon, quantiles=quantiles, origins=chosen).values
            for seen in (panel, _with_another_future(panel, chosen))
        )
        same = ((before == after) | (np.isnan(before) & np.isnan(after))).all(axis=(1, 2))
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            raise AssertionError(
                f"{forecaster.name} looks ahead: its forecast of series {panel.ids[chosen.index[row]]!r} after "
                f"{chosen.known[row]} values changed with values that come later. Mend its predict."
            )


def _one_of_each_series(origins: Origins) -> list[NDArray[np.int64]]:
    """Rows in groups that hold each series at most once: all first origins, all second ones, …"""
    order = np.lexsort((origins.known, origins.index))
    index = origins.index[order]
    first = np.flatnonzero(np.diff(index, prepend=-1))
    rank = np.arange(len(index)) - np.repeat(first, np.diff(np.append(first, len(index))))
    return [order[rank == k] for k in range(int(rank.max(initial=-1)) + 1)]


def _with_another_future(panel: Panel, origins: Origins) -> Panel:
    """The panel with other values after each origin: larger, of either sign, every seventh missing."""
    known = panel.lengths.copy()
    known[origins.index] = origins.known
    within = np.arange(len(panel.values)) - np.repeat(panel.offsets[:-1], panel.lengths)
    future = within >= np.repeat(known, panel.lengths)
    other = 1_000 * (1 + np.abs(np.nan_to_num(panel.values))) * np.where(within % 2, -1.0, 1.0)
    other[within % 7 == 3] = np.nan
    return replace(panel, values=np.where(future, other, panel.values))
