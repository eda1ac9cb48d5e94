"""`forecast stream`: observations in, one at a time; forecasts out."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli.app import Json, RunName, mistakes_told


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
