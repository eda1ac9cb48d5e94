"""What is misspelt on the command line."""

import pytest
from typer.testing import CliRunner

from forecaster.cli import app


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["strem"], "No such command 'strem'. Did you mean 'stream', 'state'? `forecast --help` has what it takes."),
        (["state", "inspekt"], "No such command 'inspekt'. Did you mean 'inspect'? `forecast state --help` has what it takes."),
        (["stream", "tiny", "--evry", "3"], "No such option: --evry; did you mean --every? `forecast stream --help` has"),
        (["stream", "tiny", "--format", "cvs"], "'csv', 'arrow', 'parquet', 'dead_letters'; did you mean 'csv'? `forecast"),
        (["stream", "tiny", "--every", "x"], "Invalid value for '--every': Input should be a valid integer"),
        (["stream", "tiny", "--every"], "Option '--every' requires an argument."),
        (["stream"], "Missing argument 'RUN'. `forecast stream --help` has what it takes."),
        (["stream", "tiny", "more"], "Got unexpected extra argument(s) (more)."),
    ],
)
def test_a_slip_of_the_keys_is_told_in_one_line(words: list[str], told: str) -> None:
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("ConfigError  ")
    assert told in line


def test_nothing_typed_shows_the_help() -> None:
    for words in ([], ["state"]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 2
        assert "Usage: " in result.output
        assert "ConfigError" not in result.output
