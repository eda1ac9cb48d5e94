"""What a page shows of an evaluation: a few series with their forecasts, and how often intervals held what came.

Everything is read from the tables that an evaluation leaves, a piece at a time: they may be larger than memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from forecaster.forecast import quantile_column
from forecaster.frequency import Frequency, Positions
from forecaster.report.axes import values_at
from forecaster.series import Panel, Values

FANS_SHOWN = 3  # origins of one series in one picture
MOST_TURNS = 48  # in one picture
HISTORY = 3  # horizons before the first of them


@dataclass(frozen=True)
class Fan:
    """One forecast: positions [L], quantiles [L, Q], the rival's median [L] or None, what came [L]."""

    positions: Positions
    values: Values
    rival: Values | None
    actuals: Values


@dataclass(frozen=True)
class Case:
    """One series as a page shows it: what was known, and the last few forecasts that share no position."""

    unique_id: str
    past: Positions
    history: Values
    fans: tuple[Fan, ...]
    quantiles: tuple[float, ...]

    def quantile(self, fan: Fan, quantile: float) -> Values:
        """One quantile [L] of a forecast."""
        return np.asarray(fan.values[:, self.quantiles.index(quantile)])

    @property
    def bands(self) -> tuple[tuple[float, float], ...]:
        """The two widest central intervals, by their quantiles, the wider one first."""
        return central_pairs(self.quantiles)[:2]


def telling_series(by_series: pd.DataFrame, ours: str, measure: str) -> dict[str, tuple[str, float]]:
    """The series that our forecaster says best, typically (the median) and worst, each with its score.

    With fewer than three series, as many as there are.

    >>> frame = pd.DataFrame({"forecaster": "gru", "unique_id": ["a", "b", "c"], "mase": [0.9, 0.3, 2.0]})
    >>> telling_series(frame, "gru", "mase")
    {'best': ('b', 0.3), 'typical': ('a', 0.9), 'worst': ('c', 2.0)}
    """
    own = by_series[(by_series["forecaster"] == ours) & by_series[measure].notna()]
    own = own.sort_values([measure, "unique_id"], kind="stable")
    places = {"best": 0, "typical": (len(own) - 1) // 2, "worst": len(own) - 1}
    names = {1: ("typical",), 2: ("best", "worst")}.get(len(own), tuple(places))
    rows = {name: own.iloc[places[name]] for name in names if len(own)}
    return {name: (str(row["unique_id"]), float(row[measure])) for name, row in rows.items()}


def read_case(path: Path, panel: Panel, unique_id: str, *, ours: str, rival: str | None) -> Case | None:
    """The case of one series from a table of forecasts; None where it holds none of ours."""
    names = [ours, *([rival] if rival else [])]
    rows = pd.read_parquet(path, filters=[("unique_id", "==", unique_id), ("forecaster", "in", names)])
    mine = rows[rows["forecaster"] == ours]
    if mine.empty:
        return None
    quantiles = quantiles_of(list(rows.columns))
    columns = [quantile_column(q) for q in quantiles]
    origins, at = (positions_of(panel.frequency, mine[name]) for name in ("origin", "ds"))
    chosen = apart(np.unique(origins), horizon=int(mine["lead"].max()))
    other = rows[rows["forecaster"] == rival]
    other_origins = positions_of(panel.frequency, other["origin"])
    fans = []
    for origin in chosen:
        is_here = origins == origin
        said = other.loc[other_origins == origin, "q0.5"].to_numpy() if len(other) else None
        part = mine[is_here]
        same = said if said is not None and len(said) == len(part) else None
        fans.append(Fan(at[is_here], part[columns].to_numpy(), same, part["y"].to_numpy()))
    past = np.arange(chosen[0] - HISTORY * len(fans[0].positions) + 1, chosen[-1] + 1)
    return Case(unique_id, past, values_at(panel, unique_id, past), tuple(fans), quantiles)


def apart(origins: Positions, *, horizon: int) -> Positions:
    """The last few of ascending origins whose forecasts share no position.

    >>> apart(np.arange(10, 40, 3), horizon=6)
    array([25, 31, 37])
    """
    chosen = [int(origins[-1])]
    for origin in origins[-2::-1].tolist():
        if len(chosen) < FANS_SHOWN and origin <= chosen[-1] - horizon:
            chosen.append(origin)
    return np.array(chosen[::-1], dtype=np.int64)


def calibration(path: Path, forecasters: Sequence[str]) -> pd.DataFrame:
    """How often central intervals, and quantiles, held what came: forecaster, nominal, achieved, below, above, pairs.

    `below` and `above` are the shares that lay beneath and beyond the interval.
    """
    file = pq.ParquetFile(path)
    quantiles = quantiles_of(file.schema_arrow.names)
    pairs = central_pairs(quantiles)
    counts = {name: np.zeros((len(pairs), 3)) for name in forecasters}
    columns = ["forecaster", "y", *(quantile_column(q) for pair in pairs for q in pair)]
    for batch in file.iter_batches(columns=columns):
        frame = batch.to_pandas()
        for name, part in frame[frame[columns[1:]].notna().all(axis=1)].groupby("forecaster"):
            for k, (low, high) in enumerate(pairs if name in counts else ()):
                is_below, is_above = part["y"] < part[quantile_column(low)], part["y"] > part[quantile_column(high)]
                counts[str(name)][k] += int(is_below.sum()), int(is_above.sum()), len(part)
    rows = []
    for name, table in counts.items():
        for (low, high), (below, above, total) in zip(pairs, table, strict=True):
            if total:
                shares = 1 - (below + above) / total, below / total, above / total
                rows.append((name, round(high - low, 6), *shares, int(total)))
    return pd.DataFrame(rows, columns=["forecaster", "nominal", "achieved", "below", "above", "pairs"])


def by_turn(by_origin: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Mean scores over the series at their first, second, … origin: forecaster, turn, first and last time, score.

    Turns are counted from 1; of very many, a few that follow each other are one.
    """
    turns = by_origin.groupby(["forecaster", "unique_id"], sort=False)["origin"].rank().astype(int)
    at_once = max(1, -(-int(turns.max()) // MOST_TURNS))
    frame = by_origin.assign(turn=(turns - 1) // at_once + 1)
    grouped = frame.groupby(["forecaster", "turn"], sort=False)
    return grouped.agg(first=("origin", "min"), last=("origin", "max"), score=(measure, "mean")).reset_index()


def central_pairs(quantiles: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Quantiles that lie as far on both sides of the median, the widest pair first.

    >>> central_pairs((0.05, 0.1, 0.5, 0.9, 0.95))
    ((0.05, 0.95), (0.1, 0.9))
    """
    return tuple((low, high) for low in sorted(quantiles) for high in quantiles if low < 0.5 and abs(low + high - 1) < 1e-9)


def quantiles_of(columns: Sequence[str]) -> tuple[float, ...]:
    """The quantiles that a table of forecasts has columns for.

    >>> quantiles_of(["y", "q0.1", "q0.5"])
    (0.1, 0.5)
    """
    return tuple(float(name[1:]) for name in columns if name.startswith("q0."))


def positions_of(frequency: Frequency, labels: pd.Series) -> Positions:
    """The positions that times stand for, as a user reads them."""
    if frequency.is_numbered:
        return frequency.positions(labels.to_numpy(dtype=np.int64))
    stamps = pd.DatetimeIndex(labels)
    return frequency.positions(stamps.tz_convert("UTC").tz_localize(None) if stamps.tz is not None else stamps)


def told_times(frequency: Frequency, positions: Positions) -> list[str]:
    """Times in few words: no clock where it is always midnight.

    >>> told_times(Frequency("D"), np.array([0, 1])), told_times(Frequency("h"), np.array([5]))
    (['1970-01-01', '1970-01-02'], ['1970-01-01 05:00'])
    """
    labels = frequency.labels(positions)
    if frequency.is_numbered:
        return [f"{step:,}" for step in labels]
    is_daily = bool((labels.dt.normalize() == labels).all()) and frequency.days >= 1
    return list(labels.dt.strftime("%Y-%m-%d" if is_daily else "%Y-%m-%d %H:%M"))
