"""How the program talks: results on stdout, everything else on stderr, and only what a reader can use."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

SECONDS_BETWEEN_LINES = 10.0  # of progress, where stderr is no terminal

COLUMNS = {
    "forecaster": "forecaster",
    "smape": "sMAPE",
    "mase": "MASE",
    "owa": "OWA",
    "wql": "WQL",
    "coverage_80": "80 % coverage",
}


class Talk:
    """Words and progress on stderr."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line for the reader."""
        self.console.print(text, markup=False)

    @contextmanager
    def progress(self, what: str) -> Iterator["ProgressLine"]:
        """A bar on a terminal, a line now and then elsewhere; called with done, total (0: unknown) and a word."""
        line = ProgressLine(self, what)
        with line:
            yield line


class ProgressLine:
    """One job's progress."""

    def __init__(self, talk: Talk, what: str) -> None:
        self.talk, self.what = talk, what
        self.last_line = time.monotonic()
        self.bar: Progress | None = None
        if talk.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[word]}", style="dim"),
                console=talk.console,
                transient=True,
            )
            self.task = self.bar.add_task(what, total=None, word="")

    def __enter__(self) -> "ProgressLine":
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, done: int, total: int, word: str) -> None:
        if self.bar:
            self.bar.update(self.task, completed=done, total=total or None, word=word)
        elif time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            share = f"{100 * done / total:.0f} %" if total else f"{done:,}"
            self.talk.say(f"{self.what}: {share} {word}".rstrip())


def print_json(result: dict[str, Any]) -> None:
    """One JSON object on stdout; what is no number is null."""
    sys.stdout.buffer.write(orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
    sys.stdout.buffer.flush()


def print_leaderboard(summary: dict[str, Any]) -> None:
    """The leaderboard as a table, the winner marked, and what it means."""
    console = Console(highlight=False)
    table = Table(title=_title(summary), title_justify="left", title_style="bold", caption_justify="left")
    for name, label in COLUMNS.items():
        table.add_column(label, justify="left" if name == "forecaster" else "right", no_wrap=True)
    for row in summary["leaderboard"]:
        is_winner = row["forecaster"] == summary["winner"]
        cells = [_cell(name, row.get(name)) for name in COLUMNS]
        table.add_row(*cells[:1], *cells[1:], style="bold green" if is_winner else None)
    if summary["winner"]:
        names = [row["forecaster"] for row in summary["leaderboard"]]
        table.columns[0]._cells[names.index(summary["winner"])] = f"{summary['winner']} *"
    console.print(table)
    console.print(f"* {summary['verdict']}", soft_wrap=True)


def print_lines(lines: Sequence[str]) -> None:
    """Plain lines on stdout."""
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _title(summary: dict[str, Any]) -> str:
    origins = "the end of training" if summary["kind"] == "actuals" else f"{summary['origins']} rolling origins"
    return f"{summary['panel']}: horizon {summary['horizon']} from {origins}, MASE scaled by lag {summary['season_length']}"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "forecaster":
        return str(value)
    if name.startswith("coverage"):
        return f"{100 * value:.1f} %"
    return f"{value:.4f}" if name == "wql" else f"{value:.3f}"
