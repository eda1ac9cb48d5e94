"""Arrays that may be larger than memory: they lie on disk, and the system keeps in memory what is in use and fits.

Such an array is read and written like any other. It costs room on disk, and no memory that a process could run out of.
"""

import mmap
import os
import tempfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from forecaster.errors import DataError

IN_MEMORY = 1 << 26  # bytes up to which an array is an ordinary one


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
        raise DataError(
            f"{tempfile.gettempdir()}: no room for {size / 1e9:.1f} GB of temporary values ({error.strerror}). "
            "Set TMPDIR to a folder on a disk that has it."
        ) from error


def paged_file(path: Path, shape: tuple[int, ...], dtype: DTypeLike = np.float64) -> NDArray[Any]:
    """The numbers in a file as a read-only array, which stays whole when the file is removed; OSError where there is none."""
    if not prod(shape):
        return np.empty(shape, dtype)
    with path.open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=dtype).reshape(shape)
