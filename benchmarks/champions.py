"""Champions and combinations of the baselines beside each of them alone, on the test parts of M4 and Tourism.

    python benchmarks/champions.py [hourly weekly quarterly tourism] [--series 400] [--names naive,ses,arima] [--fits FOLDER]

Champions are chosen on nine origins, a quarter of the horizon apart, that end before the test part, by forecasters fitted before
the first of them; then all are fitted again on the whole training part. Series too short for that are left out. Prints one JSON
object a group: OWA on the test part, also of combinations with other powers of the inverse losses, seen and shrunk.
"""

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.baselines import BaselinesConfig, make_baselines
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import Backtest, backtest, rolling_origins, scale_season_length
from forecaster.evaluation.champions import Champions, choose_champions, inverse_weights, trusted_champions
from forecaster.evaluation.leaderboard import Leaderboard, rank
from forecaster.evaluation.losses import paired_losses
from forecaster.evaluation.metrics import SCORE_QUANTILES
from forecaster.evaluation.scores import score
from forecaster.evaluation.shrinkage import expected_losses
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel

GROUPS = {
    "hourly": ("m4_hourly", Frequency("h", is_numbered=True), 48),
    "weekly": ("m4_weekly", Frequency("W-SUN", is_numbered=True), 13),
    "quarterly": ("m4_quarterly_dev", Frequency("QS", is_numbered=True), 8),
    "tourism": ("tourism_monthly", Frequency("MS", is_numbered=True), 24),
}
POWERS = (1, 2, 4, 6, 8, 12)
NAMES = "naive,seasonal_naive,naive2,ses,damped,theta,holt_winters,arima,sarima"


def read_group(data: Path, group: str, series: int) -> tuple[Panel, Panel]:
    """The training part and both parts together of some series, chosen by a seed, that are long enough."""
    stem, frequency, horizon = GROUPS[group]
    training, test = (pd.read_parquet(data / f"{stem}_{part}.parquet") for part in ("train", "test"))
    lengths = training.groupby("unique_id").size()
    ids = sorted(lengths.index[lengths > 3 * horizon + 2 * frequency.season_length + 2])
    chosen = ids if len(ids) <= series else sorted(np.random.default_rng(0).choice(ids, series, replace=False))
    both = pd.concat([training, test])
    kept = (frame[frame["unique_id"].isin(chosen)] for frame in (training, both))
    first, second = (Panel.from_frame(frame, frequency) for frame in kept)
    return first, second


def scored(made: Backtest, panel: Panel, season_length: int) -> Leaderboard:
    some = next(iter(made.forecasts.values()))
    return rank(score(made, history=panel, actuals=actuals_matrix(some, panel), season_length=season_length))


def measure(data: Path, group: str, series: int, names: tuple[str, ...], fits: Path | None) -> dict[str, object]:
    training, whole = read_group(data, group, series)
    horizon, season = GROUPS[group][2], scale_season_length(training.frequency)
    ask = {"horizon": horizon, "quantiles": SCORE_QUANTILES}
    held = rolling_origins(training, 3 * horizon, horizon=horizon, stride=max(1, horizon // 4))
    config = BaselinesConfig(names=names, max_seconds_per_series=2)
    before = [baseline.fit(training.drop_last(3 * horizon)) for baseline in make_baselines(config, cache=fits)]
    losses = paired_losses(scored(backtest(before, training, **ask, origins=held), training, season))
    table, expected = choose_champions(losses), expected_losses(losses)
    fitted = {baseline.name: baseline.fit(training) for baseline in make_baselines(config, cache=fits)}
    both = [Champions(table, fitted), Champions(table, fitted, is_combined=True)]
    origins = Origins(np.arange(len(training)), training.lengths)
    made = backtest([*fitted.values(), *both], whole, **ask, origins=origins)
    trusted, checked = trusted_champions(losses)  # what `forecast evaluate` chooses: gated by the later origins of the evidence
    gated = Champions(trusted, fitted)
    made.forecasts["champions, gated"] = backtest([gated], whole, **ask, origins=origins).forecasts[gated.name]
    for power in POWERS:
        for kind, of in (("seen", expected.seen), ("shrunk", expected.losses)):
            other = Champions(replace(table, weights=inverse_weights(of, power)), fitted, is_combined=True)
            said = backtest([other], whole, **ask, origins=origins).forecasts[other.name]
            made.forecasts[f"power {power} {kind}"] = said
    owa = {row.forecaster: round(row.owa, 4) for row in scored(made, whole, season).rows}
    speaks = {name: table.champions.count(name) for name in table.forecasters}
    fallen = {one.name: sum(fit.fallback is not None for fit in one.fit_report) for one in (*before, *fitted.values())}
    return {
        "group": group,
        "series": len(training),
        "fits_that_fell_back": {name: count for name, count in fallen.items() if count},
        "panel_best": table.forecasters[0],
        "champions": speaks,
        "pays": None if checked is None else checked.pays,
        "owa": owa,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("groups", nargs="*", default=list(GROUPS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--series", type=int, default=400)
    parser.add_argument("--names", default=NAMES)
    parser.add_argument("--fits", type=Path, help="a folder where fits are kept")
    given = parser.parse_args()
    for group in given.groups:
        print(json.dumps(measure(given.data, group, given.series, tuple(given.names.split(",")), given.fits)), flush=True)


if __name__ == "__main__":
    main()
