"""`forecast evaluate`: the run against the baselines."""

from typing import Annotated

import typer

from forecaster.cli.app import Json, RunName, mistakes_told


def evaluate(
    run: RunName,
    actuals: Annotated[list[str] | None, typer.Option(help="What came after the panel's end: a file; may be repeated.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Of the actual values: the column of the series' names.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Of the actual values: the column of times.")] = None,
    value_column: Annotated[str | None, typer.Option(help="Of the actual values: the column of values.")] = None,
    time_format: Annotated[str | None, typer.Option(help="Of the actual values: how times are written.")] = None,
    json: Json = False,
) -> None:
    """Hold the network against smoothing and ARIMA, from the same origins, by the same measures.

    `forecast evaluate RUN`

    `forecast evaluate RUN --actuals m4_hourly_test.parquet --json`
    """
    with mistakes_told():
        from forecaster.ingest import ColumnNames
        from forecaster.jobs.evaluate import evaluate as evaluate_run
        from forecaster.jobs.home import Home
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json, print_leaderboard

        talk, home = Talk(), Home.here()
        with talk.progress("evaluating") as progress:
            summary = evaluate_run(
                Run.open(run, home),
                home=home,
                actuals=actuals or (),
                columns=ColumnNames(id_column, time_column, value_column),
                time_format=time_format,
                say=talk.say,
                progress=progress,
            )
        print_json(summary) if json else print_leaderboard(summary)
