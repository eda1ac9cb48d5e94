"""A trained forecaster as one file: safetensors, with everything that is no array in its header as JSON.

Nothing is unpickled. The fingerprint names the weights and the header together; state carries it, and another model refuses it.
"""

import hashlib
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, from_numpy

from forecaster.errors import StateError
from forecaster.frequency import Frequency
from forecaster.models.calendar import Calendar
from forecaster.models.holt_winters import HoltWinters
from forecaster.models.inputs import Inputs
from forecaster.models.mixture import Mixture
from forecaster.models.network import ModelConfig, Network
from forecaster.models.pool import Pool
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import Scaler

FORMAT = "forecaster-recurrent-2"
POOL = "pool."  # begins the names of the pool's arrays, where there is one
POOL_ARRAYS, POOL_NUMBERS = (
    ("profile", "courses", "widths"),
    ("noise", "spread", "level", "level_spread", "log_amplitude", "plain_amplitude", "is_share", "young", "prior"),
)


def recurrent_from(
    network: Network,
    scaler: Scaler,
    config: ModelConfig,
    *,
    frequency: Frequency,
    horizon: int,
    quantiles: tuple[float, ...],
    inputs: Inputs | None = None,
    pool: Pool | None = None,
    mixture: Mixture | None = None,
) -> Recurrent:
    """The forecaster of a trained network, with the fingerprint that its numbers give it; without `inputs` it saw values only."""
    network, inputs = network.cpu().eval(), inputs or Inputs(Calendar(frequency))
    forecaster = Recurrent(network, scaler, inputs, config, frequency, horizon, quantiles, "", pool, mixture)
    return replace(forecaster, fingerprint=_fingerprint(_header(forecaster), _arrays(forecaster)))


def with_pool(forecaster: Recurrent, pool: Pool | None) -> Recurrent:
    """The forecaster with another pool, or none, and the fingerprint that goes with it."""
    other = replace(forecaster, pool=pool)
    return replace(other, fingerprint=_fingerprint(_header(other), _arrays(other)))


def save_recurrent(forecaster: Recurrent, path: Path) -> None:
    """Write the forecaster to a file, whole or not at all."""
    header, weights = _header(forecaster), {name: array.contiguous() for name, array in _arrays(forecaster).items()}
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
    kept = {name: weights.pop(POOL + name).numpy() for name in POOL_ARRAYS if POOL + name in weights}
    pool = Pool(**kept, **header["pool"]) if kept else None
    network.load_state_dict(weights)
    mixed = header.get("mixture")
    mixture = Mixture(**{**mixed, "usual": tuple(mixed["usual"])}) if mixed else None
    return recurrent_from(
        network,
        scaler,
        config,
        frequency=frequency,
        horizon=horizon,
        quantiles=quantiles,
        inputs=inputs,
        pool=pool,
        mixture=mixture,
    )


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


def _arrays(forecaster: Recurrent) -> dict[str, Tensor]:
    """The weights, and the arrays of the pool where there is one."""
    arrays = dict(forecaster.network.state_dict())
    if forecaster.pool:
        arrays |= {POOL + name: from_numpy(getattr(forecaster.pool, name)) for name in POOL_ARRAYS}
    return arrays


def _header(forecaster: Recurrent) -> str:
    header = {
        "format": FORMAT,
        "model": forecaster.config.model_dump(),
        "scaler": asdict(forecaster.scaler),
        "inputs": forecaster.inputs.to_dict(),
        "frequency": asdict(forecaster.frequency),
        "horizon": forecaster.horizon,
        "quantiles": forecaster.quantiles,
    }
    if forecaster.mixture:
        header["mixture"] = asdict(forecaster.mixture)
    if forecaster.pool:
        header["pool"] = {name: getattr(forecaster.pool, name) for name in POOL_NUMBERS}
    return json.dumps(header, sort_keys=True)
