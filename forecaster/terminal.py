"""How the program talks: results on stdout, everything else on stderr, and only what a reader can use."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
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
WIDE, BAR = 96, 14  # characters: from which width of a terminal on bars are drawn, and how long
MAY_BE = " ~"
MOST_ROWS = 60  # of a breakdown


class Talk:
    """Words and progress on stderr."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """One line for the reader."""
        self.console.print(text, markup=False)

    @contextmanager
    def progress(self, what: str, *, hidden: bool = False) -> Iterator["ProgressLine"]:
        """A bar on a terminal, a line now and then elsewhere; called with done, total (0: unknown) and a word.

        With `hidden`, nothing: when something else is shown.
        """
        line = ProgressLine(self, what, hidden=hidden)
        with line:
            yield line


class ProgressLine:
    """One job's progress."""

    def __init__(self, talk: Talk, what: str, *, hidden: bool) -> None:
        self.talk, self.what, self.hidden = talk, what, hidden
        self.last_line = time.monotonic()
        self.bar: Progress | None = None
        if talk.console.is_terminal and not hidden:
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
        elif not self.hidden and time.monotonic() - self.last_line > SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            share = f"{100 * done / total:.0f} %" if total else f"{done:,}"
            self.talk.say(f"{self.what}: {share} {word}".rstrip())


def print_json(result: dict[str, Any]) -> None:
    """One JSON object on stdout; what is no number is null."""
    sys.stdout.buffer.write(orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")
    sys.stdout.buffer.flush()


def print_leaderboard(summary: dict[str, Any]) -> None:
    """The leaderboard as a table with bars, the winner and whoever may be as good marked, and what it means."""
    console = Console(highlight=False)
    table = Table(title=_title(summary), title_justify="left", title_style="bold", caption_justify="left")
    bar = BAR if console.width >= WIDE else 0
    for name, label in COLUMNS.items():
        table.add_column(label, justify="left" if name == "forecaster" else "right", no_wrap=True)
    if bar:
        table.add_column(summary["measure"].upper().replace("SMAPE", "sMAPE"), min_width=bar, no_wrap=True)
    values = [row.get(summary["measure"]) for row in summary["leaderboard"]]
    largest = max([value for value in values if value is not None], default=0.0)
    for row, value in zip(summary["leaderboard"], values, strict=True):
        cells = [_cell(name, row.get(name)) for name in COLUMNS]
        cells[0] += _mark(row, summary["winner"])
        is_winner = row["forecaster"] == summary["winner"]
        table.add_row(*cells, *([_bar(value, largest, bar)] if bar else []), style="bold green" if is_winner else None)
    console.print(table)
    console.print(f"* {summary['verdict']}", soft_wrap=True)
    if any(_mark(row, summary["winner"]) == MAY_BE for row in summary["leaderboard"]):
        console.print("~ may be the best as well: the tests do not tell it from luck.", soft_wrap=True)
    if summary.get("champions"):
        console.print(summary["champions"]["told"], soft_wrap=True)


def print_breakdown(by: dict[str, Any], forecasters: Sequence[str]) -> None:
    """The measure by lead, series or origin, a column for each forecaster, the least of each row marked."""
    console = Console(highlight=False)
    label = "MASE" if by["measure"] == "mase" else "sMAPE"
    table = Table(title=f"{label} by {by['by']}", title_justify="left", title_style="bold")
    table.add_column(by["column"], no_wrap=True)
    scored = [name for name in forecasters if any(row["forecaster"] == name for row in by["rows"])]
    room = console.width - 4 - max((len(str(row[by["column"]])) for row in by["rows"]), default=0)
    ends = accumulate(max(len(name), 7) + 3 for name in scored)
    names = [name for name, end in zip(scored, ends, strict=True) if end <= room]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    cells: dict[Any, dict[str, float | None]] = {}
    for row in by["rows"]:
        cells.setdefault(row[by["column"]], {})[row["forecaster"]] = row[by["measure"]]
    for key, found in list(cells.items())[:MOST_ROWS]:
        least = min((value for value in found.values() if value is not None), default=None)
        shown = [_cell(by["measure"], found.get(name)) for name in names]
        table.add_row(
            str(key), *(f"[bold]{text}[/]" if found.get(n) == least else text for n, text in zip(names, shown, strict=True))
        )
    console.print(table)
    if len(cells) > MOST_ROWS:
        console.print(f"… and {len(cells) - MOST_ROWS:,} rows more; --json has them all", soft_wrap=True)
    if len(names) < len(scored):
        console.print(f"{len(scored) - len(names)} more forecasters have no room here; --json has them", soft_wrap=True)


def print_lines(lines: Sequence[str]) -> None:
    """Plain lines on stdout."""
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _title(summary: dict[str, Any]) -> str:
    origins = "the end of training" if summary["kind"] == "actuals" else f"{summary['origins']} rolling origins"
    return f"{summary['panel']}: horizon {summary['horizon']} from {origins}, MASE scaled by lag {summary['season_length']}"


def _mark(row: dict[str, Any], winner: str | None) -> str:
    if row["forecaster"] == winner:
        return " *"
    return MAY_BE if row.get("may_be_best") else ""


def _bar(value: float | None, largest: float, width: int) -> str:
    """A number as a bar of at most so many characters, to an eighth of one.

    >>> _bar(1.0, 2.0, 4), _bar(0.25, 2.0, 4), _bar(None, 2.0, 4)
    ('██', '▌', '')
    """
    eighths = round(8 * width * value / largest) if value is not None and largest > 0 else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "forecaster":
        return str(value)
    if name.startswith("coverage"):
        return f"{100 * value:.1f} %"
    return f"{value:.4f}" if name == "wql" else f"{value:.3f}"
