"""What really happened, in the rows and leads of a forecast."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.errors import DataError
from forecaster.forecast import Forecast
from forecaster.series import Panel, Values


@dataclass(frozen=True)
class MatchedActuals:
    """The actual values of a forecast [B, L], NaN where not known, and the series that only one of the two sides has."""

    values: Values
    without_actuals: tuple[str, ...]
    without_forecast: tuple[str, ...]


def actuals_matrix(forecast: Forecast, panel: Panel) -> Values:
    """What the panel holds at the positions that each row forecasts [B, L]; NaN where it is not known (yet)."""
    place = {unique_id: b for b, unique_id in enumerate(panel.ids)}
    index = np.array([place.get(unique_id, -1) for unique_id in forecast.ids], dtype=np.int64)
    table = np.full((len(forecast.ids), forecast.horizon), np.nan)
    if not len(panel):
        return table
    within = forecast.origins[:, None] + np.arange(1, forecast.horizon + 1) - panel.starts[index][:, None]  # [B, L]
    held = (index >= 0)[:, None] & (within >= 0) & (within < panel.lengths[index][:, None])
    table[held] = panel.values[(panel.offsets[index][:, None] + within)[held]]
    return table


def match_actuals(forecast: Forecast, actuals: Panel) -> MatchedActuals:
    """`actuals_matrix` for values that came from elsewhere, with what did not match.

    Raises DataError when no value falls on any position that was forecast, or when the two count time differently.
    """
    if actuals.frequency != forecast.frequency:
        raise DataError(
            f"the actual values are read with {actuals.frequency}, the forecasts are made with {forecast.frequency}; "
            "expected the same. Read the actual values with the frequency of the training panel."
        )
    values = actuals_matrix(forecast, actuals)
    known = ~np.isnan(values).all(axis=1)
    if not known.any():
        raise DataError(_nothing_matches(forecast, actuals))
    matched = set(np.asarray(forecast.ids, dtype=object)[known])
    return MatchedActuals(
        values,
        without_actuals=tuple(sorted(set(forecast.ids) - matched)),
        without_forecast=tuple(sorted(set(actuals.ids) - set(forecast.ids))),
    )


def actuals_frame(forecaster: str, forecast: Forecast, actuals: Values) -> pd.DataFrame:
    """`Forecast.to_frame` with a column forecaster in front and the actual values [B, L] as y behind lead."""
    frame = forecast.to_frame()
    frame.insert(0, "forecaster", forecaster)
    frame.insert(list(frame.columns).index("lead") + 1, "y", actuals.ravel())
    return frame


def _nothing_matches(forecast: Forecast, actuals: Panel) -> str:
    if not len(forecast.ids) or not len(actuals):
        return f"{len(forecast.ids)} forecasts against actual values of {len(actuals)} series; expected some of both."
    shared = sorted(set(forecast.ids) & set(actuals.ids))
    asked = _range(forecast, int(forecast.origins.min()) + 1, int(forecast.origins.max()) + forecast.horizon)
    given = _range(forecast, int(actuals.starts.min()), int(actuals.ends.max()))
    if shared:
        return (
            f"none of the actual values, which reach from {given}, falls on a time that was forecast, from {asked} "
            f"({len(shared)} series are in both, such as {shared[0]!r}). Give the values that follow the end of training."
        )
    return (
        f"the actual values are of series such as {actuals.ids[0]!r} ({given}), the forecasts of series such as "
        f"{forecast.ids[0]!r} ({asked}), and none is in both. Give actual values under the ids of the training panel."
    )


def _range(forecast: Forecast, first: int, last: int) -> str:
    labels = forecast.frequency.labels(np.array([first, last]))
    return f"{labels.iloc[0]} to {labels.iloc[1]}"
