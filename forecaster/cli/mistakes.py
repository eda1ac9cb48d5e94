"""A mistake in how a command is typed, told in one line like any other mistake."""

import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any

import typer
from typer.core import TyperGroup

HELP = "NoArgsIsHelpError"  # what Typer raises where nothing was typed: its message is the help
POSSIBLE = re.compile(r" \(Possible options: (.+)\)$")
CHOICES = re.compile(r"'([^']*)' is not one of ('.+')$")


class OneLine(TyperGroup):
    """Commands of which a name, an option or a value may be misspelt: one line on stderr, and exit code 2, in place of a box."""

    def main(self, args: Sequence[str] | None = None, *words: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """As Typer has it, but for the words of a mistake."""
        told = partial(super().main, args, *words, **{**extra, "standalone_mode": False})
        if not standalone_mode:
            return told()
        try:
            code = told()
        except typer.TyperException as error:
            message = error.format_message()
            path = getattr(getattr(error, "ctx", None), "command_path", "forecast")
            is_help = type(error).__name__ == HELP
            typer.echo(message if is_help else f"ConfigError  {sentence(message)} `{path} --help` has what it takes.", err=True)
            sys.exit(error.exit_code)
        except typer.Abort:
            sys.exit(1)
        sys.exit(code or 0)


def sentence(message: str) -> str:
    """What Typer says of a mistake, with the likeliest correction.

    >>> sentence("No such option: --evry (Possible options: --every)")
    'No such option: --evry; did you mean --every?'
    >>> sentence("Invalid value for '--format': Value error, 'cvs' is not one of 'ndjson', 'csv'")
    "Invalid value for '--format': 'cvs' is not one of 'ndjson', 'csv'; did you mean 'csv'?"
    """
    text = " ".join(message.replace("Value error, ", "").split()).removesuffix(".")
    if possible := POSSIBLE.search(text):
        return f"{text[: possible.start()]}; did you mean {possible[1]}?"
    if choice := CHOICES.search(text):
        near = get_close_matches(choice[1], re.findall(r"'([^']*)'", choice[2]), 1)
        return f"{text}; did you mean {near[0]!r}?" if near else f"{text}."
    return text if text.endswith("?") else f"{text}."
