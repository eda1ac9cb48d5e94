"""From a run to a leaderboard."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from forecaster.baselines import Baseline, BaselineStepper, make_baselines
from forecaster.errors import ConfigError
from forecaster.evaluation.answers import SERIES_AT_ONCE, Answers, Warm, given, predicted, refitted, stepped
from forecaster.evaluation.backtest import rolling_origins
from forecaster.evaluation.champions import ChampionTable
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.losses import paired_losses
from forecaster.evaluation.scores import Scores, scores_by_lead, scores_by_origin_time, scores_by_series
from forecaster.evaluation.verdict import leaderboard_summary
from forecaster.forecast import Stepper
from forecaster.ingest import ColumnNames
from forecaster.jobs.champions import (
    CHAMPIONS,
    COMBINATION,
    champions_forecaster,
    champions_of,
    evidence_stride,
    keep_champions,
    read_champions,
)
from forecaster.jobs.home import Home
from forecaster.jobs.others import OtherForecasts, covered_origins, read_forecasts
from forecaster.jobs.question import Progress, Question, Say, ask, stride_of
from forecaster.jobs.results import KeptForecasts, check_chart, draw_results, draw_scores, write_results
from forecaster.jobs.runs import Run
from forecaster.models.network import torch_threads
from forecaster.models.recurrent import Recurrent
from forecaster.series import Panel

By = Literal["lead", "series", "origin"]

NUMBERS_AT_ONCE = 20_000_000  # of the forecasts of one who answers in batch: 160 MB


def evaluate(
    run: Run,
    *,
    home: Home,
    actuals: Sequence[str] = (),
    columns: ColumnNames = ColumnNames(),  # noqa: B008 - frozen
    time_format: str | None = None,
    others: Sequence[str] = (),
    stride: int | None = None,
    refit_every: int | None = None,
    by: By | None = None,
    chart: Path | None = None,
    say: Say,
    progress: Progress,
) -> dict[str, Any]:
    """Score the network against the baselines and write what was found into the run, champions included.

    Without `actuals`, from rolling origins, `stride` steps apart, in the part that the judged weights have not seen, every
    baseline fitted before it, or anew with every `refit_every`-th origin. With files of actual values, from the end of the panel
    as it was trained on; champions chosen before then take part. `others` are files of forecasts that somebody else made. Returns
    what `--json` prints, with a breakdown `by` lead, series or origin where one is asked for.

    Raises ConfigError when the run held nothing back and no actual values are given, DataError for files that do not match.
    """
    if chart:
        check_chart(chart)
    question, network = ask(run, home, actuals, columns=columns, time_format=time_format, stride=stride, say=say)
    taken = {network.name, CHAMPIONS, COMBINATION, question.reference, *run.config.baselines.names}
    files = read_forecasts(others, frequency=question.panel.frequency, horizon=question.horizon, taken=sorted(taken))
    question = _covered(question, files, say=say)
    baselines = _fitted(run, home, question, say=say, progress=progress)
    with torch_threads(1):
        answers = _answers(question, network, baselines, refit_every=refit_every)
        own = tuple(answers)
        if question.kind == "actuals":
            answers |= _champions_answers(run, home, question, network, progress=progress)
        for file in files:
            answers |= {name: given(forecast) for name, forecast in file.forecasts.items()}
        kept = KeptForecasts(
            question.panel,
            question.origins,
            horizon=question.horizon,
            quantiles=len(question.quantiles),
            forecasters=len(answers),
        )
        at_once = _series_at_once(question, network, is_batch=len(answers) > len(own))
        scores = question.score(answers, progress=progress, at_once=at_once, listen=kept.hear)
        scores = _with_notes(scores, baselines)
        leaderboard = rank(scores)
        table, told = None, None
        if question.kind == "evaluation":
            known = scores if not (refit_every or files) else None
            table, told = _choose(run, question, network, baselines, known=known, progress=progress)
    summary = leaderboard_summary(leaderboard, network.name) | _told(run, question) | {"champions": told}
    forecasts = kept.forecasts(list(scores.tallies))
    draw_results(question.panel, question.came, forecasts, leaderboard, summary=summary, folder=run.path / question.kind)
    write_results(
        run,
        question.kind,
        leaderboard,
        forecasts,
        came=question.came,
        baselines=baselines,
        champions=table,
        summary=summary,
    )
    if chart:
        draw_scores(leaderboard, summary, chart)
    return summary | ({"by": _breakdown(scores, by, leaderboard.measure)} if by else {})


def choose(run: Run, *, home: Home, say: Say, progress: Progress) -> dict[str, Any]:
    """Choose a run's champions as `evaluate` does, score nothing else, and keep them with the run; what is told of them.

    Raises ConfigError when the run held nothing back to choose them on.
    """
    question, network = ask(run, home, (), say=say)
    baselines = _fitted(run, home, question, say=say, progress=progress)
    with torch_threads(1):
        table, told = _choose(run, question, network, baselines, known=None, progress=progress)
    if table is None or told is None:
        raise ConfigError(
            f"run {run.path.name!r}: nobody could be scored on the part that was held back, so there are no champions. "
            "Look at the panel's last values."
        )
    keep_champions(run, table)
    return told


def _covered(question: Question, files: Sequence[OtherForecasts], *, say: Say) -> Question:
    """The same question from those origins only that every file answers."""
    origins = covered_origins(files, question.panel, question.origins)
    if len(origins) < len(question.origins):
        series = len(np.unique(origins.index))
        say(
            f"the files have forecasts from {len(origins):,} of {len(question.origins):,} origins, of {series:,} series: "
            "everybody is scored on those"
        )
    return replace(question, origins=origins)


def _told(run: Run, question: Question) -> dict[str, Any]:
    """What was asked, as `--json` prints it."""
    return {
        "run": str(run.path),
        "panel": run.facts.panel,
        "origins": len(question.origins) // max(question.series, 1),
        "series": question.series,
        "horizon": question.horizon,
        "season_length": question.season_length,
        "kind": question.kind,
    }


# -- who answers -----------------------------------------------------------------------------------------------------------


def _fitted(run: Run, home: Home, question: Question, *, say: Say, progress: Progress) -> list[Baseline]:
    """Every baseline, fitted on the history; the reference of the scores is among them, with the season that scales these."""
    reference = question.reference
    names = tuple(name for name in run.config.baselines.names if name != reference)
    config = run.config.baselines.model_copy(update={"names": names})
    yardstick = run.config.baselines.model_copy(update={"names": (reference,), "season_length": question.season_length})
    say(f"fitting {', '.join((*names, reference))} on {len(question.history):,} series")
    baselines = [
        *make_baselines(config, progress=progress, cache=home.fits),
        *make_baselines(yardstick, progress=progress, cache=home.fits),
    ]
    return [baseline.fit(question.history) for baseline in baselines]


def _answers(
    question: Question, network: Recurrent, baselines: Sequence[Baseline], *, refit_every: int | None = None
) -> dict[str, Answers]:
    """The network and the baselines, each in one walk through the panel; covariates are known to the network's batches only."""
    answers: dict[str, Answers] = {network.name: stepped(network, network.warm)}
    if network.inputs.known:
        answers = {network.name: predicted(network, question.horizon, question.quantiles)}
    for baseline in baselines:
        if refit_every:
            answers[baseline.name] = refitted(_refit(question, baseline), refit_every)
        else:
            stepper = _stepper(question, baseline)
            answers[baseline.name] = stepped(stepper, stepper.warm)
    return answers


def _refit(question: Question, baseline: Baseline) -> Callable[[Panel], tuple[Stepper, Warm]]:
    def fit(history: Panel) -> tuple[Stepper, Warm]:
        stepper = _stepper(question, baseline.fit(history))
        return stepper, stepper.warm

    return fit


def _stepper(question: Question, baseline: Baseline) -> BaselineStepper:
    return baseline.stepper(question.panel.frequency, horizon=question.horizon, quantiles=question.quantiles)


def _champions_answers(run: Run, home: Home, question: Question, network: Recurrent, *, progress: Progress) -> dict[str, Answers]:
    """Champions and their combination, where an evaluation before has chosen them."""
    table = read_champions(run)
    if table is None:
        return {}
    both = [
        champions_forecaster(run, table, question.panel, network, is_combined=combined, fits=home.fits, progress=progress)
        for combined in (False, True)
    ]
    return {one.name: predicted(one, question.horizon, question.quantiles) for one in both}


def _series_at_once(question: Question, network: Recurrent, *, is_batch: bool) -> int:
    """So many series that the forecasts of one who answers in batch are not too many to hold."""
    if not (is_batch or network.inputs.known):
        return SERIES_AT_ONCE
    origins = len(question.origins) / max(question.series, 1)
    return max(1, min(SERIES_AT_ONCE, int(NUMBERS_AT_ONCE / max(origins * question.horizon * len(question.quantiles), 1))))


def _with_notes(scores: Scores, baselines: Sequence[Baseline]) -> Scores:
    """The scores with how many series each baseline has something to say about."""
    notes = {
        baseline.name: sum(fit.fallback is not None or fit.remark is not None for fit in baseline.fit_report)
        for baseline in baselines
    }
    tallies = {name: replace(tally, notes=notes.get(name, 0)) for name, tally in scores.tallies.items()}
    return replace(scores, tallies=tallies)


# -- what follows ----------------------------------------------------------------------------------------------------------


def _choose(
    run: Run, question: Question, network: Recurrent, baselines: Sequence[Baseline], *, known: Scores | None, progress: Progress
) -> tuple[ChampionTable | None, dict[str, Any] | None]:
    """Champions on origins near to each other, never refitted; `known` are the scores of the question, where they may serve."""
    stride = evidence_stride(question.horizon, stride_of(run))
    origins = rolling_origins(question.panel, run.facts.holdout, horizon=question.horizon, stride=stride)
    if known is None or len(origins) != len(question.origins):
        asked = replace(question, origins=origins)
        answers = _answers(asked, network, baselines)
        known = asked.score(answers, progress=progress, at_once=_series_at_once(asked, network, is_batch=False))
    losses = paired_losses(rank(known))
    if not losses.forecasters or not len(losses.values):
        return None, None
    return champions_of(losses)


def _breakdown(scores: Scores, by: By, measure: str) -> dict[str, Any]:
    """The scores by lead, series or time of origin, as rows; what is undefined is null."""
    frames = {"lead": scores_by_lead, "series": scores_by_series, "origin": scores_by_origin_time}
    column = {"lead": "lead", "series": "unique_id", "origin": "origin"}[by]
    frame = frames[by](scores)
    if by == "origin" and len(frame):
        frame["origin"] = frame["origin"].map(str)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records") if len(frame) else []
    return {"by": by, "column": column, "measure": "smape" if measure == "smape" else "mase", "rows": rows}
