"""Champions of a run: chosen on the part that its judged weights have not seen, kept beside its scores, and read again.

What champions will forecast lies behind the panel's end, so the whole part that was held back is evidence from before it: the
judged network never saw it, and the baselines are fitted before it. The forecasters that then speak have seen everything.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from forecaster.baselines import BASELINES, make_baselines
from forecaster.errors import ConfigError, DataError, StateError
from forecaster.evaluation.champions import Champions, ChampionTable
from forecaster.evaluation.losses import Losses
from forecaster.evaluation.trust import ChoiceCheck, trusted_champions
from forecaster.forecast import Forecaster
from forecaster.jobs.runs import Run
from forecaster.jobs.whole import write_whole
from forecaster.models.recurrent import Recurrent
from forecaster.series import Panel

CHAMPIONS, COMBINATION = "champions", "combination"
ORIGINS_PER_HORIZON = 4  # of evidence: origins nearer to each other say little that is new

Progress = Callable[[int, int, str], None]


def evidence_stride(horizon: int, stride: int) -> int:
    """How far apart the origins lie that champions are chosen on.

    >>> evidence_stride(48, 48), evidence_stride(3, 3), evidence_stride(48, 1)
    (12, 1, 1)
    """
    return min(stride, max(1, horizon // ORIGINS_PER_HORIZON))


def champions_of(losses: Losses) -> tuple[ChampionTable, dict[str, Any]]:
    """The table, and what `--json` says of it."""
    table, checked = trusted_champions(losses)
    told: dict[str, Any] = {
        "speaks_for": {name: table.champions.count(name) for name in table.forecasters},
        "panel_best": table.forecasters[0],
        "origins": int(table.origins.max()),
        "check": {name: None if value != value else value for name, value in asdict(checked).items()} if checked else None,
        "told": _told(table, checked),
    }
    return table, told


def read_champions(run: Run) -> ChampionTable | None:
    """The table that an evaluation has left in the run, None where there is none; StateError when it is damaged."""
    path = run.path / "evaluation" / "champions.parquet"
    if not path.exists():
        return None
    try:
        return ChampionTable.from_frame(pd.read_parquet(path))
    except (OSError, ValueError, DataError) as error:
        raise StateError(
            f"{path} is damaged ({str(error).splitlines()[0]}). Choose champions again with `forecast evaluate`."
        ) from error


def keep_champions(run: Run, table: ChampionTable) -> None:
    """Keep a table where `read_champions` finds it."""
    write_whole(run.path / "evaluation" / "champions.parquet", partial(table.to_frame().to_parquet, index=False))


def needed_champions(run: Run) -> ChampionTable:
    """`read_champions`; raises ConfigError when nobody has chosen any, with what to do."""
    table = read_champions(run)
    if table is None:
        cure = f"Choose them with `forecast evaluate {run.path.name}`."
        if not run.facts.holdout:
            cure = "The run held nothing back to choose them on: train with --set evaluation.origins=1 or more, then evaluate."
        raise ConfigError(f"run {run.path.name!r} has no champions; expected those of an evaluation. {cure}")
    return table


def champions_forecaster(
    run: Run,
    table: ChampionTable,
    panel: Panel,
    network: Recurrent,
    *,
    is_combined: bool,
    fits: Path | None,
    progress: Progress | None = None,
) -> Champions:
    """Champions or their combination as a forecaster: the network as given, baselines fitted on the series they speak for.

    Fits are kept in the folder `fits`, where one is given.
    """
    members: dict[str, Forecaster] = {network.name: network}
    speaker: Mapping[str, str] = dict(zip(table.ids, table.champions, strict=True))
    for name in table.forecasters:
        if name not in BASELINES:
            continue
        own = [b for b, unique_id in enumerate(panel.ids) if is_combined or speaker.get(unique_id, table.forecasters[0]) == name]
        config = run.config.baselines.model_copy(update={"names": (name,)})
        baseline = make_baselines(config, progress=progress, cache=fits)[0]
        members[name] = baseline.fit(panel.select(own))
    return Champions(table, members, is_combined)


def _told(table: ChampionTable, checked: ChoiceCheck | None) -> str:
    """Who was chosen, and what such a choice was worth, in a sentence or two."""
    counts = ", ".join(f"{name} for {table.champions.count(name):,}" for name in table.forecasters if name in table.champions)
    said = f"Champions, chosen on {int(table.origins.max())} origins: {counts} of {len(table.ids):,} series."
    if checked is None:
        return f"{said} There are too few origins to say what that is worth."
    single, name = checked.single, checked.measure.upper().replace("SMAPE", "sMAPE")
    change = 100 * (checked.champions / single - 1) if single else 0.0
    alone = f"{checked.single_forecaster} alone, the best until then, {single:.3f}"
    worth = f"{change:+.1f} %{'' if checked.p_value < 0.05 else ', which may be luck'}"
    told = (
        f"{said} Chosen on the first {_origins(checked.evidence_origins)}, a champion for each series has {name} "
        f"{checked.champions:.3f} on the last {_origins(checked.scored_origins)}; {alone} ({worth})."
    )
    return told if checked.pays else f"{told} Such a choice does not pay here, so {table.forecasters[0]} speaks for all."


def _origins(count: int) -> str:
    return "origin" if count == 1 else f"{count} origins"
