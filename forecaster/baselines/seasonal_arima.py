"""Seasonal ARIMA: order and weights of one series by conditional least squares; `innovations.py` steps with them.

What it is: ARIMA(p, d, q)(P, D, Q)m with p, q up to 3 and P, Q up to 1, on the series as it is.

- D = 1 where the season is strong (above 0.64, by STL) and the M4 test finds one; d from 0 to 2, to 1 after a seasonal
  difference, by KPSS as for ARIMA.
- A constant is tried where d + D is 1 or less.
- The order is searched for step by step from four simple ones, by AICc (Hyndman and Khandakar).
- Weights are those of least one-step errors given the first values (conditional sum of squares): the recursion that is stepped
  begins in just that way, so what is fitted is what is stepped. They are kept stationary and invertible by partial
  autocorrelations (statsmodels' transform).

Weights come from the last 2,000 values, gaps interpolated.

Source: Box and Jenkins (1970), Time Series Analysis; Hyndman and Khandakar (2008), doi:10.18637/jss.v027.i03; strength of a
season: Wang, Smith and Hyndman (2006), doi:10.1007/s10618-005-0039-x.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from forecaster.baselines.arima import find_difference
from forecaster.baselines.fitting import FitFailure, OutOfTime
from forecaster.baselines.kalman import LARGEST_ORDER
from forecaster.baselines.parameters import Numbers, Sample
from forecaster.baselines.seasonality import fill_gaps, is_seasonal
from forecaster.baselines.smoothing_fits import recent_values
from forecaster.series import Values

FEWEST_VALUES = 10
LONGEST_HISTORY = 2_000
STRONG = 0.64  # of a season: from here on it is differenced, as in Hyndman and Khandakar's later versions
MOST_ORDERS = 24
ITERATIONS = 40


@dataclass(frozen=True)
class Order:
    """(p, d, q)(P, D, Q) of a season of m steps, and whether there is a constant."""

    p: int
    d: int
    q: int
    seasonal_p: int
    seasonal_d: int
    seasonal_q: int
    m: int
    has_constant: bool

    def __str__(self) -> str:
        season = f"({self.seasonal_p},{self.seasonal_d},{self.seasonal_q}){self.m}" if self.m > 1 else ""
        return f"ARIMA({self.p},{self.d},{self.q}){season}{' with constant' if self.has_constant else ''}"

    @property
    def weights(self) -> int:
        return self.p + self.q + self.seasonal_p + self.seasonal_q + self.has_constant


@dataclass(frozen=True)
class Weights:
    """What an order was estimated with, in units of the scaled series."""

    order: Order
    ar: Values
    ma: Values
    seasonal_ar: Values
    seasonal_ma: Values
    constant: float
    sigma: float = 1.0
    aicc: float = np.inf
    is_converged: bool = True
    found: tuple[float, ...] = ()


def fit_sarima(sample: Sample) -> Numbers:
    """The order and weights of one series, as the head of this file says."""
    values, _ = recent_values(sample, FEWEST_VALUES, LONGEST_HISTORY)
    filled = fill_gaps(values)
    m = sample.season_length if is_seasonal(filled, sample.season_length) else 1
    scale = float(np.diff(filled).std()) or float(filled.std())
    scaled = filled / scale
    seasonal_d = int(m > 1 and season_strength(scaled, m) > STRONG)
    rest = scaled[m:] - scaled[:-m] if seasonal_d else scaled
    d = min(find_difference(rest), 1 if seasonal_d else 2)
    differenced = np.diff(rest, n=d)
    if len(differenced) < FEWEST_VALUES + 2 * LARGEST_ORDER + m:
        raise FitFailure(f"{len(values)} values, too few for a season of {m} steps")
    best, remark = search_order(differenced, d=d, seasonal_d=seasonal_d, m=m)
    return {
        "model": str(best.order),
        "is_converged": float(best.is_converged),
        "m": float(m),
        "sigma": best.sigma * scale,
        "mean": best.constant * scale if d + seasonal_d == 0 else 0.0,
        "drift": best.constant * scale if d + seasonal_d > 0 else 0.0,
        **_numbered("short", short_polynomial(best)[1:], LARGEST_ORDER + 2),
        **_numbered("long", long_polynomial(best)[1:], 2),
        **_numbered("ma", best.ma, LARGEST_ORDER),
        **_numbered("seasonal_ma", best.seasonal_ma, 1),
        **({"remark": remark} if remark else {}),
    }


def season_strength(values: Values, season_length: int) -> float:
    """How much of what is neither trend nor noise is season, from 0 to 1; a series without gaps, of two seasons or more.

    >>> round(season_strength(np.tile([1.0, 5.0, 2.0, 4.0], 12) + np.arange(48) / 9, 4), 3)
    1.0
    """
    from statsmodels.tsa.seasonal import STL

    parts = STL(values, period=season_length).fit()
    whole = float(np.var(parts.seasonal + parts.resid))
    return max(0.0, 1 - float(np.var(parts.resid)) / whole) if whole > 0 else 0.0


def search_order(differenced: Values, *, d: int, seasonal_d: int, m: int) -> tuple[Weights, str]:
    """The weights of the order of least AICc that a search step by step comes to, and a remark where its time ran out."""
    seasonal = int(m > 1)
    may_be_constant = d + seasonal_d <= 1
    begin = [Order(p, d, q, s * seasonal, seasonal_d, t * seasonal, m, may_be_constant) for p, q, s, t in FIRST_ORDERS]
    tried: dict[Order, Weights] = {}
    remark = ""
    try:
        for order in begin:
            tried[order] = estimate(differenced, order)
        best = min(tried.values(), key=lambda one: one.aicc)
        is_moving = True
        while is_moving and len(tried) < MOST_ORDERS:
            is_moving = False
            for order in neighbours(best.order, may_be_constant=may_be_constant):
                if order in tried:
                    continue
                tried[order] = estimate(differenced, order, guess=best)
                if tried[order].aicc < best.aicc:
                    best, is_moving = tried[order], True
                    break
    except OutOfTime:
        remark = f"the time for its fit was over after {len(tried)} orders"
    found = [one for one in tried.values() if np.isfinite(one.aicc)]
    if not found:
        raise FitFailure(remark or "no order could be estimated")
    return min(found, key=lambda one: one.aicc), remark


FIRST_ORDERS = ((2, 2, 1, 1), (0, 0, 0, 0), (1, 0, 1, 0), (0, 1, 0, 1))  # p, q, P, Q


def neighbours(order: Order, *, may_be_constant: bool) -> Iterator[Order]:
    """Orders that differ by one in one place, or in p and q together, or in the constant."""
    seasonal = int(order.m > 1)
    for name, most in (("seasonal_p", seasonal), ("seasonal_q", seasonal), ("p", LARGEST_ORDER), ("q", LARGEST_ORDER)):
        for change in (-1, 1):
            if 0 <= getattr(order, name) + change <= most:
                yield replace(order, **{name: getattr(order, name) + change})
    for change in (-1, 1):
        if 0 <= order.p + change <= LARGEST_ORDER and 0 <= order.q + change <= LARGEST_ORDER:
            yield replace(order, p=order.p + change, q=order.q + change)
    if may_be_constant:
        yield replace(order, has_constant=not order.has_constant)


def estimate(differenced: Values, order: Order, *, guess: Weights | None = None) -> Weights:
    """The weights of least one-step errors; an AICc of infinity where there are none."""
    from scipy.optimize import minimize

    constant = float(differenced.mean()) if order.has_constant else 0.0
    centred = differenced - constant
    first = LARGEST_ORDER + (order.m if order.m > 1 else 0)  # as many values for every order

    def loss(x: Values) -> float:
        errors = one_step_errors(centred, _weights(order, x), first)
        return float(np.log(max(float(errors @ errors) / len(errors), 1e-300)))

    x, is_converged = np.zeros(order.weights - order.has_constant), True
    if guess is not None:
        x = _carried(order, guess)
    if len(x):
        found = minimize(loss, x, method="L-BFGS-B", options={"maxiter": ITERATIONS})
        x, is_converged = np.asarray(found.x), bool(found.success) or int(found.nit) >= ITERATIONS
    weights = _weights(order, x)
    count = len(centred) - first
    room = count - order.weights - 2
    if room <= 0:
        return weights
    variance = float(np.exp(loss(x)))
    k = order.weights + 1
    aicc = count * np.log(variance) + 2 * k + 2 * k * (k + 1) / room
    ar_sum = float((1 - weights.ar.sum()) * (1 - weights.seasonal_ar.sum()))
    level = constant * ar_sum if order.d + order.seasonal_d > 0 else constant
    return replace(weights, constant=level, sigma=variance**0.5, aicc=aicc, is_converged=is_converged, found=tuple(x.tolist()))


def one_step_errors(centred: Values, weights: Weights, first: int) -> Values:
    """The errors from `first` on, those before the longest lag being zero; zero is also all that is known before the values."""
    from scipy.signal import lfilter

    order = weights.order
    ar = np.r_[1.0, -weights.ar]
    season = np.r_[1.0, np.zeros(order.m - 1), -weights.seasonal_ar] if order.seasonal_p else np.ones(1)
    ma = np.r_[1.0, weights.ma]
    seasonal_ma = np.r_[1.0, np.zeros(order.m - 1), weights.seasonal_ma] if order.seasonal_q else np.ones(1)
    left = np.convolve(centred, np.convolve(ar, season), mode="valid")
    errors = lfilter([1.0], np.convolve(ma, seasonal_ma), left)
    return np.asarray(errors[first - (len(centred) - len(left)) :])


def short_polynomial(weights: Weights) -> Values:
    """(1 - ar_1 B - …)(1 - B)^d, the power 0 first."""
    found: Values = np.r_[1.0, -weights.ar]
    for _ in range(weights.order.d):
        found = np.convolve(found, [1.0, -1.0])
    return found


def long_polynomial(weights: Weights) -> Values:
    """(1 - seasonal_ar B^m)(1 - B^m)^D in powers of B^m, the power 0 first."""
    found: Values = np.r_[1.0, -weights.seasonal_ar]
    return np.asarray(np.convolve(found, [1.0, -1.0])) if weights.order.seasonal_d else found


def _weights(order: Order, x: Values) -> Weights:
    """Weights from free numbers: p, q, P and Q of them."""
    ar, ma, seasonal_ar, seasonal_ma = np.split(x, np.cumsum([order.p, order.q, order.seasonal_p]))
    return Weights(order, _stationary(ar), -_stationary(ma), _stationary(seasonal_ar), -_stationary(seasonal_ma), 0.0)


def _stationary(x: Values) -> Values:
    from statsmodels.tsa.statespace.tools import constrain_stationary_univariate

    return np.asarray(constrain_stationary_univariate(x)) if len(x) else x


def _carried(order: Order, guess: Weights) -> Values:
    """Free numbers to begin at: those of another order, as far as both have them."""
    was = guess.order
    parts = np.split(np.asarray(guess.found), np.cumsum([was.p, was.q, was.seasonal_p]))
    sizes = (order.p, order.q, order.seasonal_p, order.seasonal_q)
    return np.concatenate(
        [np.r_[part[:size], np.zeros(max(size - len(part), 0))] for part, size in zip(parts, sizes, strict=True)]
    )


def _numbered(name: str, values: Values, count: int) -> Numbers:
    return {f"{name}_{k}": float(values[k - 1]) if k <= len(values) else 0.0 for k in range(1, count + 1)}
