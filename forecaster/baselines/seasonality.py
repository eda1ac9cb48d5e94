"""The season of a series, as the M4 competition found it and took it out: a test, then a classical decomposition.

An adjusted series is what is left when the seasonal indices are taken out; forecasts of it get them back. Indices are kept by
phase, the position modulo the season length, so that they hold wherever a panel begins. Gaps are interpolated here and only
here: for estimation, never for forecasting.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.baselines.parameters import Numbers, column
from forecaster.series import Values

Form = Literal["none", "additive", "multiplicative"]

CRITICAL_VALUE = 1.645  # the 90 % point of a two-sided normal test, as in the competition


@dataclass(frozen=True)
class Season:
    """How a season enters, and its indices by phase [m]: factors, or differences; differences of zero where there is none."""

    form: Form
    indices: Values

    def parameters(self) -> Numbers:
        """The numbers to keep: `form`, and `season_0` … by phase."""
        return {"form": self.form, **{f"season_{phase}": float(index) for phase, index in enumerate(self.indices)}}

    def adjust(self, values: Values, start: int) -> Values:
        """Values [T] from position `start` without their season."""
        index = self.indices[(start + np.arange(len(values))) % len(self.indices)]
        return values / index if self.form == "multiplicative" else values - index


def fill_gaps(values: Values) -> Values:
    """Values with straight lines across the gaps and the nearest value at the ends, for estimation only.

    >>> fill_gaps(np.array([np.nan, 1.0, np.nan, 3.0]))
    array([1., 1., 2., 3.])
    """
    seen = np.isfinite(values)
    times = np.arange(len(values))
    return values if seen.all() else np.interp(times, times[seen], values[seen])


def is_seasonal(values: Values, season_length: int) -> bool:
    """Whether the autocorrelation at the season length stands out, for a series of at least three seasons without gaps.

    Source: the SeasonalityTest of the M4 competition's benchmarks (Makridakis et al. 2020, doi:10.1016/j.ijforecast.2019.04.014).

    >>> is_seasonal(np.tile([1.0, 2.0, 3.0], 9), 3), is_seasonal(np.tile([1.0, 2.0, 3.0], 9), 4)
    (True, False)
    """
    m, count = season_length, len(values)
    if m < 2 or count < 3 * m:
        return False
    centred = values - values.mean()
    energy = float(centred @ centred)
    if energy <= 1e-24 * float(values @ values):
        return False
    correlations = np.array([centred[lag:] @ centred[:-lag] for lag in range(1, m + 1)]) / energy
    limit = CRITICAL_VALUE * np.sqrt((1 + 2 * float((correlations[:-1] ** 2).sum())) / count)
    return bool(abs(correlations[-1]) > limit)


def decompose(values: Values, start: int, season_length: int, form: Form) -> Season:
    """Indices of a series without gaps, of two seasons or more, by centred moving averages (statsmodels).

    Source: classical decomposition, as `decompose` of R, which the competition used.
    """
    from statsmodels.tsa.seasonal import seasonal_decompose

    found = seasonal_decompose(values, model=form, period=season_length).seasonal[:season_length]
    return Season(form, np.roll(found, start % season_length))


def find_season(values: Values, start: int, season_length: int) -> Season:
    """The season of a series: multiplicative where all values are positive, else additive; none where the test finds none.

    >>> find_season(np.tile([1.0, 2.0, 3.0], 9), start=1, season_length=3).indices
    array([1.5, 0.5, 1. ])
    """
    filled = fill_gaps(values)
    if not is_seasonal(filled, season_length):
        return Season("none", np.zeros(season_length))
    season = decompose(filled, start, season_length, "multiplicative" if filled.min() > 0 else "additive")
    if season.form == "multiplicative" and not (np.isfinite(season.indices).all() and season.indices.min() > 0):
        season = decompose(filled, start, season_length, "additive")
    return season


# -- the seasons of a whole panel, from the parameters of its series -----------------------------------------------------


def season_table(parameters: pd.DataFrame, season_length: int) -> tuple[Values, NDArray[np.bool_]]:
    """Indices by phase [B, m], and which series [B] have factors."""
    indices = np.stack([column(parameters, f"season_{phase}") for phase in range(season_length)], axis=1)
    forms = parameters["form"].to_numpy(dtype=object) if "form" in parameters else np.full(len(parameters), "none", dtype=object)
    return indices, np.asarray(forms == "multiplicative")


def pool_season(parameters: pd.DataFrame) -> Numbers:
    """The season of a series that no fit has seen: the median factor of each phase where most fitted series have factors.

    Differences have a unit, which a new series need not share: where they are the rule it begins without a season.

    >>> pool_season(pd.DataFrame({"form": ["multiplicative"] * 2, "season_0": [0.5, 0.7], "season_1": [1.5, 1.3]}))
    {'form': 'multiplicative', 'season_0': 0.6, 'season_1': 1.4}
    """
    phases = [name for name in parameters if str(name).startswith("season_") and name != "season_length"]
    is_factor = parameters["form"] == "multiplicative"
    if 2 * int(is_factor.sum()) <= len(parameters):
        return {"form": "none", **{str(name): 0.0 for name in phases}}
    return {"form": "multiplicative", **{str(name): float(parameters[name][is_factor].median()) for name in phases}}
