"""What the documents say is what the program does."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from forecaster.cli import app
from forecaster.config import Config, read_config

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("configs/*.yaml")])
COMMAND = re.compile(r"\bforecast ([a-z]+)\b([^`\n]*)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_and_option_in_a_document_exists(document):
    commands = get_command(app).commands
    for name, rest in COMMAND.findall(_code(document)):
        assert name in commands, f"{document.name}: forecast {name}"
        command = commands[name]
        if within := getattr(command, "commands", None):
            part = rest.split()[0] if rest.split() else ""
            assert not part.isalpha() or part in within, f"{document.name}: forecast {name} {part}"
            command = within.get(part, command)
        known = {option for parameter in command.params for option in parameter.opts} | {"--help", "--install-completion"}
        for option in re.findall(r"(?<=\s)--[a-z-]+", rest):
            assert option in known, f"{document.name}: forecast {name} {option}"


def _code(document: Path) -> str:
    """The lines and words of a document that stand as code."""
    text = document.read_text(encoding="utf-8")
    if document.suffix == ".yaml":
        return "\n".join(re.findall(r"^#   (.*)", text, flags=re.MULTILINE))
    return "\n".join(block or span for block, span in re.findall(r"^    (.*)|`([^`\n]+)`", text, flags=re.MULTILINE))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_linked_file_exists(document):
    for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / link).exists(), f"{document.name} links to {link}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*.yaml")), ids=lambda path: path.name)
def test_every_configuration_can_be_read(path):
    assert isinstance(read_config(path), Config)


def test_the_default_configuration_says_what_the_defaults_are():
    assert read_config(ROOT / "configs" / "default.yaml") == Config()


def test_every_make_target_in_a_document_exists():
    targets = set(re.findall(r"^([a-z_0-9]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for document in DOCUMENTS:
        for target in re.findall(r"(?:^    |`)make ([a-z_0-9]+)", document.read_text(encoding="utf-8"), flags=re.MULTILINE):
            assert target in targets, f"{document.name}: make {target}"


def test_no_document_or_source_names_a_path_of_one_machine():
    for path in [*DOCUMENTS, *ROOT.glob("forecaster/**/*.py"), *ROOT.glob("tests/*.py"), *ROOT.glob("benchmarks/*.py")]:
        if path.name != "test_docs.py":
            assert not re.search(r"/(work|root|home/\w+)/", path.read_text(encoding="utf-8")), path.name
