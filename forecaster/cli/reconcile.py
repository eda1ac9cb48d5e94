"""`forecast reconcile`: forecasts of sums, and of what they sum, that agree."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli.app import FARTHEST, Json, RunName, mistakes_told


def reconcile(
    run: RunName,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN[,COLUMN]", help="A sum for each value of what never changes in a series; may be repeated."),
    ] = None,
    tree: Annotated[
        Path | None, typer.Option(help="A YAML file of names that hold names or lists of series, in place of --by.")
    ] = None,
    method: Annotated[str, typer.Option(help="bottom_up, ols, structural or mint.")] = "mint",
    horizon: Annotated[
        int | None, typer.Option(min=1, max=FARTHEST, help="How far ahead; that of the training otherwise.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A .csv, .csv.gz, .parquet or .ndjson file; CSV on stdout otherwise.")] = None,
    forecaster: Annotated[str | None, typer.Option(help="In place of the network: a baseline such as ses.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="One series; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Forecast every series of the panel and their sums, so that they add up.

    `forecast reconcile RUN --by region --by region,store --out forecasts.parquet`

    `forecast reconcile RUN --tree stores.yaml --method bottom_up`
    """
    with mistakes_told():
        from forecaster.jobs.hierarchy import reconciled
        from forecaster.jobs.home import Home
        from forecaster.jobs.predict import write_forecast
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json

        talk, home = Talk(), Home.here()
        opened = Run.open(run, home)
        with talk.progress("reconciling") as progress:
            hierarchy, forecast = reconciled(
                opened,
                home=home,
                by=by or (),
                tree=tree,
                method=method,
                horizon=horizon,
                forecaster=forecaster,
                only=only or (),
                say=talk.say,
                progress=progress,
            )
        speaker = f"{forecaster or opened.config.model.cell}+{method}"
        rows = write_forecast(forecast, speaker, out or sys.stdout.buffer) if out or not json else 0
        note = forecast.notes[hierarchy.sums[0]]
        done = {"run": str(opened.path), "forecaster": speaker, "sums": len(hierarchy.sums), "series": len(hierarchy.series)}
        done |= {"horizon": forecast.horizon, "rows": rows, "out": str(out) if out else None, "quantiles": note}
        if json:
            print_json(done)
        else:
            talk.say(f"{rows:,} rows for {len(forecast.ids):,} nodes" + (f" in {out}" if out else ""))
            talk.say(f"of a sum, {note}")
