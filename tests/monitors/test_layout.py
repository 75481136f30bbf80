"""Axes of layers' outputs, which follow from modules or must be given."""

import pytest
import timm
import torch
from torch import nn

from ssl_norm.monitors import LayerMonitor
from ssl_norm.monitors.layout import layout_of
from ssl_norm.norms import make_norm, replace_norms

SQUARE = 16  # channels equal height and width


class Permuted(nn.Sequential):
    """Channels last inside, first outside, as in ConvNeXt."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        (nn.Linear(4, 4), (2, 4), "NC"),
        (nn.Conv2d(3, SQUARE, 1), (2, SQUARE, SQUARE, SQUARE), "NCHW"),
        (nn.BatchNorm2d(SQUARE), (2, SQUARE, SQUARE, SQUARE), "NCHW"),
        (nn.Conv1d(3, SQUARE, 1), (2, SQUARE, SQUARE), "NCT"),
        (nn.Conv3d(3, 8, 1), (2, 8, 4, 4, 4), "NCHWD"),
        (nn.Linear(3, SQUARE), (2, SQUARE, SQUARE), "NTC"),
        (nn.Linear(3, SQUARE), (2, SQUARE, SQUARE, SQUARE), "NHWC"),
        (nn.LayerNorm(SQUARE), (2, SQUARE, SQUARE), "NTC"),
        (make_norm("rbn", SQUARE), (2, SQUARE, SQUARE, SQUARE), "NCHW"),
        (Permuted(nn.Linear(8, 8)), (2, 8, 4, 4), "NCHW"),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.Flatten(2)), (2, 8, 49), "NCT"),
        (nn.Sequential(nn.Conv2d(3, 8, 1), Permuted(nn.Linear(8, 8))), (2, 8, 8, 8), None),
        (nn.ReLU(), (2, 8, 8, 8), None),
        (nn.TransformerEncoderLayer(8, 2), (5, 2, 8), None),
        (nn.TransformerEncoderLayer(8, 2, batch_first=True), (2, 5, 8), "NTC"),
    ],
)
def test_the_axis_of_channels(layer, shape, expected):
    assert layout_of(layer, shape) == expected


@pytest.mark.parametrize("norm", ["ln", "rbn"])
@pytest.mark.parametrize(
    "name", ["resnet10t", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_stages_of_real_encoders(name, norm):
    encoder = timm.create_model(name, num_classes=0).eval()
    if norm != "ln":
        replace_norms(encoder, norm)
    stages = {f"{kind}{i}": s for kind in ("blocks", "stages", "layers")
              for i, s in enumerate(getattr(encoder, kind, []))}  # fmt: skip
    stages |= (
        {f"layer{i}": getattr(encoder, f"layer{i}") for i in range(1, 5)} if not stages else {}
    )
    shapes = {}
    for stage, module in stages.items():
        module.register_forward_hook(lambda m, _, out, s=stage: shapes.__setitem__(s, out.shape))
    with torch.no_grad():
        encoder(torch.zeros(2, 3, 224, 224))
    expected = {"vit": "NTC", "swi": "NHWC"}.get(name[:3], "NCHW")
    assert stages
    assert {layout_of(stages[s], shape) for s, shape in shapes.items()} == {expected}


def test_a_layer_with_unclear_axes_is_named_and_measured_once_they_are_told():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), Permuted(nn.Linear(8, 8)))
    images = torch.randn(4, 3, 8, 8)
    told = LayerMonitor({"net": network}, 1, layouts={"net": "NCHW"})
    asked = LayerMonitor({"net": network}, 1)
    for monitor in (told, asked):
        monitor.start(1)
    for _ in range(2):
        network(images)
    assert [row.layer for row in told.measure(1)] == ["net"]
    with pytest.warns(UserWarning, match=r"\(4, 8, 8, 8\) with unknown axes; name them with layo"):
        assert asked.measure(1) == []
