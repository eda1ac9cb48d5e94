"""Champions that live: to the bit what each member says alone, in any batch, after a restart, and with a stand-in."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from test_baselines_stepping import HORIZON, QUANTILES, STEPS, M, fitted, live, mixed_panel, panel_of, wavy
from test_evaluation_walk import Smoothing

from forecaster.errors import ConfigError
from forecaster.evaluation.champions import ChampionTable
from forecaster.evaluation.live_champions import CHAMPION, ChampionStepper, Member
from forecaster.forecast import warm_state
from forecaster.models.checkpoint import recurrent_from
from forecaster.models.network import ModelConfig, Network
from forecaster.models.scaler import scaler_for

NAMES = ("ses", "arima", "network")


def network():
    scaler, config = scaler_for(mixed_panel(), HORIZON), ModelConfig(hidden_size=8, head_size=8, members=1)
    made = Network(config, scaler, horizon=HORIZON, quantiles=QUANTILES)
    return recurrent_from(made, scaler, config, frequency=STEPS, horizon=HORIZON, quantiles=QUANTILES)


def members():
    alive = {name: live(name) for name in ("ses", "arima", "seasonal_naive")} | {"network": network()}
    return {name: Member(one, one.warm) for name, one in alive.items()}


def table_of(ids, names=NAMES, through=10_000):
    """Every third series is another's; the first name is the panel's best."""
    losses = np.full((len(ids), len(names)), 2.0)
    losses[np.arange(len(ids)), np.arange(len(ids)) % len(names)] = 1.0
    return ChampionTable(
        tuple(ids), names, losses, np.full(losses.shape, 1 / len(names)), np.full(len(ids), 8), np.full(len(ids), through)
    )


@pytest.fixture(scope="module")
def champions():
    every = members()
    return ChampionStepper(table_of(mixed_panel().ids), {name: every[name] for name in NAMES}, every["seasonal_naive"])


def later(panel, steps, seed=3):
    rng = np.random.default_rng(seed)
    y = panel.values[panel.offsets[1:] - 1] + rng.normal(0, 2, (steps, len(panel)))
    y[rng.random(y.shape) < 0.2] = np.nan
    return y


def test_each_series_says_to_the_bit_what_its_champion_says_alone(champions):
    panel = mixed_panel()
    state = champions.warm(panel)
    alone = {name: champions.members[name].state_after(panel) for name in NAMES}
    for t, y in enumerate(later(panel, 12)):
        at = panel.ends + 1 + t
        state = champions.step(state, y, at)
        said = champions.forecast(state, at)
        for number, name in enumerate(NAMES):
            member = champions.members[name].stepper
            alone[name] = member.step(alone[name], y, at)
            rows = np.flatnonzero(np.arange(len(panel)) % 3 == number)
            expected = member.forecast(alone[name], at)[rows]
            finite = np.isfinite(expected).all(axis=(1, 2))
            np.testing.assert_array_equal(said[rows][finite], expected[finite])
    np.testing.assert_array_equal(champions.choice(state), np.arange(len(panel)) % 3)


def test_a_step_changes_nothing_it_was_given_and_is_the_same_in_any_batch(champions):
    panel = mixed_panel()
    before = champions.warm(panel)
    kept, y, at = before.copy(), later(panel, 1)[0], panel.ends + 1
    whole = champions.step(before, y, at)
    np.testing.assert_array_equal(before.view(np.uint32), kept.view(np.uint32))
    for rows in ([2], [5, 0], [3, 1, 4]):
        part = champions.step(before[rows], y[rows], at[rows])
        np.testing.assert_array_equal(part.view(np.uint32), whole[rows].view(np.uint32))
        np.testing.assert_array_equal(champions.forecast(part, at[rows]), champions.forecast(whole, at)[rows])


def test_a_state_that_was_written_and_read_goes_on(champions):
    panel = mixed_panel()
    state = champions.warm(panel)
    copy = np.frombuffer(state.tobytes(), dtype=np.float32).reshape(state.shape)
    np.testing.assert_array_equal(champions.forecast(copy, panel.ends), champions.forecast(state, panel.ends))
    assert state.shape == (len(panel), champions.state_size)
    assert state.dtype == np.float32


def test_a_warm_state_is_the_one_that_steps_lead_to():
    plain = {"a": Member(Smoothing("a", 0.2)), "b": Member(Smoothing("b", 0.7))}
    panel = mixed_panel()
    champions = ChampionStepper(table_of(panel.ids, ("a", "b")), plain)
    state = champions.warm(panel)
    for number, name in enumerate(("a", "b")):
        rows = np.flatnonzero(np.arange(len(panel)) % 2 == number)
        own = champions._own(CHAMPION, plain[name])
        np.testing.assert_array_equal(state[rows, own], warm_state(plain[name].stepper, panel)[rows])


def test_a_series_that_nobody_has_chosen_for_is_the_panels_best(champions):
    panel = panel_of({"new": wavy(4, 40, has_gaps=True)})
    cold = warm_state(champions, panel)
    best = champions.members["ses"].stepper
    np.testing.assert_array_equal(champions.forecast(cold, panel.ends), best.forecast(warm_state(best, panel), panel.ends))
    assert champions.choice(champions.warm(panel)).tolist() == [0]


def test_a_champion_that_is_not_at_hand_leaves_its_series_to_the_best():
    every = members()
    ids = mixed_panel().ids
    champions = ChampionStepper(table_of(ids), {name: every[name] for name in ("ses", "network")})
    assert champions.names == ("ses", "network")
    assert champions.choice(champions.warm(mixed_panel())).tolist() == [0, 0, 1] * 2
    with pytest.raises(ConfigError, match=r"none of these is given; .* Choose champions among"):
        ChampionStepper(table_of(ids), {"naive": every["seasonal_naive"]})


@dataclass(frozen=True)
class Mute(Smoothing):
    """A stepper that has lost its numbers."""

    def forecast(self, state, position):
        return np.full((len(state), self.horizon, len(self.quantiles)), np.nan)


def test_where_a_champion_has_no_number_its_runner_up_speaks_and_where_that_has_none_the_stand_in():
    panel, ids = mixed_panel(), mixed_panel().ids
    naive = fitted("seasonal_naive").stepper(STEPS, horizon=HORIZON, quantiles=QUANTILES)
    reach = {"horizon": HORIZON, "quantiles": QUANTILES}
    plain = {"a": Member(Smoothing("a", 0.2, **reach)), "b": Member(Mute("b", 0.7, **reach))}
    y, at = later(panel, 1)[0], panel.ends + 1
    first = plain["a"].stepper.forecast(plain["a"].stepper.step(warm_state(plain["a"].stepper, panel), y, at), at)
    both = ChampionStepper(table_of(ids, ("a", "b")), plain)
    np.testing.assert_array_equal(both.forecast(both.step(both.warm(panel), y, at), at), first)  # the runner-up has one
    plain["a"] = Member(Mute("a", 0.2, **reach))
    champions = ChampionStepper(table_of(ids, ("a", "b")), plain, Member(naive, naive.warm))
    state = champions.warm(panel)
    said = champions.forecast(champions.step(state, y, at), at)
    expected = naive.forecast(naive.step(naive.warm(panel), y, at), at)
    np.testing.assert_array_equal(said, expected)
    alone = ChampionStepper(table_of(ids, ("a", "b")), plain)
    assert np.isnan(alone.forecast(alone.warm(panel), panel.ends)).all()


def test_the_fingerprint_names_members_stand_in_and_choice(champions):
    ids = mixed_panel().ids
    prints = {champions.fingerprint}
    prints.add(replace(champions, stand_in=None).fingerprint)
    prints.add(replace(champions, table=table_of(ids[::-1])).fingerprint)
    other = fitted("ses").stepper(STEPS, horizon=HORIZON, quantiles=QUANTILES)
    weights = other.parameters.assign(alpha=other.parameters["alpha"] * 0.5)
    prints.add(replace(champions, members={**champions.members, "ses": Member(replace(other, parameters=weights))}).fingerprint)
    assert len(prints) == 4
    assert champions.fingerprint == replace(champions).fingerprint


def test_members_that_do_not_reach_equally_far_are_refused():
    short = fitted("ses").stepper(STEPS, horizon=HORIZON - 1, quantiles=QUANTILES)
    with pytest.raises(ConfigError, match=r"arima forecasts 9 steps of 3 quantiles, ses 8 of 3; expected the same of all"):
        ChampionStepper(table_of(mixed_panel().ids), {"ses": Member(short), "arima": Member(live("arima"))})
    assert M == 4
