"""From what a user typed to bytes: files, globs, stdin, gzip, encodings, and what format they hold."""

import glob
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

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
GZIP, ZIP, OLD_EXCEL, PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"PAR1"
WIDE_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


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


def read_bytes(name: str, stdin: BinaryIO | None) -> bytes:
    """What a file holds, unzipped.

    Raises DataError when it cannot be read, is empty, or its gzip stream is damaged.
    """
    if name == STDIN and stdin is None:
        raise DataError("source - is stdin, and there is none here. Name a file.")
    try:
        data = stdin.read() if stdin is not None and name == STDIN else Path(name).read_bytes()
    except OSError as error:
        raise DataError(f"{label(name)} cannot be read: {error.strerror}. Check the file and its permissions.") from error
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise DataError(f"{label(name)} is a damaged gzip file ({error}). Fetch or write it again.") from error
    if not data.strip():
        raise DataError(f"{label(name)} is empty; expected a header and rows.")
    return data


def format_of(name: str, data: bytes, asked: FileFormat) -> FileFormat:
    """csv, parquet or ndjson: as asked, else as the content says, else as the name says; DataError for what is none of them."""
    if data.startswith(PARQUET):
        return "parquet"
    for magic, what in ((ZIP, "an Excel or zip file"), (OLD_EXCEL, "an old Excel file")):
        if data.startswith(magic):
            raise DataError(f"{label(name)} is {what}; expected CSV, Parquet or NDJSON. Save the sheet as CSV.")
    if asked != "auto":
        return asked
    start = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    suffix = Path(name.removesuffix(".gz")).suffix.lower()
    if suffix == ".json" and start.startswith(b"["):
        raise DataError(f"{label(name)} is one JSON array; expected one object on each line (NDJSON). `jq -c '.[]'` turns it.")
    if start.startswith(b"{"):
        return "ndjson"
    return FORMAT_OF_SUFFIX.get(suffix, "csv")


def as_utf8(name: str, data: bytes, encoding: str | None) -> bytes:
    """Text as UTF-8 without a byte order mark; DataError names the byte that is not in the encoding."""
    guess = WIDE_MARKS.get(data[:2])
    if encoding is None and guess:
        raise DataError(f"{label(name)} is {guess.upper()} text (byte 0); expected UTF-8. Pass --encoding {guess}.")
    zero = data.find(b"\0")
    if encoding is None and zero >= 0:
        raise DataError(f"{label(name)} holds a NUL (byte {zero}): it is no text; expected CSV, Parquet or NDJSON.")
    try:
        text = data.decode(encoding or "utf-8-sig")
    except LookupError:
        raise DataError(f"encoding {encoding!r} is unknown; expected a name such as utf-8, latin-1 or utf-16.") from None
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} (0x{error.object[error.start]:02x})"
        cure = "Pass --encoding latin-1 if it is Western European text, or save it as UTF-8."
        raise DataError(f"{label(name)}: {byte} is not {(encoding or 'utf-8').upper()} text. {cure}") from error
    return text.removeprefix("\ufeff").encode()


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
