"""With a calendar, holidays and what never changes, whole windows and single steps still agree, bit for bit."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from forecaster.errors import DataError
from forecaster.frequency import Frequency
from forecaster.models.checkpoint import load_recurrent, recurrent_from, save_recurrent
from forecaster.models.inputs import Inputs, InputsConfig
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import scaler_for
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.5, 0.9)
HORIZON = 9
AHEAD = 25


def panel_of(alias: str, count: int = 37, *, known: bool = False) -> Panel:
    """Series that begin and end at different times over a new year, some values missing, each of a region and a size."""
    random = np.random.default_rng(4)
    parts = []
    for b in range(count):
        length = 40 + 5 * (b % 7)
        times = pd.date_range("2024-12-10", periods=length + AHEAD, freq=alias)[b % 5 :]
        y = np.exp(np.cumsum(random.normal(0, 0.1, len(times)))) * 10 - 5 * (b % 2)
        y[random.random(len(y)) < 0.1] = np.nan
        y[-AHEAD:] = np.nan
        y[[0, -AHEAD - 1]] = 9.0
        price = random.integers(3, 9, len(times)).astype(float)
        parts.append(
            pd.DataFrame(
                {"unique_id": f"s{b:02d}", "ds": times, "y": y, "price": price, "region": "nsew"[b % 4], "size": float(b % 6)}
            )
        )
    frame = pd.concat(parts)
    if not known:
        frame = frame[frame.groupby("unique_id").cumcount(ascending=False) >= AHEAD]
    return Panel.from_frame(frame, Frequency(alias), known=("price",) if known else (), static=("region", "size"))


def forecaster_for(panel: Panel, *, members: int = 1) -> Recurrent:
    """A network of random weights, larger than at initialisation so that every input matters."""
    scaler, inputs = scaler_for(panel, HORIZON), Inputs.fit(panel, InputsConfig(calendar=True, country="DE"))
    config = ModelConfig(hidden_size=24, head_size=16, members=members)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = Network(config, scaler, horizon=HORIZON, quantiles=QUANTILES, inputs=inputs)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.4)
    return recurrent_from(network, scaler, config, frequency=panel.frequency, horizon=HORIZON, quantiles=QUANTILES, inputs=inputs)


def stepped(forecaster: Recurrent, panel: Panel) -> np.ndarray:
    """The states after every value, one step at a time."""
    state = forecaster.state_before(panel)
    for step in range(int(panel.lengths.max())):
        alive = np.flatnonzero(panel.lengths > step)
        y = panel.values[panel.offsets[alive] + step]
        state[alive] = forecaster.step(state[alive], y, panel.starts[alive] + step)
    return state


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(params=["h", "D", "W-SUN", "MS"])
def case(request: pytest.FixtureRequest) -> tuple[Recurrent, Panel]:
    panel = panel_of(request.param)
    return forecaster_for(panel), panel


def test_a_window_equals_single_steps(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case
    assert forecaster.inputs.static_count == 5
    assert forecaster.inputs.lead_count == 2
    state = stepped(forecaster, panel)
    assert np.array_equal(forecaster.warm(panel), state)
    from_window = forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel)).values
    assert np.array_equal(from_window, forecaster.forecast(state, panel.ends))
    assert np.isfinite(from_window).all()


def test_uneven_chunks_and_other_companions_change_nothing(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case
    origins = Origins.back(panel, (0, 1, 8, 20))
    chunked = forecaster.states_at(panel, origins)
    for steps_back in (1, 8, 20):
        rows = origins.known == panel.lengths[origins.index] - steps_back
        assert np.array_equal(chunked[rows], forecaster.warm(panel.drop_last(steps_back)))
    whole = forecaster.warm(panel)
    forecasts = forecaster.forecast(whole, panel.ends)
    for companions in (1, 3, 33):
        chosen = np.random.default_rng(companions).permutation(len(panel))[:companions]
        alone = panel.select(chosen)
        assert np.array_equal(stepped(forecaster, alone), whole[chosen])
        assert np.array_equal(forecaster.forecast(whole[chosen], alone.ends), forecasts[chosen])


def test_a_stop_and_a_restart_change_nothing(case: tuple[Recurrent, Panel], tmp_path: Path) -> None:
    forecaster, panel = case
    save_recurrent(forecaster, tmp_path / "weights.safetensors")
    reloaded = load_recurrent(tmp_path / "weights.safetensors")
    assert (reloaded.fingerprint, reloaded.inputs) == (forecaster.fingerprint, forecaster.inputs)
    state = forecaster.warm(panel.drop_last(10))
    for step in range(10, 0, -1):
        state = reloaded.step(state, panel.values[panel.offsets[1:] - step], panel.ends - step + 1)
    assert np.array_equal(state, forecaster.warm(panel))


def test_members_with_inputs_stream_too() -> None:
    panel = panel_of("D", 5)
    forecaster = forecaster_for(panel, members=2)
    assert np.array_equal(forecaster.warm(panel), stepped(forecaster, panel))


def test_the_position_and_what_never_changes_are_heard() -> None:
    panel = panel_of("D", 5)
    forecaster = forecaster_for(panel)
    state, y = forecaster.warm(panel), np.full(5, 9.0)
    after = forecaster.step(state, y, panel.ends + 1)
    assert not np.array_equal(forecaster.step(state, y, panel.ends + 2), after)
    other = state.copy()
    other[:, -1] += 1
    assert not np.array_equal(forecaster.step(other, y, panel.ends + 1)[:, forecaster.memory], after[:, forecaster.memory])
    never = slice(forecaster.memory.stop, None)
    assert np.array_equal(after[:, never], state[:, never])


def test_covariates_are_asked_of_every_lead_also_past_the_horizon() -> None:
    panel = panel_of("D", 5, known=True)
    forecaster = forecaster_for(panel)
    origins = Origins.back(panel, (0, 12))
    long = forecaster.predict(panel, AHEAD, quantiles=QUANTILES, origins=origins).values
    assert np.isfinite(long).all()
    short = forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=origins).values
    assert np.array_equal(long[:, :HORIZON], short)
    with pytest.raises(DataError, match=f"price is unknown at .*, lead {AHEAD + 1} of {AHEAD + 1}"):
        forecaster.predict(panel, AHEAD + 1, quantiles=QUANTILES, origins=origins)
    assert panel.known is not None
    values = panel.known.values.copy()
    rows = panel.known.offsets[1:] - AHEAD + HORIZON + 2  # the twelfth lead's after each end
    values[rows] = 5 * values[rows]
    changed = replace(panel, known=replace(panel.known, values=values))
    other = forecaster.predict(changed, AHEAD, quantiles=QUANTILES, origins=Origins.back(panel)).values
    last = origins.known == panel.lengths[origins.index]
    assert np.array_equal(other[:, :HORIZON], long[last][:, :HORIZON])
    assert not np.array_equal(other[:, HORIZON:], long[last][:, HORIZON:])
