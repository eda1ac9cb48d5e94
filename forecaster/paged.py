"""Arrays that may be larger than memory: they lie on disk, and the system keeps in memory what is in use and fits.

Such an array is read and written like any other. It costs room on disk, and no memory that a process could run out of.
"""

import mmap
import os
import tempfile
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from forecaster.errors import DataError

IN_MEMORY = 1 << 24  # bytes up to which an array is an ordinary one


def paged_array(shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """An array of that shape, its numbers not yet written; a large one lies in an unnamed file under $TMPDIR.

    Raises DataError where there is no room for it.

    >>> paged_array((2, 3)).shape
    (2, 3)
    """
    size = prod(shape) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(prefix="forecaster-") as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a write to a page without room would end the process
            return np.frombuffer(mmap.mmap(file.fileno(), size), dtype=dtype).reshape(shape)
    except OSError as error:
        raise _no_room(size, error) from error


class Growing:
    """An array [N, ...] that is appended to, its length not known beforehand, in a file under $TMPDIR where it grows large.

    >>> growing = Growing((2,))
    >>> growing.append(np.ones((3, 2)))
    >>> growing.append(np.zeros((1, 2)))
    >>> growing.whole().shape
    (4, 2)
    """

    def __init__(self, columns: tuple[int, ...] = (), dtype: DTypeLike = np.float64) -> None:
        self.columns, self.dtype, self.count = columns, np.dtype(dtype), 0
        self._parts: list[NDArray[Any]] = []
        self._file: IO[bytes] | None = None

    @property
    def row_bytes(self) -> int:
        return prod(self.columns) * self.dtype.itemsize

    def append(self, rows: NDArray[Any]) -> None:
        """Put rows [M, ...] behind those that are there; raises DataError where there is no room for them."""
        self.count += len(rows)
        self._parts.append(rows)
        if sum(part.nbytes for part in self._parts) <= IN_MEMORY:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix="forecaster-")  # noqa: SIM115 -- closed when it is mapped
            for part in self._parts:
                self._file.write(np.ascontiguousarray(part, self.dtype).data)
            self._file.flush()
        except OSError as error:
            raise _no_room(self.count * self.row_bytes, error) from error
        self._parts = []

    def whole(self) -> NDArray[Any]:
        """All rows; read-only, and nothing can be appended after it, where they lie in a file."""
        rest = np.concatenate([np.empty((0, *self.columns), self.dtype), *self._parts])
        if self._file is None:
            return rest
        with self._file as file:
            file.write(np.ascontiguousarray(rest, self.dtype).data)
            file.flush()
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, dtype=self.dtype).reshape(self.count, *self.columns)


def paged_file(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """The numbers in a file as a read-only array, which stays whole when the file is removed; OSError where there is none."""
    if not prod(shape):
        return np.empty(shape, dtype)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=dtype).reshape(shape)


def _no_room(size: int, error: OSError) -> DataError:
    return DataError(
        f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of temporary values ({error.strerror}). "
        "Set TMPDIR to a folder on a disk that has it."
    )
