"""What one step and one forecast of live series cost, by stage, in nanoseconds of CPU time a row on one core.

    python benchmarks/step_kernel.py [--hidden 64 128] [--members 1 2] [--rows 1 32 1024 16384]

A network of random weights on an hourly panel (a season of 24, the calendar's day, week and year), 24 leads by 3 quantiles, head
of 256 units. "32" is the same work in tiles of 32 rows by torch's own modules, to the same bits; "of 100,000" also takes the rows
out of so many live series and puts them back. Beside them stand a bare torch.nn.GRUCell and a GRU step in numpy, which neither
scale nor look at a calendar. "sgemm" is what the products alone would cost at the speed of one large product of torch.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from forecaster.forecast import State
from forecaster.frequency import Frequency
from forecaster.models.calendar import Calendar
from forecaster.models.checkpoint import recurrent_from
from forecaster.models.holt_winters import HoltWinters
from forecaster.models.inputs import Inputs
from forecaster.models.mixture import Mixture
from forecaster.models.network import ModelConfig, Network
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import AGE, Scaler
from forecaster.models.tiles import SIZES, TILE, Tiles, alone, filled

HOURLY, M, LEADS, QUANTILES = Frequency("h"), 24, 24, (0.1, 0.5, 0.9)
NOW = 450_000
LIVE = 100_000
TURNS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--members", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 32, 1024, 16384])
    given = parser.parse_args()
    torch.set_num_threads(1)
    large = torch.randn(1536, 1536)
    flops = 2 * 1536**3 / seconds_of(lambda: large @ large)
    print(f"one large product of torch: {flops / 1e9:.0f} GFLOP/s; torch {torch.__version__}, numpy {np.__version__}")
    for hidden in given.hidden:
        for members in given.members:
            forecaster = forecaster_of(hidden, members)
            size = forecaster.state_size
            print(f"\nhidden {hidden}, members {members}: {size} float32 a series, {4 * size} bytes")
            tell_bounds(forecaster, flops)
            for count in given.rows:
                tell(forecaster, count)


def forecaster_of(hidden: int, members: int) -> Recurrent:
    """A forecaster whose weights were drawn."""
    scaler = Scaler("log", (M,), HoltWinters(0.3, 0.02, 0.2, 0.95, length=M), ring_size=2 * M + 1, least_spread=1e-6)
    config, inputs = ModelConfig(hidden_size=hidden, members=members), Inputs(Calendar(HOURLY, ("day", "week", "year")))
    torch.manual_seed(0)
    network = Network(config, scaler, horizon=LEADS, quantiles=QUANTILES, inputs=inputs)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.1)
    mixture = Mixture(M, LEADS, (), weight=0.25)
    mixture = replace(mixture, usual=(1.0,) * mixture.count)
    return recurrent_from(
        network,
        scaler,
        config,
        frequency=HOURLY,
        horizon=LEADS,
        quantiles=QUANTILES,
        inputs=inputs,
        mixture=mixture,
    )


def tell_bounds(forecaster: Recurrent, flops: float) -> None:
    """Print what the products alone cost at this speed."""
    cell = sum(weight.numel() for name, weight in forecaster.network.named_parameters() if ".cell." in name and weight.ndim == 2)
    head = sum(weight.numel() for name, weight in forecaster.network.named_parameters() if ".head." in name and weight.ndim == 2)
    step, forecast = (f"{2 * count / 1e3:.1f} kFLOP, sgemm {2e9 * count / flops:.0f} ns" for count in (cell, head))
    print(f"    step: {step}; forecast: {forecast}")


def tell(forecaster: Recurrent, count: int) -> None:
    """Print what `count` rows cost, by stage."""
    live, at, y = live_state(forecaster, count)
    rows = np.random.default_rng(1).permutation(len(live))[:count]
    state = live[rows]
    step = lambda: forecaster.step(state, y, at)  # noqa: E731
    forecast = lambda: forecaster.forecast(state, at)  # noqa: E731

    def whole() -> None:
        live[rows] = forecaster.step(live[rows], y, at)

    plain = in_tiles_of_32(forecaster)
    same = np.array_equal(step(), plain.step(state, y, at)) and np.array_equal(forecast(), plain.forecast(state, at))
    told = {
        "step": step,
        "  32": lambda: plain.step(state, y, at),
        "  scaler": lambda: scale(forecaster, state, y),
        "  mixture": lambda: mix(forecaster, state, y),
        "  calendar": lambda: forecaster.inputs.at(at),
        "  cell": cell_of(forecaster, state),
        "  of 100,000": whole,
        "forecast": forecast,
        "  32 ": lambda: plain.forecast(state, at),
        "  base, sight": lambda: see(forecaster, state),
        "  head": head_of(forecaster, state),
        "  leaning": lambda: lean(forecaster, state),
        "GRUCell": bare_torch(forecaster, count),
        "numpy GRU": bare_numpy(forecaster, count),
    }
    costs = {name: seconds_of(work) / count for name, work in told.items()}
    print(f"  {count} rows, the bits of tiles of 32: {same}")
    for name, cost in costs.items():
        print(f"    {name:14} {1e9 * cost:10.0f} ns {1e-3 / cost:8.0f} k rows/s")


def live_state(forecaster: Recurrent, count: int) -> tuple[State, np.ndarray, np.ndarray]:
    """The states of many live series a while after they began, and the positions and values of the next rows."""
    random = np.random.default_rng(0)
    some = forecaster.initial_state(1_000)
    for t in range(2 * M):
        some = forecaster.step(
            some, np.exp(3 + np.sin(t / M * 2 * np.pi) + random.normal(0, 0.1, len(some))), np.full(len(some), t)
        )
    return np.tile(some, (LIVE // len(some), 1)), np.full(count, NOW), np.exp(random.normal(3, 1, count))


def in_tiles_of_32(forecaster: Recurrent) -> Recurrent:
    """The same forecaster, whose network sees tiles of 32 rows only, by torch's own modules."""
    plain = recurrent_from(
        forecaster.network,
        forecaster.scaler,
        forecaster.config,
        frequency=HOURLY,
        horizon=LEADS,
        quantiles=QUANTILES,
        inputs=forecaster.inputs,
        mixture=forecaster.mixture,
    )
    for tiles in (plain._steps, plain._speeches):
        tiles.known.update({size: tiles.plain if size == TILE else None for size in SIZES})
    return plain


def scale(forecaster: Recurrent, state: State, y: np.ndarray) -> None:
    scaler = forecaster.scaler
    scaler.feature_rows(scaler.step(state[:, : scaler.size], y), ~np.isnan(y))


def mix(forecaster: Recurrent, state: State, y: np.ndarray) -> None:
    mixture, stays = forecaster.mixture, np.zeros(len(state), dtype=np.bool_)
    assert mixture
    mixture.step(state[:, forecaster.mixed], np.log(y).astype(np.float32), state[:, AGE], stays)


def lean(forecaster: Recurrent, state: State) -> None:
    assert forecaster.mixture
    forecaster.mixture.forecast(state[:, forecaster.mixed])


def see(forecaster: Recurrent, state: State) -> None:
    scaler = forecaster.scaler
    for start in range(0, len(state), SIZES[-1]):
        part = state[start : start + SIZES[-1]]
        scaler.sight_parts(part, scaler.base_forecast(part, LEADS))


def cell_of(forecaster: Recurrent, state: State) -> Callable[[], None]:
    inputs = forecaster.scaler.feature_count + forecaster.inputs.step_count
    return network_work(forecaster._steps, np.zeros((len(state), inputs), np.float32), state[:, forecaster.memory])


def head_of(forecaster: Recurrent, state: State) -> Callable[[], None]:
    scaler, count = forecaster.scaler, len(state)
    leads = np.zeros((count, LEADS, 0), np.float32)
    return network_work(forecaster._speeches, state[:, forecaster.memory], scaler.sight(state[:, : scaler.size], LEADS), leads)


def network_work(tiles: Tiles, *parts: np.ndarray) -> Callable[[], None]:
    """The network's own work on the rows of the parts, laid out beforehand."""
    with alone(len(parts[0])):
        cut = [(way, [filled(part[rows], size=size) for part in parts]) for rows, size, way in tiles.cut(len(parts[0]))]

    def work() -> None:
        with alone(len(parts[0])):
            for way, tile in cut:
                way(*tile)

    return work


def bare_torch(forecaster: Recurrent, count: int) -> Callable[[], object]:
    """One torch.nn.GRUCell a member, on all rows at once."""
    inputs, hidden = forecaster.scaler.feature_count + forecaster.inputs.step_count, forecaster.config.hidden_size
    cells = [nn.GRUCell(inputs, hidden) for _ in range(forecaster.config.members)]
    x, h = torch.randn(count, inputs), torch.randn(count, hidden)

    def step() -> None:
        with torch.inference_mode():
            for cell in cells:
                cell(x, h)

    return step


def bare_numpy(forecaster: Recurrent, count: int) -> Callable[[], object]:
    """One GRU step a member, in numpy."""
    inputs, hidden = forecaster.scaler.feature_count + forecaster.inputs.step_count, forecaster.config.hidden_size
    random = np.random.default_rng(0)
    x, h, of_x, of_h = (
        random.normal(0, 0.3, shape).astype(np.float32)
        for shape in ((count, inputs), (count, hidden), (inputs, 3 * hidden), (hidden, 3 * hidden))
    )

    def step() -> None:
        for _ in range(forecaster.config.members):
            inside, outside = x @ of_x, h @ of_h
            gates = 1 / (1 + np.exp(-(inside[:, : 2 * hidden] + outside[:, : 2 * hidden])))
            n = np.tanh(inside[:, 2 * hidden :] + gates[:, :hidden] * outside[:, 2 * hidden :])
            n + gates[:, hidden:] * (h - n)

    return step


def seconds_of(work: Callable[[], object]) -> float:
    """CPU seconds of one turn: the best of several, after one that does not count."""
    begin = process_time()
    work()
    repeats = max(1, int(0.02 / max(process_time() - begin, 1e-6)))
    turns = []
    for _ in range(TURNS):
        begin = process_time()
        for _ in range(repeats):
            work()
        turns.append((process_time() - begin) / repeats)
    return min(turns)


if __name__ == "__main__":
    main()
