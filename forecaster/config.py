"""One YAML file becomes one frozen configuration; every section is defined in the room that it shapes."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from forecaster.baselines import BASELINES, BaselinesConfig
from forecaster.errors import ConfigError, DataError
from forecaster.evaluation.backtest import EvaluationConfig
from forecaster.forecast import check_quantiles
from forecaster.models.inputs import InputsConfig
from forecaster.models.network import ModelConfig
from forecaster.models.plan import TrainingConfig
from forecaster.operations.settings import OperationsConfig
from forecaster.streaming.settings import StreamingConfig


class Config(BaseModel):
    """Everything that can be set; what is None comes from the panel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon: int | None = Field(default=None, ge=1, le=10_000)
    quantiles: tuple[float, ...] = (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
    seed: int = Field(default=1, ge=0, lt=2**32)
    inputs: InputsConfig = InputsConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    baselines: BaselinesConfig = BaselinesConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    streaming: StreamingConfig = StreamingConfig()
    operations: OperationsConfig = OperationsConfig()

    @field_validator("quantiles")
    @classmethod
    def _ordered(cls, quantiles: tuple[float, ...]) -> tuple[float, ...]:
        try:
            return check_quantiles(quantiles)
        except DataError as error:
            raise ValueError(str(error)) from error

    def to_yaml(self) -> str:
        """The configuration as a file that `read_config` reads."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False))


def read_config(path: Path, settings: Sequence[str] = ()) -> Config:
    """The configuration in a YAML file, with settings of the form `section.key=value` on top.

    Raises ConfigError that names the file, the key, what stands there and what may stand there.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file. Give a configuration such as configs/default.yaml.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as text ({error}). Expected a YAML file.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}. Expected a YAML file.") from error
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds a {type(tree).__name__}; expected keys such as `horizon:` or `training:`.")
    tree = {key: value for key, value in tree.items() if value is not None}  # a heading with nothing under it
    return _validated(tree, settings, source=str(path))


def changed(config: Config, settings: Sequence[str]) -> Config:
    """The configuration with settings of the form `section.key=value` on top; raises ConfigError as `read_config` does.

    >>> changed(Config(), ["streaming.emit_every=24"]).streaming.emit_every
    24
    """
    return _validated(config.model_dump(mode="json"), settings, source="the configuration")


def _validated(tree: dict[str, Any], settings: Sequence[str], *, source: str) -> Config:
    for setting in settings:
        _put(tree, setting)
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise ConfigError(f"{_source(source, settings, key)}: {_explain(error)}") from None
    reference = config.evaluation.reference
    if reference not in BASELINES:
        place = _source(source, settings, "evaluation.reference")
        raise ConfigError(f"{place}: evaluation.reference is {reference!r}; choose {', '.join(BASELINES)}.")
    return config


def _source(source: str, settings: Sequence[str], key: str) -> str:
    """Where a key was set: the last `--set` that speaks of it, or the source of the others."""
    for setting in reversed(settings):
        given = setting.partition("=")[0].strip()
        if f"{key}.".startswith(f"{given}.") or f"{given}.".startswith(f"{key}."):
            return f"--set {setting}"
    return source


def _put(tree: dict[str, Any], setting: str) -> None:
    """Lay one `section.key=value` into the tree, the value read as YAML.

    >>> tree = {"training": {"max_steps": 10}}
    >>> _put(tree, "training.max_steps=20"); tree
    {'training': {'max_steps': 20}}
    """
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {setting!r}: expected section.key=value, for example training.max_steps=500.")
    *sections, last = key.strip().split(".")
    for section in sections:
        inner = tree[section] = tree.get(section) or {}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {setting!r}: {section} is no section. Expected section.key=value.")
        tree = inner
    try:
        tree[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {setting!r}: the value is no YAML. Quote it, for example --set 'horizon=24'.") from None


def _explain(error: ValidationError) -> str:
    """The first fault, as key, value and cure."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        fields = _fields_at(path[:-1])
        close = get_close_matches(path[-1], fields, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(fields)}."
        return f"{key} is not a setting; {hint}"
    if first["type"] == "literal_error":
        return f"{key} is {first['input']!r}; choose {first['ctx']['expected'].replace(chr(39), '')}."
    message = first["msg"].removeprefix("Value error, ")
    return f"{key} is {first['input']!r}; {message[0].lower()}{message[1:].rstrip('.')}{'' if message.endswith('?') else '.'}"


def _fields_at(path: Sequence[str]) -> list[str]:
    model: type[BaseModel] = Config
    for part in path:
        inner = model.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return list(model.model_fields)
