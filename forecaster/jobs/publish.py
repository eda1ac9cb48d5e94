"""Forecasts for others: Parquet and CSV of one schema, an edition at a time, there whole or not at all.

forecasts/PANEL/.editions/NIGHT-KEY/   forecasts.parquet, forecasts.csv, manifest.json
forecasts/PANEL/night=NIGHT            points to the night's edition: a partition of `night=*/forecasts.parquet`
forecasts/PANEL/latest                 points to the edition that knows most
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from forecaster.errors import StateError
from forecaster.forecast import DECILES, Forecast, quantile_column
from forecaster.frequency import Frequency
from forecaster.jobs.home import Home
from forecaster.jobs.whole import point_to, write_json
from forecaster.series import Values

ROWS_PER_GROUP = 1 << 17
MANIFEST, FORECASTS = "manifest.json", "forecasts.parquet"


@dataclass(frozen=True)
class Edition:
    """What was published: by whom, from what, and how much; `files` are (name, bytes, sha256)."""

    panel: str
    night: str
    edition: str
    rows: int
    series: int
    horizon: int
    forecaster: str
    model: str
    run: str
    made_at: str
    known_through: str
    known_position: int
    replaced: dict[str, str]
    ended: int
    files: tuple[tuple[str, int, str], ...] = ()


def schema_of(frequency: Frequency) -> pa.Schema:
    """The columns that are published, in their order; times are numbers where the panel counts steps.

    >>> schema_of(Frequency("D")).names[:7]
    ['unique_id', 'ds', 'origin', 'lead', 'forecaster', 'q0.1', 'q0.2']
    """
    zone = frequency.time_zone
    time = pa.int64() if frequency.is_numbered else pa.timestamp("us", zone)
    return pa.schema(
        [
            ("unique_id", pa.string()),
            ("ds", time),
            ("origin", time),
            ("lead", pa.int32()),
            ("forecaster", pa.string()),
            *((quantile_column(quantile), pa.float64()) for quantile in DECILES),
            ("model", pa.string()),
            ("made_at", pa.timestamp("us", "UTC")),
            ("known_through", time),
        ]
    )


def deciles_of(forecast: Forecast) -> Values:
    """The deciles of a forecast [B, L, 9], between its own quantiles where it lacks some; NaN beyond the outermost.

    >>> from forecaster.forecast import Forecast
    >>> three = np.array([[[1.0, 5.0, 9.0]]])
    >>> deciles_of(Forecast(("a",), np.array([0]), (0.1, 0.5, 0.9), three, Frequency("D"), {}))[0, 0, :5]
    array([1., 2., 3., 4., 5.])
    """
    given, out = np.array(forecast.quantiles), np.full((*forecast.values.shape[:2], len(DECILES)), np.nan)
    for d, decile in enumerate(DECILES):
        right = int(np.searchsorted(given, decile - 1e-9))
        if right < len(given) and abs(given[right] - decile) < 1e-9:
            out[:, :, d] = forecast.values[:, :, right]
        elif 0 < right < len(given):
            share = (decile - given[right - 1]) / (given[right] - given[right - 1])
            out[:, :, d] = (1 - share) * forecast.values[:, :, right - 1] + share * forecast.values[:, :, right]
    return out


def forecast_table(
    forecast: Forecast, *, forecasters: Sequence[str], models: Sequence[str], made_at: datetime, known_position: int
) -> pa.Table:
    """The rows that are published; `forecasters` and `models` say who speaks for each row of the forecast."""
    frequency, horizon = forecast.frequency, forecast.horizon
    leads = np.tile(np.arange(1, horizon + 1), len(forecast.ids))
    origins = np.repeat(forecast.origins, horizon)
    deciles = deciles_of(forecast).reshape(-1, len(DECILES))
    columns: dict[str, Any] = {
        "unique_id": np.repeat(np.asarray(forecast.ids, dtype=object), horizon),
        "ds": frequency.labels(origins + leads),
        "origin": frequency.labels(origins),
        "lead": leads.astype(np.int32),
        "forecaster": np.repeat(np.asarray(forecasters, dtype=object), horizon),
        **{quantile_column(quantile): deciles[:, d] for d, quantile in enumerate(DECILES)},
        "model": np.repeat(np.asarray(models, dtype=object), horizon),
        "made_at": pd.Series([pd.Timestamp(made_at)] * len(leads)),
        "known_through": frequency.labels(np.full(len(leads), known_position)),
    }
    schema = schema_of(frequency)
    return pa.table({name: pa.array(columns[name], type=schema.field(name).type) for name in schema.names}, schema=schema)


def edition_folder(home: Home, panel: str, night: str, edition: str) -> Path:
    """Where an edition lies, whatever points to it."""
    return home.forecasts / panel / ".editions" / f"{night}-{edition}"


def publish(table: pa.Table, edition: Edition, home: Home) -> Edition:
    """Write an edition and let `night=…` and `latest` point to it; the edition as it was written.

    The same content is written once. `latest` never moves to an edition that knows less, and a past night keeps its own: a clock
    that went back must not put later knowledge there. Raises OSError; then all is as it was.
    """
    root = home.forecasts / edition.panel
    folder = edition_folder(home, edition.panel, edition.night, edition.edition)
    if not (folder / MANIFEST).exists():
        beside = folder.with_name(f"{folder.name}.{os.getpid()}.part")
        _clear_parts(folder.parent)
        try:
            beside.mkdir(parents=True)
            pq.write_table(table, beside / FORECASTS, row_group_size=ROWS_PER_GROUP, compression="zstd")
            pa_csv.write_csv(table, beside / "forecasts.csv")
            files = tuple(_described(beside / name) for name in (FORECASTS, "forecasts.csv"))
            write_json(beside / MANIFEST, asdict(edition) | {"files": files})
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    written = read_edition(folder)
    if not _is_rewriting(root, written):
        point_to(root / f"night={edition.night}", folder)
    latest = latest_edition(home, edition.panel)
    if latest is None or latest.known_position <= written.known_position:
        point_to(root / "latest", folder)
    return written


def latest_edition(home: Home, panel: str) -> Edition | None:
    """What `latest` points to, None where nothing was published; raises StateError when it is not whole."""
    link = home.forecasts / panel / "latest"
    return read_edition(link) if link.exists() else None


def edition_before(home: Home, panel: str, known_position: int) -> tuple[Edition, Path] | None:
    """The edition that knew most of those that knew less than a position, and where it lies."""
    found = []
    for folder in sorted((home.forecasts / panel).glob("night=*")):
        if (folder / MANIFEST).exists() and (edition := read_edition(folder)).known_position < known_position:
            found.append((edition, folder.resolve()))
    return max(found, key=lambda pair: (pair[0].known_position, pair[0].made_at), default=None)


def read_edition(folder: Path) -> Edition:
    """An edition's manifest; raises StateError when it is damaged."""
    try:
        fields = json.loads((folder / MANIFEST).read_bytes())
        return Edition(**{**fields, "files": tuple(tuple(file) for file in fields["files"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StateError(f"{folder / MANIFEST} is missing or damaged. Remove {folder} and run the night again.") from error


def drop_editions(home: Home, panel: str, *, keep: int) -> int:
    """Remove the editions of all but the last `keep` nights, and those that no night points to; how many."""
    root = home.forecasts / panel
    links = sorted(root.glob("night=*"))
    latest = (root / "latest").resolve()
    for link in links[:-keep]:
        if link.resolve() != latest:
            link.unlink()
    pointed = {link.resolve() for link in root.glob("night=*")} | {latest}
    gone = [folder for folder in (root / ".editions").glob("*") if folder.resolve() not in pointed]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return len(gone)


def _is_rewriting(root: Path, written: Edition) -> bool:
    """Whether a night has an edition already, and a later night one that knows no more than what was written now."""
    link = root / f"night={written.night}"
    if not (link / MANIFEST).exists() or link.resolve().name == f"{written.night}-{written.edition}":
        return False
    later = [folder for folder in root.glob("night=*") if folder.name > link.name and (folder / MANIFEST).exists()]
    return any(read_edition(folder).known_position <= written.known_position for folder in later)


def _described(path: Path) -> tuple[str, int, str]:
    data = path.read_bytes()
    return path.name, len(data), hashlib.sha256(data).hexdigest()


def _clear_parts(folder: Path) -> None:
    for part in folder.glob("*.part"):
        shutil.rmtree(part, ignore_errors=True)
