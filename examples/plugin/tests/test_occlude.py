import torch
from torch import Generator

from ssl_norm_example.occlude import occlude


def test_half_of_the_sides_is_a_quarter_of_the_image():
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    found = occlude(images, 0.5, Generator())
    assert (found[0, 0, 2:6, 2:6] == 128).all()
    assert (found > 0).float().mean() == 1 / 4
