"""From a run and a declared hierarchy to forecasts that add up."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from forecaster.baselines import BASELINES, make_baselines
from forecaster.errors import ConfigError, DataError
from forecaster.forecast import Forecast, Forecaster
from forecaster.hierarchy import METHODS, Hierarchy, read_tree, reconcile, with_sums
from forecaster.ingest import PanelStore
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.models.checkpoint import load_recurrent
from forecaster.series import Origins, Panel, Values

PAST_ORIGINS = 200  # whose errors at lead 1 tell how nodes err together


def declared_hierarchy(panel: Panel, *, by: Sequence[str], tree: Path | None) -> Hierarchy:
    """The hierarchy of `--by COLUMN,COLUMN` or of `--tree FILE`; raises ConfigError unless it is exactly one of them."""
    if bool(by) == (tree is not None):
        found = "both" if by else "neither"
        raise ConfigError(f"{found} of --by and --tree; expected one. Give --by region,store, or --tree FILE.yaml.")
    if tree is not None:
        return Hierarchy.from_tree(read_tree(tree), panel.ids, source=f"--tree {tree}")
    return Hierarchy.from_static(panel, [[name.strip() for name in grouping.split(",")] for grouping in by])


def reconciled(
    run: Run,
    *,
    home: Home,
    by: Sequence[str] = (),
    tree: Path | None = None,
    method: str = "mint",
    horizon: int | None = None,
    forecaster: str | None = None,
    only: Sequence[str] = (),
    say: Callable[[str], None],
    progress: Callable[[int, int, str], None],
) -> tuple[Hierarchy, Forecast]:
    """Forecasts of the panel's series and of their sums, from its end, that add up.

    The network, or a baseline, forecasts the sums as it forecasts the series, from the sums of the past; `reconcile` then moves
    all to where they agree. `mint` learns how nodes err together from forecasts one step ahead in the past. Raises DataError when
    the panel is not the one of the run, or has no common end; ConfigError for a forecaster, a method or a sum that is none.
    """
    if method not in METHODS:
        raise ConfigError(f"--method {method!r} is none; choose {', '.join(METHODS)}.")
    panel = _panel(run, home, only)
    hierarchy = declared_hierarchy(panel, by=by, tree=tree)
    first = ", ".join(hierarchy.sums[:4]) + ", …" * (len(hierarchy.sums) > 4)
    say(f"{len(hierarchy.sums):,} sums of {len(panel):,} series: {first}")
    whole = panel if method == "bottom_up" else with_sums(panel, hierarchy)
    speaker = _speaker(run, home, whole, forecaster, progress=progress)
    progress(1, 3, f"{len(whole):,} forecasts")
    forecast = speaker.predict(whole, horizon or run.facts.horizon, quantiles=run.config.quantiles, origins=Origins.back(whole))
    progress(2, 3, "errors of the past")
    errors = past_errors(speaker, whole) if method == "mint" else None
    is_nonnegative = not (panel.values < 0).any()
    done = reconcile(forecast, hierarchy, method=method, errors=errors, is_nonnegative=is_nonnegative)
    progress(3, 3, "")
    return hierarchy, done


def past_errors(speaker: Forecaster, panel: Panel, *, origins: int = PAST_ORIGINS) -> Values:
    """Actual minus forecast one step ahead, at the last times at which every series had begun [T, B]; NaN where not observed."""
    times = min(origins, int(panel.lengths.min()) - 1)
    if times < 1:
        return np.empty((0, len(panel)))
    rows = Origins.back(panel, range(1, times + 1))
    said = speaker.predict(panel, 1, quantiles=(0.5,), origins=rows).median[:, 0]
    came = panel.values[panel.offsets[rows.index] + rows.known]
    return np.asarray((came - said).reshape(len(panel), times).T)


def _panel(run: Run, home: Home, only: Sequence[str]) -> Panel:
    """The panel as it is stored now, or the series in `only`."""
    panel = PanelStore(home.panels).load(run.facts.panel)
    if unknown := [name for name in only if name not in panel.ids]:
        raise DataError(f"series {unknown[0]!r} is not in panel {run.facts.panel!r}, which has {len(panel):,}. Check --only.")
    return panel.select([b for b, name in enumerate(panel.ids) if name in set(only)]) if only else panel


def _speaker(run: Run, home: Home, panel: Panel, name: str | None, *, progress: Callable[[int, int, str], None]) -> Forecaster:
    """The network of the run, or a baseline that is fitted to series and sums alike."""
    if name is None or name == run.config.model.cell:
        network = load_recurrent(run.deployed_weights)
        if panel.frequency != network.frequency:
            raise DataError(
                f"panel {run.facts.panel!r} has frequency {panel.frequency.alias}, the run was trained on "
                f"{network.frequency.alias}. Train again on the panel as it is."
            )
        return network
    if name not in BASELINES:
        known = ", ".join((run.config.model.cell, *BASELINES))
        raise ConfigError(f"--forecaster {name!r} forecasts no sums; choose {known}.")
    config = run.config.baselines.model_copy(update={"names": (name,)})
    return make_baselines(config, progress=progress, cache=home.fits)[0].fit(panel)
