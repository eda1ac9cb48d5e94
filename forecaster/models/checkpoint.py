"""A trained forecaster as one file: safetensors, with everything that is no weight in its header as JSON.

Nothing is unpickled. The fingerprint names the weights and the header together; state carries it, and another model refuses it.
"""

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.models.calendar import Calendar
from forecaster.models.holt_winters import HoltWinters
from forecaster.models.inputs import Inputs
from forecaster.models.network import ModelConfig, Network
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import Scaler

FORMAT = "forecaster-recurrent-2"


def recurrent_from(
    network: Network,
    scaler: Scaler,
    config: ModelConfig,
    *,
    frequency: Frequency,
    horizon: int,
    quantiles: tuple[float, ...],
    inputs: Inputs | None = None,
) -> Recurrent:
    """The forecaster of a trained network, with the fingerprint that its numbers give it; without `inputs` it saw values only."""
    network, inputs = network.cpu().eval(), inputs or Inputs(Calendar(frequency))
    header = _header(scaler, config, inputs, frequency=frequency, horizon=horizon, quantiles=quantiles)
    fingerprint = _fingerprint(header, network.state_dict())
    return Recurrent(network, scaler, inputs, config, frequency, horizon, quantiles, fingerprint)


def save_recurrent(forecaster: Recurrent, path: Path) -> None:
    """Write the forecaster to a file, whole or not at all."""
    header = _header(
        forecaster.scaler,
        forecaster.config,
        forecaster.inputs,
        frequency=forecaster.frequency,
        horizon=forecaster.horizon,
        quantiles=forecaster.quantiles,
    )
    weights = {name: weight.contiguous() for name, weight in forecaster.network.state_dict().items()}
    beside = path.with_name(path.name + ".part")
    with beside.open("wb") as file:
        file.write(save(weights, metadata={"header": header, "fingerprint": forecaster.fingerprint}))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def load_recurrent(path: Path) -> Recurrent:
    """Read a forecaster from a file.

    Raises StateError when the file is missing, damaged, of another version, or not what its fingerprint says.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise StateError(f"{path}: no readable weights ({error}). Train again, or take another run.") from error
    text, said = metadata.get("header", ""), metadata.get("fingerprint", "")
    found = _format_of(text)
    if found != FORMAT:
        raise StateError(f"{path}: format is {found!r}, this program reads {FORMAT!r}. Train again with this version.")
    fingerprint = _fingerprint(text, weights)
    if fingerprint != said:  # known before anything is built of it: what is built is then what was saved
        raise StateError(
            f"{path}: its content gives fingerprint {fingerprint}, the file says {said or 'none'}. "
            "It is damaged: train again, or restore the file from a copy."
        )
    header = json.loads(text)
    parts = header["scaler"]
    base = HoltWinters(**parts["base"])
    scaler = Scaler(**{**parts, "season_lengths": tuple(parts["season_lengths"]), "base": base})
    config, frequency = ModelConfig(**header["model"]), Frequency(**header["frequency"])
    horizon, quantiles = header["horizon"], tuple(header["quantiles"])
    inputs = Inputs.from_dict(header["inputs"], frequency)
    network = Network(config, scaler, horizon=horizon, quantiles=quantiles, inputs=inputs)
    network.load_state_dict(weights)
    return recurrent_from(network, scaler, config, frequency=frequency, horizon=horizon, quantiles=quantiles, inputs=inputs)


def _format_of(header: str) -> object:
    """The format that a header names, None where it is none of ours."""
    try:
        known = json.loads(header)
    except ValueError:
        return None
    return known.get("format") if isinstance(known, dict) else None


def _fingerprint(header: str, weights: dict[str, Tensor]) -> str:
    """Twelve hexadecimal digits that change with any number of the header or the weights."""
    digest = hashlib.sha256(header.encode())
    for name, weight in sorted(weights.items()):
        digest.update(name.encode() + weight.contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]


def _header(
    scaler: Scaler, config: ModelConfig, inputs: Inputs, *, frequency: Frequency, horizon: int, quantiles: tuple[float, ...]
) -> str:
    return json.dumps(
        {
            "format": FORMAT,
            "model": config.model_dump(),
            "scaler": asdict(scaler),
            "inputs": inputs.to_dict(),
            "frequency": asdict(frequency),
            "horizon": horizon,
            "quantiles": quantiles,
        },
        sort_keys=True,
    )
