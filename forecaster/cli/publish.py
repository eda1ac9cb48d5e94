"""`forecast publish`: forecasts into somebody else's database."""

from typing import Annotated

import typer

from forecaster.cli.app import Json, mistakes_told


def publish(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A panel with published forecasts, or a .parquet file of forecasts."),
    ],
    to: Annotated[
        str,
        typer.Option(
            envvar="FORECASTER_DATABASE", show_envvar=True, help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE."
        ),
    ],
    table: Annotated[str, typer.Option(help="TABLE or SCHEMA.TABLE; made where there is none.")] = "forecasts",
    json: Json = False,
) -> None:
    """Upsert forecasts into a table, in one transaction: all rows or none.

    `forecast publish sales --to postgresql://me@db.example/planning --table forecasts`

    `forecast publish forecasts.parquet --to sqlite:///forecasts.db`
    """
    with mistakes_told():
        from dataclasses import asdict

        from forecaster.jobs.home import Home
        from forecaster.jobs.sql import published_table, write_sql
        from forecaster.terminal import Talk, print_json, print_lines

        talk = Talk()
        rows = published_table(source, Home.here())
        with talk.progress("writing") as progress:
            written = write_sql(rows, to, table, progress=progress)
        later = f"; {written.kept_later:,} stay as they are, made later" if written.kept_later else ""
        line = f"{written.rows - written.kept_later:,} rows in {written.database}, table {written.table}{later}"
        print_json(asdict(written)) if json else print_lines([line])
