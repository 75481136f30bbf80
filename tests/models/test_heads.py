import pytest
import torch
from torch import nn

from ssl_norm.models.heads import Classifier, mlp_head
from ssl_norm.norms import make_norm


def kinds(head):
    return [type(module).__name__ for module in head]


def head(**options):
    defaults = {"hidden_dim": 16, "output_dim": 4, "layers": 2, "norm": "bn"}
    return mlp_head(8, **(defaults | options))


NORM = type(make_norm("bn", 1)).__name__


def test_norm_after_the_output_takes_its_bias():
    simclr = head(norm_output=True)
    assert kinds(simclr) == ["Linear", NORM, "ReLU", "Linear", NORM]
    assert simclr[3].bias is None
    assert simclr[0].bias is not None
    assert simclr(torch.randn(6, 8)).shape == (6, 4)
    without_shift = head(norm={"name": "bn", "affine": False}, norm_output=True)
    assert without_shift[3].bias is not None


def test_layers_are_counted_and_none_is_the_identity():
    assert kinds(head(layers=3)) == ["Linear", NORM, "ReLU"] * 2 + ["Linear"]
    assert kinds(head(layers=1, norm_output=True)) == ["Linear", NORM]
    assert head(norm=nn.BatchNorm1d)(torch.randn(6, 8)).shape == (6, 4)
    x = torch.randn(3, 8)
    assert torch.equal(head(layers=0, output_dim=8)(x), x)


def test_ws_standardizes_the_layers_that_a_norm_follows():
    layers = kinds(head(norm="ln+ws", layers=3))
    assert [layers[0], layers[3], layers[6]] == ["StandardizedLinear"] * 2 + ["Linear"]
    assert kinds(head(norm="ln+ws", norm_output=True))[3] == "StandardizedLinear"


@pytest.mark.parametrize("norm_output", ["zca", {"name": "iternorm", "groups": 1}])
def test_the_output_may_have_a_norm_of_its_own(norm_output):
    whitening = head(norm="ln", norm_output=norm_output)
    name = type(make_norm(norm_output, 4)).__name__
    assert kinds(whitening) == ["Linear", "LayerNorm", "ReLU", "Linear", name]
    assert whitening[3].bias is None
    assert whitening(torch.randn(6, 8)).shape == (6, 4)
    assert head(norm_output={"name": "zca", "affine": False})[3].bias is not None
    assert kinds(head(norm="ln", norm_output="none")) == kinds(head(norm="ln"))
    assert kinds(head(norm="none", norm_output="zca+ws"))[2] == "StandardizedLinear"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"norm_output": "zka"}, ValueError, "unknown norm 'zka'; .* did you mean 'zca'"),
        ({"norm_output": {"name": "zca", "iterations": 3}}, TypeError, "norm 'zca' has no option"),
        ({"norm": {"name": "gn", "groups": 3}}, ValueError, "width 16 cannot have norm 'gn"),
        ({"norm_output": "zca", "layers": 0}, ValueError, "no output for norm_output='zca'"),
        ({"layers": 0}, ValueError, "set output_dim=8, got 4"),
        ({"norm": nn.BatchNorm2d}, ValueError, r"rows \(N, 16\), which norm '.*' does not take"),
        ({"norm": "torch.nn:BatchNorm3d"}, ValueError, "which norm '.*' does not take"),
    ],
)
def test_wrong_options(options, error, message):
    with pytest.raises(error, match=message):
        head(**options)


def encoder(norm):
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), norm)
    network.num_features = 6
    return network


def test_the_linear_layer_starts_the_same_for_all_encoders():
    torch.manual_seed(1)
    one = Classifier(encoder(nn.BatchNorm1d(6)), 3, seed=0)
    drawn = torch.rand(())
    other = Classifier(encoder(nn.Identity()), 3, seed=0)
    assert torch.equal(one.classifier.weight, other.classifier.weight)
    assert not torch.equal(
        Classifier(encoder(nn.Identity()), 3, seed=1).classifier.weight, one.classifier.weight
    )
    torch.manual_seed(0)  # as for the encoder, whose layers must not begin with the same weights
    assert not torch.equal(nn.Linear(6, 3).weight, one.classifier.weight)
    torch.manual_seed(1)
    encoder(nn.BatchNorm1d(6))
    assert torch.equal(torch.rand(()), drawn)  # the caller's generator is as it was
