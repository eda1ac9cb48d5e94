"""`forecast predict`: a run and its panel in, forecasts out."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli.app import FARTHEST, Json, RunName, mistakes_told


def predict(
    run: RunName,
    horizon: Annotated[
        int | None, typer.Option(min=1, max=FARTHEST, help="How far ahead; that of the training otherwise.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A .csv, .csv.gz, .parquet or .ndjson file; CSV on stdout otherwise.")] = None,
    chart: Annotated[Path | None, typer.Option(help="A picture of the first six series, .png or .svg.")] = None,
    forecaster: Annotated[
        str | None, typer.Option(help="In place of the network: champions, combination, or a baseline such as ses.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="One series; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Forecast every series of the panel, as it is stored now, from its end.

    `forecast predict RUN --horizon 24 --out forecasts.csv --chart forecasts.png`
    """
    with mistakes_told():
        from forecaster.jobs.home import Home
        from forecaster.jobs.predict import chart_forecast, write_forecast
        from forecaster.jobs.predict import predict as predict_run
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json

        talk, home = Talk(), Home.here()
        opened = Run.open(run, home)
        with talk.progress("forecasting") as progress:
            panel, forecast = predict_run(
                opened, home=home, horizon=horizon, forecaster=forecaster, only=only or (), say=talk.say, progress=progress
            )
        speaker = forecaster or opened.config.model.cell
        if chart:
            chart_forecast(panel, forecast, chart, title=opened.facts.panel, label=speaker)
        rows = 0
        if out or not json:
            rows = write_forecast(forecast, speaker, out or sys.stdout.buffer)
        done = {
            "run": str(opened.path),
            "forecaster": speaker,
            "series": len(forecast.ids),
            "horizon": forecast.horizon,
            "rows": rows,
        }
        done |= {"out": str(out) if out else None, "chart": str(chart) if chart else None, "notes": forecast.notes}
        if json:
            print_json(done)
        else:
            talk.say(f"{rows:,} rows for {len(forecast.ids):,} series" + (f" in {out}" if out else ""))
