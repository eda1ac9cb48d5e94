"""The pictures of a page: narrow enough for a phone, labelled where the data are, readable by pointing.

Each is a function from numbers to a `Drawing`; colours are stand-ins of `inline`.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, PercentFormatter

from forecaster.frequency import Frequency
from forecaster.report.axes import clean, label_time, label_values, time_axis
from forecaster.report.excerpts import Case, told_times
from forecaster.report.inline import GRID, INK, MUTED, OTHER, OURS, PAGE, RIVAL, Drawing
from forecaster.series import Values

NARROW, SLIM = 372.0, 304.0  # pixels: two and three pictures to a row; one, on a phone
SIZE = 11.5  # of letters
MOST_TIPS, MOST_DOTS, MOST_EDGES = 96, 60, 240  # of one line
OPACITIES = (0.16, 0.26)  # of the wider band, and of the one in it
FARTHEST = 3.0  # times the highest of the lines that a picture is about; what lies above is cut off, and says so
GAP = 0.062  # of the height, between two direct labels


def fan_picture(case: Case, frequency: Frequency, *, width: float = SLIM) -> Drawing:
    """What was known, what was said with its intervals, what came."""
    drawing = Drawing.of(width, 216)
    axes = drawing.figure.subplots()
    axes.plot(time_axis(frequency, case.past), case.history, color=MUTED, linewidth=1.2, solid_capstyle="round")
    for fan in case.fans:
        at = time_axis(frequency, fan.positions)
        dot = 3.5 if len(at) == 1 else 0.0  # a line of one value has no length
        edge = np.unique(np.linspace(0, len(at) - 1, MOST_EDGES).astype(int))  # of a band: more than there are pixels is waste
        for (low, high), opacity in zip(case.bands, OPACITIES, strict=False):
            lower, upper = case.quantile(fan, low)[edge], case.quantile(fan, high)[edge]
            axes.fill_between(at[edge], lower, upper, color=OURS, alpha=opacity, linewidth=0)
        if fan.rival is not None:
            axes.plot(at, fan.rival, color=RIVAL, linewidth=1.3, linestyle=(0, (4, 1.6)), marker="o", markersize=dot)
        axes.plot(at, case.quantile(fan, 0.5), color=OURS, linewidth=2, solid_capstyle="round", marker="o", markersize=dot)
        is_dotted = len(at) <= MOST_DOTS
        axes.plot(at, fan.actuals, color=INK, linewidth=0 if is_dotted else 0.8, marker="o", markersize=2.6 if is_dotted else 0)
        start = axes.convert_xunits(time_axis(frequency, fan.positions[:1] - 1))[0]  # type: ignore[no-untyped-call]
        axes.axvline(start, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
    frame(axes)
    axes.set_ylim(*_reach(axes, case))
    label_time(axes, frequency, ink=INK, most=5, size=SIZE)
    label_values(axes)
    _tell_fans(drawing, axes, case, frequency)
    return drawing


def _reach(axes: Axes, case: Case) -> tuple[float, float]:
    """From where to where a picture of forecasts reaches: no farther beyond what was and what was said than those lie apart."""
    lines = [case.history, *(line for fan in case.fans for line in (fan.actuals, case.quantile(fan, 0.5)))]
    values = np.concatenate(lines)
    values = values[np.isfinite(values)]
    bottom, top = axes.get_ylim()
    if not len(values) or np.ptp(values) == 0:
        return bottom, top
    return max(bottom, float(values.min() - np.ptp(values))), min(top, float(values.max() + np.ptp(values)))


def _tell_fans(drawing: Drawing, axes: Axes, case: Case, frequency: Frequency) -> None:
    for fan in case.fans:
        around = np.arange(fan.positions[0] - 1, fan.positions[-1] + 2)
        places = np.asarray(axes.convert_xunits(time_axis(frequency, around)), dtype=np.float64)  # type: ignore[no-untyped-call]
        edges, median = (places[1:] + places[:-1]) / 2, case.quantile(fan, 0.5)
        times, step = told_times(frequency, fan.positions), -(-len(fan.positions) // MOST_TIPS)
        for k in range(0, len(times), step):
            said = [times[k], f"forecast {number(median[k])}"]
            for low, high in case.bands[-1:]:
                lower, upper = case.quantile(fan, low)[k], case.quantile(fan, high)[k]
                said.append(f"{100 * (high - low):g} %: {number(lower)} to {number(upper)}")
            said += [f"rival {number(fan.rival[k])}"] if fan.rival is not None else []
            drawing.tell(axes, edges[k], edges[min(k + step, len(times))], "\n".join([*said, f"actual {number(fan.actuals[k])}"]))


def lines_picture(
    x: Sequence[float], lines: Mapping[str, Values], *, ours: str, rival: str | None, labels: Sequence[str], what: tuple[str, str]
) -> Drawing:
    """A line for each forecaster, named at its end; ours and the rival in colour. `what` names the axes."""
    drawing = Drawing.of(NARROW, 262)
    axes = drawing.figure.subplots()
    order = sorted(lines, key=lambda name: (name == ours, name == rival))
    for name in order:
        colour, width = _style(name, ours, rival)
        dash = (0, (4, 1.6)) if name == rival else "-"
        size = 4 if len(x) < 15 and name in (ours, rival) else 0
        axes.plot(x, lines[name], color=colour, linewidth=width, linestyle=dash, marker="o", markersize=size)
    frame(axes)
    axes.set_ylim(0, _top(lines, [name for name in (ours, rival) if name in lines]))
    label_values(axes)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(what[0], fontsize=SIZE, color=MUTED)
    axes.set_title(what[1], fontsize=SIZE, color=MUTED, loc="left")
    ends = {name: lines[name][np.isfinite(lines[name])][-1] for name in order if np.isfinite(lines[name]).any()}
    _name_ends(axes, ends, ours=ours, rival=rival)
    half = (x[1] - x[0]) / 2 if len(x) > 1 else 0.5
    best_first, step = sorted(ends, key=lambda name: ends[name]), -(-len(x) // MOST_TIPS)
    for k in range(0, len(x), step):
        said = [f"{name} {number(lines[name][k])}" for name in best_first]
        drawing.tell(axes, x[k] - half, x[min(k + step, len(x)) - 1] + half, "\n".join([labels[k], *said]))
    return drawing


def _top(lines: Mapping[str, Values], told: Sequence[str | None]) -> float:
    """How far up a picture reaches: over all lines, but no farther than those that it is about can be told apart."""
    highest = {name: float(np.nanmax(line)) for name, line in lines.items() if np.isfinite(line).any()}
    whole = max(highest.values(), default=1.0) or 1.0
    own = max((highest[name] for name in told if name in highest), default=0.0)
    return 1.08 * (min(whole, FARTHEST * own) if own > 0 else whole)


def _name_ends(axes: Axes, ends: Mapping[str, float], *, ours: str, rival: str | None) -> None:
    """Each line's name behind its last value, moved up or down where two would lie on each other."""
    low, high = axes.get_ylim()
    names = sorted(ends, key=lambda name: ends[name])
    places = spread_out([min((ends[name] - low) / (high - low), 1.0) for name in names], GAP)
    for name, place in zip(names, places, strict=True):
        colour, _ = _style(name, ours, rival)
        axes.annotate(
            f"{name} ↑" if ends[name] > high else name,
            (1.015, place),
            xycoords="axes fraction",
            va="center",
            fontsize=SIZE - 1,
            color=MUTED if colour == OTHER else colour,
            weight="bold" if name == ours else "normal",
        )


def spread_out(places: Sequence[float], gap: float) -> list[float]:
    """Ascending places within 0 and 1, moved as little as it takes to lie a gap apart (closer, where there is no room).

    >>> [round(place, 2) for place in spread_out([0.5, 0.52, 0.9], 0.1)]
    [0.46, 0.56, 0.9]
    """
    if len(places) < 2:
        return list(places)
    gap = min(gap, 1 / (len(places) - 1))
    groups: list[tuple[float, int]] = []  # the middle of labels that touch, and how many they are
    for place in places:
        groups.append((place, 1))
        while len(groups) > 1 and groups[-1][0] - groups[-2][0] < gap * (groups[-1][1] + groups[-2][1]) / 2:
            (b, m), (a, n) = groups.pop(), groups.pop()
            reach = gap * (n + m - 1) / 2
            groups.append((min(max((a * n + b * m) / (n + m), reach), 1 - reach), n + m))
    return [middle + gap * (k - (count - 1) / 2) for middle, count in groups for k in range(count)]


def calibration_picture(curves: Mapping[str, tuple[Values, Values]], *, ours: str, rival: str | None) -> Drawing:
    """How often intervals held what came (nominal [K], achieved [K] of each forecaster), against how often they should."""
    drawing = Drawing.of(NARROW, 300)
    axes = drawing.figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    for name, (nominal, achieved) in sorted(curves.items(), key=lambda curve: curve[0] == ours):
        colour, width = _style(name, ours, rival)
        dash = (0, (4, 1.6)) if name == rival else "-"
        axes.plot(nominal, achieved, color=colour, linewidth=width, linestyle=dash, marker="o", markersize=5)
    frame(axes)
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
        axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_xlabel("interval asked for", fontsize=SIZE, color=MUTED)
    axes.set_title("share of actual values inside", fontsize=SIZE, color=MUTED, loc="left")
    axes.text(0.03, 0.95, "too wide", color=MUTED, fontsize=SIZE - 1, va="top")
    axes.text(0.99, 0.05, "too narrow", color=MUTED, fontsize=SIZE - 1, ha="right")
    _name_ends(axes, {name: float(achieved[-1]) for name, (_, achieved) in curves.items()}, ours=ours, rival=rival)
    places = sorted({float(place) for nominal, _ in curves.values() for place in nominal})
    edges = [0, *((a + b) / 2 for a, b in pairwise(places)), 1.02]
    for place, low, high in zip(places, edges, edges[1:], strict=False):
        said = [f"{name} {100 * float(got[at == place][0]):.1f} %" for name, (at, got) in curves.items() if place in at]
        drawing.tell(axes, low, high, "\n".join([f"asked for {100 * place:g} %", *said]))
    return drawing


def dots_picture(
    values: Mapping[str, float],
    *,
    ours: str,
    best: Sequence[str] = (),
    reference: float | None = None,
    what: str = "",
    intervals: Mapping[str, tuple[float, float]] | None = None,
    is_share: bool = False,
) -> Drawing:
    """A dot for each name with its value beside it, from the top down; full dots for those among the best."""
    drawing = Drawing.of(NARROW, 46 + 27 * len(values))
    axes = drawing.figure.subplots()
    spans = intervals or {}
    ends = [*values.values(), *(end for span in spans.values() for end in span if math.isfinite(end))]
    for place, (name, value) in enumerate(values.items()):
        colour = OURS if name == ours else MUTED
        low, high = spans.get(name, (reference or 0.0, value) if is_share else (0.0, value))
        axes.hlines(place, low, high, color=colour, linewidth=1.8 if name in spans else 1.4)
        axes.plot(
            value, place, "o", markersize=8, markeredgewidth=1.8, color=colour, markerfacecolor=colour if name in best else PAGE
        )
        told = signed(value) if is_share else number(value)
        right = max(value, high) if name in spans else value
        weight = "bold" if name == ours else "normal"
        axes.annotate(
            told, (right, place), (9, 0), textcoords="offset points", va="center", fontsize=SIZE, color=INK, weight=weight
        )
        span = f"\n{signed(low)} to {signed(high)}" if name in spans else ""
        drawing.tell(axes, place - 0.5, place + 0.5, f"{name} {told}{span}", is_row=True)
    axes.set_yticks(range(len(values)), list(values))
    axes.set_ylim(len(values) - 0.4, -0.6)
    low, high = min([0.0, *ends]), max([0.0, *ends])
    axes.set_xlim(low - 0.03 * (high - low), high + 0.25 * (high - low or 1.0))
    if reference is not None:
        axes.axvline(reference, color=MUTED, linewidth=1, linestyle=(0, (2, 2)), zorder=0)
    frame(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if is_share:
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_xlabel(what, fontsize=SIZE, color=MUTED)
    for label, name in zip(axes.get_yticklabels(), values, strict=True):
        label.set(color=OURS if name == ours else INK, fontweight="bold" if name == ours else "normal")
    return drawing


def bars_picture(counts: Mapping[str, int], *, ours: str, what: str) -> Drawing:
    """A bar for each name, its count beside it."""
    drawing = Drawing.of(NARROW, 40 + 27 * len(counts))
    axes = drawing.figure.subplots()
    total = sum(counts.values())
    for place, (name, count) in enumerate(counts.items()):
        axes.barh(place, count, height=0.62, color=OURS if name == ours else OTHER, linewidth=0)
        told = f"{count:,}  ({100 * count / total:.0f} %)"
        axes.annotate(told, (count, place), (6, 0), textcoords="offset points", va="center", fontsize=SIZE, color=INK)
        drawing.tell(axes, place - 0.5, place + 0.5, f"{name} {told}", is_row=True)
    axes.set_yticks(range(len(counts)), list(counts))
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlim(0, 1.35 * max(counts.values()))
    frame(axes)
    axes.grid(visible=False)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel(what, fontsize=SIZE, color=MUTED)
    return drawing


def signed(share: float) -> str:
    """A share in per cent with its sign; nothing has none.

    >>> signed(0.05), signed(-0.0001), signed(-0.2)
    ('+5.0 %', '0.0 %', '-20.0 %')
    """
    told = f"{100 * share:+.1f} %"
    return told if told.strip("+-") != "0.0 %" else "0.0 %"


def number(value: float) -> str:
    """A number in at most five digits, none that say nothing.

    >>> [number(value) for value in (0.68027, 12846.3, 3.0, 1.5e7, -0.00012, float("nan"))]
    ['0.680', '12,846', '3.000', '1.500e+07', '-1.200e-04', '–']
    """
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-3:
        return f"{value:.3e}"
    return (
        f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.3f}"
    )


def _style(name: str, ours: str, rival: str | None) -> tuple[str, float]:
    return (OURS, 2.2) if name == ours else (RIVAL, 1.7) if name == rival else (OTHER, 1.2)


def frame(axes: Axes) -> None:
    clean(axes, ink=INK, pale=MUTED, grid=GRID, size=SIZE)
