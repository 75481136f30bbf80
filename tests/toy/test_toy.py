"""Two moons, their classifiers and the figure of both."""

from itertools import islice
from math import isnan

import numpy as np
import pytest
import torch
from matplotlib.collections import PathCollection
from torch import nn

from ssl_norm.errors import NonFiniteLoss
from ssl_norm.norms import make_norm
from ssl_norm.toy.augmentation import Starts
from ssl_norm.toy.classifiers import (
    Recipe,
    accuracies,
    joint_batches,
    make_classifier,
    std_auroc,
    train_classifier,
)
from ssl_norm.toy.figures import PlaneMap, moons_figure, plane_map
from ssl_norm.toy.samples import Samples, digits, two_moons

SPREAD = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
BATCHES = [SPREAD, SPREAD + torch.tensor([1.0, 0.0])]  # with means 0 and 1 of the first coordinate


def moved_by_the_batch():
    """Return a model with its boundary at the mean of the first coordinate in the batch."""
    linear = nn.Linear(2, 2, bias=False)
    linear.weight.data = torch.tensor([[0.0, 0.0], [4.0, 0.0]])
    return nn.Sequential(make_norm("bn", 2), linear).eval()


def test_every_moon_has_its_labels_and_half_of_the_other_points():
    moons = two_moons(3, 101, noise=0.1, seed=4)
    assert moons.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert torch.bincount(moons.truth).tolist() == [50, 51]
    assert moons.labelled.shape == (6, 2)
    assert moons.unlabelled.dtype == torch.float32
    together = torch.cat([moons.labelled, moons.unlabelled])
    assert len(together.unique(dim=0)) == 107


def test_digits_are_scans_of_scikit_learn_in_random_order_each_once():
    from sklearn.datasets import load_digits

    scans = load_digits()
    known = {
        image.tobytes(): digit for image, digit in zip(scans.images, scans.target, strict=True)
    }
    found = digits(3, 1700, seed=1)
    assert found.labels.tolist() == [digit for digit in range(10) for _ in range(3)]
    images = torch.cat([found.labelled, found.unlabelled])
    assert images.shape == (1730, 1, 8, 8)
    for image, digit in zip(images, [*found.labels, *found.truth], strict=True):
        assert known[(16 * image[0]).double().numpy().tobytes()] == digit
    assert len(images.flatten(1).unique(dim=0)) == len(images)
    other = digits(3, 1700, seed=2)
    assert not torch.equal(found.labelled, other.labelled)
    assert torch.equal(found.unlabelled, digits(3, 1700, seed=1).unlabelled)


@pytest.mark.parametrize("norm", ["none", "gn", "bn", "ubn"])
def test_a_classifier_of_digits_is_convolutional_with_the_norm_in_all_hidden_layers(norm):
    recipe = Recipe(hidden_dim=32, layers=3, steps=1, lr=0.1, unlabelled=6, gradient=True)
    model = make_classifier(digits(1, 20, seed=0), recipe, norm)
    kinds = [type(layer).__name__ for layer in model if list(layer.parameters())]
    layer = {"none": [], "gn": ["GroupNorm"], "bn": ["BatchNorm2d"]}.get(
        norm, ["UnsupervisedBatchNorm"]
    )
    assert kinds == ["Conv2d", *layer, "Conv2d", *layer, "Linear"]
    assert [layer.stride for layer in model if isinstance(layer, nn.Conv2d)] == [(1, 1), (2, 2)]
    assert model(torch.zeros(4, 1, 8, 8)).shape == (4, 10)


RECIPE = Recipe(hidden_dim=8, layers=2, steps=40, lr=0.05, unlabelled=6, gradient=False)


def small_moons(seed=0):
    return two_moons(2, 30, noise=0.1, seed=seed)


def test_joint_batches_start_with_the_labelled_points_and_draw_other_points():
    moons = small_moons()
    first, second = islice(joint_batches(moons, 6, seed=0), 2)
    assert torch.equal(first[:4], moons.labelled)
    assert not torch.equal(first, second)
    assert torch.equal(first, next(joint_batches(moons, 6, seed=0)))
    assert all((moons.unlabelled == point).all(1).any() for point in first[4:].unique(dim=0))
    assert len(first.unique(dim=0)) == 10


@pytest.mark.parametrize("norm", ["none", "bn", "ubn", {"name": "gn", "groups": 2}])
def test_training_fits_the_labelled_points_and_leaves_the_random_state(norm):
    moons = small_moons()
    before = torch.random.get_rng_state()
    model = train_classifier(norm, moons, RECIPE, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not model.training
    with torch.no_grad():
        assert (model(moons.labelled).argmax(1) == moons.labels).all()


def test_all_norms_start_at_the_same_weights():
    still = RECIPE._replace(steps=1, lr=1e-12)
    plain, normalized = (
        train_classifier(norm, small_moons(), still, seed=3) for norm in ("none", "ubn")
    )
    torch.testing.assert_close(plain[0].weight, normalized[0].weight)


def test_only_ubn_depends_on_unlabelled_points():
    moons = small_moons()
    moved = moons._replace(unlabelled=moons.unlabelled + 3)
    for norm, same in (("none", True), ("bn", True), ("ubn", False)):
        weights = [
            train_classifier(norm, points, RECIPE, seed=0)[0].weight for points in (moons, moved)
        ]
        assert torch.equal(*weights) is same, norm


def test_accuracies_under_both_statistics():
    moons = small_moons()._replace(
        unlabelled=torch.tensor([[1.0, 0.0], [3.0, 0.0]]), truth=torch.tensor([0, 1])
    )
    norm, linear = nn.BatchNorm1d(2), nn.Linear(2, 2, bias=False)
    linear.weight.data = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    model = nn.Sequential(norm, linear).eval()  # population mean 0: both on the right of it
    assert accuracies(model, moons) == {"population": 0.5, "batch": 1.0}
    assert norm.running_mean.tolist() == [0, 0]


def test_a_loss_that_explodes_is_one_line():
    recipe = Recipe(hidden_dim=64, layers=3, steps=50, lr=1e30, unlabelled=6, gradient=False)
    message = r"none: the loss is (nan|inf) at step \d+; use a smaller lr than 1e\+30"
    with pytest.raises(NonFiniteLoss, match=message):
        train_classifier("none", small_moons(), recipe, seed=0)
    # statistics that explode
    recipe = Recipe(hidden_dim=64, layers=3, steps=5, lr=1e9, unlabelled=6, gradient=False)
    with pytest.raises(NonFiniteLoss, match=r"not finite after 5 steps; use a smaller lr than 1e"):
        train_classifier("bn", small_moons(), recipe, seed=0)


def test_the_std_finds_the_wrong_predictions_that_depend_on_the_batch():
    # The boundary is the mean of the batch, 0 or 1: points near 0.5 are uncertain, and wrong.
    model = moved_by_the_batch()
    moons = small_moons()._replace(
        unlabelled=torch.tensor([[-3.0, 0.0], [0.4, 0.0], [0.6, 0.0], [4.0, 0.0]]),
        truth=torch.tensor([0, 1, 0, 1]),
    )
    assert std_auroc(model, moons, BATCHES) == 1.0
    assert isnan(std_auroc(model, moons._replace(truth=torch.tensor([0, 0, 1, 1])), BATCHES))


def test_probability_is_of_the_population_and_deviation_of_the_batches():
    model = moved_by_the_batch()
    grid = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.0], [9.0, 2.0]])
    probability, found = plane_map(model, grid, BATCHES, (2, 3))
    expected = torch.sigmoid(4 * grid[:, 0] / (1 + 1e-5) ** 0.5).view(2, 3)
    torch.testing.assert_close(torch.from_numpy(probability).float(), expected)
    variance = 2.0 + 1e-5  # unbiased, of either batch
    draws = [torch.sigmoid(4 * (grid[:, 0].double() - mean) / variance**0.5) for mean in (0, 1)]
    deviation = torch.stack(draws).std(0).view(2, 3)
    torch.testing.assert_close(torch.from_numpy(found), deviation, rtol=1e-4, atol=1e-6)
    assert model[0].running_mean.tolist() == [0, 0]


INPUTS = torch.tensor([[-0.5, 0.0], [0.5, 1.0], [0.6, 1.0]]).repeat(2, 1)
STARTS = Starts(INPUTS, INPUTS + 0.25, torch.tensor([True, False, True, True, True, True]))


def test_each_model_has_a_boundary_deviations_on_one_scale_and_its_starting_points():
    x, y = np.linspace(-1, 1, 21), np.linspace(-2, 2, 31)
    points = Samples(
        labelled=torch.tensor([[-0.5, 0.0], [0.5, 1.0], [0.6, 1.0]]),
        labels=torch.tensor([0, 1, 1]),
        unlabelled=torch.tensor([[0.0, 0.0], [0.1, 0.2], [0.3, -1.0], [0.4, 1.5]]),
        truth=torch.tensor([0, 0, 1, 1]),
    )
    maps = []
    for name, boundary, deviation in (("bn: 80%", 0.0, 0.1), ("ubn: 90%", 0.3, 0.3)):
        probability = np.broadcast_to(1 / (1 + np.exp(-5 * (x - boundary))), (31, 21)).copy()
        maps.append(PlaneMap(name, probability, np.full((31, 21), deviation), STARTS))
    figure = moons_figure(x, y, maps, points, "a caption")
    panels = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert [axes.get_title() for axes in panels] == ["bn: 80%", "ubn: 90%", "", "", "", ""]
    for axes, boundary in zip(panels, (0.0, 0.3), strict=False):
        contours = [c for c in axes.collections if len(getattr(c, "levels", ())) == 1]
        across = np.concatenate([path.vertices for path in contours[0].get_paths()])[:, 0]
        np.testing.assert_allclose(across, boundary, atol=1e-2)
    assert [axes.collections[0].get_clim() for axes in panels[2:4]] == [(0, 0.3), (0, 0.3)]
    scatters = [c for c in panels[-1].collections if isinstance(c, PathCollection)]
    first, second = (dots for dots in scatters if dots.get_sizes()[0] == 12)
    np.testing.assert_allclose(first.get_offsets(), [[-0.25, 0.25]] * 2)
    np.testing.assert_allclose(second.get_offsets(), [[0.85, 1.25], [0.75, 1.25], [0.85, 1.25]])
    assert panels[-1].lines[0].get_xydata().tolist() == [[-0.5, 0.0], [-0.25, 0.25]]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["no label", "label 0", "label 1", "decision boundary, population statistics"]
    assert figure.get_supxlabel() == "a caption"
