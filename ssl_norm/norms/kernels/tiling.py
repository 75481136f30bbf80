"""Division of an input among the programs of a GPU kernel.

A row is one channel of one sample. A tile consists of some positions of some rows; its number of
elements hardly depends on the shape. In contiguous memory, rows are consecutive and the positions
of a row are neighbours; in channels-last memory, the rows are channels of one sample and
neighbours. A program of an elementwise pass has one tile. A program of a reduction has all tiles of
its rows or, if the rows are too few to fill the GPU, those in a span of positions.

There is no autotuning: a shape runs in the same way on every process, without trials.
"""

import functools
from typing import NamedTuple

import torch

TILE_ELEMENTS = 4096  # 16 for each thread of 8 warps
CONTIGUOUS_POSITIONS = 1024  # every thread reads 16 bytes; longer rows waste their ends
CHANNELS_LAST_BYTES = 128  # a cache line of channels at each position
FEWEST_TILES = 4  # of a span; the merge of shorter spans costs more than they gain
MOST_ELEMENTS_INT32 = 2**30  # half of the range, since tiles go beyond the end of the tensor


class Tiling(NamedTuple):
    """Plan of a kernel over (N, C, *spatial).

    Attributes:
        instances: N C.
        channels: C.
        positions: S, the product of the spatial axes.
        span: positions of one program.
        channels_last: the order of memory.
        tile_rows: rows of a tile, a power of 2.
        tile_positions: positions of a tile, a power of 2; divides `span`.
        wide: whether offsets take 64 bits.
    """

    instances: int
    channels: int
    positions: int
    span: int
    channels_last: bool
    tile_rows: int
    tile_positions: int
    wide: bool

    @property
    def spans(self) -> int:
        """Number of spans of positions."""
        return ceil_divide(self.positions, self.span)

    @property
    def programs(self) -> int:
        """Size of the grid: blocks of rows times spans."""
        if self.channels_last:
            samples = self.instances // self.channels
            return samples * ceil_divide(self.channels, self.tile_rows) * self.spans
        return ceil_divide(self.instances, self.tile_rows) * self.spans


@functools.lru_cache(maxsize=1024)
def tiling(shape: torch.Size, itemsize: int, channels_last: bool, wanted_programs: int) -> Tiling:
    """Return the plan for an input.

    Args:
        shape: (N, C, *spatial), without zeros.
        itemsize: bytes of a number.
        channels_last: whether the input is channels-last; otherwise it is contiguous.
        wanted_programs: programs that fill the GPU in a reduction; 0 for an elementwise pass, which
            has a program for each tile.
    """
    instances, channels, positions = shape[0] * shape[1], shape[1], shape[2:].numel()
    tile_rows, tile_positions = _tile_shape(instances, channels, positions, itemsize, channels_last)
    wide = instances * positions > MOST_ELEMENTS_INT32
    tile = (channels_last, tile_rows, tile_positions, wide)
    plan = Tiling(instances, channels, positions, tile_positions, *tile)
    if wanted_programs == 0:
        return plan
    blocks = plan.programs // plan.spans
    tiles = ceil_divide(plan.spans, max(1, wanted_programs // blocks))
    return plan._replace(span=max(FEWEST_TILES, tiles) * tile_positions)


def ceil_divide(number: int, divisor: int) -> int:
    """Return the quotient, rounded up."""
    return -(-number // divisor)


def power_of_2(number: int) -> int:
    """Return the least power of 2 that is at least `number` >= 1."""
    return 1 << (number - 1).bit_length()


def _tile_shape(
    instances: int, channels: int, positions: int, itemsize: int, channels_last: bool
) -> tuple[int, int]:
    """Return rows and positions of a tile, filled first with neighbours in memory."""
    if not channels_last:
        tile_positions = min(power_of_2(positions), CONTIGUOUS_POSITIONS)
        return min(power_of_2(instances), TILE_ELEMENTS // tile_positions), tile_positions
    neighbours = min(power_of_2(channels), CHANNELS_LAST_BYTES // itemsize)
    tile_positions = min(power_of_2(positions), TILE_ELEMENTS // neighbours)
    return min(power_of_2(channels), TILE_ELEMENTS // tile_positions), tile_positions
