import kornia.enhance
import pytest
import torch
from torch import Generator
from torchvision.transforms.v2 import functional as F

from ssl_norm.data.augment.filters import Solarize, solarize
from ssl_norm.data.augment.transform import Share


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0])
def test_equals_torchvision_and_kornia(threshold):
    images = torch.rand(3, 3, 9, 9)
    images[0, 0, 0] = threshold
    found = solarize(images, threshold)
    assert torch.equal(found, F.solarize(images, threshold))
    torch.testing.assert_close(found, kornia.enhance.solarize(images, threshold))


def test_only_the_chosen_are_touched():
    stage = Solarize(probability=0.3, threshold=0.5)
    images = torch.rand(50, 3, 8, 8)
    drawn = stage.draw(Share(50, slice(0, 50), 8, 8), Generator().manual_seed(0))
    found = stage.apply(images.clone(), drawn)
    changed = (found != images).flatten(1).any(1).nonzero()[:, 0]
    assert torch.equal(changed, drawn["rows"])
    assert 5 < len(changed) < 28
