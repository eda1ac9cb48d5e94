"""ARIMA: order and parameters by statsmodels, then one Kalman filter over all series at once.

What it is: a non-seasonal ARIMA(p, d, q) on the seasonally adjusted series (the M4 test, classical decomposition).

- d from 0 to 2: the first at which the KPSS test (5 %, 3 sqrt(n) / 13 lags) does not reject stationarity.
- A mean where d = 0; where d = 1, a drift if it lowers AICc; none where d = 2. It is the sample mean.
- p and q from 0 to 3, ranked by AICc of the conditional sum of squares of Hannan-Rissanen estimates; the three best are
  estimated by maximum likelihood (`SARIMAX`), and the one of least exact AICc is kept.

Parameters come from the last 2,000 values. Gaps are interpolated for the test, the season and the ranking; the likelihood and the
filter leave them out.
"""

from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from forecaster.baselines.fitting import FitFailure
from forecaster.baselines.parameters import Numbers, Request, Sample
from forecaster.baselines.seasonality import adjust_panel, fill_gaps, find_season, restore_season
from forecaster.baselines.smoothing import recent_values
from forecaster.series import Origins, Panel, Values

LARGEST_ORDER = 3
LARGEST_DIFFERENCE = 2
FINALISTS = 3
FEWEST_VALUES = 10
LONGEST_HISTORY = 2_000
ITERATIONS = 50
KPSS_CRITICAL = 0.463  # 5 %, stationarity about a level (Kwiatkowski et al. 1992, table 1)
DIFFUSE_VARIANCE = 1e6  # of a level that nothing is known of, in units of the innovation variance, as in statsmodels


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
    for candidate in ranked[:FINALISTS]:
        if fits and perf_counter() > sample.deadline:
            break
        try:
            fits.append(_estimate(adjusted / scale, d, candidate))
        except (ValueError, np.linalg.LinAlgError):  # the likelihood of this order cannot be computed
            continue
    fits = [fit for fit in fits if np.isfinite(fit.aicc)]
    if not fits:
        raise FitFailure("the likelihood of no order could be computed")
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


def is_stable(weights: Values) -> bool:
    """Whether x_t = w_1 x_(t-1) + w_2 x_(t-2) + … dies out.

    >>> is_stable(np.array([0.9])), is_stable(np.array([0.9, 0.2]))
    (True, False)
    """
    return bool(np.abs(np.roots(np.r_[1, -weights])).max(initial=0.0) < 0.9999)


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


# -- forecasts -----------------------------------------------------------------------------------------------------------


def arima_paths(request: Request) -> tuple[Values, Values]:
    """Mean and standard deviation from the filtered state at each origin, with the season put back [R, L]."""
    panel, origins = adjust_panel(request.panel, request.parameters, request.season_length), request.origins
    mean = np.full((len(origins), request.horizon), np.nan)
    scale = mean.copy()
    for d in range(LARGEST_DIFFERENCE + 1):
        series = np.flatnonzero(request.column("d") == d)
        rows = np.flatnonzero(np.isin(origins.index, series))
        if len(rows):
            some = Origins(np.searchsorted(series, origins.index[rows]), origins.known[rows])
            part = replace(request, panel=panel.select(series.tolist()), parameters=request.parameters.iloc[series], origins=some)
            mean[rows], scale[rows] = _paths_of_difference(part, d)
    return restore_season(request, mean, scale)


def _paths_of_difference(request: Request, d: int) -> tuple[Values, Values]:
    """The same for adjusted series that share d: the constant and, where d > 0, the first value are taken out and put back."""
    table, anchor = _left_aligned(request.panel)
    origins, span = request.origins, table.shape[1]
    times = np.arange(span + request.horizon, dtype=np.float64)
    offset = request.column("constant")[:, None] * (times if d == 1 else np.ones_like(times))
    offset = offset + (anchor[:, None] if d else 0.0)
    ar, ma = (np.stack([request.column(f"{name}_{lag}") for lag in range(1, LARGEST_ORDER + 1)], axis=1) for name in ("ar", "ma"))
    space = StateSpace.of(ar, ma, d)
    state, covariance = space.filter(table - offset[:, :span], origins)
    mean, variance = space.select(origins.index).forecast(state, covariance, request.horizon)
    leads = origins.known[:, None] + np.arange(request.horizon)
    return mean + offset[origins.index[:, None], leads], request.per_row("sigma") * np.sqrt(variance)


def _left_aligned(panel: Panel) -> tuple[Values, Values]:
    """All series from their first position on, NaN after their end [B, T], and the first value observed of each [B]."""
    lengths = panel.lengths
    table = np.full((len(panel), int(lengths.max(initial=0))), np.nan)
    table[np.arange(table.shape[1]) < lengths[:, None]] = panel.values
    seen = np.isfinite(table)
    first = seen.argmax(axis=1) if table.shape[1] else np.zeros(len(panel), dtype=np.int64)
    return table, table[np.arange(len(panel)), first] if table.shape[1] else np.full(len(panel), np.nan)


@dataclass(frozen=True)
class StateSpace:
    """ARIMA processes of one d with innovations of variance 1: y = design . a, a' = transition a + selection e.

    The first d states are the last value, its last difference, …; the others are Harvey's form of the ARMA part.
    S = d + 4 states: transition [B, S, S], selection [B, S], design [S].

    Source: Durbin and Koopman (2012), Time Series Analysis by State Space Methods, chapters 3 and 4.
    """

    transition: Values
    selection: Values
    design: Values
    d: int

    @classmethod
    def of(cls, ar: Values, ma: Values, d: int) -> "StateSpace":
        """The processes with weights ar and ma [B, 3]."""
        size = d + LARGEST_ORDER + 1
        design = np.zeros(size)
        design[: d + 1] = 1.0
        transition = np.zeros((len(ar), size, size))
        transition[:, np.arange(d, size - 1), np.arange(d + 1, size)] = 1.0
        transition[:, d : size - 1, d] = ar
        for row in range(d):
            transition[:, row, row : d + 1] = 1.0
        selection = np.zeros((len(ar), size))
        selection[:, d] = 1.0
        selection[:, d + 1 :] = ma
        return cls(transition, selection, design, d)

    def select(self, rows: NDArray[np.int64]) -> "StateSpace":
        """The processes of some rows, in their order."""
        return StateSpace(self.transition[rows], self.selection[rows], self.design, self.d)

    def filter(self, y: Values, origins: Origins) -> tuple[Values, Values]:
        """State [R, S] and covariance [R, S, S] of the step after each origin, given y [B, T] before it."""
        state, covariance = np.zeros_like(self.selection), self._first_covariance()
        states, covariances = state[origins.index], covariance[origins.index]
        due = np.argsort(origins.known, kind="stable")
        bounds = np.searchsorted(origins.known[due], np.arange(1, y.shape[1] + 2))
        noise = self._noise
        turned = self.transition.swapaxes(1, 2)
        for t in range(y.shape[1]):
            weight = covariance @ self.design  # [B, S]
            seen = np.isfinite(y[:, t])
            gain = np.where(seen[:, None], weight / (weight @ self.design)[:, None], 0.0)
            error = np.where(seen, y[:, t] - state @ self.design, 0.0)
            state = (self.transition @ (state + gain * error[:, None])[:, :, None])[:, :, 0]
            covariance = self.transition @ (covariance - gain[:, :, None] * weight[:, None, :]) @ turned + noise
            rows = due[bounds[t] : bounds[t + 1]]
            states[rows], covariances[rows] = state[origins.index[rows]], covariance[origins.index[rows]]
        return states, covariances

    def forecast(self, state: Values, covariance: Values, horizon: int) -> tuple[Values, Values]:
        """Mean and variance of the next values [B, L]."""
        means, variances = [], []
        turned = self.transition.swapaxes(1, 2)
        for _ in range(horizon):
            means.append(state @ self.design)
            variances.append(covariance @ self.design @ self.design)
            state = (self.transition @ state[:, :, None])[:, :, 0]
            covariance = self.transition @ covariance @ turned + self._noise
        return np.stack(means, axis=1), np.stack(variances, axis=1)

    @property
    def _noise(self) -> Values:
        return self.selection[:, :, None] * self.selection[:, None, :]

    def _first_covariance(self) -> Values:
        """Stationary for the ARMA part (P = T P T' + R R'), and all but unknown for the rest."""
        count, size = self.selection.shape
        inner = self.transition[:, self.d :, self.d :]
        width = size - self.d
        kronecker = np.einsum("bij,bkl->bikjl", inner, inner).reshape(count, width**2, width**2)
        noise = self._noise[:, self.d :, self.d :].reshape(count, width**2, 1)
        covariance = np.zeros((count, size, size))
        covariance[:, self.d :, self.d :] = np.linalg.solve(np.eye(width**2) - kronecker, noise).reshape(count, width, width)
        covariance[:, np.arange(self.d), np.arange(self.d)] = DIFFUSE_VARIANCE
        return covariance
