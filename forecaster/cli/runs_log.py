"""`forecast runs log`: a run told to MLflow."""

from typing import Annotated

import typer

from forecaster.cli.app import Json, RunName, mistakes_told
from forecaster.cli.runs import runs

__all__ = ["log", "runs"]


@runs.command()
def log(
    run: RunName,
    to: Annotated[
        str, typer.Option(envvar="MLFLOW_TRACKING_URI", show_envvar=True, help="A folder, sqlite:///FILE or https://SERVER.")
    ] = "mlruns",
    experiment: Annotated[str | None, typer.Option(help="The name of the panel otherwise.")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="The weights too.")] = False,
    json: Json = False,
) -> None:
    """Tell MLflow of a run: settings, scores, losses and files; told twice, nothing changes.

    `forecast runs log sales@current --to https://mlflow.example`
    """
    with mistakes_told():
        from dataclasses import asdict

        from forecaster.jobs.home import Home
        from forecaster.jobs.runs import Run
        from forecaster.jobs.tracking import log_run
        from forecaster.terminal import print_json, print_lines

        opened = Run.open(run, Home.here())
        logged = log_run(opened, to, experiment=experiment, has_weights=weights)
        known = "is known to" if logged.is_there else "told to"
        line = f"{opened.path.name} {known} {logged.server} as {logged.mlflow_run} of experiment {logged.experiment}"
        count = f"{logged.parameters} parameters, {logged.metrics} metrics, {len(logged.files)} files"
        print_json(asdict(logged)) if json else print_lines([f"{line}: {count}"])
