"""What a file holds, as bytes that can be read as often as wanted: unzipped, and text in UTF-8, in pieces of bounded size."""

import codecs
import gzip
import io
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from forecaster.errors import DataError
from forecaster.ingest.files import STDIN, FileFormat, format_of, label

GZIP, MARK = b"\x1f\x8b", b"\xef\xbb\xbf"
WIDE_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
START, PIECE = 4096, 1 << 22  # bytes that say what a file is, and that are read at once
IN_MEMORY = 1 << 24  # bytes of a file that is kept while it is read


@dataclass(frozen=True)
class Content:
    """What the file `name` holds; what comes through a pipe, or is Parquet in a gzip stream, as a copy.

    A small text is kept in `data`. `has_quotes` says whether one stands anywhere in a text.
    """

    name: str
    source: Path | bytes | mmap
    is_zipped: bool
    form: FileFormat = "csv"
    encoding: str | None = None
    data: bytes | None = None
    has_quotes: bool = False

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The content from its beginning, text with a line's end behind it; what is Parquet can be searched."""
        if self.data is not None:
            yield io.BytesIO(self.data + b"\n")
        elif self.form == "parquet" and not isinstance(self.source, Path):
            yield cast(BinaryIO, pa.BufferReader(pa.py_buffer(self.source)))
        else:
            with self.raw() as raw:
                yield raw if self.form == "parquet" else _as_file(chain(_utf8_pieces(raw, self.encoding), (b"\n",)))

    @contextmanager
    def raw(self) -> Iterator[BinaryIO]:
        """The bytes from the beginning, unzipped."""
        with ExitStack() as stack:
            file: Any = stack.enter_context(
                self.source.open("rb") if isinstance(self.source, Path) else _as_file(_slices(self.source))
            )
            yield cast(BinaryIO, stack.enter_context(gzip.GzipFile(fileobj=file))) if self.is_zipped else file

    def begin(self, count: int) -> bytes:
        """The first bytes."""
        with self.raw() as raw:
            return raw.read(count)


def read_content(name: str, stdin: BinaryIO | None, *, asked: FileFormat = "auto", encoding: str | None = None) -> Content:
    """What a file holds, once all of a text is known to be one.

    Raises DataError when it cannot be read, is empty, of no known format, not in the encoding, or its gzip stream is damaged.
    """
    if name == STDIN and stdin is None:
        raise DataError("source - is stdin, and there is none here. Name a file.")
    try:
        source = _searchable(name, stdin)
        is_zipped = Content(name, source, False).begin(len(GZIP)) == GZIP
        content = Content(name, source, is_zipped, encoding=encoding)
        begin = content.begin(START)
        if len(begin) < START and not begin.strip():
            raise DataError(f"{label(name)} is empty; expected a header and rows.")
        content = replace(content, form=format_of(name, begin, asked))
        return _unzipped(content) if content.form == "parquet" else _checked(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{label(name)} is a damaged gzip file ({error}). Fetch or write it again.") from error
    except OSError as error:
        raise DataError(f"{label(name)} cannot be read: {error.strerror}. Check the file and its permissions.") from error


def _searchable(name: str, stdin: BinaryIO | None) -> Path | bytes | mmap:
    """A file by its path; what comes through a pipe as a copy that can be read again."""
    path = Path(name)
    if name != STDIN and path.is_file():
        return path
    if name == STDIN and stdin is not None:
        return _copy_of(stdin)
    with path.open("rb") as pipe:
        return _copy_of(pipe)


def _copy_of(pipe: BinaryIO) -> bytes | mmap:
    """What a pipe gives: in memory, or in a file that has no name."""
    begin = pipe.read(IN_MEMORY)
    if len(begin) < IN_MEMORY:
        return begin
    with tempfile.TemporaryFile(prefix="forecaster-") as file:
        file.write(begin)
        shutil.copyfileobj(pipe, file, PIECE)
        file.flush()
        return mmap(file.fileno(), 0, access=ACCESS_READ)


def _unzipped(content: Content) -> Content:
    """Parquet that can be searched."""
    if not content.is_zipped:
        return content
    with content.raw() as raw:
        return replace(content, source=_copy_of(raw), is_zipped=False)


def _checked(content: Content) -> Content:
    """The content after all of its text was read once; raises DataError for what is no text in its encoding, or is blank."""
    name, encoding = label(content.name), content.encoding
    decoder, kept, size = _decoder(encoding), list[bytes](), 0
    is_blank, has_quotes, zero, refusal = True, False, -1, ""
    for piece in chain(_read_through(content), (b"",)):
        if size == 0 and encoding is None and piece[:2] in WIDE_MARKS:
            guess = WIDE_MARKS[piece[:2]]
            raise DataError(f"{name} is {guess.upper()} text (byte 0); expected UTF-8. Pass --encoding {guess}.")
        is_blank, has_quotes = is_blank and not piece.strip(), has_quotes or b'"' in piece
        zero = size + piece.find(b"\0") if zero < 0 and b"\0" in piece else zero
        try:
            text = "" if refusal else decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            at = size + len(piece) - len(error.object) + error.start
            text, refusal = "", f"byte {at} (0x{error.object[error.start]:02x})"
        size += len(piece)
        kept = [*kept, text.encode()] if size <= IN_MEMORY else []
    if is_blank:
        raise DataError(f"{name} is empty; expected a header and rows.")
    if encoding is None and zero >= 0:
        raise DataError(f"{name} holds a NUL (byte {zero}): it is no text; expected CSV, Parquet or NDJSON.")
    if refusal:
        cure = "Pass --encoding latin-1 if it is Western European text, or save it as UTF-8."
        raise DataError(f"{name}: {refusal} is not {(encoding or 'utf-8').upper()} text. {cure}")
    data = b"".join(kept).removeprefix(MARK) if size <= IN_MEMORY else None
    return replace(content, data=data, has_quotes=has_quotes)


def _decoder(encoding: str | None) -> codecs.IncrementalDecoder:
    try:
        return codecs.getincrementaldecoder(encoding or "utf-8-sig")()
    except LookupError:
        raise DataError(f"encoding {encoding!r} is unknown; expected a name such as utf-8, latin-1 or utf-16.") from None


def _utf8_pieces(raw: BinaryIO, encoding: str | None) -> Iterator[bytes]:
    """Text that was checked, in UTF-8 and without a byte order mark."""
    decoder = _decoder(encoding) if encoding else None
    for number, piece in enumerate(chain(_pieces(raw), (b"",))):
        utf8 = decoder.decode(piece, final=not piece).encode() if decoder else piece
        yield utf8.removeprefix(MARK) if number == 0 else utf8


def _read_through(content: Content) -> Iterator[bytes]:
    with content.raw() as raw:
        yield from _pieces(raw)


def _pieces(raw: BinaryIO) -> Iterator[bytes]:
    while piece := raw.read(PIECE):
        yield piece


def _slices(copy: bytes | mmap) -> Iterator[bytes]:
    for first in range(0, len(copy), PIECE):
        yield copy[first : first + PIECE]


def _as_file(pieces: Iterator[bytes]) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_Pieces(pieces), PIECE))


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file that is read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces, self.rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.rest:
            piece = next(self.pieces, None)
            if piece is None:
                return 0
            self.rest = memoryview(piece)
        count = min(len(buffer), len(self.rest))
        buffer[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count
