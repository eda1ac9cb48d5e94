"""`forecast drift`: does a run still do as well as when it was accepted?"""

from typing import Annotated

import typer

from forecaster.cli.app import Json, mistakes_told


def drift(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run; PANEL@current is the one in service.")], json: Json = False
) -> None:
    """Hold the run's errors and coverage on what came since its training against those it was accepted with.

    Shows the evidence, and whether a night would train again. Nothing is changed.

    `forecast drift sales@current`
    """
    with mistakes_told():
        from forecaster.jobs.drift import watch
        from forecaster.jobs.home import Home
        from forecaster.jobs.runs import Run
        from forecaster.terminal import print_json, print_lines

        home = Home.here()
        found = watch(Run.open(run, home), home=home)
        print_json(found.to_dict()) if json else print_lines(found.lines())
