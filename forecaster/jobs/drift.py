"""How a run does on what came after its training, against how it did on what its training had held back."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forecaster.errors import DataError
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import scale_season_length
from forecaster.evaluation.metrics import error_scales
from forecaster.frequency import Positions
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.registry import list_runs
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.recurrent import Recurrent
from forecaster.operations.decisions import Decision, Situation, decide_training
from forecaster.operations.drift import Blocks, Drift, find_drift
from forecaster.operations.settings import OperationsConfig
from forecaster.series import Origins, Panel, Values

NAMED = 10


@dataclass(frozen=True)
class Watch:
    """The evidence on a run, and what a night would do about it."""

    run: str
    panel: str
    days_since_training: float | None
    growth: float
    drift: Drift
    decision: Decision

    def to_dict(self) -> dict[str, Any]:
        tree = asdict(self)
        series = dict(list(self.drift.series.items())[:NAMED])
        return tree | {"drift": tree["drift"] | {"series": series, "series_drifted": len(self.drift.series)}}

    def lines(self) -> list[str]:
        """The evidence for people."""
        found = self.drift
        lines = [
            f"run        {self.run}, {_days(self.days_since_training)} of data since a training ({100 * self.growth:.1f} %)",
            f"blocks     {found.blocks_then} of the reference, {found.blocks_now} since",
            f"error      {found.error_then:.3f} then, {found.error_now:.3f} now ({_p(found.p_error)})",
            f"coverage   {100 * found.coverage_then:.0f} % then, {100 * found.coverage_now:.0f} % now ({_p(found.p_coverage)})",
            f"series     {len(found.series):,} of {found.series_tested:,} moved beyond luck",
        ]
        lines += [f"{'':11}{name!r}: {factor:.2f} times the error" for name, factor in list(found.series.items())[:NAMED]]
        said = "would train" if self.decision.is_taken else "would not train"
        return [*lines, f"a night    {said}: {'; '.join(self.decision.reasons)}"]


def watch(run: Run, *, home: Home, config: OperationsConfig | None = None, held: str = "") -> Watch:
    """What speaks for training again, on the panel as it is stored now.

    Raises DataError when the panel counts time in another way than the run.
    """
    config = config or run.config.operations
    panel = PanelStore(home.panels).load(run.facts.panel)
    drift = measure_drift(run, panel, config)
    days, growth = since_last_training(run.facts.panel, panel, home)
    decision = decide_training(Situation(days, growth, drift, held), config.retrain)
    return Watch(run.path.name, run.facts.panel, days, growth, drift, decision)


def measure_drift(run: Run, panel: Panel, config: OperationsConfig) -> Drift:
    """The run's errors and coverage from origins a horizon apart: before its panel's end then, and after it."""
    network = load_recurrent(run.judged_weights)
    if panel.frequency != network.frequency:
        raise DataError(
            f"panel {run.facts.panel!r} has frequency {panel.frequency.alias}, the run was trained on {network.frequency.alias}. "
            "Train again on the panel as it is."
        )
    ends = run.known_ends()
    panel = panel.select([b for b, unique_id in enumerate(panel.ids) if unique_id in ends])
    known = np.array([ends[unique_id] for unique_id in panel.ids], dtype=np.int64) - panel.starts + 1
    horizon, season = run.facts.horizon, run.config.evaluation.season_length or scale_season_length(panel.frequency)
    scale = error_scales(panel, np.arange(len(panel)), np.maximum(known - run.facts.holdout, 1), season)
    before = range(run.facts.holdout, horizon - 1, -horizon)
    then = _blocks(network, panel, [known - back for back in before], until=known, horizon=horizon, scale=scale)
    most = int((panel.lengths - known).max(initial=0)) // horizon
    after = range(max(most - config.drift.recent_blocks, 0), most)
    deployed = load_recurrent(run.deployed_weights)
    now = _blocks(deployed, panel, [known + b * horizon for b in after], until=panel.lengths, horizon=horizon, scale=scale)
    return find_drift(then, now, config.drift)


def since_last_training(name: str, panel: Panel, home: Home) -> tuple[float | None, float]:
    """The days of data since the run that knows most was trained (None: there is none), and by how much the panel grew.

    Counted by data, not by the clock: a clock that jumps trains nothing. Steps without dates count as days.
    """
    last, reach = None, -np.inf
    for entry in list_runs(home, panel=name):
        run = Run.open(entry.run, home)
        end = max(run.known_ends().values(), default=0)
        if end >= reach:
            last, reach = run, end
    if last is None:
        return None, 0.0
    steps = int(panel.ends.max()) - int(reach)
    known = len(last.known_part(panel).values)
    days = 1.0 if panel.frequency.is_numbered else panel.frequency.days
    return steps * days, (len(panel.values) - known) / max(known, 1)


def _blocks(network: Recurrent, panel: Panel, known: list[Positions], *, until: Positions, horizon: int, scale: Values) -> Blocks:
    """Scores from so many known values of each series, a column for each; NaN where a series has no origin or end there."""
    errors, covered = (np.full((len(panel), len(known)), np.nan) for _ in range(2))
    rows = [
        (b, int(table[b]), column)
        for column, table in enumerate(known)
        for b in np.flatnonzero((table > 0) & (table + horizon <= until))
    ]
    if rows:
        index, count, column = np.array(rows, dtype=np.int64).T
        forecast = network.predict(panel, horizon, quantiles=(0.1, 0.5, 0.9), origins=Origins(index, count))
        y = actuals_matrix(forecast, panel)
        errors[index, column] = _mean_known(np.abs(y - forecast.median)) / scale[index]
        inside = (y >= forecast.values[:, :, 0]) & (y <= forecast.values[:, :, 2])
        covered[index, column] = _mean_known(np.where(np.isnan(y), np.nan, inside))
    return Blocks(panel.ids, errors, covered)


def _mean_known(values: Values) -> Values:
    """The mean over leads of what is known [R]; NaN where nothing is."""
    count = (~np.isnan(values)).sum(axis=1)
    return np.asarray(np.divide(np.nansum(values, axis=1), count, out=np.full(len(values), np.nan), where=count > 0))


def _days(days: float | None) -> str:
    return "no day" if days is None else f"{days:.3g} days"


def _p(value: float) -> str:
    return "too few to test" if np.isnan(value) else f"p {value:.3f}"
