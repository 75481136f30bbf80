import colorsys

import kornia.enhance
import pytest
import torch
from torch import Generator
from torchvision.transforms.v2 import functional as F

from ssl_norm.data.augment.colour import (
    ColourFactors,
    ExactColour,
    FusedColour,
    apply_colour_map,
    colour_steps,
    compose,
    draw_factors,
    hue_rotation,
    shift_hue,
)
from ssl_norm.data.augment.parameters import ViewParameters
from ssl_norm.data.augment.transform import Share

BYOL = ViewParameters.plain(jitter=1.0, brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
SIMCLR = ViewParameters.plain(
    jitter=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, grey=0.2
)
TORCHVISION = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
KORNIA = (
    kornia.enhance.adjust_brightness_accumulative,
    kornia.enhance.adjust_contrast_with_mean_subtraction,
    kornia.enhance.adjust_saturation_with_gray_subtraction,
)


def smooth_images(n, size=16, seed=0):
    """Random images with the spectrum of photographs rather than of noise."""
    generator = Generator().manual_seed(seed)
    coarse = torch.rand(n, 3, 4, 4, generator=generator)
    fine = torch.rand(n, 3, size, size, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    return 0.85 * smooth + 0.15 * fine


def one_operation(column, factor, n):
    values = torch.tensor([[1.0, 1.0, 1.0, 0.0]]).repeat(n, 1)
    values[:, column] = factor
    order = torch.arange(4).expand(n, 4)
    return ColourFactors(values, order, torch.zeros(n))


def share_of(n):
    return Share(n, slice(0, n), 16, 16), Generator().manual_seed(0)


def factors_of(view, n):
    return draw_factors(view, *share_of(n))


def recolour(stage_class, view, images):
    stage = stage_class(view)
    return stage.apply(images.clone(), stage.draw(*share_of(len(images))))


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.7])
@pytest.mark.parametrize("column", [0, 1, 2])
def test_each_operation_equals_torchvision_and_kornia(column, factor):
    images = torch.rand(5, 3, 12, 12, generator=Generator().manual_seed(3))
    found = apply_colour_map(images, compose(colour_steps(one_operation(column, factor, 5))))
    for image, changed in zip(images, found, strict=True):
        expected = TORCHVISION[column](image, factor)
        torch.testing.assert_close(changed, expected, atol=2e-4, rtol=0)  # luminance of .2989
    expected = KORNIA[column](images, torch.full((5,), factor))
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("view", [BYOL, SIMCLR])
def test_exact_chain_equals_torchvision_per_image(view):
    images = torch.rand(24, 3, 16, 16, generator=Generator().manual_seed(4))
    found, factors = recolour(ExactColour, view, images), factors_of(view, 24)
    for n, image in enumerate(images):
        for column in factors.order[n].tolist():
            image = TORCHVISION[column](image, factors.values[n, column].item())
        if factors.grey[n]:
            image = F.rgb_to_grayscale(image, num_output_channels=3)
        torch.testing.assert_close(found[n], image, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("column", "name"), [(0, "brightness"), (1, "contrast"), (2, "saturation"), (3, "hue")]
)
@pytest.mark.parametrize("stage_class", [FusedColour, ExactColour])
def test_each_strength_moves_its_own_operation(column, name, stage_class):
    view = ViewParameters.plain(jitter=1.0, **{name: 0.3})
    images = 0.4 + 0.2 * torch.rand(6, 3, 8, 8, generator=Generator().manual_seed(4))
    found = recolour(stage_class, view, images)
    assert (found - images).abs().amax((1, 2, 3)).median() > 0.005
    for changed, image, factors in zip(found, images, factors_of(view, 6).values, strict=True):
        expected = TORCHVISION[column](image, factors[column].item())
        near = 0.08 if (name, stage_class) == ("hue", FusedColour) else 1e-3
        torch.testing.assert_close(changed, expected, atol=near, rtol=0)


@pytest.mark.parametrize(("view", "limit"), [(BYOL, 0.03), (SIMCLR, 0.05)])
def test_fused_chain_is_in_range_near_the_exact_one_and_keeps_its_input(view, limit):
    images = smooth_images(256)
    expected, fused = recolour(ExactColour, view, images), FusedColour(view)
    found = fused.apply(images, fused.draw(*share_of(256)))
    assert torch.equal(images, smooth_images(256))
    assert 0 <= found.min() < found.max() <= 1
    assert (found - expected).abs().mean() < min(limit, 0.25 * (expected - images).abs().mean())


def test_factors_fill_their_ranges_with_their_probabilities_in_every_order():
    neutral = torch.tensor([1.0, 1.0, 1.0, 0.0])
    strengths = {"brightness": 0.4, "contrast": 1.5, "saturation": 0.2, "hue": 0.1}
    view = ViewParameters.plain(jitter=0.7, grey=0.1, **strengths)
    values, order, grey = factors_of(view, 24_000)
    is_changed = (values != neutral).any(1)
    assert abs(is_changed.float().mean().item() - 0.7) < 0.02
    assert abs(grey.mean().item() - 0.1) < 0.01
    values = values[is_changed]
    low, high = torch.tensor([0.6, 0.0, 0.8, -0.1]), torch.tensor([1.4, 2.5, 1.2, 0.1])
    assert ((values >= low - 1e-6) & (values <= high + 1e-6)).all()
    torch.testing.assert_close(values.mean(0), (low + high) / 2, atol=0.02, rtol=0)
    torch.testing.assert_close(values.std(0), (high - low) / 12**0.5, atol=0, rtol=0.03)
    counts = (order * torch.tensor([64, 16, 4, 1])).sum(1).unique(return_counts=True)[1]
    assert len(counts) == 24
    assert 850 < counts.min() <= counts.max() < 1150


def rotate(images, turns):
    return (hue_rotation(turns) @ images.flatten(2)).view(images.shape)


def test_rotation_keeps_grey_and_is_exact_at_thirds():
    images = torch.rand(2, 3, 6, 6)
    turns = torch.tensor([1 / 3, -1 / 3])
    torch.testing.assert_close(rotate(images, turns), shift_hue(images, turns), atol=1e-5, rtol=0)
    grey = torch.full((2, 3, 6, 6), 0.4)
    torch.testing.assert_close(rotate(grey, torch.tensor([0.1, 0.27])), grey)


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


def test_fused_equals_exact_where_nothing_is_clamped_and_hue_rests():
    view = ViewParameters.plain(jitter=1.0, brightness=0.2, contrast=0.2, saturation=0.2, grey=0.3)
    images = 0.35 + 0.3 * torch.rand(32, 3, 16, 16, generator=Generator().manual_seed(5))
    fused, exact = (recolour(kind, view, images) for kind in (FusedColour, ExactColour))
    torch.testing.assert_close(fused, exact, atol=2e-6, rtol=0)
