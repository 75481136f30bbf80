import pytest
import torch
from torch import Generator
from torchvision.transforms import RandomResizedCrop

from ssl_norm.data.augment.crop import CropResizeFlip, sample_boxes
from ssl_norm.data.augment.transform import Share

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def boxes(n, height, width, area=AREA, ratio=RATIO, seed=0):
    return sample_boxes(n, height, width, area, ratio, Generator().manual_seed(seed))


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 57), (3, 2), (1, 1)])
def test_boxes_are_whole_pixels_inside(height, width):
    top, left, box_height, box_width = boxes(5000, height, width).unbind(1)
    assert torch.equal(boxes(9, height, width), boxes(9, height, width).round())
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (box_height >= 1).all()
    assert (box_width >= 1).all()
    assert (top + box_height <= height).all()
    assert (left + box_width <= width).all()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (60, 100)])
def test_distribution_is_torchvisions(height, width):
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    expected = torch.tensor(
        [RandomResizedCrop.get_params(image, AREA, RATIO) for _ in range(4000)]
    ).float()
    found = boxes(40_000, height, width)
    error = expected.std(0) / 4000**0.5
    assert ((found.mean(0) - expected.mean(0)).abs() < 4 * error).all()
    assert torch.allclose(found.std(0), expected.std(0), rtol=0.05)


@pytest.mark.parametrize(("height", "width"), [(10, 40), (40, 10), (10, 12)])
def test_fallback_is_torchvisions(height, width):
    area, ratio = (1.0, 1.0), (0.9, 1.3)
    image = torch.zeros(3, height, width)
    if height * width == 120:
        area = (1.0, 1.0)
        ratio = (1.19, 1.21)
    expected = RandomResizedCrop.get_params(image, area, ratio)
    assert boxes(4, height, width, area, ratio)[3].tolist() == list(expected)


def test_whole_image_by_default_parameters():
    whole = boxes(6, 32, 32, (1.0, 1.0), (1.0, 1.0))
    assert whole.tolist() == [[0, 0, 32, 32]] * 6


def test_ranks_share_the_draw():
    stage = CropResizeFlip(8, AREA, RATIO, flip=0.5)
    whole = stage.draw(Share(12, slice(0, 12), 9, 9), Generator().manual_seed(1))
    part = stage.draw(Share(12, slice(4, 8), 9, 9), Generator().manual_seed(1))
    assert torch.equal(part["boxes"], whole["boxes"][4:8])
    assert torch.equal(part["flips"], whole["flips"][4:8])
