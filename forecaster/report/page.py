"""One page that says what a run is worth: a single file of HTML that asks nothing of a network."""

import os
from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from forecaster.errors import DataError
from forecaster.report.content import Section
from forecaster.report.sections.data import data, provenance, tiles, trained
from forecaster.report.sections.forecasts import calibrated, errors, series
from forecaster.report.sections.leaderboard import champions, leaderboard
from forecaster.report.sections.network import gates, ladder
from forecaster.report.subject import Subject

Progress = Callable[[int, int, str], None]
SECTIONS: dict[str, Callable[[Subject], Section | None]] = {
    "leaderboard": leaderboard,
    "forecasts": series,
    "errors": errors,
    "calibration": calibrated,
    "champions": champions,
    "gates": gates,
    "the ladder": ladder,
    "data": data,
}


def make_page(subject: Subject, *, made: str, progress: Progress | None = None) -> str:
    """The page as HTML; `made` says when. Everything that comes from users is escaped."""
    sections = []
    for done, (name, section_of) in enumerate(SECTIONS.items()):
        if progress:
            progress(done, len(SECTIONS), name)
        section = section_of(subject)
        if section is not None:
            sections.append(section)
    judged = subject.judged
    environment = Environment(
        loader=PackageLoader("forecaster.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        title=subject.facts["panel"],
        run=subject.run,
        verdict=first_sentence(str(judged.summary.get("verdict", "")) if judged else ""),
        tiles=tiles(subject),
        trained=trained(subject),
        sections=[*sections, provenance(subject, made=made)],
    )


def first_sentence(text: str) -> tuple[str, str]:
    """The first sentence, and the rest.

    >>> first_sentence("gru leads: 2.1 % below. Take it. Or not.")
    ('gru leads: 2.1 % below.', 'Take it. Or not.')
    """
    first, stop, rest = text.partition(". ")
    return f"{first}{stop.strip()}", rest


def write_page(html: str, path: Path) -> int:
    """Write the page, whole or not at all; how many bytes. Raises DataError when it cannot be written."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    written = html.encode("utf-8", "replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(written)
        beside.replace(path)
    except OSError as error:
        raise DataError(f"--out {path}: cannot be written ({error.strerror}). Name a file in a folder of yours.") from error
    finally:
        beside.unlink(missing_ok=True)
    return len(written)
