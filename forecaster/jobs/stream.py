"""From a run and a feed to live forecasts."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from forecaster.errors import DataError, StateError
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker, open_live
from forecaster.jobs.takeover import Takeover
from forecaster.series import Panel
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.brokers import shown_address
from forecaster.streaming.edges import BROKERS, LETTERS, STANDARD, open_sink, open_source
from forecaster.streaming.engine import Engine
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.stream import StreamSummary, stream_forecasts
from forecaster.streaming.vitals import Pulse

Say = Callable[[str], None]


@dataclass(frozen=True)
class Feed:
    """Where observations come from: `-`, a path, a broker's address, a stream that is open, or `panel`, a stored one again.

    A feed `from_start` is the one that was always given, from its beginning; one that `is_new` is another under an old name.
    """

    place: str | BinaryIO = STANDARD
    panel: str | None = None
    format: str | None = None
    follow: bool = False
    speed: float | None = None
    from_start: bool = False
    is_new: bool = False

    @property
    def name(self) -> str:
        """What a state remembers it by; nothing for a pipe, which is no place to go back to."""
        if self.panel is not None:
            return f"panel {self.panel}"
        return _name_of(self.place)


@dataclass(frozen=True)
class Outlet:
    """Where forecasts go: `-`, a path, a broker's address, or a stream that is open."""

    place: str | BinaryIO = STANDARD
    format: str | None = None

    @property
    def name(self) -> str:
        """What a state remembers it by; nothing for a pipe."""
        return _name_of(self.place)


def stream(
    speaker: Speaker,
    *,
    home: Home,
    state: Path,
    feed: Feed,
    outlet: Outlet,
    config: StreamingConfig,
    cold: bool = False,
    rebuild: bool = False,
    should_stop: Callable[[], bool],
    say: Say,
    progress: Callable[[int, int, str], None],
    pulse: Pulse | None = None,
) -> StreamSummary:
    """Step the speaker's series through a feed, and emit forecasts.

    A state that is new begins with the history of the run's panel, unless `cold`. Raises StateError when the state belongs to
    another model, is damaged, or is in use, and where the output is a file that something else wrote; ConfigError and DataError
    when the feed cannot be read as it was asked.
    """
    with open_live(speaker, home, state, config=config, cold=cold, rebuild=rebuild, say=say) as engine:

        def speaks(speaker: Speaker) -> None:
            if pulse is not None:
                pulse.coverage = speaker.coverage

        def polled() -> bool:
            if pulse is not None:
                pulse.idle(engine)  # sources ask between micro-batches, also while the feed is silent
            takeover.attend()
            return should_stop()

        takeover = Takeover(engine, home, say=say, taken=speaks)

        _check_output(engine, outlet)
        spec = _spec(feed, home, engine)
        _source(spec, feed, engine, should_stop=should_stop)  # what does not go together is refused before the state notes it
        is_aside = feed.format == LETTERS  # dead letters, mended: the feed itself goes on where it was
        engine.settle(source="" if is_aside else feed.name, output=outlet.name, is_new=feed.is_new)
        source = _source(spec, feed, engine, should_stop=polled)
        sink = open_sink(outlet.place, engine.frequency, format=outlet.format, committed_bytes=engine.progress.output_bytes)
        with closing(sink), closing(takeover):
            return stream_forecasts(source, engine, sink, progress=progress, pulse=pulse)


def _spec(feed: Feed, home: Home, engine: Engine) -> str | BinaryIO | Panel:
    """What the feed is read from. A file must be there unless it is followed: a slip of the name costs no place in the feed."""
    if feed.panel is not None:
        panel = PanelStore(home.panels).load(feed.panel)
        if panel.frequency != engine.frequency:
            raise DataError(f"panel {feed.panel!r} has another frequency than the run. Replay one that counts time alike.")
        return panel
    if feed.name and not urlsplit(feed.name).scheme and not feed.follow and not Path(feed.name).exists():
        raise DataError(f"the feed {feed.place} cannot be read (No such file or directory). Name a file that is there.")
    return feed.place


def _source(spec: str | BinaryIO | Panel, feed: Feed, engine: Engine, *, should_stop: Callable[[], bool]) -> Iterator[Arrivals]:
    return open_source(
        spec,
        engine.frequency,
        format=feed.format,
        committed=engine.progress.feed,
        is_whole=feed.from_start,
        follow=feed.follow,
        speed=feed.speed,
        max_batch=engine.config.max_batch,
        max_latency_ms=engine.config.max_latency_ms,
        floored=engine.config.misaligned == "floor",
        should_stop=should_stop,
    )


def _check_output(engine: Engine, outlet: Outlet) -> None:
    """Refuse a file that something else wrote: a stream cuts its output back, and begins it anew."""
    if not outlet.name or urlsplit(outlet.name).scheme:
        return
    path = Path(outlet.name)
    if path.is_dir():
        raise StateError(f"--out {path} is a folder; expected a file. Name one in it, such as {path / 'forecasts.ndjson'}.")
    if engine.progress.output == outlet.name:
        return
    if path.exists() and path.stat().st_size:
        raise StateError(
            f"--out {path} holds {path.stat().st_size:,} bytes that this stream did not write; expected its own file, or none. "
            "Name another, or move that one away."
        )


def _name_of(place: str | BinaryIO) -> str:
    if not isinstance(place, str) or place == STANDARD:
        return ""
    return shown_address(place) if urlsplit(place).scheme in BROKERS else str(Path(place).resolve())
