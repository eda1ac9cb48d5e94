"""What passes between a method and the forecaster round it: a sample to fit, and the numbers found.

Fitted parameters are a dozen numbers and words for each series, in one table, never an object of statsmodels.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from forecaster.series import Values

Numbers = dict[str, float | str]


@dataclass(frozen=True)
class Sample:
    """The values of one series from position `start` on."""

    values: Values
    start: int
    season_length: int


@dataclass(frozen=True)
class Job:
    """One series to fit, as it travels to a worker process."""

    unique_id: str
    values: Values
    start: int
    season_length: int
    max_seconds: float | None


def column(parameters: pd.DataFrame, name: str) -> Values:
    """One number of every series [B], NaN where a series does not have it.

    >>> column(pd.DataFrame({"alpha": [0.5]}), "alpha"), column(pd.DataFrame({"alpha": [0.5]}), "phi")
    (array([0.5]), array([nan]))
    """
    if name not in parameters:
        return np.full(len(parameters), np.nan)
    return parameters[name].to_numpy(dtype=np.float64)
