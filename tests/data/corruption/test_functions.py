import numpy as np
import pytest
import torch
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter

from ssl_norm.data.corruption.spec import CORRUPTIONS, Corruption

STRONGEST = [Corruption(name) for name in CORRUPTIONS]
# The script that made CIFAR-10-C, see ssl_norm.data.corruption.functions.
PUBLISHED = {
    "contrast": [0.75, 0.5, 0.4, 0.3, 0.15],
    "gaussian_noise": [0.04, 0.06, 0.08, 0.09, 0.10],
    "gaussian_blur": [0.4, 0.6, 0.7, 0.8, 1.0],
    "jpeg": [80, 65, 58, 50, 40],
}
RANDOM = torch.randint(
    0, 256, (4, 3, 13, 10), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apply(name: str, severity: int, images: torch.Tensor = RANDOM) -> np.ndarray:
    return Corruption(name, severity)(images, generator()).numpy()


def smooth_images() -> torch.Tensor:
    """Return (20, 3, 32, 32) uint8 with the slow changes that photographs have."""
    noise = np.random.default_rng(0).normal(size=(20, 3, 32, 32))
    waves = gaussian_filter(noise, (0, 0, 2.5, 2.5))
    return torch.from_numpy((128 + 50 * waves / waves.std()).clip(0, 255).astype(np.uint8))


SMOOTH = smooth_images()


def test_strengths_are_the_published_ones():
    assert {name: list(CORRUPTIONS.load(name).strengths) for name in PUBLISHED} == PUBLISHED


def assert_rounded(levels: np.ndarray, exact: np.ndarray) -> None:
    """Check that levels are rounded float64 values, except where float32 is near a half."""
    assert np.abs(levels - np.clip(exact, 0, 255)).max() < 0.5 + 1e-3


@pytest.mark.parametrize("severity", [1, 5])
def test_contrast_shrinks_the_distance_from_the_channels_mean(severity):
    pixels, factor = RANDOM.numpy().astype(np.float64), PUBLISHED["contrast"][severity - 1]
    means = np.array([[channel.mean() for channel in image] for image in pixels])[..., None, None]
    assert_rounded(apply("contrast", severity), means + factor * (pixels - means))


@pytest.mark.parametrize("severity", [1, 5])
def test_noise_is_normal_and_added_to_every_value(severity):
    std = PUBLISHED["gaussian_noise"][severity - 1]
    noise = torch.randn(RANDOM.shape, generator=generator()).numpy().astype(np.float64)
    exact = (RANDOM.numpy() / 255 + std * noise) * 255
    assert_rounded(apply("gaussian_noise", severity), exact)


@pytest.mark.parametrize("severity", [1, 5])
def test_blur_is_scipys_at_the_nearest_border(severity):
    sigma = PUBLISHED["gaussian_blur"][severity - 1]
    exact = gaussian_filter(
        RANDOM.numpy().astype(np.float64), (0, 0, sigma, sigma), mode="nearest", truncate=4
    )
    assert_rounded(apply("gaussian_blur", severity), exact)


# ITU-T T.81, table K.1: steps of brightness at quality 50.
STEPS = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101
72 92 95 98 112 100 103 99
"""


@pytest.mark.parametrize("severity", [1, 5])
def test_jpeg_of_grey_images_rounds_the_cosine_transform_of_blocks(severity):
    quality = PUBLISHED["jpeg"][severity - 1]
    # the Independent JPEG Group's scale of quality
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    table = (np.array(STEPS.split(), dtype=np.int64).reshape(8, 8) * percent + 50) // 100
    grey = SMOOTH[:, :1].expand(-1, 3, -1, -1)
    blocks = grey[:, 0].numpy().astype(np.float64).reshape(-1, 4, 8, 4, 8).transpose(0, 1, 3, 2, 4)
    coefficients = np.round(dctn(blocks - 128, axes=(3, 4), norm="ortho") / table) * table
    exact = (idctn(coefficients, axes=(3, 4), norm="ortho") + 128).clip(0, 255)
    found = apply("jpeg", severity, grey)[:, 0].reshape(-1, 4, 8, 4, 8).transpose(0, 1, 3, 2, 4)
    # libjpeg computes in whole numbers: of some blocks, a coefficient near a half is rounded the
    # other way. Two more or less of quality put over 0.8 of the blocks off.
    assert (np.abs(found - exact).max((3, 4)) > 1.5).mean() < 0.2


@pytest.mark.parametrize("corruption", STRONGEST, ids=str)
def test_new_images_of_the_same_shape_follow_the_generator(corruption):
    state = torch.get_rng_state()
    for images in (RANDOM, RANDOM.contiguous(memory_format=torch.channels_last), RANDOM[:1]):
        before = images.clone()
        found = corruption(images, generator())
        assert found.shape == images.shape
        assert found.dtype == torch.uint8
        assert images.equal(before)
        assert not found.equal(images)
        assert found.equal(corruption(images.contiguous(), generator()))
        is_same = found.equal(corruption(images, generator(1)))
        assert is_same == (corruption.name != "gaussian_noise")
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("corruption", STRONGEST, ids=str)
def test_a_gpu_gives_the_same_images(corruption):
    found = corruption(RANDOM.cuda(), generator())
    assert found.is_cuda
    difference = found.cpu().int() - corruption(RANDOM, generator()).int()
    assert difference.abs().max() <= 1
