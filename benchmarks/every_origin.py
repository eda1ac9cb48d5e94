"""Seconds to score a network and the baselines at every origin of the last week of M4 Hourly, after fitting.

    python benchmarks/every_origin.py [--series 414] [--window 168] [--names ses,arima] [--weights runs/NAME/judged.safetensors]

The panel is the competition's training and test part together; forecasters are fitted on what lies before the first origin.
Without weights the network is one of random weights: it costs the same. Prints one JSON object; seconds are of the wall, on
one thread, and what was measured alone is named after its forecaster.
"""

import argparse
import json
import os
import resource
import time
from pathlib import Path

import pandas as pd
import torch

from forecaster.baselines import BaselinesConfig, make_baselines
from forecaster.evaluation.answers import score_walk
from forecaster.evaluation.backtest import rolling_origins, scale_season_length
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.losses import paired_losses
from forecaster.evaluation.metrics import SCORE_QUANTILES
from forecaster.evaluation.significance import conclusion, significance
from forecaster.evaluation.walk import up_to_first_origin
from forecaster.forecast import State, Stepper
from forecaster.frequency import Frequency
from forecaster.models.checkpoint import load_recurrent, recurrent_from
from forecaster.models.network import ModelConfig, Network
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import scaler_for
from forecaster.series import Panel

HORIZON = 48


def read_hourly(data: Path, series: int) -> Panel:
    frame = pd.concat([pd.read_parquet(data / f"m4_hourly_{part}.parquet") for part in ("train", "test")])
    chosen = sorted(frame["unique_id"].unique())[:series]
    return Panel.from_frame(frame[frame["unique_id"].isin(chosen)], Frequency("h", is_numbered=True))


def network_for(history: Panel, weights: Path | None) -> Recurrent:
    if weights:
        return load_recurrent(weights)
    torch.manual_seed(0)
    scaler, config = scaler_for(history, HORIZON), ModelConfig()
    network = Network(config, scaler, horizon=HORIZON, quantiles=SCORE_QUANTILES)
    return recurrent_from(network, scaler, config, frequency=history.frequency, horizon=HORIZON, quantiles=SCORE_QUANTILES)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--series", type=int, default=414)
    parser.add_argument("--window", type=int, default=168)
    parser.add_argument("--names", default=",".join(BaselinesConfig().names))
    parser.add_argument("--weights", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    panel = read_hourly(given.data, given.series)
    holdout, season = given.window - 1 + HORIZON, scale_season_length(panel.frequency)
    origins = rolling_origins(panel, holdout, horizon=HORIZON, stride=1)
    history = up_to_first_origin(panel, origins)
    seconds: dict[str, float] = {}
    began = time.perf_counter()
    fitted = [baseline.fit(history) for baseline in make_baselines(BaselinesConfig(names=tuple(given.names.split(","))))]
    seconds["fit"] = time.perf_counter() - began
    network = network_for(history, given.weights)
    alive = {baseline.name: baseline.stepper(panel.frequency, horizon=HORIZON, quantiles=SCORE_QUANTILES) for baseline in fitted}
    steppers: dict[str, Stepper] = {network.name: network, **alive}
    states: dict[str, State] = {}
    for name, stepper in {network.name: network, **alive}.items():
        began = time.perf_counter()
        states[name] = stepper.warm(history)
        seconds[f"warm {name}"] = time.perf_counter() - began
    began = time.perf_counter()
    scores = score_walk(
        steppers,
        panel,
        origins=origins,
        horizon=HORIZON,
        quantiles=SCORE_QUANTILES,
        season_length=season,
        reference="naive2",
        states=states,
    )
    seconds["walk and score"] = time.perf_counter() - began
    board = rank(scores)
    print(
        json.dumps(
            {
                "series": len(panel),
                "origins": given.window,
                "forecasts": len(origins) * len(steppers),
                "seconds": {name: round(value, 2) for name, value in seconds.items()},
                "seconds_after_fitting": round(sum(seconds.values()) - seconds["fit"], 2),
                "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                board.measure: {row.forecaster: round(getattr(row, board.measure), 4) for row in board.rows},
                "failures": {name: str(error) for name, error in scores.failures.items()},
                "conclusion": conclusion(significance(paired_losses(board))),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
