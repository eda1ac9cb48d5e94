"""`forecast report`: what a run is worth, as one page."""

from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli.app import Json, RunName, mistakes_told


def report(
    run: RunName,
    out: Annotated[Path | None, typer.Option(help="Where to write it; report.html in the run's folder otherwise.")] = None,
    ablation: Annotated[Path | None, typer.Option(help="What `forecast ablate` found: its folder.")] = None,
    json: Json = False,
) -> None:
    """Tell what a run is worth in one page of HTML, which needs no network.

    `forecast report RUN`

    `forecast report RUN --out report.html --ablation FOLDER`
    """
    with mistakes_told():
        from forecaster.jobs.home import Home
        from forecaster.jobs.report import report as report_run
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json

        talk, home = Talk(), Home.here()
        opened = Run.open(run, home)
        with talk.progress("drawing") as progress:
            done = report_run(opened, home=home, out=out, ablation=ablation, say=talk.say, progress=progress)
        if json:
            print_json(done)
        else:
            talk.say(f"{done['out']} ({done['bytes'] / 1000:,.0f} kB)")
