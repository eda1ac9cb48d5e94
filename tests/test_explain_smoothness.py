"""What a network loses without its parts: nothing where it is smoothing, much where it copies, and nothing is peeped at."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from cells_loops import RUNGS
from explain_networks import COPIED, copying_gru, copying_panel, network_on, smoothing_gru
from models_panels import weekly_panel

from forecaster.evaluation.backtest import check_no_look_ahead, rolling_origins
from forecaster.explain.gates import count_gates
from forecaster.explain.smoothness import (
    NO_MEMORY,
    SMOOTHER,
    Smoothness,
    Without,
    removals_of,
    smoothness,
    smoothness_verdict,
    without,
    without_each,
)
from forecaster.explain.timescales import timescales
from forecaster.explain.words import smoothness_lines
from forecaster.models.recurrent import Recurrent
from forecaster.series import Origins, Panel

PANEL = weekly_panel(12, length=70)
ORIGINS = rolling_origins(PANEL, 9, horizon=3, stride=3)


def of(network: Recurrent, panel: Panel = PANEL, origins: Origins = ORIGINS) -> Smoothness:
    return smoothness(network, panel, origins, season_length=1)


# -- smoothing, and what is not -----------------------------------------------------------------------------------------------


def test_a_bank_of_smoothers_loses_nothing() -> None:
    found = of(smoothing_gru(PANEL, (0.05, 0.2, 0.5, 0.9)))
    assert found.is_smoothing
    assert smoothness_verdict(found) == (
        "Nothing is lost by any of it: on this data the network is a bank of exponential smoothers."
    )
    silent = found.removal(NO_MEMORY)
    assert silent is not None
    assert abs(silent.loss.value) > 0.01, "the head listens to the cell, so that it matters"


def test_a_network_that_copies_is_not_taken_for_smoothing() -> None:
    panel = copying_panel()
    origins = rolling_origins(panel, 40, horizon=1, stride=1)
    found = of(copying_gru(panel), panel, origins)
    assert found.mean_loss < 0.25, "it knows what comes"
    assert not found.is_smoothing
    assert found.removal("z_mean").loss.value < 0.01, "its gates stand still, but that is not what smoothing is"
    for name in ("no_u", "no_u_candidate", SMOOTHER):
        loss = found.removal(name).loss
        assert loss.low > 1, f"{name}: without U it knows nothing of {COPIED} steps ago"
    said = smoothness_verdict(found)
    assert said.startswith("As a bank of smoothers, and not trained again, this network loses accuracy: errors change by +")
    assert timescales(copying_gru(panel), panel).half_lives.max() < 0.1


def test_a_cell_that_nobody_listens_to_tells_nothing() -> None:
    network = smoothing_gru(PANEL, (0.1, 0.5))
    with torch.no_grad():
        network.network.member(0).head.direct.weight.zero_()
    found = of(network)
    assert found.is_idle
    assert not found.is_smoothing
    assert smoothness_verdict(found).endswith("not even by taking the cell away: these forecasts do not listen to it.")


@pytest.mark.parametrize("rung", ["rnn", "no_carry"])
def test_what_carries_nothing_over_is_never_smoothing(rung: str) -> None:
    network = network_on(PANEL, rung)
    with torch.no_grad():
        network.network.member(0).cell.layers[0].of_h.zero_()
    found = of(network)
    assert found.removal("no_u").costs_nothing
    assert not found.is_smoothing
    assert smoothness_verdict(found).startswith(f"{rung} carries nothing over by itself")


@pytest.mark.parametrize("rung", RUNGS)
def test_every_rung_loses_the_parts_that_it_has(rung: str) -> None:
    found = of(network_on(PANEL, rung, layers=2, members=2))
    assert [one.name for one in found.removals] == list(removals_of(rung))
    assert (len(found.ids), found.origins, found.horizon) == (12, 3, 3)
    assert all(len(one.by_series) == 12 and len(one.by_lead) == 3 for one in found.removals)
    assert smoothness_verdict(found)
    assert json.loads(json.dumps(found.to_dict()))["rung"] == rung
    assert smoothness_lines(found)[-1] == smoothness_verdict(found)


def test_only_what_a_rung_has_is_taken_from_it() -> None:
    assert list(removals_of("gru")) == [
        *("r_mean", "z_mean", "gates_mean", "r_open", "no_u_gates", "no_u_candidate", "no_u"),
        *(SMOOTHER, NO_MEMORY),
    ]
    assert list(removals_of("smoothing")) == [NO_MEMORY]
    assert "r_open" not in removals_of("gru_no_reset")


# -- the numbers --------------------------------------------------------------------------------------------------------------


def test_losses_are_those_of_the_forecasts() -> None:
    """Mean absolute scaled errors of the medians, worked out series by series."""
    network = network_on(PANEL)
    found = of(network)
    opened = without(network, removals_of("gru")["r_open"][1], count_gates(network, PANEL.drop_last(9)))
    errors = {}
    for name, one in (("intact", network), ("r_open", opened)):
        medians = one.predict(PANEL, 3, quantiles=(0.5,), origins=ORIGINS).median
        truth = np.array([PANEL.series(b)[n : n + 3] for b, n in zip(ORIGINS.index, ORIGINS.known, strict=True)])
        scale = np.array([np.abs(np.diff(PANEL.series(b)[:61])).mean() for b in ORIGINS.index])
        errors[name] = (np.abs(medians - truth) / scale[:, None]).reshape(12, 3, 3).mean(axis=1)
    loss = errors["r_open"].mean() / errors["intact"].mean() - 1
    assert found.mean_loss == pytest.approx(errors["intact"].mean(), rel=1e-9)
    assert found.removal("r_open").loss.value == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(
        found.removal("r_open").by_lead, errors["r_open"].mean(0) / errors["intact"].mean(0) - 1, rtol=1e-6
    )
    series = errors["r_open"].mean(1) / errors["intact"].mean(1) - 1
    np.testing.assert_allclose(found.removal("r_open").by_series, series, rtol=1e-6, atol=1e-12)


def test_few_series_are_judged_by_origins_that_share_no_value() -> None:
    panel = weekly_panel(3, length=90)
    origins = rolling_origins(panel, 36, horizon=3, stride=1)
    loss = of(network_on(panel), panel, origins).removal("no_u").loss
    assert (loss.of, loss.count, loss.is_tested) == ("origins", 12, True)
    few = rolling_origins(panel, 6, horizon=3, stride=3)
    said = smoothness_verdict(of(network_on(panel), panel, few))
    assert "(2 origins are too few to tell that from luck)" in said
    assert "%" in said


def test_gates_are_held_at_means_of_what_was_known() -> None:
    network, edit = network_on(PANEL), removals_of("gru")["z_mean"][1]
    counts = count_gates(network, PANEL.drop_last(9))
    held = without(network, edit, counts)
    again = count_gates(held, PANEL)[0][0]
    mean = counts[0][0].mean("z")
    torch.testing.assert_close(again.mean("z"), mean, rtol=0, atol=1e-6)
    assert float((again.squares.sum(0) / again.steps.sum() - mean**2).abs().max()) < 1e-6
    assert network.network.member(0).cell is not held.network.member(0).cell


def test_what_comes_after_the_first_origin_is_in_no_mean() -> None:
    network, values = network_on(PANEL), PANEL.values.copy()
    values[np.tile(np.arange(70) >= 61, 12)] += 50
    one, other = (without_each(network, panel, ORIGINS) for panel in (PANEL, replace(PANEL, values=values)))
    for name in removals_of("gru"):
        weights, others = (found[name].network.state_dict() for found in (one, other))
        assert all(torch.equal(weight, others[key]) for key, weight in weights.items()), name


def test_a_network_without_a_part_does_not_look_ahead() -> None:
    for name, one in without_each(network_on(PANEL), PANEL, ORIGINS).items():
        check_no_look_ahead(Without(name, one), PANEL, horizon=3, quantiles=(0.5,), origins=ORIGINS)
