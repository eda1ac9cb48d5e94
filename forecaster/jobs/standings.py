"""Champions heeded for what a panel shows since they were chosen, as those of a stream are."""

from collections.abc import Callable
from dataclasses import replace

from forecaster.baselines import make_baselines
from forecaster.evaluation.champions import Champions
from forecaster.evaluation.live_champions import ChampionStepper
from forecaster.jobs.champions import CHAMPIONS
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run
from forecaster.jobs.speakers import STAND_IN, stepper_of
from forecaster.models.network import torch_threads
from forecaster.models.recurrent import Recurrent
from forecaster.series import Panel

Say = Callable[[str], None]
Progress = Callable[[int, int, str], None]


def heeded(
    champions: Champions, run: Run, home: Home, panel: Panel, network: Recurrent, *, say: Say, progress: Progress | None = None
) -> Champions:
    """The champions, falling back where the values since their choice speak against them, and a note where they do.

    They are judged by forecasts of the fits that the run keeps from its training, none of which had seen what it is judged by.
    A network that asks for covariates cannot be stepped through the values; then nothing is judged, and `say` is told.
    """
    through = dict(zip(champions.table.ids, champions.table.through.tolist(), strict=True))
    grown = [b for b, unique_id in enumerate(panel.ids) if panel.ends[b] > through.get(unique_id, panel.ends[b])]
    if not grown:
        return champions
    if network.inputs.known:
        say("champions are not judged by what came since they were chosen: the network asks for covariates. Evaluate again.")
        return champions
    live, _ = stepper_of(run, home, CHAMPIONS, say=say, progress=progress)
    assert isinstance(live, ChampionStepper)
    part = panel.select(grown)
    with torch_threads(1):
        state = live.warm(part)
    speakers, told = live.speakers(state), live.told(state)
    doubted = [row for row, why in enumerate(told) if why]  # whose champion speaks on is told as well
    instead = {part.ids[row]: (speakers[row] or STAND_IN, told[row]) for row in doubted}
    forecasters = dict(champions.forecasters)
    left = [row for row in doubted if not speakers[row]]
    if left and STAND_IN not in forecasters:
        config = run.config.baselines.model_copy(update={"names": (STAND_IN,)})
        forecasters[STAND_IN] = make_baselines(config, progress=progress, cache=home.fits)[0].fit(part.select(left))
    return replace(champions, forecasters=forecasters, instead=instead)
