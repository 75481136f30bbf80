"""Weights, statistics and options that survive a swap of norms and its reverse."""

import copy
import pickle

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from ssl_norm.norms import NORMS, make_norm
from ssl_norm.norms.batch.freezing import FrozenStatistics, freeze_statistics
from ssl_norm.norms.core import RuleNorm
from ssl_norm.norms.layers.batch_norm import BatchNorm
from ssl_norm.norms.swap.find import is_norm, named_norms, unwrapped
from ssl_norm.norms.swap.replace import replace_norms

CHANNELS = 4
ONLY_VECTORS_OR_MAPS = {"gn": {"groups": 2}, "zca": {"groups": 2}, "iternorm": {"groups": 2}}
BATCH_NORM_VARIANTS = [
    "ghost",
    "frozen",
    "domain",
    "ubn",
    "brn",
    {"name": "domain", "domains": 3, "affine_per_domain": True},
    {"name": "rbn", "identity_init": True},
    {"name": "bn", "sync": True},
    {"name": "bn", "population": "cumulative"},
]
NAMES = [name for name in NORMS if name != "none"]
PAIRS = {pair for n in NAMES for r in ("bn", "gn", "zca") for pair in ((n, r), (r, n))}
each_variant = pytest.mark.parametrize("variant", BATCH_NORM_VARIANTS, ids=str)


def spec_of(name):
    return {"name": name, **ONLY_VECTORS_OR_MAPS.get(name, {})}


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 + 2 * torch.randn(6, 3, 5, 5, generator=generator)


def randomize(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.state_dict(keep_vars=True).values():
            if value.is_floating_point():
                value.copy_(0.5 + torch.rand(value.shape, generator=generator))
            else:
                value.fill_(7)
    return model


def network(norm=None):
    return randomize(
        nn.Sequential(
            nn.Conv2d(3, CHANNELS, 3),
            nn.BatchNorm2d(CHANNELS) if norm is None else norm,
            BatchNormAct2d(CHANNELS, eps=1e-3, momentum=0.01),
            nn.Flatten(),
            nn.Linear(9 * CHANNELS, 5),
            nn.BatchNorm1d(5, affine=False),
        )
    )


def assert_same_state(model, expected):
    state = model.state_dict()
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


def clone(state):
    return {name: value.clone() for name, value in state.items()}


@each_variant
def test_batch_norms_survive_a_swap_and_its_reverse(variant):
    model = network()[:3] if "affine_per_domain" in variant else network()
    state, expected = clone(model.state_dict()), model.eval()(images())
    there = replace_norms(model, variant)
    assert [change.dropped for change in there.changes if "weight" in change.dropped] == []
    torch.testing.assert_close(model(images()), expected)
    back = replace_norms(model, "bn")
    assert len(there.changes) == len(back.changes) > 1
    assert_same_state(model, state)
    assert torch.equal(model(images()), expected)
    assert [type(unwrapped(layer)) for _, layer in named_norms(model)] == [BatchNorm] * len(
        there.changes
    )


@pytest.mark.parametrize(("old", "new"), sorted(PAIRS))
def test_norms_become_others(old, new):
    model = randomize(nn.Sequential(make_norm(spec_of(old), CHANNELS)))
    before = clone(model.state_dict())
    report = replace_norms(model, spec_of(new))
    (change,) = report.changes
    assert type(model[0]) is type(make_norm(spec_of(new), CHANNELS))
    given, own = {key[2:] for key in before}, {key[2:] for key in model.state_dict()}
    assert set(change.carried) | set(change.initial) == (own if change.replaced else set())
    accounted = {name.partition(" of domains")[0] for name in change.dropped}
    if change.replaced and "zca" not in (old, new) and "iternorm" not in (old, new):
        assert given <= set(change.carried) | accounted
    assert torch.isfinite(model.train()(images(2).new_ones(6, CHANNELS, 3, 3).uniform_())).all()


@pytest.mark.parametrize("name", ["gn", "rbn", "zca"])
def test_dry_run_changes_nothing(name):
    model = network()
    before, state = repr(model), clone(model.state_dict())
    parameters = [*model.parameters()]
    planned = replace_norms(model[:3], f"{name}+ws", dry_run=True)
    assert repr(model) == before
    assert_same_state(model, state)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert planned.dry_run
    done = replace_norms(model[:3], f"{name}+ws")
    assert (planned.changes, planned.standardized) == (done.changes, done.standardized)


def test_parameters_stay_those_that_an_optimizer_holds():
    model = network()[:3]
    weight = model[1].weight
    for spec in ("rbn", spec_of("gn"), "frozen", "domain", "bn"):
        replace_norms(model, spec)
        assert model[1].weight is weight


def test_covariances_are_variances_on_the_diagonal():
    model = network()[:3].eval()
    expected, state = model(images()), clone(model.state_dict())
    report = replace_norms(model, spec_of("zca"))
    torch.testing.assert_close(model(images()), expected)
    assert "running_covariance" in report.changes[0].carried
    assert report.changes[0].dropped == ()
    replace_norms(model, spec_of("iternorm"))
    back = replace_norms(model, "bn")
    assert back.changes[0].dropped == ("covariances between channels",)
    assert_same_state(model, state)


def test_domains_hand_on_those_they_evaluate_with():
    model = nn.Sequential(make_norm("domain", CHANNELS))
    randomize(model)
    first = model[0].running_var[0].clone()
    report = replace_norms(model, "bn")
    assert torch.equal(model[0].running_var, first)
    assert "running_var of domains from 1 on" in report.changes[0].dropped


def test_statistics_of_instances_are_not_those_of_batches():
    model = nn.Sequential(nn.InstanceNorm2d(CHANNELS, affine=True, track_running_stats=True))
    randomize(model)
    (change,) = replace_norms(model, "bn").changes
    assert change.carried == ("weight", "bias")
    assert "running_mean" in change.dropped
    assert "running_mean" in change.initial


@pytest.mark.parametrize(
    ("old", "option", "value"),
    [
        (nn.BatchNorm2d(CHANNELS, momentum=None), "population", "cumulative"),
        (nn.BatchNorm2d(CHANNELS, track_running_stats=False), "evaluation", "batch"),
        (nn.BatchNorm2d(CHANNELS, momentum=0.3), "update_rate", 0.3),
        (nn.BatchNorm2d(CHANNELS, eps=0.1), "eps", 0.1),
        (make_norm({"name": "rbn", "population": "exact"}, CHANNELS), "population", "exact"),
    ],
)
def test_options_pass_between_batch_norms(old, option, value):
    model = nn.Sequential(old)
    replace_norms(model, {"name": "bn", "batch_size": 3})
    assert getattr(model[0], option) == value
    assert model[0].batch_size == 3
    replace_norms(model, "rbn")
    assert getattr(model[0], option) == value
    assert model[0].batch_size is None
    replace_norms(model, {"name": "brn", option: getattr(make_norm("bn", 2), option)})
    assert getattr(model[0], option) == getattr(make_norm("bn", 2), option)


def test_batch_norms_of_the_wanted_options_stay():
    theirs = nn.BatchNorm2d(CHANNELS, momentum=None)
    ours = make_norm({"name": "bn", "batch_size": 32}, CHANNELS)
    ours.population = "cumulative"
    model = nn.Sequential(theirs, ours)
    assert replace_norms(model, "bn").kept == ("0",)
    assert model[0] is theirs
    assert (model[1].batch_size, model[1].population) == (None, "cumulative")
    options = {"update_rate": 0.5, "eps": 0.1, "affine": False}
    assert replace_norms(model, {"name": "bn", **options}).kept == ()
    assert [(layer.update_rate, layer.eps, layer.weight) for layer in model] == [
        (0.5, 0.1, None)
    ] * 2
    assert replace_norms(model, {"name": "bn", "evaluation": "population"}).replaced == ()
    replace_norms(model, {"name": "bn", "evaluation": "batch"})
    assert [layer.evaluation for layer in model] == ["batch", "batch"]
    with pytest.raises(ValueError, match="layer '0': sync=True spans all ranks"):
        replace_norms(model, {"name": "bn", "sync": True, "batch_size": 2})


@pytest.mark.parametrize(
    ("policy", "value"),
    [({"momentum": None}, "cumulative"), ({"track_running_stats": False}, "batch")],
)
def test_policies_come_back_from_a_norm_that_has_none(policy, value):
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS, **policy))
    replace_norms(model, "in")
    replace_norms(model, "bn")
    assert value in (model[0].population, model[0].evaluation)


def test_affine_comes_back():
    model = nn.Sequential(nn.BatchNorm2d(CHANNELS, affine=False))
    (change,) = replace_norms(model, {"name": "bn", "affine": True}).changes
    assert change.initial == ("weight", "bias")
    assert model[0].weight.requires_grad


@pytest.mark.parametrize("spec", [spec_of("gn"), "ln", {"name": "gn"}])
def test_norms_of_one_sample_stay_where_they_are_named(spec):
    layers = {"gn": nn.GroupNorm(2, CHANNELS), "ln": nn.LayerNorm(CHANNELS)}
    name = spec if isinstance(spec, str) else spec["name"]
    model = nn.Sequential(layers[name])
    assert replace_norms(model, spec).kept == ("0",)
    assert model[0] is layers[name]


def test_group_norm_of_other_groups_is_new():
    model = nn.Sequential(nn.GroupNorm(4, 8), nn.GroupNorm(1, 8))
    assert replace_norms(model, {"name": "gn", "groups": 2}).replaced == ("0", "1")
    assert replace_norms(model, "ln").replaced == ("0", "1")
    assert replace_norms(model, "ln").replaced == ()


@pytest.mark.parametrize("new", ["rbn", "ghost", "bn", "frozen", "gn"])
def test_frozen_statistics_stay_frozen_or_are_named(new):
    model = network().train()
    freeze_statistics(model)
    model[1].weight.requires_grad_(False)
    expected = model(images())
    model.eval().train()
    report = replace_norms(model[:3], spec_of(new))
    if new == "gn":
        assert all("frozen" in change.dropped for change in report.changes)
        return
    assert all("frozen" not in change.dropped for change in report.changes)
    assert not model[1].weight.requires_grad
    if new != "rbn":
        torch.testing.assert_close(model.train()(images()), expected)
    if new != "frozen":
        assert isinstance(model[1], FrozenStatistics)


def test_frozen_statistics_cannot_be_those_of_the_batch():
    model = network()[:2]
    freeze_statistics(model)
    report = replace_norms(model, {"name": "bn", "evaluation": "batch"})
    assert report.changes[0].dropped == ("frozen",)
    assert not isinstance(model[1], FrozenStatistics)


def test_frozen_layers_of_torchvision():
    model = network(FrozenBatchNorm2d(CHANNELS, eps=1e-3)).eval()
    expected, state = model(images()), clone(model.state_dict())
    for spec in ("frozen", "bn", "ghost"):
        replace_norms(model, spec)
        torch.testing.assert_close(model(images()), expected)
        assert model[1].weight.requires_grad
        assert all(torch.equal(model.state_dict()[name], state[name]) for name in state)


class Centred(RuleNorm):
    """A user's norm."""

    def __init__(self, num_features, scale=1.0):
        super().__init__(num_features)
        self.weight = nn.Parameter(torch.full((num_features,), scale))

    def rule(self, mean, variance):
        return self.weight, -self.weight * mean


@pytest.mark.parametrize(
    "spec", [Centred, lambda channels: Centred(channels, 2.0), lambda channels: Centred(channels)]
)
def test_a_users_norm(spec):
    model = network()
    state = clone(model.state_dict())
    report = replace_norms(model, spec)
    assert report.changes[0].carried == ("weight",)
    assert report.norm.name == spec.__name__
    assert report.changes[0].dropped[0] == "bias"
    assert torch.equal(model[1].weight, state["1.weight"])
    assert isinstance(unwrapped(model[2]), Centred)
    assert (model[:3](images()) >= 0).all()  # the activation of the third layer
    back = replace_norms(model, "bn")
    assert [change.old for change in back.changes] == ["Centred"] * 3
    assert model.state_dict().keys() == state.keys()


def test_a_function_that_builds_no_module():
    with pytest.raises(
        TypeError, match=r"<lambda>\(num_features\) must return an nn.Module, got 4"
    ):
        replace_norms(nn.Sequential(nn.BatchNorm1d(4)), lambda channels: channels)


@pytest.mark.parametrize("old", ["EvoNorm2dS0", "EvoNorm2dB0", "FilterResponseNormTlu2d"])
def test_nonlinear_norms_of_timm(old):
    import timm.layers

    options = {"groups": 2} if old == "EvoNorm2dS0" else {}
    model = randomize(nn.Sequential(getattr(timm.layers, old)(CHANNELS, **options)))
    weight = model[0].weight
    (change,) = replace_norms(model, "rbn").changes
    assert model[0].weight is weight
    assert change.dropped[-1] == "nonlinearity"
    report = replace_norms(model, "frn")
    assert report.changes[0].initial == ("threshold",)
    assert "frn is nonlinear itself, activations after it stay" in str(report)
    assert replace_norms(model, "bn").changes[0].dropped == ("threshold", "nonlinearity")


@pytest.mark.parametrize("name", ["gn", "rbn", "rms", "evonorm-b0", "in"])
def test_eps_passes_between_all_norms(name):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(1, 4, eps=1e-3))
    for spec in (name, "ln"):
        replace_norms(model, spec)
        assert model[1].eps == 1e-3
    replace_norms(model, {"name": "gn", "groups": 2, "eps": 0.1})
    assert model[1].eps == 0.1


@pytest.mark.parametrize("spec", ["bn", spec_of("gn"), "rms", "none"])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_torchs_transformer_runs_the_norms(spec):
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0)
    model = nn.TransformerEncoder(layer, 2)
    replace_norms(model, spec)
    x = torch.randn(3, 5, 4)
    with torch.no_grad():
        for norm in (layer for _, layer in named_norms(model)):
            assert is_norm(norm)
        slow = model.eval()(x)
        block = model.layers[0]
        attended = block.norm1(x + block.self_attn(x, x, x)[0])
        expected = block.norm2(attended + block.linear2(block.linear1(attended).relu()))
    torch.testing.assert_close(model.layers[1](expected), slow)


def test_swapped_models_are_copied_and_pickled():
    model = network().eval()
    replace_norms(model, "rbn")
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(other(images()), model(images()))
        fresh = network()
        replace_norms(fresh, "rbn")
        fresh.load_state_dict(other.state_dict())
        assert torch.equal(fresh.eval()(images()), model(images()))


def test_weights_become_plain_again():
    model = network()
    classes = [type(layer) for layer in model]
    assert replace_norms(model, "bn+ws").standardized == ("0", "4")
    assert replace_norms(model, "bn+ws").standardized == ()
    report = replace_norms(model, "bn")
    assert report.plain == ("0", "4")
    assert [type(layer) for layer in model] == classes
