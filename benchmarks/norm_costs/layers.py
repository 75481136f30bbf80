"""Seconds of forward and backward of single layers, beside those of a reference."""

from collections.abc import Mapping
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
    """What a layer takes, per shape and, under `sum`, over all shapes.

    Attributes:
        milliseconds: medians of forward and backward.
        ratio: to the reference in the same round.
        speed_up: over the plain RBN in the same round, over all shapes; None where it is not measured.
    """

    milliseconds: dict[str, float]
    ratio: dict[str, Spread]
    speed_up: Spread | None


def forward_backward(build: Build, x: Tensor, dy: Tensor) -> Call:
    """Return a call that passes x through a new layer and back.

    The gradient of x is handed out, not accumulated: in a network, the layer before takes it as it is,
    whereas the `.grad` of a leaf may be a copy.
    """
    layer = build(x.shape[1]).to(x.device).train()
    wanted = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    return lambda: torch.autograd.grad(layer(x), wanted, dy, allow_unused=True)


def measure_layers(
    builds: Mapping[str, Build],
    shapes: tuple[tuple[int, ...], ...],
    *,
    batch_size: int,
    memory_format: torch.memory_format,
    dtype: torch.dtype,
    device: torch.device,
    rounds: int,
    clock: Clock,
    title: str,
) -> dict[str, LayerCost]:
    """Return the cost of every layer, by name.

    Args:
        builds: constructors by name, the reference among them.
        shapes: of one sample, (C, H, W).
        batch_size: samples N.
        memory_format: of the inputs and of the gradients that come back.
        dtype: of both; parameters stay float32.
        device: of both.
        rounds: how many are counted.
        clock: measures a call.
        title: what the line of progress says.
    """
    calls: dict[str, dict[str, Call]] = {}
    for shape in shapes:
        x, dy = (
            torch.randn(batch_size, *shape, dtype=dtype, device=device).to(
                memory_format=memory_format
            )
            for _ in range(2)
        )
        x.requires_grad_()
        calls[shape_name(shape)] = {
            name: forward_backward(build, x, dy) for name, build in builds.items()
        }
    seconds = alternate(calls, rounds, clock, title)
    for cases in seconds.values():
        cases[TOTAL] = np.sum(list(cases.values()), axis=0)
    return {name: _cost(seconds, name) for name in seconds}


def _cost(seconds: Mapping[str, Mapping[str, np.ndarray]], name: str) -> LayerCost:
    """Return what one contestant's rounds come to."""
    own, plain = seconds[name], seconds.get(PLAIN_RBN)
    return LayerCost(
        {case: round(1000 * float(np.median(taken)), 3) for case, taken in own.items()},
        {case: spread(taken / seconds[REFERENCE][case]) for case, taken in own.items()},
        spread(plain[TOTAL] / own[TOTAL]) if plain else None,
    )


def shape_name(shape: tuple[int, ...]) -> str:
    """Return (64, 32, 32) as `64x32x32`."""
    return "x".join(map(str, shape))
