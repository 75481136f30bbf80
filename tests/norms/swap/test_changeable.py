"""Models that wrap, compile or quantize their norms, and the axes of tokens."""

import copy

import pytest
import torch
from torch import distributed, fx, nn
from torch.ao import quantization
from torch.nn.parallel import DataParallel, DistributedDataParallel

from ssl_norm.norms import NORMS, parse_norm, replace_norms
from ssl_norm.norms.layers.representative_batch_norm import RepresentativeBatchNorm

CHANNELS = 8


def network():
    return nn.Sequential(
        nn.Conv2d(3, CHANNELS, 1), nn.BatchNorm2d(CHANNELS), nn.ReLU(), nn.Flatten()
    )


def distributed_model(folder):
    distributed.init_process_group("gloo", init_method=f"file://{folder}/s", rank=0, world_size=1)
    try:
        return DistributedDataParallel(network())
    finally:
        distributed.destroy_process_group()


def quantization_aware(fused):
    """Return a network prepared for quantization, whose parts call members of their batch norms."""
    model = network()
    model.qconfig = quantization.get_default_qat_qconfig()
    if fused:
        quantization.fuse_modules_qat(model, [["0", "1", "2"]], inplace=True)
    return quantization.prepare_qat(model)


RANGES = "measures ranges for quantization; replace the norms before prepare"
REFUSED = {
    "script": (lambda _: torch.jit.script(network()), "is compiled TorchScript"),
    "trace": (
        lambda _: nn.Sequential(torch.jit.trace(network().eval(), torch.zeros(1, 3, 2, 2))),
        "part '0', TopLevelTracedModule, is compiled TorchScript",
    ),
    "distributed": (distributed_model, "replace the norms before wrapping the model"),
    "fused": (lambda _: quantization_aware(True), RANGES),
    "not fused": (lambda _: quantization_aware(False), RANGES),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REFUSED)
def test_models_that_would_ignore_the_replacement_are_refused(name, tmp_path):
    make, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        replace_norms(make(tmp_path), "gn")


@pytest.mark.parametrize(
    "wrap",
    [fx.symbolic_trace, DataParallel, lambda model: torch.compile(model, backend="eager")],
    ids=["graph", "parallel", "compiled"],
)
def test_wrapped_models_use_the_new_norm(wrap):
    x = torch.randn(4, 3, 5, 5)
    expected = copy.deepcopy(network())
    model = wrap(expected)
    model(x)
    replace_norms(model, "rbn")
    assert isinstance(expected[1], RepresentativeBatchNorm) or isinstance(model, fx.GraphModule)
    found = next(m for m in model.modules() if isinstance(m, RepresentativeBatchNorm))
    nn.init.constant_(found.bias, 7.0)
    assert model(x).mean() > 5


@pytest.mark.parametrize("norm", [name for name in NORMS if name != "none"])
def test_modules_without_values(norm):
    model = network().to("meta").eval()
    report = replace_norms(model, norm)
    assert report.changes[0].replaced == (norm != "bn")
    if norm in ("zca", "iternorm"):
        return  # they turn autocast off, which needs a device with values
    assert model(torch.empty(4, 3, 5, 5, device="meta")).shape == (4, CHANNELS * 25)


class Block(nn.Module):
    """Pre-norm attention, as in CLIP; sequence-first by default."""

    def __init__(self, batch_first):
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)
        self.attention = nn.MultiheadAttention(CHANNELS, 2, batch_first=batch_first)

    def forward(self, x):
        y = self.norm(x)
        return x + self.attention(y, y, y, need_weights=False)[0]


class OwnAttention(nn.Module):
    """Sequence-first only inside."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(CHANNELS)

    def forward(self, x):
        y = self.norm(x.transpose(0, 1))
        return (y + y.mean(0)).transpose(0, 1)


def encoder_layer(batch_first):
    return nn.TransformerEncoderLayer(CHANNELS, 2, 16, dropout=0.0, batch_first=batch_first)


def encoder(batch_first):
    layer, last = encoder_layer(batch_first), nn.LayerNorm(CHANNELS)
    return nn.TransformerEncoder(layer, 2, norm=last, enable_nested_tensor=False)


BLOCKS = {
    "block": Block,
    "nested": lambda batch_first: nn.Sequential(Block(batch_first), Block(batch_first)),
    "layer": encoder_layer,
    "encoder": encoder,
    "own": lambda _: OwnAttention(),
}
PER_SAMPLE = [n for n in NORMS if not parse_norm(n).batch_statistics and n not in ("act", "none")]


@pytest.mark.parametrize("batch_first", [True, False], ids=["NLC", "LNC"])
@pytest.mark.parametrize("kind", BLOCKS)
@pytest.mark.parametrize("norm", PER_SAMPLE)
def test_tokens_of_other_samples_do_not_matter(kind, batch_first, norm):
    model = BLOCKS[kind](batch_first)
    sequence_first = kind != "own" and not batch_first
    x, others = torch.randn(2, 3, 5, CHANNELS).unbind()
    others[0] = x[0]
    inputs = [t.transpose(0, 1) if sequence_first else t for t in (x, others)]
    told = {"example": inputs[0]}
    if sequence_first and norm not in ("ln", "rms"):
        with pytest.raises(
            ValueError, match=r"the axis of the samples is not known.* sample_axis=1"
        ):
            replace_norms(model, norm, **told)
        told = {"sample_axis": 1}
    report = replace_norms(model, norm, **told)
    assert not any(change.assumed for change in report.changes)
    one, other = (t.transpose(0, 1) if sequence_first else t for t in map(model.eval(), inputs))
    torch.testing.assert_close(one[0], other[0])
    assert not torch.allclose(one[1], other[1])


class Images(nn.Module):
    """Images (N, 3, H, W) become sequence-first tokens (L, N, C)."""

    def __init__(self):
        super().__init__()
        self.embed, self.block = nn.Conv2d(3, CHANNELS, 2, 2), Block(batch_first=False)

    def forward(self, x):
        return self.block(self.embed(x).flatten(2).permute(2, 0, 1)).transpose(0, 1)


@pytest.mark.parametrize("samples", [3, 4, 5])
def test_an_example_of_images_shows_the_axes(samples):
    x = torch.randn(samples, 3, 4, 10)
    model = Images().eval()
    if samples == 5:  # which divides the 10 positions
        with pytest.raises(ValueError, match=r"layer 'block.norm': the axis of the samples"):
            replace_norms(model, "gn", example=x)
        x = x[:3]
    report = replace_norms(model, "in", example=x)
    assert model.block.norm.sample_axis == 1
    assert not report.changes[0].assumed
    torch.testing.assert_close(model(x)[:1], model(torch.cat([x[:1], x[1:] + 3]))[:1])
    replace_norms(model, "rbn")
    assert model.block.norm.sample_axis == 1


def test_an_axis_that_nothing_tells_is_named():
    report = replace_norms(nn.Sequential(nn.LayerNorm(CHANNELS)), "gn")
    assert "in 1 the first axis is assumed to be the samples" in str(report)


def test_layer_norms_of_whole_maps_are_refused():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.LayerNorm((CHANNELS, 3, 3)))
    with pytest.raises(
        ValueError, match=r"layer '1': .* normalizes several axes, \(8, 3, 3\); .* by"
    ):
        replace_norms(model, "in")
    assert replace_norms(model, "in", keep=["1"]).replaced == ()


def test_norms_that_need_more_than_one_position():
    model = nn.Sequential(
        nn.Conv2d(3, 19, 1), nn.BatchNorm2d(19), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(19)
    )
    before, modes = repr(model), [part.training for part in model.eval().modules()]
    with pytest.raises(ValueError, match=r"layer '3': 19 groups of an input of shape \(2, 19, 1"):
        replace_norms(model, "gn", example=torch.zeros(2, 3, 4, 4))
    assert (repr(model), [part.training for part in model.modules()]) == (before, modes)
    assert replace_norms(model, "ln", example=torch.zeros(2, 3, 4, 4)).replaced == ("1", "3")
