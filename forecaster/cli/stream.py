"""`forecast stream`: observations in, one at a time; forecasts out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from forecaster.cli.app import Json, RunName, mistakes_told

FeedFormat = Literal["ndjson", "csv", "arrow", "parquet", "dead_letters"]
OutFormat = Literal["ndjson", "csv", "arrow"]


def stream(
    run: RunName,
    state: Annotated[Path | None, typer.Option(help="The folder of the state; state/RUN otherwise.")] = None,
    feed: Annotated[
        str,
        typer.Option(
            "--in", metavar="FEED", help="-, a file, redis://HOST:PORT/STREAM, nats:// likewise, or kafka://HOST:PORT/TOPIC."
        ),
    ] = "-",
    feed_format: Annotated[FeedFormat | None, typer.Option("--format", help="Of the feed; else by its suffix.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Wait for more at the end of a file, also when it is rotated.")
    ] = False,
    replay: Annotated[str | None, typer.Option(metavar="PANEL", help="Step through a stored panel in place of a feed.")] = None,
    speed: Annotated[float | None, typer.Option(min=0, help="Of a replay: how many times as fast as it happened.")] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="The feed begins where it always did: pass over what was taken in.")
    ] = False,
    new_feed: Annotated[
        bool, typer.Option("--new-feed", help="The feed is another one under an old name: read it from its beginning.")
    ] = False,
    out: Annotated[
        str,
        typer.Option(metavar="PLACE", help="-, a file, redis://HOST:PORT/STREAM, nats:// likewise, or kafka://HOST:PORT/TOPIC."),
    ] = "-",
    out_format: Annotated[OutFormat | None, typer.Option(help="Of the forecasts; else by the suffix.")] = None,
    forecaster: Annotated[
        str | None, typer.Option(help="In place of the network: champions, or a baseline such as holt_winters.")
    ] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option("--calibrate/--no-calibrate", help="Correct intervals, online, from what came of earlier forecasts."),
    ] = None,
    cold: Annotated[bool, typer.Option("--cold", help="A new state knows nothing, not even the panel's history.")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Move the state aside, and begin again from the panel.")] = False,
    every: Annotated[int | None, typer.Option(min=0, help="Forecast with every k-th value of a series; 0: never.")] = None,
    max_latency_ms: Annotated[
        float | None, typer.Option(min=0, help="How long an observation waits for others to share its commit.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of streaming; may be repeated.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show how the stream does, once a second.")] = False,
    log: Annotated[Path | None, typer.Option(help="Append how the stream does to a file, as a line of JSON each time.")] = None,
    metrics: Annotated[
        int | None, typer.Option(min=1, max=65_535, metavar="PORT", help="Serve metrics for Prometheus on a port.")
    ] = None,
    json: Json = False,
) -> None:
    """Take in observations as they come, and write forecasts; every series keeps its state, also through a kill.

    A line in: `{"unique_id": "A", "ds": "2024-05-01T00:00", "y": 12.5}`. What was taken in is in the state before its
    forecast can be read, so a process that was killed goes on where it was; forecasts in a file stand there once, as if nothing
    had been killed. With --json, the summary is on stderr.

    `forecast stream RUN < feed.ndjson > forecasts.ndjson`

    `forecast stream RUN --in meters.csv --follow --out forecasts.arrow --calibrate --watch`

    `forecast stream RUN --forecaster holt_winters --set revision_window=48 --every 24`
    """
    with mistakes_told():
        import signal

        from forecaster.config import changed
        from forecaster.jobs.home import Home
        from forecaster.jobs.live import Speaker
        from forecaster.jobs.runs import Run
        from forecaster.jobs.stream import Feed, Outlet
        from forecaster.jobs.stream import stream as stream_run
        from forecaster.pulse import pulse_of
        from forecaster.terminal import Talk

        talk, home = Talk(), Home.here()
        opened = Run.open(run, home)
        given = [*(settings or []), *([f"emit_every={every}"] if every is not None else [])]
        given += [f"max_latency_ms={max_latency_ms}"] if max_latency_ms is not None else []
        given += [f"calibrate={str(calibrate).lower()}"] if calibrate is not None else []
        config = changed(opened.config, [f"streaming.{setting}" for setting in given]).streaming
        signals: list[int] = []

        def stop(received: int, _: object) -> None:
            signals.append(received)
            signal.signal(received, signal.SIG_DFL)  # the first one drains, a second one ends at once: a kill loses nothing

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        speaker = Speaker.of(opened, home, forecaster, config=config, say=talk.say)
        with (
            pulse_of(talk, watch=watch, log=log, port=metrics, coverage=speaker.coverage) as pulse,
            talk.progress("streaming", hidden=watch) as progress,
        ):
            summary = stream_run(
                speaker,
                home=home,
                state=state or home.states / opened.path.name,
                feed=Feed(feed, replay, feed_format, follow, speed or None, from_start, new_feed),
                outlet=Outlet(out, out_format),
                config=config,
                cold=cold,
                rebuild=rebuild,
                should_stop=lambda: bool(signals),
                say=talk.say,
                progress=progress,
                pulse=pulse,
            )
        if json:
            import orjson

            typer.echo(orjson.dumps(summary.to_dict()).decode(), err=True)
        else:
            for line in summary.lines():
                talk.say(line)
