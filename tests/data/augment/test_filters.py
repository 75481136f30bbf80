import kornia.enhance
import pytest
import torch
from kornia.filters import gaussian_blur2d
from torch import Generator
from torchvision.transforms.v2 import functional as F

from ssl_norm.data.augment.filters import (
    GaussianBlur,
    Solarize,
    blur_kernel_size,
    gaussian_blur,
    solarize,
)
from ssl_norm.data.augment.transform import Share


@pytest.mark.parametrize(("size", "kernel"), [(8, 3), (32, 3), (64, 7), (96, 9), (224, 23)])
def test_kernel_size_is_odd_and_a_tenth(size, kernel):
    assert blur_kernel_size(size) == kernel


@pytest.mark.parametrize(("size", "kernel"), [(8, 3), (16, 9), (5, 9), (40, 23)])
def test_equals_kornia_and_torchvision(size, kernel):
    generator = Generator().manual_seed(0)
    images = torch.rand(6, 3, size, size, generator=generator)
    sigmas = torch.rand(6, generator=generator) * 1.9 + 0.1
    found = gaussian_blur(images, sigmas, kernel)
    expected = gaussian_blur2d(images, (kernel, kernel), sigmas[:, None].expand(6, 2))
    torch.testing.assert_close(found, expected, atol=5e-6, rtol=0)
    for image, sigma, blurred in zip(images, sigmas.tolist(), found, strict=True):
        expected = F.gaussian_blur(image, [kernel, kernel], [sigma, sigma])
        torch.testing.assert_close(blurred, expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0])
def test_solarization_equals_torchvision_and_kornia(threshold):
    images = torch.rand(3, 3, 9, 9)
    images[0, 0, 0] = threshold
    found = solarize(images, threshold)
    assert torch.equal(found, F.solarize(images, threshold))
    torch.testing.assert_close(found, kornia.enhance.solarize(images, threshold))


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    ("stage_class", "options"), [(GaussianBlur, {"sigma": (0.5, 2.0)}), (Solarize, {})]
)
def test_only_the_chosen_are_changed(stage_class, options, probability):
    images = torch.rand(50, 3, 16, 16)
    share = Share(50, slice(0, 50), 16, 16)
    stage = stage_class(probability=probability, **options)
    drawn = stage.draw(share, Generator().manual_seed(0))
    found, rows = stage.apply(images.clone(), drawn), drawn["rows"]
    assert torch.equal((found != images).flatten(1).any(1).nonzero()[:, 0], rows)
    assert {0.0: 0, 0.3: 15, 1.0: 50}[probability] == pytest.approx(len(rows), abs=10)
    if stage_class is GaussianBlur:
        expected = gaussian_blur(images[rows], drawn["sigmas"], blur_kernel_size(16))
        torch.testing.assert_close(found[rows], expected)
