"""UBN against its equation: statistics of the joint batch as constants, and batch norm without one."""

import copy
import io

import pytest
import torch
from torch import nn

from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.layers.unsupervised_batch_norm import UnsupervisedBatchNorm, joint_statistics
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference import norms as reference


def pair(*space, seed=0):
    labelled = data(2, CHANNELS, *space, seed=seed)
    return labelled, 3 * data(7, CHANNELS, *space, seed=seed + 50) - 1


def joined(labelled, unlabelled):
    return reference.joined(map(reference.positions, (labelled, unlabelled)))


def expected_of(layer, labelled, unlabelled):
    """Return batch norm by the statistics of both, which are constants of the gradient."""
    statistics = reference.channel_statistics(joined(labelled, unlabelled).detach())
    x = reference.positions(labelled)
    return reference.frozen_batch_norm(x, layer.weight, layer.bias, *statistics).view_as(labelled)


@pytest.mark.parametrize("space", [shape[2:] for shape in SHAPES], ids=str)
def test_equals_loops(space):
    layer = build("ubn", update_rate=0.3)
    pairs = [pair(*space, seed=seed) for seed in range(3)]
    for labelled, unlabelled in pairs:
        with joint_statistics(layer, torch.cat([labelled, unlabelled])):
            y = layer(labelled)
        expected = expected_of(layer, labelled, unlabelled)
        torch.testing.assert_close(y, expected, rtol=1e-11, atol=1e-11)
    expected = reference.running_statistics([joined(*both) for both in pairs], 0.3)
    found = layer.running_mean, layer.running_var
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert layer.num_batches_tracked == 3


def test_statistics_are_constants_of_the_gradient():
    layer = build("ubn")
    labelled, unlabelled = pair(2)
    cotangent = data(2, CHANNELS, 2, seed=3)
    expected = expected_of(layer, labelled.requires_grad_(), unlabelled)
    with joint_statistics(layer, torch.cat([labelled, unlabelled]).detach()):
        y = layer(labelled)
    found = (torch.autograd.grad(each, labelled, cotangent) for each in (y, expected))
    torch.testing.assert_close(*found)


def test_without_a_joint_batch_it_is_batch_norm():
    ours, theirs = UnsupervisedBatchNorm(CHANNELS), BatchNorm(CHANNELS)
    for seed in range(2):
        x = data(5, CHANNELS, 3, 2, dtype=torch.float32, seed=seed)
        torch.testing.assert_close(ours(x), theirs(x))
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)


def test_one_labelled_vector_is_enough():
    layer = build("ubn")
    with joint_statistics(layer, data(5, CHANNELS)):
        assert layer(data(1, CHANNELS)).shape == (1, CHANNELS)
    with pytest.raises(ValueError, match="more than one value per channel"):
        layer(data(1, CHANNELS))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = build("ubn")

    def forward(self, x):
        return self.norm(x), self.norm(5 * x + 2)


def test_calls_of_one_layer_have_their_own_statistics():
    model, x = Twice(), data(6, CHANNELS)
    expected = copy.deepcopy(model)(x)
    with joint_statistics(model, x):
        for _ in range(2):
            torch.testing.assert_close(model(x), expected)


def test_a_joint_batch_inside_another_replaces_it():
    layer, x, joint = build("ubn"), data(3, CHANNELS), data(6, CHANNELS)
    with joint_statistics(layer, joint):
        expected = layer(x)
    with joint_statistics(layer, 5 * joint), joint_statistics(layer, joint):
        torch.testing.assert_close(layer(x), expected)


def test_copies_inside_a_joint_batch_go_on_with_the_next_call():
    model, x, file = Twice(), data(6, CHANNELS), io.BytesIO()
    with joint_statistics(model, x):
        model.norm(x)
        torch.save(model.norm.joint, file)
        file.seek(0)
        copied, loaded = copy.deepcopy(model.norm), copy.deepcopy(model.norm)
        loaded.joint = torch.load(file, weights_only=True)  # only plain containers are loaded
        for _ in range(3):
            expected = model.norm(x)
            assert torch.equal(copied(x), expected)
            assert torch.equal(loaded(x), expected)


def test_ends_also_by_an_error():
    layer = build("ubn")
    with pytest.raises(KeyError), joint_statistics(layer, data(5, CHANNELS)):
        raise KeyError
    with pytest.raises(ValueError, match="expected an input"), joint_statistics(layer, data(5, 2)):
        pass
    assert layer.joint is None


def test_models_that_cannot():
    with (
        pytest.raises(ValueError, match=r"Linear has no ubn layer"),
        joint_statistics(nn.Linear(2, 2), data(3, 2)),
    ):
        pass
    ghost = UnsupervisedBatchNorm(CHANNELS, batch_size=2)
    with (
        pytest.raises(ValueError, match="build ubn without batch_size"),
        joint_statistics(ghost, data(4, CHANNELS)),
    ):
        pass


def test_in_evaluation_mode_a_joint_batch_changes_nothing():
    layer, x = build("ubn"), data(6, CHANNELS)
    layer(5 * x + 2)
    with joint_statistics(layer, x):
        inside = layer.eval()(x)
    torch.testing.assert_close(inside, layer(x), rtol=0, atol=0)
    assert not torch.allclose(inside, layer.train()(x))
