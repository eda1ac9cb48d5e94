"""The weights of exponential smoothing for one series, found by statsmodels; `smoothing.py` walks them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from forecaster.baselines.fitting import LONGEST_HISTORY, FitFailure, OutOfTime
from forecaster.baselines.parameters import Numbers, Sample
from forecaster.baselines.seasonality import Form, Season, decompose, fill_gaps, find_season, is_seasonal
from forecaster.series import Values

Trend = Literal["none", "damped", "linear"]
TRENDS: tuple[Trend, ...] = ("none", "damped", "linear")

FEWEST_VALUES = 4
# From here on a form is judged by forecasts of whole seasons; below it AICc judges better. MASE of the last values of training
# parts, samples of M4, judged by forecasts and by AICc: hourly 1.18 and 1.69, weekly 2.70 and 2.55, quarterly 3.12 and 3.07.
LONG_SEASON = 24
SEASONAL = {"additive": "add", "multiplicative": "mul"}


@dataclass(frozen=True)
class Smoother:
    """A form of trend and season with its weights, the state it begins with and the one it ends with."""

    trend: Trend
    season: Season
    alpha: float
    beta: float
    gamma: float
    phi: float
    level: float
    slope: float
    aicc: float
    is_converged: bool
    last_level: float = np.nan
    last_slope: float = 0.0
    last_season: Values | None = None  # by phase

    def numbers(self, model: str, start: int) -> Numbers:
        """What is kept of it; `model` is what it is called."""
        return {
            "model": f"{model}, season {self.season.form}",
            "is_converged": float(self.is_converged),
            "start": float(start),
            "alpha": self.alpha,
            "beta": self.beta,
            "gamma": self.gamma,
            "phi": self.phi,
            "level": self.level,
            "trend": self.slope,
            **self.season.parameters(),
        }


# -- on the seasonally adjusted series -----------------------------------------------------------------------------------


def fit_ses(sample: Sample) -> Numbers:
    """Alpha and the first level by least squares on the seasonally adjusted series, as the M4 competition's SES had them."""
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    values, start = recent_values(sample, FEWEST_VALUES)
    season = find_season(values, start, sample.season_length)
    found = SimpleExpSmoothing(fill_gaps(season.adjust(values, start)), initialization_method="estimated").fit()
    alpha, level = float(found.params["smoothing_level"]), float(found.params["initial_level"])
    is_converged = bool(found.mle_retvals.success)
    return Smoother("none", season, alpha, 0.0, 0.0, 1.0, level, 0.0, np.nan, is_converged).numbers("SES", start)


def fit_holt(sample: Sample) -> Numbers:
    """A linear trend by least squares on the seasonally adjusted series, as the M4 competition's Holt."""
    return _fit_adjusted(sample, "linear", "Holt")


def fit_damped(sample: Sample) -> Numbers:
    """A damped trend by least squares on the seasonally adjusted series, as the M4 competition's Damped."""
    return _fit_adjusted(sample, "damped", "damped Holt")


def _fit_adjusted(sample: Sample, trend: Trend, model: str) -> Numbers:
    values, start = recent_values(sample, 2 * FEWEST_VALUES)
    season = find_season(values, start, sample.season_length)
    adjusted = fill_gaps(season.adjust(values, start))
    found = fit_form(adjusted, start, season=Season("none", np.zeros(sample.season_length)), trend=trend)
    return replace(found, season=season).numbers(model, start)


def fit_theta(sample: Sample) -> Numbers:
    """Simple smoothing with half of the slope of a line through the seasonally adjusted series as its drift: Theta with theta 2.

    Source: Assimakopoulos and Nikolopoulos (2000), doi:10.1016/S0169-2070(00)00066-2; fitted by statsmodels' ThetaModel.
    """
    from statsmodels.tsa.forecasting.theta import ThetaModel

    values, start = recent_values(sample, 2 * FEWEST_VALUES)
    season = find_season(values, start, sample.season_length)
    adjusted = fill_gaps(season.adjust(values, start))
    found = ThetaModel(adjusted, deseasonalize=False).fit()
    slope, alpha = float(found.params["b0"]) / 2, float(found.params["alpha"])
    return Smoother("linear", season, alpha, 0.0, 0.0, 1.0, float(adjusted[0]) - slope, slope, np.nan, True).numbers(
        "Theta", start
    )


# -- with the season inside ----------------------------------------------------------------------------------------------


def fit_holt_winters(sample: Sample) -> Numbers:
    """The trend (none, damped, linear) and season (none, additive, multiplicative) that forecast the last values best.

    A season is tried where the M4 test finds one. Seasons of 24 steps and more: each form is fitted without the last two seasons,
    the one that forecasts these best from four origins is chosen, and fitted again to all. Shorter ones: the least AICc, which
    judges one-step errors, decides.
    """
    return _fit_seasonal(sample, ("none", "additive", "multiplicative"))


def fit_additive(sample: Sample) -> Numbers:
    """The same with an additive season, wherever the M4 test finds one."""
    return _fit_seasonal(sample, ("additive",))


def fit_multiplicative(sample: Sample) -> Numbers:
    """The same with a season of factors, wherever the M4 test finds one in values that are all positive."""
    return _fit_seasonal(sample, ("multiplicative",))


def _fit_seasonal(sample: Sample, forms: Sequence[Form]) -> Numbers:
    values, start = recent_values(sample, 2 * FEWEST_VALUES)
    filled = fill_gaps(values)
    found, remark = choose_smoother(filled, start, season_length=sample.season_length, forms=forms, fit=fit_form)
    numbers = found.numbers(f"Holt-Winters, trend {found.trend}", start)
    return {**numbers, "aicc": found.aicc, "remark": remark} if remark else {**numbers, "aicc": found.aicc}


Fit = Callable[..., Smoother]


def choose_smoother(values: Values, start: int, *, season_length: int, forms: Sequence[Form], fit: Fit) -> tuple[Smoother, str]:
    """The form that judges best, fitted to all values, and a remark where the time ran out."""
    m = season_length
    seasonal: list[Form] = [form for form in forms if form == "additive" or (form == "multiplicative" and values.min() > 0)]
    tried: list[Form] = seasonal if is_seasonal(values, m) else []
    if "none" in forms or not tried:
        tried = ["none", *tried]
    held = held_back(len(values), m)
    fits, remark = _fit_forms(values[: len(values) - held], start, m=m, forms=tried, fit=fit)
    if not held:
        return min(fits, key=lambda found: found.aicc), remark
    errors = [held_back_error(found, values, start, held) for found in fits]
    best = fits[int(np.argmin(errors))]
    try:
        whole = fit(values, start, season=seasons_of(values, start, m, best.season.form), trend=best.trend, before=best)
    except OutOfTime:
        return best, "the time for its fit was over before all values were in"
    return (whole if np.isfinite(whole.aicc) else best), remark


def _fit_forms(values: Values, start: int, *, m: int, forms: Sequence[Form], fit: Fit) -> tuple[list[Smoother], str]:
    """One fit for each form of season and trend, each trend beginning where the one before it ended."""
    fits: list[Smoother] = []
    remark = ""
    for form in forms:
        season, before = seasons_of(values, start, m, form), None
        for trend in TRENDS:
            try:
                before = fit(values, start, season=season, trend=trend, before=before)
            except OutOfTime:
                remark = f"the time for its fit was over after {len(fits)} forms"
                break
            fits += [before] if np.isfinite(before.aicc) else []
        if remark:
            break
    if not fits:
        raise FitFailure(remark or "no form of trend and season could be fitted")
    return fits, remark


def seasons_of(values: Values, start: int, season_length: int, form: Form) -> Season:
    """The first season of a form, from a classical decomposition; zeros for none."""
    return Season("none", np.zeros(season_length)) if form == "none" else decompose(values, start, season_length, form)


def held_back(count: int, season_length: int) -> int:
    """How many of the last values judge the forms: two seasons where these are long and a fifth of all values or less, else 0."""
    held = 2 * season_length
    return held if season_length >= LONG_SEASON and 5 * held <= count else 0


def held_back_error(found: Smoother, values: Values, start: int, held: int) -> float:
    """The mean absolute error over the last values, from four origins in them, with the weights that were found before."""
    m, first = len(found.season.indices), len(values) - held
    level, slope = found.last_level, found.last_slope
    season = found.season.indices.copy() if found.last_season is None else found.last_season.copy()
    is_factor, errors = found.season.form == "multiplicative", []
    for t in range(first, len(values)):
        if (t - first) % max(held // 4, 1) == 0:
            lead = np.arange(1, len(values) - t + 1)
            straight = level + slope * np.cumsum(found.phi**lead)
            index = season[(start + t + lead - 1) % m]
            errors.append(np.abs(values[t:] - (straight * index if is_factor else straight + index)).mean())
        phase, base = (start + t) % m, level + found.phi * slope
        error = values[t] / season[phase] - base if is_factor else values[t] - season[phase] - base
        level, slope = base + found.alpha * error, found.phi * slope + found.alpha * found.beta * error
        season[phase] += found.gamma * error * (season[phase] / base if is_factor else 1.0)
    total = float(np.mean(errors))
    return total if np.isfinite(total) else np.inf


def fit_form(values: Values, start: int, *, season: Season, trend: Trend, before: Smoother | None = None) -> Smoother:
    """The smoothing weights of one form of trend and season, by least squares from known first states.

    The first level and trend come from a line through the first values (ten, or a season) without their season.
    """
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    m = len(season.indices)
    level, slope = _first_level(season.adjust(values, start), m)
    if trend == "none":
        level, slope = level + slope, 0.0
    options: dict[str, Any] = {"initialization_method": "known", "initial_level": level}
    if trend != "none":
        options |= {"trend": "add", "damped_trend": trend == "damped", "initial_trend": slope}
    if season.form != "none":
        options |= {"seasonal": SEASONAL[season.form], "seasonal_periods": m}
        options["initial_seasonal"] = season.indices[(start + np.arange(m)) % m]
    guess = None if before is None else _first_guess(before, trend, has_season=season.form != "none")
    found = ExponentialSmoothing(values, **options).fit(start_params=guess)
    weight = {name: 0.0 if value is None else value for name, value in found.params.items()}
    return Smoother(
        trend,
        season,
        float(weight["smoothing_level"]),
        0.0 if trend == "none" else float(weight["smoothing_trend"]),
        0.0 if season.form == "none" else float(weight["smoothing_seasonal"]),
        float(weight["damping_trend"]) if trend == "damped" else 1.0,
        level,
        slope,
        float(found.aicc),
        bool(found.mle_retvals.success),
        float(found.level[-1]),
        float(found.trend[-1]) if trend != "none" else 0.0,
        np.roll(found.season[-m:], (start + len(values) - m) % m) if season.form != "none" else None,
    )


def _first_guess(before: Smoother, trend: Trend, *, has_season: bool) -> list[float]:
    """Weights to begin the search at, inside the bounds of statsmodels: beta below alpha, gamma below 1 - alpha."""
    alpha = float(np.clip(before.alpha, 0.02, 0.95))
    beta = float(np.clip(before.beta, 0.05 * alpha, 0.95 * alpha))
    gamma = float(np.clip(before.gamma, 0.02 * (1 - alpha), 0.95 * (1 - alpha)))
    damping = float(np.clip(before.phi, 0.8, 0.95))
    weights = ((alpha, True), (beta, trend != "none"), (gamma, has_season), (damping, trend == "damped"))
    return [weight for weight, is_free in weights if is_free]


def _first_level(adjusted: Values, season_length: int) -> tuple[float, float]:
    """Level one step before the first value, and trend, from a line through the first values of an adjusted series."""
    count = min(max(10, season_length), len(adjusted))
    slope, level = np.polyfit(np.arange(1, count + 1), adjusted[:count], 1)
    return float(level), float(slope)


def recent_values(sample: Sample, fewest: int, longest: int = LONGEST_HISTORY) -> tuple[Values, int]:
    """The latest part of a series, no longer than `longest`, and where it starts; FitFailure where there is no fit to make."""
    observed = sample.values[np.isfinite(sample.values)]
    if len(observed) < fewest:
        raise FitFailure(f"{len(observed)} values observed, {fewest} needed")
    if np.ptp(observed) <= 1e-12 * np.abs(observed).max():
        raise FitFailure("all values are equal")
    recent = sample.values[-longest:]
    if np.isfinite(recent).sum() < fewest:
        raise FitFailure(f"fewer than {fewest} of the last {longest} values observed")
    return recent, sample.start + len(sample.values) - len(recent)
