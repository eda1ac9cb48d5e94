"""How a feed is taken in, whatever it is: what every source is told."""

from collections.abc import Callable
from dataclasses import dataclass

from forecaster.streaming.live import FeedPosition


def never() -> bool:
    """A stop flag that is not set."""
    return False


@dataclass(frozen=True)
class Intake:
    """From where on a feed is taken in, how it is cut into micro-batches, and what ends it.

    A micro-batch has at most `max_batch` observations, and is handed on `max_latency_ms` after its first one at the latest. Where
    times are `floored`, one between two positions counts as the earlier.
    """

    committed: FeedPosition = FeedPosition()  # noqa: RUF009 - frozen
    max_batch: int = 4096
    max_latency_ms: float = 0.0
    floored: bool = False
    should_stop: Callable[[], bool] = never
