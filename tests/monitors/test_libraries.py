"""Loops of other libraries, attached by one line: Fabric, Accelerate, timm's encoders."""

import pytest
import torch
from torch import nn

from ssl_norm.monitors.watch import attach
from tests.monitors.samples import streamed, streamed_means
from tests.monitors.test_watch import Network, byol, optimizer_of, train


def with_fabric():
    fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
    network = Network()
    model, optimizer = fabric.setup(network, optimizer_of(network))
    model.mark_forward_method("embed")
    return model, optimizer, fabric.backward


def with_accelerate():
    accelerator = pytest.importorskip("accelerate").Accelerator(cpu=True)
    network = Network()
    model, optimizer = accelerator.prepare(network, optimizer_of(network))
    return model, optimizer, accelerator.backward


@pytest.mark.parametrize("library", [with_fabric, with_accelerate])
def test_values_are_those_of_the_embeddings(library):
    model, optimizer, backward = library()
    logged = []
    options = {"log": lambda values, step: logged.append(values), "log_every": 1, "joint": False}
    watch = attach(model, optimizer, **options)
    recorded = train(model, optimizer, byol, backward=backward)
    assert watch.steps == len(recorded)
    for values, pairs in zip(logged, recorded, strict=True):
        assert streamed(values) == pytest.approx(streamed_means([pairs]), abs=1e-6)


@pytest.mark.parametrize("form", ["called twice", "called once"])
def test_a_simclr_loop_on_an_encoder_of_timm(form):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    size = {"img_size": 16, "patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0, **size)
    network = nn.ModuleDict({"encoder": encoder, "projector": nn.Linear(24, 8)})
    optimizer, logged = optimizer_of(network), []
    attach(network, optimizer, log=lambda values, step: logged.append(values), log_every=1)

    def simclr(network, step):
        images = torch.randn(64, 3, 1, 1).expand(-1, -1, 16, 16)
        views = [images + 0.1 * torch.randn_like(images) for _ in range(2)]
        calls = [torch.cat(views)] if form == "called once" else views
        z1, z2 = torch.cat([network["projector"](encoder(call)) for call in calls]).chunk(2)
        return (z1 - z2).square().mean(), [(z1, z2)]

    recorded = train(network, optimizer, simclr)
    known = [step for step, values in enumerate(logged) if "positive_cosine" in values]
    assert len(known) >= 3
    for step in known:
        expected = streamed_means([recorded[step]])
        assert streamed(logged[step]) == pytest.approx(expected, abs=1e-5)
