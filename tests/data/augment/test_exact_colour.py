import colorsys

import pytest
import torch
from kornia.enhance import adjust_hue
from torchvision.transforms.v2 import functional as F

from ssl_norm.data.augment.colour import hue_rotation, shift_hue


def rotate(images, turns):
    return (hue_rotation(turns) @ images.flatten(2)).view(images.shape)


def test_shift_equals_colorsys():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(3, 3, 5, 5, generator=generator, dtype=torch.float64)
    images[0, :, 0, 0] = 0.3  # grey
    images[0, :, 0, 1] = 0.0
    images[0, :, 0, 2] = torch.tensor([0.9, 0.9, 0.1])
    turns = torch.tensor([0.13, -0.4, 0.5], dtype=torch.float64)
    expected = images.clone()
    for n in range(3):
        for y in range(5):
            for x in range(5):
                hue, saturation, value = colorsys.rgb_to_hsv(*images[n, :, y, x].tolist())
                rgb = colorsys.hsv_to_rgb((hue + turns[n].item()) % 1, saturation, value)
                expected[n, :, y, x] = torch.tensor(rgb, dtype=torch.float64)
    torch.testing.assert_close(shift_hue(images, turns), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.02, 0.3])
def test_shift_equals_torchvision_and_kornia(turn):
    images = torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    turns = torch.full((4,), turn)
    found = shift_hue(images, turns)
    torch.testing.assert_close(found, F.adjust_hue(images, turn), atol=1e-5, rtol=0)
    torch.testing.assert_close(found, adjust_hue(images, turns * 2 * torch.pi), atol=1e-4, rtol=0)


def test_rotation_keeps_grey_and_is_exact_at_thirds():
    images = torch.rand(2, 3, 6, 6)
    turns = torch.tensor([1 / 3, -1 / 3])
    torch.testing.assert_close(rotate(images, turns), shift_hue(images, turns), atol=1e-5, rtol=0)
    grey = torch.full((2, 3, 6, 6), 0.4)
    torch.testing.assert_close(rotate(grey, torch.tensor([0.1, 0.27])), grey)


@pytest.mark.parametrize("turn", [-0.2, -0.1, 0.1, 0.2])
def test_rotation_is_nearer_to_the_shift_than_no_change(turn):
    images = torch.rand(16, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    turns = torch.full((16,), turn)
    exact = shift_hue(images, turns)
    distance = (rotate(images, turns).clamp(0, 1) - exact).abs().mean()
    assert distance < 0.75 * (images - exact).abs().mean()
