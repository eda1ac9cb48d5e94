"""Small real forecasters and panels for the tests of evaluation."""

from dataclasses import dataclass

import numpy as np

from forecaster.errors import DataError
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import backtest, rolling_origins
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.metrics import SCORE_QUANTILES
from forecaster.evaluation.scores import score
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency
from forecaster.series import Panel

STEPS = Frequency("step", is_numbered=True)
HORIZON = 4


@dataclass(frozen=True)
class Repeat:
    """Says the last `season_length` values again, shifted and spread: the seasonal naive with something wrong with it."""

    name: str
    season_length: int = 1
    shift: float = 0.0
    spread: float = 1.0
    silent_on: str = ""
    raises: str = ""
    peeks: bool = False

    def fit(self, panel):
        return self

    def predict(self, panel, horizon, *, quantiles, origins):
        if self.raises:
            raise DataError(self.raises)
        leads = np.arange(horizon)
        values = np.empty((len(origins), horizon, len(quantiles)))
        for row, (b, known) in enumerate(zip(origins.index, origins.known, strict=True)):
            past = panel.series(b) if self.peeks else panel.series(b)[:known]
            season = past[-min(self.season_length, known) :]
            point = season[leads % len(season)] + self.shift
            values[row] = point[:, None] + self.spread * (np.array(quantiles) - 0.5)
            if panel.ids[b] == self.silent_on:
                values[row] = np.nan
        ids = tuple(panel.ids[b] for b in origins.index)
        notes = {self.silent_on: "said nothing"} if self.silent_on in ids else {}
        return Forecast(ids, origins.positions(panel), tuple(quantiles), values, panel.frequency, notes)


def waves(series=12, length=60, seed=3, prefix="s"):
    """Series with a season of 4 and noise, ending at different times."""
    rng = np.random.default_rng(seed)
    values = [
        10 * (b + 1) + 3 * np.sin(np.arange(length + b) * np.pi / 2) + 0.3 * rng.normal(size=length + b) for b in range(series)
    ]
    offsets = np.concatenate([[0], np.cumsum([len(y) for y in values])])
    ids = tuple(f"{prefix}{b:03d}" for b in range(series))
    return Panel(ids, np.arange(series), offsets, np.concatenate(values), STEPS)


def scored(forecasters, panel, holdout=12, stride=HORIZON, verify=False, **options):
    """The scores of a backtest over rolling origins."""
    origins = rolling_origins(panel, holdout, horizon=HORIZON, stride=stride)
    made = backtest(forecasters, panel, horizon=HORIZON, quantiles=SCORE_QUANTILES, origins=origins, verify=verify)
    some = next(iter(made.forecasts.values()), None)
    actuals = actuals_matrix(some, panel) if some else np.empty((0, HORIZON))
    return score(made, history=panel, actuals=actuals, season_length=1, **options)


def compare(forecasters, panel, **options):
    """Their leaderboard."""
    return rank(scored(forecasters, panel, **options))


def of(forecaster, frame):
    """The rows of a frame that are about one forecaster."""
    return frame[frame["forecaster"] == forecaster]
