"""Other people's recurrent networks trained on hours for so many CPU-seconds, and what they then forecast.

    PEERS/bin/python benchmarks/peers/recurrent_training.py PEER TRAIN --out FILE [--size usual] [--budget-seconds 300]

TRAIN is Parquet in long format (unique_id, ds as step numbers, y). The network trains on one thread until the budget is spent,
counted from its first batch, then forecasts the next --horizon steps of every series into FILE, as a column of points. With
`--size usual` it has the width and batch that its library gives it, with `--size ours` one layer of 128 units and 16 windows a
batch. Where the library has no usual input length, it is a week. Prints one JSON object: steps, targets (values of the future
that entered a loss), CPU-seconds and targets for each of them.

It knows nothing of the program beside which it is measured, which starts it by `benchmarks/training_peers.py`.
"""

import argparse
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - after the numbers of threads are set
import pandas as pd  # noqa: E402
import torch  # noqa: E402

WEEK, WITHOUT_END = 168, 10_000_000
OURS = {"hidden": 128, "head": 256, "windows": 16, "context": 208}  # with 48 leads, windows of 256


class Spent:
    """What a training has done so far; `stop` is a callback of its Lightning that ends it when the budget is spent."""

    def __init__(self, seconds: float) -> None:
        self.budget, self.seconds, self.steps, self.targets, self.began = seconds, 0.0, 0, 0, 0.0

    def stop(self, callback: type, count: Callable[[Any], int] | None = None) -> Any:
        spent = self

        class Stop(callback):  # type: ignore[misc]
            def on_train_start(self, trainer: Any, module: Any) -> None:  # noqa: ARG002
                spent.began = process_time()

            def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:  # noqa: ARG002
                spent.steps += 1
                spent.targets += count(batch) if count else 0
                spent.seconds = process_time() - spent.began
                trainer.should_stop = spent.seconds >= spent.budget

        return Stop()


def neuralforecast(y: list[np.ndarray], horizon: int, size: str, spent: Spent) -> np.ndarray:
    """A GRU that forecasts all leads at once from the last states of a window."""
    from neuralforecast import NeuralForecast
    from neuralforecast.models import GRU
    from pytorch_lightning import Callback

    ours = {
        "input_size": OURS["context"],
        "encoder_hidden_size": OURS["hidden"],
        "encoder_n_layers": 1,
        "decoder_hidden_size": OURS["head"],
        "batch_size": OURS["windows"],
        "windows_batch_size": OURS["windows"],
    }
    model = GRU(
        h=horizon,
        max_steps=WITHOUT_END,
        **(ours if size == "ours" else {"input_size": WEEK}),
        accelerator="cpu",
        enable_progress_bar=False,
        logger=False,
        enable_checkpointing=False,
        callbacks=[spent.stop(Callback)],
    )

    def count(module: torch.nn.Module, args: tuple[dict[str, torch.Tensor]]) -> None:
        spent.targets += horizon * len(args[0]["insample_y"]) * module.training

    model.register_forward_pre_hook(count)
    ids = [f"{b:05}" for b in range(len(y))]
    table = pd.DataFrame(
        {
            "unique_id": np.repeat(ids, [len(values) for values in y]),
            "ds": np.concatenate([np.arange(len(values)) for values in y]),
            "y": np.concatenate(y).astype(np.float32),
        }
    )
    forecaster = NeuralForecast(models=[model], freq=1)
    forecaster.fit(table)
    return forecaster.predict()["GRU"].to_numpy().reshape(len(y), horizon)


def darts(y: list[np.ndarray], horizon: int, size: str, spent: Spent) -> np.ndarray:
    """A GRU whose last state says all leads, on series brought to 0 and 1."""
    from darts import TimeSeries
    from darts.dataprocessing.transformers import Scaler
    from darts.models import BlockRNNModel
    from pytorch_lightning import Callback

    class Loss(torch.nn.L1Loss):
        def forward(self, said: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            spent.targets += target.numel()
            return super().forward(said, target)

    ours = {
        "input_chunk_length": OURS["context"],
        "hidden_dim": OURS["hidden"],
        "hidden_fc_sizes": [OURS["head"]],
        "batch_size": OURS["windows"],
    }
    model = BlockRNNModel(
        model="GRU",
        output_chunk_length=horizon,
        n_epochs=WITHOUT_END,
        loss_fn=Loss(),
        **(ours if size == "ours" else {"input_chunk_length": WEEK}),
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_checkpointing": False,
            "logger": False,
            "callbacks": [spent.stop(Callback)],
        },
    )
    scaler = Scaler(global_fit=False)
    series = scaler.fit_transform([TimeSeries.from_values(values.astype(np.float32)) for values in y])
    model.fit(series, verbose=False)
    said = scaler.inverse_transform(model.predict(horizon, series=series, verbose=False, show_warnings=False))
    return np.stack([one.values()[:, 0] for one in said])


def gluonts(y: list[np.ndarray], horizon: int, size: str, spent: Spent) -> np.ndarray:
    """DeepAR: an LSTM that says the next value from the one before it, and forecasts by drawing paths."""
    from gluonts.dataset.common import ListDataset
    from gluonts.torch.model.deepar import DeepAREstimator
    from lightning.pytorch import Callback

    context = OURS["context"] if size == "ours" else horizon
    ours = {"context_length": context, "hidden_size": OURS["hidden"], "num_layers": 1, "batch_size": OURS["windows"]}

    def count(batch: dict[str, torch.Tensor]) -> int:
        seen = batch["past_observed_values"][:, 1 - context :].sum() + batch["future_observed_values"].sum()
        return int(seen)

    with tempfile.TemporaryDirectory() as folder:
        estimator = DeepAREstimator(
            freq="h",
            prediction_length=horizon,
            **(ours if size == "ours" else {}),
            trainer_kwargs={
                "accelerator": "cpu",
                "max_epochs": WITHOUT_END,
                "enable_progress_bar": False,
                "enable_model_summary": False,
                "logger": False,
                "default_root_dir": folder,
                "callbacks": [spent.stop(Callback, count)],
            },
        )
        start = pd.Period("2000-01-01", freq="h")
        panel = ListDataset([{"start": start, "target": values.astype(np.float32)} for values in y], freq="h")
        predictor = estimator.train(panel)
        return np.stack([one.quantile(0.5) for one in predictor.predict(panel)])


PEERS: dict[str, tuple[str, Callable[[list[np.ndarray], int, str, Spent], np.ndarray]]] = {
    "neuralforecast": ("neuralforecast GRU", neuralforecast),
    "darts": ("darts BlockRNN GRU", darts),
    "gluonts": ("GluonTS DeepAR", gluonts),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=list(PEERS))
    parser.add_argument("train", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", choices=["usual", "ours"], default="usual")
    parser.add_argument("--budget-seconds", type=float, default=300)
    parser.add_argument("--horizon", type=int, default=48)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    torch.manual_seed(given.seed)
    np.random.seed(given.seed)  # noqa: NPY002 - it is what these libraries draw from
    frame = pd.read_parquet(given.train).sort_values(["unique_id", "ds"], kind="stable")
    ids, y, last = [], [], []
    for unique_id, rows in frame.groupby("unique_id"):
        ids.append(unique_id)
        y.append(rows["y"].to_numpy(np.float64))
        last.append(int(rows["ds"].iloc[-1]))
    title, fit = PEERS[given.peer]
    spent = Spent(given.budget_seconds)
    said = fit(y, given.horizon, given.size, spent)
    leads = np.arange(1, given.horizon + 1)
    name = f"{title}, {given.size} size"
    table = pd.DataFrame(
        {
            "unique_id": np.repeat(ids, given.horizon),
            "ds": (np.array(last)[:, None] + leads).ravel(),
            "lead": np.tile(leads, len(ids)),
            "forecaster": name,
            "q0.5": said.ravel().astype(np.float64),
        }
    )
    table.to_parquet(given.out, index=False)
    told = {
        "forecaster": name,
        "steps": spent.steps,
        "targets": spent.targets,
        "cpu_seconds": round(spent.seconds, 1),
        "targets_per_cpu_second": round(spent.targets / spent.seconds),
    }
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
