"""Folders of images and run folders, for tests of the tools that read checkpoints."""

from pathlib import Path

import torch
from PIL import Image

from ssl_norm.settings.models import validate
from ssl_norm.train.builder import encoder_record, initial_encoder, make_learner
from ssl_norm.train.checkpoint import save_checkpoint

HEAD = {"hidden_dim": 8, "output_dim": 4}
BYOL = {"name": "byol", "projector": HEAD, "predictor": HEAD}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def write_images(folder, images):
    """Write images, in folders of their classes if they have labels."""
    for index in range(len(images)):
        name = "" if images.labels is None else images.classes[int(images.labels[index])]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.pixels[index].numpy()).save(folder / name / f"{index:03d}.png")
    return folder


def source(root: Path) -> dict[str, object]:
    """Return the settings of a folder of images."""
    cache = str(root.parent / "cache")
    return {
        "name": "folder", "root": str(root), "image_size": 16, "cache_dir": cache, "workers": 0,
    }  # fmt: skip


def save_run(folder, root, change=lambda learner: None, **settings):
    """Write last.pt as pretraining leaves it, after `change(learner)`, and return the folder."""
    defaults = {"method": BYOL, "data": source(root), "encoder": {"name": "tiny16"}}
    config = validate("pretrain", defaults | settings)
    learner = make_learner(config, initial_encoder(config)[0])
    change(learner)
    folder.mkdir()
    content = {"step": 7, "optimizer": {}, "monitor": {}, "learner": learner.state_dict()}
    content["config"] = config.model_dump(mode="json")
    content["encoder_record"] = encoder_record(config, learner.encoder)
    save_checkpoint(folder / "last.pt", content)
    return folder


def changed_tensors(before, after):
    """Return the names of the tensors of a learner or classifier that differ."""
    pairs = ((name, value, before["learner"][name]) for name, value in after["learner"].items())
    return {name for name, new, old in pairs if not torch.equal(new, old)}
