"""The sentence that says what a leaderboard means, and whether it means anything."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forecaster.evaluation.leaderboard import Leaderboard, LeaderboardRow, leaderboard_rows
from forecaster.evaluation.losses import loss_shares
from forecaster.evaluation.metrics import mean_of_defined
from forecaster.series import Values

FEWEST_UNITS = 10  # below it, a standard error says more about luck than about the forecasters


@dataclass(frozen=True)
class PairedDifference:
    """How far one forecaster is below another, and twice the standard error of that over `units` series or origins."""

    difference: float
    margin: float
    units: int
    unit: Literal["series", "origins"]

    @property
    def is_enough(self) -> bool:
        return self.units >= FEWEST_UNITS

    @property
    def is_noise(self) -> bool:
        return abs(self.difference) <= self.margin


def leaderboard_summary(leaderboard: Leaderboard, ours: str = "gru") -> dict[str, object]:
    """What `--json` prints: the rows, the winner, the measure they are ordered by, and the verdict."""
    return {
        "leaderboard": leaderboard_rows(leaderboard),
        "winner": leaderboard.winner,
        "measure": leaderboard.measure,
        "verdict": verdict(leaderboard, ours),
    }


def verdict(leaderboard: Leaderboard, ours: str = "gru") -> str:
    """What the table says about `ours` in plain words, noise and failures included."""
    if leaderboard.winner is None:
        sentences = ["No forecaster could be scored."]
    else:
        mine = leaderboard.row(ours)
        is_scored = mine is not None and not math.isnan(getattr(mine, leaderboard.measure))
        rivals = [row for row in leaderboard.rows[1:] if not math.isnan(getattr(row, leaderboard.measure))]
        if is_scored and leaderboard.winner != ours:
            rivals = [row for row in rivals if row.forecaster == ours]
        sentences = _comparison(leaderboard, rivals[0], ours) if rivals else [f"Only {leaderboard.winner} could be scored."]
    return " ".join(sentences + _reservations(leaderboard))


def _comparison(leaderboard: Leaderboard, rival: LeaderboardRow, ours: str) -> list[str]:
    """The winner against ours, or against the next best where ours wins (or takes no part)."""
    best, name = leaderboard.rows[0], leaderboard.measure.upper().replace("SMAPE", "sMAPE")
    low, high = getattr(best, leaderboard.measure), getattr(rival, leaderboard.measure)
    if low == high:
        return [f"{best.forecaster} and {rival.forecaster} have the same {name} ({low:.3f})."]
    if low > high:
        return [f"{best.forecaster} leads; the {name} of {rival.forecaster} is a mean over those values only that it answered."]
    paired = paired_difference(leaderboard, best.forecaster, rival.forecaster)
    sizes = f"{_percent(high - low, high)} below that of {rival.forecaster}"
    sizes += f"{', the next best' if best.forecaster == ours else ''} ({low:.3f} against {high:.3f})"
    counted = f"{paired.units:,} {paired.unit}"
    if not paired.is_enough:
        return [f"{best.forecaster} leads: its {name} is {sizes}. {counted} are too little evidence to say that it is better."]
    if paired.is_noise:
        noise = f"Over {counted} that is a difference within noise (two standard errors are {paired.margin:.3f})"
        return [f"{best.forecaster} leads: its {name} is {sizes}.", f"{noise}: take the simpler of the two."]
    won = f"{best.forecaster} wins: its {name} is {sizes}, beyond noise over {counted}."
    return [won] if best.forecaster == ours or rival.forecaster != ours else [won, f"On this panel {best.forecaster} is enough."]


def _reservations(leaderboard: Leaderboard) -> list[str]:
    """What a reader of the verdict must know besides: who failed, and who left values out."""
    reference = leaderboard.scores.reference
    said = [f"{name} failed and has no scores." for name in leaderboard.scores.failures]
    for name, tally in leaderboard.scores.tallies.items():
        if tally.skipped:
            said.append(f"{name} gave no number for {tally.missing:,} values, {tally.skipped:,} of which are not scored.")
        elif tally.missing:
            said.append(f"{name} gave no number for {tally.missing:,} values; those of {reference} are scored in their place.")
    return said


def paired_difference(leaderboard: Leaderboard, better: str, worse: str) -> PairedDifference:
    """How much lower `better` scores than `worse`, with twice the standard error of the mean difference over the series.

    Fewer than ten series say too little about each other: then the origins are the units, each the mean over series, and
    as many of them count as reach their horizon without sharing a value. The reference's scores are taken as fixed.
    """
    scores, measure = leaderboard.scores, leaderboard.measure
    difference = getattr(leaderboard.row(worse), measure) - getattr(leaderboard.row(better), measure)
    worse_sums, better_sums = scores.series_sums(worse), scores.series_sums(better)
    by_series = loss_shares(scores, measure, worse_sums, scores.scale) - loss_shares(scores, measure, better_sums, scores.scale)
    by_series = by_series[~np.isnan(by_series)]
    if len(by_series) >= FEWEST_UNITS:
        return PairedDifference(difference, _margin(by_series, len(by_series)), len(by_series), "series")
    scale = scores.scale[scores.series]
    worse_rows, better_rows = scores.tallies[worse].rows, scores.tallies[better].rows
    by_row = loss_shares(scores, measure, worse_rows, scale) - loss_shares(scores, measure, better_rows, scale)
    at, place = np.unique(scores.origins, return_inverse=True)
    by_origin = np.array([float(mean_of_defined(by_row[place == k])) for k in range(len(at))])
    at, by_origin = at[~np.isnan(by_origin)], by_origin[~np.isnan(by_origin)]
    horizon = len(scores.tallies[better].by_lead["smape"])
    apart = float(np.diff(at).mean()) / horizon if len(at) > 1 else 1.0
    units = int(np.ceil(len(by_origin) * min(1.0, apart)))
    return PairedDifference(difference, _margin(by_origin, units), units, "origins")


def _margin(differences: Values, units: int) -> float:
    return 2 * float(differences.std(ddof=1)) / math.sqrt(units) if len(differences) > 1 else math.inf


def _percent(part: float, whole: float) -> str:
    share = 100 * part / whole
    return f"{share:.1f} %" if share >= 0.1 else "less than 0.1 %"
