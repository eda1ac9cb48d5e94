"""What a step costs, measured side by side."""

import time
from collections.abc import Mapping

import numpy as np

from forecaster.forecast import Stepper
from forecaster.series import Panel

SERIES = 1_024  # in a batch
TURNS = 7  # of each stepper; the fastest counts, as what else the machine does only slows
STEPS = 2  # in a turn


def step_costs(steppers: Mapping[str, Stepper], panel: Panel) -> dict[str, float]:
    """Microseconds of processor time for one series and one step, through `Stepper.step`, on values of the panel.

    The steppers take turns, so that a slow moment of the machine is everybody's.
    """
    known = panel.values[~np.isnan(panel.values)]
    y = np.resize(known, (STEPS + 1, SERIES))
    positions = panel.starts[0] + np.arange(STEPS + 1)
    states = {name: stepper.initial_state(SERIES) for name, stepper in steppers.items()}
    for name, stepper in steppers.items():  # the first step makes what later ones find made
        states[name] = stepper.step(states[name], y[0], np.full(SERIES, positions[0]))
    best = dict.fromkeys(steppers, np.inf)
    for _ in range(TURNS):
        for name, stepper in steppers.items():
            state, began = states[name], time.process_time()
            for step in range(1, STEPS + 1):
                state = stepper.step(state, y[step], np.full(SERIES, positions[step]))
            best[name] = min(best[name], time.process_time() - began)
    return {name: 1e6 * seconds / STEPS / SERIES for name, seconds in best.items()}
