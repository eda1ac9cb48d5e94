"""Small panels for the tests of the recurrent forecaster."""

from collections.abc import Sequence

import numpy as np

from forecaster.frequency import Frequency
from forecaster.series import Panel


def panel_of(*series: Sequence[float] | np.ndarray, alias: str = "D") -> Panel:
    """A panel of the given series, each from position 100 on."""
    parts = [np.asarray(one, dtype=np.float64) for one in series]
    ids = tuple(f"series_{b:04d}" for b in range(len(parts)))
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    return Panel(ids, np.full(len(parts), 100), offsets, np.concatenate(parts), Frequency(alias))


def weekly_panel(count: int, length: int = 60, *, signed: bool = False, seed: int = 0) -> Panel:
    """Daily series with a weekly season of their own, a slow wave and noise."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(count):
        t = np.arange(length)
        season = random.normal(0, 3, 7)[t % 7]
        y = 20 + season + 2 * np.sin(t / 40 + random.uniform(0, 6)) + random.normal(0, 1, length)
        parts.append(y - 20 if signed else np.maximum(y, 1))
    return panel_of(*parts)
