"""Checkpoints of batch norm, loaded into norms that have further weights."""

import copy

import pytest
import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.load import load_encoder_weights
from ssl_norm.models.tiny import TinyResNet
from ssl_norm.norms import make_norm
from ssl_norm.norms.swap.replace import replace_norms
from tests.norms.swap.test_replace import make

EXTENDED = ["rbn", "switch", "evonorm-b0"]
SAME_KEYS = ["ghost", "frozen", "domain", "ubn", "brn"]


@pytest.fixture(scope="module")
def checkpoint():
    """Weights and statistics of a network of batch norms."""
    torch.manual_seed(0)
    network = TinyResNet(4)
    for _ in range(3):
        network(torch.randn(8, 3, 16, 16))
    return network


@pytest.mark.parametrize("spec", [*EXTENDED, *SAME_KEYS])
def test_loads_strictly(spec, checkpoint):
    network = TinyResNet(4)
    replace_norms(network, spec)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("scale_bias"):
                parameter.fill_(0.3)
    before = copy.deepcopy(network.state_dict())
    network.load_state_dict(checkpoint.state_dict(), strict=True)
    after, given = network.state_dict(), checkpoint.state_dict()
    for name, value in after.items():
        expected = given.get(name, before[name])
        assert torch.equal(value, expected.expand_as(value)), name
    if spec in SAME_KEYS:
        x = torch.randn(2, 3, 16, 16)
        torch.testing.assert_close(network.eval()(x), copy.deepcopy(checkpoint).eval()(x))


@pytest.mark.parametrize("spec", [*EXTENDED, *SAME_KEYS])
def test_encoder_weights_match_in_full(spec, checkpoint, tmp_path):
    torch.save({"encoder": checkpoint.state_dict()}, tmp_path / "file.pt")
    network = TinyResNet(4)
    replace_norms(network, spec)
    report = load_encoder_weights(network, tmp_path / "file.pt", other_norms="drop")
    assert report.missing == report.shape_mismatch == report.unused == ()
    own = network.state_dict().keys() - checkpoint.state_dict().keys()
    assert set(report.kept) == own
    assert ("kept, because the file has other norms" in str(report)) == (spec in EXTENDED)
    assert torch.equal(network.stem.weight, checkpoint.stem.weight)


def test_part_of_the_calibration_is_missing():
    layer, state = make_norm("rbn", 4), make_norm("rbn", 4).state_dict()
    del state["scale_bias"]
    with pytest.raises(RuntimeError, match=r'Missing key.*"scale_bias"'):
        layer.load_state_dict(state)


def test_weights_without_statistics_are_not_a_batch_norms():
    with pytest.raises(RuntimeError, match=r'"center_weight".*"running_mean"'):
        make_norm("rbn", 4).load_state_dict(nn.GroupNorm(2, 4).state_dict())


@pytest.mark.parametrize("name", ["bn", "rbn", "frozen", "domain"])
def test_count_of_batches_may_be_absent(name):
    layer, state = make_norm(name, 4), nn.BatchNorm2d(4).state_dict()
    state["running_mean"].fill_(2.0)
    del state["num_batches_tracked"]
    before = set(state)
    layer.load_state_dict(state)
    assert (layer.running_mean == 2).all()
    assert (layer.num_batches_tracked == 0).all()
    assert set(state) == before


def test_whitening_lacks_its_covariance(checkpoint, tmp_path):
    torch.save(checkpoint.state_dict(), tmp_path / "file.pt")
    network = TinyResNet(4)
    replace_norms(network, "zca")
    report = load_encoder_weights(network, tmp_path / "file.pt", other_norms="reset")
    assert report.kept
    assert all(name.endswith("running_covariance") for name in report.kept)
    with pytest.raises(UserError, match=r"\d missing: .*running_covariance"):
        load_encoder_weights(network, tmp_path / "file.pt", other_norms="drop")


@pytest.mark.parametrize(
    "name", ["resnet10t", "efficientnet_b0", "tf_mobilenetv3_small_minimal_100"]
)
def test_models_of_timm_load_their_checkpoints_swapped_and_swap_back(name):
    network = make(name).eval()
    state = network.state_dict()
    swapped = copy.deepcopy(network)
    replace_norms(swapped, "rbn+ws")
    swapped.load_state_dict(state, strict=True)
    replace_norms(swapped, "bn")
    assert swapped.state_dict().keys() == state.keys()
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(swapped(x), network(x))
