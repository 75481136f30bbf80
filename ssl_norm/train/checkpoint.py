"""Checkpoint files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ssl_norm.errors import NonFiniteLoss, UserError
from ssl_norm.files import replaced
from ssl_norm.models.load import read_checkpoint
from ssl_norm.train.step_log import first_non_finite, floating_tensors

FORMAT = 1


def save_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and plain values, either completely or not at all.

    Raises:
        NonFiniteLoss: a tensor holds NaN or infinities; the file does not change.
        UserError: the file cannot be written.
    """
    if found := first_non_finite(dict(floating_tensors(content))):
        name, value = found
        raise NonFiniteLoss(f"{name} became {value}; {path} is not written")
    with replaced(path) as file:
        torch.save({"format": FORMAT, **content}, file)


def load_checkpoint(path: Path) -> Mapping[str, Any]:
    """Return the content of a checkpoint, on the CPU, without running code from it.

    Raises:
        UserError: the file does not exist, is not a checkpoint, or has another format.
    """
    content = read_checkpoint(path)
    if content.get("format") != FORMAT:
        raise UserError(f"{path} is not an ssl_norm checkpoint of format {FORMAT}")
    return content
