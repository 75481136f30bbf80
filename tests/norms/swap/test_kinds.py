"""Norm layers are recognized by their computation, not by their attributes."""

import copy

import pytest
import timm.layers
import torch
from timm.layers.norm_act import FrozenBatchNormAct2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from ssl_norm.norms import NORMS, make_norm, replace_norms
from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.swap.kinds import kind_of

CHANNELS = 8
TORCHS = {
    "bn": nn.BatchNorm2d(CHANNELS),
    "bn1d": nn.BatchNorm1d(CHANNELS),
    "bn3d": nn.BatchNorm3d(CHANNELS),
    "sync": nn.SyncBatchNorm(CHANNELS),
    "in": nn.InstanceNorm2d(CHANNELS, affine=True),
    "tracked": nn.InstanceNorm2d(CHANNELS, track_running_stats=True),
    "gn": nn.GroupNorm(2, CHANNELS),
    "ln": nn.LayerNorm(CHANNELS),
    "no bias": nn.LayerNorm(CHANNELS, bias=False),
    "rms": nn.RMSNorm(CHANNELS),
    "frozen": FrozenBatchNorm2d(CHANNELS),
    "bn act": timm.layers.BatchNormAct2d(CHANNELS, act_layer=nn.LeakyReLU),
    "gn act": timm.layers.GroupNormAct(CHANNELS, group_size=2, act_layer=nn.LeakyReLU),
    "ln act": timm.layers.LayerNormAct2d(CHANNELS, act_layer=nn.LeakyReLU),
    "frozen act": FrozenBatchNormAct2d(CHANNELS, act_layer=nn.LeakyReLU),
    "ln2d": timm.layers.LayerNorm2d(CHANNELS),
    "ln fp32": timm.layers.LayerNormFp32(CHANNELS),
    "ln2d fp32": timm.layers.LayerNorm2dFp32(CHANNELS),
    "rms timm": timm.layers.RmsNorm(CHANNELS),
    "rms2d": timm.layers.RmsNorm2d(CHANNELS),
    "simple2d": timm.layers.SimpleNorm2d(CHANNELS),
    "gn1": timm.layers.GroupNorm1(CHANNELS),
}
OURS = {
    name: make_norm(name if name != "gn" else {"name": name, "groups": 2}, CHANNELS)
    for name in NORMS
    if name != "none"
}
STATISTICS = ("bn", "ghost", "brn", "ubn", "frozen", "domain")  # norms with the same state
LAYERS = TORCHS | {f"our {name}": layer for name, layer in OURS.items()}


def changed(layer, change):
    """Return a copy whose forward pass does more than that of its class."""
    kind = type(layer)
    if change == "patched":
        layer.forward = lambda x, forward=layer.forward: forward(x).relu()
        return layer

    def forward(self, x):
        y = kind.forward(self, x)
        if change == "in training":
            return y * 2 if self.training else y
        return y.relu() if change == "relu" else y + self.extra

    layer.__class__ = type(f"More{kind.__name__}", (kind,), {"forward": forward})
    layer.extra = nn.Parameter(torch.ones(()))
    return layer


@pytest.mark.parametrize("change", ["relu", "patched", "parameter", "in training"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_forward_pass_that_does_more_is_refused(name, change):
    if (name, change) == ("sync", "in training"):
        pytest.skip("needs ranks")
    model = nn.Sequential(nn.Identity(), changed(copy.deepcopy(LAYERS[name]), change))
    wanted = "frn" if name != "our frn" else "ghost"
    with pytest.raises(ValueError, match=r"layer '1': the forward pass of this .* by keep="):
        replace_norms(model, wanted)
    report = replace_norms(model, wanted, keep=["1"])
    assert (report.replaced, report.left[0]) == ((), "1")


@pytest.mark.parametrize("name", LAYERS)
def test_every_known_layer_is_replaced_with_its_activation_and_hooks(name):
    layer = copy.deepcopy(LAYERS[name])
    seen = []
    handle = layer.register_forward_hook(lambda *_: seen.append(1))
    model = nn.Sequential(layer)
    replace_norms(model, "frn" if name != "our frn" else "ghost")
    assert model[0] is not layer
    trailing = kind_of(LAYERS[name]).channels_last
    x = torch.randn(3, 5, 5, CHANNELS) if trailing else torch.randn(3, CHANNELS, 5, 5)
    model(x)
    assert seen == [1]
    handle.remove()
    model(x)
    assert seen == [1]
    if name.endswith(" act") and name in TORCHS:
        assert isinstance(model[0].act, nn.LeakyReLU)


def test_a_users_subclass_without_a_forward_pass_is_its_norm():
    mine = type("Mine", (BatchNorm,), {})(CHANNELS)
    theirs = type("Theirs", (nn.BatchNorm2d,), {})(CHANNELS)
    report = replace_norms(nn.Sequential(mine, theirs), "ghost")
    assert report.way_back == "bn"


def test_names_to_keep_must_be_norms():
    model = nn.Sequential(nn.BatchNorm1d(CHANNELS), nn.ReLU())
    with pytest.raises(ValueError, match="unknown norm layer in keep '1'"):
        replace_norms(model, "ln", keep=["1"])


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        *(
            (name, norm)
            for name in TORCHS
            for norm in (*STATISTICS, "rbn", "zca", "gn", "ln", "in")
        ),
        *((name, norm) for name in sorted(LAYERS.keys() - TORCHS) for norm in ("bn", "gn")),
    ],
)
def test_the_way_back_is_as_reported(name, norm):
    """The report is compared with the outputs in evaluation mode."""
    torch.manual_seed(0)
    layer = copy.deepcopy(LAYERS[name])
    for value in layer.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5) if value.ndim < 3 else None
    kind = kind_of(layer)
    x = 1 + torch.randn(6, CHANNELS, *{"bn1d": (5,), "bn3d": (3, 3, 3)}.get(name, (5, 5)))
    x = x.movedim(1, -1) if kind.channels_last else x
    model = nn.Sequential(layer).eval()
    expected = model(x)
    report = replace_norms(model, norm)
    back = kind.name if report.way_back is None else report.way_back
    if not report.replaced or back is None:
        return
    replace_norms(model, back)
    same = torch.allclose(model(x), expected, atol=1e-4)
    assert same or report.way_back is None
    if kind.name in STATISTICS and norm in (*STATISTICS, "rbn", "switch", "zca"):
        assert report.way_back == kind.name
    if kind.name in ("ln", "gn", "in") and norm in (*STATISTICS, "ln", "gn", "in"):
        assert report.way_back == kind.name or name == "tracked"
