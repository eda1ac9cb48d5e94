"""One forecaster for all baselines: a method, its settings, and the numbers fitted to each series."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.baselines.fitting import FitSeries, Progress, SeriesFit, fit_each
from forecaster.baselines.recursion import Recursion
from forecaster.baselines.stepping import BaselineStepper
from forecaster.baselines.store import FitStore
from forecaster.errors import DataError
from forecaster.forecast import Forecast, check_quantiles
from forecaster.frequency import Frequency
from forecaster.series import Origins, Panel, Values


@dataclass(frozen=True)
class Method:
    """How a baseline fits one series, and the recursion that its numbers are for.

    `finds_spread` says that the spread of one-step errors comes from walking the fitted series, where their fits do not give it;
    `seconds_each` is about what one fit takes.
    """

    name: str
    fit_series: FitSeries
    recursion: Recursion
    finds_spread: bool = False
    seconds_each: float = 0.0


@dataclass(frozen=True)
class Baseline:
    """A `Forecaster` that fits each series by itself, and forecasts from any origin with the parameters it has then.

    Errors are taken as Gaussian with the spread of the one-step errors of the fit, so the median is the mean. Quantiles are not
    clipped: those of a series that was never negative may be. Missing values are stepped over and widen what follows. A series
    that cannot be fitted, or whose forecast is not finite or further than ten times the range of its past from it, gets the
    seasonal naive forecast, and `Forecast.notes` says so. A series that the fit did not see is fitted on its values up to its
    first origin, with a note as well. Before the first value there is nothing but NaN.

    `season_length` None means that of the frequency. `max_seconds_per_series` ends the search for a better form or order, so with
    a limit that is ever reached the result depends on the machine; `SeriesFit.remark` then says so. `cache` is a folder where
    fits are kept: a series that was fitted before, by its values and settings, is not fitted again.
    """

    method: Method
    season_length: int | None = None
    jobs: int = 1
    max_seconds_per_series: float | None = None
    cache: Path | None = None
    progress: Progress | None = field(default=None, repr=False, compare=False)
    parameters: pd.DataFrame | None = field(default=None, repr=False, compare=False)
    fit_report: tuple[SeriesFit, ...] = field(default=(), repr=False, compare=False)

    @property
    def name(self) -> str:
        return self.method.name

    def fit(self, panel: Panel) -> Self:
        """A copy with the parameters of every series of the panel."""
        parameters, report = self._fit(panel)
        return replace(self, parameters=parameters, fit_report=report)

    def predict(self, panel: Panel, horizon: int, *, quantiles: Sequence[float], origins: Origins) -> Forecast:
        """Quantiles from each origin; raises DataError for a horizon below 1 or a season other than the fitted one."""
        ordered = check_quantiles(quantiles)
        if horizon < 1:
            raise DataError(f"horizon is {horizon}; expected 1 or more.")
        asked, rows = _only_what_is_known(panel, origins)
        parameters, notes = self._parameters_for(asked, rows)
        stepper = self._stepper(panel.frequency, parameters, horizon=horizon, quantiles=ordered)
        values = np.full((len(rows), horizon, len(ordered)), np.nan)
        instead, is_silent = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
        for some, vectors in stepper.walk(asked, stepper.first_vectors(parameters, asked.starts), rows):
            positions = asked.starts[rows.index[some]] + rows.known[some] - 1
            paths = stepper.paths(stepper.layout.fields(vectors), positions, horizon)
            values[some], instead[some] = stepper.quantile_values(paths), paths.is_instead
            is_silent[some] = ~np.isfinite(paths.mean).any(axis=1)
        self._add_notes(notes, asked, parameters, rows.index[instead], is_silent[instead])
        ids = tuple(asked.ids[index] for index in rows.index)
        return Forecast(ids, origins.positions(panel), ordered, values, panel.frequency, notes)

    def stepper(self, frequency: Frequency, *, horizon: int, quantiles: Sequence[float]) -> BaselineStepper:
        """The same forecaster, live: its `warm(panel)` gives the state of fitted series, and what it says equals `predict`.

        Raises DataError for a horizon below 1, or where nothing was fitted yet.
        """
        ordered = check_quantiles(quantiles)
        if horizon < 1:
            raise DataError(f"horizon is {horizon}; expected 1 or more.")
        if self.parameters is None:
            raise DataError(f"{self.name} was not fitted, and a live series needs parameters. Call fit(panel) first.")
        self._check_season(self.parameters, frequency)
        return self._stepper(frequency, self.parameters, horizon=horizon, quantiles=ordered)

    def to_frame(self) -> pd.DataFrame:
        """The fitted parameters, one row for each series: unique_id first, then numbers and words; for Parquet."""
        return pd.DataFrame({"unique_id": []}) if self.parameters is None else self.parameters.reset_index()

    def from_frame(self, frame: pd.DataFrame) -> Self:
        """A copy with parameters that `to_frame` gave."""
        return replace(self, parameters=frame.set_index("unique_id") if len(frame) else None, fit_report=())

    # -- what fit and predict are made of --------------------------------------------------------------------------------

    def _season_length(self, frequency: Frequency) -> int:
        return self.season_length or frequency.season_length

    def _stepper(
        self, frequency: Frequency, parameters: pd.DataFrame, *, horizon: int, quantiles: tuple[float, ...]
    ) -> BaselineStepper:
        m = self._season_length(frequency)
        return BaselineStepper(self.name, self.method.recursion, m, horizon, quantiles, parameters)

    def _check_season(self, parameters: pd.DataFrame, frequency: Frequency) -> None:
        m = self._season_length(frequency)
        if len(parameters) and (parameters["season_length"] != m).any():
            raise DataError(
                f"{self.name} was fitted with season length {parameters['season_length'].iloc[0]:g}, and this panel's is {m}. "
                "Fit it again, or give season_length."
            )

    def _fit(self, panel: Panel) -> tuple[pd.DataFrame, tuple[SeriesFit, ...]]:
        parameters, report = fit_each(
            self.method.fit_series,
            panel,
            season_length=self._season_length(panel.frequency),
            jobs=self.jobs,
            seconds_each=self.method.seconds_each,
            max_seconds=self.max_seconds_per_series,
            progress=lambda done, total, word: self.progress(done, total, f"{self.name}{word}") if self.progress else None,
            store=FitStore(self.cache, self.name) if self.cache else None,
        )
        if self.method.finds_spread and len(panel):
            parameters = parameters.assign(sigma=self._spread(panel, parameters))
        return parameters, report

    def _spread(self, panel: Panel, parameters: pd.DataFrame) -> Values:
        """The root mean square of the one-step errors of each series [B], on the scale that its level moves on."""
        stepper = self._stepper(panel.frequency, parameters, horizon=1, quantiles=(0.5,))
        sigma = np.full(len(panel), np.nan)
        ends = Origins(np.arange(len(panel)), panel.lengths)
        for rows, vectors in stepper.walk(panel, stepper.first_vectors(parameters, panel.starts), ends):
            fields = stepper.layout.fields(vectors)
            sigma[rows] = np.where(fields["errors"] > 0, fields["sigma"], np.nan)
        return sigma

    def _parameters_for(self, panel: Panel, rows: Origins) -> tuple[pd.DataFrame, dict[str, str]]:
        """Parameters in the order of the panel, and a note on each series that had to be fitted now."""
        fitted = self.parameters if self.parameters is not None else pd.DataFrame()
        unseen = np.array([b for b, unique_id in enumerate(panel.ids) if unique_id not in fitted.index], dtype=np.int64)
        self._check_season(fitted, panel.frequency)
        if len(unseen):
            first = np.full(len(panel), np.iinfo(np.int64).max)
            np.minimum.at(first, rows.index, rows.known)
            late, _ = self._fit(_cut(panel, unseen, first[unseen]))
            fitted = pd.concat([fitted.loc[[unique_id for unique_id in panel.ids if unique_id in fitted.index]], late])
        note = f"{self.name}: not seen by the fit; fitted on its values up to its first origin"
        return fitted.loc[list(panel.ids)], {panel.ids[b]: note for b in unseen}

    def _add_notes(
        self,
        notes: dict[str, str],
        panel: Panel,
        parameters: pd.DataFrame,
        index: NDArray[np.int64],
        is_silent: NDArray[np.bool_],
    ) -> None:
        """Say what is remarkable about fits, why the seasonal naive spoke for the series `index` [R], and which stay silent."""
        for unique_id, remark in zip(panel.ids, parameters.get("remark", [""] * len(panel)), strict=True):
            if remark:
                _add_note(notes, unique_id, f"{self.name}: {remark}")
        reasons = parameters["fallback"].to_numpy(dtype=object)
        for b, silent in dict.fromkeys(zip(index.tolist(), is_silent.tolist(), strict=True)):
            reason = reasons[b] or "a forecast was not finite, or far from all values before it"
            note = f"{self.name}: {reason}; seasonal naive instead"
            if silent:
                note = f"{self.name}: no value was observed before an origin; no forecast there"
            _add_note(notes, panel.ids[b], note)


def _add_note(notes: dict[str, str], unique_id: str, note: str) -> None:
    said = notes.get(unique_id, "")
    if note not in said:
        notes[unique_id] = f"{said}; {note}" if said else note


def _only_what_is_known(panel: Panel, origins: Origins) -> tuple[Panel, Origins]:
    """The series that are asked for, none longer than its last origin, and the origins in it."""
    too_far = np.flatnonzero(origins.known > panel.lengths[origins.index])
    if len(too_far):
        row = too_far[0]
        raise DataError(
            f"series {panel.ids[origins.index[row]]!r}: an origin after {origins.known[row]} values, and the panel holds "
            f"{panel.lengths[origins.index[row]]}. Ask for origins within the panel."
        )
    chosen, index = np.unique(origins.index, return_inverse=True)
    known = np.zeros(len(chosen), dtype=np.int64)
    np.maximum.at(known, index, origins.known)
    return _cut(panel, chosen, known), Origins(index.astype(np.int64), origins.known)


def _cut(panel: Panel, chosen: NDArray[np.int64], known: NDArray[np.int64]) -> Panel:
    """Some series of a panel, each with its first `known` values."""
    parts = [panel.series(b)[:count] for b, count in zip(chosen, known, strict=True)]
    offsets = np.concatenate([[0], np.cumsum(known)]).astype(np.int64)
    values = np.concatenate(parts) if parts else np.empty(0)
    return Panel(tuple(panel.ids[b] for b in chosen), panel.starts[chosen], offsets, values, panel.frequency)
