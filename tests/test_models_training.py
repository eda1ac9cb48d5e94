"""Training: repeatable, interruptible, and better than doing nothing."""

import shutil
import time
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import torch
from models_panels import panel_of, weekly_panel

from forecaster.errors import DataError
from forecaster.models.ensemble import refit_network, train_network, width_of
from forecaster.models.lessons import lessons_for, tail_windows
from forecaster.models.network import ModelConfig
from forecaster.models.plan import TrainingConfig, held_back_tail, leads_to_learn
from forecaster.models.recurrent import Recurrent
from forecaster.models.training import Progress
from forecaster.models.windows import Batch, TrainingWindows
from forecaster.series import Origins, Panel

QUANTILES = (0.1, 0.5, 0.9)
HORIZON = 7
SMALL = TrainingConfig(max_steps=24, window_length=24, batch_size=4, validation_steps=4, patience_share=1, refit_share=0)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train(
    panel: Panel,
    folder: Path,
    training: TrainingConfig = SMALL,
    *,
    seed: int = 1,
    progress: Progress | None = None,
    **model: float,
) -> Recurrent:
    config = ModelConfig(**{"hidden_size": 4, "head_size": 4, "members": 1, **model})
    return train_network(
        panel, model=config, training=training, horizon=HORIZON, quantiles=QUANTILES, seed=seed, folder=folder, progress=progress
    )


class PowerCut(Exception):
    """Ends a training in the middle."""


def cut_at(step: int) -> Progress:
    def progress(done: int, planned: int, word: str) -> None:
        if word.startswith(f"step {step},"):
            raise PowerCut

    return progress


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_same_seed_gives_the_same_weights(tmp_path: Path, dropout: float) -> None:
    panel = weekly_panel(6)
    torch.manual_seed(11)
    first = train(panel, tmp_path / "first", dropout=dropout)
    torch.manual_seed(22)
    assert train(panel, tmp_path / "second", dropout=dropout).fingerprint == first.fingerprint
    assert train(panel, tmp_path / "third", seed=2, dropout=dropout).fingerprint != first.fingerprint


@pytest.mark.parametrize("steps", [(0,), (10, 20)], ids=str)
@pytest.mark.parametrize("held_back", [True, False], ids=["held back", "nothing held back"])
def test_an_interrupted_training_ends_with_the_weights_of_a_whole_one(
    tmp_path: Path, steps: tuple[int, ...], held_back: bool
) -> None:
    panel = weekly_panel(6, 60 if held_back else 5)
    for step in steps:
        with pytest.raises(PowerCut):
            train(panel, tmp_path / "cut", progress=cut_at(step))
    ended = train(panel, tmp_path / "cut")
    assert ended.fingerprint == whole_fingerprint(len(panel.values))


@cache
def whole_fingerprint(values: int) -> str:
    """That of the network trained at one go on a panel of six series with so many values."""
    with TemporaryDirectory() as folder:
        return train(weekly_panel(6, values // 6), Path(folder)).fingerprint


def test_an_interrupted_training_keeps_its_dropout(tmp_path: Path) -> None:
    panel = weekly_panel(6)
    whole = train(panel, tmp_path / "whole", dropout=0.3)
    with pytest.raises(PowerCut):
        train(panel, tmp_path / "cut", dropout=0.3, progress=cut_at(10))
    assert train(panel, tmp_path / "cut", dropout=0.3).fingerprint == whole.fingerprint


@pytest.mark.parametrize("step", [0, 10])
def test_an_interruption_does_not_change_when_patience_ends(tmp_path: Path, step: int) -> None:
    panel = weekly_panel(6)
    training = SMALL.model_copy(update={"max_steps": 80, "patience": 2, "learning_rate": 3.0})
    whole = train(panel, tmp_path / "whole", training)
    with pytest.raises(PowerCut):
        train(panel, tmp_path / "cut", training, progress=cut_at(step))
    if step:  # what a restart goes on from is the last interval, also where an earlier one was better
        assert torch.load(tmp_path / "cut" / "member-0" / "last.ckpt", weights_only=True)["global_step"] == 8
    ended = train(panel, tmp_path / "cut", training)
    assert ended.fingerprint == whole.fingerprint
    steps = [
        torch.load(tmp_path / name / "member-0" / "last.ckpt", weights_only=True)["global_step"] for name in ("whole", "cut")
    ]
    assert steps[0] == steps[1] < 80


def test_a_training_that_has_ended_is_not_trained_again(tmp_path: Path) -> None:
    panel, steps = weekly_panel(6), []
    whole = train(panel, tmp_path)
    again = train(panel, tmp_path, progress=lambda done, planned, word: steps.append(word))
    assert again.fingerprint == whole.fingerprint
    assert not steps


def test_what_a_restart_reads_needs_no_unpickling(tmp_path: Path) -> None:
    train(weekly_panel(6), tmp_path)
    for name in ("last.ckpt", "best.ckpt"):
        kept = torch.load(tmp_path / "member-0" / name, weights_only=True)
        assert kept["global_step"] > 0


def test_training_beats_the_seasonal_naive_on_values_it_never_saw(tmp_path: Path) -> None:
    panel = weekly_panel(24, 140)
    known = panel.drop_last(HORIZON)
    training = TrainingConfig(
        max_steps=250, window_length=56, batch_size=16, validation_steps=50, learning_rate=1e-2, refit_share=0
    )
    forecaster = train(known, tmp_path, training, hidden_size=16, head_size=16)
    forecast = forecaster.predict(known, HORIZON, quantiles=QUANTILES, origins=Origins.back(known))
    truth = np.stack([panel.series(b)[-HORIZON:] for b in range(24)])
    naive = np.stack([known.series(b)[-7:] for b in range(24)])
    # the naive repeats the noise of a week ago: a forecast that averages it out would have 0.71 of its error
    assert np.abs(forecast.median - truth).mean() < 0.95 * np.abs(naive - truth).mean()
    inside = (forecast.values[:, :, 0] < truth) & (truth < forecast.values[:, :, 2])
    assert 0.6 < inside.mean() < 0.97


def test_training_ends_when_its_minutes_are_over(tmp_path: Path) -> None:
    training = SMALL.model_copy(update={"max_steps": 10_000_000, "max_minutes": 1 / 60, "patience": 1_000_000})
    shares: list[int] = []
    began = time.monotonic()
    train(weekly_panel(6), tmp_path, training, progress=lambda done, planned, word: shares.append(done))
    assert (
        0.5 <= time.monotonic() - began < 8
    )  # one second, or half of one in vain, and what it takes to begin and to end on a busy machine
    assert shares == sorted(shares)
    assert shares[-1] > 500


def test_progress_is_told_in_thousandths(tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    train(weekly_panel(6), tmp_path, progress=lambda *report: told.append(report))
    assert [(done, planned) for done, planned, _ in told[:3]] == [(0, 1000), (332, 1000), (666, 1000)]
    assert all(800 <= done <= 1000 for done, _, _ in told[3:])  # of a training anew
    assert told[0][2] == "step 0, first steps"
    assert told[1][2].startswith("step 10, held-back loss ")


def noise_panel() -> Panel:
    """Four series of noise, which are learned by heart at once."""
    random = np.random.default_rng(0)
    return panel_of(*(np.exp(random.normal(0, 1, 40)) for _ in range(4)))


HASTY = SMALL.model_copy(update={"max_steps": 400, "validation_steps": 10, "learning_rate": 3e-2, "patience_share": 0.5})


def test_what_was_best_early_is_trained_anew_on_the_tail_too(tmp_path: Path) -> None:
    train(noise_panel(), tmp_path, HASTY)
    log = pd.read_csv(tmp_path / "member-0" / "log" / "metrics.csv").dropna(subset=["validation"])
    assert log["step"].max() < 350  # half of the budget in vain was enough
    again = pd.read_csv(tmp_path / "again" / "member-0" / "log" / "metrics.csv")
    assert again["step"].max() == log["step"][log["validation"].idxmin()]
    assert "validation" not in again


def test_a_refit_trains_anew_what_was_best_early(tmp_path: Path) -> None:
    panel, training = noise_panel(), HASTY.model_copy(update={"refit_share": 0.2})
    judged = train(panel.drop_last(HORIZON), tmp_path / "first", training)
    refitted = refit_network(judged, panel, training=training, seed=1, folder=tmp_path / "refit", trained=tmp_path / "first")
    assert not (tmp_path / "refit" / "begin-0.safetensors").exists()
    stretches = [float(one.network.member(0).head.stretch) for one in (judged, refitted)]
    assert stretches[0] == stretches[1]
    assert refitted.fingerprint != judged.fingerprint


def test_a_refit_takes_what_was_trained_anew_on_the_same_panel(tmp_path: Path) -> None:
    panel, training = noise_panel(), HASTY.model_copy(update={"refit_share": 0.2})
    judged = train(panel, tmp_path / "first", training)
    taken = refit_network(judged, panel, training=training, seed=1, folder=tmp_path / "taken", trained=tmp_path / "first")
    assert not (tmp_path / "taken" / "member-0").exists()
    shutil.rmtree(tmp_path / "first" / "again")
    anew = refit_network(judged, panel, training=training, seed=1, folder=tmp_path / "anew", trained=tmp_path / "first")
    assert taken.fingerprint == anew.fingerprint


def test_leads_that_only_the_very_young_show_are_those_before_them(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    panel = panel_of(*(np.exp(np.cumsum(random.normal(0, 0.3, 7))) for _ in range(8)))
    head = train(panel, tmp_path).network.member(0).head
    known = leads_to_learn(panel.drop_last(held_back_tail(panel, HORIZON)), HORIZON)
    assert 1 < known < HORIZON
    assert (head.direct.weight[known:] == head.direct.weight[known - 1]).all()
    widths = np.diff(head(torch.zeros(head.direct.in_features)).detach().numpy(), axis=1)
    assert (np.diff(widths[known - 1 :], axis=0) > 0).all()


def test_what_goes_on_learning_stays_as_unsure_as_it_was(tmp_path: Path) -> None:
    panel, training = noise_panel(), HASTY.model_copy(update={"refit_share": 0.5})
    judged = train(panel.drop_last(HORIZON), tmp_path / "first", training)
    refitted = refit_network(judged, panel, training=training, seed=1, folder=tmp_path / "refit")
    lessons = lessons_for(
        panel,
        judged.scaler,
        judged.inputs,
        judged.config,
        training,
        horizon=HORIZON,
        quantiles=QUANTILES,
        seed=1,
        folder=tmp_path,
    )
    windows = tail_windows(lessons[0], held_back_tail(panel, HORIZON))
    assert width_of(refitted.network, windows) == pytest.approx(width_of(judged.network, windows), rel=1e-3)
    assert float(refitted.network.member(0).head.stretch) != float(judged.network.member(0).head.stretch)


def test_a_refit_moves_the_weights_and_leaves_the_scaler(tmp_path: Path) -> None:
    panel = weekly_panel(6)
    training = SMALL.model_copy(update={"refit_share": 0.3})
    judged = train(panel.drop_last(HORIZON), tmp_path / "first", training)
    before = {name: weight.clone() for name, weight in judged.network.state_dict().items()}
    refitted = refit_network(judged, panel, training=training, seed=1, folder=tmp_path / "refit")
    assert refitted.scaler == judged.scaler
    assert refitted.fingerprint != judged.fingerprint
    assert all(torch.equal(weight, before[name]) for name, weight in judged.network.state_dict().items())
    again = refit_network(judged, panel, training=training, seed=1, folder=tmp_path / "again")
    assert again.fingerprint == refitted.fingerprint


def test_every_epoch_has_batches_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs: list[int] = []

    class Noted(TrainingWindows):
        def __getitem__(self, number: int) -> Batch:
            epochs.append(self.epoch)
            return super().__getitem__(number)

    monkeypatch.setattr("forecaster.models.training.TrainingWindows", Noted)
    with pytest.raises(PowerCut):
        train(weekly_panel(6), tmp_path, progress=cut_at(10))
    train(weekly_panel(6), tmp_path)
    whole_epochs = [epoch for epoch in range(6) if epochs.count(epoch) >= 4]
    assert whole_epochs == [0, 1, 2, 3, 4, 5]


def test_training_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        train(weekly_panel(6), tmp_path)
        train(weekly_panel(6), tmp_path)
    assert [str(warning.message) for warning in said] == []
    assert capfd.readouterr() == ("", "")


def test_training_leaves_the_callers_random_numbers_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(weekly_panel(6), tmp_path)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("panel", [panel_of([1.0], [2.0]), panel_of([float("nan")] * 9)], ids=["one value each", "all missing"])
def test_a_panel_without_a_change_to_learn_from_is_refused(panel: Panel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^the panel has \d series, none with two values; a network learns from"):
        train(panel, tmp_path)
