"""Checkpoints: written whole or not at all, loadable without running code."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ssl_norm.errors import UserError
from ssl_norm.models.load import read_checkpoint

FORMAT = 1


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values to `path` atomically: a reader or a kill sees the old file or the new one."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            torch.save({"format": FORMAT, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> Mapping[str, Any]:
    """Return what `save_checkpoint` wrote, on the CPU.

    Raises:
        UserError: the file does not exist, is no checkpoint, or was written by another version of the format.
    """
    content = read_checkpoint(path)
    if content.get("format") != FORMAT:
        raise UserError(f"{path} is not an ssl_norm checkpoint of format {FORMAT}")
    return content
