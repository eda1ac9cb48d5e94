"""What passes between a method and the forecaster round it: a sample to fit, the numbers found, a request for forecasts.

Fitted parameters are a dozen numbers and words for each series, in one table, never an object of statsmodels.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.series import Origins, Panel, Values

Numbers = dict[str, float | str]


@dataclass(frozen=True)
class Sample:
    """The values of one series from position `start` on; a search ends at `deadline`, on the clock of `perf_counter`."""

    values: Values
    start: int
    season_length: int
    deadline: float = float("inf")


@dataclass(frozen=True)
class Request:
    """Forecasts to make: for each row of `origins`, leads 1..horizon; `parameters` in the order of the panel's series."""

    panel: Panel
    parameters: pd.DataFrame
    season_length: int
    horizon: int
    origins: Origins

    def column(self, name: str) -> Values:
        """One number of every series [B], NaN where a series does not have it."""
        return column(self.parameters, name)

    def per_row(self, name: str) -> Values:
        """The same for each row of the origins, as a column [R, 1]."""
        return self.column(name)[self.origins.index][:, None]

    @property
    def lead_phases(self) -> NDArray[np.int64]:
        """The phase of each lead of each row [R, L]."""
        positions = self.origins.positions(self.panel)[:, None] + np.arange(1, self.horizon + 1)
        return np.asarray(positions % self.season_length)


def column(parameters: pd.DataFrame, name: str) -> Values:
    """One number of every series [B], NaN where a series does not have it.

    >>> column(pd.DataFrame({"alpha": [0.5]}), "alpha"), column(pd.DataFrame({"alpha": [0.5]}), "phi")
    (array([0.5]), array([nan]))
    """
    if name not in parameters:
        return np.full(len(parameters), np.nan)
    return parameters[name].to_numpy(dtype=np.float64)
