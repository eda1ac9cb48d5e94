"""Every forecaster of a run as a stepper: what a stream, or whoever else lives with a run, steps.

What is fitted for it is kept in the run, so that a stepper has the same fingerprint whenever it is made, however the panel grew
since: state that was written with it goes on.
"""

import hashlib
from collections.abc import Callable

import pandas as pd

from forecaster.baselines import BASELINES, BaselineStepper, make_baselines
from forecaster.errors import ConfigError, StateError
from forecaster.evaluation.live_champions import ChampionStepper, Member
from forecaster.forecast import State, Stepper
from forecaster.ingest import PanelStore
from forecaster.jobs.champions import CHAMPIONS, needed_champions
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.jobs.whole import write_whole
from forecaster.models.checkpoint import load_recurrent
from forecaster.models.recurrent import Recurrent
from forecaster.series import Panel

STAND_IN = "seasonal_naive"  # costs next to nothing to carry, and has a number as soon as there is a value

Warm = Callable[[Panel], State]
Say = Callable[[str], None]
Progress = Callable[[int, int, str], None]


def stepper_of(
    run: Run, home: Home, name: str | None = None, *, say: Say = lambda _: None, progress: Progress | None = None
) -> tuple[Stepper, Warm]:
    """The stepper of a forecaster, by name, and what makes the state [B, S] of a panel's series; the network's without a name.

    A name is that of the network, of a baseline, or `champions`. Baselines are fitted on the panel as it was when the run was
    trained, once. Raises ConfigError for another name, for champions that nobody has chosen, and where the network asks for
    covariates, which a stream does not carry.
    """
    network = load_recurrent(run.deployed_weights)
    if name in (None, network.name):
        _check_covariates(run, network)
        return network, network.warm
    if name == CHAMPIONS:
        champions = _champions(run, home, network, say=say, progress=progress)
        return champions, champions.warm
    if name not in BASELINES:
        known = ", ".join((network.name, CHAMPIONS, *BASELINES))
        raise ConfigError(f"--forecaster {name!r} cannot be stepped for this run; choose {known}.")
    stepper = _baseline(run, home, str(name), _trained_on(run, home), say=say, progress=progress)
    return stepper, stepper.warm


def _champions(run: Run, home: Home, network: Recurrent, *, say: Say, progress: Progress | None) -> ChampionStepper:
    """The run's champions, each baseline among them fitted on the series that it may speak for, as champion or as runner-up."""
    table, panel = needed_champions(run), _trained_on(run, home)
    steppable = [name for name in table.forecasters if name == network.name or name in BASELINES]
    ranked = dict(zip(table.ids, table.ranked(steppable)[:, :2].tolist(), strict=True))
    members: dict[str, Member] = {}
    for place, name in enumerate(steppable):
        own = [b for b, unique_id in enumerate(panel.ids) if place in ranked.get(unique_id, (0, 1))]
        if not own and place > 1:
            continue
        if name == network.name:
            _check_covariates(run, network)
            members[name] = Member(network, network.warm)
        else:
            stepper = _baseline(run, home, name, panel.select(own) if own else panel, say=say, progress=progress)
            members[name] = Member(stepper, stepper.warm)
    naive = _baseline(run, home, STAND_IN, panel, say=say, progress=progress)
    return ChampionStepper(table, members, Member(naive, naive.warm))


def _trained_on(run: Run, home: Home) -> Panel:
    return run.known_part(PanelStore(home.panels).load(run.facts.panel))


def _baseline(run: Run, home: Home, name: str, panel: Panel, *, say: Say, progress: Progress | None) -> BaselineStepper:
    """A baseline's stepper with the parameters that the run keeps for these series, or fitted now and kept."""
    told = repr((name, panel.ids, run.config.baselines.season_length))
    path = run.path / "live" / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}.parquet"
    config = run.config.baselines.model_copy(update={"names": (name,)})
    baseline = make_baselines(config, progress=progress, cache=home.fits)[0]
    if not path.exists():
        say(f"fitting {name} on {len(panel):,} series")
        frame = baseline.fit(panel).to_frame()
        write_whole(path, lambda beside: frame.to_parquet(beside, index=False))
    try:
        fitted = baseline.from_frame(pd.read_parquet(path))
    except (OSError, ValueError) as error:
        raise StateError(f"{path} is damaged ({str(error).splitlines()[0]}). Remove it: it is made again.") from error
    return fitted.stepper(panel.frequency, horizon=run.facts.horizon, quantiles=run.config.quantiles)


def _check_covariates(run: Run, network: Recurrent) -> None:
    if network.inputs.known:
        names = ", ".join(scale.name for scale in network.inputs.known)
        raise ConfigError(
            f"run {run.path.name!r} forecasts with covariates ({names}), and a feed carries values alone. "
            "Train a run for streams with --set inputs.known=[], or forecast with `forecast predict`."
        )
