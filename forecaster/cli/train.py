"""`forecast train`: a panel in, a run out."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli.app import FARTHEST, Json, mistakes_told


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Such as configs/default.yaml.")],
    panel: Annotated[str, typer.Option(help="The panel to learn from.")],
    horizon: Annotated[
        int | None, typer.Option(min=1, max=FARTHEST, help="How far forecasts reach; else the frequency's usual.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.01, help="Training time, at most.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="May be repeated.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; panel and time otherwise.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over, also where an unfinished training could go on.")] = False,
    json: Json = False,
) -> None:
    """Train the network on a panel; the same command goes on where a training was cut off.

    `forecast train configs/default.yaml --panel sales`

    `forecast train configs/default.yaml --panel sales --horizon 28 --max-minutes 5 --set model.layers=2`
    """
    with mistakes_told():
        from forecaster.config import read_config
        from forecaster.jobs.home import Home
        from forecaster.jobs.train import train as train_run
        from forecaster.terminal import Talk, print_json, print_lines

        talk = Talk()
        given = [*(settings or []), *([f"horizon={horizon}"] if horizon else [])]
        given += [f"training.max_minutes={max_minutes}"] if max_minutes else []
        command = shlex.join(["forecast", *sys.argv[1:]])
        with talk.progress("training") as progress:
            run = train_run(
                read_config(config, given),
                panel,
                home=Home.here(),
                name=name,
                command=command,
                fresh=fresh,
                say=talk.say,
                progress=progress,
            )
        facts = {"run": str(run.path), "panel": panel, "horizon": run.facts.horizon, "holdout": run.facts.holdout}
        facts |= {"model": run.facts.model_fingerprint, "seconds": run.facts.seconds}
        print_json(facts) if json else print_lines(
            [f"run {run.path} (model {run.facts.model_fingerprint}, {run.facts.seconds:.0f} s)"]
        )
