import copy

import numpy as np
import pytest
import torch
from torch import nn

from ssl_norm.learners.byol import BYOL
from ssl_norm.learners.moco_v2 import MoCoV2
from ssl_norm.norms import make_norm
from ssl_norm.norms.layers.act_norm import ActNorm
from ssl_norm.norms.swap.replace import replace_norms
from tests.norms.test_contract import CHANNELS, build, data, each_shape


@each_shape
def test_first_batch_leaves_normalized_and_decides_for_all_later_ones(shape):
    layer, first, later = ActNorm(CHANNELS).double(), data(*shape), data(*shape, seed=1)
    rows = first.reshape(5, CHANNELS, -1).numpy()
    mean, variance = rows.mean((0, 2)), rows.var((0, 2))
    expected = (rows - mean[:, None]) / np.sqrt(variance + 1e-5)[:, None]
    y = layer(first).detach().reshape(rows.shape).numpy()
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)

    rows = later.reshape(5, CHANNELS, -1).numpy()
    expected = (rows - mean[:, None]) / np.sqrt(variance + 1e-5)[:, None]
    for mode in (True, False):
        y = layer.train(mode)(later).detach().reshape(rows.shape).numpy()
        np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@each_shape
def test_first_batch_is_normalized_as_by_the_batch_norm_whose_place_it_takes(shape):
    batch_norm = build("bn")
    model = nn.Sequential(batch_norm)
    replace_norms(model, "act")
    torch.testing.assert_close(model(data(*shape)), build("bn")(data(*shape)))
    assert model[0].weight is batch_norm.weight


def test_a_mean_far_from_zero_loses_no_digits():
    x = data(64, CHANNELS, 4, 4, dtype=torch.float32) + 1000
    y = ActNorm(CHANNELS)(x)
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(CHANNELS), atol=2e-3, rtol=0)
    torch.testing.assert_close(y.var((0, 2, 3)), torch.ones(CHANNELS), atol=2e-3, rtol=0)


def test_before_the_first_batch_it_is_the_identity_and_evaluation_does_not_start_it():
    layer, x = ActNorm(CHANNELS).double().eval(), data(5, CHANNELS, 3, 2)
    assert torch.equal(layer(x), x)
    assert not layer.initialized


def test_a_checkpoint_says_whether_there_was_a_first_batch():
    layer, other, x = build("act"), build("act"), data(5, CHANNELS)
    other.load_state_dict(layer.state_dict())
    other(x)
    assert other.initialized
    layer(data(5, CHANNELS, seed=1))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    fresh = ActNorm(CHANNELS).double()
    other.load_state_dict(fresh.state_dict())
    assert torch.equal(other(x), fresh(x))


def test_one_sample_cannot_be_the_first_batch():
    with pytest.raises(ValueError, match=r"more than one value per channel .* shape \(1, 6\)"):
        ActNorm(CHANNELS)(data(1, CHANNELS))


def networks():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(4, 6), make_norm("act", 6), nn.ReLU(), nn.Linear(6, 5))
    return encoder, nn.Sequential(nn.Linear(5, 5), make_norm("act", 5)), nn.Linear(5, 5)


def moco(encoder, projector, _):
    return MoCoV2(encoder, projector, embedding_dim=5, queue_size=16)


@pytest.mark.parametrize("make", [BYOL, moco])
@pytest.mark.parametrize("kept", [True, False], ids=["as built", "copied"])
def test_a_target_begins_with_the_values_of_the_network_it_follows(make, kept):
    learner = make(*networks())
    learner = learner if kept else copy.deepcopy(learner)
    views = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(1))
    learner(*views)
    online = nn.Sequential(learner.encoder, learner.projector).state_dict()
    target = learner.target.state_dict()
    assert online.keys() == target.keys()
    assert all(torch.equal(online[key], target[key]) for key in online)
    assert target["0.1.initialized"]
    assert not torch.equal(target["0.1.weight"], torch.ones(6))
