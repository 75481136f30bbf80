import numpy as np
import pytest
import torch

from ssl_norm.errors import UserError
from ssl_norm.evaluate.probe_samples import label_fraction, standardize
from tests.evaluate.problems import blobs

LABELS = torch.tensor([0] * 100 + [1] * 40 + [3] * 10)[torch.randperm(150)]


def test_takes_the_same_share_of_every_class():
    drawn = label_fraction(LABELS, 0.1, seed=0)
    assert LABELS[drawn].bincount().tolist() == [10, 4, 0, 1]
    assert (drawn.diff() > 0).all()


@pytest.mark.parametrize("fraction", [0.0, 1.5, float("nan")])
def test_impossible_fractions(fraction):
    with pytest.raises(UserError, match=r"labels must be a fraction in \(0, 1\]"):
        label_fraction(LABELS, fraction, seed=0)


def test_too_small_a_fraction_names_the_class_and_a_possible_one():
    message = r"labels=0.02 leaves nothing of class 3 with its 10 samples; use at least 0.1"
    with pytest.raises(UserError, match=message):
        label_fraction(LABELS, 0.02, seed=0)


def test_the_choice_of_a_seed_is_as_recorded():
    labels = torch.tensor([0] * 7 + [1] * 4 + [3] * 3)
    assert label_fraction(labels, 0.4, seed=2).tolist() == [2, 4, 5, 7, 10, 13]


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
