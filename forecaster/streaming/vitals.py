"""How a live stream does: what it took in, how fast, which series lag, and what its intervals covered."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forecaster.forecast import Chooser, State, Stepper
from forecaster.streaming.accounts import BEHIND, FORECASTS, MISSING, NOT_FINITE
from forecaster.streaming.conformal import Calibrated
from forecaster.streaming.engine import Engine
from forecaster.streaming.labels import Labels
from forecaster.streaming.lateness import NEVER, Arrival

SLOWEST = 5
SECONDS_OF_RATE = 10.0

Coverage = Callable[[State], dict[str, float]]


@dataclass(frozen=True)
class Vitals:
    """One look at a stream.

    `counts` are by arrival since the state was made; `lag` is how many positions behind the newest one a series is, at the
    median and at the most; `slowest` are the series furthest behind, with the label of their last position. `coverage` is the
    share of values inside each interval lately, by its nominal share, where the stream is calibrated; `speaking` is for how many
    series each voice speaks, where there are several, and how many have lost their champion, by the reason.
    """

    series: int
    warming: int
    newest: str | int | None
    lines: int
    counts: dict[str, int]
    missing: int
    behind: int
    forecasts: int
    not_finite: int
    dead: int
    lag_median: float
    lag_most: int
    slowest: dict[str, str | int]
    coverage: dict[str, float]
    speaking: dict[str, int]
    logged: int
    rate: float
    commit_ms: float

    def to_dict(self) -> dict[str, Any]:
        """The look as JSON knows it."""
        return asdict(self)

    def text(self) -> list[str]:
        """The look as a reader wants it."""
        lines = [
            f"  {self.lines:,} lines taken in, {self.forecasts:,} forecasts, {self.series:,} series, {self.warming:,} warming up",
            f"  newest {self.newest}; series lag {self.lag_median:,.0f} positions at the median, {self.lag_most:,} at the most",
            "  " + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in self.counts.items() if count),
            f"  {self.dead:,} dead letters; {self.logged:,} observations to take in again at a restart",
        ]
        if self.lag_most > 1:
            lines.append("  furthest behind: " + ", ".join(f"{name} ({last})" for name, last in self.slowest.items()))
        if self.coverage:
            lines.append("  covered lately: " + ", ".join(f"{share} of {name}" for name, share in self.coverage.items()))
        if self.speaking:
            lines.append("  speaking: " + told_of(self.speaking))
        return lines


class Pulse:
    """Takes a look at an engine now and then: call `beat` after each micro-batch.

    `tell` is called at most every `seconds` seconds of the `clock`, and is free to print, log or count.
    """

    def __init__(
        self,
        tell: Callable[[Vitals], None],
        *,
        seconds: float = 1.0,
        coverage: Coverage | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._seconds = seconds
        self.coverage = coverage
        self._clock = clock
        self._told = clock()
        self._seen: deque[tuple[float, int]] = deque([(self._told, 0)])
        self._arrived = 0
        self._commit_seconds = 0.0

    def beat(self, engine: Engine, arrived: int, commit_seconds: float) -> None:
        """A micro-batch of so many lines was committed, in so long."""
        self._arrived += arrived
        self._commit_seconds = commit_seconds
        self.idle(engine)

    def idle(self, engine: Engine) -> None:
        """Time goes by, perhaps with nothing to take in: a feed that fell silent must show as one."""
        now = self._clock()
        if now - self._told < self._seconds:
            return
        self._told = now
        self._seen.append((now, self._arrived))
        while len(self._seen) > 2 and now - self._seen[0][0] > SECONDS_OF_RATE:
            self._seen.popleft()
        (began, before), (ended, after) = self._seen[0], self._seen[-1]
        rate = (after - before) / max(ended - began, 1e-9)
        self._tell(vitals(engine, rate=rate, commit_ms=1000 * self._commit_seconds, coverage=self.coverage))


def speaking(engine: Engine) -> dict[str, int]:
    """For how many series of an engine each voice speaks, and why others lost theirs; empty where there is but one voice."""
    if chooser_of(engine.stepper, engine.series.state[:0]) is None:
        return {}
    begun = np.flatnonzero(engine.series.positions[: len(engine.series)] != NEVER)
    chosen = chooser_of(engine.stepper, engine.series.state[begun])
    return chosen[0].speaking(chosen[1]) if chosen else {}


def chooser_of(stepper: Stepper, state: State) -> tuple[Chooser, State] | None:
    """Who chooses among voices in a stepper, and its part of the state; None where there is but one voice."""
    if isinstance(stepper, Calibrated):
        return stepper.chooser(state)
    return (stepper, state) if isinstance(stepper, Chooser) else None


def told_of(speaking: dict[str, int]) -> str:
    """Who speaks, in words.

    >>> told_of({"champion": 95, "runner_up": 5, "stand_in": 0, "stale": 0, "off_coverage": 5})
    'champion 95, runner up 5, off coverage 5'
    """
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in speaking.items() if count)


def vitals(engine: Engine, *, rate: float = 0.0, commit_ms: float = 0.0, coverage: Coverage | None = None) -> Vitals:
    """How an engine does now."""
    series, progress = engine.series, engine.progress
    count = len(series)
    begun = np.flatnonzero(series.positions[:count] != NEVER)
    lags = progress.newest - series.positions[begun]
    slowest = begun[np.argsort(-lags, kind="stable")[:SLOWEST]] if len(begun) else begun
    labels = Labels(engine.frequency)
    newest = labels.read(np.array([progress.newest]))[0] if progress.newest != NEVER else None
    counts = {arrival.label: progress.counts.get(arrival.label, 0) for arrival in Arrival}
    return Vitals(
        series=count,
        warming=int((series.counts[:count] < engine.warming_steps).sum()),
        newest=newest,
        lines=progress.feed.lines,
        counts=counts,
        missing=progress.counts.get(MISSING, 0),
        behind=progress.counts.get(BEHIND, 0),
        forecasts=progress.counts.get(FORECASTS, 0),
        not_finite=progress.counts.get(NOT_FINITE, 0),
        dead=sum(counts[arrival.label] for arrival in Arrival if arrival > Arrival.DUPLICATE),
        lag_median=float(np.median(lags)) if len(lags) else 0.0,
        lag_most=int(lags.max(initial=0)),
        slowest=dict(zip([series.ids[slot] for slot in slowest], labels.read(series.positions[slowest]), strict=True)),
        coverage=coverage(series.state[:count]) if coverage is not None and len(begun) else {},  # a view: nothing is copied
        speaking=speaking(engine),
        logged=engine.logged,
        rate=rate,
        commit_ms=commit_ms,
    )
