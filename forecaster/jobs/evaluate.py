"""From a run to a leaderboard."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.baselines import Baseline, make_baselines
from forecaster.errors import ConfigError
from forecaster.evaluation.actuals import actuals_frame, actuals_matrix, match_actuals
from forecaster.evaluation.backtest import Backtest, backtest, rolling_origins, scale_season_length
from forecaster.evaluation.leaderboard import Leaderboard, rank
from forecaster.evaluation.scores import score, scores_by_lead, scores_by_origin, scores_by_series
from forecaster.evaluation.verdict import leaderboard_summary
from forecaster.forecast import Forecast, Forecaster
from forecaster.ingest import ColumnNames, PanelStore, read_panel
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.report.charts import forecast_chart, leaderboard_chart, save_chart
from forecaster.series import Origins, Panel, Values

Progress = Callable[[int, int, str], None]

CHARTED = 6


def evaluate(
    run: Run,
    *,
    home: Home,
    actuals: Sequence[str] = (),
    columns: ColumnNames = ColumnNames(),  # noqa: B008 - frozen
    time_format: str | None = None,
    say: Callable[[str], None],
    progress: Progress,
) -> dict[str, Any]:
    """Score the network against the baselines and write what was found into the run.

    Without `actuals`, from rolling origins in the part that the judged weights have not seen, every baseline fitted before
    it. With files of actual values, from the end of the panel as it was trained on. Returns what `--json` prints.
    Raises ConfigError when the run held nothing back and no actual values are given.
    """
    panel = run.known_part(PanelStore(home.panels).load(run.facts.panel))
    if panel.fingerprint != run.facts.panel_fingerprint:
        say("the panel was ingested again since the training: it is scored as far as it reached then, with its revised values")
    if actuals:
        kind, history, origins = "actuals", panel, Origins.back(panel)
        network = load_recurrent(run.deployed_weights)
    else:
        kind, history = "evaluation", panel.drop_last(run.facts.holdout)
        origins = _rolling(run, panel)
        network = load_recurrent(run.judged_weights)
    came = panel
    if actuals:
        came = read_panel(actuals, like=panel.frequency, columns=columns, time_format=time_format)
    truth = _truth(panel, origins, came, horizon=run.facts.horizon, is_given=bool(actuals), say=say)
    season = run.config.evaluation.season_length or scale_season_length(panel.frequency)
    baselines = _fitted(run, history, season_length=season, say=say, progress=progress)
    forecasters: list[Forecaster] = [network, *baselines]
    result = backtest(
        forecasters, panel, horizon=run.facts.horizon, quantiles=run.config.quantiles, origins=origins, progress=progress
    )
    scores = score(result, history=history, actuals=truth, season_length=season, reference=run.config.evaluation.reference)
    leaderboard = rank(scores)
    summary = leaderboard_summary(leaderboard, network.name) | {
        "run": str(run.path),
        "panel": run.facts.panel,
        "origins": len(origins) // max(len(set(origins.index.tolist())), 1),
        "horizon": run.facts.horizon,
        "season_length": season,
        "kind": kind,
    }
    _chart(panel, came, result, leaderboard, summary=summary, folder=run.path / kind)
    _write(run, kind, leaderboard, result, truth, baselines=baselines, summary=summary)
    return summary


def _rolling(run: Run, panel: Panel) -> Origins:
    if not run.facts.holdout:
        raise ConfigError(
            f"run {run.path.name!r} was trained on every value of {run.facts.panel!r}, so no part of it can score the run. "
            "Give what came after with --actuals FILE, or train with --set evaluation.origins=1 or more."
        )
    stride = run.config.evaluation.stride or run.facts.horizon
    return rolling_origins(panel, run.facts.holdout, horizon=run.facts.horizon, stride=stride)


def _fitted(run: Run, history: Panel, *, season_length: int, say: Callable[[str], None], progress: Progress) -> list[Baseline]:
    """Every baseline, fitted on the history; the reference of the scores is among them, with the season that scales these."""
    reference = run.config.evaluation.reference
    names = tuple(name for name in run.config.baselines.names if name != reference)
    config = run.config.baselines.model_copy(update={"names": names})
    yardstick = run.config.baselines.model_copy(update={"names": (reference,), "season_length": season_length})
    say(f"fitting {', '.join((*names, reference))} on {len(history):,} series")
    baselines = [*make_baselines(config, progress=progress), *make_baselines(yardstick, progress=progress)]
    return [baseline.fit(history) for baseline in baselines]


def _truth(panel: Panel, origins: Origins, came: Panel, *, horizon: int, is_given: bool, say: Callable[[str], None]) -> Values:
    """What came after each origin [B, L]; raises DataError when values that were given match no forecast."""
    ids = tuple(panel.ids[b] for b in origins.index)
    asked = Forecast(ids, origins.positions(panel), (0.5,), np.zeros((len(origins), horizon, 1)), panel.frequency, {})
    if not is_given:
        return actuals_matrix(asked, came)
    matched = match_actuals(asked, came)
    for some, what in ((matched.without_actuals, "have no actual values"), (matched.without_forecast, "were never trained on")):
        if some:
            say(f"{len(some)} series {what}, such as {some[0]!r}; they are left out")
    return matched.values


def _chart(
    panel: Panel, came: Panel, result: Backtest, leaderboard: Leaderboard, *, summary: dict[str, Any], folder: Path
) -> None:
    """The leaderboard, and what the network and the best of the others said of a few series, beside what came."""
    save_chart(leaderboard_chart(leaderboard, title=str(summary["panel"])), folder / "leaderboard.png")
    names = [row.forecaster for row in leaderboard.rows if row.forecaster in result.forecasts]
    if not names:
        return
    ours = next(iter(result.forecasts))
    others = {name: result.forecasts[name] for name in names if name != ours}
    figure = forecast_chart(
        panel,
        result.forecasts[ours],
        ids=tuple(dict.fromkeys(result.forecasts[ours].ids))[:CHARTED],
        actuals=came,
        title=f"{summary['panel']}: what was forecast, and what came",
        label=ours,
        others=dict(list(others.items())[:1]),
    )
    save_chart(figure, folder / "forecasts.png")


def _write(
    run: Run,
    kind: str,
    leaderboard: Leaderboard,
    result: Backtest,
    truth: Values,
    *,
    baselines: list[Baseline],
    summary: dict[str, Any],
) -> None:
    """Put the results into the run's folder of that kind; the leaderboard as JSON comes last."""
    folder = run.path / kind
    folder.mkdir(exist_ok=True)
    scores = leaderboard.scores
    for name, frame in (
        ("by_series", scores_by_series(scores)),
        ("by_lead", scores_by_lead(scores)),
        ("by_origin", scores_by_origin(scores)),
        ("forecasts", pd.concat([actuals_frame(name, f, truth) for name, f in result.forecasts.items()])),
        ("fits", pd.DataFrame([_fit_row(baseline, fit) for baseline in baselines for fit in baseline.fit_report])),
    ):
        _write_parquet(frame, folder / f"{name}.parquet")
    for baseline in baselines:
        _write_parquet(baseline.to_frame(), folder / f"fitted_{baseline.name}.parquet")
    beside = run.path / f"{kind}.json.part"
    beside.write_text(json.dumps(summary, indent=1), encoding="utf-8")
    os.replace(beside, run.path / f"{kind}.json")


def _fit_row(baseline: Baseline, fit: Any) -> dict[str, Any]:
    row = asdict(fit)
    row["warnings"] = json.dumps(row["warnings"])
    return {"forecaster": baseline.name, **row}


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    beside = path.with_name(path.name + ".part")
    frame.to_parquet(beside, index=False)
    os.replace(beside, path)
