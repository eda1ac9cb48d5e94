"""What the network sees beside the values: the calendar, covariates whose future is known, and what never changes in a series.

Everything is worked out in float64 and rounded once to float32, each number by itself, so it is the same in any batch. What is
not known is 0, which stands for the usual. Axes: B series, N positions of a panel, R origins, L leads, C inputs.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, field_validator

from forecaster.errors import ConfigError, DataError
from forecaster.frequency import Frequency, Positions
from forecaster.models.calendar import CYCLES, LONGEST_WITH_HOLIDAYS, Calendar, Float32, check_country, harmonics_of
from forecaster.models.columns import Scale, Texts, fit_scale, fit_texts
from forecaster.series import Panel, Values, spread_out

CYCLES_WANTED = 2  # a cycle is looked for where the panel has lived through so many


class InputsConfig(BaseModel):
    """What is shown to the network; None is derived from the panel.

    `calendar` is on where timestamps are dates and the panel spans two cycles of what its frequency resolves. `country` names
    the holidays that count: a code such as DE, US or US-CA. `known` and `static` name covariates; None takes all of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    calendar: bool | None = None
    country: str | None = None
    known: tuple[str, ...] | None = None
    static: tuple[str, ...] | None = None

    @field_validator("country")
    @classmethod
    def _known_country(cls, country: str | None) -> str | None:
        try:
            return check_country(country) if country is not None else None
        except ConfigError as error:
            raise ValueError(str(error).partition("; ")[2]) from error  # what was found is told by pydantic


@dataclass(frozen=True)
class Inputs:
    """What a network that was trained on one panel sees of any panel."""

    calendar: Calendar
    known: tuple[Scale, ...] = ()
    numbers: tuple[Scale, ...] = ()
    texts: tuple[Texts, ...] = ()

    @classmethod
    def fit(cls, panel: Panel, config: InputsConfig) -> "Inputs":
        """The inputs that a panel has to offer; raises ConfigError where the configuration asks for others."""
        calendar = _fit_calendar(panel, config)
        known = _chosen("known", config.known, panel.known.names if panel.known else ())
        static = _chosen("static", config.static, panel.static.names if panel.static else ())
        codes, positions = spread_out(panel.starts, panel.lengths)
        scales, columns = [], dict(zip(panel.static.names, panel.static.columns, strict=True)) if panel.static else {}
        if panel.known and known:
            values = panel.known.at(codes, positions[:, None])[:, 0]
            scales = [fit_scale(name, values[:, panel.known.names.index(name)], codes) for name in known]
        one_each = np.arange(len(panel))
        numbers = [fit_scale(n, np.asarray(columns[n], float), one_each) for n in static if columns[n].dtype != object]
        texts = [fit_texts(name, columns[name]) for name in static if columns[name].dtype == object]
        return cls(calendar, tuple(scales), tuple(numbers), tuple(text for text in texts if text.texts))

    @property
    def words(self) -> tuple[str, ...]:
        """What is seen, by the names that its owner knows."""
        waves = (f"the calendar ({', '.join(self.calendar.cycles)})",) if self.calendar.cycles else ()
        holidays = (f"holidays of {self.calendar.country}",) if self.calendar.country else ()
        columns = (*(scale.name for scale in (*self.known, *self.numbers)), *(texts.name for texts in self.texts))
        return (*waves, *holidays, *columns)

    # -- for the cell --------------------------------------------------------------------------------------------------------

    @property
    def static_count(self) -> int:
        """How many inputs never change in a series; they come last."""
        return len(self.numbers) + sum(len(column.texts) for column in self.texts)

    @property
    def step_count(self) -> int:
        """C, the inputs of a step."""
        return len(self.calendar.columns) + len(self.known) + self.static_count

    def steps(self, panel: Panel) -> Float32:
        """The inputs at every position of a panel [N, C]: calendar and covariates of the *next* position, and what never changes.

        They depend on the covariates and on nothing that was observed.
        """
        return self.steps_at(panel, *spread_out(panel.starts, panel.lengths))

    def steps_at(self, panel: Panel, index: NDArray[np.int64], positions: Positions) -> Float32:
        """The inputs of the steps at positions [R] of series `index` [R] [R, C], also beyond the end of a series."""
        rows = self.at(positions)
        rows[:, rows.shape[1] - self.static_count :] = self.static_of(panel)[index]
        first = len(self.calendar.columns)
        values = self.known_at(panel, index, positions[:, None] + 1)
        for k, scale in enumerate(self.known):
            rows[:, first + k] = scale.of(values[k][:, 0])
        return rows

    def at(self, positions: Positions) -> Float32:
        """The inputs of steps at positions [R] of which the calendar alone is known [R, C]."""
        rows = np.zeros((len(positions), self.step_count), dtype=np.float32)
        if self.calendar.columns:
            rows[:, : len(self.calendar.columns)] = self.calendar.at(positions + 1)
        return rows

    def static_of(self, panel: Panel) -> Float32:
        """What never changes in the panel's series [B, static_count]; 0 where a series does not say it."""
        static = dict(zip(panel.static.names, panel.static.columns, strict=True)) if panel.static else {}
        empty = np.zeros((len(panel), 0), dtype=np.float32)
        parts = [empty]
        for scale in self.numbers:
            column = static.get(scale.name)
            is_number = column is not None and column.dtype != object
            values = np.asarray(column, dtype=np.float64) if is_number else np.full(len(panel), np.nan)
            parts.append(scale.of(values)[:, None])
        for texts in self.texts:
            parts.append(texts.of(static.get(texts.name, np.full(len(panel), "", dtype=object))))
        return np.concatenate(parts, axis=1)

    # -- for the head --------------------------------------------------------------------------------------------------------

    @property
    def lead_count(self) -> int:
        """C, the inputs of a lead."""
        return 2 * len(self.known) + 2 * (self.calendar.country is not None)

    def leads(self, panel: Panel, index: NDArray[np.int64], positions: Positions, *, horizon: int, base_season: int) -> Float32:
        """What is known of the leads after positions [R] of series `index` [R] [R, L, C].

        The covariates at each lead, their change from the position that the seasonal-naive base repeats there, and the
        holidays of both. What is unknown is 0; `check_leads` is for those who have to know.
        """
        rows = self.leads_at(positions, horizon=horizon, base_season=base_season)
        ahead, base = _leads_and_base(positions, horizon=horizon, base_season=base_season)
        then, before = self.known_at(panel, index, ahead), self.known_at(panel, index, base)
        for k, scale in enumerate(self.known):
            rows[:, :, 2 * k] = scale.of(then[k])
            rows[:, :, 2 * k + 1] = scale.of_change(then[k], before[k])
        return rows

    def leads_at(self, positions: Positions, *, horizon: int, base_season: int) -> Float32:
        """Like `leads` where the calendar alone is known [R, L, C]."""
        rows = np.zeros((len(positions), horizon, self.lead_count), dtype=np.float32)
        if self.calendar.country is not None:
            ahead, base = _leads_and_base(positions, horizon=horizon, base_season=base_season)
            rows[:, :, -2] = self.calendar.holidays(ahead)
            rows[:, :, -1] = self.calendar.holidays(base)
        return rows

    def check_leads(self, panel: Panel, index: NDArray[np.int64], positions: Positions, *, horizon: int) -> None:
        """Raises DataError where a covariate is unknown at one of the leads after positions [R] of series `index` [R]."""
        if not self.known:
            return
        for scale in self.known:
            if panel.known is None or scale.name not in panel.known.names:
                raise DataError(
                    f"the panel has no covariate {scale.name!r}, which the network was trained with. "
                    f"Ingest it with --known {scale.name}, or train again with --set inputs.known=[]."
                )
        ahead = positions[:, None] + np.arange(1, horizon + 1)
        for scale, values in zip(self.known, self.known_at(panel, index, ahead), strict=True):
            unknown = np.isnan(values)
            rows = np.flatnonzero(unknown.any(axis=1))
            if len(rows):
                lead = int(unknown[rows[0]].argmax())
                when = panel.frequency.labels(ahead[rows[0], lead : lead + 1]).iloc[0]
                others = len(set(index[rows].tolist())) - 1
                series = repr(panel.ids[index[rows[0]]]) + (f" and {others:,} more" if others else "")
                raise DataError(
                    f"series {series}: {scale.name} is unknown at {when}, lead {lead + 1} of {horizon}; expected it at each. "
                    f"Ingest rows with an empty value and the {scale.name} of these times, or choose a shorter horizon."
                )

    def known_at(self, panel: Panel, index: NDArray[np.int64], positions: Positions) -> list[Values]:
        """Each covariate at positions [R, L]; NaN where it is unknown."""
        if not self.known or panel.known is None:
            return [np.full(positions.shape, np.nan) for _ in self.known]
        values, names = panel.known.at(index, positions), panel.known.names
        unknown = np.full(positions.shape, np.nan)
        return [values[..., names.index(scale.name)] if scale.name in names else unknown for scale in self.known]

    # -- as text -------------------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The inputs as JSON can hold them; the frequency is kept elsewhere."""
        plain = {name: [asdict(part) for part in getattr(self, name)] for name in ("known", "numbers", "texts")}
        return {"cycles": list(self.calendar.cycles), "country": self.calendar.country, **plain}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], frequency: Frequency) -> "Inputs":
        """The inputs that `to_dict` wrote down, of a panel of this frequency."""
        known, numbers = (tuple(Scale(**scale) for scale in plain[name]) for name in ("known", "numbers"))
        texts = tuple(Texts(column["name"], tuple(column["texts"])) for column in plain["texts"])
        return cls(Calendar(frequency, tuple(plain["cycles"]), plain["country"]), known, numbers, texts)


def _fit_calendar(panel: Panel, config: InputsConfig) -> Calendar:
    frequency = panel.frequency
    if frequency.is_numbered:
        asked = "inputs.calendar is true" if config.calendar else f"inputs.country is {config.country!r}"
        if config.calendar or config.country:
            raise ConfigError(f"{asked}, and the panel counts numbered steps; expected dates. Leave it out, or ingest dates.")
        return Calendar(frequency)
    span = int(panel.ends.max() - panel.starts.min() + 1) * frequency.days if len(panel) else 0.0
    cycles = [cycle for cycle in CYCLES if harmonics_of(frequency, cycle) and config.calendar is not False]
    lived = [cycle for cycle in cycles if config.calendar or span >= CYCLES_WANTED * CYCLES[cycle]]
    country = config.country if frequency.days < LONGEST_WITH_HOLIDAYS else None
    return Calendar(frequency, tuple(lived), country)


def _chosen(kind: str, asked: tuple[str, ...] | None, names: tuple[str, ...]) -> tuple[str, ...]:
    if asked is None:
        return names
    unknown = [name for name in asked if name not in names]
    if unknown:
        cure = f"Choose among them, or ingest it with --{kind} {unknown[0]}."
        raise ConfigError(f"inputs.{kind} names {unknown[0]!r}, and the panel has {', '.join(names) or 'none'}. {cure}")
    return asked


def _leads_and_base(positions: Positions, *, horizon: int, base_season: int) -> tuple[Positions, Positions]:
    """The positions of the leads after positions [R], and those whose values the base repeats there [R, L]."""
    ahead = positions[:, None] + np.arange(1, horizon + 1)
    return ahead, positions[:, None] + 1 - base_season + np.arange(horizon) % base_season
