"""From a run to what goes on inside its network."""

from collections.abc import Callable, Sequence

import numpy as np

from forecaster.baselines import make_baselines
from forecaster.errors import ConfigError, DataError
from forecaster.evaluation.backtest import rolling_origins, scale_season_length
from forecaster.explain.conventions import Convention
from forecaster.explain.smoothness import Smoothness, smoothness
from forecaster.explain.timescales import Timescales, timescales
from forecaster.explain.trace import Trace, trace
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.network import torch_threads
from forecaster.series import Panel
from forecaster.streaming.arrivals import Unreadable, place_dates

Say = Callable[[str], None]
Progress = Callable[[int, int, str], None]


def explain_trace(
    run: Run,
    *,
    home: Home,
    series: str,
    at: str,
    steps: int,
    units: Sequence[int] | None,
    is_whole: bool,
    member: int,
    layer: int,
    convention: Convention,
    say: Say,
) -> Trace:
    """Steps of the run's network on the panel as it is stored now, worked out in numbers; `is_whole` asks for every unit.

    Raises DataError for a series or a time that the panel has not, ConfigError for a unit, layer or member beyond the network's.
    """
    network = load_recurrent(run.deployed_weights)
    panel = _panel(run, home)
    if panel.frequency != network.frequency:
        raise DataError(
            f"panel {run.facts.panel!r} has frequency {panel.frequency.alias}, the run was trained on {network.frequency.alias}. "
            "Train again on the panel as it is."
        )
    stamp = _whole_number(at) if panel.frequency.is_numbered else at
    position = place_dates([stamp], panel.frequency)[stamp]
    if isinstance(position, Unreadable):
        raise DataError(f"--at: {position.reason.replace('Send', 'Give')}")
    shown = range(1, network.config.hidden_size + 1) if is_whole else units
    with torch_threads(1):
        found = trace(
            network, panel, series, position, steps=steps, units=shown, member=member, layer=layer, convention=convention
        )
    if len(found.steps) < steps:
        say(f"series {series!r} ends at {found.steps[-1].timestamp}: {len(found.steps)} of {steps} steps")
    return found


def explain_timescales(run: Run, *, home: Home, at_most: int, say: Say, progress: Progress) -> Timescales:
    """The units of the run's network as smoothers, over what it was trained on, beside simple smoothing fitted to the same."""
    network = load_recurrent(run.deployed_weights)
    panel = _sample(run.known_part(_panel(run, home)), at_most, say)
    config = run.config.baselines.model_copy(update={"names": ("ses",)})
    say(f"fitting ses on {len(panel):,} series")
    fitted = make_baselines(config, progress=progress)[0].fit(panel).to_frame()
    alphas = dict(zip(fitted["unique_id"], fitted["alpha"].astype(float), strict=True)) if "alpha" in fitted else {}
    with torch_threads(1):
        return timescales(network, panel, ses_alphas=alphas, seed=run.config.seed, progress=progress)


def explain_smoothness(run: Run, *, home: Home, at_most: int, say: Say, progress: Progress) -> Smoothness:
    """What the run's network, as it was judged, loses without its parts, on the values that it has not seen.

    Raises ConfigError when the run held nothing back.
    """
    if not run.facts.holdout:
        raise ConfigError(
            f"run {run.path.name!r} was trained on every value of {run.facts.panel!r}, so no part of it can tell what is lost. "
            "Train with --set evaluation.origins=1 or more."
        )
    network = load_recurrent(run.judged_weights)
    panel = _sample(run.known_part(_panel(run, home)), at_most, say)
    horizon = run.facts.horizon
    stride = run.config.evaluation.stride or horizon
    origins = rolling_origins(panel, run.facts.holdout, horizon=horizon, stride=stride)
    season = run.config.evaluation.season_length or scale_season_length(panel.frequency)
    with torch_threads(1):
        return smoothness(network, panel, origins, season_length=season, progress=progress)


def _panel(run: Run, home: Home) -> Panel:
    return PanelStore(home.panels).load(run.facts.panel)


def _sample(panel: Panel, at_most: int, say: Say) -> Panel:
    """At most so many series, evenly drawn over the panel."""
    if len(panel) <= at_most:
        return panel
    say(f"{at_most:,} of {len(panel):,} series, evenly drawn (--at-most takes more)")
    return panel.select(np.unique(np.linspace(0, len(panel) - 1, at_most).round().astype(np.int64)).tolist())


def _whole_number(at: str) -> int:
    try:
        return int(at)
    except ValueError:
        raise DataError(f"--at {at!r}: this panel counts steps. Give a whole number.") from None
