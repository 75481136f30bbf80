import pytest
import torch
from kornia.augmentation import RandomResizedCrop
from torch import Generator
from torchvision.transforms.v2 import functional as F

from ssl_norm.data.augment.crop import sample_boxes
from ssl_norm.data.augment.resize import crop_resize, triangle_weights
from ssl_norm.data.augment.separable import apply_separable


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
    operation = RandomResizedCrop((24, 24), align_corners=False, cropping_mode="slice")
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
