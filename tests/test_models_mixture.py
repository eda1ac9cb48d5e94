"""The mixture of smoothings follows its formula, tells who has lost least, and leans no series that is young."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from statsmodels.tsa.holtwinters import Holt

from forecaster.frequency import Frequency
from forecaster.models import ensemble
from forecaster.models.checkpoint import load_recurrent, recurrent_from, save_recurrent
from forecaster.models.ensemble import refit_network, train_network
from forecaster.models.holt_winters import HoltWinters
from forecaster.models.leaning import LEANINGS, errors_by_leaning, leaning, mixture_for, tail_origins
from forecaster.models.mixture import FADE, LEVELS, PRIOR, TRENDS, Mixture
from forecaster.models.network import ModelConfig, Network
from forecaster.models.plan import TrainingConfig, held_back_tail
from forecaster.models.recurrent import Recurrent
from forecaster.models.scaler import scaler_for
from forecaster.series import Origins, Panel

HORIZON = 6
QUANTILES = (0.1, 0.5, 0.9)
SMALL = TrainingConfig(max_steps=20, window_length=16, batch_size=4, validation_steps=5, refit_share=0)
TINY = ModelConfig(hidden_size=4, head_size=4, members=1)


def series_of(count: int = 60, *, seed: int = 0, gaps: bool = False) -> NDArray[np.float32]:
    """A wandering series with a season of 4, some of its values missing."""
    random = np.random.default_rng(seed)
    v = np.cumsum(random.normal(0.05, 0.2, count)) + np.tile([0.0, 0.6, 0.1, -0.5], count)[:count]
    if gaps:
        v[random.random(count) < 0.2] = np.nan
        v[0] = 0.1
    return v.astype(np.float32)


def panel_of(rows: list[NDArray[np.floating]], frequency: str = "QS") -> Panel:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    ids = tuple(f"s{b:02d}" for b in range(len(rows)))
    return Panel(ids, np.zeros(len(rows), dtype=np.int64), offsets, np.concatenate(rows).astype(float), Frequency(frequency))


def mixed(length: int) -> Mixture:
    mixture = Mixture(length, HORIZON, (), 0.25)
    return replace(mixture, usual=tuple(np.linspace(0.8, 1.2, mixture.count).tolist()))


def walked(mixture: Mixture, v: NDArray[np.float32]) -> NDArray[np.float32]:
    """The state [1, size] after all of one series that begins at once."""
    state, never = mixture.initial_state(1), np.array([False])
    for t, value in enumerate(v):
        state = mixture.step(state, np.float32([value]), np.float32([t + 1]), never)
    return state


def slow_forecast(mixture: Mixture, v: NDArray[np.float32]) -> NDArray[np.float64]:
    """The mixture's forecast [L] by the formulas of its docstring, one number at a time in float64."""
    has_season, length, young = mixture.length > 1, mixture.length, mixture.young
    season, own = [0.0] * length, [0.0, 0.0]
    flat = [HoltWinters(weight, 0.0, 0.0, 1.0, length=1) for weight in LEVELS]
    kinds = [(one, s) for some in (flat, TRENDS) for s in ((False, True) if has_season else (False,)) for one in some]
    level, slope = [0.0] * mixture.count, [0.0] * mixture.count
    kept, loss, scored, waited = [(0.0, 0.0)] * mixture.count, [0.0] * mixture.count, 0.0, 0
    for t, value in enumerate(v.astype(float)):
        age, now, known = t + 1, season[t % length], not np.isnan(value)
        for k in range(mixture.count):
            trend, s = kinds[k][0], now if kinds[k][1] else 0.0
            if waited and known:
                away = sum(trend.damping**i for i in range(1, waited + 1))
                loss[k] += abs(value - (kept[k][0] + kept[k][1] * away + s))
            drift = trend.damping * slope[k]
            before, level[k] = level[k], level[k] + drift
            if known:
                level[k] += max(trend.level, 1 / age) * (value - s - level[k])
            slope[k] = drift + (trend.slope * (level[k] - before - drift) if known and age > 2 else 0.0)
            slope[k] = slope[k] if age > length else 0.0
        scored += waited > 0 and known
        if has_season:
            drift = 0.95 * own[1]
            new = own[0] + drift + (max(0.1, 1 / age) * (value - now - own[0] - drift) if known else 0.0)
            own = [new, drift + (0.01 * (new - own[0] - drift) if known and age > length else 0.0)]
            season[t % length] += max(0.2, 1 / (1 + (age - 1) // length)) * (value - new - now) if known else 0.0
        waited = waited + 1 if waited else 0
        if age >= young and (waited == 0 or waited > HORIZON):
            waited, kept = 1, list(zip(level, slope, strict=True))
            loss, scored = [x * float(FADE) for x in loss], scored * float(FADE)
    mean = np.array(loss) / max(scored, 1.0)
    relative = mean / mean.mean() if mean.any() else np.ones(mixture.count)
    n, prior = scored / HORIZON, float(PRIOR)
    share = ((relative * n + np.array(mixture.usual) * prior) / (n + prior)) ** -12.0
    share /= share.sum()
    told = np.zeros(HORIZON)
    for k in range(mixture.count):
        path = np.cumsum(kinds[k][0].damping ** np.arange(1, HORIZON + 1))
        seasons = [season[(len(v) + lead) % length] if kinds[k][1] else 0.0 for lead in range(HORIZON)]
        told += share[k] * (level[k] + slope[k] * path + np.array(seasons))
    return told


@pytest.mark.parametrize("length", [1, 4])
@pytest.mark.parametrize("count", [1, 7, 9, 60])
@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "with gaps"])
def test_it_says_what_the_formulas_say_one_number_at_a_time(length: int, count: int, gaps: bool) -> None:
    v, mixture = series_of(count, gaps=gaps), mixed(length)
    assert mixture.forecast(walked(mixture, v))[0] == pytest.approx(slow_forecast(mixture, v), rel=1e-4, abs=1e-4)


def test_a_trend_is_the_damped_one_of_statsmodels() -> None:
    v, trend = series_of(400), TRENDS[1]
    only = replace(mixed(1), usual=(9.0, 9.0, 9.0, 1e-3))  # the others' shares are nothing
    fitted = Holt(v.astype(float), damped_trend=True, initialization_method="known", initial_level=0.0, initial_trend=0.0)
    told = fitted.fit(smoothing_level=trend.level, smoothing_trend=trend.slope, damping_trend=trend.damping, optimized=False)
    state = walked(only, v)
    level, slope = state[0, only._parts.level][3], state[0, only._parts.slope][1]
    assert level == pytest.approx(told.level[-1], abs=1e-3)  # how it began is long forgotten
    assert slope == pytest.approx(told.trend[-1], abs=1e-3)


def test_the_one_that_has_lost_least_speaks_loudest() -> None:
    random = np.random.default_rng(3)
    mixture = replace(mixed(4), usual=(1.0,) * 8)
    noise = random.normal(0, 1, 400).astype(np.float32)  # about a constant level: the slow one
    walk = np.cumsum(random.normal(0, 1, 400)).astype(np.float32)  # the quick ones
    seasonal = np.tile(np.float32([0, 3, 1, -4]), 100) + 0.1 * noise  # those that see no season in it
    shares = [mixture.shares(walked(mixture, v))[:, 0] for v in (noise, walk, seasonal)]
    assert shares[0][[0, 2]].sum() > 0.5
    assert shares[1][[1, 3, 5, 7]].sum() > 0.6
    assert shares[2][[2, 3, 6, 7]].sum() > 0.99
    assert [float(share.sum()) for share in shares] == pytest.approx([1.0] * 3, abs=1e-6)


def test_one_that_never_erred_speaks_alone() -> None:
    panel = panel_of([np.tile([1.0, 4.0, 2.0, 8.0], 20) * 2**b for b in range(3)])
    mixture = mixture_for(panel, scaler_for(panel, HORIZON), HORIZON, weight=0.25)
    state = walked(mixture, np.log(panel.series(0)).astype(np.float32))
    shares = mixture.shares(state)[:, 0]
    assert np.isfinite(shares).all()
    assert shares[[2, 3, 6, 7]].sum() > 0.999  # those that see the season
    assert np.exp(mixture.forecast(state))[0] == pytest.approx(np.tile([1.0, 4.0, 2.0, 8.0], 2)[:HORIZON], rel=1e-2)
    still = mixture.shares(walked(replace(mixture, usual=(0.0,) * mixture.count), np.zeros(80, dtype=np.float32)))
    assert still.sum() == pytest.approx(1.0)


def test_a_series_that_leaves_the_logarithms_goes_on_from_what_was_known() -> None:
    mixture = mixed(4)
    state = walked(mixture, np.log(np.float32([20.0] * 40)))
    flat = mixture.forecast(state)
    missing = np.float32([np.nan])
    after = mixture.step(state, missing, np.float32([41]), np.array([True]))
    assert mixture.forecast(after) == pytest.approx(np.exp(flat), rel=1e-5)
    shares = mixture.shares(mixture.step(state, missing, np.float32([41]), np.array([False])))
    assert mixture.shares(after) == pytest.approx(shares, abs=1e-5)


def test_what_is_usual_is_known_without_the_tail() -> None:
    rows = [np.exp(series_of(50, seed=b)) for b in range(6)]
    panel = panel_of(rows)
    tail = held_back_tail(panel, HORIZON)
    other = replace(panel, values=panel.values.copy())
    for b in range(len(panel)):
        other.series(b)[-tail[b] :] = 1e3
    known, as_known = (mixture_for(p.drop_last(tail), scaler_for(panel, HORIZON), HORIZON, weight=0.2) for p in (panel, other))
    assert known == as_known


def test_the_tail_says_how_far_to_lean() -> None:
    truth = np.zeros((5, HORIZON), dtype=np.float32)
    one, other = truth + np.float32(1), truth - np.float32(1)
    weight = np.ones_like(truth)
    assert leaning(errors_by_leaning(truth, other, truth, weight), usual=0.25) == 0.0
    assert leaning(errors_by_leaning(one, other, truth, weight), usual=0.25) == 0.4
    assert leaning(errors_by_leaning(one, one, truth, weight), usual=0.25) == 0.25
    unknown = truth.copy()
    unknown[:, 1:] = np.nan
    assert errors_by_leaning(one, other, unknown, weight) == pytest.approx(np.abs(1 - 2 * LEANINGS))


def test_a_network_that_is_far_better_does_not_lean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = panel_of([np.exp(series_of(50, seed=b)) for b in range(6)])
    monkeypatch.setattr(ensemble, "errors_by_leaning", lambda *parts: 1 + LEANINGS)
    assert trained(panel, tmp_path).mixture is None


def test_the_tail_is_forecast_from_origins_that_do_not_see_it() -> None:
    origins = tail_origins(np.array([2, 0, 3]), np.array([10, 4, 8]))
    assert origins.index.tolist() == [0, 0, 2, 2, 2]
    assert origins.known.tolist() == [8, 9, 5, 6, 7]


def trained(panel: Panel, folder: Path, **settings: float) -> Recurrent:
    training = SMALL.model_copy(update=settings)
    return train_network(panel, model=TINY, training=training, horizon=HORIZON, quantiles=QUANTILES, seed=1, folder=folder)


def test_a_trained_network_leans_and_its_refit_as_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ensemble, "leaning", lambda errors, *, usual, tolerance: usual)
    panel = panel_of([np.exp(series_of(50, seed=b)) for b in range(6)])
    leaned = trained(panel, tmp_path / "with")
    alone = trained(panel, tmp_path / "without", lean=0.0)
    assert alone.mixture is None
    assert leaned.mixture is not None
    assert leaned.mixture.weight == 0.25
    origins = Origins.back(panel)
    (network, mixture), log = leaned.medians_at(panel, origins, (0.0, 1.0))
    median = leaned.predict(panel, HORIZON, quantiles=(0.5,), origins=origins).values[:, :, 0]
    assert log.all()
    assert np.log(median) == pytest.approx(network + leaned.mixture.weight * (mixture - network), abs=1e-4)
    assert np.exp(network) == pytest.approx(alone.predict(panel, HORIZON, quantiles=(0.5,), origins=origins).values[:, :, 0])
    refitted = refit_network(leaned, panel, training=SMALL, seed=1, folder=tmp_path / "refit")
    assert refitted.mixture == leaned.mixture


def test_leaning_moves_intervals_and_leaves_their_width(tmp_path: Path) -> None:
    panel = panel_of([series_of(50, seed=b) - 1 for b in range(6)])  # not in logarithms
    forecaster = trained(panel, tmp_path)
    mixture = forecaster.mixture or mixture_for(panel, forecaster.scaler, HORIZON, weight=0.3)
    said = [
        replace(forecaster, mixture=replace(mixture, weight=weight))
        .predict(panel, HORIZON, quantiles=QUANTILES, origins=Origins.back(panel))
        .values
        for weight in (0.0, 0.5)
    ]
    assert not np.allclose(said[0], said[1])
    assert np.diff(said[0], axis=2) == pytest.approx(np.diff(said[1], axis=2), abs=1e-4)


def test_the_young_do_not_lean(tmp_path: Path) -> None:
    panel = panel_of([np.exp(series_of(50, seed=b)) for b in range(6)])
    forecaster = trained(panel, tmp_path, lean=0.4)
    mixture = forecaster.mixture or mixture_for(panel, forecaster.scaler, HORIZON, weight=0.5)
    leaned, alone = replace(forecaster, mixture=mixture), replace(forecaster, mixture=replace(mixture, weight=0.0))
    assert mixture.young == 8
    for known, is_same in ((7, True), (8, False)):
        origins = Origins(np.arange(6), np.full(6, known))
        said = [f.predict(panel, HORIZON, quantiles=(0.5,), origins=origins).values for f in (leaned, alone)]
        assert np.array_equal(said[0], said[1]) == is_same


def test_a_file_keeps_the_mixture_and_one_without_it_is_read_as_before(tmp_path: Path) -> None:
    panel = panel_of([np.exp(series_of(50, seed=b)) for b in range(3)])
    scaler = scaler_for(panel, HORIZON)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = Network(TINY, scaler, horizon=HORIZON, quantiles=QUANTILES)
    for mixture in (mixture_for(panel, scaler, HORIZON, weight=0.1), None):
        made = recurrent_from(
            network, scaler, TINY, frequency=panel.frequency, horizon=HORIZON, quantiles=QUANTILES, mixture=mixture
        )
        save_recurrent(made, tmp_path / "weights.safetensors")
        again = load_recurrent(tmp_path / "weights.safetensors")
        assert (again.mixture, again.fingerprint, again.state_size) == (mixture, made.fingerprint, made.state_size)
