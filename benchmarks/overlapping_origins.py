"""How often equal forecasters are called different when the values that their origins share are accounted for by lags.

    python benchmarks/overlapping_origins.py [--panels 1000]

Losses at successive origins are means over the horizon of the same noise, so that neither forecaster is better. Prints one
JSON object a line: the share of panels with p below 0.05 for statsmodels' Diebold-Mariano with its lags, and for origins
that share no value (null below ten of them).
"""

import argparse
import json

import numpy as np
from statsmodels.tsa.stattools import diebold_mariano_test

from forecaster.evaluation.significance import FEWEST_UNITS, diebold_mariano
from forecaster.series import Values

CASES = ((50, 5), (100, 10), (168, 24), (168, 48), (500, 48))  # origins, horizon


def p_with_lags(differences: Values, horizon: int) -> float:
    nothing = np.zeros_like(differences)
    tested = diebold_mariano_test(nothing, differences, nothing, criterion=lambda _, d: d, harvey_adj=True, horizon=horizon)
    return float(tested.pvalue)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--panels", type=int, default=1_000)
    panels = parser.parse_args().panels
    generator = np.random.default_rng(0)
    for origins, horizon in CASES:
        mean = np.ones(horizon) / horizon
        drawn = [np.convolve(generator.normal(size=origins + horizon - 1), mean, "valid") for _ in range(panels)]
        apart = [diebold_mariano(differences[::horizon]) < 0.05 for differences in drawn]
        found = {
            "origins": origins,
            "horizon": horizon,
            "with_lags": round(float(np.mean([p_with_lags(differences, horizon) < 0.05 for differences in drawn])), 3),
            "apart": round(float(np.mean(apart)), 3) if -(-origins // horizon) >= FEWEST_UNITS else None,
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
