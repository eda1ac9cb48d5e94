"""One forecaster for all baselines: a method, its settings, and the numbers fitted to each series."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from forecaster.baselines.fitting import FitSeries, Progress, SeriesFit, fit_each
from forecaster.baselines.naive import seasonal_naive_paths
from forecaster.baselines.parameters import Request
from forecaster.errors import DataError
from forecaster.forecast import Forecast, check_quantiles
from forecaster.series import Origins, Panel, Values

Paths = Callable[[Request], tuple[Values, Values]]
Sigma = Callable[[Panel, pd.DataFrame, int], Values]

ABSURD_RANGES = 10.0


@dataclass(frozen=True)
class Method:
    """How a baseline fits one series and forecasts a panel: mean and standard deviation [R, L] of each lead.

    `sigma` finds the spread of one-step errors of all series at once, where the fit of a series does not give it.
    """

    name: str
    fit_series: FitSeries
    paths: Paths
    sigma: Sigma | None = None
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
    a limit that is ever reached the result depends on the machine.
    """

    method: Method
    season_length: int | None = None
    jobs: int = 1
    max_seconds_per_series: float | None = None
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
        request = Request(asked, parameters, self._season_length(panel), horizon, rows)
        with np.errstate(all="ignore"):  # what is not finite is found and said
            mean, scale = self._paths(request, notes)
            values = np.stack([mean + NormalDist().inv_cdf(q) * scale if q != 0.5 else mean for q in ordered], axis=2)
        ids = tuple(asked.ids[index] for index in rows.index)
        return Forecast(ids, origins.positions(panel), ordered, values, panel.frequency, notes)

    def to_frame(self) -> pd.DataFrame:
        """The fitted parameters, one row for each series: unique_id first, then numbers and words; for Parquet."""
        return pd.DataFrame({"unique_id": []}) if self.parameters is None else self.parameters.reset_index()

    def from_frame(self, frame: pd.DataFrame) -> Self:
        """A copy with parameters that `to_frame` gave."""
        return replace(self, parameters=frame.set_index("unique_id") if len(frame) else None, fit_report=())

    # -- what fit and predict are made of --------------------------------------------------------------------------------

    def _season_length(self, panel: Panel) -> int:
        return self.season_length or panel.frequency.season_length

    def _fit(self, panel: Panel) -> tuple[pd.DataFrame, tuple[SeriesFit, ...]]:
        m = self._season_length(panel)
        parameters, report = fit_each(
            self.method.fit_series,
            panel,
            season_length=m,
            jobs=self.jobs,
            seconds_each=self.method.seconds_each,
            max_seconds=self.max_seconds_per_series,
            progress=lambda done, total: self.progress(done, total, self.name) if self.progress else None,
        )
        if self.method.sigma is not None and len(panel):
            with np.errstate(all="ignore"):
                parameters = parameters.assign(sigma=self.method.sigma(panel, parameters, m))
        return parameters, report

    def _parameters_for(self, panel: Panel, rows: Origins) -> tuple[pd.DataFrame, dict[str, str]]:
        """Parameters in the order of the panel, and a note on each series that had to be fitted now."""
        fitted = self.parameters if self.parameters is not None else pd.DataFrame()
        unseen = np.array([b for b, unique_id in enumerate(panel.ids) if unique_id not in fitted.index], dtype=np.int64)
        if len(fitted) and (fitted["season_length"] != self._season_length(panel)).any():
            raise DataError(
                f"{self.name} was fitted with season length {fitted['season_length'].iloc[0]:g}, and this panel's is "
                f"{self._season_length(panel)}. Fit it again, or give season_length."
            )
        if len(unseen):
            first = np.full(len(panel), np.iinfo(np.int64).max)
            np.minimum.at(first, rows.index, rows.known)
            late, _ = self._fit(_cut(panel, unseen, first[unseen]))
            fitted = pd.concat([fitted.loc[[unique_id for unique_id in panel.ids if unique_id in fitted.index]], late])
        note = f"{self.name}: not seen by the fit; fitted on its values up to its first origin"
        return fitted.loc[list(panel.ids)], {panel.ids[b]: note for b in unseen}

    def _paths(self, request: Request, notes: dict[str, str]) -> tuple[Values, Values]:
        """Means and standard deviations [R, L], with the seasonal naive ones where the method has none, and notes of that."""
        mean, scale = self.method.paths(request)
        naive_mean, naive_scale = seasonal_naive_paths(request)
        reasons = request.parameters["fallback"].to_numpy(dtype=object)
        instead = (reasons != "")[request.origins.index] | ~_is_credible(request, mean, scale)
        for row in np.flatnonzero(instead):
            b = request.origins.index[row]
            reason = reasons[b] or "a forecast was not finite, or far from all values before it"
            note = f"{self.name}: {reason}; seasonal naive instead"
            if not np.isfinite(naive_mean[row]).any():
                note = f"{self.name}: no value was observed before an origin; no forecast there"
            _add_note(notes, request.panel.ids[b], note)
        return np.where(instead[:, None], naive_mean, mean), np.where(instead[:, None], naive_scale, scale)


def _add_note(notes: dict[str, str], unique_id: str, note: str) -> None:
    said = notes.get(unique_id, "")
    if note not in said:
        notes[unique_id] = f"{said}; {note}" if said else note


def _is_credible(request: Request, mean: Values, scale: Values) -> NDArray[np.bool_]:
    """Which rows [R] are finite and within ten times the range of the values before their origin."""
    panel, rows = request.panel, request.origins
    low, high = np.full(len(panel.values) + 1, np.nan), np.full(len(panel.values) + 1, np.nan)
    for b in range(len(panel)):
        part = slice(panel.offsets[b], panel.offsets[b + 1])
        low[part], high[part] = np.fmin.accumulate(panel.values[part]), np.fmax.accumulate(panel.values[part])
    last = np.where(rows.known > 0, panel.offsets[rows.index] + rows.known - 1, -1)
    low, high = low[last][:, None], high[last][:, None]
    reach = ABSURD_RANGES * (high - low + request.per_row("sigma_naive")) + np.maximum(np.abs(low), np.abs(high))
    is_near = (mean >= low - reach) & (mean <= high + reach)
    return np.asarray((is_near & np.isfinite(scale)).all(axis=1))


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
