"""`forecast ablate`: the ladder on a panel, rung by rung, and what of it is needed."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from forecaster.cli.app import FARTHEST, Json, mistakes_told


def ablate(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Such as configs/default.yaml; its cell does not count.")],
    panel: Annotated[str, typer.Option(help="The panel to decide on.")],
    rungs: Annotated[str | None, typer.Option(help="Separated by commas, for example gru,gru_no_reset; all otherwise.")] = None,
    seeds: Annotated[int, typer.Option(min=3, help="Trainings of each rung; three or more.")] = 3,
    horizon: Annotated[
        int | None, typer.Option(min=1, max=FARTHEST, help="How far forecasts reach; else the frequency's usual.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0.01, help="For all trainings together, shared out equally.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trainings at a time; one for each core otherwise.")] = None,
    worth: Annotated[float, typer.Option(min=0, help="The gain, in per cent, from which on a rung counts as better.")] = 1.0,
    write_config: Annotated[
        Path | None, typer.Option(help="Write CONFIG with the cell that is recommended to this file.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="May be repeated.")] = None,
    json: Json = False,
) -> None:
    """Train every rung of the ladder, from plain smoothing to GRU and LSTM, under one budget, and say which gates are needed.

    The same command goes on where one was cut off; more rungs or seeds cost only themselves.

    `forecast ablate configs/default.yaml --panel sales --max-minutes 60`

    `forecast ablate configs/default.yaml --panel sales --rungs smoothing,gru_no_reset,gru --set model.members=1`
    """
    with mistakes_told():
        from forecaster.config import read_config
        from forecaster.jobs.ablate import ablate as ablate_panel
        from forecaster.jobs.ablate import check_place, write_recommended
        from forecaster.jobs.home import Home
        from forecaster.models.cells import LADDER
        from forecaster.terminal import Talk, print_json

        talk = Talk()
        if write_config:
            check_place(write_config)
        chosen = read_config(config, [*(settings or []), *([f"horizon={horizon}"] if horizon else [])])
        with talk.progress("ablating") as progress:
            summary = ablate_panel(
                chosen,
                panel,
                home=Home.here(),
                rungs=[name.strip() for name in rungs.split(",")] if rungs is not None else tuple(LADDER),
                seeds=seeds,
                max_minutes=max_minutes,
                jobs=jobs,
                worth=worth / 100,
                command=shlex.join(["forecast", *sys.argv[1:]]),
                say=talk.say,
                progress=progress,
            )
        if write_config:
            write_recommended(chosen, summary["recommended"], write_config)
            talk.say(f"wrote {write_config}, with model.cell {summary['recommended']}")
        talk.say(f"kept in {summary['folder']}, for `forecast report RUN --ablation FOLDER` too")
        print_json(summary) if json else _show(summary)


def _show(summary: dict[str, Any]) -> None:
    """The ladder as a table, then each question with its answer, and what to use."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    console, measure = Console(highlight=False), summary["measure"]
    table = Table(title=_title(summary), title_justify="left", title_style="bold", box=SIMPLE, padding=(0, 1, 0, 0))
    for column in ("rung", measure, "% above the best", "weights", "train", "step"):
        table.add_column(column, justify="left" if column == "rung" else "right", no_wrap=True)
    for row in summary["ladder"]:
        style = "bold green" if row["forecaster"] == summary["recommended"] else "dim" if row["kind"] == "reference" else None
        table.add_row(*_cells(row, measure.lower(), best=summary["best"]), style=style)
    console.print(table)
    console.print(f"± between seeds; in brackets 95 % intervals over {summary['units']:,} {summary['unit']} and the seeds")
    for said in summary["questions"]:
        console.print(f"{said['question']} {said['answer']}", soft_wrap=True)
    console.print(f"For the networks as they were trained: {summary['significance']['conclusion']}", soft_wrap=True)
    for remark in summary["remarks"]:
        console.print(remark, soft_wrap=True)
    console.print(f"* {summary['answer']}", soft_wrap=True)


def _cells(row: dict[str, Any], measure: str, *, best: str) -> list[str]:
    found, above = row["gain_on_best"], "-"
    if row["forecaster"] != best and found["low"] is not None:
        above = f"{-100 * found['share']:.1f} ({-100 * found['high']:.1f} to {-100 * found['low']:.1f})"
    score = f"{row[measure]:.3f}{_or_dash(row['seed_deviation'], ' ± {:.3f}', '        ')}"
    seconds = _or_dash(row["train_seconds"], "{:.0f} s")
    return [
        row["forecaster"],
        score,
        above,
        _or_dash(row["parameters"], "{:,}"),
        seconds,
        _or_dash(row["step_microseconds"], "{:.1f} us"),
    ]


def _or_dash(value: float | None, form: str, dash: str = "-") -> str:
    return dash if value is None else form.format(value)


def _title(summary: dict[str, Any]) -> str:
    counted = f"{summary['origins']} rolling origins of {summary['series']:,} series"
    return f"{summary['panel']}: horizon {summary['horizon']} from {counted}, seeds {', '.join(map(str, summary['seeds']))}"
