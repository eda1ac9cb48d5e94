"""Networks for the tests of what goes on inside one: random ones of any rung, and two that are built by hand."""

from collections.abc import Sequence

import numpy as np
import torch
from models_panels import panel_of

from forecaster.models.checkpoint import recurrent_from
from forecaster.models.holt_winters import HoltWinters
from forecaster.models.network import ModelConfig, Network
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import Scaler, scaler_for
from forecaster.series import Panel

COPIED = 24  # steps that the copying network remembers a value for


def network_on(
    panel: Panel,
    rung: str = "gru",
    *,
    hidden_size: int = 6,
    layers: int = 1,
    members: int = 1,
    horizon: int = 3,
    scaler: Scaler | None = None,
    seed: int = 0,
    decay: bool = False,
) -> Recurrent:
    """A network of random weights whose median listens to everything that it sees."""
    scaler = scaler or scaler_for(panel, horizon)
    config = ModelConfig(cell=rung, hidden_size=hidden_size, layers=layers, members=members, head_size=4, decay=decay)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(config, scaler, horizon=horizon, quantiles=(0.1, 0.5, 0.9))
        with torch.no_grad():
            for number in range(members):
                network.member(number).head.direct.weight.normal_(0, 0.3)
    return recurrent_from(network, scaler, config, frequency=panel.frequency, horizon=horizon, quantiles=(0.1, 0.5, 0.9))


def smoothing_gru(panel: Panel, alphas: Sequence[float]) -> Recurrent:
    """A GRU that is a bank of exponential smoothers: its update gates stand still, and nothing in it sees h."""
    network = network_on(panel, hidden_size=len(alphas))
    cell = network.network.member(0).cell.recurrence
    size = len(alphas)
    with torch.no_grad():
        cell.weight_hh_l0.zero_()
        cell.weight_ih_l0[: 2 * size].zero_()
        cell.bias_hh_l0.zero_()
        cell.bias_ih_l0[size : 2 * size] = -torch.logit(torch.tensor(alphas, dtype=torch.float64))  # torch's z is what stays
    return network


def copying_panel(count: int = 12, length: int = 300) -> Panel:
    """Series that repeat a pattern of noise: what comes next was there 24 steps before, and nothing else tells it."""
    random = np.random.default_rng(1)
    return panel_of(*(np.resize(random.normal(0, 1, COPIED), length) for _ in range(count)))


def copying_gru(panel: Panel) -> Recurrent:
    """A GRU that hands each value from unit to unit, and says what the last holds: the value of 24 steps before the next."""
    base = HoltWinters(level=0.01, slope=0.0, season=0.0, damping=0.9, length=1)
    scaler = Scaler("signed", (COPIED,), base, ring_size=COPIED + 1, least_spread=1e-3)
    network = network_on(panel, hidden_size=COPIED, horizon=1, scaler=scaler)
    member, size = network.network.member(0), COPIED
    cell = member.cell.recurrence
    with torch.no_grad():
        for weight in (*cell.parameters(), member.head.direct.weight):
            weight.zero_()
        cell.bias_ih_l0[:size] = 20.0  # the reset gate lets everything through
        cell.bias_ih_l0[size : 2 * size] = -20.0  # and nothing stays
        cell.weight_ih_l0[2 * size, 0] = 0.01  # small enough for tanh to be no more than a wire
        cell.weight_hh_l0[2 * size + 1 :, : size - 1] = torch.eye(size - 1)
        amplitude, spread = np.sqrt(2 / np.pi), np.sqrt(4 / np.pi)  # of Gaussian noise, from its level and from its last value
        member.head.direct.weight[0, size - 1] = 100 * amplitude / spread
    return network
