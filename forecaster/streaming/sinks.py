"""Where forecasts and dead letters go: one JSON object a line."""

import base64
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import orjson

from forecaster.errors import StateError
from forecaster.forecast import Forecast, quantile_column
from forecaster.frequency import Frequency, Positions
from forecaster.streaming.lateness import DeadLetter
from forecaster.streaming.live import LiveForecast

LABELS_KEPT = 100_000


class Labels:
    """What a user reads for a position: ISO 8601, with the offset where the panel has a time zone, or the step number.

    >>> Labels(Frequency("h", time_zone="Europe/Berlin")).read(np.array([0]))
    ['1970-01-01T01:00:00+01:00']
    """

    def __init__(self, frequency: Frequency) -> None:
        self.frequency = frequency
        self._known: dict[int, str | int] = {}

    def read(self, positions: Positions) -> list[str | int]:
        """The labels of positions [N]."""
        asked = positions.tolist()
        unknown = [position for position in dict.fromkeys(asked) if position not in self._known]
        if unknown:
            if len(self._known) > LABELS_KEPT:
                self._known.clear()
                unknown = list(dict.fromkeys(asked))
            stamps = self.frequency.labels(np.array(unknown, dtype=np.int64)).tolist()
            self._known.update(zip(unknown, map(_label, stamps), strict=True))
        return [self._known[position] for position in asked]


def _label(stamp: datetime | int) -> str | int:
    return stamp if isinstance(stamp, int) else stamp.isoformat()


class NdjsonSink:
    """Forecasts as lines on a binary stream, flushed with each micro-batch.

    A line has unique_id, origin, count, warming, ds (the L times forecast) and one list of L values for each quantile
    (`q0.5`). Numbers are written with the fewest digits that read back as the same number, and null where there is none.
    """

    def __init__(self, stream: BinaryIO, frequency: Frequency) -> None:
        stream.flush()
        # Past the buffer: what a closed pipe refused must not be tried again when the interpreter leaves.
        self._stream = cast(BinaryIO, getattr(stream, "raw", stream))
        self._labels = Labels(frequency)

    def emit(self, live: LiveForecast) -> None:
        """Write the forecasts; raises BrokenPipeError when nobody reads them any more, and StateError when the disk refuses."""
        left = memoryview(b"".join(self._lines(live)))
        try:
            while left:
                left = left[self._stream.write(left) or 0 :]
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise StateError(
                f"forecasts cannot be written ({error.strerror}); expected a stream with room. Mend that and start again: "
                "the observations they were made from are committed."
            ) from error

    def _lines(self, live: LiveForecast) -> list[bytes]:
        if not len(live):
            return []
        forecast = live.forecast
        horizons = self._horizons(forecast)
        names = [quantile_column(quantile) for quantile in forecast.quantiles]
        values = np.ascontiguousarray(forecast.values.transpose(0, 2, 1))  # [B, Q, L]
        rows = zip(
            forecast.ids,
            forecast.origins.tolist(),
            self._labels.read(forecast.origins),
            live.counts.tolist(),
            live.is_warming.tolist(),
            values,
            strict=True,
        )
        return [
            orjson.dumps(
                {"unique_id": unique_id, "origin": label, "count": count, "warming": warming, "ds": horizons[origin]}
                | dict(zip(names, quantiles, strict=True)),
                option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE,
            )
            for unique_id, origin, label, count, warming, quantiles in rows
        ]

    def _horizons(self, forecast: Forecast) -> dict[int, orjson.Fragment]:
        """The times forecast from each origin, written once however many series share it."""
        origins = np.unique(forecast.origins)
        labels = self._labels.read((origins[:, None] + np.arange(1, forecast.horizon + 1)).ravel())
        width = forecast.horizon
        return {
            origin: orjson.Fragment(orjson.dumps(labels[n * width : (n + 1) * width]))
            for n, origin in enumerate(origins.tolist())
        }


class DeadLetters:
    """What was not stepped, in a file: line, arrival, reason, and the original as text, or in base64 where it is none.

    The file is on the disk before the micro-batch is committed, and cut back to its committed length when a stream begins,
    so that each dead letter stands in it once, whatever was killed. A file moved away is begun anew.
    """

    def __init__(self, path: Path, *, committed_bytes: int) -> None:
        self.path = path
        try:
            self.length = min(path.stat().st_size, committed_bytes) if path.exists() else 0
            if self.length:
                os.truncate(path, self.length)
        except OSError as error:
            raise self._refused(error) from error

    def write(self, letters: Sequence[DeadLetter]) -> None:
        """Append letters; raises StateError when the disk refuses."""
        if not letters:
            return
        data = b"".join(_letter_line(letter) for letter in letters)
        try:
            with self.path.open("ab" if self.length else "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._refused(error) from error
        self.length += len(data)

    def _refused(self, error: OSError) -> StateError:
        return StateError(
            f"dead letters cannot be written to {self.path} ({error.strerror}); expected room and permission to write. "
            "Mend that and start again: all that was committed is kept."
        )


def _letter_line(letter: DeadLetter) -> bytes:
    fields: dict[str, int | str] = {"line": letter.line, "arrival": letter.arrival.label, "reason": letter.reason}
    try:
        fields["original"] = letter.original.decode()
    except UnicodeDecodeError:
        fields["original_base64"] = base64.b64encode(letter.original).decode()
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
