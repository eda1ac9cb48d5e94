"""Snapshots of live series: a file for each shard of slots, written beside and renamed, with a checksum over the whole."""

import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster.streaming.live import LiveSeries

SHARD = 4096  # slots in one file: some MB, and so some ms of one commit
MAGIC = b"FCS2"


def shard_count(series: int) -> int:
    """How many shards hold so many series.

    >>> shard_count(0), shard_count(4096), shard_count(4097)
    (0, 1, 2)
    """
    return -(-series // SHARD)


def shard_of(slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """The shard that each slot [N] lies in."""
    return slots // SHARD


@dataclass(frozen=True)
class Snapshots:
    """Which snapshots a state has: of each shard, the batch that it follows, and its checksum.

    The log up to the batch `dropped` is gone, and every series begun by then is in a snapshot. `generation` counts the models
    that have had the state: the files of two never have the same name.
    """

    shards: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    dropped: int = 0
    generation: int = 0

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Snapshots":
        """What `record` gave.

        >>> Snapshots.of_record(Snapshots({0: (7, 99)}, 7, 1).record())
        Snapshots(shards={0: (7, 99)}, dropped=7, generation=1)
        """
        shards = {int(name): (entry[0], entry[1]) for name, entry in record.items() if name.isdigit()}
        return cls(shards, record["dropped"], record.get("generation", 0))

    def record(self) -> dict[str, Any]:
        """The snapshots as JSON knows them."""
        rest = {"dropped": self.dropped} | ({"generation": self.generation} if self.generation else {})
        return rest | {str(shard): list(entry) for shard, entry in self.shards.items()}

    def follows(self, shard: int) -> int:
        """The batch that the shard's snapshot follows; one without a snapshot has nothing from before the log."""
        return self.shards.get(shard, (self.dropped, 0))[0]

    def name(self, shard: int, batch: int) -> str:
        """The file of a shard's snapshot that follows a batch."""
        return f"shard-{shard:05}-{batch}" + (f"-{self.generation}.bin" if self.generation else ".bin")

    def names(self) -> set[str]:
        """The files of all snapshots."""
        return {self.name(shard, batch) for shard, (batch, _) in self.shards.items()}


def write_shard(path: Path, series: LiveSeries, shard: int) -> int:
    """Write the shard's rows; returns their checksum. Raises OSError; the file is whole, and on the disk, or not there."""
    rows = slice(shard * SHARD, min((shard + 1) * SHARD, len(series)))
    arrays = {name: np.ascontiguousarray(getattr(series, name)[rows]) for name in LiveSeries.ARRAYS}
    layout = {name: [array.dtype.newbyteorder("<").str, list(array.shape)] for name, array in arrays.items()}
    head = orjson.dumps({"ids": series.ids[rows], "arrays": layout})
    parts: list[bytes | memoryview] = [MAGIC, len(head).to_bytes(8, "little"), head]
    parts += [array.astype(array.dtype.newbyteorder("<"), copy=False).data.cast("B") for array in arrays.values() if array.size]
    checksum = 0
    beside = path.with_name(f"{path.name}.part")
    with beside.open("wb") as file:
        for part in parts:
            checksum = zlib.crc32(part, checksum)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    return checksum


def read_shard(path: Path, series: LiveSeries, shard: int, checksum: int) -> None:
    """Fill the shard's rows of the arrays, and the ids of its slots. Raises ValueError where the file is not what was written."""
    data = path.read_bytes()
    if zlib.crc32(data) != checksum or data[:4] != MAGIC:
        raise ValueError("checksum")
    at = 12 + int.from_bytes(data[4:12], "little")
    head = orjson.loads(data[12:at])
    ids: list[str] = head["ids"]
    first = shard * SHARD
    for name, (dtype, shape) in head["arrays"].items():
        array = np.frombuffer(data, dtype, int(np.prod(shape)), at).reshape(shape)
        at += array.nbytes
        target = getattr(series, name)
        if array.shape[1:] != target.shape[1:]:
            raise ValueError("shape")
        target[first : first + len(ids)] = array
    series.ids[first : first + len(ids)] = ids
