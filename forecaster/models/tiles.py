"""Batches cut into tiles of a few fixed sizes, in which a network gives every row the same bits.

Matrix products are not the same in any batch: a library picks other kernels for few rows. In tiles of `TILE` rows, filled up with
zeros, all ways to a forecast agree. A wider tile costs less a row and a small one less alone, and a quicker way through the same
numbers less in any; on the processors seen so far all of them give the same bits. But nobody promises it: a size, and the quick
way in it, are used where they have given the bits of the plain way in tiles of `TILE`, on random numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forecaster.models.network import torch_threads

Float32 = NDArray[np.float32]
Work = Callable[..., Tensor]  # rows in, rows out

TILE = 32
SIZES = (8, TILE, 128, 1024)  # benchmarks/step_kernel.py has what they cost
EMPTY_ROWS = 48  # at most in a tile that is not full: more cost as much as tiles of a smaller size


@dataclass(frozen=True)
class Tiles:
    """The sizes in which a network may see rows, given random ones of these shapes before a size is first used.

    >>> tiles = Tiles(lambda x: 2 * x, lambda x: x + x, shapes=((3,),))
    >>> [(rows.start, rows.stop, size) for rows, size, _ in tiles.cut(1300)]
    [(0, 1024, 1024), (1024, 1152, 128), (1152, 1280, 128), (1280, 1300, 32)]
    >>> [(rows.start, rows.stop, size) for rows, size, _ in tiles.cut(3)]
    [(0, 3, 8)]
    """

    plain: Work
    quick: Work
    shapes: Sequence[tuple[int, ...]]
    known: dict[int, Work | None] = field(default_factory=dict)  # by size; None where neither way gives the same bits

    def cut(self, count: int, *, most: int = SIZES[-1]) -> Iterator[tuple[slice, int, Work]]:
        """The rows of each tile of a batch of `count` rows, the tile's size, `most` or less, and the way to take in it."""
        start = 0
        while start < count:
            size, work = self._way_for(count - start, most)
            stop = min(start + size, count)
            yield slice(start, stop), size, work
            start = stop

    def _way_for(self, count: int, most: int) -> tuple[int, Work]:
        """The smallest size that holds all rows and is not left too empty, else the largest that they fill."""
        holding = (size for size in SIZES if count <= size <= min(count + EMPTY_ROWS, most))
        filling = (size for size in reversed(SIZES) if size <= min(count, most))
        ways = ((size, self._work_in(size)) for size in (*holding, *filling))
        return next((size, work) for size, work in ways if work is not None)

    def _work_in(self, size: int) -> Work | None:
        if size not in self.known:
            same = (work for work in (self.quick, self.plain) if gives_same_bits(work, self.plain, self.shapes, size))
            self.known[size] = next(same, None)
        return self.known[size]


def gives_same_bits(work: Work, plain: Work, shapes: Sequence[tuple[int, ...]], size: int) -> bool:
    """Whether rows come out of `work` in tiles of this size as out of `plain` in tiles of `TILE`, on random numbers.

    >>> gives_same_bits(lambda x: x - x.mean(), lambda x: x - x.mean(), ((3,),), 128)
    False
    """
    generator = torch.Generator().manual_seed(size)
    rows = [torch.randn(max(size, TILE), *shape, generator=generator) for shape in shapes]

    def in_tiles(way: Work, count: int) -> Tensor:
        return torch.cat([way(*(row[start : start + count].clone() for row in rows)) for start in range(0, len(rows[0]), count)])

    with alone(size):
        return torch.equal(in_tiles(work, size), in_tiles(plain, TILE))


@contextmanager
def alone(count: int) -> Iterator[None]:
    """torch without gradients, and for more rows than `TILE` on one thread: where several share a tile, they cut it anywhere."""
    with torch.inference_mode(), torch_threads(1) if count > TILE else nullcontext():
        yield


def filled(*parts: Float32, size: int) -> Tensor:
    """The rows of the parts beside each other [size, ...], zeros below them."""
    tile = torch.empty((size, *parts[0].shape[1:-1], sum(part.shape[-1] for part in parts)))
    rows, column = tile.numpy(), 0
    for part in parts:
        rows[: len(part), ..., column : column + part.shape[-1]] = part
        column += part.shape[-1]
    rows[len(parts[0]) :] = 0
    return tile
