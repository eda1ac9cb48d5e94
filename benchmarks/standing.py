"""What falling back is worth on real series: champions that may, beside champions that never do, over years of M4 Weekly.

    python benchmarks/standing.py [--data ../shared/data] [--series 60] [--weeks 520] [--names ses,damped,theta,arima]

Seeded series with at least 400 weeks before the last --weeks of their training part. Forecasters are fitted without these, and
champions chosen on three horizons before them; then the weeks come one after the other, and both forecast 13 ahead at every
13th week. Prints one JSON object: how often each voice spoke, MASE (scaled by lag 1 of what was fitted) and coverage of the 80 %
intervals of both, and on how many series falling back helped or hurt.
"""

import argparse
import json
import os
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd

from forecaster.baselines import BaselinesConfig, make_baselines
from forecaster.evaluation.actuals import actuals_matrix
from forecaster.evaluation.backtest import backtest, rolling_origins
from forecaster.evaluation.champions import choose_champions
from forecaster.evaluation.leaderboard import rank
from forecaster.evaluation.live_champions import VOICES, ChampionStepper, Member
from forecaster.evaluation.losses import paired_losses
from forecaster.evaluation.scores import score
from forecaster.frequency import Frequency
from forecaster.series import Panel

HORIZON, QUANTILES = 13, (0.1, 0.5, 0.9)


def read_panel(data: Path, series: int, weeks: int) -> Panel:
    training = pd.read_parquet(data / "m4_weekly_train.parquet")
    lengths = training.groupby("unique_id").size()
    ids = sorted(lengths.index[lengths >= 400 + weeks])
    chosen = sorted(np.random.default_rng(0).choice(ids, min(series, len(ids)), replace=False))
    return Panel.from_frame(training[training["unique_id"].isin(chosen)], Frequency("W-SUN", is_numbered=True))


def chosen_stepper(history: Panel, names: tuple[str, ...]) -> ChampionStepper:
    """Champions among baselines that were fitted before the last three horizons of a history, then again on all of it."""
    config = BaselinesConfig(names=names, max_seconds_per_series=1, jobs=1)
    held = 3 * HORIZON
    before = [baseline.fit(history.drop_last(held)) for baseline in make_baselines(config)]
    origins = rolling_origins(history, held, horizon=HORIZON, stride=3)
    made = backtest(before, history, horizon=HORIZON, quantiles=QUANTILES, origins=origins)
    truth = actuals_matrix(next(iter(made.forecasts.values())), history)
    scores = score(made, history=history.drop_last(held), actuals=truth, season_length=1, reference="ses")
    table = choose_champions(paired_losses(rank(scores)))
    members = {}
    naive = config.model_copy(update={"names": ("seasonal_naive",)})
    for baseline in (*make_baselines(config), *make_baselines(naive)):
        stepper = baseline.fit(history).stepper(history.frequency, horizon=HORIZON, quantiles=QUANTILES)
        members[baseline.name] = Member(stepper, stepper.warm)
    return ChampionStepper(table, members, members["seasonal_naive"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--series", type=int, default=60)
    parser.add_argument("--weeks", type=int, default=520)
    parser.add_argument("--names", default="ses,damped,theta,arima")
    given = parser.parse_args()
    panel = read_panel(given.data, given.series, given.weeks)
    history = panel.drop_last(given.weeks)
    live = chosen_stepper(history, tuple(given.names.split(",")))
    scale = np.array([np.abs(np.diff(history.series(b))).mean() for b in range(len(history))])
    state, began = live.warm(history), process_time()
    voices: list[np.ndarray] = []
    errors: dict[str, list[np.ndarray]] = {"falling back": [], "never": []}
    hits: dict[str, list[np.ndarray]] = {"falling back": [], "never": []}
    for t in range(given.weeks):
        at = history.ends + 1 + t
        state = live.step(state, panel.values[panel.offsets[:-1] + history.lengths + t], at)
        voices.append(live.voices(state))
        if t % HORIZON or t + HORIZON >= given.weeks:
            continue
        ahead = panel.offsets[:-1, None] + history.lengths[:, None] + t + 1 + np.arange(HORIZON)
        truth = panel.values[ahead]
        never = np.full((len(panel), HORIZON, len(QUANTILES)), np.nan)
        live._answer(never, np.arange(len(panel)), state, at, voice=0)
        for name, said in (("falling back", live.forecast(state, at)), ("never", never)):
            errors[name].append(np.abs(said[:, :, 1] - truth).mean(axis=1) / scale)
            hits[name].append(((said[:, :, 0] <= truth) & (truth <= said[:, :, 2])).mean(axis=1))
    spoken = np.array(voices)
    own = {name: np.nanmean(values, axis=0) for name, values in errors.items()}
    fell = (spoken != 0).any(axis=0)
    told = {
        "series": len(panel),
        "weeks": given.weeks,
        "champions": {name: live.table.champions.count(name) for name in live.table.forecasters},
        "series_that_fell_back": int(fell.sum()),
        "share_of_time": {name: round(float((spoken == voice).mean()), 3) for voice, name in enumerate(VOICES)},
        "reasons_at_the_end": live.speaking(state),
        "mase": {name: round(float(values.mean()), 3) for name, values in own.items()},
        "mase_of_those": {name: round(float(values[fell].mean()), 3) for name, values in own.items()} if fell.any() else None,
        "coverage_80": {name: round(float(np.mean(values)), 3) for name, values in hits.items()},
        "coverage_80_of_those": {name: round(float(np.array(values)[:, fell].mean()), 3) for name, values in hits.items()},
        "helped": int((own["falling back"] < own["never"]).sum()),
        "hurt": int((own["falling back"] > own["never"]).sum()),
        "cpu_seconds_streaming": round(process_time() - began, 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
