"""Coverage, width and WQL of live forecasts, before and after calibration, and with a level shift; and what it costs.

    python benchmarks/coverage.py --data ../shared/data [--panels etth1 pm25 hourly] [--inner gru holt_winters] [--cost]

The first part of each panel trains the inner stepper and gives the prior of the calibration. The last part is walked live, a
forecast at every position: once as it is, and once with every series raised by three of its standard deviations at a random
moment between a third and a half of it. Intervals are judged as they were issued. The network is a small one (32 units, one
member, 300 steps), trained here in less than half a minute.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from panels import PANELS

from forecaster.baselines import BASELINES
from forecaster.evaluation.metrics import pinball_loss
from forecaster.forecast import DECILES, State, Stepper
from forecaster.frequency import Frequency
from forecaster.models.ensemble import train_network
from forecaster.models.network import ModelConfig, torch_threads
from forecaster.models.plan import TrainingConfig
from forecaster.series import Panel, Values
from forecaster.streaming.conformal import Calibrated

QUANTILES = (0.025, *DECILES, 0.975)
PAIRS = {"80 %": (1, 9), "95 %": (0, 10)}
LIVE = {"etth1": 5_760, "pm25": 8_760, "hourly": 630}  # last positions
YOUNG = 96  # positions
SHIFT = 3.0  # standard deviations of the part before
BOTH = ("raw", "calibrated")
Warm = Callable[[Panel], State]


@dataclass(frozen=True)
class Window:
    """What is judged: truths from `first` to `stop` of the live part of each series [B], said at `origin` or later."""

    first: Values
    stop: Values
    origin: Values | None = None


def read(name: str, data: Path) -> Panel:
    """A panel; of M4 Hourly, its training and test parts together, and every second of the series with 1,008 values."""
    scored = PANELS[name]
    frame = pd.concat([pd.read_parquet(data / f"{file}.parquet") for file in (scored.train, scored.test) if file])
    if scored.length:
        frame = frame[frame.groupby("unique_id").cumcount() < scored.length]
    frequency = Frequency("h", is_numbered=not np.issubdtype(frame["ds"].dtype, np.datetime64))
    panel = Panel.from_frame(frame.astype({"y": np.float64}), frequency)
    return panel.select(np.flatnonzero(panel.lengths == 1_008)[::2].tolist()) if name == "hourly" else panel


def inner_of(kind: str, known: Panel, horizon: int) -> tuple[Stepper, Warm]:
    """The stepper to calibrate, learned from what is known, and how it warms."""
    if kind != "gru":
        baseline = BASELINES[kind]().fit(known).stepper(known.frequency, horizon=horizon, quantiles=QUANTILES)
        return baseline, baseline.warm
    model, training = ModelConfig(hidden_size=32, members=1), TrainingConfig(max_steps=300, refit_share=0)
    folder = Path(tempfile.mkdtemp())
    network = train_network(known, model=model, training=training, horizon=horizon, quantiles=QUANTILES, seed=1, folder=folder)
    return network, network.warm


def live_matrix(panel: Panel, live: int, horizon: int) -> Values:
    """The live values of each series, then NaN for a horizon [B, live + L]."""
    y = np.stack([panel.series(b)[-live:] for b in range(len(panel))])
    return np.concatenate([y, np.full((len(y), horizon), np.nan)], axis=1)


class Tally:
    """Sums by forecaster, window, series and lead: truths, hits of both intervals, their widths, pinball losses, sizes."""

    def __init__(self, windows: dict[str, Window], series: int, horizon: int) -> None:
        self.windows, self.leads = windows, np.arange(horizon)
        self.sums = {(who, name): np.zeros((8, series, horizon)) for who in BOTH for name in windows}

    def add(self, who: str, said: Values, y: Values, t: int) -> None:
        """Take forecasts [B, L, Q] made after live position t - 1, of truths [B, L]."""
        terms = [np.ones_like(y)]
        for low, high in PAIRS.values():
            terms += [(said[:, :, low] <= y) & (y <= said[:, :, high]), said[:, :, high] - said[:, :, low]]
        losses = [2 * pinball_loss(y, said[:, :, q], QUANTILES[q]) for q in range(1, 10)]
        terms += [np.mean(losses, axis=0), np.abs(y), np.abs(y - said[:, :, 5])]
        known, at = ~np.isnan(y), t + self.leads[None, :]
        for name, window in self.windows.items():
            use = known & (at >= window.first[:, None]) & (at < window.stop[:, None])
            if window.origin is not None:
                use &= (t >= window.origin)[:, None]
            self.sums[who, name] += np.where(use, np.stack(terms), 0)

    def row(self, name: str) -> str:
        """Coverage overall and the range over leads, for both; then widths, WQL and MAE against the uncalibrated."""
        told = []
        for place in (1, 3):
            for who in BOTH:
                sums = self.sums[who, name].sum(axis=1)
                leads = 100 * sums[place] / sums[0]
                told.append(f"{100 * sums[place].sum() / sums[0].sum():.1f} ({leads.min():.0f} to {leads.max():.0f})")
        per_series = {who: self.sums[who, name].sum(axis=2) for who in BOTH}
        used = per_series["raw"][0] > 0
        ratios = [per_series["calibrated"][k][used] / per_series["raw"][k][used] for k in (2, 4, 5, 7)]
        told += [f"{np.exp(np.log(ratio).mean()):.3f}" for ratio in ratios]
        return f"| {name} | " + " | ".join(told) + " |"


def walk(
    calibrated: Calibrated, warm: Warm, panel: Panel, live: int, windows: dict[str, Window], *, young: bool = False
) -> Tally:
    """Step through the live part, forecast at each position, and judge the forecasts with and without their correction.

    Where they are `young`, the calibration has seen nothing of these series before.
    """
    y = live_matrix(panel, live, calibrated.horizon)
    tally = Tally(windows, len(panel), calibrated.horizon)
    known = panel.drop_last(live)
    state = calibrated.begin(warm(known), known.ends) if young else calibrated.warm(known, warm)
    position, leads = panel.ends - live, np.arange(1, calibrated.horizon + 1)[None, :]
    for t in range(live):
        raw = calibrated.stepper.forecast(state[:, : calibrated.stepper.state_size], position)
        numbers = state[:, calibrated.stepper.state_size :]
        truths = y[:, t : t + calibrated.horizon]
        tally.add("raw", raw, truths, t)
        tally.add("calibrated", calibrated.tracker.correct(raw, numbers, leads), truths, t)
        position = position + 1
        state = calibrated.step(state, y[:, t], position)
    return tally


def measure(name: str, kind: str, data: Path) -> None:
    """The rows of one panel and one inner stepper."""
    panel, live, horizon = read(name, data), LIVE[name], PANELS[name].horizon
    known, count = panel.drop_last(live), len(panel)
    began = process_time()
    inner, warm = inner_of(kind, known, horizon)
    calibrated = Calibrated.fitted(inner, known, build=warm)
    at = (live * np.random.default_rng(0).uniform(1 / 3, 1 / 2, count)).astype(int)
    values = panel.values.copy()
    for b in range(count):
        past = values[panel.offsets[b] : panel.offsets[b + 1] - live]
        values[panel.offsets[b + 1] - live + at[b] : panel.offsets[b + 1]] += SHIFT * np.nanstd(past)
    end = np.full(count, live)
    plain = {"last half": Window(end // 2, end)}
    shifted = {
        "shifted: before, its last half": Window(at // 2, at),
        "after, first two weeks": Window(at, at + 336, origin=at),
        "after, its last half": Window((at + live) // 2, end),
    }
    rows = walk(calibrated, warm, panel, live, plain), walk(calibrated, warm, replace(panel, values=values), live, shifted)
    if name == "hourly":
        half = np.arange(count) % 2 == 0
        others, new = (panel.select(np.flatnonzero(rows).tolist()) for rows in (half, ~half))
        pooled = Calibrated.fitted(inner, others.drop_last(live), build=warm)
        first = {"first four days of series new to it": Window(np.zeros(len(new)), np.full(len(new), YOUNG))}
        cut = YOUNG + horizon
        rows = *rows, walk(pooled, warm, new.drop_last(live - cut), cut, first, young=True)
    print(f"\n{name}, {kind}: {count} series, {live} live positions, {process_time() - began:.0f} s of CPU")
    print("| | 80 %: raw (leads) | calibrated | 95 %: raw | calibrated | width 80 | width 95 | WQL | MAE |")
    print("|---|---|---|---|---|---|---|---|---|")
    for tally in rows:
        for window in tally.windows:
            print(tally.row(window), flush=True)


def microseconds(step: Callable[[], object], series: int, turns: int = 15) -> float:
    """CPU for each series, the median of some turns."""
    seconds = []
    for _ in range(turns):
        began = process_time()
        step()
        seconds.append(process_time() - began)
    return 1e6 * float(np.median(seconds)) / series


def cost(data: Path, series: int = 10_000) -> None:
    """What a step costs by itself and calibrated, the median and the mean over one spacing, and what a forecast costs."""
    panel = read("etth1", data).drop_last(LIVE["etth1"])
    panel = panel.drop_last(panel.lengths - 2_000)
    for kind in ("holt_winters", "gru"):
        for horizon, quantiles in ((24, (0.1, 0.5, 0.9)), (48, QUANTILES)):
            inner = cost_inner(kind, panel, horizon, quantiles)
            stepper = Calibrated(inner)
            one = inner.warm(panel)[:1]  # type: ignore[attr-defined]
            position, y = np.full(series, int(panel.ends[0])), np.full(series, float(panel.series(0)[-1]))
            first = stepper.begin(np.repeat(one, series, axis=0), position)
            spent = [0.0]
            state, turn = first, 0
            for turn in range(1, 10 * stepper.tracker.schedule.spacing + 1):
                began = process_time()
                state = stepper.step(state, y, position + turn)
                spent.append(process_time() - began)
            whole = 1e6 * float(np.mean(spent[1 + len(spent) // 2 :])) / series
            position = position + turn
            plain = np.ascontiguousarray(state[:, : inner.state_size])
            alone = microseconds(lambda: inner.step(plain, y, position + 1), series)  # noqa: B023
            said = microseconds(lambda: inner.forecast(plain, position), series, 5)  # noqa: B023
            corrected = microseconds(lambda: stepper.forecast(state, position), series, 5)  # noqa: B023
            own = whole - alone - said / stepper.tracker.schedule.spacing
            told = [f"{figure:.2f}" for figure in (alone, whole, own, said, corrected)]
            print(f"| {kind}, {horizon} x {len(quantiles)} | {inner.state_size} + {stepper.tracker.width} | {' | '.join(told)} |")


def cost_inner(kind: str, panel: Panel, horizon: int, quantiles: tuple[float, ...]) -> Stepper:
    """A fitted baseline, or a network of 64 units after a handful of steps: what it says does not matter here."""
    if kind != "gru":
        return BASELINES[kind]().fit(panel).stepper(panel.frequency, horizon=horizon, quantiles=quantiles)
    model, training = ModelConfig(hidden_size=64, members=1), TrainingConfig(max_steps=5, refit_share=0)
    folder = Path(tempfile.mkdtemp())
    return train_network(panel, model=model, training=training, horizon=horizon, quantiles=quantiles, seed=1, folder=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FORECASTER_DATA", "../shared/data")))
    parser.add_argument("--panels", nargs="*", choices=LIVE, default=list(LIVE))
    parser.add_argument("--inner", nargs="*", default=["gru", "holt_winters"])
    parser.add_argument("--cost", action="store_true", help="measure what a step costs instead")
    given = parser.parse_args()
    with torch_threads(1):
        if given.cost:
            print(
                "| | state | step alone | calibrated | calibration's own | forecast | corrected |\n|---|---|---|---|---|---|---|"
            )
            cost(given.data)
            return
        for name in given.panels:
            for kind in given.inner:
                measure(name, kind, given.data)


if __name__ == "__main__":
    main()
