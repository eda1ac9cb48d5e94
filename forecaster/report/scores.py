"""A picture of scores: who is ahead, who may be, and how errors grow with the lead."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from forecaster.evaluation.leaderboard import Leaderboard
from forecaster.report.axes import INK, PALE, clean
from forecaster.report.charts import BLUE, OTHERS, measure_label

MOST_LINES = 5


def scores_chart(leaderboard: Leaderboard, *, may_be_best: Sequence[str] = (), title: str = "") -> Figure:
    """Left a dot for each forecaster, blue where it may be the best; right the errors of the first few at each lead."""
    scored = [row for row in leaderboard.rows if not math.isnan(getattr(row, leaderboard.measure))]
    figure = Figure(figsize=(12, 1.6 + 0.36 * max(len(scored), 6)), layout="constrained")
    left, right = figure.subplots(1, 2)
    values = [float(getattr(row, leaderboard.measure)) for row in scored]
    for place, (row, value) in enumerate(zip(scored, values, strict=True)):
        colour = BLUE if row.forecaster == leaderboard.winner or row.forecaster in may_be_best else PALE
        face = "white" if colour == BLUE and row.forecaster != leaderboard.winner else colour
        left.hlines(place, 0, value, color=colour, linewidth=1.6)
        left.plot(value, place, "o", color=colour, markerfacecolor=face, markersize=8)
        left.annotate(f"{value:.3f}", (value, place), (8, 0), textcoords="offset points", va="center", color=INK)
    left.set_yticks(range(len(scored)), [row.forecaster for row in scored])
    left.set_ylim(len(scored) - 0.4, -0.6)
    left.set_xlim(0, 1.15 * max([*values, 1e-9]))
    left.set_xlabel(measure_label(leaderboard) + ("; blue: may be the best" if len(may_be_best) > 1 else ""), color=INK)
    clean(left)
    left.grid(visible=False, axis="y")
    _draw_leads(right, leaderboard, [row.forecaster for row in scored[:MOST_LINES]])
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, color=INK, fontweight="bold")
    return figure


def _draw_leads(axes: Axes, leaderboard: Leaderboard, names: Sequence[str]) -> None:
    measure = "smape" if leaderboard.measure == "smape" else "mase"
    styles = [(BLUE, (0, ())), *OTHERS]
    for name, (colour, dash) in zip(names, styles, strict=False):
        errors = leaderboard.scores.tallies[name].by_lead[measure]
        axes.plot(np.arange(1, len(errors) + 1), errors, color=colour, linestyle=dash, linewidth=1.5, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("lead", color=INK)
    axes.set_ylabel("MASE" if measure == "mase" else "sMAPE", color=INK)
    clean(axes)
    if names:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)
