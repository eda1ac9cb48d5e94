"""Forecasts as an Arrow IPC stream."""

import contextlib
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from forecaster.errors import StateError
from forecaster.forecast import quantile_column
from forecaster.frequency import Frequency
from forecaster.streaming.labels import time_column
from forecaster.streaming.live import LiveForecast
from forecaster.streaming.outputs import Output
from forecaster.streaming.sinks import FormatSink

LONGEST_SCHEMA = 1 << 20  # bytes
END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class ArrowSink(FormatSink):
    """Forecasts as record batches, one a micro-batch: in a file each once, on a stream at most once.

    Columns: unique_id (text), origin (timestamp, or step number), count, warming, a list of L values for each quantile
    (`q0.5`), and model (text), where that has a name; a number that is none is NaN. The times forecast are the L steps after the
    origin; the schema's metadata names the frequency. The schema is written once and ids as plain text, so every micro-batch
    stands alone and a file can be cut back behind any of them; the mark of the stream's end is written when it is closed, and cut
    off when it goes on.

    Read it with `pyarrow.ipc.open_stream(path).read_all()`, also while it grows.

    Raises StateError, with the first forecasts, when the file has another schema.
    """

    def __init__(self, target: BinaryIO | Output, frequency: Frequency) -> None:
        super().__init__(target, frequency)
        self._schema: pa.Schema | None = None

    def emit(self, live: LiveForecast) -> None:
        """Write the forecasts; raises BrokenPipeError when nobody reads them any more, and StateError when the disk refuses."""
        if not len(live):
            return
        schema = self._begun(live)
        batch = pa.record_batch(self._columns(live), schema=schema)
        self.output.write([memoryview(batch.serialize())])

    def close(self) -> None:
        """Mark the end of the stream, and close the output."""
        if self.length and not self.output.has_failed:
            with contextlib.suppress(BrokenPipeError):
                self.output.write([END_OF_STREAM])
        self.output.close()

    def _begun(self, live: LiveForecast) -> pa.Schema:
        """The schema, which stands at the beginning of the output."""
        if self._schema is not None:
            return self._schema
        schema = forecast_schema(live)
        if self.output.length == 0:
            self.output.write([schema.serialize().to_pybytes()])
        elif self.output.is_cut_back and not self._has(schema):
            raise StateError(
                f"the file of forecasts has another schema than {live.forecast.horizon} leads of quantiles "
                f"{live.forecast.quantiles} in steps of {self.frequency.alias!r}; expected the forecasts of one model. "
                "Move it away, and begin another."
            )
        self._schema = schema
        return schema

    def _has(self, schema: pa.Schema) -> bool:
        """Whether the file begins with this schema."""
        try:
            found = pa.ipc.read_schema(pa.py_buffer(self.output.head(LONGEST_SCHEMA)))
        except (pa.ArrowException, OSError):
            return False
        return bool(found.equals(schema, check_metadata=True))

    def _columns(self, live: LiveForecast) -> list[pa.Array]:
        forecast = live.forecast
        values = np.ascontiguousarray(forecast.values.transpose(2, 0, 1))  # [Q, B, L]
        return [
            pa.array(forecast.ids, pa.string()),
            time_column(forecast.origins, self.frequency),
            pa.array(live.counts, pa.int64()),
            pa.array(live.is_warming, pa.bool_()),
            *(pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), forecast.horizon) for numbers in values),
            *([pa.repeat(live.model, len(live))] if live.model else []),
        ]


def forecast_schema(live: LiveForecast) -> pa.Schema:
    """The schema of forecasts: its metadata names the frequency, and the time zone where there is one."""
    forecast = live.forecast
    frequency = forecast.frequency
    time = pa.int64() if frequency.is_numbered else pa.timestamp("ns", frequency.time_zone)
    metadata = {"frequency": frequency.alias, "horizon": str(forecast.horizon)}
    fields = [("unique_id", pa.string()), ("origin", time), ("count", pa.int64()), ("warming", pa.bool_())]
    fields += [(quantile_column(quantile), pa.list_(pa.float64(), forecast.horizon)) for quantile in forecast.quantiles]
    return pa.schema([*fields, ("model", pa.string())] if live.model else fields, metadata)
