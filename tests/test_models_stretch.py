"""Intervals are widened by what unseen values say, no more and no less."""

import numpy as np
import pytest
import torch
from models_panels import panel_of

from forecaster.models.checkpoint import recurrent_from
from forecaster.models.ensemble import stretch_of
from forecaster.models.network import ModelConfig, Network
from forecaster.models.plan import WindowPlan
from forecaster.models.scaler import scaler_for
from forecaster.models.windows import PanelWindows, TailWindows
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.5, 0.9)
PLAN = WindowPlan(length=32, burn_in=4, stride=1, batch_size=16)


def random_walks(count: int) -> Panel:
    """Walks, for which an untrained head's intervals are right: its base is the naive forecast, its errors Gaussian."""
    random = np.random.default_rng(3)
    return panel_of(*(np.cumsum(random.normal(0, 1, 60)) for _ in range(count)), alias="YS")


def stretch(panel: Panel, *, narrowed: float) -> float:
    """The stretch found for an untrained network whose intervals were multiplied by `narrowed` beforehand."""
    scaler = scaler_for(panel, 4)
    network = Network(ModelConfig(hidden_size=4, head_size=4, members=1), scaler, horizon=4, quantiles=QUANTILES)
    windows = PanelWindows(scaler, panel, horizon=4, plan=PLAN)
    network.begin_at(windows.mean_changes())
    speak = network.speak
    network.speak = lambda *seen: narrowed * speak(*seen)  # type: ignore[method-assign]
    return stretch_of(network, TailWindows(windows, tail=np.full(len(panel), 8)), QUANTILES)


def test_intervals_that_are_right_stay_as_they_are():
    assert stretch(random_walks(200), narrowed=1.0) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("narrowed", [0.7, 1.4])
def test_intervals_that_are_wrong_are_brought_back(narrowed):
    assert narrowed * stretch(random_walks(200), narrowed=narrowed) == pytest.approx(1.0, abs=0.15)


def test_a_single_series_has_little_say():
    assert 2 ** (-1 / 11) <= stretch(random_walks(1), narrowed=0.1) <= 2 ** (1 / 11)


@pytest.mark.parametrize("members", [1, 2])
def test_a_stretch_moves_the_quantiles_and_not_the_median(members):
    panel = random_walks(3)
    scaler, config = scaler_for(panel, 4), ModelConfig(hidden_size=4, head_size=4, members=members)
    network = Network(config, scaler, horizon=4, quantiles=QUANTILES)
    memory, sight = torch.randn(5, network.output_size), torch.randn(5, scaler.sight_count(4))
    before = network.speak(memory, sight)
    network.widen(1.5)
    after = network.speak(memory, sight)
    assert torch.equal(after[..., 1], before[..., 1])
    torch.testing.assert_close(after[..., 2] - after[..., 1], 1.5 * (before[..., 2] - before[..., 1]))


def test_the_first_intervals_hold_what_they_say():
    panel, horizon = random_walks(300), 6
    known = panel.drop_last(horizon)
    scaler, config = scaler_for(known, horizon), ModelConfig(hidden_size=4, head_size=4, members=2)
    network = Network(config, scaler, horizon=horizon, quantiles=QUANTILES)
    network.begin_at(PanelWindows(scaler, known, horizon=horizon, plan=PLAN).mean_changes())
    forecaster = recurrent_from(network, scaler, config, frequency=panel.frequency, horizon=horizon, quantiles=QUANTILES)
    values = forecaster.predict(known, horizon, quantiles=QUANTILES, origins=Origins.back(known)).values
    truth = np.stack([panel.series(b)[-horizon:] for b in range(len(panel))])
    inside = (values[:, :, 0] < truth) & (truth < values[:, :, 2])
    # of 300 series 0.8 lie inside, plus or minus 0.023
    np.testing.assert_allclose(inside.mean(axis=0), 0.8, atol=0.07)
