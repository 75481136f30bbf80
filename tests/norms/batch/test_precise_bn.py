"""PreciseBN equals the statistics of the concatenated data and changes nothing else."""

import copy
import math
import warnings

import pytest
import torch
from torch import nn

from ssl_norm.norms import NORMS, make_norm
from ssl_norm.norms.batch.freezing import freeze_statistics
from ssl_norm.norms.batch.precise_bn import recompute_statistics
from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.layers.domain_batch_norm import domain_labels
from ssl_norm.norms.layers.representative_batch_norm import RepresentativeBatchNorm
from ssl_norm.norms.swap.find import BATCH_NORMS
from tests.reference.norms import population_statistics, positions

CHANNELS = 4
SIZES = (7, 3, 12, 2)
SHAPES = [(), (5,), (3, 4), (2, 3, 2)]


def batches(*space, dtype=torch.float64, sizes=SIZES):
    """Batches of several sizes with different means, many deviations from 0."""
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, CHANNELS, *space, generator=generator, dtype=torch.float64) + 9 + i).to(
            dtype
        )
        for i, size in enumerate(sizes)
    ]


def assert_statistics_are(layer, data, rtol=1e-12):
    """Compare a layer with the mean and variance of the joined data."""
    expected = population_statistics([positions(x.double()) for x in data])
    found = layer.running_mean.double(), layer.running_var.double()
    torch.testing.assert_close(found, expected, rtol=rtol, atol=0)


def network(norm=nn.BatchNorm2d):
    torch.manual_seed(0)
    return nn.Sequential(
        norm(CHANNELS),
        nn.Conv2d(CHANNELS, 6, 2),
        norm(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(72, 3),
        nn.BatchNorm1d(3),
    ).double()


def snapshot(model):
    """Everything except the statistics that must be the same before and after."""
    return [
        (
            name,
            layer.training,
            len(layer._forward_pre_hooks),
            "observe" in vars(layer),
            *(getattr(layer, key, None) for key in ("momentum", "update_rate", "population")),
        )
        for name, layer in model.named_modules()
    ]


@pytest.mark.parametrize("space", SHAPES, ids=str)
@pytest.mark.parametrize("options", [{}, {"batch_size": 2}], ids=str)
def test_equals_the_statistics_of_the_concatenated_data(space, options):
    data = batches(*space, sizes=(8, 4, 12, 2))
    layer = make_norm({"name": "bn", **options}, CHANNELS).double()
    report = recompute_statistics(layer, data)
    assert_statistics_are(layer, data)
    assert report.shifts[""].count == sum(x.numel() for x in data) // CHANNELS
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, BatchNorm, RepresentativeBatchNorm])
def test_float32_of_a_large_mean(kind, dtype):
    data = [(1000 * x).to(dtype) for x in batches(3, 4)]
    layer = kind(CHANNELS)
    recompute_statistics(layer, data)
    assert_statistics_are(layer, data, rtol=1e-6)


def test_channels_last_and_keyword_inputs():
    data = [x.to(memory_format=torch.channels_last) for x in batches(3, 4)]
    layer = nn.BatchNorm2d(CHANNELS).double()
    recompute_statistics(layer, data, lambda x: layer(input=x))
    assert_statistics_are(layer, data)


def test_representative_batch_norm_has_the_statistics_of_its_centred_input():
    data = batches(3, 4)
    layer = RepresentativeBatchNorm(CHANNELS).double()
    with torch.no_grad():
        layer.center_weight.copy_(torch.tensor([0.5, -0.3, 0.0, 2.0]))
    recompute_statistics(layer, data)
    weight = layer.center_weight.detach()[:, None, None]
    assert_statistics_are(layer, [x + weight * x.mean((2, 3), keepdim=True) for x in data])


@pytest.mark.parametrize("name", ["zca", "iternorm"])
def test_whitening_norms_have_the_covariance_of_the_concatenated_data(name):
    data = batches(3, 4)
    layer = make_norm({"name": name, "groups": 2}, CHANNELS).double()
    recompute_statistics(layer, data)
    rows = torch.cat(data).transpose(0, 1).flatten(1)
    expected = torch.stack([rows[:2].cov(), rows[2:].cov()])
    torch.testing.assert_close(layer.running_covariance, expected, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(layer.running_mean, rows.mean(1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, BatchNorm])
def test_deeper_layers_see_what_training_shows_them(norm):
    model, oracle = network(norm), network()
    data = batches(4, 5)
    recompute_statistics(model, data)
    for part in oracle.modules():
        part.training = isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)
    with warnings.catch_warnings(
        action="ignore", category=FutureWarning
    ):  # fvcore's use of torch.jit
        from fvcore.nn import update_bn_stats
    update_bn_stats(oracle, data, num_iters=len(data))
    for index, places in ((0, 20), (2, 12), (7, 1)):
        values = sum(SIZES) * places
        bessel = values / (values - 1)  # fvcore leaves it out
        ours, theirs = model[index], oracle[index]
        torch.testing.assert_close(ours.running_mean, theirs.running_mean, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            ours.running_var, bessel * theirs.running_var, rtol=1e-9, atol=1e-12
        )


@pytest.mark.parametrize("steps", [0, 50_000])
def test_brn_is_not_corrected_towards_the_statistics_that_it_replaces(steps):
    bn, brn = network(BatchNorm), network(lambda channels: make_norm("brn", channels))
    brn.load_state_dict(bn.state_dict())
    for index in (0, 2):
        brn[index].num_batches_tracked.fill_(steps)
        brn[index].running_mean.fill_(-3)
    for model in (bn, brn):
        recompute_statistics(model, batches(4, 5))
    assert [brn[index].num_batches_tracked.item() for index in (0, 2)] == [steps, steps]
    for name, value in bn.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(brn.state_dict()[name], value, rtol=1e-9, atol=1e-12)


def test_modes_hooks_rates_and_weights_are_as_before():
    model = network(BatchNorm).train()
    model[2].eval()
    model[7].momentum = None
    before, weights = snapshot(model), [p.clone() for p in model.parameters()]
    recompute_statistics(model, batches(4, 5))
    assert snapshot(model) == before
    assert all(map(torch.equal, weights, model.parameters()))
    assert all(p.grad is None for p in model.parameters())
    assert model[7].num_batches_tracked == 0


@pytest.mark.parametrize("name", ["bn", "rbn", "zca"])
def test_an_error_half_way_leaves_everything_as_it_was(name):
    model = network(lambda channels: make_norm(name, channels)).train()
    model(batches(4, 5)[0])
    before, state = snapshot(model), copy.deepcopy(model.state_dict())

    def breaking_off():
        yield from batches(4, 5)[:2]
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        recompute_statistics(model, breaking_off())
    assert snapshot(model) == before
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_statistics_that_are_not_finite_are_not_installed():
    model = network()
    state = copy.deepcopy(model.state_dict())
    data = [*batches(4, 5), batches(4, 5)[0] * math.inf]
    with pytest.raises(ValueError, match="layer '0' has statistics that are not finite"):
        recompute_statistics(model, data)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


class Twice(nn.Module):
    """A norm that is called on two inputs, and one that is never called."""

    def __init__(self):
        super().__init__()
        self.norm = make_norm("rbn", CHANNELS).double()
        self.spare = nn.BatchNorm1d(CHANNELS).double()

    def forward(self, x):
        return self.norm(x)[:2] + self.norm(3 * x[:2])


def test_layers_called_twice_and_never():
    model, data = Twice(), batches()
    with torch.no_grad():
        model.spare.running_mean.fill_(7)
    report = recompute_statistics(model, data)
    seen = [part for x in data for part in (x, 3 * x[:2])]
    assert_statistics_are(model.norm, seen)
    assert report.not_called == ("spare",)
    assert (model.spare.running_mean == 7).all()
    assert "never called: spare" in str(report)


def test_layers_that_are_not_recomputed_are_named():
    model = nn.Sequential(
        nn.BatchNorm1d(CHANNELS),
        nn.BatchNorm1d(CHANNELS, track_running_stats=False),
        nn.BatchNorm1d(CHANNELS),
        nn.Unflatten(1, (CHANNELS, 1)),
        nn.InstanceNorm1d(CHANNELS, track_running_stats=True),
    ).double()
    freeze_statistics(model[2])
    report = recompute_statistics(model, batches())
    assert list(report.shifts) == ["0"]
    assert dict(report.not_recomputed) == {
        "1": "keeps no statistics",
        "2": "frozen",
        "4": "InstanceNorm1d",
    }
    assert (model[2].running_mean == 0).all()
    assert model[4].num_batches_tracked == 0
    model.train()
    assert "training" in vars(model[2])
    assert vars(model[2])["training"]


def test_compiled_models():
    model, expected, data = network(), network(), batches(4, 5)
    compiled = torch.compile(model, backend="eager")
    compiled(data[0])
    for each in (compiled, expected):
        recompute_statistics(each, data)
    torch.testing.assert_close(model[2].running_var, expected[2].running_var)


def test_the_shift_is_what_the_old_statistics_left_of_the_data():
    data = batches(3, 4)
    layer = nn.BatchNorm2d(CHANNELS, affine=False, eps=0.1).double()
    layer.running_mean.fill_(8)
    layer.running_var.fill_(4)
    old = torch.cat([layer.eval()(x) for x in data]).movedim(1, -1).flatten(0, -2)
    shift = recompute_statistics(layer, data).shifts[""]
    torch.testing.assert_close(shift.mean, old.mean(0))
    spread = (layer.running_var + 0.1) / 4.1
    torch.testing.assert_close(shift.deviation, spread.sqrt())
    assert shift.typical_mean <= shift.largest_mean
    least, largest = shift.deviation_range
    assert least <= shift.typical_deviation <= largest
    again = recompute_statistics(layer, data).shifts[""]
    assert again.largest_mean < 1e-12
    assert again.deviation_range == pytest.approx((1, 1))


def test_one_line_errors():
    plain = nn.Sequential(nn.Linear(2, 4), nn.GroupNorm(2, 4), nn.GroupNorm(2, 4))
    with pytest.raises(ValueError, match=r"no batch norm .* to recompute; its norms: 2 GroupNorm"):
        recompute_statistics(plain, [])
    with pytest.raises(ValueError, match="the iterable of batches is empty"):
        recompute_statistics(network(), [])
    with pytest.raises(ValueError, match="reached none of the 3 batch norms"):
        recompute_statistics(network(), batches(4, 5), lambda batch: None)


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}], ids=str)
def test_each_domain_has_statistics_of_its_own(options):
    layer = make_norm({"name": "domain", "domains": 3, **options}, CHANNELS).double()
    data = batches(3, 4)
    labels = [torch.arange(len(x)) // 2 % 2 for x in data]

    def forward(batch):
        with domain_labels(layer, batch[1]):
            layer(batch[0])

    pairs = [(x, y) for x, y in zip(data, labels, strict=True) if len(x) != 3]
    report = recompute_statistics(layer, pairs, forward)
    for domain in range(2):
        own = [positions(x[y == domain]) for x, y in pairs if domain in y]
        found = layer.running_mean[domain], layer.running_var[domain]
        torch.testing.assert_close(found, population_statistics(own), rtol=1e-12, atol=0)
    assert (layer.running_mean[2] == 0).all()
    assert dict(report.not_recomputed) == {", domain 2": "no samples"}


@pytest.mark.parametrize("name", NORMS)
def test_every_batch_norm_of_the_registry_is_recomputed(name):
    layer = make_norm(name, CHANNELS).double()
    if isinstance(layer, BATCH_NORMS):
        report = recompute_statistics(layer, batches(3, 4, sizes=(8, 2, 12)))
        assert (list(report.shifts), dict(report.not_recomputed)) == ([""], {})
