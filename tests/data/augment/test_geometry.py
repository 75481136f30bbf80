import pytest
import torch
from torch import Generator
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from ssl_norm.data.augment.geometry import crop_resize, sample_boxes

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def boxes(n, height, width, area=AREA, ratio=RATIO):
    return sample_boxes(n, height, width, area, ratio, Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(32, 32, 32), (20, 27, 40), (30, 50, 24), (90, 64, 16), (33, 33, 32), (1, 5, 8)],
)
def test_equals_torchvision_antialiased(height, width, size):
    images, places = torch.rand(12, 3, height, width), boxes(12, height, width)
    flips = torch.rand(12) < 0.5
    found = crop_resize(images, places, flips, size)
    for image, box, flip, view in zip(images, places.int().tolist(), flips, found, strict=True):
        expected = F.resized_crop(image, *box, [size, size], antialias=True)
        expected = F.horizontal_flip(expected) if flip else expected
        torch.testing.assert_close(view, expected, atol=2e-5, rtol=0)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 57), (3, 2), (1, 1)])
def test_boxes_are_whole_pixels_inside(height, width):
    top, left, box_height, box_width = boxes(5000, height, width).unbind(1)
    assert torch.equal(boxes(9, height, width), boxes(9, height, width).round())
    assert min(top.min(), left.min()) >= 0
    assert min(box_height.min(), box_width.min()) >= 1
    assert (top + box_height).max() <= height
    assert (left + box_width).max() <= width


@pytest.mark.parametrize("ratio", [(2.0, 3.0), (0.3, 0.5)])
def test_ratio_is_width_by_height(ratio):
    _, _, box_height, box_width = boxes(500, 60, 60, (0.1, 0.3), ratio).unbind(1)
    assert (box_width + 0.5 >= ratio[0] * (box_height - 0.5)).all()
    assert (box_width - 0.5 <= ratio[1] * (box_height + 0.5)).all()


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


@pytest.mark.parametrize(
    ("height", "width", "ratio"),
    [(10, 40, (0.9, 1.3)), (40, 10, (0.9, 1.3)), (10, 12, (1.19, 1.21))],
)
def test_fallback_is_torchvisions(height, width, ratio):
    expected = RandomResizedCrop.get_params(torch.zeros(3, height, width), (1.0, 1.0), ratio)
    assert boxes(4, height, width, (1.0, 1.0), ratio)[3].tolist() == list(expected)
