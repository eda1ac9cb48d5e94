"""Innovations models (ETS) for one series by maximum likelihood, alone and on a series whose season STL has taken out."""

from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal

import numpy as np

from forecaster.baselines.fitting import FitFailure, OutOfTime
from forecaster.baselines.parameters import Numbers, Sample
from forecaster.baselines.seasonality import Form, Season, fill_gaps, is_seasonal
from forecaster.baselines.smoothing_fits import FEWEST_VALUES, SEASONAL, TRENDS, Smoother, Trend, recent_values
from forecaster.series import Values

ErrorForm = Literal["add", "mul"]

LONGEST_ESTIMATED = 12  # a season whose first states are estimated with the weights of the chosen form
ITERATIONS = 200
SEARCH_ITERATIONS = 50


@dataclass(frozen=True)
class Innovations(Smoother):
    """A smoother with its one-step forecasts of the values that it was fitted to."""

    fitted: Values = field(default_factory=lambda: np.empty(0))

    def numbers(self, model: str, start: int) -> Numbers:
        """What is kept of it; its factors move by the new level, as statsmodels' ETS has it."""
        return {**super().numbers(model, start), "is_late": 1.0}


def fit_ets(sample: Sample) -> Numbers:
    """The form of error, trend (none, damped, linear) and season of least AICc.

    A season is tried where the M4 test finds one. Factors need positive values, and trends are never factors.
    """
    values, start = recent_values(sample, 2 * FEWEST_VALUES)
    filled, m = fill_gaps(values), sample.season_length
    forms: list[Form] = ["none"]
    if is_seasonal(filled, m):
        forms += ["additive", "multiplicative"] if filled.min() > 0 else ["additive"]
    found, model, remark = _best(filled, start, season_length=m, forms=forms)
    numbers: Numbers = {**found.numbers(model, start), "aicc": found.aicc}
    return {**numbers, "remark": remark} if remark else numbers


def fit_stl_ets(sample: Sample) -> Numbers:
    """ETS without a season on what STL leaves, and the last season of STL, which is held: for seasons too long for ETS.

    Source: Cleveland, Cleveland, McRae and Terpenning (1990), STL, Journal of Official Statistics 6.
    """
    from statsmodels.tsa.seasonal import STL

    values, start = recent_values(sample, 2 * FEWEST_VALUES)
    filled, m = fill_gaps(values), sample.season_length
    season, adjusted = Season("none", np.zeros(m)), filled
    if is_seasonal(filled, m):
        seasonal = STL(filled, period=m).fit().seasonal
        season = Season("additive", np.roll(seasonal[-m:], (start + len(filled) - m) % m))
        adjusted = filled - seasonal
    found, model, remark = _best(adjusted, start, season_length=m, forms=["none"])
    errors = adjusted - found.fitted
    sigma = float(np.sqrt(np.mean(errors[min(m, len(errors) // 2) :] ** 2)))
    numbers: Numbers = {**replace(found, season=season).numbers(f"STL + {model.partition(',')[0]}", start), "sigma": sigma}
    return {**numbers, "remark": remark} if remark else numbers


def _best(values: Values, start: int, *, season_length: int, forms: list[Form]) -> tuple[Innovations, str, str]:
    """The model of least AICc, what it is called, and a remark where the time ran out.

    The search takes the first states from the first values; the form that it finds is fitted again with states estimated too,
    where these are few.
    """
    fits: list[tuple[Innovations, ErrorForm]] = []
    remark = ""
    errors: list[ErrorForm] = ["add", "mul"] if values.min() > 0 else ["add"]
    try:
        for form, error, trend in product(forms, errors, TRENDS):
            found = _try_form(values, start, m=season_length, form=form, error=error, trend=trend)
            fits += [(found, error)] if found is not None else []
        if fits:
            best, error = min(fits, key=lambda pair: pair[0].aicc)
            form = best.season.form
            if form == "none" or season_length <= LONGEST_ESTIMATED:
                whole = _try_form(values, start, m=season_length, form=form, error=error, trend=best.trend, is_estimated=True)
                fits = [(whole or best, error)]
    except OutOfTime:
        remark = f"the time for its fit was over after {len(fits)} forms"
    if not fits:
        raise FitFailure(remark or "no form of error, trend and season could be fitted")
    best, error = min(fits, key=lambda pair: pair[0].aicc)
    return best, f"ETS, error {error}, trend {best.trend}", remark


def _try_form(
    values: Values, start: int, *, m: int, form: Form, error: ErrorForm, trend: Trend, is_estimated: bool = False
) -> Innovations | None:
    """One fit, or None where this form cannot be computed for these values."""
    try:
        found = fit_innovations(values, start, season_length=m, form=form, error=error, trend=trend, is_estimated=is_estimated)
    except (ValueError, np.linalg.LinAlgError):
        return None
    return found if np.isfinite(found.aicc) else None


def fit_innovations(
    values: Values,
    start: int,
    *,
    season_length: int,
    form: Form,
    error: ErrorForm,
    trend: Trend,
    is_estimated: bool = False,
) -> Innovations:
    """One innovations model by maximum likelihood, its first states estimated too or taken from the first values."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    m = season_length
    model = ETSModel(
        values,
        error=error,
        trend=None if trend == "none" else "add",
        damped_trend=trend == "damped",
        seasonal=SEASONAL.get(form),
        seasonal_periods=m if form != "none" else None,
        initialization_method="estimated" if is_estimated else "heuristic",
    )
    found = model.fit(disp=0, maxiter=ITERATIONS if is_estimated else SEARCH_ITERATIONS)
    weight = dict(zip(model.param_names, np.asarray(found.params), strict=True))
    alpha = float(weight["smoothing_level"])
    season = Season("none", np.zeros(m))
    if form != "none":
        season = Season(form, np.roll(np.asarray(found.initial_seasonal, dtype=np.float64), start % m))
    return Innovations(
        trend,
        season,
        alpha,
        float(weight.get("smoothing_trend", 0.0)) / alpha if alpha > 0 else 0.0,
        float(weight.get("smoothing_seasonal", 0.0)),
        float(weight.get("damping_trend", 1.0)),
        float(found.initial_level),
        0.0 if trend == "none" else float(found.initial_trend),
        float(found.aicc),
        bool(found.mle_retvals["converged"]),
        fitted=np.asarray(found.fittedvalues, dtype=np.float64),
    )
