"""What is fast about a step and a forecast gives the bits of the plain way, however many series come together."""

import pickle
from collections.abc import Iterator
from functools import cache

import numpy as np
import pytest
import scaler_plain
import torch
from torch import Tensor
from torch.nn import functional as F

from forecaster.forecast import warm_state
from forecaster.frequency import Frequency
from forecaster.models.calendar import Calendar
from forecaster.models.cells import GRU, LADDER
from forecaster.models.checkpoint import recurrent_from
from forecaster.models.holt_winters import HoltWinters
from forecaster.models.inputs import Inputs
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.products import linear, trained_linear
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import AGE, LOG, SPREAD, Scaler
from forecaster.models.tiles import SIZES, TILE, Tiles, filled
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.5, 0.7, 0.9)
HORIZON = 11
NOW = 450_000
HOURLY = Frequency("h")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


def scaler_of(kind: str, season: int, *, length: int | None = None) -> Scaler:
    base = HoltWinters(level=0.3, slope=0.1, season=0.2, damping=0.9, length=length or season)
    return Scaler(kind, (season,) if season > 1 else (), base, ring_size=2 * season + 9, least_spread=1e-6)


def feed(count: int, steps: int, seed: int = 0) -> np.ndarray:
    """Values [B, T]: a fifth missing, a third of the series from below zero or going there, some late, one that never begins."""
    random = np.random.default_rng(seed)
    y = np.exp(random.normal(0, 0.4, (count, steps)).cumsum(axis=1))
    y[::3, steps // 2 :] -= 2.0
    y[1::7, :] -= 1.5
    y[random.random(y.shape) < 0.2] = np.nan
    y[::5, :3] = np.nan
    y[0] = np.nan
    return y


@cache
def forecaster_for(cell: str, **model: int) -> Recurrent:
    """A network of random weights, larger than at initialisation so that every gate moves."""
    scaler, inputs = scaler_of("log", 4), Inputs(Calendar(HOURLY, ("day", "week"), "DE"))
    config = ModelConfig(**{"cell": cell, "hidden_size": 24, "members": 1, "head_size": 16} | model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = Network(config, scaler, horizon=HORIZON, quantiles=QUANTILES, inputs=inputs)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    return recurrent_from(network, scaler, config, frequency=HOURLY, horizon=HORIZON, quantiles=QUANTILES, inputs=inputs)


def plain_step(forecaster: Recurrent, state: np.ndarray, y: np.ndarray, position: np.ndarray) -> np.ndarray:
    """`Recurrent.step` by torch's own modules, in tiles of 32 rows."""
    scaler, network = forecaster.scaler, forecaster.network
    scaled = scaler_plain.step(scaler, state[:, : scaler.size], y)
    x = np.concatenate([scaler_plain.features(scaler, scaled, ~np.isnan(y)), forecaster.inputs.at(position)], axis=1)
    after = np.concatenate([scaled, state[:, scaler.size :]], axis=1)
    for start in range(0, len(state), TILE):
        rows = slice(start, min(start + TILE, len(state)))
        with torch.inference_mode():
            memory = network.remember(filled(x[rows, None], size=TILE), filled(state[rows, forecaster.memory], size=TILE))[1]
        after[rows, forecaster.memory] = memory.numpy()[: rows.stop - start]
    after[after[:, AGE] == 0, forecaster.memory] = 0
    return after


def plain_forecast(forecaster: Recurrent, state: np.ndarray, position: np.ndarray) -> np.ndarray:
    """`Recurrent.forecast` in tiles of 32 rows."""
    scaler, network = forecaster.scaler, forecaster.network
    sight = scaler_plain.sight(scaler, state[:, : scaler.size], HORIZON)
    leads = forecaster.inputs.leads_at(position, horizon=HORIZON, base_season=scaler.base.length)
    said = []
    for start in range(0, len(state), TILE):
        rows = slice(start, min(start + TILE, len(state)))
        with torch.inference_mode():
            memory = network.recall(filled(state[rows, forecaster.memory], size=TILE))
            change = network.speak(memory, filled(sight[rows], size=TILE), filled(leads[rows], size=TILE))
        said.append(change.numpy()[: rows.stop - start])
    base = scaler_plain.base_forecast(scaler, state, HORIZON)
    values = scaler.restore(base[:, :, None] + state[:, SPREAD, None, None] * np.concatenate(said), state[:, LOG] > 0)
    values[state[:, AGE] == 0] = np.nan
    return values


@pytest.mark.parametrize("kind", ["log", "signed"])
@pytest.mark.parametrize(("season", "length"), [(1, 1), (5, 5), (5, 1), (24, 24)])
def test_the_scaler_is_the_one_of_its_formulas(kind: str, season: int, length: int) -> None:
    scaler, y = scaler_of(kind, season, length=length), feed(150, 60)
    state = scaler.initial_state(len(y))
    for t, expected in enumerate(scaler_plain.walk(scaler, y)):
        state = scaler.step(state, y[:, t])
        assert np.array_equal(state, expected)
        observed = ~np.isnan(y[:, t])
        assert np.array_equal(scaler.features(state, observed), scaler_plain.features(scaler, state, observed))
    for horizon in (1, 4, 31):
        assert np.array_equal(scaler.base_forecast(state, horizon), scaler_plain.base_forecast(scaler, state, horizon))
        assert np.array_equal(scaler.sight(state, horizon), scaler_plain.sight(scaler, state, horizon))
    assert (state[:, LOG] > 0).any() == (kind == "log")


def test_a_step_into_other_rows_leaves_the_state_as_it_was() -> None:
    scaler, y = scaler_of("log", 5), feed(20, 30)
    state = scaler_plain.walk(scaler, y)[-1]
    before, wide = state.copy(), np.full((20, scaler.size + 3), 7, dtype=np.float32)
    returned = scaler.step(state, y[:, 0], into=wide[:, : scaler.size])
    assert np.array_equal(state, before)
    assert np.array_equal(returned, scaler.step(state, y[:, 0]))
    assert np.array_equal(wide[:, : scaler.size], returned)
    assert (wide[:, scaler.size :] == 7).all()


@pytest.mark.parametrize(
    "shape",
    [
        *({"cell": cell} for cell in LADDER),
        {"cell": "gru", "layers": 2},
        {"cell": "gru", "members": 2, "hidden_size": 64, "head_size": 256},
        {"cell": "gru", "hidden_size": 5},
        {"cell": "gru", "layers": 2, "residual": True},
        {"cell": "gru", "members": 2, "hidden_size": 64, "decay": True},
        {"cell": "lstm", "hidden_size": 64, "layers": 2},
    ],
    ids=lambda shape: " ".join(f"{name}={part}" for name, part in shape.items()),
)
def test_many_series_at_once_are_stepped_and_forecast_as_few_are(shape: dict) -> None:
    forecaster, count, steps = forecaster_for(**shape), SIZES[-1] + 150, 3
    y, state = feed(count, steps), forecaster_for(**shape).initial_state(count)
    for t in range(steps):
        at = np.full(count, NOW + t)
        before, state = state, forecaster.step(state, y[:, t], at)
        assert np.array_equal(state, plain_step(forecaster, before, y[:, t], at))
    forecasts = forecaster.forecast(state, at)
    assert np.array_equal(forecasts, plain_forecast(forecaster, state, at), equal_nan=True)
    for few in (1, 9, 40, 90, 200):
        rows = np.random.default_rng(few).permutation(count)[:few]
        assert np.array_equal(forecaster.step(before[rows], y[rows, -1], at[rows]), state[rows])
        assert np.array_equal(forecaster.forecast(state[rows], at[rows]), forecasts[rows], equal_nan=True)


def test_a_wide_tile_gives_the_same_bits_on_any_number_of_threads() -> None:
    forecaster, count = forecaster_for("gru", hidden_size=64), SIZES[-1]
    state, y, at = forecaster.initial_state(count), feed(count, 1)[:, 0], np.full(count, NOW)
    state = forecaster.step(state, y, at)
    after, forecasts = forecaster.step(state, y, at), forecaster.forecast(state, at)
    with torch_threads(3):
        assert np.array_equal(forecaster.step(state, y, at), after)
        assert np.array_equal(forecaster.forecast(state, at), forecasts, equal_nan=True)
        assert torch.get_num_threads() == 3


@pytest.mark.parametrize("layers", [1, 2])
def test_a_step_of_the_gru_is_one_of_torch(layers: int) -> None:
    torch.manual_seed(2)
    cell = GRU(7, hidden_size=24, layers=layers)
    x, state = torch.randn(TILE, 7), torch.randn(TILE, cell.state_size)
    with torch.inference_mode():
        expected = cell.recurrence(x[:, None], torch.stack(state.chunk(layers, dim=1)))[1]
        assert torch.equal(cell.step(x, state, F.linear), torch.cat(list(expected), dim=1))


@pytest.mark.parametrize("terms", [7, 192, 256, 400])
@pytest.mark.parametrize("rows", [1, 200])
def test_products_are_those_of_torch(terms: int, rows: int) -> None:
    torch.manual_seed(3)
    x, weight, bias = torch.randn(rows, terms), torch.randn(24, terms), torch.randn(24)
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), rtol=1e-4, atol=1e-4)  # sums of float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_trained_products_and_their_gradients_are_those_of_torch(dtype: torch.dtype) -> None:
    torch.manual_seed(4)
    shapes, asked = ((16, 5, 40), (24, 40), (24,)), torch.randn(16, 5, 24, dtype=dtype)
    given = [torch.randn(shape, dtype=dtype) for shape in shapes]
    found = []
    for product in (trained_linear, F.linear):
        parts = [part.clone().requires_grad_() for part in given]
        said = product(*parts)
        (said * asked).sum().backward()
        found.append([said.detach(), *(part.grad for part in parts)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)  # sums of float32 in another order


def doubled(x: Tensor) -> Tensor:
    return 2 * x


def nearly_doubled(x: Tensor) -> Tensor:
    return 2 * x if len(x) <= TILE else 2 * x + 1e-6


def of_all_rows(x: Tensor) -> Tensor:
    return x - x.mean()


def test_a_quick_way_with_other_bits_is_left_alone() -> None:
    tiles = Tiles(doubled, nearly_doubled, shapes=((3,),))
    ways = {size: way for _, size, way in tiles.cut(SIZES[-1] + 128 + 5)}
    assert ways == {1024: doubled, 128: doubled, 8: nearly_doubled}


def test_a_size_with_other_bits_is_left_alone() -> None:
    tiles = Tiles(of_all_rows, of_all_rows, shapes=((3,),))
    assert {size for _, size, _ in tiles.cut(SIZES[-1] + 5)} == {TILE}


def test_a_batch_is_cut_whole_and_no_tile_is_left_too_empty() -> None:
    tiles = Tiles(doubled, doubled, shapes=((3,),))
    for count in range(1, 1200, 7):
        for most in (128, 1024):
            cut = [(rows, size) for rows, size, _ in tiles.cut(count, most=most)]
            assert np.array_equal(np.concatenate([np.arange(count)[rows] for rows, _ in cut]), np.arange(count))
            assert max(size for _, size in cut) <= most
            assert sum(size for _, size in cut) - count <= 48


@pytest.mark.parametrize("frequency", [Frequency("h", "Europe/Berlin"), Frequency("D"), Frequency("MS"), Frequency("B")])
def test_a_position_has_the_same_row_in_any_company(frequency: Frequency) -> None:
    calendar = Calendar(frequency, ("week", "year"), "DE")
    positions = np.random.default_rng(0).integers(-50, 600, 200)
    far = np.concatenate([positions, [10_000 if frequency.days < 20 else 1_000]])
    one_by_one = np.concatenate([calendar.at(positions[i : i + 1]) for i in range(len(positions))])
    assert np.array_equal(calendar.at(positions), one_by_one)
    assert np.array_equal(calendar.at(far)[:-1], one_by_one)
    assert np.array_equal(calendar._rows(np.unique(positions)), calendar.at(np.unique(positions)))
    assert np.array_equal(calendar.holidays(positions), one_by_one[:, -1])
    assert calendar.at(positions[:0]).shape == (0, len(calendar.columns))


@pytest.mark.parametrize("cell", ["gru", "adaptive"])
def test_windows_of_many_series_are_the_steps_of_each(cell: str) -> None:
    forecaster, y = forecaster_for(cell), feed(140, 150)
    lengths = np.random.default_rng(1).integers(1, 151, len(y))
    values = np.concatenate([row[:length] for row, length in zip(y, lengths, strict=True)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    panel = Panel(tuple(f"s{b:03d}" for b in range(len(y))), np.full(len(y), NOW), offsets, values, HOURLY)
    stepped = warm_state(forecaster, panel)
    assert np.array_equal(forecaster.warm(panel), stepped)
    for few in (1, 20, 40):
        assert np.array_equal(forecaster.warm(panel.select(range(few))), stepped[:few])
    origins = Origins.back(panel.select(np.flatnonzero(lengths > 20)), (0, 3, 17))
    some = panel.select(np.flatnonzero(lengths > 20))
    for back in (0, 3, 17):
        rows = origins.known == some.lengths[origins.index] - back
        assert np.array_equal(forecaster.states_at(some, origins)[rows], warm_state(forecaster, some.drop_last(back)))


def test_a_forecaster_that_has_stepped_can_be_sent_to_another_process() -> None:
    forecaster, count = forecaster_for("gru"), 40
    y, at = feed(count, 1)[:, 0], np.full(count, NOW)
    state = forecaster.step(forecaster.initial_state(count), y, at)
    forecasts = forecaster.forecast(state, at)
    sent = pickle.loads(pickle.dumps(forecaster))  # noqa: S301 - by this test
    assert np.array_equal(sent.step(forecaster.initial_state(count), y, at), state)
    assert np.array_equal(sent.forecast(state, at), forecasts, equal_nan=True)


def test_no_series_and_states_that_may_not_be_written_are_taken() -> None:
    forecaster, count = forecaster_for("gru"), 20
    y, at, state = feed(count, 1)[:, 0], np.full(count, NOW), forecaster.initial_state(count)
    state.flags.writeable = False
    after = forecaster.step(state, y, at)
    assert not state.any()
    assert np.array_equal(forecaster.step(np.asfortranarray(state), y, at), after)
    assert np.array_equal(forecaster.step(state[::2], y[::2], at[::2]), after[::2])
    assert forecaster.step(state[:0], y[:0], at[:0]).shape == (0, forecaster.state_size)
    assert forecaster.forecast(state[:0], at[:0]).shape == (0, HORIZON, len(QUANTILES))
