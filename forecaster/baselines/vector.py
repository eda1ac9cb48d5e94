"""What a live series carries, number by number: a float64 vector with names, kept in the float32 words of a state.

`State` is float32, and recursions that agree with statsmodels to 1e-8 need float64. So each number takes two words of the state,
as bytes: nothing is rounded, and taking a state apart costs no arithmetic. The words mean nothing one by one; a state is copied,
stored and stacked, never computed with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from forecaster.forecast import State
from forecaster.series import Values

Fields = dict[str, Values]
WORDS = 2  # float32 words in a float64


@dataclass(frozen=True)
class Layout:
    """Where each name lies in the vector: a width of 0 for a number, otherwise that many numbers beside each other."""

    widths: Mapping[str, int]

    @cached_property
    def size(self) -> int:
        """Numbers in the vector."""
        return sum(width or 1 for width in self.widths.values())

    @property
    def state_size(self) -> int:
        """S, in float32 words."""
        return WORDS * self.size

    def fields(self, vectors: Values) -> Fields:
        """Views of vectors [B, size] by name: [B], or [B, width].

        >>> vectors = np.zeros((2, 3))
        >>> Layout({"level": 0, "season": 2}).fields(vectors)["season"][:] = 5.0
        >>> vectors
        array([[0., 5., 5.],
               [0., 5., 5.]])
        """
        views, first = {}, 0
        for name, width in self.widths.items():
            views[name] = vectors[:, first : first + width] if width else vectors[:, first]
            first += width or 1
        return views


def to_state(vectors: Values) -> State:
    """The state [B, S] that holds vectors [B, size]; no copy."""
    return vectors.view(np.float32)


def from_state(state: State) -> Values:
    """The vectors [B, size] in a state [B, S]; shares memory with it where it can.

    >>> from_state(to_state(np.array([[0.1, np.nan]])))
    array([[0.1, nan]])
    """
    return np.ascontiguousarray(state, dtype=np.float32).view(np.float64)


def at_phase(table: Values, phase: NDArray[np.int64]) -> Values:
    """One column of each row [B] of a table [B, m]: that of its phase; a copy."""
    return np.asarray(table[np.arange(len(table)), phase])
