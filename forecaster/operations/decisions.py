"""When to train again, and whether the one that was trained may serve: decided by evidence, and told with it."""

import math
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, field_validator

from forecaster.operations.drift import Drift

FEWEST_SERIES = 3  # of a class, before it can be said to collapse


class RetrainConfig(BaseModel):
    """When to train again: every so many days, after so much growth of the panel, or on drift; null for never.

    `max_minutes` is the time a training may take, where the training section does not say; with a limit, weights depend on the
    clock in their last bits. `rest_days` lie between two trainings, whatever asks for one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_days: float | None = Field(default=7.0, ge=0)
    growth: float | None = Field(default=0.2, gt=0)
    on_drift: bool = True
    rest_days: float = Field(default=3.0, ge=0)
    max_minutes: float | None = Field(default=60.0, gt=0)


class PromoteConfig(BaseModel):
    """What a challenger has to show: better at an error rate of `alpha`, a coverage in bounds, no class of series much worse."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alpha: float = Field(default=0.05, gt=0, lt=1)
    coverage: tuple[float, float] = (0.65, 0.95)
    class_tolerance: float = Field(default=0.1, ge=0)

    @field_validator("coverage")
    @classmethod
    def _ordered(cls, coverage: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= coverage[0] < coverage[1] <= 1:
            raise ValueError("expected two shares between 0 and 1, the smaller one first")
        return coverage


@dataclass(frozen=True)
class Situation:
    """What is known when a night asks whether to train: days since the last training (None: never), growth, drift, what holds
    it, and what is broken."""

    days_since_training: float | None
    growth: float = 0.0
    drift: Drift | None = None
    held: str = ""
    broken: str = ""


@dataclass(frozen=True)
class Decision:
    """Yes or no, and why."""

    is_taken: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ClassScore:
    """The mean losses of the two on one class of series."""

    name: str
    series: int
    champion: float
    challenger: float


@dataclass(frozen=True)
class Contest:
    """A challenger against the one that serves, on the same origins: mean losses, the test between them, coverage, classes."""

    measure: str
    unit: str
    units: int
    origins: int
    champion: float
    challenger: float
    p_value: float
    champion_coverage: float
    challenger_coverage: float
    classes: tuple[ClassScore, ...] = ()


def decide_training(situation: Situation, config: RetrainConfig) -> Decision:
    """Whether to train tonight.

    >>> decide_training(Situation(days_since_training=8.0), RetrainConfig()).reasons
    ('the last training was 8 days ago, one is due every 7',)
    """
    days = situation.days_since_training
    if situation.held:
        return Decision(False, (f"nothing is trained while {situation.held}",))
    if situation.broken:
        return Decision(True, (situation.broken,))
    if days is None:
        return Decision(True, ("the panel has no run yet",))
    reasons = []
    if config.every_days is not None and days >= config.every_days:
        reasons.append(f"the last training was {days:.3g} days ago, one is due every {config.every_days:g}")
    if config.growth is not None and situation.growth >= config.growth:
        reasons.append(f"the panel grew by {100 * situation.growth:.0f} % since, {100 * config.growth:.0f} % ask for a training")
    if config.on_drift and situation.drift is not None:
        reasons.extend(situation.drift.reasons)
    if not reasons:
        return Decision(False, ("no training is due, and nothing drifted",))
    if days < config.rest_days:
        return Decision(False, (f"the last training was {days:.3g} days ago, and {config.rest_days:g} lie between two", *reasons))
    return Decision(True, tuple(reasons))


def decide_first(contest: Contest, config: PromoteConfig, baseline: str, *, may_be_worse: bool = False) -> Decision:
    """Whether a run is to serve where none does: unless the baseline that speaks instead is better, or its coverage is off.

    It `may_be_worse` where the baseline speaks for the series that it is better on.
    """
    low, high = config.coverage
    told = f"{contest.measure.upper()} {contest.challenger:.4g}, the {baseline} has {contest.champion:.4g}"
    against = []
    if not may_be_worse and not contest.challenger <= contest.champion and not contest.p_value >= config.alpha:
        against.append(f"no run can serve, and the {baseline} is better: {told}")
    if not low <= contest.challenger_coverage <= high:
        found = 100 * contest.challenger_coverage
        against.append(f"its 80 % interval held {found:.0f} %, and {100 * low:.0f} to {100 * high:.0f} are allowed")
    return Decision(not against, tuple(against) or (f"no other run can serve: {told}",))


def decide_promotion(contest: Contest, config: PromoteConfig) -> Decision:
    """Whether the challenger is to serve: every condition that it fails is told."""
    against = []
    low, high = config.coverage
    better = contest.challenger < contest.champion
    change = f"{contest.measure.upper()} {contest.challenger:.4g} against {contest.champion:.4g}"
    if math.isnan(contest.p_value):
        against.append(f"{contest.units:,} {contest.unit} are too few to tell the two apart ({change})")
    elif not better:
        against.append(f"it is not better ({change}, p {contest.p_value:.3f} over {contest.units:,} {contest.unit})")
    elif contest.p_value >= config.alpha:
        against.append(f"it is not better beyond luck ({change}, p {contest.p_value:.3f} over {contest.units:,} {contest.unit})")
    if not low <= contest.challenger_coverage <= high:
        found = 100 * contest.challenger_coverage
        against.append(f"its 80 % interval held {found:.0f} %, and {100 * low:.0f} to {100 * high:.0f} are allowed")
    for part in contest.classes:
        if part.series >= FEWEST_SERIES and part.challenger > (1 + config.class_tolerance) * part.champion:
            loss = 100 * (part.challenger / part.champion - 1) if part.champion > 0 else math.inf
            against.append(f"it is {loss:.0f} % worse on {part.series:,} series with {part.name}")
    if against:
        return Decision(False, tuple(against))
    return Decision(True, (f"it is better: {change}, p {contest.p_value:.3f} over {contest.units:,} {contest.unit}",))
