"""Gates over time as strips of heat, and how fast units forget.

Light is open and dark is closed, in a scale that loses nothing in grey or to a colour-blind eye.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from forecaster.frequency import Frequency, Positions
from forecaster.report.axes import label_time, label_values, time_axis
from forecaster.report.excerpts import told_times
from forecaster.report.inline import INK, MUTED, OURS, RIVAL, Drawing
from forecaster.report.pictures import NARROW, SIZE, frame, number
from forecaster.series import Values

MOST_ROWS = 64  # of a strip
MOST_TIPS = 120  # places along a strip that say something
FASTEST = -3  # half-lives below 2^-3 steps are all the same
HEAT = LinearSegmentedColormap.from_list("heat", ["#13294b", "#2a6f97", "#8cb4a0", "#f2cc6b", "#fff3c9"])


def strip_picture(
    frequency: Frequency, positions: Positions, values: Values, gates: Mapping[str, Values], *, width: float = NARROW
) -> Drawing:
    """A series [T] over its gates [units, T] as strips, the slowest units at the bottom; bright is open."""
    drawing = Drawing.of(width, 120 + 118 * len(gates) + 20)
    rows = drawing.figure.subplots(1 + len(gates), 1, sharex=True, height_ratios=[1.0, *([1.0] * len(gates))])
    top, strips = rows[0], rows[1:]
    edges = time_axis(frequency, np.append(positions, positions[-1] + 1))
    top.plot(edges[:-1], values, color=INK, linewidth=1.3, solid_capstyle="round")
    frame(top)
    top.tick_params(axis="x", length=0)
    label_values(top)
    number_edges = np.asarray(top.convert_xunits(edges), dtype=np.float64)
    for axes, (name, table) in zip(strips, gates.items(), strict=True):
        shown = _fewer_rows(table)
        extent = (number_edges[0], number_edges[-1], 0.0, 1.0)
        axes.imshow(shown, aspect="auto", extent=extent, cmap=HEAT, vmin=0, vmax=1, interpolation="none", origin="lower")
        axes.set_yticks([0.02, 0.98], ["slow", "fast"])
        axes.tick_params(colors=INK, labelsize=SIZE - 1, length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(name, fontsize=SIZE, color=MUTED, loc="left")
    label_time(strips[-1] if len(strips) else top, frequency, ink=INK, most=5 if width <= NARROW else 9, size=SIZE)
    _tell_steps(drawing, number_edges, told_times(frequency, positions), values, gates)
    return drawing


def _tell_steps(drawing: Drawing, edges: Values, times: Sequence[str], values: Values, gates: Mapping[str, Values]) -> None:
    """The value and the mean of each gate, step by step, or at every second, third, … one."""
    step = math.ceil(len(times) / MOST_TIPS)
    for k in range(0, len(times), step):
        part = slice(k, k + step)
        said = [f"{name.split(',')[0]} {table[:, part].mean():.2f} on average" for name, table in gates.items()]
        text = "\n".join([times[k], f"value {number(values[k])}", *said])
        for axes in drawing.figure.axes:
            drawing.tell(axes, edges[k], edges[min(k + step, len(times))], text)


def _fewer_rows(table: Values) -> Values:
    """The units [U, T] in at most as many rows as a strip has, neighbours averaged."""
    parts = np.array_split(table, min(len(table), MOST_ROWS))
    return np.stack([part.mean(axis=0) for part in parts])


def half_lives_picture(half_lives: Values, *, seasons: Sequence[int], longest: float) -> Drawing:
    """How many units forget half of what they hold in so many steps, in doublings; seasons are marked."""
    drawing = Drawing.of(NARROW, 236)
    axes = drawing.figure.subplots()
    top = math.ceil(math.log2(max(longest, 2)))
    places = np.clip(np.floor(np.log2(np.clip(half_lives, 2.0**FASTEST, None))), FASTEST, top)
    for place in range(FASTEST, top + 1):
        count = int((places == place).sum())
        axes.bar(place + 0.5, count, width=0.86, color=OURS, linewidth=0)
        is_last = place == top
        span = f"{2.0**place:g} steps and more" if is_last else f"{2.0**place:g} to {2.0 ** (place + 1):g} steps"
        drawing.tell(axes, place, place + 1, f"{span}\n{count} unit{'' if count == 1 else 's'}")
    for season in seasons:
        at = math.log2(season)
        if FASTEST <= at <= top + 1:
            axes.axvline(at, color=RIVAL, linewidth=1.2, linestyle=(0, (2, 2)))
            axes.annotate(f"season {season}", (at, 1), (3, -3), xycoords=("data", "axes fraction"), textcoords="offset points",
                          va="top", fontsize=SIZE - 1, color=RIVAL)  # fmt: skip
    frame(axes)
    axes.grid(visible=False, axis="x")
    axes.set_xlim(FASTEST - 0.1, top + 1.1)
    axes.set_ylim(0, 1.2 * max(1, max(int((places == p).sum()) for p in range(FASTEST, top + 1))))
    axes.xaxis.set_major_locator(FixedLocator(list(range(FASTEST, top + 2, 2))))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{2.0**value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("half-life in steps", fontsize=SIZE, color=MUTED)
    axes.set_title("units", fontsize=SIZE, color=MUTED, loc="left")
    return drawing
