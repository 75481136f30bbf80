import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.evaluate.features import evaluation_view, extract_features
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from tests.evaluate.problems import coloured_images, small_encoder

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
VIEW = partial(evaluation_view, image_size=8, mean=MEAN, std=STD)


def test_features_are_those_of_the_encoder_in_evaluation_mode():
    images, encoder = coloured_images(10, 8, 2, seed=0), small_encoder()
    encoder(torch.randn(16, 3, 8, 8))
    found = extract_features(encoder, images, VIEW, batch_size=4)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    with torch.no_grad():
        expected = encoder.eval()((images.pixels.permute(0, 3, 1, 2) / 255 - mean) / std)
    assert found.shape == (10, 12)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_frozen_encoder_does_not_move():
    images, encoder = coloured_images(10, 8, 2, seed=0), small_encoder()
    encoder[1].eval()
    before = copy.deepcopy(encoder.state_dict())
    extract_features(encoder, images, VIEW, batch_size=4)
    after = encoder.state_dict()
    assert all(after[key].equal(value) for key, value in before.items())
    assert [part.training for part in encoder] == [True, False, True, True, True]


def test_diverged_encoder_is_refused():
    encoder = small_encoder()
    nn.init.constant_(encoder[0].bias, float("nan"))
    with pytest.raises(UserError, match="features are not finite"):
        extract_features(encoder, coloured_images(4, 8, 2, seed=0), VIEW)


def view_of(pixels, image_size):
    return evaluation_view(pixels, image_size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("side", "image_size", "crop"), [(256, 224, 224), (32, 32, 32), (64, 28, 56), (16, 32, 16)]
)
def test_a_view_is_the_centre_of_large_images_and_the_whole_of_smaller_ones(side, image_size, crop):
    pixels = torch.randint(0, 256, (2, side, side, 3), dtype=torch.uint8)
    shown = slice((side - crop) // 2, (side + crop) // 2)
    expected = pixels[:, shown, shown].permute(0, 3, 1, 2) / 255
    if crop != image_size:
        size = (image_size, image_size)
        expected = F.interpolate(expected, size, mode="bilinear", antialias=True)
    found = view_of(pixels, image_size)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_random_batches_give_the_same_features_but_other_batch_statistics():
    images, encoder = coloured_images(10, 8, 5, seed=0), small_encoder()
    neighbours = extract_features(encoder, images, VIEW, batch_size=4)
    random = extract_features(encoder, images, VIEW, batch_size=4, random_batches=True)
    torch.testing.assert_close(random, neighbours)
    with batch_statistics_at_evaluation(encoder):
        neighbours = extract_features(encoder, images, VIEW, batch_size=4)
        random = extract_features(encoder, images, VIEW, batch_size=4, random_batches=True)
    assert not torch.allclose(random, neighbours)


@pytest.mark.parametrize(
    "pixels",
    [
        torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 8, 8, 3),
        torch.zeros(2, 8, 9, 3, dtype=torch.uint8),
        torch.zeros(8, 8, 3, dtype=torch.uint8),
    ],
)
def test_pixels_of_another_shape_or_type_are_refused(pixels):
    with pytest.raises(ValueError, match=r"uint8 pixels of shape \(B, H, H, 3\) expected, got"):
        view_of(pixels, 8)
