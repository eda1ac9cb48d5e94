"""The standing of champions: judged once their forecasts have come due, with few false alarms, and won back."""

from dataclasses import dataclass

import numpy as np
import pytest
from test_baselines_stepping import STEPS

from forecaster.evaluation.champions import ChampionTable
from forecaster.evaluation.live_champions import CHAMPION, RUNNER_UP, STAND_IN, ChampionStepper, Member
from forecaster.evaluation.standing import ALARM, TRUST, Judge
from forecaster.forecast import warm_state
from forecaster.series import Panel
from forecaster.streaming.live import LiveSeries
from forecaster.streaming.stepping import begin_from

HORIZON, QUANTILES = 8, (0.1, 0.5, 0.9)
TENTH = 1.2815515655446004  # a tenth of standard normal numbers is larger: scipy.stats.norm.ppf(0.9)


@dataclass(frozen=True)
class Steady:
    """Says the same of every position: `centre`, give or take `half`; from position `mute_from` on it has no numbers."""

    name: str
    centre: float = 0.0
    half: float = TENTH
    mute_from: int = 10**9
    horizon: int = HORIZON
    quantiles: tuple = QUANTILES
    state_size: int = 1

    @property
    def fingerprint(self):
        return repr(self)

    def initial_state(self, count):
        return np.zeros((count, 1), dtype=np.float32)

    def step(self, state, y, position):
        return (state + np.float32(1)).astype(np.float32)

    def forecast(self, state, position):
        values = np.tile(self.centre + self.half * np.array([-1.0, 0.0, 1.0]), (len(state), self.horizon, 1))
        values[position >= self.mute_from] = np.nan
        return values


def champions(first, second, series=1, *, through=0, ids=None, stand_in=None):
    ids = ids or tuple(f"s{b:04}" for b in range(series))
    losses = np.tile([1.0, 2.0], (len(ids), 1))
    table = ChampionTable(ids, ("first", "second"), losses, losses / 3, np.full(len(ids), 9), np.full(len(ids), through))
    naive = Member(stand_in or Steady("naive", centre=-7.0, half=20.0))
    return ChampionStepper(table, {"first": Member(first), "second": Member(second)}, naive)


def begun(made, series):
    """The state of some series that end where the evidence does, at position 0."""
    return made.warm(panel_of(np.zeros((1, series))))


def panel_of(values, first=0):
    """A panel whose series are the columns [T, B]."""
    count = values.shape[1]
    offsets = np.arange(count + 1) * len(values)
    return Panel(tuple(f"s{b:04}" for b in range(count)), np.full(count, first), offsets, values.T.ravel(), STEPS)


def lived(made, values, state=None, first=1):
    """Who speaks for each series after each step [T, B], and the last state."""
    state = begun(made, values.shape[1]) if state is None else state
    voices = []
    for t, y in enumerate(values):
        state = made.step(state, y, np.full(len(y), first + t))
        voices.append(made.voices(state))
    return np.array(voices), state


def normal(steps, series, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, series))


# -- false alarms ----------------------------------------------------------------------------------------------------------


def test_of_a_thousand_champions_whose_intervals_hold_what_they_promise_none_falls_back():
    voices, state = lived(champions(Steady("first"), Steady("second", half=2.0), 1_000), normal(400, 1_000))
    assert (voices == CHAMPION).all()
    assert not any(champions(Steady("first"), Steady("second", half=2.0)).told(state))


def test_of_a_thousand_that_are_just_tolerable_no_more_fall_back_than_is_stated():
    tolerable = 1.0364333894937898  # three of ten lie outside: scipy.stats.norm.ppf(0.85)
    made = champions(Steady("first", half=tolerable), Steady("second", half=TENTH), 1_000)
    voices, _ = lived(made, normal(400, 1_000, seed=1))
    judged = 400 + 400 // made.judge.leads[1]  # by each series, at both leads
    assert 0 < (voices != CHAMPION).any(axis=0).sum() <= 1_000 * judged / ALARM


def test_of_a_thousand_with_equally_good_runners_up_no_more_fall_back_than_is_stated():
    made = champions(Steady("first", centre=0.5), Steady("second", centre=-0.5), 1_000)
    voices, _ = lived(made, normal(600, 1_000, seed=2))
    assert (voices != CHAMPION).any(axis=0).sum() <= 1_000 * (600 // made.judge.leads[1]) / ALARM


# -- falling back, and coming back ----------------------------------------------------------------------------------------


def test_a_champion_that_drifts_off_falls_back_to_its_runner_up_and_comes_back():
    made = champions(Steady("first"), Steady("second", centre=5.0, half=7.0), 50)
    y = normal(500, 50, seed=3)
    y[100:200] += 5.0  # now the runner-up is right
    voices, state = lived(made, y)
    assert (voices[:100] == CHAMPION).all()
    assert (voices[130:200] == RUNNER_UP).all()  # every value misses: log(10,000) / log(5 / 3) of them are enough
    assert (voices[-1] == CHAMPION).all()
    back = (voices[200:] == CHAMPION).argmax(axis=0)  # the farther lead is judged at every fourth position
    assert 4 <= np.median(back) < 200  # as soon as the runner-up has lost more
    at = np.full(50, 500)
    np.testing.assert_array_equal(made.forecast(state, at), Steady("first").forecast(state, at))


def test_while_it_is_off_the_runner_up_speaks_to_the_bit_and_the_reason_is_told():
    made = champions(Steady("first"), Steady("second", centre=5.0, half=7.0), 3)
    y = normal(60, 3, seed=4)
    y[20:, :2] += 5.0
    voices, state = lived(made, y)
    assert voices[-1].tolist() == [RUNNER_UP, RUNNER_UP, CHAMPION]
    said = made.forecast(state, np.full(3, 60))
    np.testing.assert_array_equal(said[:, 0, 1], [5.0, 5.0, 0.0])
    assert made.told(state) == ["first is off its coverage; second speaks for it"] * 2 + [""]
    assert made.speaking(state) == {
        "champion": 1,
        "runner_up": 2,
        "stand_in": 0,
        "stale": 0,
        "off_coverage": 2,
        "beaten": 0,
        "speaks_on": 0,
    }


def test_where_the_runner_up_is_off_as_well_the_stand_in_speaks():
    made = champions(Steady("first"), Steady("second", centre=0.1), 2, stand_in=Steady("naive", centre=7.0, half=9.0))
    y = normal(40, 2, seed=5)
    y[5:] += 9.0
    voices, state = lived(made, y)
    assert (voices[-1] == STAND_IN).all()
    np.testing.assert_array_equal(made.forecast(state, np.full(2, 40))[:, :, 1], 7.0)
    assert made.told(state) == ["first is off its coverage; the stand-in speaks for it"] * 2


def test_where_the_stand_in_is_off_as_well_the_champion_speaks_on():
    made = champions(Steady("first"), Steady("second", centre=-0.1), 2, stand_in=Steady("naive", centre=1.0))
    voices, _ = lived(made, np.full((60, 2), 9.0))
    assert (voices[20:] == CHAMPION).all()


def test_who_covers_but_loses_more_does_not_speak_and_the_champion_is_told_as_off():
    wide = Steady("naive", centre=-20.0, half=40.0)
    made = champions(Steady("first"), Steady("second", centre=-9.0, half=30.0), 2, stand_in=wide)
    y = normal(80, 2, seed=5)
    y[5:, 0] += 9.0
    voices, state = lived(made, y)
    assert (voices == CHAMPION).all()
    assert made.judge.is_off(state[:, made._numbers], CHAMPION).tolist() == [True, False]
    assert not made.judge.is_off(state[:, made._numbers], STAND_IN).any()
    assert made.told(state) == ["first is off its coverage; nobody is shown to do better, so it speaks on", ""]
    assert made.speaking(state)["speaks_on"] == made.speaking(state)["off_coverage"] == 1
    np.testing.assert_array_equal(made.forecast(state, np.full(2, 80)), Steady("first").forecast(state, np.full(2, 80)))


def test_who_has_lost_more_is_a_discounted_sum_over_the_values_that_both_forecast():
    judge = Judge(1, (0.1, 0.5, 0.9))
    numbers, said, y = judge.first_numbers(np.zeros(1)), normal(40, 6, seed=13), normal(40, 1, seed=14)[:, 0]
    said, y[7], expected = np.sort(said.reshape(40, 2, 3)), np.nan, 0.0
    said[11, 1] = np.nan
    assert not judge.is_no_worse(numbers, RUNNER_UP).any()  # nothing was judged yet
    for t in range(40):
        for voice in (CHAMPION, RUNNER_UP):
            judge.keep(numbers, np.array([0]), said[None, t, None, voice], np.array([t]), voice=voice)
        judge.score(numbers, y[[t]], np.array([t + 1]))
        error = np.float32(y[t]) - said[t].astype(np.float32)
        lost = 2 * np.maximum(np.array(QUANTILES) * error, (np.array(QUANTILES) - 1) * error).sum(axis=1)
        if np.isfinite(lost).all():
            expected = 0.9 * expected + lost[1] - lost[0]
        assert judge.is_no_worse(numbers, RUNNER_UP).tolist() == [expected <= 0]
        assert not judge.is_no_worse(numbers, STAND_IN).any()  # it has said nothing


def test_a_champion_that_loses_to_its_runner_up_ever_since_hands_over():
    made = champions(Steady("first", centre=1.5, half=4.0), Steady("second", half=1.5), 20)
    voices, state = lived(made, normal(400, 20, seed=6))
    assert (voices[-1] == RUNNER_UP).all()
    assert made.told(state) == ["first is beaten by its runner-up; second speaks for it"] * 20


def test_too_wide_intervals_are_no_reason_to_fall_back():
    voices, _ = lived(champions(Steady("first", half=1e-6), Steady("second"), 4), np.zeros((300, 4)))
    assert (voices == CHAMPION).all()


def test_after_a_long_silence_a_champion_is_stale_until_it_was_judged_again():
    made = champions(Steady("first"), Steady("second", centre=9.0), 5, stand_in=Steady("naive", half=1.28))
    lifetime = made.judge.lifetime
    y = normal(4 * lifetime, 5, seed=7)
    y[40 : 40 + 2 * lifetime] = np.nan
    voices, _ = lived(made, y)
    assert (voices[: 40 + lifetime - 1] == CHAMPION).all()
    silent = voices[40 + lifetime + 1 : 40 + 2 * lifetime]
    assert (silent == silent[0]).all()  # by what both had lost before the silence
    assert set(silent[0]) == {CHAMPION, STAND_IN}
    back = np.flatnonzero((voices[40 + 2 * lifetime :] == CHAMPION).all(axis=1))[0]
    assert 2 <= back <= 20
    assert (voices[40 + 2 * lifetime + back :] == CHAMPION).all()


def test_a_silence_is_told_as_stale():
    made = champions(Steady("first"), Steady("second"), 1)
    _, state = lived(made, np.full((made.judge.lifetime + 1, 1), np.nan))
    assert made.told(state) == ["first is stale; nobody is shown to do better, so it speaks on"]
    assert made.speaking(state)["stale"] == 1


def test_without_a_stand_in_the_champion_speaks_on():
    first, second = Member(Steady("first")), Member(Steady("second"))
    whole = champions(first.stepper, second.stepper)
    made = ChampionStepper(whole.table, {"first": first, "second": second})
    voices, state = lived(made, np.full((40, 1), 9.0))
    assert voices[-1].tolist() == [CHAMPION]
    assert made.told(state) == ["first is off its coverage; nobody is shown to do better, so it speaks on"]


def test_a_champion_without_numbers_leaves_the_word_to_a_sound_runner_up():
    made = champions(Steady("first", mute_from=30), Steady("second", centre=0.25), 2)
    y = normal(60, 2, seed=8)
    voices, state = lived(made, y)
    np.testing.assert_array_equal(made.forecast(state, np.full(2, 60))[:, 0, 1], 0.25)
    assert (voices[-1] == CHAMPION).all()  # nothing was shown against it


def test_an_only_forecaster_falls_back_to_the_stand_in():
    table = ChampionTable(("s0000",), ("first",), np.ones((1, 1)), np.ones((1, 1)), np.array([9]), np.array([0]))
    made = ChampionStepper(table, {"first": Member(Steady("first"))}, Member(Steady("naive", centre=7.0, half=9.0)))
    voices, state = lived(made, np.full((40, 1), 9.0))
    assert voices[-1].tolist() == [STAND_IN]
    assert made.forecast(state, np.array([40]))[0, 0, 1] == 7.0


def test_where_no_interval_was_asked_for_coverage_is_not_judged():
    judge = Judge(HORIZON, (0.2, 0.5, 0.9))
    numbers = judge.first_numbers(np.zeros(1))
    for t in range(1, 80):
        judge.keep(numbers, np.array([0]), np.zeros((1, HORIZON, 3)), np.array([t - 1]), voice=CHAMPION)
        judge.score(numbers, np.array([99.0]), np.array([t]))
    assert not judge.is_off(numbers, CHAMPION).any()
    assert not judge.is_stale(numbers).any()


# -- nothing is judged before its time --------------------------------------------------------------------------------------


def slow_loop(values, half):
    """What a steady champion's standing is at each step: plain Python, one series, forecasts in a list until they are due."""
    waiting, evidence, off, flags = [], {1: np.float32(0), 4: np.float32(0)}, {1: False, 4: False}, []
    for t, y in enumerate(values, start=1):
        waiting += [(t, 1)] + ([(t + 3, 4)] if (t - 1) % 4 == 0 else [])  # made after t - 1
        for due, lead in [one for one in waiting if one[0] == t and not np.isnan(y)]:
            assert due == t
            missed, before = abs(np.float32(y)) > np.float32(half), np.float32(1) + evidence[lead]
            if off[lead]:
                after, bar = before * np.float32(0.2 / 0.3 if missed else 0.8 / 0.7), TRUST
            else:
                after, bar = before * np.float32(0.5 / 0.3 if missed else 0.5 / 0.7), ALARM
            changes = after >= bar
            off[lead], evidence[lead] = off[lead] ^ changes, np.float32(0) if changes else np.float32(after)
        waiting = [one for one in waiting if one[0] > t]
        flags.append(off[1] or off[4])
    return np.array(flags)


def test_the_standing_is_that_of_a_slow_loop_which_waits_for_every_value():
    y = normal(600, 6, seed=9)
    y[100:220] *= 3.0
    y[300:420, ::2] += 3.0
    y[np.random.default_rng(9).random(y.shape) < 0.1] = np.nan
    made = champions(Steady("first"), Steady("second", centre=50.0), 6)
    state, off = begun(made, 6), []
    for t, value in enumerate(y, start=1):
        state = made.step(state, value, np.full(6, t))
        off.append(made.judge.is_off(state[:, made._numbers], CHAMPION))
    expected = np.stack([slow_loop(y[:, b], TENTH) for b in range(6)], axis=1)
    np.testing.assert_array_equal(np.array(off), expected)
    assert expected.any(axis=0).all()
    assert not expected[-1].all()


@pytest.mark.parametrize("changed", [50, 51, 57])
def test_a_later_value_changes_no_earlier_verdict_or_forecast(changed):
    made, y = champions(Steady("first"), Steady("second", centre=2.0), 3), normal(60, 3, seed=10)
    y[10:] += 2.0
    other = y.copy()
    other[changed:] = 99.0
    one, before = lived(made, y[:changed])
    two, same = lived(made, other[:changed])
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(before.view(np.uint32), same.view(np.uint32))


def test_nothing_is_judged_before_the_end_of_the_evidence():
    made = champions(Steady("first"), Steady("second"), 4, through=200, stand_in=Steady("naive", centre=7.0, half=9.0))
    voices, state = lived(made, np.full((200, 4), 9.0))
    assert (voices == CHAMPION).all()
    after, _ = lived(made, np.full((40, 4), 9.0), state, first=201)
    assert (after[-1] == STAND_IN).all()


# -- batch is stream -----------------------------------------------------------------------------------------------------------


def drifting():
    y = normal(260, 5, seed=11)
    y[120:180, :3] += 5.0
    y[np.random.default_rng(12).random(y.shape) < 0.15] = np.nan
    y[0] = 0.0
    return y


def test_a_warm_state_is_to_the_bit_the_one_that_a_stream_comes_to_also_after_restarts():
    second = Steady("second", centre=5.0, half=7.0)
    made, y = champions(Steady("first"), second, ids=("s0000", "s0001", "s0002"), through=90), drifting()
    whole = made.warm(panel_of(y))  # the last two series are in no table
    for cut in (1, 60, 91, 140, 259):
        state = made.warm(panel_of(y[:cut]))
        for t in range(cut, len(y)):
            state = np.frombuffer(state.tobytes(), dtype=np.float32).reshape(state.shape)
            state = made.step(state, y[t], np.full(5, t))
        np.testing.assert_array_equal(state.view(np.uint32), whole.view(np.uint32))
    np.testing.assert_array_equal(warm_state(made, panel_of(y))[3:].view(np.uint32), whole[3:].view(np.uint32))
    assert set(made.voices(made.warm(panel_of(y[:170])))) == {CHAMPION, RUNNER_UP}


def test_live_series_begin_with_the_same_bits_whatever_the_window():
    made, y = champions(Steady("first"), Steady("second", centre=5.0), 5, through=150), drifting()
    whole = made.warm(panel_of(y))
    for window in (0, 7, 24):
        series = LiveSeries(made.state_size, window=window)
        slots = begin_from(series, made, panel_of(y), made.warm)
        np.testing.assert_array_equal(series.state[slots].view(np.uint32), whole.view(np.uint32))


def test_the_standing_is_the_same_in_any_batch():
    made, y = champions(Steady("first"), Steady("second", centre=5.0), 5), drifting()
    _, whole = lived(made, y)
    for rows in ([3], [4, 0], [1, 2, 3]):
        _, part = lived(made, y[:, rows], begun(made, 5)[rows])
        np.testing.assert_array_equal(part.view(np.uint32), whole[rows].view(np.uint32))


def test_who_may_speak_from_when_on_is_in_the_fingerprint():
    first, second = Steady("first"), Steady("second")
    assert champions(first, second).fingerprint == champions(first, second).fingerprint
    assert champions(first, second).fingerprint != champions(first, second, through=1).fingerprint
