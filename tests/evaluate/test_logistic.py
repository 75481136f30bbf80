import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ssl_norm.evaluate import logistic
from ssl_norm.evaluate.logistic import (
    INVERSE_STRENGTHS,
    choose_inverse_strength,
    fit_logistic,
    fit_sgd_probe,
    standardize,
)
from tests.evaluate.problems import blobs

STRENGTHS = (1e-3, 1e-1, 1.0, 100.0)


def sklearn_fit(features, labels, inverse_strength):
    return LogisticRegression(C=inverse_strength, tol=1e-10, max_iter=20_000).fit(
        features.numpy(), labels.numpy()
    )


@pytest.mark.parametrize("inverse_strength", STRENGTHS)
def test_coefficients_equal_those_of_sklearn(inverse_strength):
    features, labels = blobs(120, 8, 4, seed=0)
    expected = sklearn_fit(features, labels, inverse_strength)
    found = fit_logistic(features, labels, 4, inverse_strength)
    scale = np.abs(expected.coef_).max()
    np.testing.assert_allclose(found.weight.numpy(), expected.coef_, atol=1e-3 * scale)
    np.testing.assert_allclose(found.bias.numpy(), expected.intercept_, atol=1e-3 * scale)


@pytest.mark.parametrize("inverse_strength", STRENGTHS)
def test_float32_accuracy_agrees_with_sklearn_in_float64(inverse_strength):
    features, labels = blobs(1000, 32, 10, seed=0, dtype=torch.float32)
    test, test_labels = blobs(1000, 32, 10, seed=1, dtype=torch.float32)
    features, test = standardize(features, test)
    found = fit_logistic(features, labels, 10, inverse_strength).scores(test).argmax(dim=1)
    expected = sklearn_fit(features.double(), labels, inverse_strength).score(
        test.double().numpy(), test_labels.numpy()
    )
    assert (found == test_labels).double().mean().item() == pytest.approx(expected, abs=0.003)


def test_two_classes_are_sklearns_at_twice_the_value():
    features, labels = blobs(80, 5, 2, seed=0)
    found = fit_logistic(features, labels, 2, 0.5)
    expected = sklearn_fit(features, labels, 1.0).coef_[0]
    difference = (found.weight[1] - found.weight[0]).numpy()
    np.testing.assert_allclose(difference, expected, rtol=1e-3, atol=1e-4)


def test_more_features_than_samples_and_a_class_without_samples():
    features, labels = blobs(12, 40, 3, seed=0)
    found = fit_logistic(features, labels, 5, 1.0)
    assert found.scores(features).isfinite().all()
    assert (found.scores(features).argmax(dim=1) == labels).all()


def test_constant_features_predict_the_class_frequencies():
    labels = torch.tensor([0] * 30 + [1] * 10)
    probabilities = fit_logistic(torch.zeros(40, 3), labels, 2, 1.0).bias.softmax(dim=0)
    torch.testing.assert_close(probabilities, torch.tensor([0.75, 0.25]), rtol=1e-3, atol=0)


def test_the_choice_is_the_best_on_held_out_samples_under_every_seed():
    features, labels = blobs(300, 30, 3, seed=0)
    test, test_labels = blobs(3000, 30, 3, seed=1)
    accuracies = {
        strength: (
            fit_logistic(features, labels, 3, strength).scores(test).argmax(1) == test_labels
        )
        .double()
        .mean()
        .item()
        for strength in INVERSE_STRENGTHS
    }
    for seed in range(3):
        chosen = choose_inverse_strength(features, labels, 3, seed)
        assert chosen == choose_inverse_strength(features, labels, 3, seed)
        assert accuracies[chosen] > max(accuracies.values()) - 0.03


def test_the_choice_does_not_depend_on_order_or_scale(monkeypatch):
    features, labels = blobs(200, 10, 3, seed=0)
    chosen = choose_inverse_strength(features, labels, 3, seed=0)
    monkeypatch.setattr(logistic, "CHOICE_TOLERANCE", 1e-7)
    assert choose_inverse_strength(features, labels, 3, seed=0) == chosen


def test_one_label_per_class_leaves_nothing_to_choose_by():
    assert choose_inverse_strength(torch.randn(3, 4), torch.arange(3), 3, seed=0) == 1.0


def test_standardizing_equals_numpy_in_float64():
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


def test_sgd_equals_loops_of_the_update_rule():
    features, labels = blobs(10, 3, 3, seed=0)
    options = {"lr": 0.3, "epochs": 4, "batch_size": 4, "momentum": 0.9, "weight_decay": 0.01}
    found = fit_sgd_probe(features, labels, 3, **options, seed=5)
    point, velocity = np.zeros((3, 4)), np.zeros((3, 4))  # the last column is the bias
    generator = torch.Generator().manual_seed(5)
    step = 0
    for _ in range(4):
        order = torch.randperm(10, generator=generator).tolist()
        for batch in (order[:4], order[4:8], order[8:]):
            gradient = 0.01 * point
            for i in batch:
                x = np.append(features[i].numpy(), 1.0)
                odds = np.exp(point @ x)
                error = odds / odds.sum() - np.eye(3)[int(labels[i])]
                gradient += np.outer(error, x) / len(batch)
            velocity = 0.9 * velocity + gradient
            rate = 0.3 * (1 + np.cos(np.pi * step / 12)) / 2
            point = point - rate * (gradient + 0.9 * velocity)
            step += 1
    np.testing.assert_allclose(found.weight.numpy(), point[:, :3], rtol=1e-9)
    np.testing.assert_allclose(found.bias.numpy(), point[:, 3], rtol=1e-9)
