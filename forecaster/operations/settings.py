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
        try:
            inbox.format(panel="any")
        except (KeyError, ValueError, IndexError):
            raise ValueError("expected a glob in which only {panel} stands in braces") from None
        return inbox


class HooksConfig(BaseModel):
    """Commands for the shell: the night's summary comes as JSON on stdin. Null for none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    on_failure: str | None = None
    on_promote: str | None = None
    timeout_seconds: float = Field(default=60.0, gt=0)


class OperationsConfig(BaseModel):
    """What a night does.

    `baseline` speaks for series whose forecast fails, and for all where no run serves yet; `clock_zone` is the time zone of a
    panel that has none (UTC); `warm` prepares the live state of a run that takes over, `report` scores a challenger against the
    baselines and makes its page; so many runs and nights are kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deliveries: DeliveriesConfig = DeliveriesConfig()
    guards: GuardsConfig = GuardsConfig()
    checks: ForecastChecksConfig = ForecastChecksConfig()
    retrain: RetrainConfig = RetrainConfig()
    drift: DriftConfig = DriftConfig()
    promote: PromoteConfig = PromoteConfig()
    hooks: HooksConfig = HooksConfig()
    baseline: Literal["naive", "seasonal_naive", "ses", "theta", "holt_winters"] = "seasonal_naive"
    clock_zone: str = "UTC"
    warm: bool = True
    report: bool = True
    keep_runs: int = Field(default=10, ge=2)
    keep_nights: int = Field(default=400, ge=1)
