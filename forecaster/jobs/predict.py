"""From a run to a file of forecasts."""

import contextlib
import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

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
    workers: int = 1,
    say: Callable[[str], None],
    progress: Callable[[int, int, str], None],
) -> tuple[Panel, Iterator[Forecast]]:
    """The panel as it is stored now, and forecasts from its end, for all of its series or those in `only`, some at a time.

    They are made when they are asked for, the network's by so many processes. `forecaster` is the run's network, `champions` or
    their `combination` as an evaluation has chosen them, or a baseline, which is then fitted. Raises DataError when the panel
    counts time in another way than the run, ConfigError for a forecaster that is none, or for champions that nobody has chosen.
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
    ask = _Question(horizon or network.horizon, run.config.quantiles)
    if workers > 1 and speaker is network:
        return panel, _said_beside(run.deployed_weights, panel, ask, workers=workers, progress=progress)
    return panel, _said(speaker, panel, ask, progress=progress)


@dataclass(frozen=True)
class _Question:
    horizon: int
    quantiles: tuple[float, ...]

    def put_to(self, speaker: Forecaster, panel: Panel) -> Forecast:
        with torch_threads(1):  # the matrices are small, and threads that wait for each other cost more than they bring
            return speaker.predict(panel, self.horizon, quantiles=self.quantiles, origins=Origins.back(panel))


def _said(speaker: Forecaster, panel: Panel, ask: _Question, *, progress: Callable[[int, int, str], None]) -> Iterator[Forecast]:
    """What a forecaster says of each block of a panel."""
    for block in panel.blocks():
        yield ask.put_to(speaker, panel.select(range(block.start, block.stop)))
        progress(block.stop, len(panel), "")


def _said_beside(
    weights: Path, panel: Panel, ask: _Question, *, workers: int, progress: Callable[[int, int, str], None]
) -> Iterator[Forecast]:
    """What the network in a file says of each block, several at a time, each in a process; in the order of the blocks.

    Raises ConfigError when one of the processes is ended from outside.
    """
    parts = (panel.select(range(block.start, block.stop)) for block in panel.blocks())
    made = Parallel(n_jobs=workers, return_as="generator", pre_dispatch=workers, max_nbytes=None)(
        delayed(_said_alone)(weights, part, ask) for part in parts
    )
    done = 0
    try:
        for forecast in made:
            yield forecast
            progress(done := done + len(forecast.ids), len(panel), "")
    except TerminatedWorkerError as error:
        raise ConfigError(
            f"--workers {workers}: one of the processes was ended from outside after {done:,} of {len(panel):,} series, "
            "perhaps for want of memory; nothing was written. Ask for fewer workers."
        ) from error


def _said_alone(weights: Path, panel: Panel, ask: _Question) -> Forecast:
    return ask.put_to(load_recurrent(weights), panel)


def tell_notes(notes: dict[str, str], *, say: Callable[[str], None]) -> None:
    """Say what a forecast has to say of its series, of the first few of them."""
    for unique_id, note in list(notes.items())[:NOTES]:
        say(f"series {unique_id!r}: {note}")
    if len(notes) > NOTES:
        say(f"… and {len(notes) - NOTES} more series with a note")


class Told:
    """Forecasts on their way into a file: the first few into a picture as well, and what they say of their series is kept."""

    def __init__(self, panel: Panel, forecasts: Iterator[Forecast], *, chart: Path | None, title: str, label: str) -> None:
        self.panel, self.chart, self.title, self.label = panel, chart, title, label
        self.notes: dict[str, str] = {}
        self.horizon = 0
        self._forecasts = forecasts

    def write(self, out: Path | BinaryIO | None) -> int:
        """Write all of them, or make them for nothing but the picture and the notes; how many rows were written."""
        if out is not None:
            return write_forecasts(self._heard(), self.label, out)
        for _ in self._heard():
            pass
        return 0

    def _heard(self) -> Iterator[Forecast]:
        for forecast in self._forecasts:
            if self.chart and not self.horizon:
                chart_forecast(self.panel, forecast, self.chart, title=self.title, label=self.label)
            self.horizon = forecast.horizon
            self.notes |= forecast.notes
            yield forecast


def write_forecasts(forecasts: Iterable[Forecast], forecaster: str, out: Path | BinaryIO) -> int:
    """Write forecasts as a file, whole or not at all, in the format of its suffix, or as CSV to a stream; how many rows.

    Each is written before the next is asked for. Raises ConfigError for a suffix that is no format, DataError when the file
    cannot be written.
    """
    frames = (_table_of(forecast, forecaster) for forecast in forecasts)
    if not isinstance(out, Path):
        return _write_csv(frames, out)
    suffix = next((suffix for suffix in FORMATS if out.name.endswith(suffix)), None)
    if suffix is None:
        raise ConfigError(f"--out {str(out)!r}: the name ends in none of {', '.join(FORMATS)}. Choose one of them.")
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        rows = _write(frames, beside, suffix)
        beside.replace(out)
    except OSError as error:
        raise DataError(f"--out {out}: cannot be written ({error.strerror}). Name a file in a folder of yours.") from error
    finally:
        with contextlib.suppress(OSError):  # where the folder is none, there is nothing to remove
            beside.unlink()
    return rows


def write_forecast(forecast: Forecast, forecaster: str, out: Path | BinaryIO) -> int:
    """`write_forecasts` of one."""
    return write_forecasts([forecast], forecaster, out)


def _table_of(forecast: Forecast, forecaster: str) -> pd.DataFrame:
    frame = forecast.to_frame()
    frame.insert(4, "forecaster", forecaster)
    return frame


def chart_forecast(panel: Panel, forecast: Forecast, path: Path, *, title: str, label: str) -> Path:
    """A picture of the forecasts of the first few series; raises DataError when it cannot be written."""
    figure = forecast_chart(panel, forecast, ids=forecast.ids[:CHARTED], title=title, label=label)
    try:
        return save_chart(figure, path)
    except OSError as error:
        raise DataError(f"--chart {path}: cannot be written ({error.strerror}). Name a file in a folder of yours.") from error


def _write(frames: Iterator[pd.DataFrame], path: Path, suffix: str) -> int:
    """Write frames one below the other; how many rows."""
    if suffix == ".parquet":
        return _write_parquet(frames, path)
    with gzip.open(path, "wb") if suffix.endswith(".gz") else path.open("wb") as file:
        if suffix != ".ndjson":
            return _write_csv(frames, cast(BinaryIO, file))
        rows = 0
        for frame in frames:
            columns = [_plain(frame[name]) for name in frame]
            lines = (dict(zip(frame.columns, row, strict=True)) for row in zip(*columns, strict=True))
            file.write(b"".join(orjson.dumps(line) + b"\n" for line in lines))
            rows += len(frame)
        return rows


def _write_csv(frames: Iterator[pd.DataFrame], file: BinaryIO) -> int:
    rows = 0
    for number, frame in enumerate(frames):
        frame.to_csv(file, index=False, header=number == 0)
        rows += len(frame)
    return rows


def _write_parquet(frames: Iterator[pd.DataFrame], path: Path) -> int:
    first = pa.Table.from_pandas(next(frames), preserve_index=False)
    rows = int(first.num_rows)
    with pq.ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for frame in frames:
            writer.write_table(pa.Table.from_pandas(frame, schema=first.schema, preserve_index=False))
            rows += len(frame)
    return rows


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
