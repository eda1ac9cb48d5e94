"""Files of a feed: read on from where they were left, followed while they grow, and found again when they are rotated.

A file is known by its inode and its first bytes. A file that was renamed is read to its end, and then the one in its place; one
that was copied and cut to nothing is read from its beginning again. Lines that a rotation throws away before they were read
are lost: rename rather than copy.
"""

import glob
import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from forecaster.errors import DataError, StateError
from forecaster.streaming.lines import CHUNK_BYTES, POLL_SECONDS
from forecaster.streaming.live import FeedPosition

HEAD_BYTES = 1024  # by which a file of lines is known
TABLE_BYTES = 1 << 16  # by which a table is: much of its beginning is the schema
LONGEST_HEADER = 1 << 16
FOLLOW_SECONDS = 0.02  # how soon what is appended is seen
COMPRESSED = (".gz", ".xz", ".zst", ".bz2")


class FeedFile:
    """A file of a feed from an offset on, as bytes that come when they come.

    With `follow`, its end is where the feed pauses, until another file stands in its place or it is cut to nothing.
    """

    def __init__(self, path: Path, *, offset: int = 0, follow: Path | None = None) -> None:
        self.path, self.start, self.is_cut_to_nothing = path, offset, False
        self._at, self._follow = offset, follow
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DataError(f"the feed {path} cannot be read ({error.strerror}). Name a file that is there.") from error
        self._head = os.pread(self._descriptor, min(offset, HEAD_BYTES), 0)

    def __enter__(self) -> "FeedFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._descriptor)

    def wait(self, seconds: float) -> bool:
        """Whether there are bytes, or the file has ended."""
        if self._follow is None or self._has_ended(self._follow) or self._size() > self._at:
            return True
        time.sleep(min(seconds, FOLLOW_SECONDS))
        return False

    def read(self) -> bytes:
        """The next bytes; none at the end."""
        if self.is_cut_to_nothing:
            return b""
        data = os.pread(self._descriptor, CHUNK_BYTES, self._at)
        self._at += len(data)
        return data

    def position(self, seen: FeedPosition, offset: int) -> FeedPosition:
        """The position `seen`, as one in this file."""
        offset = min(offset, self._at)  # the last line may have no newline
        if len(self._head) < min(offset, HEAD_BYTES):
            self._head = os.pread(self._descriptor, min(offset, HEAD_BYTES), 0)
        return replace(seen, offset=offset, token=self._token(self._head))

    def token(self) -> str:
        """What a table is known by."""
        return self._token(os.pread(self._descriptor, TABLE_BYTES, 0))

    def _token(self, head: bytes) -> str:
        return f"file:{os.fstat(self._descriptor).st_ino}:{len(head)}:{zlib.crc32(head)}"

    def first_line(self) -> bytes:
        """The first line of the file."""
        return os.pread(self._descriptor, LONGEST_HEADER, 0).split(b"\n")[0]

    def is_at(self, path: Path) -> bool:
        """Whether the file has this name by now."""
        here, there = os.fstat(self._descriptor), path.stat()
        return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

    def is_it(self, committed: FeedPosition) -> bool:
        """Whether the committed position lies in this file: its first bytes are the same, and it is long enough."""
        parts = _parts(committed.token)
        if not parts:
            return False
        _, length, checksum = parts
        head = os.pread(self._descriptor, length, 0)
        return self._size() >= committed.offset and len(head) == length and zlib.crc32(head) == checksum

    def _size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def _has_ended(self, path: Path) -> bool:
        """Whether a file with something in it has taken this one's place, or this one begins anew."""
        size = self._size()
        if size < self._at or os.pread(self._descriptor, len(self._head), 0) != self._head:
            self.is_cut_to_nothing = True
            return True
        try:
            return size == self._at and path.stat().st_size > 0 and not self.is_at(path) and self._size() == size
        except OSError:  # between two names
            return False


def feed_files(
    path: Path,
    *,
    committed: FeedPosition,
    follow: bool,
    should_stop: Callable[[], bool],
) -> Iterator[FeedFile]:
    """The files of a feed, each from where it is to be read on; each is closed when the next one is asked for.

    With `follow`, files that were rotated since are read first, and the feed ends only with `should_stop`.
    Raises StateError when the committed position lies in another file, DataError when there is none.
    """
    if not committed.token:
        committed = FeedPosition()
    at = _where_left(path, committed, follow=follow) if committed.token else path
    while not should_stop():
        while follow and not at.exists() and not should_stop():
            time.sleep(POLL_SECONDS)
        if should_stop():
            return
        with FeedFile(at, offset=committed.offset, follow=path if follow else None) as file:
            yield file
            at = _next_after(path, file)
        if not follow:
            return
        committed = FeedPosition()


def _where_left(path: Path, committed: FeedPosition, *, follow: bool) -> Path:
    """The file in which the committed position lies: the one of that name, or one that was rotated since."""
    candidates = [path, *_rotated(path)] if follow else [path]
    found = [candidate for candidate in candidates if (candidate.exists() or not follow) and _holds(candidate, committed)]
    if not found:
        raise another_file(path, committed)
    same_inode = [candidate for candidate in found if _parts(committed.token)[:1] == (candidate.stat().st_ino,)]
    return (same_inode or found)[0]


def _next_after(path: Path, file: FeedFile) -> Path:
    """The file that took the place of another one, which may have been rotated in its turn."""
    rotated = _rotated(path)
    behind = [n for n, sibling in enumerate(rotated) if file.is_at(sibling)]
    return rotated[behind[0] + 1] if behind and behind[0] + 1 < len(rotated) else path


def another_file(path: Path, committed: FeedPosition) -> StateError:
    """What to say of a file in which the committed position does not lie."""
    if not _parts(committed.token):
        return StateError(
            f"the state has taken in another feed ({committed.token}) than {path}. Go on with that one, or pipe this one "
            "in, to read it from its beginning."
        )
    return StateError(
        f"{path} is not the file that the state has taken in up to {committed.offset:,}: its first bytes differ, or it is "
        f"shorter, and no rotated {path.name}.* beside it is that file. Give that file to go on with it, or pipe this one in, to "
        "read it from its beginning."
    )


def _rotated(path: Path) -> list[Path]:
    """Files beside that bear the name with something after it, such as feed.ndjson.1, the oldest first; none is compressed."""
    names = [name for name in path.parent.glob(f"{glob.escape(path.name)}[.-]*") if name.suffix not in COMPRESSED]
    return sorted((name for name in names if name.is_file()), key=lambda name: name.stat().st_mtime_ns)


def _holds(path: Path, committed: FeedPosition) -> bool:
    with FeedFile(path) as file:
        return file.is_it(committed)


def _parts(token: str) -> tuple[int, int, int] | tuple[()]:
    """Inode, length and checksum of the first bytes; nothing if the feed was no file."""
    kind, *numbers = token.split(":")
    if kind != "file":
        return ()
    inode, length, checksum = map(int, numbers)
    return inode, length, checksum
