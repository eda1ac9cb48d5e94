"""The neighbours of the ladder: the plain recurrent network below the gates, and the LSTM beside them."""

import torch
from torch import Tensor, nn

from forecaster.models.cells.gated import draw_weights
from forecaster.models.cells.memory import logits_to_stay
from forecaster.models.cells.unrolled import Block, Rung, Weights, unroll, unroll_back


class RNN(nn.Module):
    """A layer that remembers nothing but what it says.

        h = tanh(W x + b + U h)

    It has no gate that `memory` could set, so that changes nothing. torch splits the bias in two.

    Source: Elman 1990, doi:10.1207/s15516709cog1402_1.
    """

    def __init__(self, inputs: int, *, hidden_size: int, memory: float | None = None) -> None:  # noqa: ARG002
        super().__init__()
        self.state_size = hidden_size
        self.of_x = nn.Linear(inputs, hidden_size)
        self.of_h = nn.Parameter(torch.empty(hidden_size, hidden_size))
        draw_weights(self, hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        outputs = unroll(ELMAN, x, state, of_x=self.of_x.weight, bias=self.of_x.bias, of_h=self.of_h)
        return outputs, outputs[-1]


class LSTM(nn.Module):
    """A layer of long short-term memory, as torch computes it; its state is the output h and the cell state c.

        i = sigmoid(W_i x + b_i + U_i h)        g = tanh(W_g x + b_g + U_g h)        c = f * c + i * g
        f = sigmoid(W_f x + b_f + U_f h)        o = sigmoid(W_o x + b_o + U_o h)     h = o * tanh(c)

    f is the share that stays and i the share that enters, each for itself. With `memory`, the units begin with memories of up
    to so many steps, f and i then adding up to 1 (chrono).

    Source: Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735; the forget gate f of Gers et al. 2000,
    doi:10.1162/089976600300015015.
    """

    def __init__(self, inputs: int, *, hidden_size: int, memory: float | None = None) -> None:
        super().__init__()
        self.state_size = 2 * hidden_size
        self.recurrence = nn.LSTM(inputs, hidden_size)
        if memory is not None:
            logits = logits_to_stay(hidden_size, memory)
            with torch.no_grad():
                self.recurrence.get_parameter("bias_ih_l0")[: 2 * hidden_size] = torch.cat([-logits, logits])  # i, f
                self.recurrence.get_parameter("bias_hh_l0")[: 2 * hidden_size] = 0

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        h, c = state.unsqueeze(0).chunk(2, dim=-1)
        outputs, (h, c) = self.recurrence(x, (h.contiguous(), c.contiguous()))
        return outputs, torch.cat([h[0], c[0]], dim=-1)


def _walk(sums: Tensor, h: Tensor, weights: Weights) -> Tensor:
    states, of_h = h.unbind(0), weights.of_h.t()
    for t, inner in enumerate(sums.unbind(0)):
        torch.tanh(inner.addmm_(states[t], of_h), out=states[t + 1])
    return sums[..., :0]


def _back(block: Block, after: Tensor, weights: Weights, gradients: Weights) -> tuple[Tensor, Tensor]:
    gain = (block.h[1:] ** 2).neg_().add_(1).unsqueeze(2)
    d_h, d_sums = unroll_back(block, after, gain=gain, carry=None, of_h=weights.of_h)
    gradients.of_h.addmm_(block.h[:-1].flatten(0, 1).t(), d_sums.flatten(0, 2))
    return d_sums.flatten(2), d_h[0]


ELMAN = Rung(_walk, _back)
