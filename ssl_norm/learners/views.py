"""Forward passes of two views, with separate or joint batch statistics."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from ssl_norm.names import unknown_name
from ssl_norm.norms.layers.domain_batch_norm import chunks_of_all_ranks

_Network = Callable[[Tensor], Tensor]
_TwoViews = tuple[Tensor, Tensor]
ViewStatistics = Literal["separate", "joint"]


def per_view(network: _Network, views: _TwoViews, view_statistics: ViewStatistics) -> _TwoViews:
    """Return the network's output for each of two views.

    The two policies differ only for norms with batch statistics.

    Args:
        network: maps (N, ...) to (N, D), row by row except for batch statistics.
        views: two tensors of one shape (N, ...).
        view_statistics: `separate`: one forward pass for each view, as published for BYOL and MoCo;
            `joint`: one pass over both views, with statistics of 2N samples, as for SimCLR.
    """
    if view_statistics not in (known := get_args(ViewStatistics)):
        raise ValueError(unknown_name("view_statistics", view_statistics, known))
    if view_statistics == "separate":
        with chunks_of_all_ranks():
            return network(views[0]), network(views[1])
    first, second = network(torch.cat(views)).chunk(2)
    return first, second
