"""The live state of a run that takes over, made before a stream asks for it."""

from collections.abc import Callable
from typing import Any

from forecaster.errors import ConfigError
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker, open_live
from forecaster.jobs.runs import Run


def warm_live(run: Run, home: Home, *, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Make the state under `state/RUN` from the history of the run's panel, so that a stream of the run begins at once.

    A state that is there is left to the stream that owns it, which goes on from its own feed: that is what a rollback finds. A
    run with covariates does not stream, and needs none. Raises StateError when the state is damaged or in use.
    """
    state = home.states / run.path.name
    if state.exists():
        return {"state": str(state), "is_new": False}
    try:
        speaker = Speaker.of(run, home, None, say=say)
    except ConfigError as error:
        return {"state": None, "is_new": False, "why": str(error)}
    with open_live(speaker, home, state, config=run.config.streaming, cold=False, rebuild=False, say=say):
        return {"state": str(state), "is_new": True}
