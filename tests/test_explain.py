"""A step worked out: what is told of a cell is what the cell does, in either convention, to the printed digits."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from cells_loops import RUNGS, random_cell
from explain_networks import network_on, smoothing_gru
from models_panels import panel_of, weekly_panel

from forecaster.errors import ConfigError, DataError
from forecaster.explain.conventions import CONVENTIONS
from forecaster.explain.formulas import cut_off, hold, read_layers, silence, with_layers
from forecaster.explain.gates import input_names, left_of, walk_layers
from forecaster.explain.trace import Trace, trace
from forecaster.explain.words import trace_lines
from forecaster.frequency import Frequency
from forecaster.models.calendar import Calendar
from forecaster.models.columns import Scale, Texts
from forecaster.models.inputs import Inputs
from forecaster.models.recurrent import Recurrent

LN2, LN3, LN6 = math.log(2), math.log(3), math.log(6)
FUNCTIONS = {"sigmoid": lambda x: 1 / (1 + math.exp(-x)), "tanh": math.tanh, "__builtins__": {}}
PANEL = weekly_panel(3)


def worked_out(text: str) -> float:
    """What a line of arithmetic comes to, by somebody who knows sigmoid and tanh and nothing of networks."""
    return float(eval(text, dict(FUNCTIONS)))  # noqa: S307 - of our own output


# -- the formulas are the cells -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("rung", RUNGS)
def test_the_formulas_say_what_the_cell_says(rung: str, layers: int, residual: bool) -> None:
    cell = random_cell(rung, layers=layers, residual=residual).double()
    x = torch.randn(4, 40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.inference_mode():
        expected, last = cell(x, torch.zeros(4, cell.state_size, dtype=torch.float64))
    read, state = read_layers(cell, rung), torch.zeros(4, cell.state_size, dtype=torch.float64)
    for t in range(40):
        steps = walk_layers(read, x[:, t], state, is_residual=bool(getattr(cell, "residual", False)))
        state = torch.cat([step.after for step in steps], dim=1)
        torch.testing.assert_close(cell.output(state), expected[:, t], rtol=0, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-12)


def test_the_formulas_begin_with_what_decay_left_of_the_state() -> None:
    cell = random_cell("gru", layers=2, observed_at=2).double()
    x = torch.randn(4, 40, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[..., 2] = x[..., 2] > 0
    with torch.inference_mode():
        expected, _ = cell(x, torch.zeros(4, cell.state_size, dtype=torch.float64))
    read, state = read_layers(cell, "gru"), torch.zeros(4, cell.state_size, dtype=torch.float64)
    for t in range(40):
        steps = walk_layers(read, x[:, t], left_of(cell, state, x[:, t]), is_residual=False)
        state = torch.cat([step.after for step in steps], dim=1)
        torch.testing.assert_close(cell.output(state), expected[:, t], rtol=0, atol=1e-12)


def test_the_trace_of_a_network_with_decay_ends_where_the_network_does_and_says_that_h_decays() -> None:
    panel = panel_of([1.0, 2.0, np.nan, np.nan, 1.5, np.nan, 2.5])
    for decay in (True, False):
        network = network_on(panel, decay=decay)  # of whose units the last decays fastest
        found = trace(network, panel, "series_0000", 101, steps=6, units=[6])
        assert any("what decay has left" in word for word in found.words) is decay
        assert max(step.difference for step in found.steps) < 1e-6
        last, gap = (found.steps[k].units[0].numbers for k in (0, 1))
        assert (abs(gap["h"]) < 0.999 * abs(last["h'"])) is decay


@pytest.mark.parametrize("rung", RUNGS)
def test_a_cell_with_the_weights_that_were_read_from_it_is_the_same(rung: str) -> None:
    cell = random_cell(rung, layers=2)
    again = with_layers(cell, read_layers(cell, rung))
    assert all(torch.equal(weight, cell.state_dict()[name]) for name, weight in again.state_dict().items())
    assert all(a is not b for a, b in zip(again.parameters(), cell.parameters(), strict=True))


@pytest.mark.parametrize("rung", ["gru", "gru_reset_before"])
def test_a_reset_gate_held_open_is_no_reset_gate(rung: str) -> None:
    """With r = 1, both forms are the GRU without it, but for the bias c_n, which stays."""
    cell = random_cell(rung).double()
    (layer,) = read_layers(cell, rung)
    opened = with_layers(cell, (hold(layer, "r", torch.ones(5)),))
    other = random_cell("gru_no_reset").double()
    with torch.no_grad():
        other.layers[0].of_x.weight.copy_(layer.of_x[1:].flatten(0, 1))
        other.layers[0].of_x.bias.copy_((layer.bias_of_x + layer.bias_of_h)[1:].flatten(0, 1))
        other.layers[0].of_h.copy_(layer.of_h[1:].flatten(0, 1))
        x = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        ours, theirs = (one(x, torch.zeros(2, 5, dtype=torch.float64))[0] for one in (opened, other))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rung", RUNGS)
def test_parts_that_are_taken_away_are_gone(rung: str) -> None:
    cell = random_cell(rung).double()
    (layer,) = read_layers(cell, rung)
    x = torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    start = torch.zeros(2, cell.state_size, dtype=torch.float64)
    with torch.inference_mode():
        assert not with_layers(cell, (silence(layer),))(x, start)[0].any()
        if not layer.has_feedback:
            return
        deaf = with_layers(cell, (cut_off(layer, layer.gates),))
        again = torch.cat([deaf(x[:, [t]], start)[0] for t in range(30)], dim=1)  # each step from a state of zero
        if rung in ("rnn", "no_carry"):  # nothing is carried over besides, so the past is gone
            torch.testing.assert_close(deaf(x, start)[0], again, rtol=0, atol=1e-12)
        torch.testing.assert_close(again[:, 0], cell(x[:, [0]], start)[0][:, 0], rtol=0, atol=1e-12)
        assert not read_layers(deaf, rung)[0].of_h.any()


# -- on paper -----------------------------------------------------------------------------------------------------------------


def gru_on_paper() -> Recurrent:
    """A GRU of two units that see nothing but that a value was observed (x = 1), with weights that give whole fractions."""
    network = network_on(panel_of([1.0, 2.0, 3.0]), hidden_size=2)
    cell, seen = network.network.member(0).cell.recurrence, 8  # of nine features without a season, the last
    assert network.scaler.feature_count == seen + 1
    of_x = [LN3, 0, -LN3, 0, LN3, 0]  # r, then z as it enters, then n; unit by unit
    of_h = [[-5 * LN3, 0], [0, -LN3 / 0.3], [10 * LN3, 0], [-LN3 / 0.2, 0], [0, -2 * LN6 / 0.3], [10 * LN2, 0]]
    sign = torch.tensor([1.0, 1, -1, -1, 1, 1])  # torch keeps the other share
    with torch.no_grad():
        for weight in cell.parameters():
            weight.zero_()
        cell.weight_ih_l0[:, seen] = torch.tensor(of_x) * sign
        cell.weight_hh_l0.copy_(torch.tensor(of_h) * sign[:, None])
        cell.bias_hh_l0[5] = 2 * LN2
    return network


ON_PAPER = (  # sigmoid(ln 3) = 3/4, sigmoid(0) = 1/2, tanh(ln 2) = 3/5, tanh(ln 3) = 4/5
    ({"r": 0.75, "z": 0.25, "n": 0.8, "h": 0.0, "h'": 0.2}, {"r": 0.5, "z": 0.5, "n": 0.6, "h": 0.0, "h'": 0.3}),
    ({"r": 0.5, "z": 0.75, "n": -0.6, "h": 0.2, "h'": -0.4}, {"r": 0.25, "z": 0.25, "n": 0.6, "h": 0.3, "h'": 0.375}),
)
SUMS_ON_PAPER = {"W_n x": LN3, "U_n h": -2 * LN6, "c_n": 0.0, "U_r h": -LN3, "W_z x": -LN3, "U_z h": 2 * LN3}


def test_a_gru_worked_out_on_paper_is_what_the_trace_says() -> None:
    """Weights are float32, so logarithms are rounded there: a millionth is granted."""
    panel = panel_of([1.0, 2.0, 3.0])
    found = trace(gru_on_paper(), panel, "series_0000", 100, units=[1, 2])
    for step, units in zip(found.steps, ON_PAPER, strict=True):
        for unit, expected in zip(step.units, units, strict=True):
            assert {name: unit.numbers[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    sums = found.steps[1].units[0].numbers
    assert {name: sums[name] for name in SUMS_ON_PAPER} == pytest.approx(SUMS_ON_PAPER, abs=1e-6)


def test_in_torchs_convention_the_same_gru_keeps_the_other_share() -> None:
    panel = panel_of([1.0, 2.0, 3.0])
    found = trace(gru_on_paper(), panel, "series_0000", 100, units=[1, 2], convention="torch")
    for step, units in zip(found.steps, ON_PAPER, strict=True):
        for unit, expected in zip(step.units, units, strict=True):
            turned = {**expected, "z": 1 - expected["z"]}
            assert {name: unit.numbers[name] for name in turned} == pytest.approx(turned, abs=1e-6)
    assert found.steps[1].units[0].numbers["W_hz h"] == pytest.approx(-2 * LN3, abs=1e-6)
    assert found.steps[0].units[1].numbers["b_hn"] == pytest.approx(2 * LN2, abs=1e-6)


def test_torchs_gru_is_what_the_trace_says_in_torchs_convention() -> None:
    network = network_on(PANEL, hidden_size=16)
    theirs = network.network.member(0).cell.recurrence
    found = trace(network, PANEL, "series_0001", 110, steps=5, units=range(1, 17), convention="torch")
    first = found.steps[0]
    h = torch.tensor([[[unit.numbers["h"] for unit in first.units]]], dtype=torch.float32)
    x = torch.tensor([[step.x for step in found.steps]], dtype=torch.float32)
    with torch.no_grad():
        outputs, _ = theirs(x, h)
        of_x = x[0, 0] @ theirs.weight_ih_l0.T
    for t, step in enumerate(found.steps):
        np.testing.assert_allclose([unit.numbers["h'"] for unit in step.units], outputs[0, t], atol=1e-6)
    for k, gate in enumerate("rzn"):
        np.testing.assert_allclose([unit.numbers[f"W_i{gate} x"] for unit in first.units], of_x[16 * k : 16 * k + 16], atol=1e-6)
        biases = theirs.bias_ih_l0[16 * k : 16 * k + 16].detach()
        np.testing.assert_allclose([unit.numbers[f"b_i{gate}"] for unit in first.units], biases, atol=1e-7)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("rung", RUNGS)
def test_both_conventions_give_the_same_states_and_those_are_the_networks(rung: str, layers: int) -> None:
    network = network_on(PANEL, rung, layers=layers, members=2)
    paper, torchs = (
        trace(network, PANEL, "series_0002", 120, steps=3, member=2, layer=layers, convention=convention)
        for convention in CONVENTIONS
    )
    for one, other in zip(paper.steps, torchs.steps, strict=True):
        assert one.difference < 1e-6
        for a, b in zip(one.units, other.units, strict=True):
            assert (a.unit, a.numbers["h"], a.numbers["h'"]) == (b.unit, b.numbers["h"], b.numbers["h'"])
            if "z" in a.numbers:
                assert a.numbers["z"] + b.numbers["z"] == pytest.approx(1, abs=1e-12)


# -- recomputed from what is printed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("rung", RUNGS)
def test_the_json_alone_is_enough_to_work_it_out_again(rung: str, convention: str) -> None:
    network = network_on(PANEL, rung, layers=2)
    told = json.loads(json.dumps(trace(network, PANEL, "series_0000", 130, layer=2, convention=convention).to_dict()))
    for step in told["steps"]:
        for unit in step["units"]:
            for formula in told["formulas"]:
                text = formula["pattern"].format(**{name: f"({number!r})" for name, number in unit["numbers"].items()})
                assert worked_out(text) == pytest.approx(unit["numbers"][formula["result"]], abs=1e-12), formula["text"]
    assert re.fullmatch(r"[\w\s()*'+\-]+", told["formulas"][-1]["text"])


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("rung", RUNGS)
def test_the_printed_digits_alone_are_enough_to_work_it_out_again(rung: str, convention: str) -> None:
    """Six decimals are printed. Half a unit of the last stands open in each number that goes in: two units in what comes out."""
    found = trace(network_on(PANEL, rung, seed=3), PANEL, "series_0000", 130, convention=convention)
    lines = [line for line in trace_lines(found) if line.startswith("    ") and line.count(" = ") == 3]
    assert len(lines) == sum(len(step.units) for step in found.steps) * len(found.formulas)
    for line in lines:
        _, _, numbers, result = line.split(" = ")
        assert abs(worked_out(numbers) - float(result)) <= 2e-6, line


def test_the_state_that_a_step_ends_with_is_the_one_that_the_next_begins_with() -> None:
    found = trace(network_on(PANEL), PANEL, "series_0000", 130, steps=4)
    for one, following in zip(found.steps, found.steps[1:], strict=False):
        for unit, same in zip(one.units, following.units, strict=True):
            assert unit.numbers["h'"] == pytest.approx(same.numbers["h"], abs=1e-6)


# -- what is told -------------------------------------------------------------------------------------------------------------


def sentences(found: Trace) -> dict[int, str]:
    return {unit.unit: unit.sentence for unit in found.steps[0].units}


def test_units_that_keep_replace_and_ignore_are_told() -> None:
    network = smoothing_gru(PANEL, (1e-3, 0.3, 0.999))
    with torch.no_grad():
        network.network.member(0).cell.recurrence.bias_ih_l0[1] = -4.0  # r of unit 2 is 0.018
    told = sentences(trace(network, PANEL, "series_0000", 130))
    assert told[1] == "z = 0.00, the state is kept"
    assert told[2] == "z = 0.30, 30 % of the candidate enters; r = 0.02, the candidate ignores the past"
    assert told[3] == "z = 1.00, the state is replaced"
    assert sentences(trace(network, PANEL, "series_0000", 130, convention="torch"))[1] == "z = 1.00, the state is kept"


def test_of_many_units_the_telling_ones_are_shown() -> None:
    alphas = np.full(40, 0.4)
    alphas[[7, 21]] = 0.001, 0.999
    network = smoothing_gru(PANEL, alphas.tolist())
    with torch.no_grad():
        network.network.member(0).cell.recurrence.bias_ih_l0[30] = -6.0
    shown = sentences(trace(network, PANEL, "series_0000", 130))
    assert len(shown) == 6
    assert {8, 22, 31} <= set(shown)
    assert list(sentences(trace(network, PANEL, "series_0000", 130, units=[40, 2]))) == [40, 2]


def test_a_trace_does_not_know_what_comes_later() -> None:
    network = network_on(PANEL)
    values = PANEL.values.copy()
    values[PANEL.offsets[1] + 32 :] = 99.0
    before, after = (trace(network, panel, "series_0001", 130) for panel in (PANEL, replace(PANEL, values=values)))
    assert before == after


def test_a_trace_ends_where_the_series_ends_and_a_gap_is_a_step() -> None:
    panel = panel_of([np.nan, 5.0, 6.0, np.nan, 7.0, 9.0, 4.0])
    network = network_on(panel)
    found = trace(network, panel, "series_0000", 103, steps=10)
    assert [step.y for step in found.steps] == [None, 7.0, 9.0, 4.0]
    assert max(step.difference for step in found.steps) < 1e-6
    first = trace(network, panel, "series_0000", 101).steps[0]
    assert {unit.numbers["h"] for unit in first.units} == {0.0}
    with pytest.raises(DataError, match=r"series 'series_0000' has no value before 1970-04-12 .* Choose a later --at"):
        trace(network, panel, "series_0000", 100)


def test_what_is_not_there_is_refused() -> None:
    network = network_on(PANEL, layers=2, members=2)
    with pytest.raises(DataError, match=r"series 'x' is not in the panel, which has 3 such as series_0000, .* Check --series"):
        trace(network, PANEL, "x", 130)
    with pytest.raises(DataError, match=r"1970-01-31 00:00:00 lies before it begins; it goes from 1970-04-11 .* among these"):
        trace(network, PANEL, "series_0000", 30)
    with pytest.raises(DataError, match=r"lies after its end"):
        trace(network, PANEL, "series_0000", 160)
    for what in ({"member": 3}, {"layer": 3}):
        with pytest.raises(ConfigError, match=r"(member|layer) 3 was asked for, and the network has (member|layer)s 1 to 2\."):
            trace(network, PANEL, "series_0000", 130, **what)
    with pytest.raises(ConfigError, match=r"unit 7 was asked for, and the network has units 1 to 6\. Choose --unit among them"):
        trace(network, PANEL, "series_0000", 130, units=[7])


def test_the_names_of_inputs_are_as_many_as_the_inputs() -> None:
    network = network_on(PANEL, layers=2)
    for layer, count in ((1, network.scaler.feature_count), (2, 6)):
        found = trace(network, PANEL, "series_0000", 130, layer=layer)
        assert len(found.inputs) == count
        assert {len(step.x) for step in found.steps} == {count}


def test_what_is_seen_beside_the_values_has_its_names() -> None:
    price, size = Scale("price", 0.0, centre=10.0, deviation=2.0, change=1.0), Scale("size", 0.0, centre=0, deviation=1, change=1)
    beside = Inputs(Calendar(Frequency("D"), ("week",), "DE"), (price,), (size,), (Texts("region", ("n", "s")),))
    network = replace(network_on(PANEL), inputs=beside)
    names = input_names(network)
    assert len(names) == network.scaler.feature_count + beside.step_count
    assert names[-5:] == ("holiday of the next", "price of the next", "size", "region is n", "region is s")
