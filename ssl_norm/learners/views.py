"""Whether two views share the batch statistics of the network that they pass through."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from ssl_norm.names import unknown_name

Network = Callable[[Tensor], Tensor]
TwoViews = tuple[Tensor, Tensor]
ViewStatistics = Literal["separate", "joint"]


def _separate(network: Network, views: TwoViews) -> TwoViews:
    return network(views[0]), network(views[1])


def _joint(network: Network, views: TwoViews) -> TwoViews:
    first, second = network(torch.cat(views)).chunk(2)
    return first, second


VIEW_STATISTICS: Mapping[str, Callable[[Network, TwoViews], TwoViews]] = MappingProxyType(
    {"separate": _separate, "joint": _joint}
)


def per_view(network: Network, views: TwoViews, view_statistics: ViewStatistics) -> TwoViews:
    """Return the network's output for each of two views.

    Norms with batch statistics tell the two policies apart; under all others they give the same.

    Args:
        network: maps (N, ...) to (N, D), row by row except for batch statistics.
        views: two tensors of one shape (N, ...).
        view_statistics: `separate`: one forward pass each, as BYOL and MoCo publish; `joint`: one
            pass over both, so that statistics are over 2N samples, as SimCLR publishes.

    Raises:
        ValueError: the policy is unknown.
    """
    return VIEW_STATISTICS[check_view_statistics(view_statistics)](network, views)


def check_view_statistics(view_statistics: ViewStatistics) -> ViewStatistics:
    """Return the policy; raise ValueError if it is unknown."""
    if view_statistics not in VIEW_STATISTICS:
        raise ValueError(unknown_name("view_statistics", view_statistics, VIEW_STATISTICS))
    return view_statistics
