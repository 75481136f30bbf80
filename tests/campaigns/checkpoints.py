"""A damaged or foreign checkpoint is refused in one line, or gives the features that were saved.

An encoder is loaded in full, so no tensor keeps its random initial value; conversions are reported;
and of two networks in a file, the requested one is read and named.
"""

import contextlib
import io
from pathlib import Path

import torch
from safetensors.torch import save_file

import ssl_norm
from ssl_norm.errors import UserError
from tests.campaigns.campaign import Broken, Chance
from tests.evaluate.runs import save_run
from tests.models.files import DAMAGES, ENCODERS, LAYOUTS, Weights, images, prefixed, trained

TRIALS, SAMPLE = 100, 2
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
    encoder, features = trained(name, small_images)
    state = {key: value.clone() for key, value in encoder.state_dict().items()}
    target = chance.choice([k for k, v in state.items() if v.is_floating_point() and v.ndim])
    damage = chance.choice([*DAMAGES, *HARMLESS])
    damaged = {**DAMAGES, **HARMLESS}[damage](state, target)
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
        difference = (found(images(name)) - features).abs().max().item()
    exact = damage != "half precision"
    if difference > (0 if exact else 0.05 * features.abs().max().item()):
        raise Broken("different", f"features differ by {difference:.3g}")


def _own_run(folder: Path, weights: Weights) -> Path:
    """Return the checkpoint of a run of this package with these weights in its encoder."""
    path = save_run(folder / "run", folder) / "last.pt"
    contents = torch.load(path, weights_only=True)
    others = {k: v for k, v in contents["learner"].items() if not k.startswith("encoder.")}
    contents["learner"] = others | prefixed(weights, "encoder.")
    torch.save(contents, path)
    return path
