"""Calibration round the network and round a baseline: warmed in batch and stepped one by one, the same to the bit."""

import numpy as np
import torch

from forecaster.baselines import BASELINES
from forecaster.forecast import warm_state
from forecaster.frequency import Frequency
from forecaster.models.checkpoint import recurrent_from
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import scaler_for
from forecaster.series import Panel
from forecaster.streaming.conformal import Calibrated, CalibrationConfig

QUANTILES = (0.1, 0.5, 0.9)


def panel_of(count: int) -> Panel:
    """Positive series of different lengths and starts, round a daily season, with gaps; every third one crosses zero."""
    random = np.random.default_rng(0)
    parts = []
    for b in range(count):
        t = np.arange(50 + 9 * (b % 5))
        y = np.exp(0.3 * np.sin(t / 24 * 2 * np.pi) + np.cumsum(random.normal(0, 0.05, len(t))) + 2)
        y[random.random(len(y)) < 0.15] = np.nan
        parts.append(np.where((b % 3 == 0) & (t > 30), 5 - y, y))
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    ids = tuple(f"series_{b:03d}" for b in range(count))
    return Panel(ids, random.integers(400_000, 400_050, size=count), offsets, np.concatenate(parts), Frequency("h"))


def network_for(panel: Panel) -> Recurrent:
    scaler, config = scaler_for(panel, 12), ModelConfig(hidden_size=8, head_size=8, members=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = Network(config, scaler, horizon=12, quantiles=QUANTILES)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.4)
    return recurrent_from(network, scaler, config, frequency=panel.frequency, horizon=12, quantiles=QUANTILES)


def test_a_network_warmed_in_windows_is_calibrated_as_one_that_was_stepped() -> None:
    panel = panel_of(37)
    with torch_threads(1):
        network = network_for(panel)
        stepper = Calibrated(network, CalibrationConfig(warm_positions=10_000))
        stepped = warm_state(stepper, panel)
        assert np.array_equal(stepper.warm(panel, network.warm), stepped, equal_nan=True)
        some = panel.select([3, 30, 11])
        assert np.array_equal(stepper.warm(some, network.warm), stepped[[3, 30, 11]], equal_nan=True)
        assert np.array_equal(stepped[:, : network.state_size], network.warm(panel), equal_nan=True)
        short = Calibrated.fitted(network, panel, build=network.warm, config=CalibrationConfig(warm_positions=20))
        assert np.isfinite(short.forecast(short.warm(panel, network.warm), panel.ends)).all()


def test_a_baseline_keeps_its_fitted_parameters_under_calibration() -> None:
    panel = panel_of(12)
    inner = BASELINES["ses"]().fit(panel).stepper(panel.frequency, horizon=12, quantiles=QUANTILES)
    stepper = Calibrated.fitted(inner, panel, build=inner.warm)
    state = stepper.warm(panel, inner.warm)
    assert np.array_equal(state[:, : inner.state_size], inner.warm(panel), equal_nan=True)
    median = inner.forecast(inner.warm(panel), panel.ends)[:, :, 1]
    assert np.abs(stepper.forecast(state, panel.ends)[:, :, 1] - median).max() > 0
