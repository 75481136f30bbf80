import copy
import pickle

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import fx, nn

from ssl_norm.norms import NORMS, make_norm
from ssl_norm.norms.batch import freezing
from ssl_norm.norms.batch.freezing import FrozenStatistics, evaluation_mode, freeze_statistics
from ssl_norm.norms.swap.find import BATCH_NORMS


class Doubled(nn.BatchNorm2d):
    """A user's own subclass, with its own constructor and state."""

    def __init__(self, factor, channels):
        super().__init__(channels)
        self.factor = factor

    def forward(self, x):
        return self.factor * super().forward(x)


OURS = {name: make_norm(name, 4) for name in NORMS if isinstance(make_norm(name, 4), BATCH_NORMS)}
LAYERS = OURS | {
    "BatchNorm2d": nn.BatchNorm2d(4),
    "cumulative": nn.BatchNorm2d(4, momentum=None),
    "SyncBatchNorm": nn.SyncBatchNorm(4),
    "BatchNormAct2d": BatchNormAct2d(4),
    "subclass": Doubled(2.0, 4),
}


def images(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 + 2 * torch.randn(6, 4, 5, 5, generator=generator, dtype=torch.float64)


def model_with(name):
    """A model whose batch norm has learned population statistics and affine parameters."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 1), copy.deepcopy(LAYERS[name])).double()
    for parameter in model[1].parameters():
        nn.init.normal_(parameter, 1.0, 0.1)
    for buffer in model[1].buffers():
        if buffer.is_floating_point():
            nn.init.uniform_(buffer, 0.5, 2.0)
    return model


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_stays(model, expected):
    """In every mode, the output is that of population statistics, which do not change."""
    before = state(model)
    for ask in (model.train, model.eval, model[1].train):
        ask()
        torch.testing.assert_close(model(images()), expected)
    model[1].training = True
    torch.testing.assert_close(model[1].forward(model[0](images())), expected)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", LAYERS)
def test_frozen_statistics_never_move_and_normalize(name):
    model = model_with(name)
    expected = model.eval()(images())
    assert freeze_statistics(model) == freeze_statistics(model) == ("1",)
    assert isinstance(model[1], (type(LAYERS[name]), FrozenStatistics))
    assert_stays(model, expected)


COPIES = {
    "deepcopy": copy.deepcopy,
    "copy": lambda model: nn.Sequential(*map(copy.copy, model)),
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "old pickle": lambda model: pickle.loads(pickle.dumps(model, protocol=0)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", LAYERS)
def test_copies_are_frozen(name, how):
    model = model_with(name)
    expected = model.eval()(images())
    freeze_statistics(model)
    again = COPIES[how](model)
    assert type(again[1]) is type(model[1])
    assert_stays(again, expected)


def test_pickle_opens_in_a_process_that_froze_nothing(monkeypatch):
    model = model_with("subclass")
    freeze_statistics(model)
    content = pickle.dumps(model)
    monkeypatch.setattr(freezing, "_FROZEN_CLASSES", {})
    again = pickle.loads(content)
    assert isinstance(again[1], (FrozenStatistics, Doubled))
    assert not again.train()[1].training
    assert again[1].factor == 2.0


@pytest.mark.parametrize("name", LAYERS)
def test_nothing_but_the_class_changes(name):
    model = model_with(name)
    before = model.state_dict(keep_vars=True)
    freeze_statistics(model)
    after = model.state_dict(keep_vars=True)
    assert [*after] == [*before]
    assert all(after[key] is before[key] for key in before)
    assert f"FrozenStatistics{type(LAYERS[name]).__name__}(" in repr(model)


@pytest.mark.parametrize("mode", [True, False])
def test_evaluation_mode_restores_the_modes_that_were_set_last(mode):
    model = model_with("BatchNorm2d").train(mode)
    freeze_statistics(model)
    model[0].train(not mode)
    with evaluation_mode(model, [model[0]]):
        assert [part.training for part in model.modules()] == [False, True, False]
    assert [vars(part)["training"] for part in model.modules()] == [mode, not mode, mode]


@pytest.mark.parametrize("name", ["BatchNorm2d", "BatchNormAct2d", "rbn"])
def test_holds_under_compile_before_and_after(name):
    model = model_with(name).train()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(images())
    compiled(images())
    expected = copy.deepcopy(model).eval()(images())
    freeze_statistics(model)
    for _ in range(2):
        model.train()
        torch.testing.assert_close(compiled(images()), expected)
    assert_stays(model, expected)


def test_torch_fx_keeps_the_layer_whole():
    model = model_with("BatchNorm2d")
    freeze_statistics(model)
    traced = fx.symbolic_trace(model)
    assert [node.op for node in traced.graph.nodes].count("call_module") == 2


@pytest.mark.parametrize("name", LAYERS)
def test_affine_parameters_of_frozen_statistics_learn(name):
    if name == "SyncBatchNorm":
        pytest.skip("trains on GPUs only")
    model = model_with(name)
    freeze_statistics(model)
    before = state(model[1])
    model.train()(images()).square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    moved = {key for key, value in state(model[1]).items() if not torch.equal(before[key], value)}
    assert moved == set(dict(model[1].named_parameters()))


def test_a_layer_with_two_names_is_frozen_once():
    layer = nn.BatchNorm1d(2)
    model = nn.Sequential(layer, layer)
    assert freeze_statistics(model) == ("0",)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.ReLU()], "Sequential has no batch norm to freeze; its norms: none"),
        ([nn.LayerNorm(4), nn.GroupNorm(2, 4)], "its norms: 1 LayerNorm, 1 GroupNorm"),
        (
            [nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False)],
            "layer '1' keeps no population statistics",
        ),
        (
            [nn.BatchNorm2d(4), make_norm({"name": "bn", "evaluation": "batch"}, 4)],
            "layer '1' evaluates with batch statistics",
        ),
    ],
)
def test_nothing_to_freeze(layers, message):
    model = nn.Sequential(*layers)
    with pytest.raises(ValueError, match=message):
        freeze_statistics(model)
    assert not any(isinstance(layer, FrozenStatistics) for layer in model)
