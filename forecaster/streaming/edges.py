"""Where a stream begins and ends, by name: a feed or a place for forecasts, and what either is written in."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from forecaster.errors import ConfigError, DataError, StateError
from forecaster.frequency import Frequency
from forecaster.series import Panel
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.arrivals_csv import CsvRows
from forecaster.streaming.arrow_streams import read_arrow
from forecaster.streaming.brokers import shown_address
from forecaster.streaming.dead_letters import read_dead_letters
from forecaster.streaming.intake import Intake, never
from forecaster.streaming.kafka import KafkaSink, read_kafka
from forecaster.streaming.lines import JsonLines, LineFormat
from forecaster.streaming.live import FeedPosition
from forecaster.streaming.nats_streams import NatsSink, read_nats
from forecaster.streaming.outputs import Output, OutputFile, OutputStream, output_of
from forecaster.streaming.redis_streams import RedisSink, read_redis
from forecaster.streaming.replay import replay
from forecaster.streaming.sinks import CsvSink, LiveSink, NdjsonSink
from forecaster.streaming.sinks_arrow import ArrowSink
from forecaster.streaming.sources import read_files, read_lines
from forecaster.streaming.tables import read_table

NDJSON, CSV, ARROW, PARQUET, LETTERS = "ndjson", "csv", "arrow", "parquet", "dead_letters"
SUFFIXES = {
    **dict.fromkeys((".ndjson", ".jsonl", ".json", ".log"), NDJSON),
    **dict.fromkeys((".csv",), CSV),
    **dict.fromkeys((".arrow", ".arrows", ".ipc", ".feather"), ARROW),
    **dict.fromkeys((".parquet", ".pq"), PARQUET),
}
SOURCE_FORMATS = (NDJSON, CSV, ARROW, PARQUET, LETTERS)
SINK_FORMATS = (NDJSON, CSV, ARROW)
SINKS: dict[str, Callable[[Output, Frequency], LiveSink]] = {NDJSON: NdjsonSink, CSV: CsvSink, ARROW: ArrowSink}
BROKERS: dict[str, tuple[Callable[..., Iterator[Arrivals]], Callable[..., LiveSink]]] = {
    "redis": (read_redis, RedisSink),
    "rediss": (read_redis, RedisSink),
    "kafka": (read_kafka, KafkaSink),
    "nats": (read_nats, NatsSink),
}
STANDARD = "-"


def open_source(
    spec: str | Path | BinaryIO | Panel,
    frequency: Frequency,
    *,
    format: str | None = None,
    committed: FeedPosition = FeedPosition(),  # noqa: B008 - frozen
    is_whole: bool = False,
    follow: bool = False,
    speed: float | None = None,
    max_batch: int = 4096,
    max_latency_ms: float = 20.0,
    floored: bool = False,
    should_stop: Callable[[], bool] = never,
) -> Iterator[Arrivals]:
    """Micro-batches of a feed: `-` for standard input, a path, a panel, or what a broker keeps.

    A broker's is `redis://HOST:PORT/STREAM`, `nats://HOST:PORT/STREAM` or `kafka://HOST:PORT/TOPIC`.
    The format is that of the suffix, or NDJSON. A file or a broker's stream is read on from where `committed` lies in it; what
    comes on a pipe is read as it comes, unless it is whole.
    With `follow`, a file or a broker's stream ends only with `should_stop`. `speed` is for panels and files of tables: how many
    times as fast as it happened; 0 or None for as fast as can be. Where times are `floored`, one between two positions counts as
    the earlier. Raises ConfigError when these do not go together; the source raises, with its first micro-batch, what its reader
    raises.
    """
    speed = speed or None
    intake = Intake(committed, max_batch, max_latency_ms, floored, should_stop)
    if isinstance(spec, Panel):
        _refuse("a panel is replayed", follow=follow, format=format is not None)
        return replay(spec, intake, speed=speed, is_whole=is_whole)
    if isinstance(spec, str) and urlsplit(spec).scheme in BROKERS:
        is_other = format not in (None, NDJSON)
        _refuse(f"{shown_address(spec)} is a broker's", speed=speed is not None, from_start=is_whole, format=is_other)
        read, _ = BROKERS[urlsplit(spec).scheme]
        return read(spec, frequency, intake, follow=follow)
    form = _format_of(spec, format, SOURCE_FORMATS, flag="--format")
    if spec == STANDARD or not isinstance(spec, str | Path):
        _refuse("a pipe is read as it comes", speed=speed is not None)
        stream = sys.stdin.buffer if isinstance(spec, str | Path) else spec
        return _read_stream(stream, frequency, form, intake, is_whole=is_whole)
    path = Path(spec)
    if _is_pipe(path):
        _refuse("a pipe is read as it comes", speed=speed is not None)
        return _read_stream(path, frequency, form, intake, is_whole=is_whole)
    if is_whole and form in (NDJSON, CSV, ARROW):
        _refuse("a file with --from-start is read once", speed=speed is not None, follow=follow)
        return _read_stream(path, frequency, form, intake, is_whole=True)
    if form == LETTERS:
        _refuse("dead letters are read once", speed=speed is not None, follow=follow)
        return read_dead_letters(path, frequency, intake)
    if form in (ARROW, PARQUET):
        _refuse(f"{path} is a table", follow=follow)
        return read_table(path, frequency, intake, is_parquet=form == PARQUET, speed=speed)
    _refuse(f"{path} holds lines", speed=speed is not None)
    lines = _line_format(form, frequency)
    if not follow:
        intake = replace(intake, max_latency_ms=float("inf"))  # a file makes nobody wait, and is cut alike each time
    return read_files(path, frequency, lines, intake, follow=follow)


def open_sink(
    spec: str | Path | BinaryIO, frequency: Frequency, *, format: str | None = None, committed_bytes: int = 0
) -> LiveSink:
    """Where forecasts go: `-` for standard output, a path, or a broker's stream as `open_source` has it.

    The format is that of the suffix, or NDJSON. `committed_bytes` is the sink's `length` as it was committed. Raises ConfigError
    for a format that is none, and StateError when the place holds something else or cannot be written to.
    """
    if isinstance(spec, str) and urlsplit(spec).scheme in BROKERS:
        _refuse(f"{shown_address(spec)} is a broker's", out_format=format not in (None, NDJSON))
        _, sink = BROKERS[urlsplit(spec).scheme]
        return sink(spec, frequency, committed=committed_bytes)
    form = _format_of(spec, format, SINK_FORMATS, flag="--out-format")
    return SINKS[form](_output(spec, committed_bytes), frequency)


# -- pipes and files ---------------------------------------------------------------------------------------------------------


def _output(spec: str | Path | BinaryIO, committed_bytes: int) -> Output:
    if spec == STANDARD:
        return output_of(sys.stdout.buffer)
    if not isinstance(spec, str | Path):
        return output_of(spec)
    path = Path(spec)
    if _is_pipe(path):
        try:
            return OutputStream(path.open("wb", buffering=0), is_ours=True)
        except OSError as error:
            raise StateError(f"{path} cannot be written to ({error.strerror}). Name a place that can be.") from error
    return OutputFile(path, committed_bytes=committed_bytes)


def _is_pipe(path: Path) -> bool:
    """Whether a path names a pipe or a device, in which there are no places to go back to."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _read_stream(
    source: BinaryIO | Path, frequency: Frequency, form: str, intake: Intake, *, is_whole: bool
) -> Iterator[Arrivals]:
    if isinstance(source, Path):
        try:
            with source.open("rb") as stream:
                yield from _read_stream(stream, frequency, form, intake, is_whole=is_whole)
        except OSError as error:
            raise DataError(f"the feed {source} cannot be read ({error.strerror}). Name a file that is there.") from error
        return
    if form == ARROW:
        yield from read_arrow(source, frequency, intake, is_whole=is_whole)
        return
    if form not in (NDJSON, CSV):
        raise ConfigError(f"--format {form} needs a file, and this is a pipe. Name the file.")
    yield from read_lines(source, frequency, _line_format(form, frequency), intake, is_whole=is_whole)


def _line_format(form: str, frequency: Frequency) -> LineFormat:
    return CsvRows(is_numbered=frequency.is_numbered) if form == CSV else JsonLines()


def _format_of(spec: str | Path | BinaryIO, asked: str | None, formats: Sequence[str], *, flag: str) -> str:
    is_named = isinstance(spec, str | Path) and spec != STANDARD
    form = asked or (SUFFIXES.get(Path(str(spec)).suffix.lower()) if is_named else NDJSON)
    if form is None:
        raise ConfigError(f"{spec} ends in no known suffix. Say with {flag} what it is: {', '.join(formats)}.")
    if form not in formats:
        raise ConfigError(f"{form} is no format here; choose {', '.join(formats)}.")
    return form


def _refuse(why: str, **given: bool) -> None:
    for name, is_given in given.items():
        if is_given:
            raise ConfigError(f"{why}, and --{name.replace('_', '-')} does not go with that. Leave it out.")
