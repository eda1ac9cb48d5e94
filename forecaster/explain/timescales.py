"""Each unit as an exponential smoother: how fast it forgets, how steadily, and whether its reset gate has to do with it.

What a unit holds grows older by a step wherever it stays, and new candidates are of age 0:

    age = (1 - z) * (age + 1)            alpha = sum of z * (age + 1) / sum of (age + 1)

over all steps of all series, age being that before the step. That is the weight of the exponential smoother whose content is on
average as old: mean age (1 - alpha) / alpha. A constant z is its own alpha, from the first step on, and a unit that holds for
a hundred steps and is then overwritten counts as one of about fifty, where a mean of z would say a hundred. Half of what it held
is gone after log(1/2) / log(1 - alpha) steps. Of an LSTM, 1 - f stands for z. Counted is what stays by itself: what a candidate
brings back through U h is none of it, so a rung without carry has half-lives of 0.
Source: the average age of data in exponential smoothing, Brown 1963, Smoothing, Forecasting and Prediction of Discrete Time
Series; time scales of units read from gates, Tallec and Ollivier 2018, arXiv:1804.11188, Mahto et al. 2021, arXiv:2009.12727.
Axes: B series, U units (of all layers and members).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from forecaster.evaluation.significance import FEWEST_UNITS
from forecaster.explain.gates import GateCounts, Progress, count_gates
from forecaster.explain.intervals import REPETITIONS, Correlation, rank_correlation
from forecaster.explain.plain import plain
from forecaster.models.recurrent import Recurrent
from forecaster.series import Panel, Values

QUARTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
BEYOND_BINS = 20  # doublings of half a step: half a million steps


@dataclass(frozen=True)
class UnitScale:
    """One unit over the data; unit, layer and member count from 1.

    `alpha` is its effective weight, `half_life` in steps (inf: it forgets nothing). `z_mean` and `z_spread` are mean and standard
    deviation of the share that enters, `replaced` how often nine tenths and more enter. Where there is a reset gate, `r_mean` is
    its mean and `reset` how often it is at a tenth or below, so that the candidate ignores the past.
    """

    member: int
    layer: int
    unit: int
    alpha: float
    half_life: float
    z_mean: float
    z_spread: float
    replaced: float
    r_mean: float | None
    reset: float | None


@dataclass(frozen=True)
class SeriesScale:
    """Simple smoothing's fitted alpha on a series beside the units' on it: their median, and how many of them forget faster."""

    unique_id: str
    ses_alpha: float
    ses_half_life: float
    alpha: float
    half_life: float
    faster: float


@dataclass(frozen=True)
class Timescales:
    """The units of a network as smoothers, over so many series and steps; `step_days` is how long a step is (None: unknown).

    `claim` is the rank correlation, over units, of how much the reset gate closes (1 - its mean) with the half-life: below 0
    where units with active reset gates are the short-term ones; `claim_by_member` is that of each member's units alone, each a
    training of its own. `agreement` is that, over series, of the units' median alpha with the one that was fitted for simple
    smoothing. None where there is no reset gate, or no fit.
    """

    rung: str
    members: int
    layers: int
    series_count: int
    steps: int
    step_days: float | None
    units: tuple[UnitScale, ...]
    series: tuple[SeriesScale, ...]
    claim: Correlation | None
    claim_by_member: tuple[float, ...]
    agreement: Correlation | None

    @property
    def half_lives(self) -> Values:
        return np.array([unit.half_life for unit in self.units])

    def quantiles(self) -> dict[float, float]:
        """Quantiles of the half-lives, each one that of a unit."""
        return {q: float(np.quantile(self.half_lives, q, method="lower")) for q in QUARTILES}

    def histogram(self) -> tuple[tuple[float, float, int], ...]:
        """How many units have half-lives from a number of steps up to twice that, from below half a step on."""
        edges = [0.0, *(0.5 * 2.0**k for k in range(BEYOND_BINS)), math.inf]
        counts = [int(((self.half_lives >= low) & (self.half_lives < high)).sum()) for low, high in pairwise(edges)]
        counts[-1] += int(np.isinf(self.half_lives).sum())
        filled = np.flatnonzero(counts)
        return tuple((edges[k], edges[k + 1], counts[k]) for k in range(int(filled[0]), int(filled[-1]) + 1))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it; what is infinite or unknown is null."""
        return {
            **plain(self),
            "quantiles": {f"{q:g}": plain(steps) for q, steps in self.quantiles().items()},
            "histogram": [{"from": low, "to": plain(high), "units": count} for low, high, count in self.histogram()],
            "claim_verdict": claim_verdict(self),
            "agreement_verdict": agreement_verdict(self),
        }


def half_life(alpha: float) -> float:
    """After how many steps half of what was held has gone: 0 where nothing stays, inf where everything does.

    >>> half_life(0.5), round(half_life(0.1), 2), half_life(1.0), half_life(0.0)
    (1.0, 6.58, 0.0, inf)
    """
    if alpha >= 1:
        return 0.0
    return math.log(0.5) / math.log1p(-alpha) if alpha > 0 else math.inf


def timescales(
    recurrent: Recurrent,
    panel: Panel,
    *,
    ses_alphas: Mapping[str, float] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Timescales:
    """Every unit of the network as a smoother over the panel; `ses_alphas` are simple smoothing's, by unique_id."""
    counted = count_gates(recurrent, panel, progress=progress)
    flat = [(m, k, count) for m, member in enumerate(counted, start=1) for k, count in enumerate(member, start=1)]
    units = tuple(unit for m, k, count in flat for unit in _units(m, k, count))
    counts = [count for _, _, count in flat]
    aged, forgotten = (np.concatenate([part.numpy() for part in parts], axis=1) for parts in _both(counts))  # [B, U]
    series = _series(panel, aged, forgotten, ses_alphas or {})
    agreement = None
    if series:
        pairs = np.array([(one.ses_alpha, one.alpha) for one in series])
        agreement = rank_correlation(pairs[:, 0], pairs[:, 1], of="series", seed=seed)
    return Timescales(
        recurrent.name,
        len(counted),
        len(counted[0]),
        len(panel),
        int(counts[0].steps.sum()),
        None if panel.frequency.alias == "step" else panel.frequency.days,
        units,
        series,
        _claim(counts, aged, forgotten, seed=seed),
        _claim_by_member(units),
        agreement,
    )


def _units(member: int, layer: int, count: GateCounts) -> list[UnitScale]:
    steps = count.steps.sum()
    alpha = (count.forgotten.sum(0) / count.aged.sum(0)).tolist()
    mean = count.entered.sum(0) / steps
    spread = (count.squares.sum(0) / steps - mean**2).clamp(min=0).sqrt().tolist()
    replaced, has_reset = (count.replaced.sum(0) / steps).tolist(), "r" in count.layer.gates
    r_mean, reset = (count.mean("r").tolist(), (count.closed.sum(0) / steps).tolist()) if has_reset else (None, None)
    return [
        UnitScale(
            member,
            layer,
            unit + 1,
            alpha[unit],
            half_life(alpha[unit]),
            float(mean[unit]),
            spread[unit],
            replaced[unit],
            r_mean[unit] if r_mean else None,
            reset[unit] if reset else None,
        )
        for unit in range(count.layer.hidden_size)
    ]


def _both(counts: list[GateCounts]) -> tuple[list[Tensor], list[Tensor]]:
    return [count.aged for count in counts], [count.forgotten for count in counts]


def _series(panel: Panel, aged: Values, forgotten: Values, ses_alphas: Mapping[str, float]) -> tuple[SeriesScale, ...]:
    found = []
    for b, unique_id in enumerate(panel.ids):
        fitted = ses_alphas.get(unique_id, math.nan)
        if math.isnan(fitted) or not (aged[b] > 0).all():
            continue
        alphas = forgotten[b] / aged[b]
        alpha = float(np.median(alphas))
        faster = float((alphas > fitted).mean())
        found.append(SeriesScale(unique_id, fitted, half_life(fitted), alpha, half_life(alpha), faster))
    return tuple(found)


def _claim(counts: list[GateCounts], aged: Values, forgotten: Values, *, seed: int) -> Correlation | None:
    """The rank correlation of closed reset gates with half-lives; resampled are units and, where they are many, series."""
    if "r" not in counts[0].layer.gates:
        return None
    steps = counts[0].steps.numpy()
    opened = np.concatenate([count.sums["r"].numpy() for count in counts], axis=1)

    def of(weights: NDArray[np.int64]) -> tuple[Values, Values]:
        """What each unit's reset gate and half-life are [R, U] where series count `weights` [R, B] times; half-lives as ranks of
        -alpha, which are the same."""
        return 1 - weights @ opened / (weights @ steps)[:, None], -(weights @ forgotten) / (weights @ aged)

    shut, lasting = of(np.ones((1, len(steps)), dtype=np.int64))
    again = None
    if len(steps) >= FEWEST_UNITS:
        even = np.full(len(steps), 1 / len(steps))
        again = of(np.random.default_rng((seed, 1)).multinomial(len(steps), even, size=REPETITIONS))
    return rank_correlation(shut[0], lasting[0], of="units", again=again, seed=seed)


def _claim_by_member(units: tuple[UnitScale, ...]) -> tuple[float, ...]:
    """The rank correlation over each member's units; NaN where they are alike."""
    if units[0].r_mean is None:
        return ()
    found = []
    for member in range(1, units[-1].member + 1):
        own = [unit for unit in units if unit.member == member]
        shut, lasting = (np.array(column) for column in zip(*((-(one.r_mean or 0.0), -one.alpha) for one in own), strict=True))
        found.append(rank_correlation(shut, lasting, of="units").value)
    return tuple(found)


def claim_verdict(found: Timescales) -> str:
    """Whether units with active reset gates are the short-term ones in this network, as far as the data say.

    The interval takes units for independent, which those of one training are not; so where members differ, nothing is concluded.
    """
    if found.claim is None:
        return f"{found.rung} has no reset gate, so nothing can be said of it."
    words = "that units with active (closed) reset gates are the short-term ones (Cho et al. 2014)"
    told = found.claim.told
    if not found.claim.is_tested:
        return f"Nothing can be said here of the claim {words}: {found.claim.reason}."
    if len(found.claim_by_member) > 1:
        told += f"; {', '.join(f'{value:+.2f}' for value in found.claim_by_member)} in its members, each by itself"
    is_shared = len({value > 0 for value in found.claim_by_member}) == 1
    if found.claim.is_noise or not is_shared:
        return f"This network does not show {words}, nor the opposite: {told}."
    if found.claim.value < 0:
        return f"This network fits the claim {words}: {told}."
    return f"This network shows the opposite of the claim {words}: {told}."


def agreement_verdict(found: Timescales) -> str:
    """Whether units forget faster where simple smoothing does."""
    if found.agreement is None:
        return "No series has a fit of simple smoothing to compare with."
    if not found.agreement.is_tested:
        return f"Whether units forget faster where simple smoothing does cannot be said: {found.agreement.reason}."
    told = found.agreement.told
    if found.agreement.is_noise:
        return f"No tie between the units' alpha and that of simple smoothing on the same series: {told}."
    return f"Where simple smoothing forgets faster, units forget {'faster' if found.agreement.value > 0 else 'slower'}: {told}."
