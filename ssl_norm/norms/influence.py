"""Measurement of the elements of a batch that share statistics under a norm."""

from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_norm.norms.spec import NormLike, make_norm

_DRAWS = 16  # random inputs; for a single one a gate or threshold may keep an output constant
_STEP = 1e-3  # change of one element of an input whose deviation is 1
_MOVED = 1e-12
_MOST_GROUPS = 512


class Influence(NamedTuple):
    """Outputs (N, C, P) that change with inputs, under one norm in one mode.

    There are no groups if two inputs change sets of outputs that overlap but differ, as under
    `switch`.
    """

    moved: NDArray[np.bool_]  # whether they change with the first input
    groups: NDArray[np.int64] | None  # group of each element, 0 for that of the first input

    def sentence(self) -> str:
        """Return the extent of `moved`, as samples x channels x positions."""
        sides = [np.any(self.moved, axis=others) for others in ((1, 2), (0, 2), (0, 1))]
        box = np.einsum("n,c,p->ncp", *sides)
        if not np.array_equal(box, self.moved):
            return f"{self.moved.sum()} of {self.moved.size} elements, which are not a box"
        names = ("sample", "channel", "position")
        return " x ".join(_count(side, name) for side, name in zip(sides, names, strict=True))


def measure_influence(
    norm: NormLike,
    *,
    samples: int = 8,
    channels: int = 8,
    side: int = 2,
    training: bool = True,
    seed: int = 0,
) -> Influence:
    """Measure which outputs of a norm change with which inputs.

    One element of random images is changed at a time, in float64, with random parameters and after
    one training batch, so that gates, thresholds and population statistics are in effect. Outputs
    that change share statistics with the input: figure 1 of Wu & He, "Group Normalization",
    arXiv 1803.08494, measured instead of drawn.

    The norm is one of :func:`ssl_norm.norms.make_norm`, in training or evaluation mode.
    """
    random = torch.Generator().manual_seed(seed)
    layer = make_norm(norm, channels).double()
    inputs = [
        torch.randn(samples, channels, side, side, generator=random, dtype=torch.float64)
        for _ in range(_DRAWS)
    ]
    with torch.no_grad():
        layer.train()(inputs[0])
        for parameter in layer.parameters():
            noise = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
            parameter.add_(noise, alpha=0.1)
        layer.train(training)
        before = [deepcopy(layer)(x) for x in inputs]
        first = _moved(layer, inputs, before, 0)
        groups = _groups(layer, inputs, before, first)
    shape = (samples, channels, side * side)
    return Influence(
        first.reshape(shape).numpy(), None if groups is None else groups.reshape(shape).numpy()
    )


def _moved(layer: nn.Module, inputs: list[Tensor], before: list[Tensor], index: int) -> Tensor:
    """Return the outputs, (N C P,) bool, that change with element `index` of any of the inputs."""
    moved = torch.zeros(inputs[0].numel(), dtype=torch.bool)
    for x, y in zip(inputs, before, strict=True):
        other = x.clone()
        other.view(-1)[index] += _STEP
        moved |= ((deepcopy(layer)(other) - y).abs() > _MOVED).reshape(-1)
    moved[index] = True
    return moved


def _groups(
    layer: nn.Module, inputs: list[Tensor], before: list[Tensor], first: Tensor
) -> Tensor | None:
    """Return the number of each element's group, (N C P,); None if sets overlap."""
    groups = torch.where(first, 0, -1)
    for group in range(1, _MOST_GROUPS + 1):
        if not (groups < 0).any():
            return groups
        moved = _moved(layer, inputs, before, int((groups < 0).nonzero()[0]))
        if (groups[moved] >= 0).any():
            return None
        groups[moved] = group
    # The remaining elements are drawn as one group.
    return torch.where(groups < 0, _MOST_GROUPS + 1, groups)


def _count(side: Any, name: str) -> str:
    plural = name if len(side) == 1 else f"{name}s"
    return f"all {len(side)} {plural}" if side.all() else f"{side.sum()} of {len(side)} {plural}"
