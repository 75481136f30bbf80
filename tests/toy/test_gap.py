"""Gap between labelled and unlabelled samples, and its figure."""

import pytest
import torch
from torch import nn

from ssl_norm.norms import make_norm
from ssl_norm.toy.classifiers import Recipe, make_classifier
from ssl_norm.toy.figures import gap_figure
from ssl_norm.toy.gap import Gap, LayerValues, gap, layer_values
from ssl_norm.toy.samples import Samples, digits

RECIPE = Recipe(hidden_dim=4, layers=3, steps=1, lr=0.1, unlabelled=10, gradient=True)


def test_a_gap_is_in_deviations_of_the_unlabelled_values():
    unlabelled = torch.tensor([[0.0, 5.0], [4.0, 5.0]], dtype=torch.float64)  # the second: constant
    values = LayerValues(unlabelled + 2, unlabelled - 6, unlabelled)
    deviation = 8**0.5
    assert gap(values) == pytest.approx((2 / deviation, 6 / deviation, 2 / deviation))
    scaled = LayerValues(*(10 * part for part in values))
    assert gap(scaled) == pytest.approx(gap(values))


def test_values_are_inputs_of_norms_normalized_by_population_statistics():
    norm = make_norm({"name": "bn", "evaluation": "batch", "eps": 0.5}, 2)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0]))
    norm.running_var.copy_(torch.tensor([3.5, 8.5]))
    nn.init.constant_(norm.bias, 7.0)
    model = nn.Sequential(norm, nn.ReLU(), nn.BatchNorm1d(2)).eval()
    samples = Samples(
        labelled=torch.tensor([[3.0, 5.0]]),
        labels=torch.tensor([0]),
        unlabelled=torch.tensor([[1.0, 2.0], [5.0, 8.0]]),
        truth=torch.tensor([0, 0]),
    )
    first, second = layer_values(model, samples)
    assert [part.tolist() for part in first] == [[[1, 1]], [[0, 0]], [[2, 2]]]
    torch.testing.assert_close(second.labelled, torch.tensor([[8.0, 8.0]]), rtol=1e-4, atol=0)
    assert norm.evaluation == "batch"
    assert not norm._forward_hooks


def test_positions_of_images_are_values_and_the_control_has_the_labelled_classes():
    samples = digits(2, 300, seed=0)
    model = make_classifier(samples, RECIPE, "bn").eval()
    first, second = layer_values(model, samples)
    assert first.labelled.shape == first.control.shape == (20 * 64, 4)
    assert second.labelled.shape == (20 * 16, 4)
    assert first.unlabelled.shape == (280 * 64, 4)
    drawn = [(samples.truth == digit).nonzero()[:2, 0] for digit in range(10)]
    control = samples.unlabelled[torch.cat(drawn).sort().values]
    inputs = model[0](control).movedim(1, -1).flatten(0, 2).detach()
    torch.testing.assert_close(first.control, inputs / (1 + 1e-5) ** 0.5)


def made_gaps():
    one, other = Gap(0.5, 0.25, 0.125), Gap(0.75, 0.25, 0.125)
    return {"bn": {1: [[one], [other]], 4: [[one], [one]]}, "ubn": {1: [[one]], 4: [[one]]}}


def test_the_figure_has_histograms_of_the_median_channel_above_lines_over_the_labels():
    unlabelled = torch.zeros(5, 3)
    labelled = unlabelled + torch.tensor([3.0, 1.0, 2.0])
    values = [LayerValues(labelled, unlabelled, unlabelled)]
    figure = gap_figure({"bn": values, "ubn": values}, made_gaps(), "seed 3")
    bn, ubn, distances, shifts = figure.axes
    assert [axes.get_ylabel() for axes in (bn, ubn)] == ["bn: density", "ubn: density"]
    step = bn.patches[-1].get_xy()
    assert set(step[step[:, 1] > 0, 0]) == {2, 2.25}
    lines = {line.get_label(): line for line in distances.lines}
    assert list(lines) == [
        "bn, labelled", "bn, as many without labels", "ubn, labelled",
        "ubn, as many without labels",
    ]  # fmt: skip
    assert lines["bn, labelled"].get_xdata().tolist() == [1, 4]
    assert lines["bn, labelled"].get_ydata().tolist() == [0.625, 0.5]
    assert [line.get_ydata().tolist() for line in shifts.lines] == [[0.125, 0.125]] * 2
