"""The sentences that say what a leaderboard means, and whether it means anything: one conclusion, that of the tests."""

import math

from forecaster.evaluation.leaderboard import Leaderboard, LeaderboardRow, leaderboard_rows
from forecaster.evaluation.losses import paired_losses
from forecaster.evaluation.significance import FEWEST_UNITS, Significance, conclusion, significance, significance_summary

__all__ = ["FEWEST_UNITS", "leaderboard_summary", "verdict"]


def leaderboard_summary(leaderboard: Leaderboard, ours: str = "gru") -> dict[str, object]:
    """What `--json` prints: the rows, the winner, the measure they are ordered by, the tests, and the verdict.

    A row's `may_be_best` is null where nothing could be tested, or it took no part.
    """
    found = significance(paired_losses(leaderboard))
    rows = leaderboard_rows(leaderboard)
    for row in rows:
        is_tested = found.is_tested and row["forecaster"] in found.forecasters
        row["may_be_best"] = row["forecaster"] in found.contenders if is_tested else None
    return {
        "leaderboard": rows,
        "winner": leaderboard.winner,
        "measure": leaderboard.measure,
        "significance": significance_summary(found),
        "verdict": verdict(leaderboard, ours, found=found),
    }


def verdict(leaderboard: Leaderboard, ours: str = "gru", *, found: Significance | None = None) -> str:
    """What the table says about `ours` in plain words: who leads, what was shown of it, who failed or left values out.

    `found` are the tests of the leaderboard's losses, where they are at hand already.
    """
    if leaderboard.winner is None:
        sentences = ["No forecaster could be scored."]
    else:
        mine = leaderboard.row(ours)
        is_scored = mine is not None and not math.isnan(getattr(mine, leaderboard.measure))
        rivals = [row for row in leaderboard.rows[1:] if not math.isnan(getattr(row, leaderboard.measure))]
        if is_scored and leaderboard.winner != ours:
            rivals = [row for row in rivals if row.forecaster == ours]
        sentences = [f"Only {leaderboard.winner} could be scored."]
        if rivals:
            shown = _shown(leaderboard, found or significance(paired_losses(leaderboard)), rivals[0].forecaster, ours)
            sentences = [_comparison(leaderboard, rivals[0], ours), *shown]
    return " ".join(sentences + _reservations(leaderboard))


def _comparison(leaderboard: Leaderboard, rival: LeaderboardRow, ours: str) -> str:
    """The best row against ours, or against the next best where ours leads (or takes no part)."""
    best, name = leaderboard.rows[0], leaderboard.measure.upper().replace("SMAPE", "sMAPE")
    low, high = getattr(best, leaderboard.measure), getattr(rival, leaderboard.measure)
    if low == high:
        return f"{best.forecaster} and {rival.forecaster} have the same {name} ({low:.3f})."
    if low > high:
        return f"{best.forecaster} leads; the {name} of {rival.forecaster} is a mean over those values only that it answered."
    sizes = f"{_percent(high - low, high)} below that of {rival.forecaster}"
    sizes += f"{', the next best' if best.forecaster == ours else ''} ({low:.3f} against {high:.3f})"
    return f"{best.forecaster} leads: its {name} is {sizes}."


def _shown(leaderboard: Leaderboard, found: Significance, rival: str, ours: str) -> list[str]:
    """What the tests say, and what follows for whoever has to choose between the leader and the rival."""
    said, best = conclusion(found), leaderboard.winner
    if found.is_tested and found.forecasters[0] != best:
        said = f"On the {found.units:,} {found.unit} that can be tested {found.forecasters[0]} is ahead: {said}"
        return [said]
    if not found.is_tested or rival not in found.p_values:
        return [said]
    if rival in found.contenders:
        return [said, "Take the simpler of the two."]
    return [said, f"On this panel {best} is enough."] if rival == ours else [said]


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


def _percent(part: float, whole: float) -> str:
    share = 100 * part / whole
    return f"{share:.1f} %" if share >= 0.1 else "less than 0.1 %"
