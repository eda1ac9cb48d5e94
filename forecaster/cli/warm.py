"""`forecast warm`: the live state of a run, made from stored history before a stream asks for it."""

from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli.app import Json, RunName, mistakes_told


def warm(
    run: RunName,
    state: Annotated[Path | None, typer.Option(help="The folder of the state; state/RUN otherwise.")] = None,
    forecaster: Annotated[str | None, typer.Option(help="In place of the network: champions, or a baseline.")] = None,
    calibrate: Annotated[bool | None, typer.Option("--calibrate/--no-calibrate", help="Correct intervals online.")] = None,
    json: Json = False,
) -> None:
    """Make the live state of a run from its panel's history, or add the series that it does not have.

    It is the state that stepping through the history gives, many steps at a time. A stream does this by itself when it begins;
    here it is done beforehand. Series that live already are left as they are.

    `forecast warm RUN --state state/live`
    """
    with mistakes_told():
        from forecaster.ingest import PanelStore
        from forecaster.jobs.home import Home
        from forecaster.jobs.live import Speaker, open_live
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json

        talk, home = Talk(), Home.here()
        opened = Run.open(run, home)
        config = opened.config.streaming
        if calibrate is not None:
            config = config.model_copy(update={"calibrate": calibrate})
        folder = state or home.states / opened.path.name
        speaker = Speaker.of(opened, home, forecaster, config=config, say=talk.say)
        with open_live(speaker, home, folder, config=config, cold=True, rebuild=False, say=talk.say) as engine:
            added = engine.warm(PanelStore(home.panels).load(opened.facts.panel), build=speaker.warm)
            done = {"state": str(folder), "run": str(opened.path), "added": added, "series": len(engine.series)}
        print_json(done) if json else talk.say(f"{added:,} series added from history; {done['series']:,} live in {folder}")
