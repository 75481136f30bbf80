"""Tensors of a file in the shapes of an encoder: positions of another size, grey images."""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_norm.models.encoders import first_convolution

POSITIONS = ("pos_embed", "pos_embedding", "position_embeddings", "relative_position_bias_table")
MOST_TOKENS = 8  # before the positions: class token, registers


def converted(
    name: str, value: Tensor, wanted: Tensor, encoder: nn.Module
) -> tuple[Tensor, str] | None:
    """Return a tensor of a file in the shape that the encoder wants, and a sentence on it.

    Position embeddings on a square grid are resized by bicubic interpolation, their tokens kept.
    The weights of a first convolution for grey images are spread over three colours, so that it
    sees their mean. None: there is no such conversion.
    """
    if name.rpartition(".")[2] in POSITIONS:
        return _resized(name, value, wanted)
    is_first = name == f"{first_convolution(encoder)[0]}.weight"
    grey = (wanted.shape[0], 1, *wanted.shape[2:])
    if is_first and wanted.shape[1] == 3 and value.shape == grey:
        return value.expand(wanted.shape) / 3, f"{name} from grey images to the mean of colours"
    return None


def _resized(name: str, value: Tensor, wanted: Tensor) -> tuple[Tensor, str] | None:
    """Return positions (1, N, C) or (N, C) on another grid; None where either is no square."""
    if value.ndim != wanted.ndim or not 2 <= value.ndim <= 3:
        return None
    if (value.shape[:-2], value.shape[-1]) != (wanted.shape[:-2], wanted.shape[-1]):
        return None
    counts = value.shape[-2], wanted.shape[-2]
    grids = {
        tokens: [isqrt(count - tokens) for count in counts]
        for tokens in range(min(MOST_TOKENS, *counts))
        if all(isqrt(count - tokens) ** 2 == count - tokens for count in counts)
    }
    if len(grids) != 1:
        return None
    ((tokens, (side, new_side)),) = grids.items()
    rows = value.reshape(-1, value.shape[-1]).float()
    grid = rows[tokens:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, (new_side, new_side), mode="bicubic", antialias=True)
    resized = grid[0].flatten(1).T
    sentence = f"{name} from {side}x{side} to {new_side}x{new_side} positions"
    return torch.cat([rows[:tokens], resized]).view(wanted.shape), sentence
