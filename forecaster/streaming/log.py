"""The log: what a micro-batch brought, as one block of bytes that carries its own checksum.

Stepping is deterministic, so the accepted observations are all that a restart needs: 20 bytes each, and the names of the series
that began with them.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from forecaster.frequency import Positions
from forecaster.series import Values

HEAD = struct.Struct("<4sqqII")  # magic, batch, the first new slot, bytes of names, observations
MAGIC = b"FCL2"
SLOT, POSITION, VALUE = np.dtype("<u4"), np.dtype("<i8"), np.dtype("<f8")  # on disk, whatever the machine
EACH = SLOT.itemsize + POSITION.itemsize + VALUE.itemsize


@dataclass(frozen=True)
class Block:
    """The accepted observations [N] of one micro-batch, in the order in which they came.

    `ids` are the series that were not known before; they take the slots from `first_slot` on.
    """

    batch: int
    first_slot: int
    ids: Sequence[str]
    slots: NDArray[np.int64]
    positions: Positions
    values: Values

    def pack(self) -> bytes:
        """The block as bytes, its checksum at the end.

        >>> block = Block(3, 0, ["a"], np.array([0]), np.array([7]), np.array([1.5]))
        >>> unpack(block.pack()).positions.tolist()
        [7]
        """
        names = orjson.dumps(list(self.ids))
        columns = (self.slots.astype(SLOT), self.positions.astype(POSITION), self.values.astype(VALUE))
        head = HEAD.pack(MAGIC, self.batch, self.first_slot, len(names), len(self.slots))
        body = b"".join([head, names, *(column.tobytes() for column in columns)])
        return body + zlib.crc32(body).to_bytes(4, "little")


def unpack(data: bytes) -> Block:
    """The block that was packed; raises ValueError where the bytes are not those of one."""
    body, checksum = memoryview(data)[:-4], int.from_bytes(data[-4:], "little")
    if len(body) < HEAD.size or zlib.crc32(body) != checksum:
        raise ValueError("checksum")
    magic, batch, first_slot, size, count = HEAD.unpack(body[: HEAD.size])
    if magic != MAGIC or len(body) != HEAD.size + size + count * EACH:
        raise ValueError("length")
    at = HEAD.size + size
    ids = orjson.loads(body[HEAD.size : at])
    slots = np.frombuffer(body, SLOT, count, at).astype(np.int64)
    positions = np.frombuffer(body, POSITION, count, at + count * SLOT.itemsize).astype(np.int64)
    values = np.frombuffer(body, VALUE, count, at + count * (SLOT.itemsize + POSITION.itemsize)).astype(np.float64)
    return Block(batch, first_slot, ids, slots, positions, values)
