"""A stream from its source to its sink."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from forecaster.streaming.accounts import BEHIND, FORECASTS, MISSING, NOT_FINITE
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.engine import Engine
from forecaster.streaming.lateness import Arrival
from forecaster.streaming.live import LiveForecast
from forecaster.streaming.sinks import LiveSink
from forecaster.streaming.vitals import Pulse, speaking, told_of


@dataclass(frozen=True)
class StreamSummary:
    """What a stream did from its start to its end; `counts` are by arrival, `series` are all that are live.

    `speaking` is, where there are several voices, for how many series each speaks at the end, and why others lost their champion.
    """

    counts: dict[str, int]
    missing: int
    behind: int
    forecasts: int
    not_finite: int
    series: int
    seconds: float
    dead_letters: Path
    reader_left: bool
    speaking: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The summary as JSON knows it."""
        return asdict(self) | {"seconds": round(self.seconds, 3), "dead_letters": str(self.dead_letters)}

    def lines(self) -> list[str]:
        """The summary as a reader wants it: a line for what was taken in, one for each thing that was not."""
        arrived = sum(self.counts.values())
        rate = arrived / self.seconds if self.seconds else 0.0
        lines = [
            f"{arrived:,} observations in {self.seconds:.1f} s ({rate:,.0f}/s), "
            f"{self.forecasts:,} forecasts, {self.series:,} live series"
        ]
        lines += [f"  {name.replace('_', ' ')}: {count:,}" for name, count in self.counts.items() if count]
        if self.missing:
            lines.append(f"  stepped without a value: {self.missing:,}")
        if self.behind:
            lines.append(f"  behind another series: {self.behind:,}")
        if self.speaking:
            lines.append(f"speaking: {told_of(self.speaking)}")
        if self.not_finite:
            lines.append(f"{self.not_finite:,} forecasts had numbers that are none; they stand as null")
        if dead := sum(self.counts[arrival.label] for arrival in Arrival if arrival > Arrival.DUPLICATE):
            lines.append(f"{dead:,} observations were not stepped; why is in {self.dead_letters}")
        if self.reader_left:
            lines.append("the reader of the forecasts left; all that was taken in is committed")
        return lines


def stream_forecasts(
    source: Iterable[Arrivals],
    engine: Engine,
    sink: LiveSink,
    *,
    progress: Callable[[int, int, str], None] | None = None,
    pulse: Pulse | None = None,
) -> StreamSummary:
    """Take in a source to its end, micro-batch by micro-batch, and pass the forecasts on.

    The source decides when to stop (at the end of its input, or when its `should_stop` says so). It ends early, and cleanly,
    when nobody reads the forecasts any more. `progress` is told how many observations arrived, 0 for a total that nobody
    knows, and what of; `pulse` feels how the stream does after each micro-batch.
    """
    before, began = engine.progress.counts, time.monotonic()
    reader_left = False
    arrived = 0
    for arrivals in source:
        live = engine.take_in(arrivals)
        arrived += len(arrivals) + len(arrivals.rejected)
        if progress is not None:
            progress(arrived, 0, "observations")
        took_in = time.monotonic()
        try:
            _commit_and_emit(engine, live, sink)
        except BrokenPipeError:
            reader_left = True
            break
        if pulse is not None:
            pulse.beat(engine, len(arrivals) + len(arrivals.rejected), time.monotonic() - took_in)
    engine.rest()
    after = engine.progress.counts
    counts = {name: count - before.get(name, 0) for name, count in after.items()}
    return StreamSummary(
        counts={arrival.label: counts.get(arrival.label, 0) for arrival in Arrival},
        missing=counts.get(MISSING, 0),
        behind=counts.get(BEHIND, 0),
        forecasts=counts.get(FORECASTS, 0),
        not_finite=counts.get(NOT_FINITE, 0),
        series=len(engine.series),
        seconds=time.monotonic() - began,
        dead_letters=engine.dead_letters.path,
        reader_left=reader_left,
        speaking=speaking(engine),
    )


def _commit_and_emit(engine: Engine, live: LiveForecast, sink: LiveSink) -> None:
    """What can be taken back, or told to be a repetition, is emitted before the commit; what cannot, after it."""
    if sink.is_cut_back or sink.is_repeatable:
        sink.emit(live)
        sink.sync()
        engine.commit(output_bytes=sink.length)
    else:
        engine.commit()
        sink.emit(live)
