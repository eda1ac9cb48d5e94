"""Where forecasts go: the door of every sink, and files and streams of NDJSON and CSV.

A file of our own (`is_cut_back`) is written and synced before the commit, and cut back to its committed `length` after a crash:
each forecast stands in it once. A broker's stream (`is_repeatable`) is emitted to before the commit as well, and passes over what
is there already. Any other stream is written after the commit: a crash may cost the forecasts of one micro-batch.
"""

from typing import BinaryIO, Protocol

import numpy as np
import orjson

from forecaster.errors import StateError
from forecaster.forecast import quantile_column
from forecaster.frequency import Frequency
from forecaster.streaming.dead_letters import DeadLetters
from forecaster.streaming.labels import Labels
from forecaster.streaming.live import LiveForecast
from forecaster.streaming.outputs import Output, output_of

__all__ = ["CsvSink", "DeadLetters", "Labels", "LiveSink", "NdjsonSink"]

QUOTED = frozenset(',"\r\n')
NAME = "\0"  # stands for the id in what the rows of one origin share


class LiveSink(Protocol):
    """The door for forecasts.

    Where `is_cut_back` or `is_repeatable`: emit, sync, then commit `length` with the micro-batch, and open with it again.
    Where neither: commit, then emit.
    """

    is_cut_back: bool
    is_repeatable: bool

    @property
    def length(self) -> int:
        """What to commit: bytes of a file, forecasts in a broker's stream."""

    def emit(self, live: LiveForecast) -> None:
        """Pass forecasts on; raises BrokenPipeError when nobody takes them any more."""

    def sync(self) -> None:
        """Return once what was emitted is kept."""

    def close(self) -> None:
        """End well; nothing is emitted after."""


class FormatSink:
    """What sinks onto files and streams share: the output, and its doors."""

    is_repeatable = False

    def __init__(self, target: BinaryIO | Output, frequency: Frequency) -> None:
        self.output = output_of(target)
        self.is_cut_back = self.output.is_cut_back
        self.frequency = frequency
        self._labels = Labels(frequency)

    @property
    def length(self) -> int:
        """The bytes written, in whole lines or messages."""
        return self.output.length

    def sync(self) -> None:
        """Have the disk keep what was emitted."""
        self.output.sync()

    def close(self) -> None:
        """Close the output."""
        self.output.close()


class NdjsonSink(FormatSink):
    """Forecasts as lines: in a file each once, on a stream at most once, flushed with each micro-batch.

    A line has unique_id, model (where it has a name), origin, count, warming, ds (the L times forecast) and one list of L
    values for each quantile (`q0.5`). Numbers are written with the fewest digits that read back as the same number, and null
    where there is none.
    """

    def emit(self, live: LiveForecast) -> None:
        """Write the forecasts; raises BrokenPipeError when nobody reads them any more, and StateError when the disk refuses."""
        if len(live):
            self.output.write([b"".join(json_lines(live, self._labels))])


class CsvSink(FormatSink):
    """Forecasts in long format: in a file each once, on a stream at most once, a header first.

    A row for each lead, with the columns unique_id, ds, origin, lead and one for each quantile (`q0.5`), as the frame of a
    forecast has them, and model, where that has a name. Times are ISO 8601, or step numbers; a number that is none is left
    empty.

    Raises StateError, with the first forecasts, when the file has another header.
    """

    def emit(self, live: LiveForecast) -> None:
        """Write the forecasts; raises BrokenPipeError when nobody reads them any more, and StateError when the disk refuses."""
        if not len(live):
            return
        header = csv_header(live)
        if self.output.length == 0:
            self.output.write([header])
        elif not self._is_checked and self.output.is_cut_back and self.output.head(len(header)) != header:
            raise StateError(
                f"the file of forecasts has another header than {header.decode().strip()}; expected the rows of one model. "
                "Move it away, and begin another."
            )
        self._is_checked = True
        self.output.write([b"".join(self._rows(live))])

    _is_checked = False

    def _rows(self, live: LiveForecast) -> list[bytes]:
        forecast, end = live.forecast, f",{csv_text(live.model)}\n".replace("%", "%%") if live.model else "\n"
        horizons = self._labels.horizons(forecast.origins, forecast.horizon)
        labels = zip(forecast.origins.tolist(), self._labels.read(forecast.origins), strict=True)
        templates = {
            origin: "".join([f"{NAME},{ds},{label},{lead},%s{end}" for lead, ds in enumerate(horizons[origin], 1)])
            for origin, label in dict(labels).items()
        }
        rows = []
        values = np.ascontiguousarray(forecast.values)
        for unique_id, origin, numbers in zip(forecast.ids, forecast.origins.tolist(), values, strict=True):
            written = orjson.dumps(numbers, option=orjson.OPT_SERIALIZE_NUMPY)[2:-2].replace(b"null", b"").decode()
            template = templates[origin].replace(NAME, csv_text(unique_id).replace("%", "%%"))
            rows.append((template % tuple(written.split("],["))).encode())
        return rows


def json_lines(live: LiveForecast, labels: Labels) -> list[bytes]:
    """Forecasts as JSON, one a line."""
    forecast = live.forecast
    horizons = labels.horizons(forecast.origins, forecast.horizon)
    times = {origin: orjson.Fragment(orjson.dumps(stamps)) for origin, stamps in horizons.items()}
    names = [quantile_column(quantile) for quantile in forecast.quantiles]
    values = np.ascontiguousarray(forecast.values.transpose(0, 2, 1))  # [B, Q, L]
    model = {"model": live.model} if live.model else {}
    rows = zip(
        forecast.ids,
        forecast.origins.tolist(),
        labels.read(forecast.origins),
        live.counts.tolist(),
        live.is_warming.tolist(),
        values,
        strict=True,
    )
    return [
        orjson.dumps(
            {"unique_id": unique_id, **model, "origin": label, "count": count, "warming": warming, "ds": times[origin]}
            | dict(zip(names, quantiles, strict=True)),
            option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
        )
        for unique_id, origin, label, count, warming, quantiles in rows
    ]


def csv_header(live: LiveForecast) -> bytes:
    """The first line of a file of forecasts."""
    columns = ["unique_id", "ds", "origin", "lead", *map(quantile_column, live.forecast.quantiles)]
    return ",".join([*columns, "model"] if live.model else columns).encode() + b"\n"


def csv_text(text: str) -> str:
    """A cell of CSV, quoted where it must be.

    >>> csv_text('a'), csv_text('a,"b')
    ('a', '"a,""b"')
    """
    return text if QUOTED.isdisjoint(text) else '"' + text.replace('"', '""') + '"'
