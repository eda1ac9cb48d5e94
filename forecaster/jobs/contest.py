"""A challenger against the run that serves: the same origins, and neither may have seen what it is asked about."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.baselines import ModelName, make_baselines
from forecaster.errors import ConfigError
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import Progress, backtest, rolling_origins, scale_season_length
from forecaster.evaluation.leaderboard import Leaderboard, rank
from forecaster.evaluation.losses import Losses, paired_losses
from forecaster.evaluation.scores import score
from forecaster.evaluation.significance import significance
from forecaster.forecast import Forecast, Forecaster
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.operations.classes import classes_of
from forecaster.operations.decisions import ClassScore, Contest
from forecaster.series import Origins, Panel

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class AsTrained:
    """A forecaster under another name, that has seen nothing behind any origin.

    From the end of what the run was trained on, `deployed` speaks; before it, back to where the run held values back, `judged`.
    """

    name: str
    judged: Forecaster
    deployed: Forecaster
    ends: dict[str, int]

    def predict(self, panel: Panel, horizon: int, *, quantiles: Sequence[float], origins: Origins) -> Forecast:
        ends = np.array([self.ends.get(panel.ids[b], np.iinfo(np.int64).min) for b in origins.index], dtype=np.int64)
        is_after = origins.positions(panel) >= ends
        parts = [np.flatnonzero(is_after), np.flatnonzero(~is_after)]
        made = [
            speaker.predict(panel, horizon, quantiles=quantiles, origins=Origins(origins.index[rows], origins.known[rows]))
            for speaker, rows in zip((self.deployed, self.judged), parts, strict=True)
            if len(rows)
        ]
        values = np.empty((len(origins), horizon, len(tuple(quantiles))))
        for forecast, rows in zip(made, [rows for rows in parts if len(rows)], strict=True):
            values[rows] = forecast.values
        ids = tuple(panel.ids[b] for b in origins.index)
        return Forecast(ids, origins.positions(panel), tuple(quantiles), values, panel.frequency, {})


def hold_contest(champion: Run | ModelName, challenger: Run, panel: Panel, *, progress: Progress | None = None) -> Contest:
    """The losses of both from the rolling origins of the challenger that neither had seen behind.

    The challenger is judged by the weights that were trained without the last part, which is what its training says of it. Where
    no run serves, the champion is the baseline of that name. Raises ConfigError where there is no such origin.
    """
    ours, holdout = load_recurrent(challenger.judged_weights), challenger.facts.holdout
    asked, horizon, quantiles = AsTrained(CHALLENGER, ours, ours, {}), ours.horizon, ours.quantiles
    if isinstance(champion, Run):
        theirs = load_recurrent(champion.judged_weights)
        served = AsTrained(CHAMPION, theirs, load_recurrent(champion.deployed_weights), champion.known_ends())
        horizon = min(horizon, theirs.horizon)
        quantiles = tuple(quantile for quantile in quantiles if quantile in theirs.quantiles)
    else:
        (baseline,) = make_baselines(challenger.config.baselines.model_copy(update={"names": (champion,)}))
        fitted = baseline.fit(panel.drop_last(holdout))
        served = AsTrained(CHAMPION, fitted, fitted, {})
    stride = challenger.config.evaluation.stride or horizon
    origins = rolling_origins(panel, holdout, horizon=horizon, stride=stride) if holdout else Origins.back(panel, ())
    if isinstance(champion, Run):
        origins = _unseen_by(champion, panel, origins, served.ends)
    if not len(origins):
        who = repr(champion.path.name) if isinstance(champion, Run) else champion
        raise ConfigError(
            f"run {challenger.path.name!r} held back nothing that {who} had not seen either, so the two cannot be compared. "
            "Train with --set evaluation.origins=4 or more."
        )
    leaderboard = _scored([served, asked], challenger, panel, origins, horizon, quantiles, holdout, progress)
    return _summed_up(leaderboard, panel, len(origins) // max(len(set(origins.index.tolist())), 1))


def _unseen_by(champion: Run, panel: Panel, origins: Origins, ends: dict[str, int]) -> Origins:
    """The origins behind which a run's judged weights have not seen: those within its own held-back part, and after it."""
    never = np.iinfo(np.int64).min + champion.facts.holdout
    first = np.array([ends.get(panel.ids[b], never) - champion.facts.holdout for b in origins.index], dtype=np.int64)
    fair = origins.positions(panel) >= first
    return Origins(origins.index[fair], origins.known[fair])


def _scored(
    two: list[Forecaster],
    challenger: Run,
    panel: Panel,
    origins: Origins,
    horizon: int,
    quantiles: tuple[float, ...],
    holdout: int,
    progress: Progress | None,
) -> Leaderboard:
    """Both, and the yardstick, fitted on what was not held back."""
    config = challenger.config
    season = config.evaluation.season_length or scale_season_length(panel.frequency)
    history, reference = panel.drop_last(holdout), config.evaluation.reference
    yardstick = config.baselines.model_copy(update={"names": (reference,), "season_length": season})
    baselines = [baseline.fit(history) for baseline in make_baselines(yardstick)]
    made = backtest([*two, *baselines], panel, horizon=horizon, quantiles=quantiles, origins=origins, progress=progress)
    failed = [name for name in (CHAMPION, CHALLENGER) if name in made.failures]
    if failed:
        raise made.failures[failed[0]]
    truth = actuals_matrix(made.forecasts[CHALLENGER], panel)
    return rank(score(made, history=history, actuals=truth, season_length=season, reference=reference))


def _summed_up(leaderboard: Leaderboard, panel: Panel, origins: int) -> Contest:
    losses = paired_losses(leaderboard, (CHAMPION, CHALLENGER))
    found = significance(losses)
    rows = {name: leaderboard.row(name) for name in (CHAMPION, CHALLENGER)}
    coverage = {name: row.coverage_80 if row else float("nan") for name, row in rows.items()}
    p_value = next(iter(found.p_values.values()), float("nan"))
    return Contest(
        losses.measure,
        found.unit,
        found.units,
        origins,
        found.mean_losses.get(CHAMPION, float("nan")),
        found.mean_losses.get(CHALLENGER, float("nan")),
        p_value,
        coverage[CHAMPION],
        coverage[CHALLENGER],
        _by_class(losses, panel),
    )


def _by_class(losses: Losses, panel: Panel) -> tuple[ClassScore, ...]:
    """The mean losses on each class of the series that were scored."""
    if len(losses.forecasters) < 2:
        return ()
    ids, values = losses.by_series()
    place = {unique_id: b for b, unique_id in enumerate(panel.ids)}
    rows = np.array([place[unique_id] for unique_id in ids], dtype=np.int64)
    columns = [losses.forecasters.index(name) for name in (CHAMPION, CHALLENGER)]
    scores = []
    for name, members in classes_of(panel).items():
        chosen = values[members[rows]]
        if len(chosen):
            champion, challenger = chosen[:, columns].mean(axis=0).tolist()
            scores.append(ClassScore(name, len(chosen), champion, challenger))
    return tuple(scores)
