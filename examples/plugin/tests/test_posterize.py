import torch
from torch import Generator

from ssl_norm.data.augment.transform import Share
from ssl_norm_example.posterize import Posterize


def test_two_to_the_power_of_bits_levels_are_left():
    images = torch.rand(4, 3, 8, 8)
    step = Posterize(probability=1.0, bits=2)
    found = step.apply(images.clone(), step.draw(Share(4, slice(0, 4), 8, 8), Generator()))
    torch.testing.assert_close(found.unique(), torch.tensor([0, 1 / 3, 2 / 3, 1]))
    assert (found - images).abs().max() <= 1 / 6 + 1e-6
