"""What a reader sees for a position."""

from datetime import datetime

import numpy as np
import pyarrow as pa

from forecaster.frequency import Frequency, Positions

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

    def horizons(self, origins: Positions, horizon: int) -> dict[int, list[str | int]]:
        """The labels of the `horizon` positions after each origin, by origin, written once however many series share it."""
        distinct = np.unique(origins)
        labels = self.read((distinct[:, None] + np.arange(1, horizon + 1)).ravel())
        return {origin: labels[n * horizon : (n + 1) * horizon] for n, origin in enumerate(distinct.tolist())}


def time_column(positions: Positions, frequency: Frequency) -> pa.Array:
    """Positions [N] as a column of Arrow: timestamps in nanoseconds, in the panel's time zone where it has one, or step numbers.

    >>> time_column(np.array([0]), Frequency("h", time_zone="Europe/Berlin")).type
    TimestampType(timestamp[ns, tz=Europe/Berlin])
    """
    if frequency.is_numbered:
        return pa.array(np.asarray(frequency.timestamps(positions)), pa.int64())
    distinct, codes = np.unique(positions, return_inverse=True)
    stamps = np.asarray(frequency.timestamps(distinct)).astype("datetime64[ns]").astype(np.int64)
    return pa.array(stamps[codes], pa.int64()).view(pa.timestamp("ns", frequency.time_zone))


def _label(stamp: datetime | int) -> str | int:
    return stamp if isinstance(stamp, int) else stamp.isoformat()
