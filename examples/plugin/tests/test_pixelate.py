import torch
from torch import Generator

from ssl_norm_example.pixelate import pixelate


def test_half_the_resolution_is_the_mean_of_blocks_of_four():
    images = torch.tensor([[0, 4, 8, 8], [8, 4, 8, 8]], dtype=torch.uint8).expand(1, 3, 2, 4)
    found = pixelate(images, 0.5, Generator())
    assert torch.equal(found[0, 0], torch.tensor([[4, 4, 8, 8]] * 2, dtype=torch.uint8))
