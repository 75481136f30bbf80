import kornia.augmentation
import pytest
import torch
from torch import Generator
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from ssl_norm.data.augment.geometry import (
    CropResizeFlip,
    apply_separable,
    crop_resize,
    sample_boxes,
    triangle_weights,
)
from ssl_norm.data.augment.transform import Share


def batch(n, height, width, seed=0):
    generator = Generator().manual_seed(seed)
    images = torch.rand(n, 3, height, width, generator=generator)
    boxes = sample_boxes(n, height, width, (0.08, 1.0), (3 / 4, 4 / 3), generator)
    return images, boxes, torch.rand(n, generator=generator) < 0.5


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [(32, 32, 32), (20, 27, 40), (30, 50, 24), (90, 64, 16), (33, 33, 32), (1, 5, 8)],
)
def test_equals_torchvision_antialiased(height, width, size):
    images, boxes, flips = batch(12, height, width)
    found = crop_resize(images, boxes, flips, size)
    for image, box, flip, view in zip(images, boxes.int().tolist(), flips, found, strict=True):
        expected = F.resized_crop(image, *box, [size, size], antialias=True)
        expected = F.horizontal_flip(expected) if flip else expected
        torch.testing.assert_close(view, expected, atol=2e-5, rtol=0)


def test_equals_kornia_where_nothing_shrinks():
    images, _, flips = batch(8, 24, 24)
    operation = kornia.augmentation.RandomResizedCrop(
        (24, 24), align_corners=False, cropping_mode="slice"
    )
    parameters = operation.forward_parameters(images.shape)
    corners = parameters[
        "src"
    ]  # upper left, upper right, lower right, lower left: (x, y), inclusive
    first, last = corners[:, 0].flip(1), corners[:, 2].flip(1)
    boxes = torch.cat((first, last - first + 1), 1).float()
    found = crop_resize(images, boxes, torch.zeros_like(flips), 24)
    torch.testing.assert_close(found, operation(images, params=parameters), atol=2e-5, rtol=0)


def test_both_forms_agree():
    images, boxes, flips = batch(16, 32, 32)
    sampled = crop_resize(images, boxes, flips, 32)
    top, left, height, width = boxes[:, :, None].unbind(1)
    fractions = (torch.arange(32) + 0.5) / 32
    x = torch.where(flips[:, None], 1 - fractions, fractions)
    rows = triangle_weights(top + fractions * height, top, height, 32)
    columns = triangle_weights(left + x * width, left, width, 32)
    product = apply_separable(images, rows, columns)
    torch.testing.assert_close(sampled, product, atol=2e-5, rtol=0)


def test_sees_nothing_outside_the_box():
    images = torch.full((2, 3, 40, 40), torch.nan)
    images[:, :, 5:25, 10:34] = 0.25
    box = torch.tensor([[5.0, 10.0, 20.0, 24.0]]).expand(2, 4)
    found = crop_resize(images.nan_to_num(9.0), box, torch.tensor([True, False]), 16)
    torch.testing.assert_close(found, torch.full((2, 3, 16, 16), 0.25))


def test_whole_box_is_the_image_and_flip_is_exact():
    images = torch.rand(2, 3, 32, 32)
    box = torch.tensor([[0.0, 0.0, 32.0, 32.0]]).expand(2, 4)
    found = crop_resize(images, box, torch.tensor([False, True]), 32)
    torch.testing.assert_close(found[0], images[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1], images[1].flip(2), atol=1e-5, rtol=0)


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
