"""Recurrent cells: each maps inputs and a state to outputs and the next state, over a window or over a single step.

A rung of the ladder is one idea more than the one before it, from a bank of exponential smoothers to the GRU, with the plain
recurrent network and the LSTM as neighbours. Everywhere z is the share of the candidate n that enters, so that alpha of
exponential smoothing is z. torch's GRU and the LSTM name the share that stays; that is converted where they are spoken to.
Axes: B series, T time steps, D inputs, H units, S state size.
"""

from collections.abc import Callable
from functools import partial

from forecaster.models.cells.gated import NoReset, ResetBefore
from forecaster.models.cells.gru import GRU
from forecaster.models.cells.neighbours import LSTM, RNN
from forecaster.models.cells.smoothers import Adaptive, Smoothing
from forecaster.models.cells.stack import Cell, Stack

LADDER: dict[str, Callable[..., Cell]] = {
    "smoothing": partial(Stack, Smoothing),
    "adaptive": partial(Stack, Adaptive),
    "no_carry": partial(Stack, NoReset, carry=False),
    "gru_no_reset": partial(Stack, NoReset),
    "gru": GRU,
    "gru_reset_before": partial(Stack, ResetBefore),
    "rnn": partial(Stack, RNN),
    "lstm": partial(Stack, LSTM),
}

__all__ = ["GRU", "LADDER", "Cell", "Stack"]
