"""Which forecaster is better than luck, and what a reader may conclude.

Units are what is taken to be independent: the series, each with the mean of its losses, or, where there are fewer than ten,
the origins, each with the mean over the series. Origins whose forecasts reach the same values are not independent, and the
customary remedy does not mend it: with its lags, Diebold-Mariano called equal forecasters different in 12 to 18 of 100 panels
where 5 were promised (`benchmarks/overlapping_origins.py`). So those origins count that share no value: there it was 5 to 6.
Axes: U units, F forecasters.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from forecaster.evaluation.losses import Losses
from forecaster.series import Values

Unit = Literal["series", "origins"]

FEWEST_UNITS = 10  # below it, a standard error says more about luck than about the forecasters
REPETITIONS = 2_000  # of the bootstrap; a p-value of 0.05 is then known to half a hundredth
MOST_UNITS = 5_000  # the bootstrap keeps a number for each unit and repetition: 80 MB
NAMED = 4  # forecasters in one list of the conclusion; the rest are counted


@dataclass(frozen=True)
class Significance:
    """What can be said about forecasters, the best first, over so many units, at an error rate of `alpha`.

    `p_values` are those of the best against each other one being equal, corrected for how many there are; `inclusion` is at
    which error rate a forecaster leaves the `confidence_set`, which holds the best with probability 1 - alpha. Two whose
    `mean_ranks` (1: always the best) are `critical_difference` apart differ; `ranks_p_value` is that of no difference at
    all. With fewer than ten units nothing is tested: p-values are NaN, and the set holds all. `absent` took no part.
    """

    forecasters: tuple[str, ...]
    mean_losses: dict[str, float]
    measure: str
    unit: Unit
    units: int
    alpha: float
    p_values: dict[str, float]
    inclusion: dict[str, float]
    confidence_set: tuple[str, ...]
    mean_ranks: dict[str, float]
    ranks_p_value: float
    critical_difference: float
    absent: dict[str, str]

    @property
    def is_tested(self) -> bool:
        return self.units >= FEWEST_UNITS and len(self.forecasters) > 1

    @property
    def beaten(self) -> tuple[str, ...]:
        """Those that the best is better than beyond luck."""
        return tuple(name for name, p in self.p_values.items() if p < self.alpha)

    @property
    def contenders(self) -> tuple[str, ...]:
        """Those that may be the best: in the confidence set, and not beaten one to one."""
        return tuple(name for name in self.forecasters if name in self.confidence_set and name not in self.beaten)


def significance(losses: Losses, *, alpha: float = 0.05, unit: Unit | None = None, seed: int = 0) -> Significance:
    """The tests of the losses over the series, or over the origins where the series are too few (or `unit` says so).

    Holm's correction of the pairs: Holm 1979, jstor:4615733. `seed` is that of the confidence set's bootstrap.
    """
    by_series, by_origin = losses.by_series()[1], _apart(losses.by_origin()[1], losses.overlap)
    chosen: Unit = unit or ("series" if len(by_series) >= FEWEST_UNITS else "origins")
    table = by_series if chosen == "series" else by_origin
    mean = table.mean(axis=0) if len(table) else np.full(len(losses.forecasters), np.nan)
    order = np.argsort(mean, kind="stable")
    table, names = table[:, order], tuple(losses.forecasters[f] for f in order)
    p_values = [diebold_mariano(table[:, f] - table[:, 0]) for f in range(1, len(names))]
    inclusion = confidence_p_values(table, seed=seed)
    ranks, ranks_p_value, distance = mean_ranks(table, alpha=alpha)
    return Significance(
        names,
        dict(zip(names, mean[order].tolist(), strict=True)),
        losses.measure,
        chosen,
        len(table),
        alpha,
        dict(zip(names[1:], _corrected(p_values, "holm"), strict=True)),
        dict(zip(names, inclusion.tolist(), strict=True)),
        tuple(name for name, p in zip(names, inclusion, strict=True) if not p <= alpha),
        dict(zip(names, ranks.tolist(), strict=True)),
        ranks_p_value,
        distance,
        losses.absent,
    )


def diebold_mariano(differences: Values) -> float:
    """The p-value of equal accuracy, two-sided, from the differences between two losses over independent units [U].

    With the small-sample correction of Harvey, Leybourne and Newbold it is that of the paired t-test. 1 where the losses are
    equal throughout, 0 where they always differ by the same, NaN with fewer than ten units.
    Source: Diebold, Mariano 1995, doi:10.1080/07350015.1995.10524599; Harvey et al. 1997, doi:10.1016/S0169-2070(96)00719-4.

    >>> rng = np.random.default_rng(0)
    >>> diebold_mariano(rng.normal(0.0, 1.0, 50)) > 0.05, diebold_mariano(rng.normal(1.0, 1.0, 50)) < 0.001
    (True, True)
    """
    from statsmodels.tsa.stattools import diebold_mariano_test

    if len(differences) < FEWEST_UNITS:
        return math.nan
    if np.ptp(differences) <= _rounding(differences):
        return 1.0 if np.abs(differences).max() <= _rounding(differences) else 0.0
    nothing = np.zeros_like(differences)
    tested = diebold_mariano_test(nothing, differences, nothing, criterion=lambda _, loss: loss, lags=0, harvey_adj=True)
    return float(tested.pvalue)


def confidence_p_values(losses: Values, *, seed: int = 0) -> Values:
    """At which error rate each forecaster leaves the model confidence set [F]: losses [U, F] over independent units.

    Whoever is not out at 5 % is in the set that holds the best with 95 % probability. Forecasters with equal losses are one
    to the test, and share its answer; one that loses the same more in every unit is out. NaN with fewer than ten units.
    Source: Hansen, Lunde, Nason 2011, doi:10.3982/ECTA5771.

    >>> noise = np.random.default_rng(1).normal(size=(50, 3))
    >>> confidence_p_values(noise + [0.0, 0.1, 9.0]) > 0.05
    array([ True,  True, False])
    """
    count = losses.shape[1]
    if len(losses) < FEWEST_UNITS or count < 2:
        return np.full(count, np.nan)
    noise, mean = _rounding(losses), losses.mean(axis=0)
    gap = mean[:, None] - mean
    is_steady = np.stack([np.ptp(losses - losses[:, [f]], axis=0) <= noise for f in range(count)])  # [F, F]
    is_out = (is_steady & (gap > noise)).any(axis=1)
    alike = (is_steady & (np.abs(gap) <= noise)).argmax(axis=1)
    tested = np.unique(alike[~is_out])
    p_values = np.zeros(count)
    p_values[tested] = _model_confidence(losses[:, tested], seed)
    return np.where(is_out, 0.0, p_values[alike])


def mean_ranks(losses: Values, *, alpha: float = 0.05) -> tuple[Values, float, float]:
    """Mean ranks [F] over the units, the p-value of all being equal, and how far apart ranks must lie to differ (Nemenyi).

    Equal losses share their rank. The p-value is Friedman's, for two forecasters that of the sign test; it is 1 where every
    unit is a tie. NaN, all of them, with fewer than ten units or two forecasters.
    Source: Demšar 2006, jmlr.org/papers/v7/demsar06a.html.

    >>> ranks, p_value, distance = mean_ranks(np.arange(20.0)[:, None] + [0.0, 1.0, 2.0])
    >>> ranks, p_value < 1e-6, round(distance, 3)
    (array([1., 2., 3.]), True, 0.741)
    """
    from scipy import stats

    units, count = losses.shape
    if units < FEWEST_UNITS or count < 2:
        return np.full(count, np.nan), math.nan, math.nan
    ranks = stats.rankdata(losses, axis=1)
    distance = stats.studentized_range.ppf(1 - alpha, count, np.inf) / math.sqrt(2) * math.sqrt(count * (count + 1) / 6 / units)
    if (ranks == ranks[:, :1]).all():
        p_value = 1.0
    elif count == 2:
        wins = int((losses[:, 0] < losses[:, 1]).sum())
        p_value = stats.binomtest(wins, int((losses[:, 0] != losses[:, 1]).sum())).pvalue
    else:
        p_value = stats.friedmanchisquare(*ranks.T).pvalue
    return np.asarray(ranks.mean(axis=0)), float(p_value), float(distance)


def significance_by_series(losses: Losses, better: str, worse: str) -> pd.DataFrame:
    """One row for each series: unique_id, difference (worse - better), origins that share no value, p_value, p_adjusted.

    Declaring a difference wherever p_adjusted is below 0.05 is wrong in 5 % of what is declared, over any number of series.
    A series with fewer than ten such origins has no p-value. Raises KeyError for a forecaster that takes no part.
    Source: Benjamini, Hochberg 1995, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    column = {name: f for f, name in enumerate(losses.forecasters)}
    difference = losses.values[:, column[worse]] - losses.values[:, column[better]]
    begins = np.flatnonzero(np.diff(losses.series, prepend=-1))
    parts = np.split(difference, begins[1:]) if len(begins) else []
    apart = [_apart(part, losses.overlap) for part in parts]
    p_values = [diebold_mariano(part) for part in apart]
    return pd.DataFrame(
        {
            "unique_id": [losses.ids[b] for b in losses.series[begins]],
            "difference": [float(part.mean()) for part in parts],
            "origins": [len(part) for part in apart],
            "p_value": p_values,
            "p_adjusted": _corrected(p_values, "fdr_bh"),
        }
    )


def conclusion(found: Significance) -> str:
    """What a reader may conclude, in a sentence or two."""
    if not found.forecasters:
        return "No forecaster could be scored, so there is nothing to tell apart."
    best, others = found.forecasters[0], found.forecasters[1:]
    if not others:
        return f"Only {best} could be scored, so there is nothing to tell apart."
    if not found.is_tested:
        counted = "origin" if found.unit == "origins" and found.units == 1 else found.unit
        return f"{found.units:,} {counted}: too few to tell forecasters from luck; {FEWEST_UNITS} are needed."
    said = []
    if found.beaten:
        highest = max(found.p_values[name] for name in found.beaten)
        said.append(f"{best} is better than {_listed(found.beaten)} beyond luck ({_p(highest)})")
    if behind := [name for name in others if name not in found.beaten and name not in found.contenders]:
        said.append(f"{_listed(behind)} {'is' if len(behind) == 1 else 'are'} not among the best")
    if level := [name for name in others if name in found.contenders]:
        said.append(f"no difference between {best} and {_listed(level, 'or')} could be shown")
    sentence = "; ".join(said) + f", over {found.units:,} {found.unit}."
    rest = [f"The best is among {_listed(found.contenders)} ({100 * (1 - found.alpha):g} % confidence)."]
    return " ".join([sentence, *(rest if len(found.contenders) > 1 else [])])


def significance_summary(found: Significance) -> dict[str, object]:
    """What `--json` prints of it: the conclusion, how it was reached, and a row for each forecaster; null where undefined."""
    rows = [
        {
            "forecaster": name,
            "mean_loss": _null(found.mean_losses[name]),
            "p_value": _null(found.p_values.get(name, math.nan)),
            "inclusion": _null(found.inclusion[name]),
            "in_confidence_set": name in found.confidence_set,
            "may_be_best": name in found.contenders,
            "mean_rank": _null(found.mean_ranks[name]),
        }
        for name in found.forecasters
    ]
    return {
        "conclusion": conclusion(found),
        "measure": found.measure,
        "unit": found.unit,
        "units": found.units,
        "alpha": found.alpha,
        "ranks_p_value": _null(found.ranks_p_value),
        "critical_difference": _null(found.critical_difference),
        "forecasters": rows,
        "absent": found.absent,
    }


def _apart(rows: Values, overlap: int) -> Values:
    """Those of the origins [T, ...] that share no value, counted back from the last."""
    return rows[::-1][::overlap][::-1]


def _corrected(p_values: list[float], method: str) -> list[float]:
    """P-values corrected for their number; those that are NaN stay so and do not count."""
    from statsmodels.stats.multitest import multipletests

    given = np.array(p_values, dtype=np.float64)
    tested = ~np.isnan(given)
    if tested.any():
        given[tested] = multipletests(given[tested], method=method)[1]
    return [float(p) for p in given]


def _model_confidence(losses: Values, seed: int) -> Values:
    """The p-values of losses no two of which differ steadily; of very many units, the means of groups are the units."""
    from arch.bootstrap import MCS

    if losses.shape[1] < 2:
        return np.ones(losses.shape[1])
    if len(losses) > MOST_UNITS:
        order = np.random.default_rng(seed).permutation(len(losses))
        losses = np.stack([part.mean(axis=0) for part in np.array_split(losses[order], MOST_UNITS)])
    tested = MCS(losses, size=0.05, reps=REPETITIONS, block_size=1, seed=seed)
    tested.compute()
    return np.asarray(tested.pvalues["Pvalue"].sort_index(), dtype=np.float64)


def _rounding(values: Values) -> float:
    """What differences of this size may differ by and still be one number."""
    return 8 * np.finfo(np.float64).eps * float(np.abs(values).max(initial=0.0))


def _null(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _listed(names: Sequence[str], joint: str = "and") -> str:
    shown = [*names[:NAMED], *([f"{len(names) - NAMED} more"] if len(names) > NAMED else [])]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {joint} {shown[-1]}"


def _p(value: float) -> str:
    return "p below 0.001" if value < 0.001 else f"p {value:.3f}"
