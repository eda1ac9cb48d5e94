"""`forecast ingest`: files in, a panel out."""

import sys
from typing import Annotated, Literal

import typer

from forecaster.cli.app import Json, mistakes_told

ErrorOrDrop = Literal["error", "drop"]
KeepOrError = Literal["keep", "error"]
Duplicates = Literal["error", "first", "last", "mean"]
Misaligned = Literal["error", "floor", "drop"]
ErrorOrMissing = Literal["error", "missing"]
Short = Literal["keep", "drop", "error"]
Layout = Literal["auto", "long", "wide"]
FileFormat = Literal["auto", "csv", "parquet", "ndjson"]
Decimal = Literal[".", ","]
ClockChange = Literal["error", "infer", "drop"]


def ingest(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files, glob patterns, or - for stdin.")],
    name: Annotated[str, typer.Option(help="The panel to make, add to, or revise.")],
    freq: Annotated[
        str | None, typer.Option(help="Frequency (h, 15min, D, B, W-SUN, MS, QE, …); else found in the data.")
    ] = None,
    time_zone: Annotated[str | None, typer.Option(help="Time zone of times without an offset: Europe/Berlin.")] = None,
    id_column: Annotated[str | None, typer.Option(help="Column of the series' names.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Column of times, or of step numbers.")] = None,
    value_column: Annotated[str | None, typer.Option(help="Column of values.")] = None,
    known: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A covariate known ahead, such as a price: rows with an empty value hold its future. May be repeated.",
        ),
    ] = None,
    static: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="What never changes in a series, such as a region. May be repeated."),
    ] = None,
    layout: Annotated[Layout, typer.Option(help="long: a row is a value; wide: a column is a series.")] = "auto",
    file_format: Annotated[FileFormat, typer.Option("--format", help="Format of the files.")] = "auto",
    encoding: Annotated[str | None, typer.Option(help="Encoding of text files; UTF-8 otherwise.")] = None,
    decimal: Annotated[Decimal, typer.Option(help="The decimal sign of numbers.")] = ".",
    time_format: Annotated[str | None, typer.Option(help="How times are written, for example %d/%m/%Y.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Series to take: a glob pattern; may be repeated.")] = None,
    duplicates: Annotated[Duplicates, typer.Option(help="Rows of one series and time with other values.")] = "error",
    misaligned: Annotated[Misaligned, typer.Option(help="Times that lie off the frequency's grid.")] = "error",
    unparsable: Annotated[ErrorOrDrop, typer.Option(help="Times and values that cannot be read.")] = "error",
    infinite: Annotated[ErrorOrMissing, typer.Option(help="Infinite values.")] = "error",
    clock_change: Annotated[ClockChange, typer.Option(help="Local times that a clock change repeats or skips.")] = "error",
    gaps: Annotated[KeepOrError, typer.Option(help="Steps that no row speaks of.")] = "keep",
    missing: Annotated[KeepOrError, typer.Option(help="Rows without a value.")] = "keep",
    short: Annotated[Short, typer.Option(help="Series with fewer than --min-length values.")] = "keep",
    min_length: Annotated[int, typer.Option(min=1, help="Fewest values of a series that is not short.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report; change nothing.")] = False,
    json: Json = False,
) -> None:
    """Check files and store them as a panel; ingest again to add or revise.

    `forecast ingest sales.csv --name sales`

    `forecast ingest 'meters/*.csv.gz' --name meters --time-zone Europe/Berlin --duplicates last`

    `forecast ingest shops.csv --name shops --known price --known promotion --static region`
    """
    with mistakes_told():
        from forecaster.ingest import ColumnNames, IngestPolicies, PanelStore, ingest_files
        from forecaster.jobs.home import Home
        from forecaster.terminal import Talk, print_json, print_lines

        talk = Talk()
        policies = IngestPolicies(
            duplicates=duplicates,
            misaligned=misaligned,
            unparsable=unparsable,
            infinite=infinite,
            clock_change=clock_change,
            gaps=gaps,
            missing=missing,
            short=short,
            min_length=min_length,
        )
        with talk.progress("reading") as progress:
            report = ingest_files(
                files,
                name,
                store=PanelStore(Home.here().panels),
                policies=policies,
                columns=ColumnNames(id_column, time_column, value_column, tuple(known or ()), tuple(static or ())),
                freq=freq,
                time_zone=time_zone,
                layout=layout,
                file_format=file_format,
                encoding=encoding,
                decimal=decimal,
                time_format=time_format,
                only=only or (),
                stdin=sys.stdin.buffer,
                progress=progress,
                dry_run=dry_run,
            )
        print_json(report.to_dict()) if json else print_lines(report.lines())
