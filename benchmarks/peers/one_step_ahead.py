"""Other people's forecasters at the work of a live stream: a value of each series comes, and the next one is forecast.

    PEERS/bin/python benchmarks/peers/one_step_ahead.py PEER TRAIN TEST [--series 414] [--history 336] [--budget-seconds 20]

TRAIN and TEST are Parquet in long format (unique_id, ds, y) of hours; PEER is one of those below. Each series is learned from
its last --history values in TRAIN; then the hours of TEST come one after the other, a value for every series, and after each hour
every series is forecast one step ahead. Only that is timed, by CPU, in the way that the library has for it, until the budget is
spent. Prints one JSON object for each way: observations for each CPU second, how many were measured, and the MAE of the forecasts
over the series' daily differences in TRAIN, which tells whether the work was done.

It knows nothing of the program beside which it is measured; `benchmarks/stream_peers.py` starts it in environments of the peers.
"""

import argparse
import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from time import process_time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - after the numbers of threads are set
import pandas as pd  # noqa: E402

M, CONTEXT, HIDDEN = 24, 168, 64

# After it has learned, a way takes the values of one hour [B] and says the next ones [B].
Step = Callable[[np.ndarray], np.ndarray]
Learn = Callable[[np.ndarray], Step]  # from the last values of all series [B, T]


# -- river -------------------------------------------------------------------------------------------------------------------


def one_by_one(make: Callable[[], "object"]) -> Learn:
    """River's way: a model for each series, which learns a value and is asked for the next."""

    def learn(history: np.ndarray) -> Step:
        models = [make() for _ in history]
        for model, values in zip(models, history.tolist(), strict=True):
            for value in values:
                model.learn_one(value)  # type: ignore[attr-defined]

        def step(y: np.ndarray) -> np.ndarray:
            said = []
            for model, value in zip(models, y.tolist(), strict=True):
                model.learn_one(value)  # type: ignore[attr-defined]
                said.append(model.forecast(horizon=1)[0])  # type: ignore[attr-defined]
            return np.array(said)

        return step

    return learn


def river() -> dict[str, Learn]:
    from river.time_series import SNARIMAX, HoltWinters

    return {
        "Holt-Winters": one_by_one(lambda: HoltWinters(alpha=0.3, beta=0.02, gamma=0.2, seasonality=M)),
        "SNARIMAX(2, 0, 1)(1, 0, 0)": one_by_one(lambda: SNARIMAX(p=2, d=0, q=1, m=M, sp=1)),
    }


# -- statsmodels -------------------------------------------------------------------------------------------------------------


def sarimax(way: str) -> Learn:
    """A result that is extended (filtered from its last state), or appended to (filtered from the start)."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    def learn(history: np.ndarray) -> Step:
        results = [SARIMAX(values, order=(2, 0, 1), trend="c").fit(disp=0, maxiter=20) for values in history]

        def step(y: np.ndarray) -> np.ndarray:
            for b in range(len(y)):
                results[b] = getattr(results[b], way)(y[b : b + 1])
            return np.array([result.forecast(1)[0] for result in results])

        return step

    return learn


def ets_again(history: np.ndarray) -> Step:
    """Smoothed again from the start with every value, with the parameters it has."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    options = {"trend": "add", "seasonal": "add", "seasonal_periods": M}
    parameters = [ETSModel(values, **options).fit(disp=False, maxiter=5).params for values in history]
    seen = [history]

    def step(y: np.ndarray) -> np.ndarray:
        seen[0] = np.column_stack([seen[0], y])
        models = (ETSModel(values, **options) for values in seen[0])
        return np.array([model.smooth(params).forecast(1)[0] for model, params in zip(models, parameters, strict=True)])

    return step


def statsmodels() -> dict[str, Learn]:
    return {
        "ARIMA(2, 0, 1) extend": sarimax("extend"),
        "ARIMA(2, 0, 1) append": sarimax("append"),
        "ETS smoothed again": ets_again,
    }


# -- statsforecast -----------------------------------------------------------------------------------------------------------


def forward(make: Callable[[], "object"]) -> Learn:
    """A model that was fitted once, and run again over all values with every one that comes."""

    def learn(history: np.ndarray) -> Step:
        fitted = [make().fit(values) for values in history]  # type: ignore[attr-defined]
        fitted[0].forward(y=history[0], h=1)  # what is compiled is compiled now
        seen = [history]

        def step(y: np.ndarray) -> np.ndarray:
            seen[0] = np.column_stack([seen[0], y])
            return np.array([model.forward(y=values, h=1)["mean"][0] for model, values in zip(fitted, seen[0], strict=True)])

        return step

    return learn


def statsforecast() -> dict[str, Learn]:
    from statsforecast.models import ARIMA, AutoETS

    return {
        "ETS(A, A, A) forward": forward(lambda: AutoETS(season_length=M, model="AAA")),
        "ARIMA(2, 0, 1) forward": forward(lambda: ARIMA(order=(2, 0, 1))),
    }


# -- networks, which see the last values again each time ---------------------------------------------------------------------


def darts_gru(history: np.ndarray) -> Step:
    """A GRU of 64 units, trained for a moment; it predicts from a window of the last week of all series at once."""
    from darts import TimeSeries
    from darts.models import RNNModel

    trainer = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_checkpointing": False}
    model = RNNModel(
        model="GRU",
        hidden_dim=HIDDEN,
        input_chunk_length=CONTEXT,
        training_length=CONTEXT + 1,
        n_epochs=1,
        batch_size=32,
        pl_trainer_kwargs=trainer,
    )

    def series_of(values: np.ndarray) -> list:
        return [TimeSeries.from_values(row.astype(np.float32)) for row in values]

    model.fit(series_of(history), max_samples_per_ts=1, verbose=False)
    seen = [history[:, -CONTEXT:]]

    def step(y: np.ndarray) -> np.ndarray:
        seen[0] = np.column_stack([seen[0][:, 1:], y])
        said = model.predict(1, series=series_of(seen[0]), batch_size=1024, verbose=False, show_warnings=False)
        return np.array([one.values()[0, 0] for one in said])

    return step


def neuralforecast_gru(history: np.ndarray) -> Step:
    """A GRU of 64 units, trained for a moment; it predicts from a table of the last week of all series."""
    from neuralforecast import NeuralForecast
    from neuralforecast.models import GRU

    ids = np.array([f"s{b:04}" for b in range(len(history))])

    def table_of(values: np.ndarray) -> pd.DataFrame:
        steps = np.tile(np.arange(values.shape[1]), len(values))
        return pd.DataFrame({"unique_id": np.repeat(ids, values.shape[1]), "ds": steps, "y": values.ravel()})

    trainer = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "enable_checkpointing": False}
    model = GRU(
        h=1, input_size=CONTEXT, encoder_hidden_size=HIDDEN, encoder_n_layers=1, max_steps=20, scaler_type="standard", **trainer
    )
    forecaster = NeuralForecast(models=[model], freq=1)
    forecaster.fit(table_of(history))
    seen = [history[:, -CONTEXT:]]

    def step(y: np.ndarray) -> np.ndarray:
        seen[0] = np.column_stack([seen[0][:, 1:], y])
        return forecaster.predict(df=table_of(seen[0]))["GRU"].to_numpy()

    return step


PEERS: dict[str, Callable[[], dict[str, Learn]]] = {
    "river": river,
    "statsmodels": statsmodels,
    "statsforecast": statsforecast,
    "darts": lambda: {"GRU predict": darts_gru},
    "neuralforecast": lambda: {"GRU predict": neuralforecast_gru},
}


# -- the feed ----------------------------------------------------------------------------------------------------------------


def read_feed(train: Path, test: Path, *, series: int, history: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The last values of each series [B, T], the hours that follow [B, H], and the daily differences in all of TRAIN [B]."""
    before, after = pd.read_parquet(train), pd.read_parquet(test)
    ids = sorted(before["unique_id"].unique())[:series]
    past = {unique_id: rows.sort_values("ds")["y"].to_numpy(np.float64) for unique_id, rows in before.groupby("unique_id")}
    future = {unique_id: rows.sort_values("ds")["y"].to_numpy(np.float64) for unique_id, rows in after.groupby("unique_id")}
    scale = [np.abs(past[unique_id][M:] - past[unique_id][:-M]).mean() for unique_id in ids]
    return np.stack([past[i][-history:] for i in ids]), np.stack([future[i] for i in ids]), np.array(scale)


def measured(step: Step, y: np.ndarray, scale: np.ndarray, *, budget: float) -> dict[str, float]:
    """What a way did within the budget, hour by hour."""
    spent, hours, errors = 0.0, 0, []
    for t in range(y.shape[1] - 1):
        began = process_time()
        said = step(y[:, t])
        spent += process_time() - began
        errors.append(np.abs(said - y[:, t + 1]) / scale)
        hours += 1
        if spent > budget:
            break
    return {
        "observations_per_cpu_second": round(hours * len(y) / spent, 1),
        "observations": hours * len(y),
        "mase": round(float(np.nanmean(errors)), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=list(PEERS))
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--series", type=int, default=414)
    parser.add_argument("--history", type=int, default=336)
    parser.add_argument("--budget-seconds", type=float, default=20)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    history, y, scale = read_feed(given.train, given.test, series=given.series, history=given.history)
    for way, learn in PEERS[given.peer]().items():
        step = learn(history)
        print(json.dumps({"way": f"{given.peer}, {way}", **measured(step, y, scale, budget=given.budget_seconds)}), flush=True)


if __name__ == "__main__":
    main()
