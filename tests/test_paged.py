"""Arrays that lie on disk are like others, and cost no memory that a process could run out of."""

import subprocess
import sys

import numpy as np
import pytest

from forecaster import paged
from forecaster.errors import DataError

LARGER_THAN_ALLOWED = """
import resource
from forecaster.paged import paged_array
resource.setrlimit(resource.RLIMIT_DATA, (1 << 28, 1 << 28))
array = paged_array((1 << 26,))
array[:] = 1.5
print(float(array[::4096].sum()))
"""


def test_a_large_array_is_read_and_written_like_any_other(monkeypatch):
    monkeypatch.setattr(paged, "IN_MEMORY", 100)
    array = paged.paged_array((50, 3))
    array[:] = np.arange(150).reshape(50, 3)
    assert array[49].tolist() == [147, 148, 149]


def test_an_array_twice_as_large_as_the_memory_allowed_is_filled():
    done = subprocess.run([sys.executable, "-c", LARGER_THAN_ALLOWED], capture_output=True, text=True, check=True)
    assert float(done.stdout) == 1.5 * (1 << 14)


def test_a_disk_without_room_is_told_before_anything_is_written(monkeypatch):
    monkeypatch.setattr(paged, "IN_MEMORY", 100)
    with pytest.raises(DataError, match=r"no room for 8000000000\.0 GB of temporary values .*Set TMPDIR to a folder"):
        paged.paged_array((10**18,))


def test_a_file_is_mapped_and_outlives_its_name(tmp_path):
    path = tmp_path / "x.f64"
    path.write_bytes(np.arange(4.0).tobytes())
    array = paged.paged_file(path, (2, 2))
    path.unlink()
    assert array.tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert paged.paged_file(path, (0,)).shape == (0,)
