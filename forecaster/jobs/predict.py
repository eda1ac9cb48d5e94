"""From a run to a file of forecasts."""

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import orjson
import pandas as pd

from forecaster.baselines import BASELINES, make_baselines
from forecaster.errors import ConfigError, DataError
from forecaster.forecast import Forecast, Forecaster
from forecaster.ingest import PanelStore
from forecaster.jobs.champions import CHAMPIONS, COMBINATION, champions_forecaster, needed_champions
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.jobs.standings import heeded
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.network import torch_threads
from forecaster.models.recurrent import Recurrent
from forecaster.report.charts import forecast_chart, save_chart
from forecaster.series import Origins, Panel

FORMATS = (".csv", ".csv.gz", ".parquet", ".ndjson")
CHARTED = 6
NOTES = 5


def predict(
    run: Run,
    *,
    home: Home,
    horizon: int | None,
    forecaster: str | None,
    only: Sequence[str] = (),
    say: Callable[[str], None],
    progress: Callable[[int, int, str], None],
) -> tuple[Panel, Forecast]:
    """The panel as it is stored now, and forecasts from its end, for all of its series or those in `only`.

    `forecaster` is the run's network, `champions` or their `combination` as an evaluation has chosen them, or a baseline, which
    is then fitted. Raises DataError when the panel counts time in another way than the run, ConfigError for a forecaster that is
    none, or for champions that nobody has chosen.
    """
    panel = PanelStore(home.panels).load(run.facts.panel)
    network = load_recurrent(run.deployed_weights)
    if panel.frequency != network.frequency:
        raise DataError(
            f"panel {run.facts.panel!r} has frequency {panel.frequency.alias}, the run was trained on {network.frequency.alias}. "
            "Train again on the panel as it is."
        )
    if only:
        unknown = [unique_id for unique_id in only if unique_id not in set(panel.ids)]
        if unknown:
            raise DataError(f"series {unknown[0]!r} is not in panel {run.facts.panel!r}, which has {len(panel):,}. Check --only.")
        panel = panel.select([b for b, unique_id in enumerate(panel.ids) if unique_id in set(only)])
    speaker: Forecaster = network
    if forecaster not in (None, network.name):
        speaker = _speaker(str(forecaster), run, home, panel, network, say=say, progress=progress)
    elif horizon and horizon > network.horizon:
        say(
            f"leads beyond {network.horizon} are forecast from the forecasts before them; "
            f"train with --horizon {horizon} for better ones"
        )
    quantiles = run.config.quantiles
    with torch_threads(1):  # the matrices are small, and threads that wait for each other cost more than they bring
        forecast = speaker.predict(panel, horizon or network.horizon, quantiles=quantiles, origins=Origins.back(panel))
    tell_notes(forecast.notes, say=say)
    return panel, forecast


def tell_notes(notes: dict[str, str], *, say: Callable[[str], None]) -> None:
    """Say what a forecast has to say of its series, of the first few of them."""
    for unique_id, note in list(notes.items())[:NOTES]:
        say(f"series {unique_id!r}: {note}")
    if len(notes) > NOTES:
        say(f"… and {len(notes) - NOTES} more series with a note")


def write_forecast(forecast: Forecast, forecaster: str, out: Path | BinaryIO) -> int:
    """Write the forecast as a file, whole or not at all, in the format of its suffix, or as CSV to a stream; how many rows.

    Raises ConfigError for a suffix that is no format, DataError when the file cannot be written.
    """
    frame = forecast.to_frame()
    frame.insert(4, "forecaster", forecaster)
    if not isinstance(out, Path):
        frame.to_csv(out, index=False)
        return len(frame)
    suffix = next((suffix for suffix in FORMATS if out.name.endswith(suffix)), None)
    if suffix is None:
        raise ConfigError(f"--out {str(out)!r}: the name ends in none of {', '.join(FORMATS)}. Choose one of them.")
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _write(frame, beside, suffix)
        beside.replace(out)
    except OSError as error:
        raise DataError(f"--out {out}: cannot be written ({error.strerror}). Name a file in a folder of yours.") from error
    finally:
        with contextlib.suppress(OSError):  # where the folder is none, there is nothing to remove
            beside.unlink()
    return len(frame)


def chart_forecast(panel: Panel, forecast: Forecast, path: Path, *, title: str, label: str) -> Path:
    """A picture of the forecasts of the first few series; raises DataError when it cannot be written."""
    figure = forecast_chart(panel, forecast, ids=panel.ids[:CHARTED], title=title, label=label)
    try:
        return save_chart(figure, path)
    except OSError as error:
        raise DataError(f"--chart {path}: cannot be written ({error.strerror}). Name a file in a folder of yours.") from error


def _write(frame: pd.DataFrame, path: Path, suffix: str) -> None:
    if suffix == ".parquet":
        frame.to_parquet(path, index=False)
    elif suffix == ".ndjson":
        columns = [_plain(frame[name]) for name in frame]
        rows = (dict(zip(frame.columns, row, strict=True)) for row in zip(*columns, strict=True))
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    else:
        frame.to_csv(path, index=False, compression="gzip" if suffix.endswith(".gz") else None)


def _plain(column: pd.Series) -> list[object]:
    """A column as JSON knows it, times as the stream writes them."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return [stamp.isoformat() for stamp in column]
    return list(column.tolist())


def _speaker(
    name: str,
    run: Run,
    home: Home,
    panel: Panel,
    network: Recurrent,
    *,
    say: Callable[[str], None],
    progress: Callable[[int, int, str], None],
) -> Forecaster:
    """Champions, their combination, or a baseline, fitted on the panel; fits are kept."""
    if name in (CHAMPIONS, COMBINATION):
        table = needed_champions(run)
        is_combined = name == COMBINATION
        speaker = champions_forecaster(run, table, panel, network, is_combined=is_combined, fits=home.fits, progress=progress)
        return speaker if is_combined else heeded(speaker, run, home, panel, network, say=say, progress=progress)
    if name not in BASELINES:
        known = ", ".join((network.name, CHAMPIONS, COMBINATION, *BASELINES))
        raise ConfigError(f"--forecaster {name!r} is none of this run's; choose {known}.")
    config = run.config.baselines.model_copy(update={"names": (name,)})
    return make_baselines(config, progress=progress, cache=home.fits)[0].fit(panel)
