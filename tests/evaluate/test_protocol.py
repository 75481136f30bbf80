from dataclasses import replace
from functools import partial

import pytest
import torch

from ssl_norm.errors import UserError
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.evaluate.protocol import Probe, ProbeImages, evaluate_encoder, label_fraction
from ssl_norm.monitors import rank_me
from tests.evaluate.problems import blobs, coloured_images, small_encoder

VIEW = partial(evaluation_view, image_size=8, mean=(0.5,) * 3, std=(0.25,) * 3)


def evaluate(train=None, test=None, **settings):
    train = train or coloured_images(120, 8, 6, seed=0)
    test = test or coloured_images(60, 8, 6, seed=1)
    return evaluate_encoder(small_encoder(), ProbeImages(train, test, VIEW), Probe(**settings))


def test_separable_classes_are_separated():
    found = evaluate()
    assert found.top1 > 0.95
    assert found.knn_top1 > 0.9
    assert found.top5 >= found.top1
    assert found.chance == pytest.approx(1 / 6)
    assert found.labels == 120
    assert found.inverse_strength > 0
    assert list(found.per_class) == [f"colour{index}" for index in range(6)]
    assert sum(found.per_class.values()) / 6 == pytest.approx(found.top1)


def test_test_features_are_standardized_by_the_statistics_of_training():
    """Test images of one class only lie on one side, unless they are centred by themselves."""
    ramp = torch.linspace(0.5, 1.5, 20, dtype=torch.float64)
    features = torch.cat([ramp, -ramp])[:, None] * torch.ones(2, dtype=torch.float64)
    labels = torch.arange(40) // 20
    found = Probe(k=1).result((features, labels), (features[:20], labels[:20]), ("a", "b"))
    assert found.top1 == 1.0


def test_rank_me_is_of_the_test_features():
    train, test = (blobs(60, 4, 2, seed)[0] for seed in (0, 1))
    train = train[:, :1].expand(60, 4) + 1e-6 * train  # of rank one
    labels = torch.arange(60) % 2
    found = Probe(k=1).result((train, labels), (test, labels), ("a", "b"))
    assert found.rank_me == rank_me(test).item() > 1.5 * rank_me(train).item()


def test_sgd_protocol():
    found = evaluate(protocol="sgd", sgd={"lr": 1.0, "epochs": 60, "batch_size": 16})
    assert found.top1 > 0.9
    assert found.inverse_strength is None


def test_the_seed_chooses_the_labelled_images():
    images = ProbeImages(
        coloured_images(120, 8, 6, seed=0), coloured_images(60, 8, 6, seed=1), VIEW
    )

    def seen(seed):
        encoder, inputs = small_encoder(), []
        encoder.register_forward_pre_hook(lambda _, given: inputs.append(given[0].sum((1, 2, 3))))
        evaluate_encoder(encoder, images, Probe(labels=0.3, k=5, seed=seed))
        return torch.cat(inputs).sort().values

    assert torch.equal(seen(3), seen(3))
    assert not torch.equal(seen(3), seen(4))


def test_chance_is_the_most_common_test_class():
    test = coloured_images(60, 8, 6, seed=1)
    test = test.subset(torch.cat([torch.arange(60), torch.arange(0, 60, 6)]))
    assert evaluate(test=test).chance == pytest.approx(20 / 70)


def test_a_class_that_only_the_test_images_have_is_always_wrong():
    train = coloured_images(120, 8, 6, seed=0)
    train = train.subset((train.labels != 2).nonzero().squeeze(1))
    assert evaluate(train).per_class["colour2"] == 0.0


def test_neighbours_find_what_no_line_separates():
    corners = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]).repeat(10, 1)
    labels = torch.tensor([0, 0, 1, 1]).repeat(10)
    noise = 0.05 * torch.randn(2, *corners.shape, generator=torch.Generator().manual_seed(0))
    train, test = ((corners + part, labels) for part in noise)
    found = Probe().result(train, test, ("same", "other"))
    assert found.knn_top1 == 1.0
    assert found.top1 < 0.8


def test_wrong_input_and_five_classes():
    five, one = coloured_images(20, 8, 5, seed=0), coloured_images(20, 8, 1, seed=0)
    assert evaluate(five, five).top5 is None
    for train, message in (
        (replace(five, labels=None), "needs labelled images"),
        (one, "all 20 training images are of one class"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(train, train)
    with pytest.raises(UserError, match=r"unknown protocol 'logstic'.*did you mean 'logistic'"):
        evaluate(protocol="logstic")
    for fraction in (0.0, 1.5, float("nan")):
        with pytest.raises(UserError, match=r"labels must be a fraction in \(0, 1\]"):
            evaluate(labels=fraction)


LABELS = torch.tensor([0] * 100 + [1] * 40 + [3] * 10)[torch.randperm(150)]


def test_takes_the_same_share_of_every_class():
    drawn = label_fraction(LABELS, 0.1, seed=0)
    assert LABELS[drawn].bincount().tolist() == [10, 4, 0, 1]
    assert (drawn.diff() > 0).all()


def test_the_choice_of_a_seed_is_as_recorded():
    labels = torch.tensor([0] * 7 + [1] * 4 + [3] * 3)
    assert label_fraction(labels, 0.4, seed=2).tolist() == [2, 4, 5, 7, 10, 13]
