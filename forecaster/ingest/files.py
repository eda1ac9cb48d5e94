"""From what a user typed to files: globs, stdin, how messages call them, and what format they hold."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from forecaster.errors import DataError

FileFormat = Literal["auto", "csv", "parquet", "ndjson"]

STDIN = "-"
FORMAT_OF_SUFFIX: dict[str, FileFormat] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
}
ZIP, OLD_EXCEL, PARQUET = b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1"


def find_files(sources: Sequence[str]) -> list[str]:
    """The files that sources name, each once, those of a glob pattern in order of name; `-` stands for stdin.

    Raises DataError when a file is missing, a pattern matches nothing, or a source is a folder.
    """
    if not sources:
        raise DataError("no file is given; expected at least one file, a glob pattern, or - for stdin.")
    found: dict[str, str] = {}
    for source in sources:
        for name in _expand(source):
            key = name if name == STDIN else str(Path(name).resolve())
            found.setdefault(key, name)
    return list(found.values())


def _expand(source: str) -> list[str]:
    path = Path(source)
    if source == STDIN or path.is_file():
        return [source]
    if path.is_dir():
        raise DataError(f"{source} is a folder; expected files. Name them, for example '{source.rstrip('/')}/*.csv'.")
    if glob.has_magic(source):
        matches = [name for name in sorted(glob.glob(source, recursive=True)) if Path(name).is_file()]
        if matches:
            return matches
        raise DataError(f"pattern {source!r} matches no file in {Path.cwd()}. Check the pattern, and quote it.")
    if path.exists():  # a pipe, as `<(…)` makes it
        return [source]
    raise DataError(f"file {source} does not exist. Check the path.")


def format_of(name: str, begin: bytes, asked: FileFormat) -> FileFormat:
    """csv, parquet or ndjson, from how a file begins: as asked, else as the content says, else as the name says.

    Raises DataError for what is none of them.
    """
    if begin.startswith(PARQUET):
        return "parquet"
    for magic, what in ((ZIP, "an Excel or zip file"), (OLD_EXCEL, "an old Excel file")):
        if begin.startswith(magic):
            raise DataError(f"{label(name)} is {what}; expected CSV, Parquet or NDJSON. Save the sheet as CSV.")
    if asked != "auto":
        return asked
    start = begin.lstrip(b"\xef\xbb\xbf \t\r\n")
    suffix = Path(name.removesuffix(".gz")).suffix.lower()
    if suffix == ".json" and start.startswith(b"["):
        raise DataError(f"{label(name)} is one JSON array; expected one object on each line (NDJSON). `jq -c '.[]'` turns it.")
    if start.startswith(b"{"):
        return "ndjson"
    return FORMAT_OF_SUFFIX.get(suffix, "csv")


def label(name: str) -> str:
    """How messages call a file."""
    return "stdin" if name == STDIN else name


def stem(name: str) -> str:
    """The id of a series whose file has no id column.

    >>> stem("data/store_17.csv.gz"), stem("-")
    ('store_17', 'stdin')
    """
    path = Path(label(name).removesuffix(".gz"))
    return path.stem if path.suffix.lower() in FORMAT_OF_SUFFIX else path.name
