"""One YAML file, and what is said of each thing that can be wrong with it."""

from pathlib import Path

import pytest

from forecaster.config import Config, read_config
from forecaster.errors import ConfigError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_configuration_that_is_shipped_can_be_read_and_written(path: Path, tmp_path: Path) -> None:
    config = read_config(path)
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    assert read_config(tmp_path / "again.yaml") == config


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"modle: {}", r"modle is not a setting; did you mean model\?"),
        (b"model: {hiden_size: 3}", r"model.hiden_size is not a setting; did you mean hidden_size\?"),
        (b"training: {zzz: 3}", r"training.zzz is not a setting; known here: max_steps, "),
        (b"model: {cell: gruu}", "model.cell is 'gruu'; choose smoothing"),
        (
            b"model: {cell: lstm, decay: true}",
            r"model.decay is True; the cell lstm has no decay. Set model.cell=gru, or model.decay=",
        ),
        (b"model: {hidden_size: many}", "model.hidden_size is 'many'; input should be a valid integer"),
        (b"model: 3", "model is 3; "),
        (b"horizon: 0", "horizon is 0; input should be greater than or equal to 1"),
        (b"quantiles: [0.1, 0.9]", "quantiles is .*expected numbers between 0 and 1 with 0.5 among them"),
        (b"quantiles: [0.5, 1.5]", "expected numbers between 0 and 1"),
        (b"baselines: {names: [etz]}", "baselines.names.0 is 'etz'; choose naive"),
        (b"- 1\n- 2", "holds a list; expected keys"),
        (b"just words", "holds a str; expected keys"),
        (b"a: [1", "Expected a YAML file"),
        (b"a: !!python/object:os.system {}", "Expected a YAML file"),
        (b"\x00\x01\x02", "Expected a YAML file"),
        (b"\xff\xfe\x93", "cannot be read as text"),
        (b"1: 2", "1 is "),
    ],
)
def test_a_wrong_configuration_is_told_with_its_file_and_key(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as error:
        read_config(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "# nothing", "training:\n"])
def test_what_is_not_set_is_the_default(content: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(content)
    assert read_config(tmp_path / "c.yaml") == Config()


def test_a_setting_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("training:\nhorizon: 3\n")
    config = read_config(tmp_path / "c.yaml", ["training.max_steps=7", "horizon=5", "baselines.names=[ses]"])
    assert (config.training.max_steps, config.horizon, config.baselines.names) == (7, 5, ("ses",))


@pytest.mark.parametrize(
    "setting", ["training", "=3", "", "horizon.x=3", "training.max_steps=[", "training.max_stps=3", "horizon=-1"]
)
def test_a_wrong_setting_is_told(setting: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("horizon: 3")
    with pytest.raises(ConfigError, match="--set"):
        read_config(tmp_path / "c.yaml", [setting])


def test_the_setting_that_is_wrong_is_the_one_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("horizon: 3")
    with pytest.raises(ConfigError, match=r"^--set training\.max_step=5: training\.max_step is not a setting"):
        read_config(tmp_path / "c.yaml", ["training.max_step=5", "seed=3", "training.max_steps=2"])


def test_a_reference_that_is_no_baseline_is_told_before_a_training(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("evaluation: {reference: foo}")
    with pytest.raises(ConfigError, match=r"c\.yaml: evaluation\.reference is 'foo'; choose naive, "):
        read_config(tmp_path / "c.yaml")


def test_a_configuration_that_is_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read as text"):
        read_config(tmp_path)
