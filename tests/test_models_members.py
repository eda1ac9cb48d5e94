"""Members: networks trained side by side, whose quantiles are averaged and whose states lie in one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from models_panels import weekly_panel

from forecaster.models.checkpoint import recurrent_from
from forecaster.models.ensemble import refit_network, train_network
from forecaster.models.network import ModelConfig, Network, torch_threads
from forecaster.models.plan import TrainingConfig
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import scaler_for
from forecaster.models.training import Progress
from forecaster.series import Origins

QUANTILES = (0.1, 0.5, 0.9)
HORIZON = 7
PANEL, SIGNED = weekly_panel(5), weekly_panel(5, signed=True)
MODEL = ModelConfig(hidden_size=4, head_size=4, members=2, dropout=0.2)
TRAINING = TrainingConfig(max_steps=24, window_length=24, batch_size=4, validation_steps=4, accelerator="cpu")

Told = list[tuple[int, int, str]]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine of one core, members take turns."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")


def train(folder: Path, progress: Progress | None = None) -> Recurrent:
    return train_network(
        PANEL, model=MODEL, training=TRAINING, horizon=HORIZON, quantiles=QUANTILES, seed=1, folder=folder, progress=progress
    )


@pytest.fixture(scope="module")
def in_turn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recurrent, Told, Path]:
    """Two members trained one after the other, what was told meanwhile, and their folder."""
    told: Told = []
    folder = tmp_path_factory.mktemp("in turn")
    with pytest.MonkeyPatch.context() as monkeypatch, torch_threads(1):
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
        return train(folder, lambda *report: told.append(report)), told, folder


def random_network(members: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        config = ModelConfig(hidden_size=5, head_size=4, members=members, layers=2)
        network = Network(config, scaler_for(SIGNED, HORIZON), horizon=HORIZON, quantiles=QUANTILES)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.4)
    return network


def forecaster_of(network: Network) -> Recurrent:
    config = ModelConfig(hidden_size=5, head_size=4, members=len(network.members), layers=2)
    scaler = scaler_for(SIGNED, HORIZON)
    return recurrent_from(network, scaler, config, frequency=SIGNED.frequency, horizon=HORIZON, quantiles=QUANTILES)


def test_members_say_the_average_of_their_quantiles_and_remember_side_by_side() -> None:
    pair, alone = random_network(2), []
    for number in range(2):
        one = random_network(1)
        one.member(0).load_state_dict(pair.member(number).state_dict())
        alone.append(forecaster_of(one))
    together, origins = forecaster_of(pair), Origins.back(SIGNED, (0, 9))
    found, first, second = (f.predict(SIGNED, HORIZON, quantiles=QUANTILES, origins=origins).values for f in (together, *alone))
    assert not np.allclose(first, second)
    np.testing.assert_allclose(found, (first + second) / 2, rtol=1e-5, atol=1e-5)  # float32
    size = together.scaler.size
    states = [forecaster.states_at(SIGNED, origins) for forecaster in (together, *alone)]
    assert np.array_equal(states[0], np.concatenate([states[1], states[2][:, size:]], axis=1))


def test_members_begin_and_learn_apart(in_turn: tuple[Recurrent, Told, Path]) -> None:
    network = in_turn[0].network
    weights = [dict(network.member(number).named_parameters()) for number in range(2)]
    assert all(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_members_that_take_turns_tell_how_far_all_are(in_turn: tuple[Recurrent, Told, Path]) -> None:
    told = in_turn[1]
    assert [word.split(", ")[:2] for _, _, word in told] == [[f"member {k}", f"step {at}"] for k in (1, 2) for at in (0, 10)]
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {planned for _, planned, _ in told} == {2000}


def test_training_side_by_side_gives_the_weights_of_taking_turns(in_turn: tuple[Recurrent, Told, Path], tmp_path: Path) -> None:
    if joblib.cpu_count() < 2:
        pytest.skip("members train side by side on two processor cores; this machine has one")
    told: Told = []
    assert train(tmp_path, lambda *report: told.append(report)).fingerprint == in_turn[0].fingerprint
    done = [report[0] for report in told]
    assert done == sorted(done)
    assert told[-1] in ((800, 1000, "2 members, done"), (1000, 1000, "2 members, done"))  # the latter after a training anew


def test_a_member_that_was_done_is_not_trained_again(in_turn: tuple[Recurrent, Told, Path], tmp_path: Path) -> None:
    whole, _, folder = in_turn
    shutil.copytree(folder, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "member-1")
    first = tmp_path / "cut" / "member-0" / "weights.safetensors"
    written, told = first.stat().st_mtime_ns, []
    ended = train(tmp_path / "cut", lambda *report: told.append(report))
    assert ended.fingerprint == whole.fingerprint
    assert {word.split(",")[0] for _, _, word in told} == {"member 2"}
    assert first.stat().st_mtime_ns == written


@pytest.mark.usefixtures("_one_core")
def test_a_cut_in_the_second_turn_changes_nothing(in_turn: tuple[Recurrent, Told, Path], tmp_path: Path) -> None:
    def cut(done: int, planned: int, word: str) -> None:
        if word.startswith("member 2, step 10"):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(tmp_path, cut)
    assert train(tmp_path).fingerprint == in_turn[0].fingerprint


@pytest.mark.usefixtures("_one_core")
def test_a_refit_moves_every_member(in_turn: tuple[Recurrent, Told, Path], tmp_path: Path) -> None:
    judged = in_turn[0]
    refitted = refit_network(judged, PANEL, training=TRAINING, seed=1, folder=tmp_path)
    assert refitted.scaler == judged.scaler
    for number in range(2):
        before, after = (dict(f.network.member(number).named_parameters()) for f in (judged, refitted))
        assert any(not torch.equal(before[name], after[name]) for name in before)
