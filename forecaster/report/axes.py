"""Axes of time and of values, drawn alike in every picture."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import EngFormatter, MaxNLocator, ScalarFormatter
from numpy.typing import NDArray

from forecaster.frequency import Frequency, Positions
from forecaster.series import Panel, Values

INK = "#333333"
PALE = "#999999"
GRID = "#E8E8E8"


def values_at(panel: Panel, unique_id: str, positions: Positions) -> Values:
    """The values of one series at positions, NaN where it has none."""
    b = panel.ids.index(unique_id)
    within = positions - panel.starts[b]
    held = (within >= 0) & (within < panel.lengths[b])
    values = np.full(len(positions), np.nan)
    values[held] = panel.series(b)[within[held]]
    return values


def time_axis(frequency: Frequency, positions: Positions) -> NDArray[np.generic]:
    """What matplotlib draws positions at: step numbers, or times on the panel's clock."""
    labels = frequency.labels(positions)
    return np.asarray(labels.to_numpy() if frequency.is_numbered else labels.dt.tz_localize(None).to_numpy())


def label_time(axes: Axes, frequency: Frequency, *, ink: str = INK, most: int = 6, size: float = 8) -> None:
    """At most so many ticks that say when."""
    if frequency.is_numbered:
        axes.xaxis.set_major_locator(MaxNLocator(most - 1, integer=True))
        axes.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
        spec = axes.get_subplotspec()
        if spec is not None and spec.is_last_row():
            axes.set_xlabel("step", fontsize=size, color=ink)
    else:
        locator = AutoDateLocator(minticks=3, maxticks=most)  # type: ignore[no-untyped-call]
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def label_values(axes: Axes) -> None:
    """Plain numbers, 120M for what is too long for the margin."""
    low, high = axes.get_ylim()
    size = max(abs(low), abs(high))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(EngFormatter(sep="") if size >= 1e5 or 0 < size < 1e-3 else ScalarFormatter(useOffset=False))


def clean(axes: Axes, *, ink: str = INK, pale: str = PALE, grid: str = GRID, size: float = 8) -> None:
    """No more ink than the data needs."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(pale)
    axes.grid(visible=True, color=grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=ink, labelsize=size, length=3, width=0.8)
    axes.xaxis.get_offset_text().set(fontsize=size, color=ink)  # the year, where ticks are days
    axes.margins(x=0.01)


@contextmanager
def names_as_they_are(figure: Figure) -> Iterator[None]:
    """While this lasts, the figure is drawn with words that are no mathematics, and letters that a font lacks are no alarm."""
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield
