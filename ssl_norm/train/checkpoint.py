"""Checkpoint files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ssl_norm.errors import UserError
from ssl_norm.files import replaced
from ssl_norm.models.load import read_checkpoint

FORMAT = 1


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values atomically: a kill leaves the old file or the new one."""
    with replaced(path) as file:
        torch.save({"format": FORMAT, **content}, file)


def load_checkpoint(path: Path) -> Mapping[str, Any]:
    """Return the content of a checkpoint, on the CPU, without running code from it.

    Raises:
        UserError: the file does not exist, is no checkpoint, or has another format.
    """
    content = read_checkpoint(path)
    if content.get("format") != FORMAT:
        raise UserError(f"{path} is not an ssl_norm checkpoint of format {FORMAT}")
    return content
