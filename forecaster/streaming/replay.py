"""A stored panel as a feed, at its own pace or as fast as it can be read."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster.errors import ConfigError
from forecaster.frequency import Frequency
from forecaster.series import Panel
from forecaster.streaming.arrivals import Arrivals, CodedIds
from forecaster.streaming.committed import begin_at, check_end, check_passed, move_on
from forecaster.streaming.intake import Intake
from forecaster.streaming.labels import Labels
from forecaster.streaming.lines import POLL_SECONDS
from forecaster.streaming.live import FeedPosition

ROW = np.dtype([("series", "<i8"), ("position", "<i8"), ("y", "<f8")])


class Pace:
    """Waits until it is time for what happened at a moment: `speed` times as fast as it happened.

    Raises ConfigError if the speed is not above zero.
    """

    def __init__(self, speed: float, *, should_stop: Callable[[], bool]) -> None:
        if not speed > 0:
            raise ConfigError(f"speed is {speed:g}; expected a number above 0, how many times as fast as it happened.")
        self._speed = speed
        self._should_stop = should_stop
        self._began: tuple[float, int] | None = None

    def wait(self, moment: int) -> bool:
        """Wait for a moment, in nanoseconds; False if a stop was asked for meanwhile."""
        if self._began is None:
            self._began = (time.monotonic(), moment)
        due = self._began[0] + (moment - self._began[1]) / 1e9 / self._speed
        while not self._should_stop():
            left = due - time.monotonic()
            if left <= 0:
                return True
            time.sleep(min(left, POLL_SECONDS))
        return False


def replay(panel: Panel, intake: Intake, *, speed: float | None = None, is_whole: bool = False) -> Iterator[Arrivals]:
    """The panel's values in the order of time, missing ones too, series in the order of their ids.

    Lines count values; a whole panel is passed over like
    a whole feed. With `speed`, positions come that many times as fast as they did; the first one at once.
    """
    rows, committed = _rows_in_time(panel), intake.committed
    seen = begin_at(committed, is_whole=is_whole)
    offset = committed.lines - seen.lines
    if offset:
        seen = move_on(seen, rows[:offset].tobytes(), lines=min(offset, len(rows)))
        check_end(seen, committed)
        check_passed(seen, committed)
    labels = Labels(panel.frequency)
    pace = None if speed is None else Pace(speed, should_stop=intake.should_stop)
    for first, stop in _batches(rows, offset, intake.max_batch, is_paced=pace is not None):
        if intake.should_stop() or not (pace is None or pace.wait(_moment(rows["position"][first], panel.frequency))):
            return
        batch = rows[first:stop]
        seen = move_on(seen, batch.tobytes(), lines=len(batch))
        yield _replayed(panel, batch, first, feed=seen, labels=labels)


def _rows_in_time(panel: Panel) -> NDArray[np.void]:
    rows = np.empty(len(panel.values), ROW)
    rows["series"] = np.repeat(np.arange(len(panel)), panel.lengths)
    rows["position"] = np.arange(len(rows)) + (panel.starts - panel.offsets[:-1])[rows["series"]]
    rows["y"] = panel.values
    return rows[np.argsort(rows["position"], kind="stable")]


def _batches(rows: NDArray[np.void], offset: int, max_batch: int, *, is_paced: bool) -> Iterator[tuple[int, int]]:
    edges = [offset, len(rows)]
    if is_paced:
        cuts = np.flatnonzero(np.diff(rows["position"])) + 1
        edges = [offset, *cuts[cuts > offset].tolist(), len(rows)]
    for first, stop in pairwise(edges):
        yield from ((at, min(at + max_batch, stop)) for at in range(first, stop, max_batch))


def _moment(position: int, frequency: Frequency) -> int:
    """When a position began, in nanoseconds; raises ConfigError where steps are only numbered."""
    if frequency.is_numbered:
        raise ConfigError("--speed needs dates, and this panel counts steps. Leave it out, to replay as fast as possible.")
    return int(np.asarray(frequency.timestamps(np.array([position]))).astype("datetime64[ns]").astype(np.int64)[0])


def _replayed(panel: Panel, batch: NDArray[np.void], first: int, *, feed: FeedPosition, labels: Labels) -> Arrivals:
    def original(n: int) -> bytes:
        label = labels.read(batch["position"][n : n + 1])[0]
        return orjson.dumps({"unique_id": panel.ids[batch["series"][n]], "ds": label, "y": float(batch["y"][n])})

    return Arrivals(
        ids=CodedIds(panel.ids, batch["series"].copy()),
        positions=batch["position"].copy(),
        values=batch["y"].copy(),
        lines=np.arange(first + 1, first + 1 + len(batch)),
        rejected=(),
        feed=feed,
        original=original,
    )
