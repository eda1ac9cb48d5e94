"""What falling back is worth on real series: champions that may, beside champions that never do, as they are and with a drift.

    python benchmarks/standing.py [weekly hourly tourism] [--data ../shared/data] [--series 40] [--drift none,level,variance]

Seeded series that are long enough. Forecasters are fitted without the last steps of their training part, and champions chosen on
three horizons before these; then the values come one after the other, nobody is fitted again, and both forecast a horizon ahead a
quarter of a horizon apart. A drift begins after a quarter of the steps: `level` adds three standard deviations of the history,
`variance` noise that triples the variance of seasonal changes. Prints a JSON object for each group and drift: how often each
voice spoke, MASE (scaled by the seasonal changes of what was fitted), the three quantile losses on that scale and coverage of the
80 % intervals of both, on how many series falling back helped or hurt, and the p-value of both being equal.
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
from forecaster.evaluation.significance import diebold_mariano
from forecaster.frequency import Frequency
from forecaster.series import Panel

QUANTILES = (0.1, 0.5, 0.9)
GROUPS = {  # file, frequency, horizon, lag of the scale, values before the steps, steps, candidates
    "weekly": ("m4_weekly", Frequency("W-SUN", is_numbered=True), 13, 1, 400, 390, "ses,damped,theta,arima"),
    "hourly": ("m4_hourly", Frequency("h", is_numbered=True), 24, 24, 350, 350, "seasonal_naive,ses,theta"),
    "tourism": ("tourism_monthly", Frequency("MS", is_numbered=True), 12, 12, 120, 144, "seasonal_naive,ses,theta"),
}


def read_panel(data: Path, group: str, series: int) -> Panel:
    stem, frequency, _, _, before, steps, _ = GROUPS[group]
    training = pd.read_parquet(data / f"{stem}_train.parquet")
    lengths = training.groupby("unique_id").size()
    ids = sorted(lengths.index[lengths >= before + steps])
    chosen = sorted(np.random.default_rng(0).choice(ids, min(series, len(ids)), replace=False))
    return Panel.from_frame(training[training["unique_id"].isin(chosen)], frequency)


def chosen_stepper(history: Panel, group: str) -> ChampionStepper:
    """Champions among baselines that were fitted before the last three horizons of a history, then again on all of it."""
    _, _, horizon, lag, _, _, names = GROUPS[group]
    config = BaselinesConfig(names=tuple(names.split(",")), max_seconds_per_series=1, jobs=1)
    held = 3 * horizon
    before = [baseline.fit(history.drop_last(held)) for baseline in make_baselines(config)]
    origins = rolling_origins(history, held, horizon=horizon, stride=max(horizon // 4, 1))
    made = backtest(before, history, horizon=horizon, quantiles=QUANTILES, origins=origins)
    truth = actuals_matrix(next(iter(made.forecasts.values())), history)
    scores = score(made, history=history.drop_last(held), actuals=truth, season_length=lag, reference=config.names[0])
    table = choose_champions(paired_losses(rank(scores)))
    naive = config.model_copy(update={"names": ("seasonal_naive",)})
    members = {}
    for baseline in (*make_baselines(config), *make_baselines(naive)):
        stepper = baseline.fit(history).stepper(history.frequency, horizon=horizon, quantiles=QUANTILES)
        members[baseline.name] = Member(stepper, stepper.warm)
    return ChampionStepper(table, members, members["seasonal_naive"])


def drifted(values: np.ndarray, history: Panel, drift: str, lag: int) -> np.ndarray:
    """The values [T, B] that come, with a drift from a quarter of them on."""
    begins, rng, after = len(values) // 4, np.random.default_rng(1), values.copy()
    past = [history.series(b) for b in range(len(history))]
    if drift == "level":
        after[begins:] += 3 * np.array([y.std() for y in past])
    if drift == "variance":
        after[begins:] += np.array([(y[lag:] - y[:-lag]).std() for y in past]) * rng.normal(size=after[begins:].shape)
    return after


def told(live: ChampionStepper, history: Panel, values: np.ndarray, lag: int) -> dict[str, object]:
    """What both ways of obeying the champions come to on values [T, B]."""
    horizon, series = live.horizon, np.arange(len(history))
    scale = np.array([np.abs(y[lag:] - y[:-lag]).mean() for y in (history.series(b) for b in series)])
    state, began, voices = live.warm(history), process_time(), []
    kept: dict[str, list[np.ndarray]] = {"falling back": [], "never": []}
    for t, y in enumerate(values):
        at = history.ends + 1 + t
        state = live.step(state, y, at)
        voices.append(live.voices(state))
        if t % max(horizon // 4, 1) or t + horizon >= len(values):
            continue
        truth = values[t + 1 : t + 1 + horizon].T
        never = np.full((len(series), horizon, len(QUANTILES)), np.nan)
        live._answer(never, series, state, at, voice=0)
        for name, said in (("falling back", live.forecast(state, at)), ("never", never)):
            error = truth[..., None] - said
            pinball = np.maximum(np.array(QUANTILES) * error, (np.array(QUANTILES) - 1) * error)
            hit = (error[..., 0] >= 0) & (error[..., 2] <= 0)
            kept[name].append(
                np.stack([2 * pinball[..., 1] / scale[:, None], 2 * pinball.mean(-1) / scale[:, None], hit]).mean(-1)
            )
    own = {name: np.mean(rows, axis=0) for name, rows in kept.items()}  # [3, B]
    fell, spoken = (np.array(voices) != 0).any(axis=0), np.array(voices)
    change = own["falling back"] - own["never"]
    measures = dict(zip(("mase", "quantile_loss", "coverage_80"), range(3), strict=True))
    return {
        "series_that_fell_back": int(fell.sum()),
        "share_of_time": {name: round(float((spoken == voice).mean()), 3) for voice, name in enumerate(VOICES)},
        "at_the_end": live.speaking(state),
        **{m: {name: round(float(rows[k].mean()), 3) for name, rows in own.items()} for m, k in measures.items()},
        "median_change_of_those": round(float(np.median(change[0][fell] / own["never"][0][fell])), 3) if fell.any() else None,
        "helped": [int((change[k] < 0).sum()) for k in (0, 1)],
        "hurt": [int((change[k] > 0).sum()) for k in (0, 1)],
        "p": [round(float(diebold_mariano(change[k])), 3) if fell.any() else None for k in (0, 1)],
        "cpu_seconds": round(process_time() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("groups", nargs="*", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--series", type=int, default=40)
    parser.add_argument("--drift", default="none,level,variance")
    given = parser.parse_args()
    for group in given.groups:
        _, _, _, lag, _, steps, _ = GROUPS[group]
        panel = read_panel(given.data, group, given.series)
        history = panel.drop_last(steps)
        live = chosen_stepper(history, group)
        counts = {name: live.table.champions.count(name) for name in live.table.forecasters}
        coming = np.stack([panel.series(b)[-steps:] for b in range(len(panel))], axis=1)
        for drift in given.drift.split(","):
            values = drifted(coming, history, drift, lag)
            head = {"group": group, "drift": drift, "series": len(panel), "steps": steps, "champions": counts}
            print(json.dumps(head | told(live, history, values, lag)), flush=True)


if __name__ == "__main__":
    main()
