"""Division of work among programs: every element exactly once, whatever the shape."""

import pytest
import torch

from ssl_norm.norms.kernels.tiling import MOST_ELEMENTS_INT32, TILE_ELEMENTS, power_of_2, tiling

SHAPES = [(1, 1, 1), (128, 64, 32, 32), (128, 512, 4, 4), (3, 5, 7), (1, 3, 2**24), (2, 2048, 49)]
BLOCKS_OF_A_HOPPER = 264


@pytest.mark.parametrize("wanted", [0, 1, BLOCKS_OF_A_HOPPER])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tiles_cover_the_input(shape, channels_last, wanted):
    plan = tiling(torch.Size(shape), 4, channels_last, wanted)
    assert plan.span % plan.tile_positions == 0
    assert (plan.spans - 1) * plan.span < plan.positions <= plan.spans * plan.span
    assert plan.tile_rows * plan.tile_positions <= TILE_ELEMENTS
    for size in (plan.tile_rows, plan.tile_positions):
        assert size == power_of_2(size)
    blocks = plan.programs // plan.spans
    rows = blocks * plan.tile_rows
    assert rows >= plan.instances
    assert rows < 2 * plan.instances + plan.tile_rows or channels_last
    if wanted == 0:
        assert plan.span == plan.tile_positions


def test_few_rows_are_split_to_fill_the_device():
    shape = torch.Size((1, 8, 128, 128, 128))
    assert tiling(shape, 4, False, 1).spans == 1
    assert 200 < tiling(shape, 4, False, BLOCKS_OF_A_HOPPER).programs <= BLOCKS_OF_A_HOPPER
    assert 200 < tiling(shape, 4, True, BLOCKS_OF_A_HOPPER).programs <= BLOCKS_OF_A_HOPPER
    assert tiling(torch.Size((128, 64, 32, 32)), 4, False, BLOCKS_OF_A_HOPPER).spans == 1


def test_offsets_grow_with_the_input():
    rows = MOST_ELEMENTS_INT32 // 2**20
    assert not tiling(torch.Size((rows, 1, 2**20)), 4, False, 0).wide
    assert tiling(torch.Size((rows + 1, 1, 2**20)), 4, False, 0).wide


@pytest.mark.parametrize(("number", "power"), [(1, 1), (2, 2), (3, 4), (64, 64), (65, 128)])
def test_power_of_2(number, power):
    assert power_of_2(number) == power
