"""`forecast predict`: a run and its panel in, forecasts out."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forecaster.cli.app import FARTHEST, Json, mistakes_told

if TYPE_CHECKING:
    from forecaster.jobs.home import Home
    from forecaster.terminal import Talk


def predict(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run: its path, or its name under runs/.")] = None,
    live: Annotated[
        Path | None, typer.Option(metavar="STATE", help="In place of a run: what a live state says now; its stream goes on.")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(min=1, max=FARTHEST, help="How far ahead; that of the training otherwise.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A .csv, .csv.gz, .parquet or .ndjson file; CSV on stdout otherwise.")] = None,
    chart: Annotated[Path | None, typer.Option(help="A picture of the first six series, .png or .svg.")] = None,
    forecaster: Annotated[
        str | None, typer.Option(help="In place of the network: champions, combination, or a baseline such as ses.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="One series; may be repeated.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that the network forecasts in, some series each.")] = 1,
    json: Json = False,
) -> None:
    """Forecast every series of the panel, as it is stored now, from its end; or every live series, from where it is.

    `forecast predict --live state/RUN --only A`

    `forecast predict RUN --horizon 24 --out forecasts.csv --chart forecasts.png`
    """
    with mistakes_told():
        from forecaster.errors import ConfigError
        from forecaster.jobs.home import Home
        from forecaster.jobs.predict import Told, tell_notes
        from forecaster.jobs.predict import predict as predict_run
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json

        talk, home = Talk(), Home.here()
        if live is not None:
            _check_live(run=run, horizon=horizon, chart=chart, forecaster=forecaster)
            _predict_live(live, home, only=only or (), out=out, json=json, talk=talk)
            return
        if run is None:
            raise ConfigError("neither a run nor --live STATE was given. Name one: forecast predict RUN.")
        opened = Run.open(run, home)
        with talk.progress("forecasting") as progress:
            panel, forecasts = predict_run(
                opened,
                home=home,
                horizon=horizon,
                forecaster=forecaster,
                only=only or (),
                workers=workers,
                say=talk.say,
                progress=progress,
            )
            speaker = forecaster or opened.config.model.cell
            told = Told(panel, forecasts, chart=chart, title=opened.facts.panel, label=speaker)
            rows = told.write(out or (None if json else sys.stdout.buffer))
        tell_notes(told.notes, say=talk.say)
        done = {"run": str(opened.path), "forecaster": speaker, "series": len(panel), "horizon": told.horizon, "rows": rows}
        done |= {"out": str(out) if out else None, "chart": str(chart) if chart else None, "notes": told.notes}
        if json:
            print_json(done)
        else:
            talk.say(f"{rows:,} rows for {len(panel):,} series" + (f" in {out}" if out else ""))


def _check_live(**given: object) -> None:
    """Refuse what does not go with a live state."""
    from forecaster.errors import ConfigError

    for name, value in given.items():
        if value is not None:
            raise ConfigError(
                f"--live speaks for its own run, forecaster and horizon, and {'RUN' if name == 'run' else f'--{name}'} was given "
                "as well. Leave it out."
            )


def _predict_live(live: Path, home: "Home", *, only: Sequence[str], out: Path | None, json: bool, talk: "Talk") -> None:
    from forecaster.jobs.predict import write_forecast
    from forecaster.jobs.states import forecast_live
    from forecaster.terminal import print_json

    forecast, speaker = forecast_live(live, home, only=only, say=talk.say)
    name = speaker.name or speaker.run.config.model.cell
    rows = write_forecast(forecast, name, out or sys.stdout.buffer) if out or not json else 0
    if json:
        done = {"state": str(live), "run": str(speaker.run.path), "forecaster": name, "series": len(forecast.ids)}
        done |= {"notes": forecast.notes}
        print_json(done | {"horizon": forecast.horizon, "rows": rows, "out": str(out) if out else None})
    else:
        talk.say(f"{rows:,} rows for {len(forecast.ids):,} live series" + (f" in {out}" if out else ""))
