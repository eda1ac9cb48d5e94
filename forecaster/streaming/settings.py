"""How a stream is cut, how often it forecasts, and what it takes for a mistake."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from forecaster.frequency import Frequency
from forecaster.streaming.lateness import revision_length
from forecaster.streaming.tracking import CalibrationConfig


class StreamingConfig(BaseModel):
    """How a stream is cut, how often it forecasts, and what it takes for a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch: int = Field(16_384, ge=1, description="observations in one micro-batch, and so in one commit, at most")
    max_latency_ms: float = Field(20.0, ge=0, description="how long an observation waits for others to share its commit")
    emit_every: int = Field(1, ge=0, description="forecast with every k-th value of a series; 0: never")
    emit_at: int = Field(1, ge=1, description="forecast at every k-th position of the calendar alone, such as 24 of hours")
    max_gap: int | None = Field(None, ge=0, description="missing steps to step through, at most; null: two years, 50 to 10,000")
    max_ahead: int | None = Field(
        None, ge=0, description="how far after all others a series that is not known may begin; null: as max_gap"
    )
    revision_window: int | None = Field(
        None, ge=0, le=10_000, description="last positions that may still change; null: one season, at most 32"
    )
    calibrate: bool = Field(False, description="correct the intervals of each series and lead from what came of its forecasts")
    calibration: CalibrationConfig = CalibrationConfig()
    misaligned: Literal["refuse", "floor"] = Field(
        "refuse", description="what a time between two steps is: a dead letter, or the step before"
    )
    unknown: Literal["begin", "refuse"] = Field("begin", description="what a series that is not known does")
    warming_steps: int | None = Field(None, ge=0, description="values until a series is warm; null: one season, at least 2")

    def window(self, frequency: Frequency) -> int:
        """How many of the last positions may still change."""
        return revision_length(frequency) if self.revision_window is None else self.revision_window
