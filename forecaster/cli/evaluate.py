"""`forecast evaluate`: the run against the baselines."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from forecaster.cli.app import Json, RunName, mistakes_told

By = Literal["lead", "series", "origin"]


def evaluate(
    run: RunName,
    actuals: Annotated[list[str] | None, typer.Option(help="What came after the panel's end: a file; may be repeated.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Of the actual values: the column of the series' names.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Of the actual values: the column of times.")] = None,
    value_column: Annotated[str | None, typer.Option(help="Of the actual values: the column of values.")] = None,
    time_format: Annotated[str | None, typer.Option(help="Of the actual values: how times are written.")] = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="FILE", help="Forecasts of somebody else, as `forecast predict` writes them. Repeatable."),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(min=1, help="Steps between origins; 1: every origin; the horizon, or as trained, otherwise.")
    ] = None,
    refit_every: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Fit the baselines anew with every N-th origin; never otherwise.")
    ] = None,
    by: Annotated[By | None, typer.Option(help="A second table: the scores by lead, by series or by origin.")] = None,
    chart: Annotated[Path | None, typer.Option(help="A picture of the scores, .png or .svg.")] = None,
    json: Json = False,
) -> None:
    """Hold the network against smoothing and ARIMA, from the same origins, by the same measures.

    Marks what is better than luck, and chooses a champion for each series, for `forecast predict RUN --forecaster champions`.

    `forecast evaluate RUN`

    `forecast evaluate RUN --stride 1 --by lead --chart scores.png`

    `forecast evaluate RUN --actuals m4_hourly_test.parquet --with theirs.parquet --json`
    """
    with mistakes_told():
        from forecaster.ingest import ColumnNames
        from forecaster.jobs.evaluate import evaluate as evaluate_run
        from forecaster.jobs.home import Home
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_breakdown, print_json, print_leaderboard

        talk, home = Talk(), Home.here()
        with talk.progress("evaluating") as progress:
            summary = evaluate_run(
                Run.open(run, home),
                home=home,
                actuals=actuals or (),
                columns=ColumnNames(id_column, time_column, value_column),
                time_format=time_format,
                others=others or (),
                stride=stride,
                refit_every=refit_every,
                by=by,
                chart=chart,
                say=talk.say,
                progress=progress,
            )
        if json:
            print_json(summary)
            return
        print_leaderboard(summary)
        if by:
            print_breakdown(summary["by"], [row["forecaster"] for row in summary["leaderboard"]])
