"""Classes of series that must not suffer when another forecaster takes over."""

import numpy as np
from numpy.typing import NDArray

from forecaster.series import Panel

MOST_CLASSES = 20  # of one column; one with more names series, not classes
FEWEST_SERIES = 12  # to tell small series from large ones
MOSTLY_ZERO = 0.3

Members = NDArray[np.bool_]


def classes_of(panel: Panel) -> dict[str, Members]:
    """The series of each class [B], by what tells them apart: text that never changes, many zeros, how large values are.

    >>> from forecaster.frequency import Frequency
    >>> panel = Panel(("a", "b"), np.zeros(2, int), np.array([0, 4, 8]), np.array([0, 0, 0, 9.0, 1, 2, 3, 4]), Frequency("D"))
    >>> classes_of(panel)
    {'many zeros': array([ True, False])}
    """
    found: dict[str, Members] = {}
    if panel.static is not None:
        for name, column in zip(panel.static.names, panel.static.columns, strict=True):
            values = [str(value) for value in column]
            if isinstance(next((value for value in column if value is not None), None), str) and len(set(values)) <= MOST_CLASSES:
                found |= {f"{name} {value}": np.array([v == value for v in values]) for value in sorted(set(values))}
    zeros = np.array([_share_of_zeros(panel.series(b)) for b in range(len(panel))])
    if (zeros > MOSTLY_ZERO).any():
        found["many zeros"] = zeros > MOSTLY_ZERO
    if len(panel) >= FEWEST_SERIES:
        sizes = np.array([float(np.nanmedian(np.abs(panel.series(b)))) for b in range(len(panel))])
        low, high = np.quantile(sizes, (1 / 3, 2 / 3))
        found |= {"small values": sizes <= low, "large values": sizes > high}
    return {name: members for name, members in found.items() if members.any()}


def _share_of_zeros(values: NDArray[np.float64]) -> float:
    observed = values[~np.isnan(values)]
    return float((observed == 0).mean()) if len(observed) else 0.0
