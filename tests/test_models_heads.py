"""What the head says before it has learned anything, and the loss it learns by."""

from math import pi, sqrt
from statistics import NormalDist

import numpy as np
import pytest
import torch
from models_panels import weekly_panel

from forecaster.models.checkpoint import recurrent_from
from forecaster.models.heads import QuantileHead
from forecaster.models.network import ModelConfig, Network
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import SPREAD, scaler_for
from forecaster.models.training import pinball
from forecaster.series import Origins, Panel

QUANTILES = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)


def untrained(panel: Panel, horizon: int) -> Recurrent:
    scaler, config = scaler_for(panel, horizon), ModelConfig(hidden_size=4, head_size=4, members=2)
    network = Network(config, scaler, horizon=horizon, quantiles=QUANTILES)
    return recurrent_from(network, scaler, config, frequency=panel.frequency, horizon=horizon, quantiles=QUANTILES)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("quantiles", [(0.5,), (0.5, 0.9), (0.1, 0.5), QUANTILES])
def test_quantiles_never_cross(quantiles: tuple[float, ...], size: float) -> None:
    torch.manual_seed(0)
    head = QuantileHead(12, head_size=8, horizon=9, quantiles=quantiles)
    for weight in head.parameters():
        torch.nn.init.normal_(weight, std=size)
    out = head(10 * torch.randn(200, 12))
    assert out.shape == (200, 9, len(quantiles))
    assert torch.isfinite(out).all()
    assert (out.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("signed", [True, False])
def test_an_untrained_network_is_the_base_with_gaussian_intervals(signed: bool) -> None:
    horizon, panel = 17, weekly_panel(4, 80, signed=signed)
    forecaster = untrained(panel, horizon)
    sizes = [0.5 + 0.1 * lead for lead in range(horizon)]
    forecaster.network.begin_at(sizes)
    values = forecaster.predict(panel, horizon, quantiles=QUANTILES, origins=Origins.back(panel)).values
    state = forecaster.warm(panel)[:, : forecaster.scaler.size]
    base = forecaster.scaler.base_forecast(state, horizon)
    z = np.array([NormalDist().inv_cdf(q) for q in QUANTILES])
    deviations = sqrt(pi / 2) * state[:, SPREAD, None] * sizes  # a Gaussian's is sqrt(pi / 2) of its mean absolute value
    expected = base[:, :, None] + deviations[:, :, None] * z
    np.testing.assert_allclose(values if signed else np.log(values), expected, rtol=1e-5, atol=1e-5)  # float32


def test_a_head_begins_at_intervals_of_any_width() -> None:
    head = QuantileHead(3, head_size=2, horizon=5, quantiles=QUANTILES)
    sizes = [0.0, 1e-3, 1.0, 1e3, 1e6]
    head.begin_at(sizes)
    out = head(torch.zeros(3)).detach()
    assert torch.isfinite(out).all()
    z = torch.tensor([NormalDist().inv_cdf(q) for q in QUANTILES])
    torch.testing.assert_close(out[2:], sqrt(pi / 2) * torch.tensor(sizes[2:])[:, None] * z, rtol=1e-5, atol=1e-5)  # float32
    assert (out[:2].diff(dim=-1) > 0).all()


def test_pinball_is_what_a_slow_loop_says() -> None:
    torch.manual_seed(0)
    change, target = torch.randn(4, 3, len(QUANTILES)), torch.randn(4, 3)
    loss = pinball(change, target, torch.tensor(QUANTILES))
    shares = []
    for i in range(4):
        for lead in range(3):
            total = 0.0
            for q, quantile in enumerate(QUANTILES):
                error = float(target[i, lead] - change[i, lead, q])
                total += quantile * error if error > 0 else (quantile - 1) * error
            beside = float(loss[i, lead]) - total / len(QUANTILES)
            shares.append(beside / abs(float(target[i, lead] - change[i, lead, 3])))
    assert shares[0] >= 0
    assert shares == pytest.approx([shares[0]] * 12, rel=1e-4)  # what is left is one share of the median's absolute error


def test_pinball_is_least_at_the_quantiles() -> None:
    sample = torch.linspace(-1, 1, 2001)
    quantiles = torch.tensor([0.1, 0.5, 0.9])
    at = torch.tensor([-0.8, 0.0, 0.8])
    best = pinball(at.expand(2001, 3), sample, quantiles).mean()
    for q in range(3):
        for shift in (-0.05, 0.05):
            moved = at.clone()
            moved[q] += shift
            assert pinball(moved.expand(2001, 3), sample, quantiles).mean() > best


def test_the_gradient_of_pinball_is_that_of_its_parts() -> None:
    torch.manual_seed(1)
    quantiles, target, asked = torch.tensor(QUANTILES), torch.randn(5, 3), torch.rand(5, 3)
    change = torch.randn(5, 3, len(QUANTILES))
    change[0, 1] = target[0, 1]  # where the loss has a corner, halfway between the two sides
    by_hand, by_torch = change.clone().requires_grad_(), change.clone().requires_grad_()
    (pinball(by_hand, target, quantiles) * asked).sum().backward()
    error = target.unsqueeze(-1) - by_torch
    loss = torch.maximum(quantiles * error, (quantiles - 1) * error).mean(-1) + 0.5 * error[..., 3].abs()
    (loss * asked).sum().backward()
    torch.testing.assert_close(by_hand.grad, by_torch.grad, rtol=1e-5, atol=1e-7)  # float32, added up in another order
