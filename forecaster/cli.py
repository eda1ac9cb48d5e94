"""The command line: each command says what it takes, hands it to a job, and shows what came back.

Imports that take time stay inside the commands.
"""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from forecaster.errors import ForecasterError

app = typer.Typer(
    name="forecast",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Train one GRU on all of your series, hold it against exponential smoothing and ARIMA, and keep it running:
    one observation at a time, each series with a state that outlives the process.

    `forecast ingest sales.csv --name sales`

    `forecast train configs/default.yaml --panel sales`

    `forecast evaluate RUN`

    `forecast predict RUN --horizon 24 --out forecasts.csv`

    `tail -f feed.ndjson | forecast stream RUN`

    Panels, runs and states live in the working directory, or under $FORECASTER_HOME.""",
)

INTERRUPTED = 130
FARTHEST = 10_000  # leads of a forecast

ErrorOrDrop = Literal["error", "drop"]
KeepOrError = Literal["keep", "error"]
Duplicates = Literal["error", "first", "last", "mean"]
Misaligned = Literal["error", "floor", "drop"]
ErrorOrMissing = Literal["error", "missing"]
Short = Literal["keep", "drop", "error"]
Layout = Literal["auto", "long", "wide"]
FileFormat = Literal["auto", "csv", "parquet", "ndjson"]
Decimal = Literal[".", ","]
ClockChange = Literal["error", "infer", "drop"]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout instead of text.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="A run: its path, or its name under runs/.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        from forecaster import __version__

        typer.echo(f"forecaster {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """What every command shares."""


@contextmanager
def mistakes_told() -> Iterator[None]:
    """A user's mistake as one line on stderr and exit code 2; Ctrl-C and SIGTERM as 130; anything else keeps its traceback."""
    try:
        yield
    except ForecasterError as error:
        faults = getattr(error, "faults", None)  # of an ingest: all of them, where the message has the first of each kind
        is_one = faults is not None and sum(group.count for group in faults) == 1
        for line in faults.lines() if faults is not None and not is_one else []:
            typer.echo(line, err=True)
        typer.echo(f"{_kind(error)}  {error}", err=True)
        raise typer.Exit(2) from None
    except (KeyboardInterrupt, SystemExit):  # the latter is what Lightning makes of Ctrl-C and of SIGTERM
        typer.echo("stopped; what was finished is kept, and the same command goes on from there", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


@app.command()
def ingest(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, glob patterns, or - for stdin.")],
    name: Annotated[str, typer.Option(help="The panel to make, add to, or revise.")],
    freq: Annotated[
        str | None, typer.Option(help="Frequency (h, 15min, D, B, W-SUN, MS, QE, …); else found in the data.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Time zone of times without an offset: Europe/Berlin.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of the series' names.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Column of times, or of step numbers.")] = None,
    value_column: Annotated[str | None, typer.Option(help="Column of values.")] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A covariate known ahead, such as a price: rows with an empty value hold its future. May be repeated.",
        ),
    ] = None,
    static: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="What never changes in a series, such as a region. May be repeated."),
    ] = None,
    layout: Annotated[Layout, typer.Option(help="long: a row is a value; wide: a column is a series.")] = "auto",
    file_format: Annotated[FileFormat, typer.Option("--format", help="Format of the files.")] = "auto",
    encoding: Annotated[str | None, typer.Option(help="Encoding of text files; UTF-8 otherwise.")] = None,
    decimal: Annotated[Decimal, typer.Option(help="The decimal sign of numbers.")] = ".",
    time_format: Annotated[str | None, typer.Option(help="How times are written, for example %d/%m/%Y.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Series to take: a glob pattern; may be repeated.")] = None,
    duplicates: Annotated[Duplicates, typer.Option(help="Rows of one series and time with other values.")] = "error",
    misaligned: Annotated[Misaligned, typer.Option(help="Times that lie off the frequency's grid.")] = "error",
    unparsable: Annotated[ErrorOrDrop, typer.Option(help="Times and values that cannot be read.")] = "error",
    infinite: Annotated[ErrorOrMissing, typer.Option(help="Infinite values.")] = "error",
    clock_change: Annotated[ClockChange, typer.Option(help="Local times that a clock change repeats or skips.")] = "error",
    gaps: Annotated[KeepOrError, typer.Option(help="Steps that no row speaks of.")] = "keep",
    missing: Annotated[KeepOrError, typer.Option(help="Rows without a value.")] = "keep",
    short: Annotated[Short, typer.Option(help="Series with fewer than --min-length values.")] = "keep",
    min_length: Annotated[int, typer.Option(min=1, help="Fewest values of a series that is not short.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report; change nothing.")] = False,
    json: Json = False,
) -> None:
    """Check files and store them as a panel; ingest again to add or revise.

    `forecast ingest sales.csv --name sales`

    `forecast ingest 'meters/*.csv.gz' --name meters --time-zone Europe/Berlin --duplicates last`

    `forecast ingest shops.csv --name shops --known price --known promotion --static region`
    """
    with mistakes_told():
        from forecaster.ingest import ColumnNames, IngestPolicies, PanelStore, ingest_files
        from forecaster.jobs.home import Home
        from forecaster.terminal import Talk, print_json, print_lines

        talk = Talk()
        policies = IngestPolicies(
            duplicates=duplicates,
            misaligned=misaligned,
            unparsable=unparsable,
            infinite=infinite,
            clock_change=clock_change,
            gaps=gaps,
            missing=missing,
            short=short,
            min_length=min_length,
        )
        with talk.progress("reading") as progress:
            report = ingest_files(
                files,
                name,
                store=PanelStore(Home.here().panels),
                policies=policies,
                columns=ColumnNames(id_column, time_column, value_column, tuple(known or ()), tuple(static or ())),
                freq=freq,
                time_zone=time_zone,
                layout=layout,
                file_format=file_format,
                encoding=encoding,
                decimal=decimal,
                time_format=time_format,
                only=only or (),
                stdin=sys.stdin.buffer,
                progress=progress,
                dry_run=dry_run,
            )
        print_json(report.to_dict()) if json else print_lines(report.lines())


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Such as configs/default.yaml.")],
    panel: Annotated[str, typer.Option(help="The panel to learn from.")],
    horizon: Annotated[
        int | None, typer.Option(min=1, max=FARTHEST, help="How far forecasts reach; else the frequency's usual.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.01, help="Training time, at most.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="May be repeated.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; panel and time otherwise.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, also where an unfinished training could go on.")] = False,
    json: Json = False,
) -> None:
    """Train the network on a panel; the same command goes on where a training was cut off.

    `forecast train configs/default.yaml --panel sales`

    `forecast train configs/default.yaml --panel sales --horizon 28 --max-minutes 5 --set model.layers=2`
    """
    with mistakes_told():
        from forecaster.config import read_config
        from forecaster.jobs.home import Home
        from forecaster.jobs.train import train as train_run
        from forecaster.terminal import Talk, print_json, print_lines

        talk = Talk()
        given = [*(settings or []), *([f"horizon={horizon}"] if horizon else [])]
        given += [f"training.max_minutes={max_minutes}"] if max_minutes else []
        command = shlex.join(["forecast", *sys.argv[1:]])
        with talk.progress("training") as progress:
            run = train_run(
                read_config(config, given),
                panel,
                home=Home.here(),
                name=name,
                command=command,
                fresh=fresh,
                say=talk.say,
                progress=progress,
            )
        facts = {"run": str(run.path), "panel": panel, "horizon": run.facts.horizon, "holdout": run.facts.holdout}
        facts |= {"model": run.facts.model_fingerprint, "seconds": run.facts.seconds}
        print_json(facts) if json else print_lines(
            [f"run {run.path} (model {run.facts.model_fingerprint}, {run.facts.seconds:.0f} s)"]
        )


@app.command()
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


@app.command()
def predict(
    run: RunName,
    horizon: Annotated[
        int | None, typer.Option(min=1, max=FARTHEST, help="How far ahead; that of the training otherwise.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="A .csv, .csv.gz, .parquet or .ndjson file; CSV on stdout otherwise.")] = None,
    chart: Annotated[Path | None, typer.Option(help="A picture of the first six series, .png or .svg.")] = None,
    forecaster: Annotated[str | None, typer.Option(help="A baseline in place of the network, for example ses.")] = None,
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


@app.command()
def stream(
    run: RunName,
    state: Annotated[Path | None, typer.Option(help="The folder of the state; state/RUN otherwise.")] = None,
    replay: Annotated[str | None, typer.Option(metavar="PANEL", help="Step through a stored panel in place of stdin.")] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="The feed begins where it always did: pass over what was taken in.")
    ] = False,
    cold: Annotated[bool, typer.Option("--cold", help="A new state knows nothing, not even the panel's history.")] = False,
    every: Annotated[int | None, typer.Option(min=0, help="Forecast with every k-th value of a series; 0: never.")] = None,
    json: Json = False,
) -> None:
    """Take NDJSON observations on stdin, one a line, and write forecasts as NDJSON on stdout.

    A line in: `{"unique_id": "A", "ds": "2024-05-01T00:00", "y": 12.5}`. What was taken in is in the state before its
    forecast is written, so a process that was killed goes on where it was. With --json, the summary is on stderr.

    `forecast stream RUN --state state/live < feed.ndjson > forecasts.ndjson`
    """
    with mistakes_told():
        import signal

        from forecaster.jobs.home import Home
        from forecaster.jobs.runs import Run
        from forecaster.jobs.stream import stream as stream_run
        from forecaster.terminal import Talk

        talk, home = Talk(), Home.here()
        opened = Run.open(run, home)
        signals: list[int] = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda received, _: signals.append(received))
        with talk.progress("streaming") as progress:
            summary = stream_run(
                opened,
                home=home,
                state=state or home.states / opened.path.name,
                source=replay or sys.stdin.buffer,
                sink=sys.stdout.buffer,
                from_start=from_start,
                cold=cold,
                emit_every=every,
                should_stop=lambda: bool(signals),
                say=talk.say,
                progress=progress,
            )
        if json:
            import orjson

            typer.echo(orjson.dumps(summary.to_dict()).decode(), err=True)
        else:
            for line in summary.lines():
                talk.say(line)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo works; an earlier demo there is replaced.")] = Path("demo"),
) -> None:
    """The main job on data that ships with statsmodels: every command in the order a user meets them."""
    with mistakes_told():
        from forecaster.demo import show_demo

        show_demo(folder)


def _kind(error: ForecasterError) -> str:
    """DataError, ConfigError or StateError, also for what is derived from them."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return names[max(names.index("ForecasterError") - 1, 0)]
