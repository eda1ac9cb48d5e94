"""Updates per second of statsforecast's `forward`, which runs the whole series again, beside `benchmarks/baseline_stepping.py`.

    PEERS/bin/python benchmarks/peers/statsforecast_stepping.py

One series, fitted once to 1,000 values; then each update hands over everything observed so far. Prints one JSON object.
"""

import json
import os
from time import process_time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402 - after the numbers of threads are set
from statsforecast.models import ARIMA, AutoETS  # noqa: E402

HISTORIES, UPDATES = (1_000, 100_000), 20


def updates_per_second(model: ARIMA | AutoETS, y: np.ndarray, length: int) -> float:
    model.forward(y=y[:length], h=1)  # what is compiled is compiled now
    began = process_time()
    for t in range(length, length + UPDATES):
        model.forward(y=y[: t + 1], h=1)
    return UPDATES / (process_time() - began)


def main() -> None:
    t = np.arange(max(HISTORIES) + UPDATES)
    y = 50 + 5 * np.sin(2 * np.pi * t / 24) + np.random.default_rng(3).normal(0, 1, len(t))
    found = {}
    for label, model in (
        ("ARIMA(2, 0, 1) forward", ARIMA(order=(2, 0, 1))),
        ("ETS(A, A, A), m = 24, forward", AutoETS(season_length=24, model="AAA")),
    ):
        fitted = model.fit(y[: HISTORIES[0]])
        for length in HISTORIES:
            found[f"{label} after {length:,}"] = round(updates_per_second(fitted, y, length), 1)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
