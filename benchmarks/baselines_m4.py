"""Every baseline on an M4 group: scores beside the published ones, seconds to fit, seconds for forecasts at 168 origins.

Run as `python benchmarks/baselines_m4.py hourly` or `weekly`; the folder of the data is $FORECASTER_DATA.
"""

import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.baselines import BaselinesConfig, make_baselines
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

GROUPS = {"hourly": ("h", 48, 24, None), "weekly": ("W-SUN", 13, 1, None), "weekly-m1": ("W-SUN", 13, 1, 1)}


def main() -> None:
    """Print one line for each baseline."""
    group = sys.argv[1] if len(sys.argv) > 1 else "hourly"
    alias, horizon, scale_lag, season_length = GROUPS[group]
    data = Path(os.environ.get("FORECASTER_DATA", Path(__file__).parents[2] / "shared" / "data"))
    train, test = (pd.read_parquet(data / f"m4_{group.split('-')[0]}_{part}.parquet") for part in ("train", "test"))
    panel = Panel.from_frame(train, Frequency(alias, is_numbered=True))
    actual = Panel.from_frame(test, panel.frequency).values.reshape(-1, horizon)
    scales = np.array([np.abs(panel.series(b)[scale_lag:] - panel.series(b)[:-scale_lag]).mean() for b in range(len(panel))])
    many = Origins.back(panel, range(168))
    names = tuple(sys.argv[2:]) or BaselinesConfig().names
    for baseline in make_baselines(BaselinesConfig(names=names, season_length=season_length)):
        began = time.perf_counter()
        fitted = baseline.fit(panel)
        fit_seconds = time.perf_counter() - began
        forecast = fitted.predict(panel, horizon, quantiles=(0.1, 0.5, 0.9), origins=Origins.back(panel))
        began = time.perf_counter()
        fitted.predict(panel, horizon, quantiles=(0.1, 0.5, 0.9), origins=many)
        predict_seconds = time.perf_counter() - began
        smape = 200 * (np.abs(actual - forecast.median) / (np.abs(actual) + np.abs(forecast.median))).mean(axis=1)
        mase = np.abs(actual - forecast.median).mean(axis=1) / scales
        coverage = ((actual >= forecast.values[:, :, 0]) & (actual <= forecast.values[:, :, 2])).mean()
        print(f"{fitted.name:15s} sMAPE {smape.mean():.3f} MASE {mase.mean():.3f} coverage {coverage:.3f}", end=" ")
        print(f"fit {fit_seconds:.1f} s, {len(many)} origins {predict_seconds:.2f} s, notes {len(forecast.notes)}")
        report = fitted.fit_report
        print(
            f"    converged {sum(fit.is_converged for fit in report)}, longest {max(fit.seconds for fit in report):.2f} s",
            end=" ",
        )
        print(f"sum {sum(fit.seconds for fit in report):.1f} s, warnings {sum(fit.warning_count for fit in report)}")
        print("   ", Counter(fit.model for fit in report).most_common(8), list(forecast.notes.items())[:3])


if __name__ == "__main__":
    main()
