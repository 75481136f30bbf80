import numpy as np
import pytest
import torch

from ssl_norm.evaluate.baselines import ImageStatistics


def statistics_of(images):
    """Return the statistics (N, 23 C) of images (N, C, H, W), pixel by pixel in float64."""
    rows = []
    for image in images.double().numpy():
        quantiles = [np.quantile(channel, (0, 0.25, 0.5, 0.75, 1)) for channel in image]
        patches = [patch_means(channel) for channel in image]
        rows.append(np.concatenate([image.mean((1, 2)), image.std((1, 2)), *quantiles, *patches]))
    return torch.tensor(np.stack(rows)).float()


def patch_means(channel):
    """Return the means of 4 x 4 patches that cover a channel and may overlap."""
    rows, columns = (
        [slice(i * side // 4, -(-(i + 1) * side // 4)) for i in range(4)] for side in channel.shape
    )
    return np.array([channel[row, column].mean() for row in rows for column in columns])


@pytest.mark.parametrize("shape", [(5, 3, 16, 16), (4, 1, 9, 9), (2, 13, 6, 7), (3, 2, 1, 3)])
def test_equals_the_reference_for_any_channels_and_sizes(shape):
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = ImageStatistics()(images.contiguous(memory_format=torch.channels_last))
    assert found.shape == (shape[0], 23 * shape[1])
    torch.testing.assert_close(found, statistics_of(images))
