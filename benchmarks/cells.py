"""How long a window takes each rung of the ladder, on one thread: milliseconds of CPU, the best of several turns.

    python benchmarks/cells.py [--batch 16 --steps 256] [--hidden 128] [--layers 1]

Beside the rungs stand torch's own modules. "training" is forwards and backwards, "window" a window without gradients, "step" one
step of it by itself (microseconds).
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from forecaster.models.cells import LADDER
from forecaster.models.network import torch_threads

INPUTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    given = parser.parse_args()
    x = torch.randn(given.batch, given.steps, INPUTS)
    print(f"{'':20} {'training':>9} {'window':>9} {'step':>9}")
    with torch_threads(1):
        for name, make in LADDER.items():
            cell = make(INPUTS, hidden_size=given.hidden, layers=given.layers)
            tell(name, cell, x, torch.zeros(given.batch, cell.state_size), turns=given.turns)
        for kind in (nn.RNN, nn.GRU, nn.LSTM):
            tell(f"torch {kind.__name__}", kind(INPUTS, given.hidden, given.layers, batch_first=True), x, None, turns=given.turns)


def tell(name: str, cell: nn.Module, x: Tensor, state: Tensor | None, *, turns: int) -> None:
    """Print one line."""

    def train() -> None:
        cell.zero_grad()
        cell(x, state)[0].square().mean().backward()

    with torch.inference_mode():
        window = best_of(turns, lambda: cell(x, state))
        step = best_of(turns, lambda: [cell(x[:, :1], state) for _ in range(20)]) / 20
    print(f"{name:20} {1e3 * best_of(turns, train):9.1f} {1e3 * window:9.1f} {1e6 * step:9.0f}")


def best_of(turns: int, work: Callable[[], object]) -> float:
    """CPU seconds of the quickest turn after a first one that does not count."""
    seconds = []
    for _ in range(turns + 1):
        before = time.process_time()
        work()
        seconds.append(time.process_time() - before)
    return min(seconds[1:])


if __name__ == "__main__":
    main()
