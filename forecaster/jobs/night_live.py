"""Live states that follow the run in service: made where there are none, handed over where another run has them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from forecaster.jobs.champions import CHAMPIONS, read_champions
from forecaster.jobs.evaluate import choose
from forecaster.jobs.handover import follow
from forecaster.jobs.home import Home
from forecaster.jobs.live import Speaker, open_live
from forecaster.jobs.runs import Run
from forecaster.models.training import Progress
from forecaster.streaming.directory import FILE, peek

Say = Callable[[str], None]


def owner_of(state: Path) -> dict[str, Any]:
    """Who a live state belongs to, empty where there is no state; raises StateError when it is damaged."""
    return peek(state)["owner"] if (state / FILE).exists() else {}


def let_follow(state: Path, run: Run, home: Home, *, forecaster: str | None, say: Say, progress: Progress) -> dict[str, Any]:
    """Let a live state speak by a run, with the forecaster that it had, or with `forecaster` where it is new.

    Nothing is done where the run has it already. Raises ForecasterError when it cannot be made or handed over; it stays as it is.
    """
    owner = owner_of(state)
    had = Path(owner["run"]).name if "run" in owner else None
    told: dict[str, Any] = {"run": run.path.name, "before": had}
    speaks = owner.get("forecaster") if owner else forecaster
    if speaks == CHAMPIONS and read_champions(run) is None:
        choose(run, home=home, say=say, progress=progress)
    if not owner:
        speaker = Speaker.of(run, home, forecaster, say=say)
        with open_live(speaker, home, state, config=run.config.streaming, cold=False, rebuild=False, say=say) as engine:
            return told | {"done": "made", "series": len(engine.series)}
    if had == run.path.name:
        return told | {"done": "nothing"}
    done = follow(state, run, home, say=say)
    return told | {"done": "handed over", "series": done.series, "cut": len(done.cut), "moved": done.moved}
