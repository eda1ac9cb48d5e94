"""The rungs beside each other: mean losses over seeds, on the same rows, and what the tests say of them.

Axes: U units (series or origins), K seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from forecaster.ablation.intervals import Gain, gain
from forecaster.evaluation.leaderboard import Leaderboard, leaderboard_rows, rank
from forecaster.evaluation.ledger import Tally
from forecaster.evaluation.losses import Losses, paired_losses
from forecaster.evaluation.scores import Scores
from forecaster.evaluation.significance import Significance, Unit, significance
from forecaster.series import Values

CONFIDENCE = 0.95
LABELS = {"mase": "MASE", "smape": "sMAPE", "owa": "OWA"}


@dataclass(frozen=True)
class Rung:
    """What a rung is and costs: the means over its seeds."""

    name: str
    parameters: int
    cell_parameters: int
    state_size: int
    train_seconds: float
    steps: tuple[int, ...]
    step_microseconds: float


@dataclass(frozen=True)
class Ladder:
    """Rungs and plain references, scored on the same rows: `losses` of each [U, K], K = 1 for a reference.

    `leaderboard` has the means over seeds, `found` what the tests say of these.
    """

    rungs: tuple[Rung, ...]
    references: tuple[str, ...]
    seeds: tuple[int, ...]
    losses: dict[str, Values]
    leaderboard: Leaderboard
    found: Significance

    @property
    def measure(self) -> str:
        """What losses are, as a reader knows it."""
        return LABELS[self.leaderboard.measure]

    @property
    def best(self) -> Rung:
        """The rung with the lowest mean loss."""
        return min(self.rungs, key=lambda rung: float(self.losses[rung.name].mean()))

    @property
    def best_reference(self) -> str | None:
        """The reference with the lowest mean loss."""
        return min(self.references, key=lambda name: float(self.losses[name].mean()), default=None)

    def gain(self, ours: str, theirs: str, *, confidence: float = CONFIDENCE) -> Gain:
        """What one of them gains on another."""
        return gain(self.losses[ours], self.losses[theirs], confidence=confidence)


def ladder_of(
    rungs: Sequence[Rung],
    tallies: Mapping[str, Sequence[Tally]],
    references: Mapping[str, Tally],
    *,
    seeds: Sequence[int],
    of: Scores,
) -> Ladder:
    """The ladder of what each rung lost with each seed, and of what references lost; `of` says which rows they all are of.

    A reference that could not be scored on the rows of the others takes no part.
    """
    columns = {f"{name} {seed}": tally for name, each in tallies.items() for seed, tally in zip(seeds, each, strict=True)}
    losses = paired_losses(rank(replace(of, tallies={**columns, **references})))
    place = {name: f for f, name in enumerate(losses.forecasters)}
    members = {name: [place[f"{name} {seed}"] for seed in seeds] for name in tallies}
    members |= {name: [place[name]] for name in references if name in place}
    means = replace(
        losses,
        forecasters=tuple(members),
        values=np.stack([losses.values[:, chosen].mean(axis=1) for chosen in members.values()], axis=1),
    )
    found = significance(means, alpha=round(1 - CONFIDENCE, 9))
    by_unit = _by_unit(losses, found.unit)
    mean_tallies = {name: _mean(each) for name, each in tallies.items()} | {name: references[name] for name in references}
    return Ladder(
        tuple(rungs),
        tuple(name for name in references if name in place),
        tuple(seeds),
        {name: by_unit[:, chosen] for name, chosen in members.items()},
        rank(replace(of, tallies=mean_tallies)),
        found,
    )


def ladder_rows(ladder: Ladder) -> list[dict[str, Any]]:
    """One row for each rung and reference, the best first: scores, gains on the best and on the base, tests, costs."""
    measure, rows = ladder.leaderboard.measure, []
    rungs, found = {rung.name: rung for rung in ladder.rungs}, ladder.found
    for scores in leaderboard_rows(ladder.leaderboard):
        name = str(scores["forecaster"])
        if name not in ladder.losses:
            continue
        rung, by_seed = rungs.get(name), ladder.losses[name].mean(axis=0)
        row: dict[str, Any] = {"forecaster": name, "kind": "rung" if rung else "reference"}
        row |= {column: scores[column] for column in ("mase", "smape", "wql", "coverage_80", "coverage_95", "msis", "crps")}
        row |= {"by_seed": by_seed.tolist(), "seed_deviation": float(by_seed.std(ddof=1)) if len(by_seed) > 1 else None}
        row["measure"] = measure
        row["gain_on_best"] = gain_summary(ladder.gain(name, ladder.best.name))
        row["gain_on_reference"] = gain_summary(ladder.gain(name, ladder.best_reference)) if ladder.best_reference else None
        row |= {"p_value": found.p_values.get(name), "inclusion": found.inclusion.get(name)}
        row |= {"in_confidence_set": name in found.confidence_set, "mean_rank": found.mean_ranks.get(name)}
        costs = ("parameters", "cell_parameters", "state_size", "train_seconds", "steps", "step_microseconds")
        rows.append(row | {cost: getattr(rung, cost) if rung else None for cost in costs})
    return rows


def remarks(ladder: Ladder) -> list[str]:
    """What a reader must know besides: steps that were not the same for all, and references that could not be scored."""
    made = {rung.name: sum(rung.steps) / len(rung.steps) for rung in ladder.rungs}
    fewest, most = min(made, key=lambda name: made[name]), max(made, key=lambda name: made[name])
    said = []
    if made[fewest] < 0.99 * made[most]:
        told = f"{fewest} made {made[fewest]:,.0f} steps in the mean and {most} {made[most]:,.0f}"
        said.append(f"Not all had the same training: {told}, as time or patience ended. Give more minutes, or fewer steps.")
    return said + [f"{name} {why} and takes no part." for name, why in ladder.found.absent.items()]


def gain_summary(found: Gain) -> dict[str, float | None]:
    """A gain as JSON has it: shares, null where undefined."""
    values = {"share": found.share, "low": found.low, "high": found.high, "confidence": found.confidence}
    return {name: float(value) if np.isfinite(value) else None for name, value in values.items()}


def _by_unit(losses: Losses, unit: Unit) -> Values:
    """Mean losses by series, or by the origins that share no value [U, F]."""
    if unit == "series":
        return losses.by_series()[1]
    return losses.by_origin()[1][::-1][:: losses.overlap][::-1]


def _mean(tallies: Sequence[Tally]) -> Tally:
    """What was lost on average over seeds."""
    by_lead = {name: np.mean([tally.by_lead[name] for tally in tallies], axis=0) for name in tallies[0].by_lead}
    most = [max(getattr(tally, count) for tally in tallies) for count in ("missing", "skipped", "notes")]
    return Tally(np.mean([tally.rows for tally in tallies], axis=0), by_lead, *most)
