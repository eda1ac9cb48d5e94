"""The gated recurrent unit that torch knows, in one or more layers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from forecaster.models.cells.memory import logits_to_stay
from forecaster.models.cells.stack import steps_first
from forecaster.models.cells.unrolled import LEAST_UNITS, Block, Rung, Weights, unroll, unroll_back


class GRU(nn.Module):
    """The gated recurrent unit, as torch computes it, in one or more layers.

        r = sigmoid(W_r x + b_r + U_r h)        n = tanh(W_n x + b_n + r * (U_n h + c_n))
        z = sigmoid(W_z x + b_z + U_z h)        h = (1 - z) * h + z * n

    torch writes z for the share of the old state that stays, and splits each bias in two; what stands here as z is 1 - z there,
    and its weights are the opposite of those that torch keeps. With `memory`, the units begin with memories of up to so many
    steps (chrono). With `residual`, a layer adds to the outputs of the one below, from the second layer on.

    With `observed_at`, the column of x that is 1 where a value was observed and 0 where none was, the state decays before each
    step without a value: h becomes gamma * h with gamma = exp(-max(0, w)), w learned for each unit (`decay`). After k such steps
    a factor of exp(-k max(0, w)) has come together: the decay of GRU-D, linear in the time since the last value, without a
    count of it. Where nothing is missing, nothing decays. That other half of GRU-D, inputs that decay towards their means, is
    not here: what stands in for a missing value is the scaler's.

    What torch computes is what forecasts. Training on a CPU goes through `unroll`, which agrees with it to rounding and is 1.7
    times as fast for 16 windows of 256 steps, 1.2 times for 64 of 64 (benchmarks/cells.py). So do the cells that torch cannot
    compute, or not to the same bits in any batch: residual ones and very small ones. One with decay forecasts step by step.

    Source: Cho et al. 2014, arXiv:1406.1078; the reset gate after the product as in torch.nn.GRU; the decay of the state of
    Che et al. 2018, doi:10.1038/s41598-018-24271-9.

    >>> cell = GRU(inputs=3, hidden_size=4, layers=2)
    >>> outputs, state = cell(torch.zeros(5, 7, 3), torch.zeros(5, cell.state_size))
    >>> outputs.shape, state.shape
    (torch.Size([5, 7, 4]), torch.Size([5, 8]))
    """

    def __init__(
        self,
        inputs: int,
        *,
        hidden_size: int,
        layers: int,
        memory: float | None = None,
        residual: bool = False,
        observed_at: int | None = None,
    ) -> None:
        super().__init__()
        self.layers, self.output_size, self.state_size = layers, hidden_size, layers * hidden_size
        self.residual = residual and layers > 1
        self.recurrence = nn.GRU(inputs, hidden_size, num_layers=layers, batch_first=True)
        if memory is not None:
            self._remember_for(memory)
        self.observed_at = observed_at
        rates = torch.linspace(0, FASTEST_DECAY, hidden_size).repeat(layers)  # drawn by no chance: other weights begin as without
        self.decay = nn.Parameter(rates) if observed_at is not None else None

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        is_trained_here = torch.is_grad_enabled() and (x.device.type == "cpu" or self.decay is not None)
        if self.decay is not None and self.has_step and not is_trained_here:
            return self._step_through(x, state)
        h = state.reshape(len(state), self.layers, self.output_size).transpose(0, 1).contiguous()  # [layers, B, H]
        if is_trained_here or not self.has_step:
            outputs, h = self._unroll(x, h)
        else:
            outputs, h = self.recurrence(x, h)
        return outputs, h.transpose(0, 1).reshape(len(state), self.state_size)

    @property
    def has_step(self) -> bool:
        """Whether `step` is for this cell: it follows torch's own computation, which residual and very small ones do not."""
        return not self.residual and self.output_size >= LEAST_UNITS

    def step(self, x: Tensor, state: Tensor, linear: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        """The state [B, S] after one step x [B, D], without gradients: what `recurrence` computes, in its order.

        `linear` is as `torch.nn.functional.linear`, and gives a new tensor.
        """
        after = []
        for k, h in enumerate(self.decayed(x, state).chunk(self.layers, dim=1)):
            of_x, of_h, bias_of_x, bias_of_h = (self.recurrence.get_parameter(f"{name}_l{k}") for name in TORCH_NAMES)
            inputs, (r, stays, n) = linear(x, of_x, bias_of_x).chunk(3, dim=1), linear(h, of_h, bias_of_h).chunk(3, dim=1)
            r.add_(inputs[0]).sigmoid_()
            stays.add_(inputs[1]).sigmoid_()
            n.mul_(r).add_(inputs[2]).tanh_()
            x = (h - n).mul_(stays).add_(n)
            after.append(x)
        return after[0] if self.layers == 1 else torch.cat(after, dim=1)

    def decayed(self, x: Tensor, state: Tensor) -> Tensor:
        """What is left of the state [B, S] before a step x [B, D]."""
        return state if self.decay is None else state * self._gamma(x)

    def output(self, state: Tensor) -> Tensor:
        outputs = state.chunk(self.layers, dim=1)
        return sum(outputs[1:], outputs[0]) if self.residual else outputs[-1]

    def _unroll(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """What `recurrence` gives, layer by layer."""
        below, after = steps_first(x), []
        gates = 2 * self.output_size
        gammas = self._gamma(below).chunk(self.layers, dim=-1) if self.decay is not None else self.layers * (None,)
        for k in range(self.layers):
            of_x, of_h, bias_of_x, bias_of_h = (self.recurrence.get_parameter(f"{name}_l{k}") for name in TORCH_NAMES)
            bias = bias_of_x + nn.functional.pad(bias_of_h[:gates], (0, self.output_size))
            outputs = unroll(TORCH_GRU, below, h[k], of_x=of_x, bias=bias, of_h=of_h, own=bias_of_h[gates:], gamma=gammas[k])
            below = below + outputs if self.residual and k else outputs
            after.append(outputs[-1])
        return below.transpose(0, 1), torch.stack(after)

    def _step_through(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """What `step` gives, one step of x [B, T, D] after the other."""
        outputs = []
        for t in range(x.shape[1]):
            state = self.step(x[:, t].contiguous(), state, nn.functional.linear)  # as aligned as a step alone
            outputs.append(self.output(state))
        return torch.stack(outputs, dim=1), state

    def _gamma(self, x: Tensor) -> Tensor:
        """The share of the state [..., S] that is left before steps x [..., D]."""
        assert self.decay is not None
        return torch.where(x[..., self.observed_at, None] < SEEN, torch.exp(-self.decay.clamp(min=0)), 1.0)

    @torch.no_grad()
    def _remember_for(self, memory: float) -> None:
        stays = slice(self.output_size, 2 * self.output_size)  # torch's z
        for k in range(self.layers):
            self.recurrence.get_parameter(f"bias_ih_l{k}")[stays] = logits_to_stay(self.output_size, memory)
            self.recurrence.get_parameter(f"bias_hh_l{k}")[stays] = 0


FASTEST_DECAY = 0.1  # to begin with: half of the state in 7 steps without a value; the slowest of the units loses nothing
SEEN = 0.5  # 1 says that a value was observed, and 0 that none was
TORCH_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _walk(sums: Tensor, h: Tensor, weights: Weights) -> Tensor:
    """From sums of (r, what stays, n), with c_n of the candidate; keeps U_n h + c_n."""
    size = h.shape[-1]
    products = torch.empty_like(h[1:])
    of_gates, of_candidate = weights.of_h[: 2 * size].t(), weights.of_h[2 * size :].t()
    states, product, gates = h.unbind(0), products.unbind(0), sums[..., : 2 * size].unbind(0)
    r, stays, n = (part.unbind(0) for part in sums.chunk(3, dim=-1))
    gammas = weights.gamma.unbind(0)
    for t in range(len(gates)):
        seen = torch.mul(states[t], gammas[t]) if gammas else states[t]
        gates[t].addmm_(seen, of_gates).sigmoid_()
        torch.addmm(weights.own, seen, of_candidate, out=product[t])
        n[t].addcmul_(r[t], product[t]).tanh_()
        torch.lerp(n[t], seen, stays[t], out=states[t + 1])
    return products


def _back(block: Block, after: Tensor, weights: Weights, gradients: Weights) -> tuple[Tensor, Tensor]:
    r, stays, n = block.gates.chunk(3, dim=-1)
    z = 1 - stays
    of_n = torch.mul(n, n).neg_().add_(1).mul_(z)
    of_stays = (block.seen - n).mul_(stays).mul_(z)
    of_product = of_n * r
    of_r = (1 - r).mul_(of_product).mul_(block.kept)
    gain = torch.stack([of_r, of_stays, of_product], dim=2)
    decay = weights.gamma, gradients.gamma
    d_h, d_sums = unroll_back(block, after, gain=gain, carry=stays, of_h=weights.of_h, decay=decay)
    gradients.of_h.addmm_(block.seen.flatten(0, 1).t(), d_sums.flatten(2).flatten(0, 1))
    gradients.own.add_(d_sums[:, :, 2].sum((0, 1)))
    torch.mul(d_h[1:], of_n, out=d_sums[:, :, 2])  # x enters the candidate outside of the bracket that r scales
    return d_sums.flatten(2), d_h[0]


TORCH_GRU = Rung(_walk, _back)
