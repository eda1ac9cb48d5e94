"""What a choice of champions is worth: the same choice made on the earlier origins, and scored on the later ones."""

from dataclasses import dataclass, replace

import numpy as np

from forecaster.evaluation.champions import ChampionTable, choose_champions
from forecaster.evaluation.losses import Losses
from forecaster.evaluation.significance import diebold_mariano

LUCK = 0.05


@dataclass(frozen=True)
class ChoiceCheck:
    """What champions would have lost on later origins than those they were chosen on, whose values those did not reach.

    Mean losses over the series: of the champions, of the forecaster that was best on the panel when they were chosen (`single`),
    and of the one that turned out to be (`hindsight`), which nobody could have known. `p_value` is that of champions and single
    being equal.
    """

    evidence_origins: int
    scored_origins: int
    series: int
    measure: str
    champions: float
    single: float
    single_forecaster: str
    hindsight: float
    hindsight_forecaster: str
    p_value: float

    @property
    def pays(self) -> bool:
        """Whether the champions lost no more than the one that was best on the panel, beyond luck.

        The later origins are few. A gate that closed on any loss took the choice away on two of four panels where it paid on the
        test part (`benchmarks/champions.py`).
        """
        return self.champions <= self.single or not self.p_value < LUCK


def trusted_champions(losses: Losses) -> tuple[ChampionTable, ChoiceCheck | None]:
    """`choose_champions`, and its check: where such a choice would not have paid, the panel's best speaks for every series.

    Weights of a combination stay as they are: an average needs less evidence than a choice.
    """
    table, checked = choose_champions(losses), check_choice(losses)
    if checked is None or checked.pays:
        return table, checked
    ratio = table.losses.mean(axis=0) / table.losses[:, 0].mean()
    return replace(table, losses=table.losses[:, :1] * np.maximum(ratio, 1.0)), checked


def check_choice(losses: Losses) -> ChoiceCheck | None:
    """The choice made on the earlier origins and scored on the later ones; None where origins do not leave room for both.

    Between the last origin of evidence and the first one scored lies a horizon, so that no value is in both.
    """
    last = np.full(len(losses.ids), np.iinfo(np.int64).min)
    np.maximum.at(last, losses.series, losses.origins)
    back = last[losses.series] - losses.origins
    room = int(back.max(initial=0)) - losses.horizon
    if room < 0 or len(losses.forecasters) < 2:
        return None
    later = room // 2
    evidence, scored = np.flatnonzero(back >= later + losses.horizon), np.flatnonzero(back <= later)
    table = choose_champions(losses.select(evidence))
    ids, seen = losses.select(scored).by_series()
    column = {name: f for f, name in enumerate(losses.forecasters)}
    speaker = dict(zip(table.ids, table.champions, strict=True))
    chosen = [column[speaker.get(unique_id, table.forecasters[0])] for unique_id in ids]
    mean, lost = seen.mean(axis=0), seen[np.arange(len(ids)), chosen]
    best, single = int(mean.argmin()), column[table.forecasters[0]]
    return ChoiceCheck(
        evidence_origins=int(np.unique(back[evidence]).size),
        scored_origins=int(np.unique(back[scored]).size),
        series=len(ids),
        measure=losses.measure,
        champions=float(lost.mean()),
        single=float(mean[single]),
        single_forecaster=table.forecasters[0],
        hindsight=float(mean[best]),
        hindsight_forecaster=losses.forecasters[best],
        p_value=diebold_mariano(lost - seen[:, single]),
    )
