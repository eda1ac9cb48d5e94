"""Forecasts of other people's forecasters as a file that `forecast evaluate RUN --with FILE` takes into its table.

    PEERS/bin/python benchmarks/peers/statsforecast_forecasts.py TABLE --out FILE --horizon 48 --season-length 24

TABLE is what `forecast ingest` takes too: Parquet or CSV in long format, columns unique_id, ds (step numbers, or dates with
--freq) and y. Forecasts are made once, from the end of each series, by statsforecast's AutoETS, AutoARIMA, AutoTheta and MSTL,
and, where it is asked for, by the online ensemble of `skaters`. Some of them take minutes a series: --series takes a seeded
sample, and a model that is over its --budget-seconds leaves the series out that it did not come to. Prints one JSON object a
model: what it took.

It knows nothing of the program that reads its file, and runs in the environment of `benchmarks/peers/requirements.txt`.
"""

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - after the numbers of threads are set
import pandas as pd  # noqa: E402

QUANTILES = (0.025, 0.1, 0.5, 0.9, 0.975)
LEVELS = (80, 95)

Forecast = Callable[[np.ndarray], np.ndarray]  # values [T] -> quantiles [L, Q]


def statsforecast_model(name: str, season_length: int, horizon: int) -> Forecast:
    """One of statsforecast's models on one series; intervals of 80 and 95 % as quantiles."""
    from statsforecast import models

    def forecast(y: np.ndarray) -> np.ndarray:
        made = getattr(models, name)(season_length=season_length).forecast(y=y, h=horizon, level=list(LEVELS))
        columns = (made["lo-95"], made["lo-80"], made["mean"], made["hi-80"], made["hi-95"])
        return np.stack([np.asarray(column, dtype=np.float64) for column in columns], axis=1)

    return forecast


def skaters_model(horizon: int, last: int = 1_000) -> Forecast:
    """The general online forecaster of skaters, as it comes, stepped through the last values of one series."""
    from skaters import laplace

    def forecast(y: np.ndarray) -> np.ndarray:
        step, state, said = laplace(k=horizon), None, []
        for value in y[-last:]:
            said, state = step(float(value), state)
        return np.array([[one.quantile(q) for q in QUANTILES] for one in said])

    return forecast


def read_sample(table: Path, count: int | None, seed: int, only: str) -> dict[str, pd.DataFrame]:
    """The series of a table, or a sample of them, each in order of time."""
    frame = pd.read_parquet(table) if table.suffix == ".parquet" else pd.read_csv(table, dtype={"unique_id": str})
    ids = sorted(frame["unique_id"].astype(str).unique())
    if only:
        ids = only.split(",")
    elif count and count < len(ids):
        ids = sorted(np.random.default_rng(seed).choice(ids, count, replace=False))
    groups = frame[frame["unique_id"].isin(ids)].groupby("unique_id")
    return {unique_id: groups.get_group(unique_id).sort_values("ds") for unique_id in ids}


def rows_of(series: pd.DataFrame, quantiles: np.ndarray, freq: str | None) -> pd.DataFrame:
    """One series' forecast in long format: ds, lead, and a column for each quantile."""
    leads = np.arange(1, len(quantiles) + 1)
    last = series["ds"].iloc[-1]
    if freq:
        ds = pd.date_range(pd.Timestamp(last), periods=len(leads) + 1, freq=freq)[1:]
    else:
        ds = int(last) + leads * int(last - series["ds"].iloc[-2])
    table = pd.DataFrame({"ds": ds, "lead": leads})
    for q, quantile in enumerate(QUANTILES):
        table[f"q{quantile:g}"] = quantiles[:, q]
    return table


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument("--season-length", type=int, default=1)
    parser.add_argument("--freq", help="pandas alias, where ds are dates")
    parser.add_argument("--models", default="AutoETS,AutoTheta,MSTL,AutoARIMA", help="and skaters")
    parser.add_argument("--series", type=int, help="a sample of so many")
    parser.add_argument("--only", default="", help="these series, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=int, default=0, help="values of a series that a model is given, the latest; 0: all")
    parser.add_argument("--budget-seconds", type=float, default=np.inf, help="CPU time of each model")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    sample = read_sample(given.table, given.series, given.seed, given.only)
    parts = []
    for name in given.models.split(","):
        model = (
            skaters_model(given.horizon) if name == "skaters" else statsforecast_model(name, given.season_length, given.horizon)
        )
        began, done, failed = time.process_time(), 0, 0
        for unique_id, series in sample.items():
            if time.process_time() - began > given.budget_seconds:
                break
            try:
                quantiles = model(series["y"].to_numpy(dtype=np.float64)[-given.longest :])
            except Exception as error:  # noqa: BLE001 - theirs; what they cannot forecast is left out, and counted
                if not failed:
                    print(f"{name}, {unique_id}: {error}")
                failed += 1
                continue
            table = rows_of(series, quantiles, given.freq)
            table.insert(0, "unique_id", unique_id)
            table.insert(3, "forecaster", name)
            parts.append(table)
            done += 1
        spent = time.process_time() - began
        told = {"model": name, "series": done, "of": len(sample), "failed": failed, "cpu_seconds": round(spent, 1)}
        print(json.dumps(told), flush=True)
        if parts:
            given.out.parent.mkdir(parents=True, exist_ok=True)
            pd.concat(parts).to_parquet(given.out, index=False)


if __name__ == "__main__":
    main()
