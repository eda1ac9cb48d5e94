"""Our baselines beside statsforecast's, on the same sample of series: accuracy, whether it differs beyond luck, and what it took.

    PEERS/bin/python benchmarks/peers/statsforecast_forecasts.py $FORECASTER_DATA/m4_hourly_train.parquet --out theirs.parquet \\
        --horizon 48 --season-length 24 --series 40 --budget-seconds 240
    python benchmarks/peers_accuracy.py hourly theirs.parquet [more.parquet …]

Forecasts are made from the end of M4's training part and scored on its test part, on those series that a peer came to. Prints one
JSON object for each pair of ours and theirs: MASE and sMAPE of both, and the p-value of their being equal over the series.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import pandas as pd

from forecaster.baselines import BaselinesConfig, make_baselines
from forecaster.evaluation.answers import given, score_answers, stepped
from forecaster.evaluation.backtest import scale_season_length
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.losses import paired_losses
from forecaster.evaluation.metrics import SCORE_QUANTILES
from forecaster.evaluation.significance import diebold_mariano
from forecaster.frequency import Frequency
from forecaster.jobs.others import read_forecasts
from forecaster.series import Origins, Panel, Values

GROUPS = {"hourly": ("h", 48), "weekly": ("W-SUN", 13), "quarterly_dev": ("QS", 8)}
PAIRS = {
    "AutoETS": ("ets", "holt_winters"),
    "AutoARIMA": ("arima", "sarima"),
    "AutoTheta": ("theta",),
    "MSTL": ("stl_ets", "holt_winters", "sarima"),
}
PAIRS |= {"skaters": ("holt_winters", "arima")}


def p_value(differences: Values) -> float | None:
    """None with too few series to tell."""
    found = diebold_mariano(differences)
    return None if math.isnan(found) else round(found, 4)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("group", choices=GROUPS)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    asked = parser.parse_args()
    alias, horizon = GROUPS[asked.group]
    frequency = Frequency(alias, is_numbered=True)
    training, test = (pd.read_parquet(asked.data / f"m4_{asked.group}_{part}.parquet") for part in ("train", "test"))
    theirs = {
        name: said
        for file in read_forecasts(asked.files, frequency=frequency, horizon=horizon, taken=())
        for name, said in file.forecasts.items()
    }
    ids = sorted({unique_id for said in theirs.values() for unique_id in said.ids})
    panel = Panel.from_frame(training[training["unique_id"].isin(ids)], frequency)
    came = Panel.from_frame(test[test["unique_id"].isin(ids)], frequency)
    names = sorted({name for peer in theirs for name in PAIRS[peer]})
    seconds, fitted = {}, {}
    for baseline in make_baselines(BaselinesConfig(names=tuple(names), jobs=1)):
        began = time.process_time()
        fitted[baseline.name] = baseline.fit(panel)
        seconds[baseline.name] = time.process_time() - began
    for peer, said in theirs.items():
        own = sorted(set(said.ids))
        part = panel.select([panel.ids.index(unique_id) for unique_id in own])
        steppers = {
            name: one.stepper(frequency, horizon=horizon, quantiles=SCORE_QUANTILES)
            for name, one in fitted.items()
            if name in PAIRS[peer]
        }
        scores = score_answers(
            {name: stepped(one, one.warm) for name, one in steppers.items()} | {peer: given(said)},
            part,
            origins=Origins.back(part),
            horizon=horizon,
            quantiles=SCORE_QUANTILES,
            season_length=scale_season_length(frequency),
            actuals=came,
            reference="none",
        )
        board = rank(scores)
        losses = paired_losses(board)
        column = {name: losses.values[:, f] for f, name in enumerate(losses.forecasters)}
        for name in PAIRS[peer]:
            rows = {who: board.row(who) for who in (name, peer)}
            print(
                json.dumps(
                    {
                        "group": asked.group,
                        "series": len(part),
                        "ours": name,
                        "theirs": peer,
                        "mase": [round(rows[who].mase, 3) for who in (name, peer)],
                        "smape": [round(rows[who].smape, 3) for who in (name, peer)],
                        "coverage_80": [round(rows[who].coverage_80, 3) for who in (name, peer)],
                        "p_of_equal_mase": p_value(column[name] - column[peer]),
                        "our_cpu_seconds_for_all": round(seconds[name], 1),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
