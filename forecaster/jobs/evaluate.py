"""From a run to a leaderboard."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from forecaster.baselines import Baseline, make_baselines
from forecaster.errors import ConfigError
from forecaster.evaluation.actuals import actuals_frame, actuals_matrix, match_actuals
from forecaster.evaluation.backtest import Backtest, backtest, rolling_origins, scale_season_length
from forecaster.evaluation.leaderboard import Leaderboard, rank
from forecaster.evaluation.scores import score, scores_by_lead, scores_by_origin, scores_by_series
from forecaster.evaluation.verdict import leaderboard_summary
from forecaster.forecast import Forecaster
from forecaster.ingest import PanelStore, read_panel
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.report.charts import forecast_chart, leaderboard_chart, save_chart
from forecaster.series import Origins, Panel, Values

Progress = Callable[[int, int, str], None]

CHARTED = 6


def evaluate(
    run: Run, *, home: Home, actuals: Sequence[str] = (), say: Callable[[str], None], progress: Progress
) -> dict[str, Any]:
    """Score the network against the baselines and write what was found into the run.

    Without `actuals`, from rolling origins in the part that the judged weights have not seen, every baseline fitted before
    it. With files of actual values, from the end of the panel as it was trained on. Returns what `--json` prints.
    Raises ConfigError when the run held nothing back and no actual values are given.
    """
    panel = run.known_part(PanelStore(home.panels).load(run.facts.panel))
    if panel.fingerprint != run.facts.panel_fingerprint:
        say("the panel was ingested again since the training: it is scored as far as it reached then, with its revised values")
    given = read_panel(actuals, like=panel.frequency) if actuals else None
    if given is not None:
        kind, history, origins = "actuals", panel, Origins.back(panel)
        network = load_recurrent(run.deployed_weights)
    else:
        kind, history = "evaluation", panel.drop_last(run.facts.holdout)
        origins = _rolling(run, panel)
        network = load_recurrent(run.judged_weights)
    season = run.config.evaluation.season_length or scale_season_length(panel.frequency)
    baselines = _fitted(run, history, season_length=season, say=say, progress=progress)
    forecasters: list[Forecaster] = [network, *baselines]
    result = backtest(
        forecasters, panel, horizon=run.facts.horizon, quantiles=run.config.quantiles, origins=origins, progress=progress
    )
    truth = _truth(result, panel, given, say=say)
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
    _write(run, panel, kind, leaderboard, result, truth, baselines=baselines, summary=summary)
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


def _truth(result: Backtest, panel: Panel, actuals: Panel | None, *, say: Callable[[str], None]) -> Values:
    some = next(iter(result.forecasts.values()))
    if actuals is None:
        return actuals_matrix(some, panel)
    matched = match_actuals(some, actuals)
    for ids, what in ((matched.without_actuals, "have no actual values"), (matched.without_forecast, "were never trained on")):
        if ids:
            say(f"{len(ids)} series {what}, such as {ids[0]!r}; they are left out")
    return matched.values


def _chart_forecasts(panel: Panel, result: Backtest, summary: dict[str, Any], path: Path) -> None:
    """What the network, and the best of the others, said of a few series from the last origin, beside what happened."""
    names = [str(row["forecaster"]) for row in summary["leaderboard"] if row["forecaster"] in result.forecasts]
    ours = next(iter(result.forecasts))
    others = {name: result.forecasts[name] for name in names if name != ours}
    best = dict(list(others.items())[:1])
    title = f"{summary['panel']}: what was forecast, and what came"
    ids = tuple(dict.fromkeys(result.forecasts[ours].ids))[:CHARTED]
    figure = forecast_chart(panel, result.forecasts[ours], ids=ids, actuals=panel, title=title, label=ours, others=best)
    save_chart(figure, path)


def _write(
    run: Run,
    panel: Panel,
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
    save_chart(leaderboard_chart(leaderboard, title=str(summary["panel"])), folder / "leaderboard.png")
    _chart_forecasts(panel, result, summary, folder / "forecasts.png")
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
