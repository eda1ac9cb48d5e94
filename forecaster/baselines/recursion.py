"""What every baseline is when it lives: numbers for each series, a step that moves them, and paths into the future.

A `Recursion` names the numbers and the three functions; `stepping.py` gives all of them the same door. Beside its own numbers
each series has those of `memory.py`, which hold what it fell silent at and what it falls back to.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from forecaster.baselines.parameters import Numbers
from forecaster.baselines.vector import Fields
from forecaster.frequency import Positions
from forecaster.series import Values

Begin = Callable[[Fields, pd.DataFrame, Positions], None]
Step = Callable[[Fields, Values, Positions], None]
Paths = Callable[[Fields, Positions, int], tuple[Values, Values]]
Pool = Callable[[pd.DataFrame], Numbers]


@dataclass(frozen=True)
class Span:
    """So many seasons, and some numbers more: a width that follows from the season length."""

    seasons: int
    more: int


@dataclass(frozen=True)
class Recursion:
    """Functions on the fields of many series, elementwise, so that no series depends on those it is stepped with.

    `begin` writes fitted parameters [B] into the fields of series that start at positions [B], `step` moves the fields by an
    observation y [B] (NaN for none) at a position [B], and `paths` gives means and standard deviations [B, L] after one.
    `widths` names the numbers, as `Layout` takes them; PER_PHASE stands for one number for each phase of the season, and
    a `Span` for more than that.
    `pool` gives, from the parameters of fitted series, those of a series that no fit has seen.
    """

    widths: Mapping[str, int | Span]
    begin: Begin
    step: Step
    paths: Paths
    pool: Pool


PER_PHASE = -1


def width_of(width: int | Span, season_length: int) -> int:
    """How many numbers a width stands for, 0 for a single one.

    >>> width_of(3, 24), width_of(PER_PHASE, 24), width_of(Span(2, 5), 24)
    (3, 24, 53)
    """
    if isinstance(width, Span):
        return width.seasons * season_length + width.more
    return season_length if width == PER_PHASE else width
