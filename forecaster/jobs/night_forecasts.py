"""The forecasts of a night: by whoever can, checked before anybody sees them, and published."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from forecaster.baselines import BaselinesConfig, make_baselines
from forecaster.config import Config
from forecaster.errors import DataError, StateError
from forecaster.evaluation.backtest import scale_season_length
from forecaster.evaluation.metrics import error_scale
from forecaster.forecast import Forecast, Forecaster, quantile_column
from forecaster.jobs.champions import CHAMPIONS, COMBINATION, champions_forecaster, needed_champions
from forecaster.jobs.home import Home
from forecaster.jobs.publish import Edition, edition_before, forecast_table, publish
from forecaster.jobs.runs import Run
from forecaster.jobs.service import Service, service_of
from forecaster.jobs.standings import heeded
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.recurrent import Recurrent
from forecaster.operations.bounds import check_forecast, learn_bounds, stand_in
from forecaster.operations.settings import OperationsConfig
from forecaster.series import Origins, Panel

NETWORK = "network"


@dataclass(frozen=True)
class Spoken:
    """A forecast, who made it, and why others did not."""

    forecast: Forecast
    forecaster: str
    model: str
    run: str
    troubles: tuple[str, ...]
    speaks_for: dict[str, int] = field(default_factory=dict)  # of champions: how many series each has


def publish_forecasts(
    panel: Panel, *, name: str, night: str, edition: str, home: Home, config: Config, now: datetime, say: Callable[[str], None]
) -> dict[str, Any]:
    """Forecast every series that has not ended, hold the forecasts against their bounds, and publish them.

    The run in service speaks, else the one before it, else the baseline; where a forecast fails its check, the baseline speaks
    for that series. Raises DataError when every series has ended.
    """
    operations = config.operations
    horizon = config.horizon or panel.frequency.horizon
    known_position = int(panel.ends.max())
    alive = np.flatnonzero(panel.ends > known_position - horizon)
    ended, panel = len(panel) - len(alive), panel.select(alive.tolist())
    spoken = _speak(panel, name, home, operations, horizon=horizon, say=say)
    checked = check_forecast(spoken.forecast, learn_bounds(panel, operations.checks))
    forecast, failures = checked.forecast, checked.failures
    forecasters, models = [spoken.forecaster] * len(panel), [spoken.model] * len(panel)
    if failures:
        instead = _baseline(panel, operations, forecast.quantiles, forecast.horizon)
        rescued = check_forecast(instead, learn_bounds(panel, operations.checks))
        forecast = stand_in(forecast, rescued.forecast, failures)
        for row, unique_id in enumerate(forecast.ids):
            if unique_id in failures:
                forecasters[row], models[row] = operations.baseline, ""
        say(f"{len(failures):,} series get the {operations.baseline}, such as {next(iter(failures.items()))}")
    silent = np.asarray(~np.isfinite(forecast.values).all(axis=(1, 2)))
    if silent.all():
        raise DataError(f"panel {name!r}: there is no finite forecast for any series. Look at its values.")
    table = forecast_table(
        forecast.select(~silent),
        forecasters=[who for who, is_out in zip(forecasters, silent, strict=True) if not is_out],
        models=[model for model, is_out in zip(models, silent, strict=True) if not is_out],
        made_at=now,
        known_position=known_position,
    )
    written = publish(
        table,
        Edition(
            panel=name,
            night=night,
            edition=edition,
            rows=table.num_rows,
            series=int((~silent).sum()),
            horizon=forecast.horizon,
            forecaster=spoken.forecaster,
            model=spoken.model,
            run=spoken.run,
            made_at=now.isoformat(timespec="seconds"),
            known_through=str(panel.frequency.labels(np.array([known_position])).iloc[0]),
            known_position=known_position,
            replaced=failures,
            ended=ended,
        ),
        home,
    )
    told = {name: value for name, value in asdict(written).items() if name not in ("files", "panel", "night")}
    return told | {
        "troubles": list(spoken.troubles),
        "speaks_for": spoken.speaks_for,
        "moved_to_bounds": checked.moved,
        "silent": int(silent.sum()),
    }


def score_last(panel: Panel, name: str, home: Home) -> dict[str, Any] | None:
    """How the last edition before the newest values did against them; None where there is none, or nothing of it came true.

    The mean absolute error scaled by the seasonal naive's (MASE), the share of values in the 80 % interval, and how many values.
    """
    found = edition_before(home, name, int(panel.ends.max()))
    if found is None:
        return None
    edition, folder = found
    columns = ["unique_id", "ds", *(quantile_column(q) for q in (0.1, 0.5, 0.9))]
    rows = pd.read_parquet(Path(folder) / "forecasts.parquet", columns=columns)
    stamps = rows["ds"] if panel.frequency.is_numbered else _naive_utc(rows["ds"])
    place = {unique_id: b for b, unique_id in enumerate(panel.ids)}
    index = np.array([place.get(unique_id, -1) for unique_id in rows["unique_id"]], dtype=np.int64)
    within = panel.frequency.positions(stamps.to_numpy() if panel.frequency.is_numbered else pd.DatetimeIndex(stamps))
    within = within - panel.starts[index]
    there = (index >= 0) & (within >= 0) & (within < panel.lengths[index])
    y = np.full(len(rows), np.nan)
    y[there] = panel.values[panel.offsets[index[there]] + within[there]]
    low, median, high = (rows[quantile_column(q)].to_numpy() for q in (0.1, 0.5, 0.9))
    known = ~np.isnan(y)
    if not known.any():
        return None
    season = scale_season_length(panel.frequency)
    scale = np.array([error_scale(panel.series(b), season) for b in range(len(panel))])[index]
    return {
        "night": edition.night,
        "values": int(known.sum()),
        "mase": float(np.nanmean(np.abs(y - median)[known] / scale[known])),
        "mae": float(np.abs(y - median)[known].mean()),
        "coverage_80": float(((y >= low) & (y <= high))[known].mean()),
    }


def _speak(
    panel: Panel, name: str, home: Home, operations: OperationsConfig, *, horizon: int, say: Callable[[str], None]
) -> Spoken:
    """The forecast of the first that can make one: the run in service, the one before it, the baseline."""
    service, troubles = Service(name), list[str]()
    try:
        service = service_of(name, home)
    except StateError as error:
        troubles.append(str(error))
    for candidate in (service.current, service.previous):
        if candidate is None:
            continue
        try:
            run = Run.open(candidate, home)
            network = load_recurrent(run.deployed_weights)
            if network.frequency != panel.frequency:
                raise DataError(f"it counts in {network.frequency.alias}, and the panel in {panel.frequency.alias}")
            return _by_run(run, network, panel, operations.forecaster, troubles, home=home, say=say)
        except Exception as error:  # noqa: BLE001 -- whatever is wrong with a run, somebody else can speak
            troubles.append(f"run {candidate} cannot forecast: {_one_line(error)}")
            say(troubles[-1])
    if service.current is None:
        say(f"no run serves {name!r} yet: the {operations.baseline} speaks")
    quantiles = Config().quantiles
    return Spoken(_baseline(panel, operations, quantiles, horizon), operations.baseline, "", "", tuple(troubles))


def _by_run(
    run: Run, network: Recurrent, panel: Panel, name: str, troubles: list[str], *, home: Home, say: Callable[[str], None]
) -> Spoken:
    """The forecast of whoever of a run is to speak; of its network, where the others cannot.

    Fits are not kept: every night has other values. Champions fall back where the nights since their choice speak against them.
    """

    def spoken(speaker: Forecaster, speaks_for: dict[str, int]) -> Spoken:
        made = speaker.predict(panel, network.horizon, quantiles=network.quantiles, origins=Origins.back(panel))
        return Spoken(made, speaker.name, network.fingerprint, run.path.name, tuple(troubles), speaks_for)

    if name != NETWORK:
        try:
            table = needed_champions(run)
            both = champions_forecaster(run, table, panel, network, is_combined=name == COMBINATION, fits=None)
            champion = dict(zip(table.ids, table.champions, strict=True))
            if name == CHAMPIONS:
                both = heeded(both, run, home, panel, network, say=say)
                champion |= {unique_id: speaker for unique_id, (speaker, _) in both.instead.items()}
            counts = Counter(champion.get(unique_id, table.forecasters[0]) for unique_id in panel.ids)
            return spoken(both, dict(counts.most_common()) if name == CHAMPIONS else {})
        except Exception as error:  # noqa: BLE001 -- the network needs none of them
            troubles.append(f"the {name} of run {run.path.name} cannot forecast, its network speaks: {_one_line(error)}")
            say(troubles[-1])
    return spoken(network, {})


def _baseline(panel: Panel, operations: OperationsConfig, quantiles: Sequence[float], horizon: int) -> Forecast:
    (baseline,) = make_baselines(BaselinesConfig(names=(operations.baseline,)))
    return baseline.fit(panel).predict(panel, horizon, quantiles=quantiles, origins=Origins.back(panel))


def _naive_utc(stamps: pd.Series) -> pd.Series:
    return stamps.dt.tz_convert("UTC").dt.tz_localize(None) if stamps.dt.tz is not None else stamps


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
