"""`forecast nightly`: everything that a panel needs once a night, in a job that can be left alone."""

from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli.app import Json, mistakes_told


def nightly(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Such as configs/nightly.yaml.")],
    panel: Annotated[str, typer.Option(help="The panel to operate.")],
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="May be repeated.")] = None,
    accept: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help="Findings that are right: scale, gone, …; may be repeated.")
    ] = None,
    now: Annotated[str | None, typer.Option(metavar="TIME", help="Take this for the present: 2024-05-01T02:00.")] = None,
    json: Json = False,
) -> None:
    """Take in what is new, check it, forecast, train where it is due, promote on evidence, tell, and tidy up.

    The same night started again goes on where it was, or does nothing. Exit codes: 0 all is well, 10 look when there is time,
    20 there are no forecasts of tonight, 75 another night is under way, 2 the configuration is wrong.

    `forecast nightly configs/nightly.yaml --panel sales`

    `forecast nightly configs/nightly.yaml --panel sales --accept scale`
    """
    with mistakes_told():
        from forecaster.config import read_config
        from forecaster.jobs.home import Home, clock_at
        from forecaster.jobs.journal import OverlapError
        from forecaster.jobs.nightly import nightly as do_night
        from forecaster.jobs.summary import BUSY, markdown
        from forecaster.terminal import Talk, print_json, print_lines

        talk = Talk()
        try:
            with talk.progress("night") as progress:
                summary = do_night(
                    read_config(config, settings or []),
                    panel,
                    home=Home.here(),
                    clock=clock_at(now),
                    accept=tuple(accept or ()),
                    say=talk.say,
                    progress=progress,
                )
        except OverlapError as error:
            talk.say(f"StateError  {error}")
            raise typer.Exit(BUSY) from None
        print_json(summary.to_dict()) if json else print_lines(markdown(summary).splitlines())
        raise typer.Exit(summary.severity)
