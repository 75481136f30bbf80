"""Layer monitors: inputs of the hooks, independence of the network, and values of rows."""

import copy
import math
import pickle
import warnings
from collections import namedtuple
from contextlib import nullcontext
from dataclasses import make_dataclass

import pytest
import timm
import torch
import torchvision
from torch import nn

from ssl_norm.learners.simclr import SimCLR
from ssl_norm.models.encoders import build_encoder
from ssl_norm.models.heads import mlp_head
from ssl_norm.monitors import feature_std, positive_negative_cosine, rank_me
from ssl_norm.monitors.layers import (
    LayerMonitor,
    LayerOutputs,
    gradient_norm,
    layers_of,
    pooled,
)
from ssl_norm.monitors.normalized import directions


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5))


def measured(layers, *calls, step=1, **options):
    """Return the rows of one step in which a network is called with each of some inputs."""
    network, monitor = layers["out"], LayerMonitor(layers, every=1, **options)
    monitor.start(step)
    for call in calls:
        network(call)
    return monitor.measure(step)


def views(count=6, side=8):
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(count, 3, side, side, generator=generator) for _ in range(2))


def head(width, norm="bn"):
    return mlp_head(width, hidden_dim=16, output_dim=8, layers=2, norm=norm)


def test_rows_are_the_monitors_of_pooled_outputs(network):
    view1, view2 = views()
    monitor = LayerMonitor({"conv": network[0], "out": network}, every=1)
    monitor.start(1)
    (network(view1).sum() + network(view2).square().sum()).backward()
    rows = {row.layer: row for row in monitor.measure(1)}
    z1, z2 = (network[0](view).detach().mean((2, 3)) for view in (view1, view2))
    expected = [*positive_negative_cosine(z1, z2), feature_std(z1), rank_me(directions(z1))]
    expected.append(gradient_norm(network[0]))
    assert list(rows) == ["conv", "out"]
    assert rows["conv"][:2] == (1, "conv")
    assert rows["conv"][2:] == pytest.approx([float(value) for value in expected], rel=1e-6)
    squares = [parameter.grad.square().sum() for parameter in network.parameters()]
    assert rows["out"].gradient_norm == pytest.approx(math.sqrt(sum(squares)), rel=1e-5)


def test_steps_that_are_not_due_keep_and_return_nothing(network):
    monitor = LayerMonitor({"conv": network[0]}, every=5)
    monitor.start(6)
    network(views()[0])
    assert monitor._outputs.kept == {"conv": []}
    assert monitor.measure(6) == []


@pytest.mark.parametrize(
    ("every", "due"),
    [
        (1, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (3, [0, 1, 2, 3, 6]),
        (50, [0, 1, 2, 4, 8, 16, 32, 50, 100]),
        (64, [0, 1, 2, 4, 8, 16, 32, 64]),
    ],
)
def test_early_steps_are_due_at_powers_of_two_below_the_interval(every, due):
    monitor = LayerMonitor({}, every)
    assert [step for step in range(due[-1] + 1) if monitor.due(step)] == due


def test_nothing_is_kept_between_steps(network):
    monitor = LayerMonitor({"conv": network[0]}, every=1)
    monitor.start(1)
    network(views()[0])
    assert len(monitor.measure(1)) == 1
    network(views()[0])
    assert monitor._outputs.kept == {"conv": []}
    assert monitor.measure(1) == []


def test_of_accumulated_batches_the_last_counts(network):
    monitor = LayerMonitor({"out": network}, every=1)
    for count in (3, 6):
        monitor.start(1)
        for view in views(count):
            network(view)
    (row,) = monitor.measure(1)
    with torch.no_grad():
        positive, _ = positive_negative_cosine(*(network(view) for view in views(6)))
    assert row.positive_cosine == pytest.approx(positive.item())


def test_joint_views_are_two_views(network):
    (other,) = measured({"out": network}, *views())
    (row,) = measured({"out": network}, torch.cat(views()), joint=True)
    assert row[2:6] == pytest.approx(other[2:6], rel=1e-5)


@pytest.mark.parametrize(
    "calls", [[views()[0]], [views()[0], views(4)[0]]], ids=["one view", "views of other images"]
)
def test_without_a_second_view_the_positive_cosine_is_nan(network, calls):
    (row,) = measured({"out": network}, *calls)
    with torch.no_grad():
        z = network(calls[0])
    assert math.isnan(row.positive_cosine)
    assert math.isnan(row.gradient_norm)
    assert row.negative_cosine == pytest.approx(positive_negative_cosine(z, z)[1].item())


def test_one_image_and_values_that_are_not_finite_give_nan(network):
    for batch in (views(1)[0], torch.full((4, 3, 8, 8), torch.inf)):
        (row,) = measured({"out": network}, batch)
        assert all(math.isnan(value) for value in row[2:])


def test_a_layer_without_a_tensor_is_named_once_and_left_out(network):
    class Odd(nn.Module):
        def forward(self, x):
            return "text"

    odd, unused = Odd(), nn.Linear(2, 2)
    monitor = LayerMonitor({"odd": odd, "unused": unused, "out": network}, every=1)
    message = r"odd \(its output is a str\), unused \(not called\)"
    for once in (pytest.warns(UserWarning, match=message), nullcontext()):
        monitor.start(1)
        odd(network(views()[0]))
        with once:
            assert [row.layer for row in monitor.measure(1)] == ["out"]


def test_removal_and_copies(network):
    monitor = LayerMonitor({"conv": network[0]}, every=1)
    keys = list(network.state_dict())
    copies = [copy.deepcopy(network), pickle.loads(pickle.dumps(network))]
    monitor.start(1)
    for other in copies:
        other(views()[0])
        assert list(other.state_dict()) == keys
    with pytest.warns(UserWarning, match="not called"):
        assert monitor.measure(1) == []
    monitor.remove()
    monitor.remove()
    assert not network[0]._forward_hooks
    monitor.start(1)
    network(views()[0])
    assert monitor.measure(1) == []


def test_the_network_is_not_changed_by_being_watched(network):
    twin = copy.deepcopy(network)
    monitor = LayerMonitor(layers_of(network), every=1)
    monitor.start(1)
    for model in (network, twin):
        model(views()[0]).square().sum().backward()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.measure(1)
    for parameter, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(parameter.grad, other.grad)


def test_activations_in_place_do_not_reach_what_was_kept():
    head = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True))
    with LayerOutputs({"linear": head[0]}) as outputs:
        outputs.listening = True
        head(torch.randn(16, 4))
    assert outputs.kept["linear"][0].min() < 0


@pytest.mark.parametrize(
    ("layout", "axes"), [("NCHW", (2, 3)), ("NHWC", (1, 2)), ("NTC", (1,)), ("NCDHW", (2, 3, 4))]
)
def test_pooling(layout, axes):
    output = torch.randn((2, 3, 3, 3, 3)[: len(layout)], dtype=torch.float64)
    for given in (layout, lambda shape: layout):
        assert torch.equal(pooled({"a": (None, output)}, given), output.mean(axes))
    with_loss = {"loss": output.mean(), "z": output}  # as models of transformers return
    for kind in (dict, namedtuple("Output", with_loss), make_dataclass("Output", with_loss)):
        assert torch.equal(pooled(kind(**with_loss), layout), output.mean(axes))
    assert pooled(output) is None


def test_pooling_of_what_is_no_output_and_of_half_precision():
    for output in (None, 3, "x", torch.ones(4), torch.ones(4, 4, dtype=torch.long), [], {}):
        assert pooled(output) is None
    assert pooled(torch.randn(2, 4, dtype=torch.bfloat16)).dtype == torch.float32


def names(encoder):
    return [name.removeprefix("encoder.") for name in layers_of(encoder)]


def test_stages_of_known_encoders():
    resnet = torchvision.models.resnet18()
    resnet.fc = nn.Identity()
    blocks = ["layer1", "layer2", "layer3", "layer4", "encoder"]
    assert names(resnet) == ["conv1", "bn1", *blocks]
    stages = ["stem", "stem_bn", "stage1", "stage2", "stage3", "encoder"]
    assert names(build_encoder("tiny16", small_images=None, image_size=32)) == stages
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0, img_size=32)
    blocks = [f"blocks.{i}" for i in (1, 3, 5, 7, 9, 11)]
    assert names(vit) == ["patch_embed", *blocks, "norm", "encoder"]


def test_layers_of_heads():
    layers = layers_of(nn.Linear(4, 4), head(4), nn.Linear(8, 8))
    assert list(layers) == ["encoder", "projector.0", "projector.1", "projector.3", "predictor"]
    mlp = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4, affine=False))
    names = list(layers_of(nn.Linear(4, 4), nn.ModuleDict({"layers": mlp})))
    assert names == ["encoder", "projector.layers.0", "projector.layers.1"]


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_real_encoders_have_a_row_for_every_layer(name):
    torch.manual_seed(0)
    options = {} if name == "resnet18" else {"img_size": 32 if "vit" in name else 64}
    encoder = timm.create_model(name, num_classes=0, **options)
    learner = SimCLR(encoder, head(encoder.num_features))
    layers = layers_of(learner.encoder, learner.projector)
    monitor = LayerMonitor(layers, every=10)
    monitor.start(10)
    learner(*views(4, 64 if "swin" in name else 32)).loss.backward()
    rows = monitor.measure(10)
    assert [row.layer for row in rows] == list(layers)
    assert all(math.isfinite(value) for row in rows for value in row[2:])
