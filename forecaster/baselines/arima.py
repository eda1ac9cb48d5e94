"""ARIMA: order and parameters of one series by statsmodels; `kalman.py` filters with them.

What it is: a non-seasonal ARIMA(p, d, q) on the seasonally adjusted series (the M4 test, classical decomposition).

- d from 0 to 2: the first at which the KPSS test (5 %, 3 sqrt(n) / 13 lags) does not reject stationarity.
- A mean where d = 0; where d = 1, a drift if it lowers AICc; none where d = 2. It is the sample mean.
- p and q from 0 to 3, ranked by AICc of the conditional sum of squares of Hannan-Rissanen estimates; the three best are
  estimated by maximum likelihood (`SARIMAX`), and the one of least exact AICc is kept.

Parameters come from the last 2,000 values. Gaps are interpolated for the test, the season and the ranking; the likelihood and the
filter leave them out.
"""

from dataclasses import dataclass

import numpy as np

from forecaster.baselines.fitting import FitFailure, OutOfTime
from forecaster.baselines.kalman import LARGEST_ORDER, is_stable
from forecaster.baselines.parameters import Numbers, Sample
from forecaster.baselines.seasonality import fill_gaps, find_season
from forecaster.baselines.smoothing_fits import recent_values
from forecaster.series import Values

LARGEST_DIFFERENCE = 2
FINALISTS = 3
FEWEST_VALUES = 10
LONGEST_HISTORY = 2_000
ITERATIONS = 50
KPSS_CRITICAL = 0.463  # 5 %, stationarity about a level (Kwiatkowski et al. 1992, table 1)


@dataclass(frozen=True)
class Candidate:
    """An order with its estimates, in units of the scaled series; `constant` is the mean or the drift."""

    ar: Values
    ma: Values
    constant: float
    has_constant: bool
    aicc: float
    sigma: float = 1.0
    is_converged: bool = True


# -- fitting one series --------------------------------------------------------------------------------------------------


def fit_arima(sample: Sample) -> Numbers:
    """The order and parameters of one series, as the head of this file says."""
    values, start = recent_values(sample, FEWEST_VALUES, LONGEST_HISTORY)
    season = find_season(values, start, sample.season_length)
    adjusted = season.adjust(values, start)
    filled = fill_gaps(adjusted)
    scale = float(np.diff(filled).std()) or float(filled.std())
    d = find_difference(filled / scale)
    ranked = rank_orders(np.diff(filled / scale, n=d), d)
    fits: list[Candidate] = []
    remark = ""
    for candidate in ranked[:FINALISTS]:
        try:
            fits.append(_estimate(adjusted / scale, d, candidate))
        except OutOfTime:
            remark = f"the time for its fit was over after {len(fits)} orders"
            break
        except (ValueError, np.linalg.LinAlgError):  # the likelihood of this order cannot be computed
            continue
    fits = [fit for fit in fits if np.isfinite(fit.aicc)]
    if not fits:
        raise FitFailure(remark or "the likelihood of no order could be computed")
    best = min(fits, key=lambda fit: fit.aicc)
    return {
        "model": f"ARIMA({len(best.ar)},{d},{len(best.ma)}){' with constant' if best.has_constant else ''}, season {season.form}",
        "is_converged": float(best.is_converged),
        "d": float(d),
        "constant": best.constant * scale,
        "sigma": best.sigma * scale,
        **{f"ar_{lag}": float(best.ar[lag - 1]) if lag <= len(best.ar) else 0.0 for lag in range(1, LARGEST_ORDER + 1)},
        **{f"ma_{lag}": float(best.ma[lag - 1]) if lag <= len(best.ma) else 0.0 for lag in range(1, LARGEST_ORDER + 1)},
        **season.parameters(),
        **({"remark": remark} if remark else {}),
    }


def find_difference(values: Values) -> int:
    """How often a series without gaps has to be differenced until KPSS takes it for stationary.

    >>> find_difference(np.sin(np.arange(200.0))), find_difference(np.cumsum(np.sin(np.arange(200.0) / 40)))
    (0, 2)
    """
    for d in range(LARGEST_DIFFERENCE):
        if kpss_statistic(np.diff(values, n=d)) <= KPSS_CRITICAL:
            return d
    return LARGEST_DIFFERENCE


def kpss_statistic(values: Values) -> float:
    """The statistic of a level-stationary series, with a Bartlett window of 3 sqrt(n) / 13 lags; 0 for a constant.

    Source: Kwiatkowski, Phillips, Schmidt and Shin (1992), doi:10.1016/0304-4076(92)90104-Y.
    """
    count = len(values)
    errors = values - values.mean()
    lags = int(3 * np.sqrt(count) / 13)
    variance = float(errors @ errors) + 2 * sum(
        (1 - lag / (lags + 1)) * float(errors[lag:] @ errors[:-lag]) for lag in range(1, lags + 1)
    )
    return float((errors.cumsum() ** 2).sum() / (count * variance)) if variance > 0 else 0.0


def rank_orders(differenced: Values, d: int) -> list[Candidate]:
    """Candidates by AICc of their conditional sums of squares, the best first; white noise is always among them."""
    candidates = []
    for has_constant in {0: (True,), 1: (False, True)}.get(d, (False,)):
        constant = float(differenced.mean()) if has_constant else 0.0
        for p in range(LARGEST_ORDER + 1):
            for q in range(LARGEST_ORDER + 1):
                candidate = _estimate_quickly(differenced - constant, p, q, constant=constant, has_constant=has_constant)
                if np.isfinite(candidate.aicc):
                    candidates.append(candidate)
    return sorted(candidates, key=lambda candidate: candidate.aicc)


def _estimate_quickly(values: Values, p: int, q: int, *, constant: float, has_constant: bool) -> Candidate:
    """Hannan-Rissanen estimates; an AICc of infinity where they fail, or are not stationary and invertible."""
    from scipy.signal import lfilter
    from statsmodels.tsa.arima.estimators.hannan_rissanen import hannan_rissanen

    ar, ma, aicc = np.zeros(p), np.zeros(q), np.inf
    try:
        if p or q:
            found, _ = hannan_rissanen(values, p, q, demean=False, unbiased=False)
            ar, ma = np.asarray(found.ar_params), np.asarray(found.ma_params)
    except (ValueError, np.linalg.LinAlgError):  # a series too short for this order
        return Candidate(ar, ma, constant, has_constant, aicc)
    if is_stable(ar) and is_stable(-ma):
        errors = lfilter(np.r_[1, -ar], np.r_[1, ma], values)
        aicc = _aicc(
            len(values) * np.log(max(float(errors @ errors) / len(values), 1e-300)), len(values), p + q + has_constant + 1
        )
    return Candidate(ar, ma, constant, has_constant, aicc)


def _estimate(scaled: Values, d: int, candidate: Candidate) -> Candidate:
    """Maximum likelihood from the quick estimates on; the constant is taken out first and kept."""
    from statsmodels.tsa.statespace.sarimax import SARIMAX

    times = np.arange(len(scaled))
    model = SARIMAX(
        scaled - candidate.constant * (times if d == 1 else 1.0),
        order=(len(candidate.ar), d, len(candidate.ma)),
        simple_differencing=bool(np.isfinite(scaled).all()),
        concentrate_scale=True,
    )
    weights = np.r_[candidate.ar, candidate.ma]
    if len(weights):
        found = model.fit(start_params=weights, disp=0, cov_type="none", maxiter=ITERATIONS)
        weights, is_converged = np.asarray(found.params), bool(found.mle_retvals["converged"])
    else:
        found, is_converged = model.filter(weights, cov_type="none"), True
    ar, ma = weights[: len(candidate.ar)], weights[len(candidate.ar) :]
    count = int(np.isfinite(scaled).sum()) - d
    aicc = _aicc(-2 * float(found.llf), count, len(weights) + candidate.has_constant + 1)
    return Candidate(ar, ma, candidate.constant, candidate.has_constant, aicc, float(np.sqrt(found.scale)), is_converged)


def _aicc(deviance: float, count: int, parameters: int) -> float:
    room = count - parameters - 1
    return deviance + 2 * parameters + 2 * parameters * (parameters + 1) / room if room > 0 else np.inf
