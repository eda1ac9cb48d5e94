"""A pool stands in for what the young have not shown: the same in any batch, as a regression has it, and only for a while."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from forecaster.forecast import warm_state
from forecaster.frequency import Frequency
from forecaster.models.checkpoint import load_recurrent, recurrent_from, save_recurrent, with_pool
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.pool import Pool
from forecaster.models.pooling import pool_for, pool_of
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import AGE, LEVEL, SEASONS, scaler_for
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.5, 0.9)
HORIZON = 12


def panel_of(count: int, *, sign: str = "positive", days: int = 21, seed: int = 0, gaps: bool = False) -> Panel:
    """Hourly series with one of two days, each at its own level and amplitude; some hours missing, also the first ones."""
    random, parts = np.random.default_rng(seed), []
    starts = random.integers(400_000, 400_100, size=count)
    for b in range(count):
        hour = starts[b] + np.arange(24 * days - 5 * (b % 7))
        turn = hour / 24 * 2 * np.pi
        day = np.sin(turn) + 0.5 * np.sin(2 * turn) if b % 2 else np.cos(turn)
        y = random.normal(5, 2) + random.uniform(0.2, 0.4) * day + random.normal(0, 0.03, len(hour))
        if sign != "signed":
            y = np.exp(y)
        if sign == "crossing" and b % 3 == 0:
            y[5:] = 10 - y[5:]
        if gaps:
            y[random.random(len(y)) < 0.2] = np.nan
            y[: b % 4] = np.nan
        parts.append(y)
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
    return Panel(tuple(f"series_{b:03d}" for b in range(count)), starts, offsets, np.concatenate(parts), Frequency("h"))


def forecaster_for(panel: Panel, *, members: int = 1, random: bool = True) -> Recurrent:
    """An untrained network, its weights larger than at initialisation where they are `random`, so that every gate moves."""
    scaler, config = scaler_for(panel, HORIZON), ModelConfig(hidden_size=12, head_size=12, members=members)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = Network(config, scaler, horizon=HORIZON, quantiles=QUANTILES)
        for weight in network.parameters() if random else ():
            torch.nn.init.normal_(weight, std=0.4)
    return recurrent_from(network, scaler, config, frequency=panel.frequency, horizon=HORIZON, quantiles=QUANTILES)


def with_wide_pool(forecaster: Recurrent, panel: Panel) -> Recurrent:
    """The forecaster with a pool of the panel that widens the young."""
    pool = pool_of(panel, forecaster.scaler, count=3)
    assert pool is not None
    return with_pool(forecaster, replace(pool, widths=np.linspace(3, 1, 60, dtype=np.float32)))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


CASES = {
    "positive": (1, panel_of(9)),
    "signed with gaps, 2 members": (2, panel_of(9, sign="signed", gaps=True)),
    "crossing zero with gaps": (1, panel_of(9, sign="crossing", gaps=True)),
}


@pytest.fixture(scope="module")
def plain() -> Recurrent:
    """An untrained network of series that have something in common: it says what its base says."""
    return forecaster_for(panel_of(24), random=False)


@pytest.fixture(scope="module")
def pool(plain: Recurrent) -> Pool:
    with torch_threads(1):
        found = pool_for(plain, panel_of(24))
    assert found is not None
    return found


@pytest.fixture(params=CASES.values(), ids=CASES.keys(), scope="module")
def case(request: pytest.FixtureRequest) -> tuple[Recurrent, Panel]:
    members, panel = request.param
    with torch_threads(1):
        return with_wide_pool(forecaster_for(panel, members=members), panel), panel.drop_last(panel.lengths - 40)


def test_a_window_equals_single_steps_at_every_age(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case
    for kept in (1, 9, 24, 25, 40):
        known = panel.drop_last(40 - kept)
        stepped = warm_state(forecaster, known)
        assert np.array_equal(forecaster.warm(known), stepped)
        said = forecaster.predict(known, HORIZON, quantiles=QUANTILES, origins=Origins.back(known)).values
        assert np.array_equal(said, forecaster.forecast(stepped, known.ends), equal_nan=True)
        begun = stepped[:, AGE] > 0
        assert np.isfinite(said[begun]).all()
        assert np.isnan(said[~begun]).all()
        assert (np.diff(said[begun], axis=2) >= 0).all()


def test_origins_in_one_walk_equal_walks_of_their_own(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case
    back = (0, 14, 15, 16, 17, 30, 39)
    origins = Origins.back(panel, back)
    states = forecaster.states_at(panel, origins)
    for steps in back:
        assert np.array_equal(states[origins.known == 40 - steps], forecaster.warm(panel.drop_last(steps)))


@pytest.mark.parametrize("companions", [1, 2, 5])
def test_batch_companions_leave_no_trace(case: tuple[Recurrent, Panel], companions: int) -> None:
    forecaster, panel = case
    known = panel.drop_last(28)
    whole = warm_state(forecaster, known)
    chosen = np.random.default_rng(companions).permutation(len(known))[:companions]
    assert np.array_equal(warm_state(forecaster, known.select(chosen)), whole[chosen])
    assert np.array_equal(forecaster.warm(known.select(chosen)), whole[chosen])


def test_nothing_after_an_origin_is_seen(case: tuple[Recurrent, Panel]) -> None:
    forecaster, panel = case
    origins = Origins.back(panel, (20, 30))
    before = forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=origins).values
    values = panel.values.copy()
    for end in panel.offsets[1:]:
        values[end - 20 : end] = 1e6
    after = forecaster.predict(replace(panel, values=values), HORIZON, quantiles=QUANTILES, origins=origins).values
    assert np.array_equal(after, before, equal_nan=True)


def test_a_file_keeps_the_pool_and_files_without_one_are_read(case: tuple[Recurrent, Panel], tmp_path: Path) -> None:
    forecaster, panel = case
    plain = with_pool(forecaster, None)
    for one in (forecaster, plain):
        save_recurrent(one, tmp_path / "weights.safetensors")
        again = load_recurrent(tmp_path / "weights.safetensors")
        assert again.fingerprint == one.fingerprint
        assert np.array_equal(again.warm(panel), one.warm(panel))
    assert again.pool is None
    assert plain.fingerprint != forecaster.fingerprint
    wider = replace(forecaster.pool, widths=forecaster.pool.widths * 2)
    assert with_pool(forecaster, wider).fingerprint != forecaster.fingerprint


@pytest.mark.parametrize("count", [1, 2, 7, 24])
def test_what_is_filled_is_the_mean_of_a_normal_distribution_given_the_values(plain: Recurrent, pool: Pool, count: int) -> None:
    panel, forecaster, scaler = panel_of(8), with_pool(plain, pool), plain.scaler
    known = panel.drop_last(panel.lengths - count)
    state = forecaster.warm(known)
    # the joint normal distribution of a week's values, conditioned by its own formula
    size = pool.log_amplitude
    lines = np.concatenate([pool.level_spread * np.ones((1, len(pool.profile))), pool.courses]).astype(np.float64)
    for b in range(len(known)):
        v = np.log(known.series(b)) / size
        seen, others = (at % len(pool.profile) for at in (known.starts[b] + np.arange(count), known.starts[b] - np.arange(1, 25)))
        within = lines[:, seen].T @ lines[:, seen] + pool.noise**2 * np.eye(count)
        away = np.linalg.solve(within, v - pool.level / size - pool.profile[seen])
        mean = pool.level / size + pool.profile[others] + lines[:, others].T @ lines[:, seen] @ away
        ring = state[b, scaler.ring : scaler.size][::-1]
        assert np.allclose(ring[count : count + 24], mean * size, atol=2e-5)  # float32 sums of some 24 numbers
        assert np.allclose(state[b, LEVEL], (pool.level / size + lines[0, 0] * lines[0, seen] @ away) * size, atol=2e-5)


def test_an_unseen_phase_is_expected_as_the_course_has_it(plain: Recurrent, pool: Pool) -> None:
    panel = panel_of(8)
    scaler, state = plain.scaler, with_pool(plain, pool).warm(panel.drop_last(panel.lengths - 5))
    assert scaler.base.length == 24
    ahead = state[:, [LEVEL]] + state[:, SEASONS : scaler.ring]
    before = state[:, scaler.size - 24 : scaler.size]
    assert np.allclose(ahead[:, :19], before[:, :19], atol=1e-5)


def test_a_series_that_nobody_knows_is_forecast_better_and_as_surely_as_the_others(plain: Recurrent, pool: Pool) -> None:
    assert len(pool.courses) >= 1
    old = panel_of(30, seed=7)
    old = old.drop_last(old.lengths - 306 - HORIZON)
    truth = np.log(old.matrix()[:, 306:])
    old = old.drop_last(HORIZON)
    new = replace(old, starts=old.starts + 300, offsets=np.arange(31) * 6, values=old.matrix()[:, 300:].ravel())
    errors, covered = [], []
    for forecaster, panel in ((plain, old), (plain, new), (with_pool(plain, pool), new)):
        said = np.log(forecaster.predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel)).values)
        errors.append(float(np.abs(said[:, :, 1] - truth).mean()))
        covered.append(float(((said[:, :, 0] <= truth) & (truth <= said[:, :, 2])).mean()))
    assert errors[2] < 0.5 * errors[1]
    assert abs(covered[2] - covered[0]) < 0.1  # what 30 series are worth
    assert covered[1] < covered[0] - 0.2


def test_a_series_in_another_unit_is_not_drawn_to_the_usual_level(plain: Recurrent, pool: Pool) -> None:
    forecaster = with_pool(plain, replace(pool, level_spread=0.5))  # as if all series had one level
    other = panel_of(6, seed=3)
    other = replace(other.drop_last(other.lengths - 4), values=1e7 * other.drop_last(other.lengths - 4).values)
    level = forecaster.warm(other)[:, LEVEL]
    assert np.allclose(level, np.log(other.matrix()).mean(axis=1), atol=3 * pool.log_amplitude)


def test_an_old_series_bears_hardly_a_trace_of_its_beginning(plain: Recurrent, pool: Pool) -> None:
    panel, pooled = panel_of(4, days=40), with_pool(plain, pool)
    said = [one.predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel)).values for one in (plain, pooled)]
    assert np.allclose(said[0], said[1], rtol=1e-2)  # one of forty days
    assert np.array_equal(plain.warm(panel)[:, AGE], pooled.warm(panel)[:, AGE])


def test_widths_fall_with_age_and_end_at_one(pool: Pool) -> None:
    assert (np.diff(pool.widths) <= 0).all()
    assert pool.widths[-1] == 1
    assert len(pool.widths) > 2 * pool.young


def test_series_too_short_to_begin_again_leave_no_pool(plain: Recurrent) -> None:
    panel = panel_of(24)
    assert pool_for(plain, panel.drop_last(panel.lengths - 13)) is None


def test_a_pool_is_not_taken_where_nothing_is_in_common() -> None:
    random = np.random.default_rng(0)
    values = np.cumsum(random.normal(0, 1, 20 * 100)) * 1e-3
    panel = Panel(
        tuple(f"s{b:02d}" for b in range(20)),
        np.zeros(20, dtype=np.int64),
        np.arange(21) * 100,
        values,
        Frequency("step", is_numbered=True),
    )
    pool = pool_for(forecaster_for(panel, random=False), panel)
    assert pool is None or len(pool.courses) == 0
