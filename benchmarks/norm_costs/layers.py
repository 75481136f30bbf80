"""Seconds of forward and backward of single layers, with ratios to a reference."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .contestants import PLAIN_RBN, REFERENCE, Build
from .timing import Call, Clock, Spread, alternate, spread

RESNET18_AT_32 = ((64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4))
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
TOTAL = "sum"


@dataclass(frozen=True)
class LayerCost:
    """Cost of a layer, per shape and, under `sum`, over all shapes.

    Attributes:
        milliseconds: medians of forward plus backward.
        ratio: ratio to the reference in the same round.
        speed_up: ratio of the plain RBN to this layer in the same round, over all shapes; None if
            not measured.
    """

    milliseconds: dict[str, float]
    ratio: dict[str, Spread]
    speed_up: Spread | None


def forward_backward(build: Build, x: Tensor, dy: Tensor) -> Call:
    """Return a function that passes x forward and backward through a new layer.

    It returns the gradient of x and does not accumulate it, because a network passes it on without
    a copy, whereas the `.grad` of a leaf may be a copy.
    """
    layer = build(x.shape[1]).to(x.device).train()
    wanted = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    return lambda: torch.autograd.grad(layer(x), wanted, dy, allow_unused=True)


def measure_layers(
    builds: Mapping[str, Build],
    shapes: tuple[tuple[int, ...], ...],
    *,
    batch_size: int,
    device: torch.device,
    rounds: int,
    clock: Clock,
    title: str,
    dtype: torch.dtype = torch.float32,
) -> Iterator[tuple[str, dict[str, LayerCost]]]:
    """Yield the name of each memory format and the cost of every layer in it, by name.

    Args:
        builds: constructors by name, including the reference.
        shapes: shapes (C, H, W) of one sample.
        batch_size: number of samples N.
        device: device of inputs and output gradients.
        rounds: number of counted rounds.
        clock: function that returns the seconds of a call.
        title: text of the progress line, before the name of the format.
        dtype: dtype of inputs and output gradients; parameters stay float32.
    """
    for name, memory_format in FORMATS.items():
        calls: dict[str, dict[str, Call]] = {}
        for shape in shapes:
            size = (batch_size, *shape)
            x, dy = (
                torch.randn(size, dtype=dtype, device=device).to(memory_format=memory_format)
                for _ in range(2)
            )
            x.requires_grad_()
            calls[shape_name(shape)] = {
                layer: forward_backward(build, x, dy) for layer, build in builds.items()
            }
        seconds = alternate(calls, rounds, clock, f"{title}{name}")
        for cases in seconds.values():
            cases[TOTAL] = np.sum(list(cases.values()), axis=0)
        yield name, {layer: _cost(seconds, layer) for layer in seconds}


def _cost(seconds: Mapping[str, Mapping[str, np.ndarray]], name: str) -> LayerCost:
    """Return the cost of one contestant from its rounds."""
    own, plain = seconds[name], seconds.get(PLAIN_RBN)
    return LayerCost(
        {case: round(1000 * float(np.median(taken)), 3) for case, taken in own.items()},
        {case: spread(taken / seconds[REFERENCE][case]) for case, taken in own.items()},
        spread(plain[TOTAL] / own[TOTAL]) if plain else None,
    )


def shape_name(shape: tuple[int, ...]) -> str:
    """Return a shape such as (64, 32, 32) as `64x32x32`."""
    return "x".join(map(str, shape))
