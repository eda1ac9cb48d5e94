"""The rungs' formulas, one step after the other and nothing else: what fast cells are held against."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forecaster.models.cells import GRU, LADDER, Stack

RUNGS = list(LADDER)


def random_cell(
    rung: str,
    *,
    inputs: int = 3,
    hidden_size: int = 5,
    layers: int = 1,
    residual: bool = False,
    seed: int = 0,
    observed_at: int | None = None,
) -> nn.Module:
    """A cell of random weights, the same for the same seed; with `observed_at`, some units of it decay and some do not."""
    settings = {} if observed_at is None else {"observed_at": observed_at}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        cell = LADDER[rung](inputs, hidden_size=hidden_size, layers=layers, residual=residual, **settings)
        if settings:
            nn.init.normal_(cell.decay, mean=0.2, std=0.5)
        return cell


def walked(cell: nn.Module, x: Tensor, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Outputs and state of windows that are given in chunks of such lengths."""
    outputs, state = [], torch.zeros(len(x), cell.state_size)
    with torch.inference_mode():
        for chunk in x.split(list(lengths), dim=1):
            part, state = cell(chunk, state)
            outputs.append(part)
    return torch.cat(outputs, dim=1), state


def loop(rung: str, cell: nn.Module, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
    """Outputs [B, T, H] and the state after x [B, T, D]: what the cell promises, in plain steps that autograd understands."""
    count = len(cell.layers) if isinstance(cell, Stack) else cell.layers
    below, states = x, state.chunk(count, dim=1)
    after = []
    for k in range(count):
        own, outputs = states[k], []
        for t in range(x.shape[1]):
            own = decayed(cell, k, x[:, t], own)
            own = step(rung, weights_of(cell, k), below[:, t], own)
            outputs.append(own[:, : cell.output_size])
        outputs = torch.stack(outputs, dim=1)
        below = below + outputs if cell.residual and k else outputs
        after.append(own)
    return below, torch.cat(after, dim=1)


def decayed(cell: nn.Module, layer: int, x: Tensor, h: Tensor) -> Tensor:
    """The state before a step, as GRU-D has it with what is missing at this step alone as the time since the last value."""
    if getattr(cell, "decay", None) is None:
        return h
    w = cell.decay.chunk(cell.layers)[layer]
    missing = 1 - x[:, cell.observed_at, None]
    return h * torch.exp(-torch.relu(w * missing))


def weights_of(cell: nn.Module, layer: int) -> dict[str, Tensor]:
    if isinstance(cell, GRU):
        return {
            name.removesuffix(f"_l{layer}"): weight
            for name, weight in cell.recurrence.named_parameters()
            if name.endswith(str(layer))
        }
    return {
        name.removeprefix("recurrence.").removesuffix("_l0"): weight for name, weight in cell.layers[layer].named_parameters()
    }


def step(rung: str, w: dict[str, Tensor], x: Tensor, h: Tensor) -> Tensor:
    """The state after one step of one layer, by the formula of its docstring."""
    if rung in ("gru", "lstm"):
        return STEPS[rung](w, x, h)
    return STEPS[rung](w, x @ w["of_x.weight"].T + w["of_x.bias"], h)


def smoothing(w: dict[str, Tensor], n: Tensor, h: Tensor) -> Tensor:
    z = torch.sigmoid(w["logit"])
    return (1 - z) * h + z * n


def adaptive(w: dict[str, Tensor], sums: Tensor, h: Tensor) -> Tensor:
    z, n = sums.chunk(2, dim=1)
    z = torch.sigmoid(z)
    return (1 - z) * h + z * n


def gate_and_candidate(w: dict[str, Tensor], sums: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    z, n = (sums + h @ w["of_h"].T).chunk(2, dim=1)
    return torch.sigmoid(z), torch.tanh(n)


def no_carry(w: dict[str, Tensor], sums: Tensor, h: Tensor) -> Tensor:
    z, n = gate_and_candidate(w, sums, h)
    return z * n


def gru_no_reset(w: dict[str, Tensor], sums: Tensor, h: Tensor) -> Tensor:
    z, n = gate_and_candidate(w, sums, h)
    return (1 - z) * h + z * n


def gru(w: dict[str, Tensor], x: Tensor, h: Tensor) -> Tensor:
    """torch's z is the share that stays: 1 - z."""
    (r, stays, n), (of_r, of_stays, of_n) = (
        (x @ w["weight_ih"].T + w["bias_ih"]).chunk(3, dim=1),
        (h @ w["weight_hh"].T + w["bias_hh"]).chunk(3, dim=1),
    )
    z = 1 - torch.sigmoid(stays + of_stays)
    n = torch.tanh(n + torch.sigmoid(r + of_r) * of_n)
    return (1 - z) * h + z * n


def gru_reset_before(w: dict[str, Tensor], sums: Tensor, h: Tensor) -> Tensor:
    (r, z, n), (u_r, u_z, u_n) = sums.chunk(3, dim=1), w["of_h"].chunk(3)
    r, z = torch.sigmoid(r + h @ u_r.T), torch.sigmoid(z + h @ u_z.T)
    n = torch.tanh(n + (r * h) @ u_n.T)
    return (1 - z) * h + z * n


def rnn(w: dict[str, Tensor], sums: Tensor, h: Tensor) -> Tensor:
    return torch.tanh(sums + h @ w["of_h"].T)


def lstm(w: dict[str, Tensor], x: Tensor, state: Tensor) -> Tensor:
    h, c = state.chunk(2, dim=1)
    i, f, g, o = (x @ w["weight_ih"].T + w["bias_ih"] + h @ w["weight_hh"].T + w["bias_hh"]).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], dim=1)


STEPS = {step.__name__: step for step in (smoothing, adaptive, no_carry, gru_no_reset, gru, gru_reset_before, rnn, lstm)}
