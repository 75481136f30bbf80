from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssl_norm.data.dataset import ImageSet
from ssl_norm.errors import UserError
from ssl_norm.evaluate.accuracy import class_accuracies, majority_frequency, score, top_k_accuracy
from ssl_norm.evaluate.features import evaluation_view
from ssl_norm.norms.batch.evaluation_statistics import batch_statistics_at_evaluation
from tests.evaluate.problems import coloured_images, small_encoder

VIEW = partial(evaluation_view, image_size=8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
CPU = torch.device("cpu")


def classifier():
    return nn.Sequential(small_encoder(), nn.Linear(12, 3))


def test_population_statistics_whatever_the_batches():
    images, model = coloured_images(23, 8, 3, seed=0), classifier().train()
    with torch.no_grad():
        logits = model.eval()(VIEW(images.pixels)).double()
    model.train()
    expected = (
        (logits.argmax(1) == images.labels).double().mean().item(),
        F.cross_entropy(logits, images.labels).item(),
        23,
    )
    for batch_size, seed in ((23, None), (5, None), (5, 3)):
        found = score(model, images, VIEW, batch_size=batch_size, device=CPU, seed=seed)
        assert found == pytest.approx(expected, rel=1e-5)
    assert model.training


def test_batch_statistics_are_those_of_random_batches():
    """Images are sorted by colour: batches in order have one colour, random ones have all."""
    images = coloured_images(48, 8, 3, seed=0)
    images = images.subset(images.labels.argsort())
    model = classifier()
    with torch.no_grad(), batch_statistics_at_evaluation(model.eval()):
        logits = model(VIEW(images.images))
        whole = F.cross_entropy(logits, images.labels).item()
        kwargs = {"batch_size": 16, "device": CPU}
        ordered = score(model, images, VIEW, **kwargs).loss
        drawn = score(model, images, VIEW, seed=0, **kwargs).loss
        again = score(model, images, VIEW, seed=0, **kwargs).loss
    assert drawn == again
    assert abs(drawn - whole) < abs(ordered - whole)


def test_wrong_input():
    images, model = coloured_images(6, 8, 3, seed=0), classifier()
    for nothing in (ImageSet(images.pixels), images.subset([])):
        with pytest.raises(UserError, match="scored on labelled images, and there are none"):
            score(model, nothing, VIEW, batch_size=4, device=CPU)
    with pytest.raises(UserError, match="class 3, counted from 0, and the classifier knows 3 cl"):
        score(model, coloured_images(8, 8, 4, seed=0), VIEW, batch_size=8, device=CPU)


def test_known_values():
    scores = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    labels = torch.tensor([0, 1, 0, 2])
    assert top_k_accuracy(scores, labels, 1) == 0.5
    assert top_k_accuracy(scores, labels, 2) == 0.75
    assert top_k_accuracy(scores, labels, 3) == 1.0
    assert class_accuracies(scores, labels) == [0.5, 0.0, 1.0]
    assert majority_frequency(labels) == 0.5
    assert class_accuracies(torch.eye(4)[:3], torch.tensor([0, 1, 0])) == [0.5, 1.0, None, None]
