"""A damaged or foreign checkpoint is refused in one line, or gives the features that were saved.

An encoder is loaded in full, so no tensor keeps its random initial value; conversions are reported;
and of two networks in a file, the requested one is read and named.
"""

import contextlib
import io
import re
from argparse import Namespace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import ssl_norm
from ssl_norm.errors import UserError
from ssl_norm.models.encoders import build_encoder
from tests.campaigns.campaign import Broken, Chance
from tests.evaluate.runs import save_run

TRIALS = 100
SAMPLE = 2
ENCODERS = {
    "tiny16": 16,
    "resnet10t": 32,
    "mobilenetv3_small_050": 32,
    "convnext_atto": 32,
    "vit_tiny_patch16_224": 32,
    "torchvision/resnet18": 32,
    "torchvision/mobilenet_v3_small": 32,
}
Weights = dict[str, Tensor]


@cache
def saved_network(name: str, small_images: bool) -> tuple[nn.Module, Tensor]:
    """Return an encoder without initial values, and its features of two images."""
    side = ENCODERS[name]
    encoder = build_encoder(name, small_images=small_images, image_size=side).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in encoder.state_dict().values():
            if value.is_floating_point():
                value.add_(0.01 * torch.rand(value.shape, generator=generator))
        return encoder, encoder(images(side))


def images(side: int) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))


def _prefix(weights: Weights, prefix: str) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


def _other(weights: Weights) -> Weights:
    return {name: value * 0 for name, value in weights.items()}


LAYOUTS = {
    "plain": lambda w: w,
    "training loop": lambda w: {"model": w, "epoch": 3, "args": Namespace(lr=0.1)},
    "data parallel": lambda w: {"state_dict": _prefix(w, "module."), "best_acc": np.float64(0.5)},
    "moco": lambda w: {
        "state_dict": _prefix(w, "module.encoder_q.") | _prefix(_other(w), "module.encoder_k.")
    },
    "dino": lambda w: {
        "teacher": _prefix(_other(w), "module.backbone."),
        "student": _prefix(w, "module.backbone."),
    },
    "lightly byol": lambda w: {
        "state_dict": _prefix(_other(w), "backbone_momentum.")
        | _prefix(w, "backbone.")
        | {"projection_head.layers.0.weight": torch.ones(4, 8)},
        "hyper_parameters": {"folder": Path("/data")},
        "callbacks": {"best": torch.tensor(1.0)},
    },
    "compiled block by block": lambda w: {
        "model": {name.replace(".", "._orig_mod.", 1): value for name, value in w.items()}
    },
    "checkpointed": lambda w: _prefix(
        {name.replace(".", "._checkpoint_wrapped_module."): v for name, v in w.items()}, "net."
    ),
    "with a classifier": lambda w: w | {"fc.weight": torch.ones(3, 8), "head.bias": torch.ones(3)},
}


def _numbered(state: Weights) -> Weights:
    """Return the weights with one more block like the last numbered one."""
    found = [match[1] for name in state if (match := re.match(r"(.*?\d+)\.", name))][-1]
    more = re.sub(r"\d+$", "77", found)
    return state | {n.replace(found, more, 1): v for n, v in state.items() if n.startswith(found)}


# Each takes weights and one name of them, and returns damaged weights.
HARMFUL = {
    "dropped": lambda w, name: {k: v for k, v in w.items() if k != name},
    "renamed": lambda w, name: {k + "_" * (k == name): v for k, v in w.items()},
    "resized": lambda w, name: w | {name: torch.cat([w[name], w[name]])},
    "cut": lambda w, name: w | {name: w[name].flatten()[:-1]},
    "quantized": lambda w, name: w | {name: w[name].to(torch.int8)},
    "one more block": lambda w, name: _numbered(w),
    "without a block": lambda w, name: {
        k: v for k, v in w.items() if not k.startswith(name.rpartition(".")[0])
    },
}
HARMLESS = {
    "whole": lambda w, name: w,
    "half precision": lambda w, name: {
        k: v.half() if v.is_floating_point() else v for k, v in w.items()
    },
    "reordered": lambda w, name: dict(sorted(w.items())),
    "without counters": lambda w, name: {
        k: v for k, v in w.items() if not k.endswith("num_batches_tracked")
    },
}


def trial(chance: Chance, folder: Path) -> None:
    name = chance.choice(list(ENCODERS))
    small_images = chance.choice([True, False]) if "resnet" in name else False
    encoder, features = saved_network(name, small_images)
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    target = chance.choice([k for k, v in state.items() if v.is_floating_point() and v.ndim])
    damage = chance.choice([*HARMFUL, *HARMLESS])
    damaged = {**HARMFUL, **HARMLESS}[damage](state, target)
    layout = chance.choice(list(LAYOUTS))
    path = folder / chance.choice(["file.pt", "file.ckpt", "file.pth.tar"])
    if name == "tiny16" and chance.random() < 0.5:
        layout = "run"
        path = _own_run(folder, damaged)
    elif layout == "plain" and chance.random() < 0.5:
        path = folder / "file.safetensors"
        save_file({key: value.contiguous() for key, value in damaged.items()}, path)
    else:
        torch.save(LAYOUTS[layout](damaged), path)
    cut = chance.random() < 0.1
    if cut:
        path.write_bytes(path.read_bytes()[: chance.randrange(1, path.stat().st_size)])
    chance.what = f"{name} small_images={small_images} {layout} {damage} {target} cut={cut}"
    harmless = damage in HARMLESS and not cut
    settings = {} if layout == "run" else {
        "encoder": {"name": name, "small_images": small_images or None},
        "data": {"name": "digits", "image_size": ENCODERS[name]},
    }  # fmt: skip
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        try:
            found, _ = ssl_norm.load_encoder(path, **settings)
        except UserError as error:
            if "\n" in str(error):
                raise Broken("traceback", str(error)) from error
            if harmless:
                raise Broken("lost", str(error)) from error
            return
    if not harmless:
        raise Broken("silent", printed.getvalue())
    with torch.no_grad():
        difference = (found(images(ENCODERS[name])) - features).abs().max().item()
    exact = damage != "half precision"
    if difference > (0 if exact else 0.05 * features.abs().max().item()):
        raise Broken("different", f"features differ by {difference:.3g}")


def _own_run(folder: Path, weights: Weights) -> Path:
    """Return the checkpoint of a run of this package with these weights in its encoder."""
    path = save_run(folder / "run", folder) / "last.pt"
    contents = torch.load(path, weights_only=True)
    others = {k: v for k, v in contents["learner"].items() if not k.startswith("encoder.")}
    contents["learner"] = others | _prefix(weights, "encoder.")
    torch.save(contents, path)
    return path
