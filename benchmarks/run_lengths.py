"""How many judged forecasts it takes a champion to fall back, and to come back, by the true coverage of its 80 % interval.

    python benchmarks/run_lengths.py [--series 4000] [--longest 2000]

Simulated misses go through the standing's own judge, at lead 1 alone. Prints a line for each coverage: the median and the 90th
percentile of the judged forecasts until a sound champion falls back and until a fallen one is trusted again, and which share got
there.
"""

import argparse

import numpy as np

from forecaster.evaluation.standing import DOUBT, IS_OFF, SHARED, Judge

COVERAGES = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9)


def run_lengths(coverage: float, series: int, longest: int, *, begins_off: bool) -> np.ndarray:
    """Judged forecasts until each series changes its mind, `longest` + 1 where it does not."""
    judge, rng = Judge(1, (0.1, 0.5, 0.9)), np.random.default_rng(0)
    numbers = judge.first_numbers(np.zeros(series))
    numbers[:, SHARED + IS_OFF] = begins_off
    found, every = np.full(series, longest + 1), np.arange(series)
    interval = np.tile([-1.0, 0.0, 1.0], (series, 1, 1))
    for t in range(1, longest + 1):
        judge.keep(numbers, every, interval, np.full(series, t - 1), voice=0)
        judge.score(numbers, np.where(rng.random(series) < coverage, 0.0, 2.0), np.full(series, t))
        changed = (numbers[:, SHARED + IS_OFF] > 0) != begins_off
        found[changed & (found > longest)] = t
        numbers[:, SHARED + IS_OFF], numbers[changed, SHARED + DOUBT] = begins_off, 0
        if (found <= longest).all():
            break
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--series", type=int, default=4_000)
    parser.add_argument("--longest", type=int, default=2_000)
    given = parser.parse_args()
    for coverage in COVERAGES:
        told = []
        for what, begins_off in (("falls back", False), ("comes back", True)):
            found = run_lengths(coverage, given.series, given.longest, begins_off=begins_off)
            middle, most = np.quantile(found, [0.5, 0.9])
            share = (found <= given.longest).mean()
            told.append(f"{what} after {middle:,.0f} and {most:,.0f} ({share:.1%} within {given.longest:,})")
        print(f"{coverage:4.0%}  " + "; ".join(told), flush=True)


if __name__ == "__main__":
    main()
