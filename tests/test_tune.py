"""A search of settings: within its time, resumable, and blind to what is held back."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CONFIG
from conftest import Forecast as Typed

from forecaster.config import Config, changed, read_config
from forecaster.errors import ConfigError, StateError
from forecaster.evaluation.backtest import holdout_steps
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.trials import ask, search_space
from forecaster.jobs.tune import Tuned, tune

optuna = pytest.importorskip("optuna", reason="Optuna is not installed: pip install 'forecaster[tune]'")

SETTINGS = (
    *("model.hidden_size=4", "model.head_size=8", "model.members=2", "training.max_steps=24", "training.batch_size=2"),
    *("training.window_length=16", "training.validation_steps=3", "training.accelerator=cpu", "horizon=4"),
)


@pytest.fixture
def config() -> Config:
    return read_config(CONFIG, SETTINGS)


def search(home: Path, config: Config, **words: Any) -> tuple[Tuned, list[str]]:
    said: list[str] = []
    given = {"max_minutes": 5.0, "trial_minutes": 1.0, "trials": 2} | words
    return tune(config, "macro", home=Home(home), say=said.append, progress=lambda *_: None, **given), said


def scores(tuned: Tuned) -> list[tuple[Any, ...]]:
    """Every trial: its settings, what it told while training, and its score."""
    study = optuna.load_study(study_name="tune", storage=f"sqlite:///{tuned.study}/study.sqlite")
    return [(tuple(trial.params.items()), tuple(trial.intermediate_values.items()), trial.value) for trial in study.trials]


def test_no_trial_sees_the_part_that_is_held_back(forecast: Typed, home: Path, config: Config) -> None:
    panel = PanelStore(home / "data" / "panels").load("macro")
    held = holdout_steps(config.evaluation, panel, 4)
    assert held > 0
    before, _ = search(home, config)
    frame = panel.to_frame()
    is_held = frame.groupby("unique_id").cumcount(ascending=False) < held
    frame.loc[is_held, "y"] = 1e6 * (1 + np.arange(is_held.sum()))
    frame.to_csv(home / "other.csv", index=False)
    assert forecast("ingest", "other.csv", "--name", "macro").exit_code == 0
    assert PanelStore(home / "data" / "panels").load("macro").fingerprint != panel.fingerprint
    after, said = search(home, config, fresh=True)  # a kept study would have told the same for another reason
    assert not any("going on" in line for line in said)
    assert all(told and value for _, told, value in scores(before))
    assert scores(after) == scores(before)


def test_a_search_goes_on_where_it_was_cut_off(home: Path, config: Config) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, total: int, word: str) -> None:
        if word.startswith("trial 2"):
            raise Killed

    with pytest.raises(Killed):
        tune(
            config,
            "macro",
            home=Home(home),
            max_minutes=5,
            trial_minutes=1,
            trials=2,
            say=lambda _: None,
            progress=kill,
        )
    tuned, said = search(home, config)
    assert "going on after 1 trials (--fresh starts over)" in said
    assert tuned.trials == 2
    states = [
        trial.state.name for trial in optuna.load_study(study_name="tune", storage=f"sqlite:///{tuned.study}/study.sqlite").trials
    ]
    assert states == ["COMPLETE", "FAIL", "COMPLETE"]
    trials = scores(tuned)
    assert trials[1][0] == trials[2][0]  # the one that was cut off is asked again
    again, _ = search(home, config)
    assert len(scores(again)) == 3  # nothing is left to do


def test_the_first_trial_is_the_configuration_itself_and_the_best_is_a_configuration(home: Path, config: Config) -> None:
    tuned, _ = search(home, config)
    settings = dict(scores(tuned)[0][0])
    assert settings["model.hidden_size"] == 4
    assert settings["training.learning_rate"] == config.training.learning_rate
    assert settings["training.window_length"] == 16
    assert tuned.best <= tuned.default
    values = [value for _, _, value in scores(tuned) if value is not None]
    assert tuned.best == min(values)
    assert tuned.config == changed(config, [f"{key}={value}" for key, value in tuned.settings.items()])
    assert tuned.config.model.members == 2


def test_the_configuration_lies_in_the_space(home: Path, config: Config) -> None:
    odd = changed(config, ["model.dropout=0.37", "training.learning_rate=0.5", "training.weight_decay=0"])
    question = ask(odd, PanelStore(home / "data" / "panels").load("macro"), "macro")
    space, default = search_space(optuna, question)
    assert set(space) == set(default)
    for key, distribution in space.items():
        assert distribution._contains(distribution.to_internal_repr(default[key])), key


def test_a_trial_is_begun_only_where_its_whole_time_is_left(home: Path, config: Config) -> None:
    tuned, _ = search(home, config, max_minutes=1.0, trial_minutes=1.0, trials=None)
    assert tuned.trials == 1  # the configuration itself
    assert tuned.settings == {}
    assert tuned.seconds < 60


def test_trials_of_one_study_have_the_same_time(home: Path, config: Config) -> None:
    search(home, config, trials=1)
    with pytest.raises(ConfigError, match=r"--trial-minutes 2: this search began with 1. Keep that, or start over with --fresh"):
        search(home, config, trial_minutes=2.0)


def test_a_panel_that_is_too_short_is_refused(home: Path, config: Config) -> None:
    with pytest.raises(ConfigError, match="panel 'macro' is too short: horizon 80 and the 0 values held back leave no room"):
        search(home, changed(config, ["horizon=80", "evaluation.origins=0"]))


def test_a_damaged_study_is_told(home: Path, config: Config) -> None:
    tuned, _ = search(home, config, trials=1)
    (Path(tuned.study) / "study.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StateError, match=r"study.sqlite is damaged .* Start over with --fresh"):
        search(home, config)


def test_the_command_writes_the_best_configuration(forecast: Typed, home: Path) -> None:
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    done = forecast("tune", CONFIG, "--panel", "macro", "--max-minutes", "5", "--trials", "2", *words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    told = json.loads(done.stdout)
    assert told["trials"] == 2
    assert told["out"] == "tuned-macro.yaml"
    text = (home / "tuned-macro.yaml").read_text()
    assert text.startswith("# macro: 2 trials in ")
    best = read_config(home / "tuned-macro.yaml")
    assert best.model.members == 2
    assert best.model.hidden_size == told["settings"].get("model.hidden_size", 4)
    if told["settings"]:
        assert "looks better here than it is" in text


def test_a_missing_library_names_its_install_command(home: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(
        ConfigError, match=r"tune needs Optuna, which is not installed. Install it: pip install 'forecaster\[tune\]'"
    ):
        search(home, config)
