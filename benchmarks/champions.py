"""Champions and combinations of the baselines beside each of them alone, on the test parts of M4 and Tourism.

    python benchmarks/champions.py [hourly weekly quarterly tourism] [--series 400] [--names naive,ses,arima] [--fits FOLDER]
                                   [--network FOLDER]

Champions are chosen on nine origins, a quarter of the horizon apart, that end before the test part, by forecasters fitted before
the first of them; then all are fitted again on the whole training part. Series too short for that are left out. With --network
the default configuration is among the candidates, trained by `forecast train` on all series of the group that are long enough,
the last three horizons held back: its judged weights take part in the choice, those of its refit speak on the test part. The
FOLDER keeps the run. Prints one JSON object a group: OWA on the test part, also of combinations with other powers of the inverse
losses, seen and shrunk.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from forecaster.baselines import BaselinesConfig, make_baselines
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import Backtest, backtest, rolling_origins, scale_season_length
from forecaster.evaluation.champions import Champions, choose_champions, inverse_weights
from forecaster.evaluation.leaderboard import Leaderboard, rank
from forecaster.evaluation.losses import paired_losses
from forecaster.evaluation.metrics import SCORE_QUANTILES
from forecaster.evaluation.scores import score
from forecaster.evaluation.shrinkage import expected_losses
from forecaster.evaluation.trust import trusted_champions
from forecaster.frequency import Frequency
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
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


def trained_network(data: Path, group: str, folder: Path) -> Run:
    """The default configuration trained on every series of a group that is long enough; the run that the folder has of it."""
    stem, frequency, horizon = GROUPS[group]
    home = Home(folder / group)
    if not (home.runs / group).exists():
        training = pd.read_parquet(data / f"{stem}_train.parquet")
        lengths = training.groupby("unique_id").size()
        long_enough = lengths.index[lengths > 3 * horizon + 2 * frequency.season_length + 2]
        home.runs.mkdir(parents=True, exist_ok=True)
        training[training["unique_id"].isin(long_enough)].to_parquet(home.path / "training.parquet", index=False)
        ingest = ("ingest", str(home.path / "training.parquet"), "--name", group, "--freq", frequency.alias)
        train = ("train", "configs/default.yaml", "--panel", group, "--name", group, "--horizon", str(horizon))
        for words in (ingest, (*train, "--set", "evaluation.origins=3")):
            environment = {**os.environ, "FORECASTER_HOME": str(home.path)}
            subprocess.run([sys.executable, "-m", "forecaster", *words], env=environment, check=True, stdout=sys.stderr)
    return Run.open(str(home.runs / group), home)


def scored(made: Backtest, panel: Panel, season_length: int) -> Leaderboard:
    some = next(iter(made.forecasts.values()))
    return rank(score(made, history=panel, actuals=actuals_matrix(some, panel), season_length=season_length))


def measure(
    data: Path, group: str, series: int, names: tuple[str, ...], *, fits: Path | None, folder: Path | None
) -> dict[str, object]:
    network = trained_network(data, group, folder) if folder else None
    training, whole = read_group(data, group, series)
    horizon, season = GROUPS[group][2], scale_season_length(training.frequency)
    ask = {"horizon": horizon, "quantiles": SCORE_QUANTILES}
    held = rolling_origins(training, 3 * horizon, horizon=horizon, stride=max(1, horizon // 4))
    config = BaselinesConfig(names=names, max_seconds_per_series=2)
    before = [baseline.fit(training.drop_last(3 * horizon)) for baseline in make_baselines(config, cache=fits)]
    judged = [load_recurrent(network.judged_weights)] if network else []
    losses = paired_losses(scored(backtest([*before, *judged], training, **ask, origins=held), training, season))
    table, expected = choose_champions(losses), expected_losses(losses)
    fitted = {baseline.name: baseline.fit(training) for baseline in make_baselines(config, cache=fits)}
    deployed = [load_recurrent(network.deployed_weights)] if network else []
    all_of = fitted | {one.name: one for one in deployed}
    both = [Champions(table, all_of), Champions(table, all_of, is_combined=True)]
    origins = Origins(np.arange(len(training)), training.lengths)
    made = backtest([*all_of.values(), *both], whole, **ask, origins=origins)
    trusted, checked = trusted_champions(losses)  # what `forecast evaluate` chooses: gated by the later origins of the evidence
    gated = Champions(trusted, all_of)
    made.forecasts["champions, gated"] = backtest([gated], whole, **ask, origins=origins).forecasts[gated.name]
    for power in POWERS:
        for kind, of in (("seen", expected.seen), ("shrunk", expected.losses)):
            other = Champions(replace(table, weights=inverse_weights(of, power)), all_of, is_combined=True)
            said = backtest([other], whole, **ask, origins=origins).forecasts[other.name]
            made.forecasts[f"power {power} {kind}"] = said
    owa = {row.forecaster: round(row.owa, 4) for row in scored(made, whole, season).rows}
    speaks = {name: table.champions.count(name) for name in table.forecasters}
    fallen = {one.name: sum(fit.fallback is not None for fit in one.fit_report) for one in (*before, *fitted.values())}
    return {
        "group": group,
        "series": len(training),
        "fits_that_fell_back": {name: count for name, count in fallen.items() if count},
        "network_seconds": round(network.facts.seconds) if network else None,
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
    parser.add_argument("--network", type=Path, help="a folder where the default configuration is trained, to take part")
    given = parser.parse_args()
    for group in given.groups:
        names = tuple(given.names.split(","))
        found = measure(given.data, group, given.series, names, fits=given.fits, folder=given.network)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
