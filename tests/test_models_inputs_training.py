"""A network that is trained with what is known beside the values forecasts better, and asks for it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from forecaster.errors import ConfigError, DataError
from forecaster.frequency import Frequency
from forecaster.models.checkpoint import recurrent_from
from forecaster.models.ensemble import refit_network, train_network
from forecaster.models.inputs import Inputs, InputsConfig
from forecaster.models.leads import LeadTable
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.plan import TrainingConfig
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import LOG, scaler_for
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.5, 0.9)
HORIZON = 6
MODEL = ModelConfig(hidden_size=8, head_size=8, members=1)
TRAINING = TrainingConfig(max_steps=400, window_length=40, batch_size=8, validation_steps=30, accelerator="cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def promoted(*, ahead: int = 0) -> tuple[Panel, np.ndarray]:
    """Twelve series that a promotion lifts by 3, and what came in the HORIZON days after it [B, L]."""
    random = np.random.default_rng(7)
    days = pd.date_range("2024-01-01", periods=120 + HORIZON)
    parts, came = [], []
    for b in range(12):
        promo = (random.random(len(days)) < 0.3).astype(float)
        y = 20 + 3 * promo + random.normal(0, 0.3, len(days))
        came.append(y[120:].copy())
        y[120:] = np.nan
        parts.append(
            pd.DataFrame({"unique_id": f"s{b:02d}", "ds": days, "y": y, "promo": promo, "region": "ns"[b % 2]})[: 120 + ahead]
        )
    return Panel.from_frame(pd.concat(parts), Frequency("D"), known=("promo",), static=("region",)), np.stack(came)


def trained(panel: Panel, folder: Path, inputs: InputsConfig, **training: float) -> Recurrent:
    return train_network(
        panel,
        model=MODEL,
        training=TRAINING.model_copy(update=training),
        horizon=HORIZON,
        quantiles=QUANTILES,
        seed=1,
        folder=folder,
        inputs=inputs,
    )


def test_a_promotion_that_is_known_is_forecast(tmp_path: Path) -> None:
    panel, came = promoted(ahead=HORIZON)
    errors = {}
    for name, known in (("without", ()), ("with", None)):
        forecaster = trained(panel, tmp_path / name, InputsConfig(calendar=False, known=known))
        forecast = forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel))
        errors[name] = np.abs(forecast.median - came).mean()
    assert errors["with"] < 0.5 * errors["without"]  # 0.3 of noise beside 3 of promotion


def test_a_promotion_that_is_not_known_is_asked_for(tmp_path: Path) -> None:
    panel, _ = promoted(ahead=HORIZON - 1)
    forecaster = trained(panel, tmp_path, InputsConfig(), max_steps=4, validation_steps=2)
    with pytest.raises(DataError, match=r"series 's00' and 11 more: promo is unknown at 2024-05-05 .*, lead 6 of 6"):
        forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel))
    assert forecaster.predict(panel, HORIZON - 1, quantiles=QUANTILES, origins=Origins.back(panel)).horizon == HORIZON - 1


def test_what_a_refit_sees_is_what_the_judged_network_saw(tmp_path: Path) -> None:
    panel, _ = promoted()
    short = {"max_steps": 4, "validation_steps": 2}
    judged = trained(panel.drop_last(30), tmp_path / "judged", InputsConfig(calendar=True, country="DE"), **short)
    again = trained(panel.drop_last(30), tmp_path / "again", InputsConfig(calendar=True, country="DE"), **short)
    assert again.fingerprint == judged.fingerprint
    training = TRAINING.model_copy(update=short)
    deployed = refit_network(judged, panel, training=training, seed=1, folder=tmp_path / "refit")
    assert deployed.inputs == judged.inputs
    assert deployed.inputs.words == ("the calendar (week, year)", "holidays of DE", "promo", "region")
    assert deployed.fingerprint != judged.fingerprint


def test_inputs_that_are_not_there_stop_a_training_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"inputs.known names 'price', and the panel has promo"):
        trained(promoted()[0], tmp_path, InputsConfig(known=("price",)))


def test_an_untrained_network_with_inputs_is_still_the_base() -> None:
    panel, _ = promoted(ahead=HORIZON)
    scaler, inputs = scaler_for(panel, HORIZON), Inputs.fit(panel, InputsConfig(calendar=True, country="DE"))
    network = Network(MODEL, scaler, horizon=HORIZON, quantiles=QUANTILES, inputs=inputs)
    forecaster = recurrent_from(
        network, scaler, MODEL, frequency=panel.frequency, horizon=HORIZON, quantiles=QUANTILES, inputs=inputs
    )
    state = forecaster.warm(panel)
    base = scaler.restore(scaler.base_forecast(state, HORIZON), state[:, LOG] > 0)
    forecast = forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel))
    np.testing.assert_allclose(forecast.median, base, rtol=1e-6)  # both are rounded to float32 before the exponential


@pytest.mark.parametrize("base_season", [1, 4, 7])
def test_the_leads_of_a_window_are_those_of_a_forecast(base_season: int) -> None:
    panel, _ = promoted(ahead=3)
    inputs = Inputs.fit(panel, InputsConfig(country="US"))
    table = LeadTable(inputs, panel, horizon=HORIZON, base_season=base_season)
    series, steps = np.array([3, 0, 11]), np.array([[0, 2, 50], [119, 118, 7], [116, 60, 61]])
    found = table.at(torch.from_numpy(series), torch.from_numpy(steps))
    for row, own in enumerate(steps):
        index = np.full(len(own), series[row])
        leads = inputs.leads(panel, index, panel.starts[index] + own, horizon=HORIZON, base_season=base_season)
        np.testing.assert_allclose(found[row], leads, atol=1e-6)  # differences are taken in float32 here, in float64 there
