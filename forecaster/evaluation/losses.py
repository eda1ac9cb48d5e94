"""The loss of every forecaster on the same rows: what significance is tested on, and champions are chosen by."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forecaster.evaluation.leaderboard import Leaderboard, Measure
from forecaster.evaluation.ledger import Index
from forecaster.evaluation.metrics import SUMS, means
from forecaster.evaluation.scores import Scores
from forecaster.frequency import Positions
from forecaster.series import Values

LEAST_SHARE = 0.5  # of the rows that somebody was scored on; a forecaster with fewer would take too many rows from the others


@dataclass(frozen=True)
class Losses:
    """What each of F forecasters lost in each of R rows [R, F], ordered by series and origin: NaN nowhere.

    Row r is series `ids[series[r]]` from `origins[r]`; a row is kept if all of `forecasters` were scored there, on the same
    values, and `dropped` is how many were not. `absent` says of the other forecasters why they take no part.
    """

    forecasters: tuple[str, ...]
    values: Values
    ids: tuple[str, ...]
    series: Index
    origins: Positions
    horizon: int
    measure: Measure
    dropped: int
    absent: dict[str, str]

    @property
    def overlap(self) -> int:
        """How many successive origins of a series share values: 1 if they are a horizon or more apart."""
        gaps = np.diff(self.origins)[np.diff(self.series) == 0]
        return int(np.ceil(self.horizon / np.median(gaps))) if len(gaps) else 1

    def by_series(self) -> tuple[tuple[str, ...], Values]:
        """The ids of the series that have a row [S], and their mean losses [S, F]."""
        index, values = _group_means(self.values, self.series)
        return tuple(self.ids[b] for b in index), values

    def by_origin(self) -> tuple[Positions, Values]:
        """The origins [T], ascending, and the mean losses over the series at each of them [T, F]."""
        return _group_means(self.values, self.origins)

    def select(self, rows: Index) -> "Losses":
        """The same forecasters on some of the rows."""
        kept = self.values[rows], self.ids, self.series[rows], self.origins[rows]
        return Losses(self.forecasters, *kept, self.horizon, self.measure, self.dropped, self.absent)


def paired_losses(leaderboard: Leaderboard, forecasters: Sequence[str] | None = None) -> Losses:
    """The share of each row in the leaderboard's measure, for the forecasters (all) that were scored on the same values.

    Who was scored on less than half of the rows, or failed, stands under `absent`. Rows without a scale have no MASE and are
    left out where that is the measure; in OWA they count with their sMAPE.
    """
    scores = leaderboard.scores
    names = [name for name in scores.tallies if forecasters is None or name in forecasters]
    absent = {name: "failed" for name in scores.failures if forecasters is None or name in forecasters}
    scale, table = scores.scale[scores.series], np.full((len(scores.series), len(names)), np.nan)
    pairs = np.stack([scores.tallies[name].rows[:, SUMS.index("pairs")] for name in names], axis=1) if names else table
    most = pairs.max(axis=1, initial=0)
    for f, name in enumerate(names):
        shares = loss_shares(scores, leaderboard.measure, scores.tallies[name].rows, scale)
        table[:, f] = np.where((pairs[:, f] == most) & (most > 0), shares, np.nan)
    defined = ~np.isnan(table)
    enough = defined.sum(axis=0) > LEAST_SHARE * int(defined.any(axis=1).sum())
    absent |= {name: "gave too few numbers" for name, has in zip(names, enough, strict=True) if not has}
    kept = np.flatnonzero(defined[:, enough].all(axis=1) & enough.any())
    tested = tuple(name for name, has in zip(names, enough, strict=True) if has)
    kept = kept[np.lexsort((scores.origins[kept], scores.series[kept]))]
    horizon = len(scores.tallies[names[0]].by_lead["smape"]) if names else 1
    rows = table[:, enough][kept], scores.ids, scores.series[kept], scores.origins[kept]
    return Losses(tested, *rows, horizon, leaderboard.measure, int(defined.any(axis=1).sum()) - len(kept), absent)


def loss_shares(scores: Scores, measure: Measure, sums: Values, scale: Values) -> Values:
    """What each series, or row, puts into the measure [N], so that the mean over the series is the measure itself."""
    part = means(sums, scale)
    if measure != "owa":
        return part[measure]
    reference = scores.group_means(scores.reference)
    scored = ~np.isnan(part["smape"])
    total = np.zeros(len(sums))
    for metric in ("smape", "mase"):
        defined = ~np.isnan(part[metric])
        weight = scored.sum() / max(int(defined.sum()), 1)  # a series without MASE is in the other mean only
        total += np.where(defined, part[metric], 0.0) * weight / reference[metric] / 2
    return np.where(scored, total, np.nan)


def _group_means(values: Values, group: Index) -> tuple[Index, Values]:
    """The distinct groups, ascending, and the mean of the rows of each."""
    codes, place, counts = np.unique(group, return_inverse=True, return_counts=True)
    total = np.zeros((len(codes), values.shape[1]))
    np.add.at(total, place, values)
    return codes, total / counts[:, None]
