"""The gates that a page shows: those of the network itself, step by step, from the past alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CONFIG, TINY_SETTINGS, Forecast

from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.inside import gates_over_time, inside_of
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.recurrent import Recurrent
from forecaster.series import Panel


@pytest.fixture
def network(trained_home: Path) -> Recurrent:
    return load_recurrent(Run.open("tiny", Home(trained_home)).deployed_weights)


@pytest.fixture
def panel(trained_home: Path) -> Panel:
    return PanelStore(Home(trained_home).panels).load("macro")


def test_the_last_gates_are_what_torch_makes_of_the_state_before(network: Recurrent, panel: Panel) -> None:
    """z and r by the formula of torch.nn.GRU, whose z is the share that stays."""
    one = panel.select([1])
    before = torch.from_numpy(network.warm(one.drop_last(1))[:, network.memory])
    walk = network.walk(one)
    x = torch.from_numpy(np.concatenate([walk.features, network.inputs.steps(one)], axis=1)[-1:])
    gru = network.network.member(0).cell.recurrence  # type: ignore[attr-defined]
    sums = x @ gru.weight_ih_l0.T + gru.bias_ih_l0 + before @ gru.weight_hh_l0.T + gru.bias_hh_l0
    r, stays, _ = (part.detach().numpy()[0] for part in torch.sigmoid(sums).chunk(3, dim=1))
    found = gates_over_time(network, panel, 1, steps=30)
    order = np.argsort(found.tables["z"].mean(axis=1))
    np.testing.assert_array_equal(order, np.arange(len(order)))  # the slowest first
    np.testing.assert_allclose(np.sort(found.tables["z"][:, -1]), np.sort(1 - stays), atol=1e-5)  # float32 against float64
    np.testing.assert_allclose(np.sort(found.tables["r"][:, -1]), np.sort(r), atol=1e-5)


def test_gates_of_a_few_steps_are_the_last_of_all(network: Recurrent, panel: Panel) -> None:
    few, whole = (gates_over_time(network, panel, 0, steps=steps) for steps in (25, 10_000))
    assert few.unique_id == whole.unique_id == panel.ids[0]
    np.testing.assert_array_equal(few.positions, whole.positions[-25:])
    np.testing.assert_array_equal(whole.values, panel.series(0))
    means = few.tables["z"].mean(axis=0), whole.tables["z"][:, -25:].mean(axis=0)  # units may be in another order
    np.testing.assert_allclose(*means, atol=1e-5)


def test_gates_know_nothing_of_what_comes(network: Recurrent, panel: Panel) -> None:
    values = panel.values.copy()
    values[panel.offsets[1] - 10 : panel.offsets[1]] *= 100
    other = replace(panel, values=values)
    seen, changed = (gates_over_time(network, part, 0, steps=10_000).tables["z"] for part in (panel, other))
    np.testing.assert_array_equal(np.sort(seen[:, :-10], axis=0), np.sort(changed[:, :-10], axis=0))
    assert not np.allclose(np.sort(seen[:, -10:], axis=0), np.sort(changed[:, -10:], axis=0))


def test_half_lives_are_those_of_the_units_and_say_over_what(network: Recurrent, panel: Panel) -> None:
    found = inside_of(network, panel, unique_id=panel.ids[2])
    assert found is not None
    assert len(found.half_lives) == len(found.alphas) == network.config.hidden_size
    np.testing.assert_allclose((1 - found.alphas) ** found.half_lives, 0.5)
    assert (found.series, found.gates[0].unique_id) == (len(panel), panel.ids[2])


def test_a_network_without_gates_has_none_to_show(forecast: Forecast, home: Path) -> None:
    assert (
        forecast("train", CONFIG, "--panel", "macro", "--name", "plain", *TINY_SETTINGS, "--set", "model.cell=rnn").exit_code == 0
    )
    done = forecast("report", "plain")
    assert done.exit_code == 0, (done.output, done.exception)
    assert "rnn has no gates to look at." in (home / "runs" / "plain" / "report.html").read_text(encoding="utf-8")
