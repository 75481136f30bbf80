import numpy as np
import torch

from ssl_norm.evaluate.standardize import standardize
from tests.evaluate.problems import blobs


def test_equals_numpy_in_float64():
    train, _ = blobs(30, 5, 3, seed=0)
    test, _ = blobs(7, 5, 3, seed=1)
    scaled, scaled_test = standardize(train, test)
    mean, std = train.numpy().mean(axis=0), train.numpy().std(axis=0)
    np.testing.assert_allclose(scaled.numpy(), (train.numpy() - mean) / std, rtol=1e-12)
    np.testing.assert_allclose(scaled_test.numpy(), (test.numpy() - mean) / std, rtol=1e-12)


def test_large_means_keep_their_deviation():
    train = (1e4 + torch.arange(100.0) / 10)[:, None]
    (scaled,) = standardize(train)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(scaled.std(correction=0), torch.tensor(1.0), rtol=1e-3, atol=0)


def test_constant_features_are_zero_not_noise():
    train = torch.full((50, 2), 0.1)
    train[::2, 1] = torch.nextafter(torch.tensor(0.1), torch.tensor(1.0))
    (scaled,) = standardize(train)
    assert scaled.abs().max() < 1e-6
