"""Starting points of the implicit augmentation, their distances from the data, and pictures."""

from itertools import islice
from math import isnan

import numpy as np
import pytest
import torch
from torch import nn

from ssl_norm.norms import make_norm
from ssl_norm.toy.augmentation import Starts, closeness, starting_points
from ssl_norm.toy.classifiers import Recipe, joint_batches, train_classifier
from ssl_norm.toy.figures import difference_figure
from ssl_norm.toy.samples import two_moons


def linear_model(classes=3):
    """Return a norm and a linear layer from 4 inputs, in float64."""
    random = torch.Generator().manual_seed(1)
    linear = nn.Linear(4, classes)
    linear.weight.data = torch.randn(classes, 4, generator=random)
    return nn.Sequential(make_norm("bn", 4), linear).double().eval()


def two_batches():
    random = torch.Generator().manual_seed(2)
    first = torch.randn(20, 4, generator=random, dtype=torch.float64)
    return first, 1.5 * torch.randn(20, 4, generator=random, dtype=torch.float64) + 0.3


def test_of_a_linear_model_it_is_the_nearest_point_with_the_old_prediction():
    model, (first, second) = linear_model(), two_batches()
    inputs = torch.linspace(-1, 1, 8, dtype=torch.float64).view(2, 4)
    found = starting_points(model, inputs, [first, second], tolerance=1e-10, steps=5000)
    assert found.restored.tolist() == [True, True]
    for x, point in zip(inputs.numpy(), found.points.numpy(), strict=True):
        weight = model[1].weight.detach().numpy()
        centred = weight - weight.mean(0)
        old, new = (np.sqrt(batch.numpy().var(0, ddof=1) + 1e-5) for batch in (first, second))
        before = centred @ ((x - first.numpy().mean(0)) / old)
        after = centred @ ((x - second.numpy().mean(0)) / new)
        move = np.linalg.pinv(centred / new) @ (before - after)
        np.testing.assert_allclose(point, x + move, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("norm", ["bn", "ubn"])
def test_the_prediction_of_a_trained_network_is_restored_and_the_network_kept(norm):
    moons = two_moons(4, 200, noise=0.1, seed=0)
    recipe = Recipe(hidden_dim=32, layers=3, steps=50, lr=0.01, unlabelled=32, gradient=True)
    model = train_classifier(norm, moons, recipe, seed=0)
    batches = list(islice(joint_batches(moons, 32, seed=5), 3))
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    found = starting_points(model, moons.labelled, batches)
    assert found.restored.double().mean() > 0.9
    assert torch.equal(found.inputs, moons.labelled.repeat(2, 1))
    assert not torch.equal(found.points, found.inputs)
    assert all(value.equal(kept[name]) for name, value in model.state_dict().items())


def test_an_input_that_reaches_no_old_prediction_is_not_restored():
    model, (first, second) = linear_model(), two_batches()
    inputs = torch.ones(1, 4, dtype=torch.float64)
    found = starting_points(model, inputs, [first, second], steps=1)
    assert found.restored.tolist() == [False]
    scores = closeness(found, first, seed=0)
    assert scores["restored"] == 0
    assert isnan(scores["after"])


# Samples and inputs are on a line along the first axis.
LINE = torch.stack([torch.arange(-50, 51) / 10.0, torch.zeros(101)], dim=1)


def moved_by(x, y):
    inputs = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [7.0, 7.0]])
    points = inputs + torch.tensor([[x, y], [x, y], [0.0, 0.0]])
    return closeness(Starts(inputs, points, torch.tensor([True, True, False])), LINE, seed=0)


def test_moves_along_the_data_stay_near_it_and_random_ones_do_not():
    found = moved_by(1.0, 0.0)
    assert found["restored"] == pytest.approx(2 / 3)
    assert found["length"] == 1
    assert found["before"] == pytest.approx(0, abs=1e-6)
    assert found["after"] == pytest.approx(0, abs=1e-6)
    assert found["than_random"] == 1
    assert found["than_opposite"] == 0.5  # ties
    # samples differ along the line only, and a random direction ends |sin| above it
    assert found["between"] < 0.06
    assert found["random"] == pytest.approx(2 / np.pi, abs=0.15)


def test_distances_are_those_of_all_pairs():
    inputs = torch.tensor([[0.25, 0.5], [0.35, -0.25]])
    starts = Starts(inputs, inputs + 1, torch.tensor([True, True]))
    found = closeness(starts, LINE, seed=0)
    for key, points in (("before", inputs), ("after", inputs + 1), ("opposite", inputs - 1)):
        nearest = [
            min(float(np.hypot(*(p - q))) for q in LINE.double().numpy())
            for p in points.double().numpy()
        ]
        assert found[key] == pytest.approx(np.mean(nearest), rel=1e-5)


def test_pictures_of_differences_share_a_scale_and_follow_norms_and_redraws():
    labelled = torch.rand(10, 1, 8, 8)
    inputs = labelled.repeat(4, 1, 1, 1)
    moves = 0.1 * torch.randn(inputs.shape)
    starts = Starts(inputs, inputs + moves, torch.ones(40, dtype=torch.bool))
    figure = difference_figure({"bn": starts, "ubn": starts}, labelled, "seed 3")
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    titles = [axes.get_title() for axes in panels[:7]]
    assert titles == ["labelled", "bn, 1", "bn, 2", "bn, 3", "ubn, 1", "ubn, 2", "ubn, 3"]
    second_row = [axes.images[0] for axes in panels[7:14]]
    np.testing.assert_array_equal(second_row[0].get_array(), labelled[2, 0])
    np.testing.assert_allclose(second_row[3].get_array(), moves[22, 0], atol=1e-6)
    (limit,) = {image.get_clim() for image in second_row[1:]}
    assert limit[0] == -limit[1]
