"""Counts as they were really published, days late and corrected, fed in the order in which they arrived.

    python benchmarks/revisions.py [--data ../shared/data] [--windows 14 60 400] [--forecaster gru]

New York City's COVID cases: 175,175 arrivals of daily counts, each published about eight times. A network trained on what was
known at the end of 2021 streams all of it in the order of arrival, from a cold start, with several revision windows. Then the
values that each position ended with are fed in the order of time: the state must be the same to the bit; for the series whose
corrections all lay inside the window these values are the final data. And what do corrections cost? The forecasts of seven days
made with what was known at the end of each publication are held against those made from what each day ended with, from the same
origins, both scored by the final data. Prints one JSON object for each window.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from forecaster.config import changed, read_config
from forecaster.frequency import Frequency
from forecaster.ingest import PanelStore, ingest_files
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker
from forecaster.jobs.runs import Run
from forecaster.jobs.train import train
from forecaster.streaming.arrivals import Arrivals
from forecaster.streaming.engine import Engine
from forecaster.streaming.live import FeedPosition, LiveSeries
from forecaster.streaming.settings import StreamingConfig
from forecaster.streaming.state import StateStore

SMALL = ("model.hidden_size=32", "model.members=1", "training.max_steps=150", "baselines.names=[]", "horizon=7")
KNOWN_UNTIL = "2021-12-31"
SCORED_FROM = "2022-01-01"


def quiet(*_: object) -> None:
    """No words, no progress."""


def known_then(frame: pd.DataFrame) -> pd.DataFrame:
    """What was known at the end of 2021: the last publication of each day until then."""
    seen = frame[frame["arrival"] <= KNOWN_UNTIL]
    return seen.drop_duplicates(["unique_id", "ds"], keep="last")[["unique_id", "ds", "y"]]


def open_engine(folder: Path, speaker: Speaker, window: int) -> tuple[StateStore, Engine]:
    config = StreamingConfig(revision_window=window, emit_every=0, max_gap=10_000)
    store = StateStore.open(folder, **speaker.identity(config))
    return store, Engine(speaker.stepper, speaker.frequency, store, config)


def arrivals_of(frame: pd.DataFrame, frequency: Frequency, count: int) -> Arrivals:
    positions = frequency.positions(pd.DatetimeIndex(frame["ds"]))
    values = frame["y"].to_numpy(np.float64)
    return Arrivals(list(frame["unique_id"]), positions, values, np.arange(len(frame)), (), FeedPosition(count), lambda _: b"")


def held(engine: Engine) -> dict[str, bytes]:
    """All that is carried of each series."""
    series = engine.series
    return {
        unique_id: b"".join(getattr(series, name)[slot].tobytes() for name in LiveSeries.ARRAYS)
        for unique_id, slot in series.slots.items()
    }


def measure(frame: pd.DataFrame, speaker: Speaker, window: int, folder: Path) -> dict[str, object]:
    frequency = speaker.frequency
    final = frame.drop_duplicates(["unique_id", "ds"], keep="last")
    truth = {
        (unique_id, position): y
        for unique_id, position, y in zip(
            final["unique_id"], frequency.positions(pd.DatetimeIndex(final["ds"])).tolist(), final["y"], strict=True
        )
    }
    store, engine = open_engine(folder / "arrived", speaker, window)
    forecasts: dict[tuple[str, int], np.ndarray] = {}
    began, count = time.process_time(), 0
    for _, published in frame.groupby("arrival", sort=False):
        count += len(published)
        engine.advance(arrivals_of(published, frequency, count))
        slots = np.arange(len(engine.series))
        origins = engine.series.positions[slots]
        for unique_id, origin, values in zip(
            engine.series.ids, origins.tolist(), speaker.stepper.forecast(engine.series.state[slots], origins), strict=True
        ):
            forecasts[unique_id, origin] = values[:, speaker.stepper.quantiles.index(0.5)]
    seconds = time.process_time() - began
    arrived, counts, closed = held(engine), engine.progress.counts, store.directory
    store.close()
    refused = pd.read_json(closed / "dead_letters.ndjson", lines=True) if counts["too_late"] else pd.DataFrame({"reason": []})
    cut = {reason.split("'")[1] for reason in refused["reason"]}
    kept = accepted(frame, frequency, window)
    other, in_order = open_engine(folder / "in_order", speaker, window)
    ideal: dict[tuple[str, int], np.ndarray] = {}
    for _, day in kept.sort_values(["ds", "unique_id"]).groupby("ds"):
        in_order.advance(arrivals_of(day, frequency, 0))
        slots = np.arange(len(in_order.series))
        origins = in_order.series.positions[slots]
        for unique_id, origin, values in zip(
            in_order.series.ids, origins.tolist(), speaker.stepper.forecast(in_order.series.state[slots], origins), strict=True
        ):
            ideal[unique_id, origin] = values[:, speaker.stepper.quantiles.index(0.5)]
    expected = held(in_order)
    other.close()
    equal = sum(arrived[unique_id] == expected[unique_id] for unique_id in arrived)
    return {
        "window": window,
        "counts": {name: counts[name] for name in ("next", "gap", "unknown", "revision", "late", "duplicate", "too_late")},
        "series": len(arrived),
        "series_inside_the_window": len(arrived) - len(cut),
        "series_equal_to_the_bit": equal,
        "accuracy": accuracy(forecasts, ideal, truth, frequency),
        "arrivals_per_cpu_second": round(count / seconds),
    }


def accepted(frame: pd.DataFrame, frequency: Frequency, window: int) -> pd.DataFrame:
    """The last value of each day that arrived while the day was open: told by a plain loop, not by the engine."""
    last: dict[str, int] = {}
    values: dict[tuple[str, pd.Timestamp], float] = {}
    positions = frequency.positions(pd.DatetimeIndex(frame["ds"])).tolist()
    for unique_id, ds, position, y in zip(frame["unique_id"], frame["ds"], positions, frame["y"], strict=True):
        newest = last.get(unique_id)
        if newest is None or position > newest - window:
            values[unique_id, ds] = y
            last[unique_id] = position if newest is None else max(newest, position)
    rows = [(unique_id, ds, y) for (unique_id, ds), y in values.items()]
    return pd.DataFrame(rows, columns=["unique_id", "ds", "y"])


def accuracy(
    forecasts: dict[tuple[str, int], np.ndarray],
    ideal: dict[tuple[str, int], np.ndarray],
    truth: dict[tuple[str, int], float],
    frequency: Frequency,
) -> dict[str, float]:
    """Absolute errors in shares of the mean of the seven final values, over the same origins: the median one, and their mean."""
    first = int(frequency.positions(pd.DatetimeIndex([SCORED_FROM]))[0])
    errors: dict[str, list[float]] = {"as_published": [], "from_what_was_kept": [], "seasonal_naive": []}
    for (unique_id, origin), values in forecasts.items():
        actual = np.array([truth.get((unique_id, origin + lead), np.nan) for lead in range(1, len(values) + 1)])
        before = np.array([truth.get((unique_id, origin + lead - 7), np.nan) for lead in range(1, len(values) + 1)])
        if origin >= first and (unique_id, origin) in ideal and not np.isnan(actual).any() and not np.isnan(before).any():
            scale = max(float(actual.mean()), 1.0)
            for name, guess in zip(errors, (values, ideal[unique_id, origin], before), strict=True):
                errors[name].append(float(np.abs(guess - actual).mean()) / scale)
    found = {
        f"{name}_{how.__name__}": round(float(how(kept)), 4) for name, kept in errors.items() for how in (np.median, np.mean)
    }
    return {"origins": len(errors["as_published"])} | found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--windows", nargs="+", type=int, default=[14, 60, 400])
    parser.add_argument("--forecaster", default=None)
    given = parser.parse_args()
    frame = pd.read_parquet(given.data / "nyc_covid_revisions_dev.parquet")
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        known_then(frame).to_parquet(Path(folder) / "known.parquet")
        ingest_files([str(Path(folder) / "known.parquet")], "covid", store=PanelStore(home.panels))
        config = changed(read_config(Path(__file__).parents[1] / "configs" / "default.yaml"), SMALL)
        run = train(config, "covid", home=home, name="covid", command="", fresh=False, say=quiet, progress=quiet)
        speaker = Speaker.of(Run.open(str(run.path), home), home, given.forecaster, say=quiet)
        for window in given.windows:
            print(json.dumps(measure(frame, speaker, window, Path(folder) / str(window))), flush=True)


if __name__ == "__main__":
    main()
