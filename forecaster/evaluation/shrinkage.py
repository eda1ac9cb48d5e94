"""The loss to expect of each forecaster on each series: what the series says of itself, drawn towards what all of them say.

Axes: S series, F forecasters, R rows (series and origin).
"""

from dataclasses import dataclass

import numpy as np

from forecaster.evaluation.ledger import Index
from forecaster.evaluation.losses import Losses
from forecaster.series import Values

LEAST_RATIO = 1e-3  # of a series' mean loss: what a perfect forecast counts as in logarithms


@dataclass(frozen=True)
class Expected:
    """The losses to expect [S, F], the mean ones that were seen [S, F], and over how many origins [S]; columns best first.

    The first of `forecasters` is the panel's best, and its expected losses are those seen.
    """

    ids: tuple[str, ...]
    forecasters: tuple[str, ...]
    losses: Values
    seen: Values
    origins: Index


def expected_losses(losses: Losses) -> Expected:
    """Each forecaster's loss on each series, in logarithms relative to the panel's best, shrunk by how far halves agree.

    For one forecaster: d_b, the log of its mean loss on series b over that of the panel's best, is taken to be N(theta_b, v_b),
    and theta_b to be N(mu, tau2). Expected is B_b d_b + (1 - B_b) log(L / L*), with B_b = tau2 / (tau2 + v_b), and L and L* the
    means over the panel of the two losses. v_b = s2 / n_b for n_b origins, with s2 the mean of k (d1 - d2)^2 / 2, where d1
    and d2 are d of the first and the last k = n_b // 2 origins: it holds whatever series and origins share, and counts it as
    noise when a series changes its mind. tau2 = var(d_b) - mean(v_b), if positive. Where no series has two origins all is
    drawn to the panel; a single series is not drawn anywhere.
    Source: Efron, Morris 1975, doi:10.1080/01621459.1975.10479864; Morris 1983, doi:10.1080/01621459.1983.10477920; halves:
    Spearman 1910, doi:10.1111/j.2044-8295.1910.tb00206.x.
    """
    ids, seen = losses.by_series()
    order = np.argsort(seen.mean(axis=0), kind="stable") if len(seen) else np.arange(len(losses.forecasters))
    names, seen, rows = tuple(losses.forecasters[f] for f in order), seen[:, order], losses.values[:, order]
    _, place, counts = np.unique(losses.series, return_inverse=True, return_counts=True)
    if len(seen) < 2 or len(names) < 2:
        return Expected(ids, names, seen, seen, counts)
    least = LEAST_RATIO * seen.mean(axis=1, keepdims=True)
    panel = _log_ratio(seen.mean(axis=0, keepdims=True), LEAST_RATIO * seen.mean())
    own = _log_ratio(seen, least)
    variance = _variance_between_halves(rows, place, counts=counts, least=least) / counts[:, None]
    tau2 = np.maximum(own.var(axis=0, ddof=1) - variance.mean(axis=0), 0.0)
    total = tau2 + variance
    share = np.divide(tau2, total, out=np.zeros_like(total), where=(total > 0) & np.isfinite(total))
    expected = seen[:, :1] * np.exp(share * own + (1 - share) * panel)
    return Expected(ids, names, expected, seen, counts)


def _variance_between_halves(rows: Values, place: Index, *, counts: Index, least: Values) -> Values:
    """s2 of `expected_losses` [F]; infinite where no series has two origins."""
    half, rank = counts // 2, np.arange(len(rows)) - (np.cumsum(counts) - counts)[place]
    chosen = np.flatnonzero(half)
    if not len(chosen):
        return np.full(rows.shape[1], np.inf)
    logs = []
    for is_in in (rank < half[place], rank >= (counts - half)[place]):
        total = np.zeros((len(counts), rows.shape[1]))
        np.add.at(total, place[is_in], rows[is_in])
        logs.append(_log_ratio(total[chosen] / half[chosen, None], least[chosen]))
    return np.asarray((half[chosen, None] * (logs[0] - logs[1]) ** 2 / 2).mean(axis=0))


def _log_ratio(losses: Values, least: Values | float) -> Values:
    """The log of each loss over that of the panel's best [..., F]; 0 throughout where all losses are 0."""
    floored = np.maximum(losses, least)
    floored = np.where(floored > 0, floored, 1.0)
    return np.asarray(np.log(floored) - np.log(floored[:, :1]))
