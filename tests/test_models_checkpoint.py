"""A forecaster as a file: the same after a round trip, and never half believed."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from models_panels import weekly_panel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.models.checkpoint import load_recurrent, recurrent_from, save_recurrent
from forecaster.models.network import ModelConfig, Network
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import scaler_for
from forecaster.series import Origins

QUANTILES = (0.1, 0.5, 0.9)
PANEL = weekly_panel(5)


def forecaster_of(seed: int = 0, **model: bool) -> Recurrent:
    scaler, config = scaler_for(PANEL, 7), ModelConfig(hidden_size=3, head_size=2, layers=2, members=2, **model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(config, scaler, horizon=7, quantiles=QUANTILES)
    frequency = Frequency("D", time_zone="Europe/Berlin", phase=3)
    return recurrent_from(network, scaler, config, frequency=frequency, horizon=7, quantiles=QUANTILES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_recurrent(forecaster_of(), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def refused(path: Path) -> str:
    """The one line with which the file is refused: it names the file, and ends with what to do."""
    with pytest.raises(StateError) as caught:
        load_recurrent(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert re.search(r"(?i)train again", message), message
    assert "\n" not in message
    return message


def with_header(path: Path, change: dict[str, object], **metadata: str) -> None:
    """The file written again with another header."""
    with safe_open(path, framework="pt") as file:
        kept = dict(file.metadata())
    header = {**json.loads(kept["header"]), **change}
    save_file(load_file(path), path, metadata={**kept, "header": json.dumps(header), **metadata})


def test_a_round_trip_changes_nothing(path: Path) -> None:
    before, after = forecaster_of(), load_recurrent(path)
    assert after.fingerprint == before.fingerprint
    for name in ("scaler", "config", "frequency", "horizon", "quantiles", "state_size", "name"):
        assert getattr(after, name) == getattr(before, name)
    origins = Origins.back(PANEL, (0, 9))
    forecasts = (f.predict(PANEL, 12, quantiles=QUANTILES, origins=origins).values for f in (before, after))
    assert np.array_equal(*forecasts)


def model_in(path: Path) -> dict[str, object]:
    """The settings of the model that the file's header tells."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["header"])["model"]


def test_switches_that_are_off_are_not_written_so_that_older_files_keep_their_fingerprints(path: Path, tmp_path: Path) -> None:
    assert set(model_in(path)) == {"cell", "hidden_size", "layers", "members", "head_size", "dropout"}
    assert load_recurrent(path).config == ModelConfig(**model_in(path), residual=False, chrono=False, decay=False)
    switched = forecaster_of(residual=True, chrono=True, decay=True)
    save_recurrent(switched, tmp_path / "switched.safetensors")
    assert model_in(tmp_path / "switched.safetensors") == model_in(path) | dict.fromkeys(("residual", "chrono", "decay"), True)
    again = load_recurrent(tmp_path / "switched.safetensors")
    assert (again.fingerprint, again.config) == (switched.fingerprint, switched.config)
    assert np.array_equal(again.warm(PANEL), switched.warm(PANEL))


def test_the_fingerprint_names_weights_and_header() -> None:
    one = forecaster_of()
    assert forecaster_of().fingerprint == one.fingerprint
    assert forecaster_of(seed=1).fingerprint != one.fingerprint
    other = recurrent_from(one.network, one.scaler, one.config, frequency=Frequency("D"), horizon=7, quantiles=QUANTILES)
    assert other.fingerprint != one.fingerprint


def test_nothing_is_left_beside_a_saved_file(path: Path) -> None:
    save_recurrent(forecaster_of(seed=1), path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert load_recurrent(path).fingerprint == forecaster_of(seed=1).fingerprint


def test_any_flipped_bit_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    places = np.random.default_rng(0)
    header_end = 8 + int.from_bytes(whole[:8], "little")
    for at in [*range(16), *places.integers(header_end, size=300), *places.integers(header_end, len(whole), 60)]:
        damaged = bytearray(whole)
        damaged[at] ^= 1 << int(places.integers(8))
        path.write_bytes(damaged)
        refused(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert "no readable weights" in refused(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no readable weights" in refused(tmp_path / "nothing.safetensors")
    assert "no readable weights" in refused(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"header": "no json"}, {"header": "[1]"}, {"header": "{}"}])
def test_somebody_elses_safetensors_file_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    save_file({"weight": torch.ones(3)}, tmp_path / "other.safetensors", metadata=metadata)
    refused(tmp_path / "other.safetensors")


def test_another_version_of_the_format_is_refused(path: Path) -> None:
    with_header(path, {"format": "forecaster-recurrent-99"})
    assert "format is 'forecaster-recurrent-99', this program reads 'forecaster-recurrent-" in refused(path)


def test_a_header_that_does_not_fit_the_weights_is_refused(path: Path) -> None:
    with_header(path, {"horizon": 8})
    assert "fingerprint" in refused(path)


def test_a_file_without_its_fingerprint_is_refused(path: Path) -> None:
    with_header(path, {}, fingerprint="")
    assert "fingerprint" in refused(path)
