"""The smallest, oddest and emptiest panels train and forecast."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from models_panels import panel_of, weekly_panel

from forecaster.forecast import warm_state
from forecaster.models.ensemble import refit_network, train_network
from forecaster.models.network import ModelConfig
from forecaster.models.plan import TrainingConfig
from forecaster.series import Origins, Panel

NAN = float("nan")
RANDOM = np.random.default_rng(0)
QUANTILES = (0.1, 0.5, 0.9)
WEEKLY = weekly_panel(3).values.reshape(3, 60)

PANELS: dict[str, Panel] = {
    "one series": panel_of(WEEKLY[0]),
    "one series of two values": panel_of([1.0, 2.0]),
    "two values and a gap": panel_of([1.0, NAN, NAN, 2.0]),
    "a series of two values among others": panel_of(*WEEKLY, [1.0, 2.0]),
    "a series of one value among others": panel_of(*WEEKLY, [5.0]),
    "a series all missing among others": panel_of(*WEEKLY, [NAN] * 60),
    "a series that begins late, with a zero": panel_of(*WEEKLY, [NAN] * 30 + [0.0, 1.0, 0.0] * 10),
    "zeros": panel_of([0.0] * 60, [0.0] * 60),
    "zeros among others": panel_of(*WEEKLY, [0.0] * 60),
    "a constant": panel_of([5.0] * 60),
    "a spike among zeros": panel_of([0.0] * 50 + [1e6] + [0.0] * 9, *WEEKLY),
    "negative values": panel_of(*-WEEKLY),
    "huge values": panel_of(*WEEKLY * 1e29),
    "huge values of both signs": panel_of(*(WEEKLY - 20) * 1e29),
    "tiny values": panel_of(*WEEKLY * 1e-12),
    "tiny values of both signs": panel_of(*(WEEKLY - 20) * 1e-12),
    "units far apart": panel_of(WEEKLY[0] * 1e-6, WEEKLY[1] * 1e9, (WEEKLY[2] - 20)),
    "yearly, 13 points": panel_of(*RANDOM.normal(9, 1, (5, 13)).cumsum(axis=1), alias="YS"),
    "shorter than the horizon": panel_of(*RANDOM.normal(9, 1, (5, 5)), alias="MS"),
    "all kinds beside each other": panel_of(
        *WEEKLY,
        WEEKLY[0] * 1e28,
        WEEKLY[1] * 1e-28,
        -WEEKLY[2],
        np.r_[WEEKLY[0][:40], -WEEKLY[1][:20]],
        [0.0] * 60,
        [3.0] * 60,
        [NAN] * 20 + [2.0] + [NAN] * 30 + [7.0] + [NAN] * 8,
        [4.0, 1.0],
    ),
    "of both signs and a series that has not begun": panel_of(-WEEKLY[0], [NAN] * 60),
    "growing beyond all bounds": panel_of(np.exp(np.linspace(0, 66, 60)), WEEKLY[0]),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("panel", PANELS.values(), ids=PANELS.keys())
def test_an_edge_panel_trains_and_forecasts(panel: Panel, tmp_path: Path) -> None:
    model, horizon = ModelConfig(hidden_size=3, head_size=3, members=1), panel.frequency.horizon
    training = TrainingConfig(max_steps=4, batch_size=8, validation_steps=2, refit_share=0.25)
    forecaster = train_network(
        panel, model=model, training=training, horizon=horizon, quantiles=QUANTILES, seed=0, folder=tmp_path / "first"
    )
    forecaster = refit_network(forecaster, panel, training=training, seed=0, folder=tmp_path / "refit")
    assert all(torch.isfinite(weight).all() for weight in forecaster.network.state_dict().values())
    forecast = forecaster.predict(panel, 2 * horizon + 1, quantiles=QUANTILES, origins=Origins.back(panel)).values
    has_begun = np.array([np.isfinite(panel.series(b)).any() for b in range(len(panel))])
    assert np.isfinite(forecast[has_begun]).all()
    assert np.isnan(forecast[~has_begun]).all()
    assert (np.diff(forecast[has_begun], axis=2) >= 0).all()
    assert np.array_equal(forecaster.warm(panel), warm_state(forecaster, panel))
