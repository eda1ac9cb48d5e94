"""The live state of a run that takes over, made before a stream asks for it."""

import io
from collections.abc import Callable
from typing import Any

from forecaster.errors import ConfigError
from forecaster.jobs.home import Home
from forecaster.jobs.runs import Run


def warm_live(run: Run, home: Home, *, say: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Make the state under `state/RUN` from the history of the run's panel, so that a stream of the run begins at once.

    A state that is there is left to the stream that owns it, which goes on from its own feed: that is what a rollback finds. A
    run with covariates does not stream, and needs none. Raises StateError when the state is damaged or in use.
    """
    from forecaster.jobs.stream import stream

    state = home.states / run.path.name
    if state.exists():
        return {"state": str(state), "is_new": False}
    try:
        stream(
            run,
            home=home,
            state=state,
            source=io.BytesIO(b""),
            sink=io.BytesIO(),
            from_start=False,
            cold=False,
            emit_every=0,
            should_stop=lambda: False,
            say=say,
            progress=lambda *_: None,
        )
    except ConfigError as error:
        return {"state": None, "is_new": False, "why": str(error)}
    return {"state": str(state), "is_new": True}
