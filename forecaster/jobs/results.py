"""What an evaluation leaves in the folder of its run: scores, forecasts, fits, champions and pictures."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.baselines import Baseline
from forecaster.errors import ConfigError, DataError
from forecaster.evaluation.actuals import actuals_frame, actuals_matrix
from forecaster.evaluation.champions import ChampionTable
from forecaster.evaluation.leaderboard import Leaderboard
from forecaster.evaluation.ledger import Index
from forecaster.evaluation.scores import scores_by_lead, scores_by_origin, scores_by_series
from forecaster.forecast import Forecast, quantile_column
from forecaster.jobs.runs import Run
from forecaster.jobs.whole import write_whole
from forecaster.report.charts import FORMATS, forecast_chart, leaderboard_chart, save_chart
from forecaster.report.scores import scores_chart
from forecaster.series import Origins, Panel, Values

CHARTED = 6
MOST_KEPT = 20_000_000  # numbers of all forecasts together: 160 MB; beyond it the last origin of each series is kept


class KeptForecasts:
    """The forecasts that are kept of those that are scored: all of them, or, of very many, those from the last origins."""

    def __init__(self, panel: Panel, origins: Origins, *, horizon: int, quantiles: int, forecasters: int) -> None:
        self.panel, self.origins, self.horizon = panel, origins, horizon
        is_all = len(origins) * horizon * quantiles * forecasters <= MOST_KEPT
        self.rows = np.arange(len(origins)) if is_all else _last_rows(origins)
        self._place = np.full(len(origins), -1)
        self._place[self.rows] = np.arange(len(self.rows))
        self._values: dict[str, Values] = {}
        self._quantiles: dict[str, tuple[float, ...]] = {}

    def hear(self, name: str, rows: Index, values: Values, quantiles: tuple[float, ...]) -> None:
        """Keep what a forecaster said of some rows."""
        if name not in self._values:
            self._values[name] = np.full((len(self.rows), self.horizon, len(quantiles)), np.nan)
            self._quantiles[name] = quantiles
        kept = self._place[rows] >= 0
        self._values[name][self._place[rows][kept]] = values[kept]

    def forecasts(self, names: Sequence[str]) -> dict[str, Forecast]:
        """What was kept, by name, in the order of the names; those that said nothing are left out."""
        index = self.origins.index[self.rows]
        ids = tuple(self.panel.ids[b] for b in index)
        positions = Origins(index, self.origins.known[self.rows]).positions(self.panel)
        return {
            name: Forecast(ids, positions, self._quantiles[name], self._values[name], self.panel.frequency, {})
            for name in names
            if name in self._values
        }


def draw_results(
    panel: Panel, came: Panel, forecasts: dict[str, Forecast], leaderboard: Leaderboard, *, summary: dict[str, Any], folder: Path
) -> None:
    """The leaderboard, and what the network and the best of the others said of a few series, beside what came."""
    save_chart(leaderboard_chart(leaderboard, title=str(summary["panel"])), folder / "leaderboard.png")
    names = [row.forecaster for row in leaderboard.rows if row.forecaster in forecasts]
    if not names:
        return
    ours = next(iter(forecasts))
    others = {name: forecasts[name] for name in names if name != ours}
    figure = forecast_chart(
        panel,
        forecasts[ours],
        ids=tuple(dict.fromkeys(forecasts[ours].ids))[:CHARTED],
        actuals=came,
        title=f"{summary['panel']}: what was forecast, and what came",
        label=ours,
        others=dict(list(others.items())[:1]),
    )
    save_chart(figure, folder / "forecasts.png")


def check_chart(path: Path) -> None:
    """Raises ConfigError for a name that no picture can have, before anything is computed for it."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--chart {str(path)!r} ends in {path.suffix!r}; expected {' or '.join(FORMATS)}. Rename it.")


def draw_scores(leaderboard: Leaderboard, summary: dict[str, Any], path: Path) -> Path:
    """The picture that `--chart` asks for; raises DataError when it cannot be written."""
    best = [row["forecaster"] for row in summary["leaderboard"] if row["may_be_best"]]
    try:
        return save_chart(scores_chart(leaderboard, may_be_best=best, title=str(summary["panel"])), path)
    except OSError as error:
        raise DataError(f"--chart {path}: cannot be written ({error.strerror}). Name a file in a folder of yours.") from error


def write_results(
    run: Run,
    kind: str,
    leaderboard: Leaderboard,
    forecasts: dict[str, Forecast],
    *,
    came: Panel,
    baselines: list[Baseline],
    champions: ChampionTable | None,
    summary: dict[str, Any],
) -> None:
    """Put the results into the run's folder of that kind; the leaderboard as JSON comes last."""
    folder = run.path / kind
    folder.mkdir(exist_ok=True)
    scores = leaderboard.scores
    said = [actuals_frame(name, one, actuals_matrix(one, came)) for name, one in forecasts.items()]
    columns = [quantile_column(q) for q in sorted({q for one in forecasts.values() for q in one.quantiles})]
    frames = {
        "by_series": scores_by_series(scores),
        "by_lead": scores_by_lead(scores),
        "by_origin": scores_by_origin(scores),
        "fits": pd.DataFrame([_fit_row(baseline, fit) for baseline in baselines for fit in baseline.fit_report]),
    }
    if said:
        whole = pd.concat(said)
        frames["forecasts"] = whole[[name for name in whole if name not in columns] + columns]
    if champions:
        frames["champions"] = champions.to_frame()
    for name, frame in frames.items():
        write_whole(folder / f"{name}.parquet", partial(frame.to_parquet, index=False))
    for baseline in baselines:
        write_whole(folder / f"fitted_{baseline.name}.parquet", partial(baseline.to_frame().to_parquet, index=False))
    write_whole(run.path / f"{kind}.json", json.dumps(summary, indent=1).encode())


def _last_rows(origins: Origins) -> Index:
    """The row of the last origin of each series."""
    order = np.lexsort((origins.known, origins.index))
    return np.sort(order[np.flatnonzero(np.diff(origins.index[order], append=-1))])


def _fit_row(baseline: Baseline, fit: Any) -> dict[str, Any]:
    row = asdict(fit)
    row["warnings"] = json.dumps(row["warnings"])
    return {"forecaster": baseline.name, **row}
