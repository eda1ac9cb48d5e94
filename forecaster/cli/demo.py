"""`forecast demo`: every command in the order a user meets them."""

from pathlib import Path
from typing import Annotated

import typer

from forecaster.cli.app import mistakes_told


def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo works; an earlier demo there is replaced.")] = Path("demo"),
) -> None:
    """The main job on data that ships with statsmodels: every command in the order a user meets them."""
    with mistakes_told():
        from forecaster.demo import show_demo

        show_demo(folder)
