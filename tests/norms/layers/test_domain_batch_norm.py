"""Domain batch norm against its equation: by chunk, by label, statistics and affine shared or not."""

import pytest
import torch
from torch import nn

from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.layers.domain_batch_norm import DomainBatchNorm, domain_labels
from tests.norms.test_contract import CHANNELS, SHAPES, data, randomize
from tests.reference import norms as reference

LABELS = torch.tensor([1, 0, 2, 0, 1, 1, 0])  # three domains, of 3, 3 and 1 samples
each_space = pytest.mark.parametrize("space", [shape[2:] for shape in SHAPES[1:]], ids=str)


def build(**options):
    return randomize(DomainBatchNorm(CHANNELS, **{"domains": 3, **options}).double())


def expected_of(x, labels, layer, statistics=None):
    tables = layer.weight, layer.bias, statistics
    return reference.domain_batch_norm(reference.positions(x), labels, *tables)


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected.reshape(found.shape), rtol=1e-11, atol=1e-11)


@each_space
@pytest.mark.parametrize("affine_per_domain", [False, True])
def test_labels_equal_loops(space, affine_per_domain):
    layer, x = build(affine_per_domain=affine_per_domain), data(7, CHANNELS, *space)
    with domain_labels(layer, LABELS):
        y = layer(x)
    assert_equal(y, expected_of(x, LABELS, layer))


@pytest.mark.parametrize("shape", [(6, CHANNELS), (6, CHANNELS, 3, 2)], ids=str)
def test_chunks_are_batch_norms(shape):
    layer, x = build(), data(*shape)
    batch_norm = BatchNorm(CHANNELS).double()
    batch_norm.load_state_dict({"weight": layer.weight, "bias": layer.bias}, strict=False)
    assert_equal(layer(x), torch.cat([batch_norm(chunk) for chunk in x.chunk(3)]))


def test_population_statistics_equal_loops():
    layer = build(update_rate=0.3)
    labels = [LABELS, LABELS % 2, torch.zeros(7, dtype=torch.long)]
    batches = [data(7, CHANNELS, 4, seed=seed) for seed in range(3)]
    for batch, own in zip(batches, labels, strict=True):
        with domain_labels(layer, own):
            layer(batch)
    for domain in range(3):
        pairs = zip(batches, labels, strict=True)
        own = [batch[of == domain] for batch, of in pairs if domain in of]
        mean, variance = reference.running_statistics(own, 0.3)
        assert_equal(layer.running_mean[domain], mean)
        assert_equal(layer.running_var[domain], variance)
    assert layer.num_batches_tracked.tolist() == [3, 2, 1]
    x, layer = data(7, CHANNELS, 4, seed=9), layer.eval()
    with domain_labels(layer, LABELS):
        y = layer(x)
    assert_equal(y, expected_of(x, LABELS, layer, (layer.running_mean, layer.running_var)))
    assert_equal(layer(x)[LABELS == 0], y[LABELS == 0])
    with domain_labels(layer, 2):
        assert_equal(layer(x)[LABELS == 2], y[LABELS == 2])


def test_cumulative_averages_count_each_domains_batches():
    layer = build(population="cumulative")
    batches = [data(7, CHANNELS, 4, seed=seed) for seed in range(3)]
    for batch, domain in zip(batches, (0, 1, 1), strict=True):
        with domain_labels(layer, domain):
            layer(batch)
    means = [batch.mean((0, 2)) for batch in batches]
    assert_equal(layer.running_mean[0], means[0])
    assert_equal(layer.running_mean[1], (means[1] + means[2]) / 2)
    assert not layer.running_mean[2].any()


@pytest.mark.parametrize("options", [{}, {"affine_per_domain": True}, {"batch_size": 2}], ids=str)
def test_gradients(options):
    layer = build(**options)

    def function(x, *_):
        with domain_labels(layer, LABELS):
            return layer(x)

    x = data(7, CHANNELS, 2).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, *layer.parameters()))


def test_ghost_batches_are_formed_in_each_domain():
    layer, x = build(batch_size=2, update_rate=1.0), data(7, CHANNELS, 4)
    with domain_labels(layer, LABELS):
        y = layer(x)
    chunks = torch.tensor([0, 1, 2, 1, 0, 3, 4])  # of domain 1: 0 and 3, of domain 0: 1 and 4
    assert_equal(y, expected_of(x, chunks, layer))
    assert_equal(layer.running_mean[0], x[LABELS == 0].mean((0, 2)))


def test_shared_statistics_are_batch_norms():
    layer, batch_norm = build(shared_statistics=True, affine_per_domain=True), BatchNorm(CHANNELS)
    plain = batch_norm.double()(data(7, CHANNELS, 4))
    with domain_labels(layer, LABELS):
        y = layer(data(7, CHANNELS, 4))
    weight, bias = layer.weight[LABELS].unsqueeze(-1), layer.bias[LABELS].unsqueeze(-1)
    assert_equal(y, weight * plain + bias)
    assert_equal(layer.running_var, batch_norm.running_var)


@pytest.mark.parametrize("options", [{}, {"affine_per_domain": True}, {"shared_statistics": True}])
def test_loads_a_batch_norm(options):
    theirs = nn.BatchNorm1d(CHANNELS)
    nn.init.uniform_(theirs.weight)
    x = data(6, CHANNELS, 4, dtype=torch.float32)
    theirs(x)
    ours = nn.Sequential(DomainBatchNorm(CHANNELS, domains=3, **options))
    given = nn.Sequential(theirs).state_dict()
    ours.load_state_dict(given)
    assert given["0.running_mean"].shape == (CHANNELS,)
    for domain in range(3):
        with domain_labels(ours, domain):
            torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    ours.load_state_dict(ours.state_dict())


def test_labels_are_restored():
    model = nn.Sequential(build(), build())
    with domain_labels(model, 1):
        before = model[0].given
        with pytest.raises(KeyError), domain_labels(model, LABELS):
            raise KeyError
        assert model[0].given is before
    assert [layer.given for layer in model] == [None, None]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "labels must be from 0 to 2, got 0 to 3"),
        ([-1, 0], "labels must be from 0 to 2, got -1 to 0"),
        ([0.5, 1.0], r"labels must be integers of shape \(N,\), got torch.float32 of shape \(2,\)"),
        ([[0, 1]], r"integers of shape \(N,\), got torch.int64 of shape \(1, 2\)"),
    ],
)
def test_labels_that_are_none(labels, message):
    with pytest.raises(ValueError, match=message), domain_labels(build(), labels):
        pass


def test_batches_that_do_not_fit():
    layer = build()
    with pytest.raises(ValueError, match="a batch of 7 is not 3 equal chunks"):
        layer(data(7, CHANNELS, 2))
    with pytest.raises(ValueError, match="7 labels for a batch of 6"), domain_labels(layer, LABELS):
        layer(data(6, CHANNELS, 2))
    with (
        pytest.raises(
            ValueError,
            match=r"value per channel and domain .* shape \(7, 6\) .* \(3, 3, 1\) samples",
        ),
        domain_labels(layer, LABELS),
    ):
        layer(data(7, CHANNELS))
    with (
        pytest.raises(ValueError, match="Linear has no domain norm"),
        domain_labels(nn.Linear(2, 2), 0),
    ):
        pass
    with pytest.raises(ValueError, match="affine_per_domain=True needs affine=True"):
        DomainBatchNorm(6, affine=False, affine_per_domain=True)
