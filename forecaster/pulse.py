"""How a stream does, shown on a terminal, logged as lines of JSON, or served as metrics for Prometheus."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from rich.live import Live
from rich.table import Table

from forecaster.errors import ConfigError
from forecaster.streaming.vitals import Coverage, Pulse, Vitals, told_of
from forecaster.terminal import Talk

Tell = Callable[[Vitals], None]


@contextmanager
def pulse_of(talk: Talk, *, watch: bool, log: Path | None, port: int | None, coverage: Coverage | None) -> Iterator[Pulse | None]:
    """What was asked for, told once a second; None where nothing was.

    Raises ConfigError when the log cannot be written, or the port not be served.
    """
    with ExitStack() as stack:
        told: list[Tell] = []
        if watch:
            live = stack.enter_context(Live(console=talk.console, refresh_per_second=4))
            told.append(lambda vitals: live.update(table_of(vitals)))
        if log is not None:
            told.append(stack.enter_context(_log(log)))
        if port is not None:
            told.append(_serve(port))

        def tell_all(vitals: Vitals) -> None:
            for tell in told:
                tell(vitals)

        yield Pulse(tell_all, coverage=coverage) if told else None


def table_of(vitals: Vitals) -> Table:
    """A look at a stream, as a table of two columns."""
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(justify="right", style="dim")
    table.add_column()
    table.add_row("rate", f"{vitals.rate:,.0f} observations/s, commit {vitals.commit_ms:,.1f} ms")
    table.add_row("series", f"{vitals.series:,} live, {vitals.warming:,} warming up")
    table.add_row("newest", f"{vitals.newest}; lag {vitals.lag_median:,.0f} at the median, {vitals.lag_most:,} at the most")
    table.add_row("arrived", ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in vitals.counts.items() if count))
    table.add_row("forecasts", f"{vitals.forecasts:,}, {vitals.not_finite:,} not finite")
    table.add_row("dead", f"{vitals.dead:,} letters")
    if vitals.coverage:
        table.add_row("covered", ", ".join(f"{share:.1%} of {name}" for name, share in vitals.coverage.items()))
    if vitals.speaking:
        table.add_row("speaking", told_of(vitals.speaking))
    if vitals.lag_most > 1:
        table.add_row("furthest behind", ", ".join(f"{name} ({last})" for name, last in vitals.slowest.items()))
    return table


@contextmanager
def _log(path: Path) -> Iterator[Tell]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise ConfigError(f"--log {path}: cannot be written ({error.strerror}). Choose a file that can be.") from error
    with file:

        def tell(vitals: Vitals) -> None:
            line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **vitals.to_dict()}
            with suppress(OSError):  # a disk that is full must not stop the stream for its log's sake
                file.write(orjson.dumps(line) + b"\n")

        yield tell


def _serve(port: int) -> Tell:
    try:
        from prometheus_client import CollectorRegistry, Gauge, start_http_server
    except ModuleNotFoundError:
        raise ConfigError("--metrics needs prometheus_client. Install it: pip install 'forecaster[metrics]'.") from None
    registry = CollectorRegistry()
    single = {
        name: Gauge(f"forecaster_{name}", what, registry=registry)
        for name, what in (
            ("series", "live series"),
            ("warming", "series that have not shown enough values yet"),
            ("lines", "lines taken in since the state was made"),
            ("forecasts", "forecasts made since the state was made"),
            ("not_finite", "forecasts with a number that is none"),
            ("missing", "observations that were stepped without a value"),
            ("behind", "observations behind another series"),
            ("lag_median", "positions behind the newest, at the median of the series"),
            ("lag_most", "positions behind the newest, at the most"),
            ("logged", "observations to take in again at a restart"),
            ("rate", "observations a second, lately"),
            ("commit_ms", "milliseconds of the last commit and emit"),
        )
    }
    arrivals = Gauge("forecaster_arrivals", "observations by what they were to their series", ["arrival"], registry=registry)
    coverage = Gauge("forecaster_coverage", "share of values inside the interval, lately", ["nominal"], registry=registry)
    speaking = Gauge("forecaster_speaking", "series by who speaks, and by why a champion does not", ["voice"], registry=registry)
    try:
        start_http_server(port, registry=registry)
    except OSError as error:
        raise ConfigError(f"--metrics {port}: cannot be served ({error.strerror}). Choose a port that is free.") from error

    def tell(vitals: Vitals) -> None:
        fields: dict[str, Any] = vitals.to_dict()
        for name, gauge in single.items():
            gauge.set(fields[name])
        for arrival, count in vitals.counts.items():
            arrivals.labels(arrival).set(count)
        for nominal, share in vitals.coverage.items():
            coverage.labels(nominal).set(share)
        for voice, count in vitals.speaking.items():
            speaking.labels(voice).set(count)

    return tell
