"""How a panel is operated, night after night: the section `operations` of a configuration."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from forecaster.operations.bounds import ForecastChecksConfig
from forecaster.operations.decisions import PromoteConfig, RetrainConfig
from forecaster.operations.drift import DriftConfig
from forecaster.operations.guards import GuardsConfig


class DeliveriesConfig(BaseModel):
    """Where deliveries lie, as a glob under the home ({panel} is the panel's name), and how their files are read.

    The rest is what `forecast ingest` takes under the same names.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    inbox: str = "data/inbox/{panel}/*"
    freq: str | None = None
    time_zone: str | None = None
    id_column: str | None = None
    time_column: str | None = None
    value_column: str | None = None
    known: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    time_format: str | None = None
    duplicates: Literal["error", "first", "last", "mean"] = "error"
    unparsable: Literal["error", "drop"] = "error"

    @field_validator("inbox")
    @classmethod
    def _of_a_panel(cls, inbox: str) -> str:
        return _of_a_panel(inbox, "a glob")


class HooksConfig(BaseModel):
    """Commands for the shell: the night's summary comes as JSON on stdin. Null for none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_failure: str | None = None
    on_promote: str | None = None
    timeout_seconds: float = Field(default=60.0, gt=0)


class PublishConfig(BaseModel):
    """Where forecasts go besides `forecasts/PANEL`: into a table of a database, a folder of partitions, or both; null for none.

    `to` is `sqlite:///FILE` or `postgresql://USER@HOST/DATABASE`; $NAME in it is taken from the environment, where passwords
    belong. In `table` and `folder`, {panel} is the panel's name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: str | None = None
    table: str = "forecasts"
    folder: str | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether there is any such place."""
        return self.to is not None or self.folder is not None

    @field_validator("table", "folder")
    @classmethod
    def _of_a_panel(cls, name: str | None) -> str | None:
        return None if name is None else _of_a_panel(name, "a name")


class OperationsConfig(BaseModel):
    """What a night does.

    `forecaster` is who of a run speaks: its network, a champion for each series, or the combination of all; `baseline` speaks
    for series whose forecast fails, and for all where no run serves yet; `clock_zone` is the time zone of a panel that has none
    (UTC). `live` are states that follow the run in service, as paths under the home ({panel} is the panel's name); without any,
    `warm` prepares a state for each run that takes over. `report` scores a challenger against the baselines and makes its page;
    so many runs and nights are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deliveries: DeliveriesConfig = DeliveriesConfig()
    guards: GuardsConfig = GuardsConfig()
    checks: ForecastChecksConfig = ForecastChecksConfig()
    retrain: RetrainConfig = RetrainConfig()
    drift: DriftConfig = DriftConfig()
    promote: PromoteConfig = PromoteConfig()
    hooks: HooksConfig = HooksConfig()
    publish: PublishConfig = PublishConfig()
    forecaster: Literal["network", "champions", "combination"] = "network"
    baseline: Literal["naive", "seasonal_naive", "ses", "theta", "holt_winters"] = "seasonal_naive"
    clock_zone: str = "UTC"
    live: tuple[str, ...] = ()
    warm: bool = True
    report: bool = True
    keep_runs: int = Field(default=10, ge=2)
    keep_nights: int = Field(default=400, ge=1)

    def live_of(self, panel: str) -> tuple[str, ...]:
        """The live states of a panel, each once."""
        return tuple(dict.fromkeys(state.format(panel=panel) for state in self.live))

    @field_validator("live")
    @classmethod
    def _of_a_panel(cls, live: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_of_a_panel(state, "a path") for state in live)


def _of_a_panel(name: str, what: str) -> str:
    """A name that has no other word in braces than {panel}."""
    try:
        name.format(panel="any")
    except (KeyError, ValueError, IndexError):
        raise ValueError(f"expected {what} in which only {{panel}} stands in braces") from None
    return name
