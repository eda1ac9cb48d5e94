"""Series-steps per second of live baselines, beside statsmodels' own update, in one run on one core.

Run as `python benchmarks/baseline_stepping.py`. 10,000 series are stepped at once, with a history of 1,000 values behind them and
with one of 100,000: what a step costs must not depend on it. Next to them, statsmodels extends one fitted series by one value,
over and over, which is the way it has; its Holt-Winters results know no such thing, so that its ETS is smoothed again.
"""

import argparse
import json
import os
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd

from forecaster.baselines import BASELINES, BaselineStepper
from forecaster.forecast import State
from forecaster.frequency import Frequency
from forecaster.series import Panel

HOURLY = Frequency("h", is_numbered=True)
M = 24
AR, MA = (0.5, 0.2), (0.4,)
HISTORIES = (1_000, 100_000)


def holt_winters(count: int) -> BaselineStepper:
    """Series with an additive season of 24 steps and a damped trend."""
    numbers = {
        "alpha": 0.3,
        "beta": 0.1,
        "gamma": 0.2,
        "phi": 0.95,
        "level": 50.0,
        "trend": 0.1,
        "sigma": 1.0,
        "form": "additive",
    }
    return _stepper("holt_winters", count, numbers | {f"season_{phase}": 5 * np.sin(2 * np.pi * phase / M) for phase in range(M)})


def arima(count: int) -> BaselineStepper:
    """Series with ARIMA(2, 0, 1) about a mean, without a season."""
    weights = {"ar_1": AR[0], "ar_2": AR[1], "ar_3": 0.0, "ma_1": MA[0], "ma_2": 0.0, "ma_3": 0.0}
    others = {"d": 0.0, "constant": 50.0, "sigma": 1.0, "form": "none", **{f"season_{phase}": 0.0 for phase in range(M)}}
    return _stepper("arima", count, weights | others)


def _stepper(name: str, count: int, numbers: dict[str, float | str]) -> BaselineStepper:
    common = {"fallback": "", "season_length": float(M), "sigma_naive": 1.0, "sigma_seasonal": 1.0, "start": 0.0}
    frame = pd.DataFrame([common | numbers]).loc[np.zeros(count, dtype=int)].assign(unique_id=[f"s{b:05d}" for b in range(count)])
    return BASELINES[name](season_length=M).from_frame(frame).stepper(HOURLY, horizon=48, quantiles=(0.1, 0.5, 0.9))


def steps_per_second(stepper: BaselineStepper, state: State, *, first: int, steps: int, gaps: float = 0.0) -> float:
    """Series-steps for each second of CPU, the median of five parts of the run."""
    rng = np.random.default_rng(1)
    y = 50 + rng.normal(0, 1, (steps, len(state)))
    y[rng.random(y.shape) < gaps] = np.nan
    seconds = []
    for part in np.array_split(np.arange(steps), 5):
        began = process_time()
        for t in part:
            state = stepper.step(state, y[t], np.full(len(state), first + t))
        seconds.append((process_time() - began) / len(part))
    return len(state) / float(np.median(seconds))


def with_history(stepper: BaselineStepper, length: int, count: int) -> State:
    """The state of all series after so many values, which are walked for four of them and shared by the others."""
    values = 50 + np.random.default_rng(2).normal(0, 1, 4 * length)
    offsets = np.arange(5) * length
    panel = Panel(tuple(f"s{b:05d}" for b in range(4)), np.zeros(4, np.int64), offsets, values, HOURLY)
    return stepper.warm(panel)[np.arange(count) % 4]


def statsmodels_arima(length: int, steps: int) -> float:
    """One series extended by one value at a time."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    y = np.random.default_rng(3).normal(0, 1, length + steps)
    result = SARIMAX(y[:length], order=(2, 0, 1)).filter(np.r_[AR, MA, 1.0])
    began = process_time()
    for t in range(length, length + steps):
        result = result.extend(y[t : t + 1])
        result.forecast(1)
    return steps / (process_time() - began)


def statsmodels_holt_winters(length: int, steps: int) -> float:
    """One series smoothed again with every value."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    y = 50 + np.random.default_rng(3).normal(0, 1, length + steps)
    options = {"trend": "add", "damped_trend": True, "seasonal": "add", "seasonal_periods": M, "initialization_method": "known"}
    options |= {"initial_level": 50.0, "initial_trend": 0.0, "initial_seasonal": np.zeros(M)}
    began = process_time()
    for t in range(length, length + steps):
        ETSModel(y[: t + 1], **options).smooth(np.array([0.3, 0.03, 0.2, 0.95])).forecast(1)
    return steps / (process_time() - began)


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    found: dict[str, float] = {}
    for name, make in (("holt_winters_24", holt_winters), ("arima_2_0_1", arima)):
        stepper = make(given.series)
        for length in HISTORIES:
            state = with_history(stepper, length, given.series)
            found[f"{name} after {length:,}"] = steps_per_second(stepper, state, first=length, steps=given.steps)
        found[f"{name} a tenth missing"] = steps_per_second(stepper, state, first=length, steps=given.steps, gaps=0.1)
        found[f"{name} state bytes"] = 4 * stepper.state_size
    for length in HISTORIES:
        found[f"statsmodels ARIMA extend after {length:,}"] = statsmodels_arima(length, 20)
        found[f"statsmodels ETS smooth after {length:,}"] = statsmodels_holt_winters(length, 10)
    print(json.dumps({name: round(value, 1) for name, value in found.items()}, indent=1))


if __name__ == "__main__":
    main()
