import pytest
import torch
from torch import nn

from ssl_norm.models.encoders import has_strided_stem, shrink_stem


def small_resnet(conv, pool):
    model = nn.Sequential()
    model.add_module("conv1", conv)
    model.add_module("bn1", nn.BatchNorm2d(8))
    model.add_module("pool", pool)
    model.add_module("layer1", nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.MaxPool2d(2)))
    return model


def test_large_convolution_and_pool():
    model = small_resnet(nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.MaxPool2d(3, 2, 1))
    shrink_stem(model)
    assert (model.conv1.kernel_size, model.conv1.stride) == ((3, 3), (1, 1))
    assert isinstance(model.pool, nn.Identity)
    assert isinstance(model.layer1[1], nn.MaxPool2d)
    assert model[:3](torch.randn(2, 3, 16, 16)).shape == (2, 8, 16, 16)


@pytest.mark.parametrize(
    "stem",
    [
        [nn.Conv2d(3, 8, 7, 2, 3), nn.ConstantPad2d(1, 0.0), nn.MaxPool2d(3, 2)],
        [nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)],
    ],
    ids=["padding for the pool", "pool behind a deep stem"],
)
def test_other_stems_keep_the_resolution_and_small_weights(stem):
    before = stem[0].weight.clone()
    shrink_stem(model := nn.Sequential(*stem))
    assert model(torch.randn(2, 3, 16, 16)).shape == (2, 8, 16, 16)
    assert before.shape[2] == 7 or torch.equal(stem[0].weight, before)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.GELU()),  # patches
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2)),  # no stride
        nn.Sequential(nn.Flatten(), nn.Linear(12, 3)),
    ],
)
def test_no_such_stem(model):
    assert not has_strided_stem(model)
    with pytest.raises(ValueError, match="does not begin with a strided convolution"):
        shrink_stem(model)
