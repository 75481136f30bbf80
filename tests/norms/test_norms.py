"""Norms against their equations in float64, and identities between them."""

from functools import partial

import pytest
import torch
from timm.layers import EvoNorm2dB0, EvoNorm2dS0, FilterResponseNormTlu2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from ssl_norm.norms import NORMS, make_norm
from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.layers.group_norm import GroupNorm
from ssl_norm.norms.layers.representative_batch_norm import RepresentativeBatchNorm
from tests.norms.test_contract import CHANNELS, SHAPES, build, data
from tests.reference import norms as reference

CONSTANTS = torch.arange(CHANNELS).double(), torch.arange(CHANNELS).double() + 0.5
LOOPS = {
    "bn": reference.batch_norm,
    "ln": partial(reference.group_norm, groups=1),
    "gn": partial(reference.group_norm, groups=3),
    "in": partial(reference.group_norm, groups=CHANNELS),
    "rms": reference.rms_norm,
    "rbn": reference.representative_batch_norm,
    "switch": reference.switchable_norm,
    "frn": reference.filter_response_norm,
    "evonorm-s0": partial(reference.evonorm_s0, groups=3),
    "evonorm-b0": reference.evonorm_b0,
    "zca": partial(reference.whitened, root=reference.zca_root, groups=3),
    "iternorm": partial(reference.whitened, root=reference.newton_root, groups=3),
}


def equals_loops(layer, shape, loops):
    x = data(*shape)
    expected = loops(reference.positions(x), **dict(layer.named_parameters())).reshape(shape)
    torch.testing.assert_close(layer(x), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_loops(name, shape):
    if name == "in" and len(shape) == 2:
        pytest.skip("takes no vectors")
    equals_loops(build(name), shape, LOOPS[name])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_constants_and_thresholds_equal_loops(shape):
    layer = build("frozen")
    for buffer, values in zip((layer.running_mean, layer.running_var), CONSTANTS, strict=True):
        buffer.copy_(values)
    mean, variance = CONSTANTS
    equals_loops(layer, shape, partial(reference.frozen_batch_norm, mean=mean, variance=variance))
    equals_loops(build("frn", threshold=False), shape, reference.filter_response_norm)


@pytest.mark.parametrize(
    ("spec", "printed"),
    [
        ({"name": "in", "affine": False}, "InstanceNorm(6, eps=1e-05, affine=False)"),
        (
            {"name": "domain", "batch_size": 32, "population": "exact"},
            "DomainBatchNorm(6, eps=1e-05, update_rate=0.1, affine=True, batch_size=32, "
            "population=exact, domains=2, affine_per_domain=False, shared_statistics=False)",
        ),
    ],
    ids=str,
)
def test_prints_its_options(spec, printed):
    assert repr(make_norm(spec, 6)) == printed


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_is_torchs(shape):
    torchs = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
    theirs = torchs[len(shape)](CHANNELS, eps=1e-3, momentum=0.3).double()
    ours = BatchNorm(CHANNELS, eps=1e-3, update_rate=0.3).double()
    ours.load_state_dict(theirs.state_dict())
    for seed in range(3):
        assert torch.equal(ours(data(*shape, seed=seed)), theirs(data(*shape, seed=seed)))
    assert torch.equal(ours.eval()(data(*shape)), theirs.eval()(data(*shape)))


VECTORS, IMAGES = (5, CHANNELS), (5, CHANNELS, 3, 2)
OF_LIBRARIES = [
    ("ln", nn.LayerNorm(CHANNELS), VECTORS),
    ("rms", nn.RMSNorm(CHANNELS, eps=1e-5), VECTORS),
    ({"name": "gn", "groups": 3}, nn.GroupNorm(3, CHANNELS), IMAGES),
    ("ln", nn.GroupNorm(1, CHANNELS), IMAGES),
    ({"name": "in", "eps": 1e-3}, nn.InstanceNorm2d(CHANNELS, eps=1e-3, affine=True), IMAGES),
    ("frozen", FrozenBatchNorm2d(CHANNELS), IMAGES),
    ({"name": "frn", "eps": 1e-5}, FilterResponseNormTlu2d(CHANNELS), IMAGES),
    ({"name": "evonorm-s0", "groups": 3}, EvoNorm2dS0(CHANNELS, groups=3), IMAGES),
    ("evonorm-b0", EvoNorm2dB0(CHANNELS), IMAGES),
]


@pytest.mark.parametrize(("spec", "theirs", "shape"), OF_LIBRARIES, ids=str)
def test_is_that_of_torch_torchvision_or_timm(spec, theirs, shape):
    for name, value in theirs.state_dict().items():
        if name != "num_batches_tracked":
            nn.init.uniform_(value, 0.5, 1.5)
    ours, state = make_norm(spec, CHANNELS), theirs.state_dict()
    state = {name.replace("tau", "threshold"): value for name, value in state.items()}
    missing, unexpected = ours.load_state_dict(state, strict=False)
    assert set(missing) <= {"running_mean", "num_batches_tracked"}
    assert unexpected == []
    for training in (True, True, True, False):
        x = data(*shape, dtype=torch.float32)
        torch.testing.assert_close(ours.train(training)(x), theirs.train(training)(x))


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 1, 1)], ids=str)
def test_instance_norm_of_one_value_per_channel(shape):
    with pytest.raises(ValueError, match=r"has one value per channel of a sample.* such as ln"):
        make_norm("in", 6)(torch.randn(shape))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_large_means_cost_group_norm_no_digits(groups, memory_format):
    x = (data(4, CHANNELS, 8, 8) + 1000).float().contiguous(memory_format=memory_format)
    x.requires_grad_()
    y = GroupNorm(CHANNELS, groups=groups)(x)
    assert y.is_contiguous(memory_format=memory_format)
    exact = x.detach().double().contiguous().requires_grad_()
    expected = nn.functional.group_norm(exact, groups)
    torch.testing.assert_close(y.double(), expected, rtol=1e-3, atol=1e-3)
    y.pow(3).sum().backward()
    expected.pow(3).sum().backward()
    torch.testing.assert_close(x.grad.double(), exact.grad, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("groups", [32, 4, 0, -2, 12, 2.0, "3"])
def test_groups_that_do_not_divide(groups):
    message = rf"groups must divide num_features=6, got groups={groups}"
    for name in ("gn", "evonorm-s0", "zca", "iternorm"):
        with pytest.raises(ValueError, match=message):
            NORMS.load(name)(6, groups=groups)


def test_nearest_divisors_are_named():
    with pytest.raises(ValueError, match=r"got groups=32; the nearest divisors are 25 and 50$"):
        GroupNorm(50, groups=32)


@pytest.mark.parametrize(("width", "groups"), [(1, 1), (16, 16), (24, 24), (37, 1), (96, 32)])
def test_groups_that_are_not_given(width, groups):
    assert GroupNorm(width).num_groups == groups


@pytest.mark.parametrize("name", ["gn", "evonorm-s0"])
def test_groups_of_one_value(name):
    with pytest.raises(ValueError, match=r"6 groups of an input of shape \(5, 6\) hold one value"):
        make_norm({"name": name, "groups": 6}, 6)(torch.randn(5, 6))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_rbn_starts_as_batch_norm_times_sigmoid_of_one(shape):
    x = data(*shape)
    expected = BatchNorm(CHANNELS).double()(x) * torch.sigmoid(torch.tensor(1.0).double())
    torch.testing.assert_close(RepresentativeBatchNorm(CHANNELS).double()(x), expected)


def test_rbn_centring_cancels_on_vectors():
    plain, centred = (RepresentativeBatchNorm(CHANNELS, eps=1e-12).double() for _ in range(2))
    nn.init.constant_(centred.center_weight, 0.8)
    torch.testing.assert_close(centred(data(5, CHANNELS)), plain(data(5, CHANNELS)))
    images = data(5, CHANNELS, 3, 2)
    assert not torch.allclose(centred(images), plain(images))


@pytest.mark.parametrize("name", [name for name in LOOPS if name not in ("zca", "iternorm")])
def test_large_means_and_constant_channels(name):
    x = data(64, CHANNELS, 4, 4) + 2000.0
    x[:, 0] = 5.0
    y = build(name, torch.float32)(x.float())
    expected = build(name)(x.float().double())
    torch.testing.assert_close(y.double(), expected, rtol=1e-2, atol=1e-2)
