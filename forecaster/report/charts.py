"""Pictures: what a forecast looks like beside the past and the truth, and how forecasters rank.

Colours are those of Okabe and Ito (2008), which people with the usual kinds of colour blindness can tell apart; lines that
share a panel differ in dash as well. Nothing here touches matplotlib's global state.
"""

import math
import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from forecaster.errors import ConfigError, DataError
from forecaster.evaluation.leaderboard import Leaderboard
from forecaster.forecast import Forecast
from forecaster.frequency import Frequency, Positions
from forecaster.report.axes import INK, PALE, clean, label_time, label_values, names_as_they_are, time_axis, values_at
from forecaster.series import Panel, Values

BLUE = "#0072B2"
OTHERS = (
    ("#D55E00", (0, (5, 1.5))),
    ("#009E73", (0, (1.5, 1.2))),
    ("#CC79A7", (0, (6, 1.5, 1.5, 1.5))),
    ("#E69F00", (0, (3, 3))),
)
FANS = ((0.025, 0.975, "95 % interval", 0.16), (0.1, 0.9, "80 % interval", 0.30))
FORMATS = (".png", ".svg")
DOTS_PER_INCH = 144
LONGEST_TITLE = 44


def forecast_chart(
    panel: Panel,
    forecast: Forecast,
    *,
    ids: Sequence[str],
    actuals: Panel | None = None,
    history: int | None = None,
    title: str = "",
    label: str = "forecast",
    others: Mapping[str, Forecast] | None = None,
) -> Figure:
    """Small multiples, one for each id: the last `history` values (three horizons), the forecast with its fans, the truth.

    The forecast is the one from an id's last origin. `actuals` holds what came after it (with rolling origins, the panel
    itself does). `others` are further forecasters, whose medians are drawn as thin lines. Up to six ids read well.

    Raises DataError when no id is given, or one that is not in both panel and forecast.
    """
    if not ids:
        raise DataError(f"no series to draw; name at least one, such as {panel.ids[:1]}.")
    for unique_id in ids:
        if unique_id not in panel.ids or unique_id not in forecast.ids:
            raise DataError(f"series {unique_id!r} is not in both panel and forecast; name one such as {forecast.ids[0]!r}.")
    columns = 1 if len(ids) == 1 else 2 if len(ids) in (2, 4) else 3
    lines = math.ceil(len(ids) / columns)
    figure = Figure(figsize=(9 if columns == 1 else 12, 1.1 + (3.4 if columns == 1 else 2.5) * lines), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08, w_pad=0.06)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(ids) :]:
        axes.remove()
    for axes, unique_id in zip(grid.flat, ids, strict=False):
        rows = {name: _last_row(made, unique_id) for name, made in {label: forecast, **(others or {})}.items()}
        _draw_series(axes, panel, {name: made for name, made in rows.items() if made}, actuals=actuals, history=history)
        axes.set_title(_shortened(unique_id), loc="left", fontsize=10, color=INK, parse_math=False)
    _draw_legend(figure, label, title)
    return figure


def leaderboard_chart(leaderboard: Leaderboard, *, title: str = "") -> Figure:
    """A dot for each forecaster, the best on top, the winner in colour; a line marks the reference where OWA is shown."""
    scored = [row for row in leaderboard.rows if not math.isnan(getattr(row, leaderboard.measure))]
    values = [float(getattr(row, leaderboard.measure)) for row in scored]
    figure = Figure(figsize=(8, 1.3 + 0.36 * max(len(scored), 1)), layout="constrained")
    axes = figure.subplots()
    for place, (row, value) in enumerate(zip(scored, values, strict=True)):
        colour = BLUE if row.forecaster == leaderboard.winner else PALE
        axes.hlines(place, 0, value, color=colour, linewidth=1.6)
        axes.plot(value, place, "o", color=colour, markersize=8)
        weight = "bold" if row.forecaster == leaderboard.winner else "normal"
        axes.annotate(f"{value:.3f}", (value, place), (8, 0), textcoords="offset points", va="center", color=INK, weight=weight)
    axes.set_yticks(range(len(scored)), [row.forecaster for row in scored])
    axes.set_ylim(len(scored) - 0.4, -0.6)
    axes.set_xlim(0, 1.12 * max([*values, 1.0] if leaderboard.measure == "owa" else [*values, 1e-9]))
    if leaderboard.measure == "owa":
        axes.axvline(1.0, color=INK, linewidth=1, linestyle=(0, (2, 2)), zorder=0)
    axes.set_xlabel(measure_label(leaderboard), color=INK)
    clean(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, labelsize=10)
    if title:
        axes.set_title(title, loc="left", fontsize=13, color=INK, fontweight="bold")
    return figure


def save_chart(figure: Figure, path: Path) -> Path:
    """Writes the figure as PNG or SVG, by its suffix: beside the path first, then renamed, so that no half of it is seen.

    The same figure gives the same bytes. Raises ConfigError for another suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"chart {str(path)!r} ends in {path.suffix!r}; expected {' or '.join(FORMATS)}. Rename it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
    try:
        with rc_context({"svg.hashsalt": "forecaster"}), names_as_they_are(figure):
            figure.savefig(beside, format=suffix[1:], dpi=DOTS_PER_INCH, metadata=metadata, facecolor="white")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _draw_legend(figure: Figure, label: str, title: str) -> None:
    """One legend for all panels, the title above it: as one box, layout keeps the two apart."""
    entries = {name: handle for axes in figure.axes for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    first = [name for name in ("history", "actual", label, *(fan[2] for fan in reversed(FANS))) if name in entries]
    names = first + [name for name in entries if name not in first]
    legend = figure.legend(
        [entries[name] for name in names],
        names,
        loc="outside upper left",
        ncols=min(len(names), 7 if len(figure.axes) == 1 else 9),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        title=title,
        alignment="left",
    )
    legend.get_title().set(fontsize=13, fontweight="bold", color=INK)


def _shortened(unique_id: str) -> str:
    return unique_id if len(unique_id) <= LONGEST_TITLE else unique_id[: LONGEST_TITLE - 1] + "…"


def _last_row(forecast: Forecast, unique_id: str) -> Forecast | None:
    rows = [r for r, name in enumerate(forecast.ids) if name == unique_id]
    return forecast.select(np.array([max(rows, key=lambda r: int(forecast.origins[r]))])) if rows else None


def _draw_series(
    axes: Axes, panel: Panel, forecasts: Mapping[str, Forecast], *, actuals: Panel | None, history: int | None
) -> None:
    """One small picture: past, fans, medians, truth; `forecasts` hold one row each, the first is the one with fans."""
    label, forecast = next(iter(forecasts.items()))
    unique_id, origin, horizon = forecast.ids[0], int(forecast.origins[0]), forecast.horizon
    past = np.arange(origin - (history or 3 * horizon) + 1, origin + 1)
    leads = np.arange(origin + 1, origin + horizon + 1)
    _line(axes, panel.frequency, past, values_at(panel, unique_id, past), color=INK, linewidth=1.3, label="history")
    at = time_axis(panel.frequency, leads)
    for low, high, name, alpha in FANS:
        if low in forecast.quantiles and high in forecast.quantiles:
            lower, upper = (forecast.values[0, :, forecast.quantiles.index(q)] for q in (low, high))
            axes.fill_between(at, lower, upper, color=BLUE, alpha=alpha, linewidth=0, label=name)
    styles = cycle(OTHERS)
    for name, made in list(forecasts.items())[1:]:
        colour, dash = next(styles)
        later = np.arange(int(made.origins[0]) + 1, int(made.origins[0]) + made.horizon + 1)
        _line(axes, panel.frequency, later, made.median[0], color=colour, linewidth=1.1, linestyle=dash, label=name)
    _line(axes, panel.frequency, leads, forecast.median[0], color=BLUE, linewidth=1.9, label=label)
    if actuals is not None and unique_id in actuals.ids:
        truth = values_at(actuals, unique_id, leads)
        _line(axes, panel.frequency, leads, truth, color="black", linewidth=0, marker="o", markersize=2.2, label="actual")
    axes.axvline(time_axis(panel.frequency, np.array([origin]))[0], color=PALE, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
    label_time(axes, panel.frequency)
    label_values(axes)
    clean(axes)


def _line(axes: Axes, frequency: Frequency, positions: Positions, values: Values, **style: object) -> None:
    axes.plot(time_axis(frequency, positions), values, solid_capstyle="round", **style)  # type: ignore[arg-type]


def measure_label(leaderboard: Leaderboard) -> str:
    """How the measure of a leaderboard is written under an axis."""
    if leaderboard.measure == "owa":
        return f"OWA, lower is better ({leaderboard.scores.reference} is 1)"
    return f"{'MASE' if leaderboard.measure == 'mase' else 'sMAPE'}, lower is better"
