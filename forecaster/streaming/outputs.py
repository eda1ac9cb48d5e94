"""Where bytes go: into a file of our own, which is cut back after a crash, or into a stream that somebody reads."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, cast

from forecaster.errors import StateError

Bytes = bytes | memoryview

AT_ONCE = 1 << 19  # bytes given to the kernel: ten megabytes in one call took it three times as long


class OutputStream:
    """A pipe, or another stream that somebody reads. What was written cannot be taken back.

    So a forecast is written after its micro-batch was committed: a kill in between loses it, and none is written twice.
    """

    is_cut_back = False
    has_failed = False

    def __init__(self, stream: BinaryIO, *, is_ours: bool = False) -> None:
        stream.flush()
        self._is_ours = is_ours
        # Past the buffer: what a closed pipe refused must not be tried again when the interpreter leaves.
        self._stream = cast(BinaryIO, getattr(stream, "raw", stream))
        self._buffered = stream  # which closes the stream when nobody holds it any more
        self.length = 0

    def write(self, parts: Iterable[Bytes]) -> None:
        """Pass bytes on; raises BrokenPipeError when nobody reads them any more, and StateError when they are refused."""
        try:
            for part in parts:
                left = memoryview(part)
                while left:
                    left = left[self._stream.write(left) or 0 :]
                self.length += len(part)
            self._stream.flush()
        except OSError as error:
            self.has_failed = True
            if isinstance(error, BrokenPipeError):
                raise
            raise StateError(
                f"forecasts cannot be written ({error.strerror}); expected a stream with room. Mend that and start again: "
                "the observations they were made from are committed."
            ) from error

    def sync(self) -> None:
        """Nothing: how durable it is, its reader decides."""

    def close(self) -> None:
        """Close the stream, if it `is_ours`; whoever opened it does otherwise."""
        if self._is_ours:
            self._buffered.close()

    def head(self, count: int) -> bytes:
        """None of the first bytes: they were read by others."""
        return b""[:count]


class OutputFile:
    """A file of our own, cut back to its committed length when it is opened.

    Forecasts are written and synced before their micro-batch is committed, with the file's length; so the file holds each of
    them once, whatever was killed. A file that is gone, or empty, is begun anew.

    Raises StateError when the file holds something that the state did not write, or cannot be written.
    """

    is_cut_back = True
    has_failed = False

    def __init__(self, path: Path, *, committed_bytes: int) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = not path.exists()
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if is_new:
                _sync_folder(path.parent)
            size = os.fstat(self._descriptor).st_size
        except OSError as error:
            raise self._refused(error) from error
        if 0 < size < committed_bytes:
            os.close(self._descriptor)
            raise StateError(
                f"{path} has {size:,} bytes, and the state has committed {committed_bytes:,}; expected the file as it was left. "
                "Put it back, or move it away to begin another."
            )
        self.length = min(size, committed_bytes)
        try:
            os.ftruncate(self._descriptor, self.length)
            os.lseek(self._descriptor, self.length, os.SEEK_SET)
        except OSError as error:
            os.close(self._descriptor)
            raise self._refused(error) from error

    def write(self, parts: Iterable[Bytes]) -> None:
        """Append bytes; raises StateError when the disk refuses."""
        try:
            for part in parts:
                left = memoryview(part)
                while left:
                    left = left[os.write(self._descriptor, left[:AT_ONCE]) :]
                self.length += len(part)
        except OSError as error:
            self.has_failed = True
            raise self._refused(error) from error

    def sync(self) -> None:
        """Have the disk keep what was written; raises StateError when it refuses."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self.has_failed = True
            raise self._refused(error) from error

    def close(self) -> None:
        """Close the file, synced unless it has failed."""
        if self._descriptor < 0:
            return
        try:
            if not self.has_failed:
                self.sync()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1

    def head(self, count: int) -> bytes:
        """The first bytes of what was kept, `count` at most."""
        return os.pread(self._descriptor, min(count, self.length), 0)

    def _refused(self, error: OSError) -> StateError:
        return StateError(
            f"forecasts cannot be written to {self.path} ({error.strerror}); expected room and permission to write. "
            "Mend that and start again: all that was committed is kept."
        )


Output = OutputStream | OutputFile


def output_of(target: BinaryIO | Output) -> Output:
    """The target itself if it is an output, or the output onto a stream."""
    return target if isinstance(target, OutputStream | OutputFile) else OutputStream(target)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
