"""Two small real steppers, with which the engine is tested; run as a program, a stream from stdin to stdout."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from forecaster.forecast import State
from forecaster.frequency import Frequency, Positions
from forecaster.series import Values
from forecaster.streaming.edges import open_source
from forecaster.streaming.engine import Engine
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.sinks import NdjsonSink
from forecaster.streaming.state import StateStore
from forecaster.streaming.stream import stream_forecasts

HOURLY = Frequency("h")
NUMBERED = Frequency("step", is_numbered=True)


@dataclass(frozen=True)
class Smoothing:
    """Simple exponential smoothing; the state is the level, its mean absolute error, and how many positions passed."""

    alpha: float = 0.3
    fingerprint: str = "smoothing-0.3"
    state_size: int = 3
    horizon: int = 2
    quantiles: tuple[float, ...] = (0.1, 0.5, 0.9)

    def initial_state(self, count: int) -> State:
        return np.tile(np.array([np.nan, 0, 0], np.float32), (count, 1))

    def step(self, state: State, y: Values, position: Positions) -> State:
        after, alpha = state.copy(), np.float32(self.alpha)
        level, value, seen = state[:, 0], y.astype(np.float32), ~np.isnan(y)
        first = seen & np.isnan(level)
        later = seen & ~first
        after[first, 0] = value[first]
        after[later, 0] = level[later] + alpha * (value[later] - level[later])
        after[later, 1] += alpha * (np.abs(value[later] - level[later]) - state[later, 1])
        after[:, 2] += np.float32(1)
        return after

    def forecast(self, state: State, position: Positions) -> Values:
        spread = np.array([-1.0, 0.0, 1.0]) * state[:, 1, None]
        return np.repeat((state[:, :1] + spread)[:, None, :], self.horizon, axis=1).astype(np.float64)


@dataclass(frozen=True)
class SeasonalRing:
    """Seasonal naive: the last value at each place in the season."""

    season_length: int = 4
    fingerprint: str = "ring-4"
    state_size: int = 4
    horizon: int = 4
    quantiles: tuple[float, ...] = (0.5,)

    def initial_state(self, count: int) -> State:
        return np.full((count, self.season_length), np.nan, np.float32)

    def step(self, state: State, y: Values, position: Positions) -> State:
        after, seen = state.copy(), np.flatnonzero(~np.isnan(y))
        after[seen, position[seen] % self.season_length] = y[seen]
        return after

    def forecast(self, state: State, position: Positions) -> Values:
        places = (position[:, None] + np.arange(1, self.horizon + 1)) % self.season_length
        return np.take_along_axis(state, places, axis=1).astype(np.float64)[:, :, None]


@pytest.mark.parametrize("stepper", [Smoothing(), SeasonalRing()], ids=["smoothing", "ring"])
def test_a_step_is_the_same_whatever_batch_it_comes_in(stepper):
    generator = np.random.default_rng(1)
    y = generator.normal(size=(20, 7))
    y[generator.random(y.shape) < 0.2] = np.nan
    together = stepper.initial_state(7)
    alone = [stepper.initial_state(1) for _ in range(7)]
    for t in range(20):
        together = stepper.step(together, y[t], np.full(7, t))
        alone = [stepper.step(state, y[t, b : b + 1], np.array([t])) for b, state in enumerate(alone)]
    assert together.tobytes() == np.concatenate(alone).tobytes()


def main(directory: str, max_batch: str) -> None:
    """Stream NDJSON with the smoothing stepper; the feed is whole."""
    config = StreamingConfig(max_batch=int(max_batch), max_latency_ms=1)
    with StateStore.open(Path(directory), fingerprint="smoothing-0.3", frequency=HOURLY, state_size=3) as store:
        engine = Engine(Smoothing(), HOURLY, store, config)
        source = open_source(sys.stdin.buffer, HOURLY, max_batch=config.max_batch, committed=engine.progress.feed, is_whole=True)
        summary = stream_forecasts(source, engine, NdjsonSink(sys.stdout.buffer, HOURLY))
    sys.stderr.write("\n".join(summary.lines()))


if __name__ == "__main__":
    main(*sys.argv[1:])
