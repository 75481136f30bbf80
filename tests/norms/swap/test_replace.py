"""Norms replaced inside models of timm, torchvision and our own."""

import warnings

import pytest
import torch
from torch import nn

from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.layers.group_norm import GroupNorm, LayerNorm
from ssl_norm.norms.layers.representative_batch_norm import RepresentativeBatchNorm
from ssl_norm.norms.layers.weight_standardization import StandardizedConv2d, StandardizedLinear
from ssl_norm.norms.swap.find import ChannelsLast, named_norms, num_features, unwrapped
from ssl_norm.norms.swap.replace import replace_norms

# name, norm layers, convolutions that a norm follows
MODELS = [
    ("resnet18", 20, 20),
    ("resnet10t", 14, 14),
    ("convnext_atto", 17, 17),
    ("vit_tiny_patch16_224", 25, 1),
    ("efficientnet_b0", 49, 49),
    ("torchvision/resnet18", 20, 20),
    ("torchvision/convnext_tiny", 23, 19),
    ("torchvision/mobilenet_v3_small", 34, 34),
]
CLASSES = {
    "none": (),
    "bn": (BatchNorm, nn.modules.batchnorm._BatchNorm),
    "ln": (LayerNorm, nn.LayerNorm),
    "gn": GroupNorm,
    "rbn": RepresentativeBatchNorm,
}


def make(name):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name.startswith("torchvision/"):
            import torchvision

            return torchvision.models.get_model(name.removeprefix("torchvision/"))
        import timm

        return timm.create_model(name)


SPECS = ["none", "bn", "ln", "rbn"]
WITH_WEIGHTS = {"name": "gn+ws", "groups": 8}
CASES = [(*model, spec) for i, model in enumerate(MODELS) for spec in (WITH_WEIGHTS, SPECS[i % 4])]


@pytest.mark.parametrize(("name", "norms", "convolutions", "spec"), CASES)
def test_models_take_every_norm(name, norms, convolutions, spec):
    network, side = make(name), 224 if name.startswith("vit") else 64
    report = replace_norms(network, spec)
    assert len(report.replaced) + len(report.kept) == norms
    assert len(report.standardized) == (convolutions if report.norm.weight_standardization else 0)
    assert report.left == ()
    y = network(torch.randn(2, 3, side, side))
    y.square().mean().backward()
    assert torch.isfinite(y).all()
    layers = [layer for _, layer in named_norms(network)]
    assert len(layers) == (0 if spec == "none" else norms)
    assert all(isinstance(unwrapped(layer), CLASSES[report.norm.name]) for layer in layers)


def test_device_of_a_layer_without_tensors_is_the_models():
    network = nn.Sequential(nn.Conv1d(3, 4, 2), nn.InstanceNorm1d(4)).to("meta")
    replace_norms(network, "bn")
    assert network[1].running_mean.device.type == "meta"


class Tokens(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return self.norm(x)


@pytest.mark.parametrize("shape", [(3, 4), (3, 5, 4), (3, 5, 2, 4), (3, 2, 2, 4)])
def test_channels_in_the_last_axis(shape):
    network = Tokens(nn.LayerNorm(4))
    replace_norms(network, {"name": "gn", "groups": 2})
    assert isinstance(network.norm, ChannelsLast)
    x = torch.randn(shape)
    expected = network.norm.norm(x.movedim(-1, 1)).movedim(1, -1)
    assert torch.equal(network(x), expected)


@pytest.mark.parametrize("spec", ["none", {"name": "gn", "groups": 2}])
def test_activation_of_a_norm_stays(spec):
    from timm.layers import BatchNormAct2d

    network = nn.Sequential(BatchNormAct2d(4, act_layer=nn.ReLU))
    replace_norms(network, spec)
    x = torch.randn(3, 4, 2, 2)
    before = x.clone()
    y = network(x)
    assert (y >= 0).all()
    assert (y == 0).any()
    assert torch.equal(x, before)


def test_a_norm_with_two_names_stays_one():
    network = nn.ModuleDict({"a": nn.BatchNorm1d(4)})
    network["b"] = network["a"]
    report = replace_norms(network, {"name": "gn", "groups": 2})
    assert report.replaced == ("a", "b")
    assert network["a"] is network["b"]


def test_which_layers_are_standardized():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(8, 4, 1),
        nn.Dropout(),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 8, 1),
        nn.BatchNorm2d(4),
        nn.Linear(4, 4),
        nn.BatchNorm2d(4),
        nn.Sequential(nn.Linear(4, 4)),
        nn.BatchNorm2d(4),
    )
    assert replace_norms(network, "ln+ws").standardized == ("1", "6")
    assert isinstance(network[1], StandardizedConv2d)
    assert isinstance(network[6], StandardizedLinear)
    assert type(network[0]) is type(network[4]) is nn.Conv2d


class SumNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))


def test_report_reads_as_one_line():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), SumNorm())
    expected = (
        "ln+ws: 1 norm layers replaced, 0 kept (of 1 BatchNorm2d); weights of 1 of 1 layers standardized; "
        "dropped: running statistics of 1 BatchNorm2d; "
        "kept on request or of unknown kind: 2; no norm restores the network exactly"
    )
    assert str(replace_norms(network, "ln+ws")) == expected


@pytest.mark.parametrize(
    ("network", "spec", "message"),
    [
        (
            nn.Sequential(nn.Conv2d(3, 50, 1), nn.BatchNorm2d(50)),
            {"name": "gn", "groups": 32},
            "layer '1': groups must divide num_features=50",
        ),
        (nn.BatchNorm2d(8), "gn", "the model is itself a norm layer; make_norm builds another"),
        (nn.Sequential(nn.Linear(3, 4)), "bn", "Sequential has no norm layer for 'bn' to replace"),
        (
            nn.Sequential(SumNorm()),
            "bn",
            "no norm layer for 'bn' to replace; layers of unknown kind: 0",
        ),
        (
            nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.BatchNorm1d(4))),
            "bn+ws",
            "no convolution or linear layer before a norm",
        ),
        (
            nn.Sequential(nn.Conv2d(4, 4, 1, groups=4), nn.BatchNorm2d(4)),
            "bn+ws",
            "layer '0': .* fan-in of one",
        ),
    ],
)
def test_refuses_and_changes_nothing(network, spec, message):
    before = repr(network)
    with pytest.raises(ValueError, match=message):
        replace_norms(network, spec)
    assert repr(network) == before


@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
def test_a_norm_of_another_package_takes_the_shape_of_its_layer(norm):
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    with pytest.raises(ValueError, match=r"layer '1': .*(normalized_shape|2D or 3D input)"):
        replace_norms(network, norm, example=torch.zeros(2, 3, 8, 8))


class WithoutParameters(nn.Module):
    def __init__(self, num_features: int) -> None:
        super().__init__()

    def forward(self, x):
        return x / (x.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()


def test_a_norm_of_another_package_may_have_no_parameters():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    x = torch.randn(2, 3, 8, 8)
    change = replace_norms(network, WithoutParameters, example=x)
    assert len(change.replaced) == 1
    torch.testing.assert_close(
        network(x).square().mean((2, 3)), torch.ones(2, 4), rtol=1e-2, atol=0
    )
    with pytest.raises(ValueError, match="WithoutParameters has no num_features, weight or"):
        num_features(WithoutParameters(4))


def test_a_model_without_norms_is_none():
    assert replace_norms(nn.Sequential(nn.Linear(3, 4)), "none").replaced == ()
