"""What a tool is given as a checkpoint: the file, its configuration, its encoder untrained, and where results go."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.evaluate.features import evaluation_mode
from ssl_norm.evaluate.subject import Subject
from ssl_norm.train.builder import make_encoder
from ssl_norm.train.checkpoint import FORMAT

FOREIGN_MATCH = 0.9  # of an encoder's tensors; a file of ours must hold them all


def find_checkpoint(given: str) -> Path:
    """Return the file that `checkpoint=` names: itself, or last.pt of a run folder."""
    path = Path(given).expanduser()
    if path.is_dir():
        if not (path / "last.pt").is_file():
            raise UserError(f"checkpoint={path}: a folder without last.pt; name a run or a file")
        return path / "last.pt"
    if not path.is_file():
        raise UserError(f"checkpoint={path}: there is no such file or run folder")
    return path


def find_output(given: str | None, checkpoint: Path, name: str) -> Path:
    """Return where the result goes, by default under `name` beside the checkpoint; its folder exists."""
    path = checkpoint.parent if given is None else Path(given).expanduser()
    if path.is_dir():
        path = path / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output={path}: cannot make {path.parent}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path.parent} cannot be written to; name another place with output=...")
    return path


def saved_config(contents: Mapping[str, Any], path: Path) -> Mapping[str, Any] | None:
    """Return the configuration in a checkpoint of this package; None in any other file."""
    if not {"format", "config", "learner"} <= contents.keys():
        return None
    if contents["format"] != FORMAT:
        raise UserError(f"{path} has format {contents['format']}; this version reads {FORMAT}")
    saved: Mapping[str, Any] = contents["config"]
    return saved


def untrained_encoder(subject: Subject) -> nn.Module:
    """Return the encoder at the random initialisation that its run began with.

    Raises:
        UserError: it cannot be built, or was built for another image size than it is to see.
    """
    encoder, _ = make_encoder(subject.encoder, subject.norm, subject.trained_size, subject.seed)
    size = subject.data.view_size
    if size != subject.trained_size:
        try:
            with evaluation_mode(encoder), torch.no_grad():
                encoder(torch.zeros(1, 3, size, size))
        except (RuntimeError, ValueError, AssertionError) as error:
            raise UserError(
                f"encoder '{subject.encoder.name}' trained on {subject.trained_size} px does not "
                f"take {size} px; set data.image_size={subject.trained_size}"
            ) from error
    return encoder
