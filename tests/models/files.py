"""Contents of checkpoint files of several packages, with whole or damaged weights of an encoder."""

import re
from argparse import Namespace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ssl_norm.models.encoders import build_encoder

Weights = dict[str, Tensor]
ENCODERS = {  # sides of their images
    "tiny16": 16,
    "resnet10t": 32,
    "mobilenetv3_small_050": 32,
    "convnext_atto": 32,
    "vit_tiny_patch16_224": 32,
    "torchvision/mobilenet_v3_small": 32,
}


def images(name: str) -> Tensor:
    side = ENCODERS[name]
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def build(name: str, small_images: bool | None = None) -> nn.Module:
    torch.manual_seed(0)
    return build_encoder(name, small_images=small_images, image_size=ENCODERS[name]).eval()


@cache
def trained(name: str, small_images: bool | None = None) -> tuple[nn.Module, Tensor]:
    """Return an encoder whose every tensor differs from its initial value, and its features."""
    encoder = build(name, small_images)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01 * torch.rand(value.shape, generator=generator))
        return encoder, encoder(images(name))


def prefixed(weights: Weights, prefix: str) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def other(weights: Weights) -> Weights:
    """Return zeros as the weights of another network."""
    return {name: torch.zeros_like(value) for name, value in weights.items()}


def two(weights: Weights, online: str, target: str) -> Weights:
    return prefixed(other(weights), target) | prefixed(weights, online)


HEAD = {"projection_head.layers.0.weight": torch.zeros(4, 16), "fc.weight": torch.zeros(10, 16)}
LAYOUTS = {
    "plain": lambda w: w,
    "training loop": lambda w: {"model": w, "epoch": 3, "args": Namespace(lr=0.1)},
    "with a classifier": lambda w: w | {"fc.weight": torch.ones(3, 8), "head.bias": torch.ones(3)},
    "this package": lambda w: {"learner": two(w, "encoder.", "target.0.") | HEAD, "step": 7},
    "byol-pytorch": lambda w: two(w, "online_encoder.net.", "target_encoder.net."),
    "imbue": lambda w: {"state_dict": two(w, "model.", "lagging_model.") | HEAD},
    "solo-learn": lambda w: {"state_dict": two(w, "backbone.", "momentum_backbone."), "epoch": 3},
    "moco": lambda w: {
        "epoch": 200,
        "state_dict": two(w, "module.encoder_q.", "module.encoder_k.")
        | {"module.queue": torch.zeros(4, 4)},
    },
    "dino": lambda w: {
        "teacher": prefixed(other(w), "module.backbone."),
        "student": prefixed(w, "module.backbone."),
    },
    "vissl": lambda w: {
        "phase_idx": 3,
        "classy_state_dict": {"base_model": {"model": {
            "trunk": prefixed(w, "_feature_blocks."), "heads": {"0.clf.0.weight": torch.ones(2)},
        }}},
    },
    "lightning": lambda w: {
        "state_dict": prefixed(w, "model.net."),
        "hyper_parameters": {"folder": Path("/data"), "lr": 1},
        "callbacks": {"best": torch.tensor(1.0)},
    },
    "data parallel": lambda w: {"state_dict": prefixed(w, "module."), "best": np.float64(0.5)},
    "compiled": lambda w: {"model": prefixed(w, "module._orig_mod.")},
    "compiled block by block": lambda w: {
        "model": {name.replace(".", "._orig_mod.", 1): value for name, value in w.items()}
    },
    "checkpointed": lambda w: prefixed(
        {name.replace(".", "._checkpoint_wrapped_module."): v for name, v in w.items()}, "net."
    ),
    "DDP, part by part": lambda w: prefixed(
        {name.replace(".", ".module.", 1): value for name, value in w.items()}, "model."
    ),
}  # fmt: skip


def with_one_more_block(weights: Weights, _: str) -> Weights:
    """Add a block like the last numbered one, which the encoder does not have."""
    last = [match[1] for name in weights if (match := re.match(r"(.*?\d+)(\.|$)", name))][-1]
    more = re.sub(r"\d+$", "77", last)
    return weights | {k.replace(last, more, 1): v for k, v in weights.items() if k.startswith(last)}


# Each takes weights and one name of them, and returns damaged weights.
DAMAGES = {
    "dropped": lambda w, name: {k: v for k, v in w.items() if k != name},
    "renamed": lambda w, name: {k + "_" * (k == name): v for k, v in w.items()},
    "resized": lambda w, name: w | {name: torch.cat([w[name], w[name]])},
    "cut": lambda w, name: w | {name: w[name].flatten()[:-1]},
    "quantized": lambda w, name: w | {name: w[name].to(torch.int8)},
    "one more block": with_one_more_block,
    "without a block": lambda w, name: {
        k: v for k, v in w.items() if not k.startswith(name.rpartition(".")[0])
    },
}
