"""Whole windows, single steps, uneven chunks, a restart and other batch companions give the same forecasts, bit for bit."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import pytest
import torch

from forecaster.forecast import warm_state
from forecaster.frequency import Frequency
from forecaster.models.checkpoint import load_recurrent, recurrent_from, save_recurrent
from forecaster.models.leaning import mixture_for
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import LOG, scaler_for
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.5, 0.9)
HORIZON = 30


def panel_of(count: int, *, gaps: bool, sign: Literal["positive", "signed", "crossing"] = "positive", seed: int = 0) -> Panel:
    """Series of different lengths and starts, wandering round a daily season; some hours missing, also the first ones.

    Where they are `crossing`, a third of them falls below zero half way.
    """
    random = np.random.default_rng(seed)
    parts = []
    for b in range(count):
        t = np.arange(60 + 7 * (b % 9))
        y = np.exp(0.3 * np.sin(t / 24 * 2 * np.pi) + np.cumsum(random.normal(0, 0.05, len(t))) + 3)
        if sign == "signed":
            y = y - y.mean()
        elif sign == "crossing" and b % 3 == 0:
            y[30:] = 10 - y[30:]
        if gaps:
            y[random.random(len(y)) < 0.2] = np.nan
            y[: b % 4] = np.nan
        parts.append(y)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    starts = random.integers(400_000, 400_050, size=count)
    ids = tuple(f"series_{b:03d}" for b in range(count))
    return Panel(ids, starts, offsets, np.concatenate(parts), Frequency("h"))


def forecaster_for(panel: Panel, *, lean: float = 0.0, **model: object) -> Recurrent:
    """A network of random weights, larger than at initialisation so that every gate moves."""
    scaler, config = scaler_for(panel, HORIZON), ModelConfig(**{"hidden_size": 24, "head_size": 16, "members": 1} | model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = Network(config, scaler, horizon=HORIZON, quantiles=QUANTILES)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.4)
    mixture = mixture_for(panel, scaler, HORIZON, weight=lean) if lean else None
    frequency = panel.frequency
    return recurrent_from(network, scaler, config, frequency=frequency, horizon=HORIZON, quantiles=QUANTILES, mixture=mixture)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


CASES = {
    "1 layer": ({}, panel_of(41, gaps=False)),
    "2 layers": ({"layers": 2}, panel_of(41, gaps=False)),
    "2 layers, signed with gaps": ({"layers": 2}, panel_of(41, gaps=True, sign="signed")),
    "2 members, crossing zero with gaps": ({"members": 2}, panel_of(41, gaps=True, sign="crossing")),
    "leaning": ({"lean": 0.25}, panel_of(41, gaps=False)),
    "2 members, leaning, crossing zero with gaps": ({"members": 2, "lean": 0.6}, panel_of(41, gaps=True, sign="crossing")),
    "residual": ({"layers": 2, "residual": True}, panel_of(41, gaps=True)),
    "2 members with decay": ({"members": 2, "decay": True}, panel_of(41, gaps=True, sign="crossing")),
    "residual with decay": ({"layers": 2, "residual": True, "decay": True}, panel_of(41, gaps=True)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys(), scope="module")
def case(request: pytest.FixtureRequest) -> tuple[Recurrent, Panel]:
    model, panel = request.param
    return forecaster_for(panel, **model), panel


def test_a_window_equals_single_steps(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case
    stepped = warm_state(forecaster, panel)
    assert np.array_equal(forecaster.warm(panel), stepped)
    from_steps = forecaster.forecast(stepped, panel.ends)
    from_window = forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel)).values
    assert np.array_equal(from_window, from_steps)
    assert np.isfinite(from_window).all()


def test_uneven_chunks_equal_the_whole(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case
    origins = Origins.back(panel, (0, 1, 5, 18, 19, 40))
    chunked = forecaster.states_at(panel, origins)
    for steps_back in (0, 1, 5, 18, 19, 40):
        known = panel.drop_last(steps_back)
        rows = origins.known == panel.lengths[origins.index] - steps_back
        assert np.array_equal(chunked[rows], forecaster.warm(known))


def test_a_stop_and_a_restart_change_nothing(case: tuple[Recurrent, Panel], tmp_path) -> None:
    forecaster, panel = case
    save_recurrent(forecaster, tmp_path / "weights.safetensors")
    state = forecaster.warm(panel.drop_last(20))
    np.save(tmp_path / "state.npy", state)
    reloaded, state = load_recurrent(tmp_path / "weights.safetensors"), np.load(tmp_path / "state.npy")
    for step in range(20, 0, -1):
        rows = panel.offsets[1:] - step
        state = reloaded.step(state, panel.values[rows], panel.ends - step + 1)
    assert reloaded.fingerprint == forecaster.fingerprint
    assert np.array_equal(state, forecaster.warm(panel))


@pytest.mark.parametrize("companions", [1, 2, 3, 5, 31, 33])
def test_batch_companions_leave_no_trace(case: tuple[Recurrent, Panel], companions: int) -> None:
    forecaster, panel = case
    whole = forecaster.warm(panel)
    chosen = np.random.default_rng(companions).permutation(len(panel))[:companions]
    alone = panel.select(chosen)
    assert np.array_equal(forecaster.warm(alone), whole[chosen])
    assert np.array_equal(warm_state(forecaster, alone), whole[chosen])
    forecasts = forecaster.forecast(whole, panel.ends)
    assert np.array_equal(forecaster.forecast(whole[chosen], alone.ends), forecasts[chosen])


def test_the_number_of_threads_leaves_no_trace(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case[0], case[1].select(range(3)).drop_last(30)
    with torch_threads(1):
        alone = forecaster.warm(panel)
        forecasts = forecaster.forecast(alone, panel.ends)
    with torch_threads(2):
        assert np.array_equal(forecaster.warm(panel), alone)
        assert np.array_equal(forecaster.forecast(alone, panel.ends), forecasts)


def test_the_gru_is_the_one_of_torch() -> None:
    torch.manual_seed(0)
    panel = panel_of(3, gaps=False)
    cell = forecaster_for(panel, layers=2).network.member(0).cell
    x = torch.randn(3, 200, cell.recurrence.input_size)
    with torch.inference_mode():
        ours, state = cell(x, torch.zeros(3, cell.state_size))
        theirs, h = cell.recurrence(x)
    assert torch.equal(ours, theirs)
    assert torch.equal(state[:, 24:], h[1])
    assert torch.equal(cell.output(state), theirs[:, -1])


def test_nothing_after_an_origin_is_seen(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case
    origins = Origins.back(panel, (10, 25))
    before = forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=origins).values
    values = panel.values.copy()
    for end in panel.offsets[1:]:
        values[end - 10 : end] = 1e6
    changed = Panel(panel.ids, panel.starts, panel.offsets, values, panel.frequency)
    after = forecaster.predict(changed, HORIZON, quantiles=QUANTILES, origins=origins).values
    late = origins.known == panel.lengths[origins.index] - 10
    assert np.array_equal(after[late], before[late])
    assert np.array_equal(after[~late], before[~late])


@pytest.mark.parametrize("sign", ["positive", "signed", "crossing"])
def test_an_untrained_network_is_the_base(sign: Literal["positive", "signed", "crossing"]) -> None:
    panel = panel_of(6, gaps=True, sign=sign)
    scaler = scaler_for(panel, HORIZON)
    config = ModelConfig(hidden_size=8, head_size=8, members=2)
    network = Network(config, scaler, horizon=HORIZON, quantiles=QUANTILES)
    forecaster = recurrent_from(network, scaler, config, frequency=panel.frequency, horizon=HORIZON, quantiles=QUANTILES)
    forecast = forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel))
    state = forecaster.warm(panel)[:, : scaler.size]
    logs = state[:, LOG] > 0
    assert logs.sum() == {"positive": 6, "signed": 0, "crossing": 4}[sign]
    assert np.array_equal(forecast.median, scaler.restore(scaler.base_forecast(state, HORIZON), logs))


def test_quantiles_do_not_cross_and_reach_past_the_horizon(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case
    forecast = forecaster.predict(panel, 2 * HORIZON + 5, quantiles=QUANTILES, origins=Origins.back(panel))
    assert forecast.values.shape == (len(panel), 2 * HORIZON + 5, 3)
    assert (np.diff(forecast.values, axis=2) >= 0).all()
    short = forecaster.predict(panel, 7, quantiles=QUANTILES, origins=Origins.back(panel))
    assert np.array_equal(short.values, forecast.values[:, :7])
