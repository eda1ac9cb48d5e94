"""The application that the commands join, how a mistake is told, and the options that several commands share."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from forecaster.cli.mistakes import OneLine
from forecaster.errors import ForecasterError

app = typer.Typer(
    name="forecast",
    cls=OneLine,
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


def _kind(error: ForecasterError) -> str:
    """DataError, ConfigError or StateError, also for what is derived from them."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return names[max(names.index("ForecasterError") - 1, 0)]
