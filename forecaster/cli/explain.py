"""`forecast explain`: a run in, what goes on inside its network out."""

from typing import Annotated, Literal

import typer

from forecaster.cli.app import Json, RunName, mistakes_told

explain = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Look inside a run's network: steps worked out in numbers, units as smoothers, how near it is to smoothing.

    `forecast explain trace RUN --series ID --at 2024-03-01`

    `forecast explain timescales RUN`

    `forecast explain smoothness RUN`""",
)

SERIES_AT_MOST = 200  # a distribution over units, and means over series, move little with more

AtMost = Annotated[int, typer.Option("--at-most", min=1, help="Series to look at; of more, as many are evenly drawn.")]
Units = Annotated[list[int] | None, typer.Option("--unit", min=1, help="A unit, from 1 on; may be repeated; else telling ones.")]


@explain.command("trace")
def explain_trace(
    run: RunName,
    series: Annotated[str, typer.Option(help="The series.")],
    at: Annotated[str, typer.Option(help="The time of the value that the first step takes in.")],
    steps: Annotated[int, typer.Option(min=1, max=100, help="How many steps from there on.")] = 2,
    unit: Units = None,
    all_units: Annotated[bool, typer.Option("--all", help="Every unit.")] = False,
    member: Annotated[int, typer.Option(min=1, help="Which of the networks that are averaged, from 1 on.")] = 1,
    layer: Annotated[int, typer.Option(min=1, help="Which layer, the lowest first, from 1 on.")] = 1,
    convention: Annotated[
        Literal["paper", "torch"],
        typer.Option(help="How formulas are written: z the share that enters (paper) or stays (torch), one bias or two."),
    ] = "paper",
    json: Json = False,
) -> None:
    """Work out real steps of the network, each formula beside its numbers, unit by unit.

    `forecast explain trace RUN --series ID --at 2024-03-01 --steps 3 --unit 9 --unit 31 --convention torch`
    """
    with mistakes_told():
        from forecaster.explain.words import trace_lines
        from forecaster.jobs.explain import explain_trace as trace_run
        from forecaster.jobs.home import Home
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json, print_lines

        home = Home.here()
        opened = Run.open(run, home)
        found = trace_run(
            opened,
            home=home,
            series=series,
            at=at,
            steps=steps,
            units=unit,
            is_whole=all_units,
            member=member,
            layer=layer,
            convention=convention,
            say=Talk().say,
        )
        print_json({"run": str(opened.path), **found.to_dict()}) if json else print_lines(trace_lines(found))


@explain.command("timescales")
def explain_timescales(
    run: RunName,
    at_most: AtMost = SERIES_AT_MOST,
    all_units: Annotated[bool, typer.Option("--all", help="Every unit in the table, not the ends of it.")] = False,
    json: Json = False,
) -> None:
    """Show each unit as an exponential smoother: its alpha over the data, its half-life, how often it resets.

    `forecast explain timescales RUN`
    """
    with mistakes_told():
        from forecaster.explain.words import timescales_lines
        from forecaster.jobs.explain import explain_timescales as timescales_of
        from forecaster.jobs.home import Home
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json, print_lines

        talk, home = Talk(), Home.here()
        opened = Run.open(run, home)
        with talk.progress("explaining") as progress:
            found = timescales_of(opened, home=home, at_most=at_most, say=talk.say, progress=progress)
        print_json({"run": str(opened.path), **found.to_dict()}) if json else print_lines(
            timescales_lines(found, is_whole=all_units)
        )


@explain.command("smoothness")
def explain_smoothness(run: RunName, at_most: AtMost = SERIES_AT_MOST, json: Json = False) -> None:
    """Take parts from the network, without training it again, and show what forecasts of held-out values lose.

    `forecast explain smoothness RUN`
    """
    with mistakes_told():
        from forecaster.explain.words import smoothness_lines
        from forecaster.jobs.explain import explain_smoothness as smoothness_of
        from forecaster.jobs.home import Home
        from forecaster.jobs.runs import Run
        from forecaster.terminal import Talk, print_json, print_lines

        talk, home = Talk(), Home.here()
        opened = Run.open(run, home)
        with talk.progress("explaining") as progress:
            found = smoothness_of(opened, home=home, at_most=at_most, say=talk.say, progress=progress)
        print_json({"run": str(opened.path), **found.to_dict()}) if json else print_lines(smoothness_lines(found))
