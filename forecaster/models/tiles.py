"""Batches cut into tiles of a few fixed sizes, in which a network gives every row the same bits.

Matrix products are not the same in any batch: a library picks other kernels for few rows. In tiles of `TILE` rows, filled up with
zeros, all ways to a forecast agree. A wider tile costs less a row and a small one less alone, and on the processors seen so
far they give the same bits; but nobody promises it, so a size is used where it has given the bits of `TILE` on random numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Float32 = NDArray[np.float32]
Work = Callable[..., Tensor]  # rows in, rows out

TILE = 32
SIZES = (8, TILE, 128, 1024)  # benchmarks/step_kernel.py has what they cost
EMPTY_ROWS = 48  # at most in a tile that is not full: more cost as much as tiles of a smaller size


@dataclass(frozen=True)
class Tiles:
    """The sizes in which `work` may see rows; it is given random ones of these shapes before a size is first used.

    >>> tiles = Tiles(lambda x: 2 * x, shapes=((3,),))
    >>> [(rows.start, rows.stop, size) for rows, size in tiles.cut(1300)]
    [(0, 1024, 1024), (1024, 1152, 128), (1152, 1280, 128), (1280, 1300, 32)]
    >>> [(rows.start, rows.stop, size) for rows, size in tiles.cut(3)]
    [(0, 3, 8)]
    """

    work: Work
    shapes: Sequence[tuple[int, ...]]
    agreeing: dict[int, bool] = field(default_factory=lambda: {TILE: True})

    def cut(self, count: int, *, most: int = SIZES[-1]) -> Iterator[tuple[slice, int]]:
        """The rows of each tile of a batch of `count` rows, and the tile's size, `most` or less."""
        start = 0
        while start < count:
            size = self._size_for(count - start, most)
            stop = min(start + size, count)
            yield slice(start, stop), size
            start = stop

    def _size_for(self, count: int, most: int) -> int:
        """The smallest size that holds all rows and is not left too empty, else the largest that they fill."""
        holding = (size for size in SIZES if count <= size <= min(count + EMPTY_ROWS, most))
        filled = (size for size in reversed(SIZES) if size <= min(count, most))
        return next(size for size in (*holding, *filled) if self._agrees(size))

    def _agrees(self, size: int) -> bool:
        if size not in self.agreeing:
            self.agreeing[size] = gives_same_bits(self.work, self.shapes, size)
        return self.agreeing[size]


def gives_same_bits(work: Work, shapes: Sequence[tuple[int, ...]], size: int) -> bool:
    """Whether rows in tiles of this size come out as they do in tiles of `TILE`, to the bit, on random numbers.

    >>> gives_same_bits(lambda x: x - x.mean(), ((3,),), 128)
    False
    """
    generator = torch.Generator().manual_seed(size)
    rows = [torch.randn(max(size, TILE), *shape, generator=generator) for shape in shapes]
    with torch.inference_mode():
        in_tiles, plain = (
            torch.cat([work(*(row.clone() for row in part)) for part in zip(*(row.split(count) for row in rows), strict=True)])
            for count in (size, TILE)
        )
    return torch.equal(in_tiles, plain)


def filled(*parts: Float32, size: int) -> Tensor:
    """The rows of the parts beside each other [size, ...], zeros below them."""
    tile = torch.empty((size, *parts[0].shape[1:-1], sum(part.shape[-1] for part in parts)))
    rows, column = tile.numpy(), 0
    for part in parts:
        rows[: len(part), ..., column : column + part.shape[-1]] = part
        column += part.shape[-1]
    rows[len(parts[0]) :] = 0
    return tile
