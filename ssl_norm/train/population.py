"""Exact population statistics of a network over images."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ssl_norm.console import say, track
from ssl_norm.data.batches.image_batches import Batches
from ssl_norm.data.dataset import ImageSet
from ssl_norm.distributed import rank, world_size
from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm
from ssl_norm.norms.batch.freezing import FrozenStatistics
from ssl_norm.norms.batch.precise_bn import PopulationReport, recompute_statistics
from ssl_norm.train.builder import naming

MakeViews = Callable[[Tensor, torch.Generator], tuple[Tensor, ...]]


def recompute_over_images(
    network: nn.Module,
    make_views: MakeViews,
    images: ImageSet,
    *,
    samples: int,
    batch_size: int,
    seed: int,
    each_once: bool = False,
) -> tuple[PopulationReport, int]:
    """Recompute the statistics of a network's batch norms; see :func:`recompute_statistics`.

    `make_views` turns uint8 images (N, 3, H, W) and a generator into the network's inputs. Images
    are drawn in random order, each once per epoch: `samples` of them, rounded down to whole batches
    over all ranks. With `each_once`, stop after the last whole batch of the first epoch.

    Returns:
        The shift of each layer, and the number of images.
    """
    torch.manual_seed(seed)  # MoCo shuffles
    generator = torch.Generator().manual_seed(seed)
    size, device = min(batch_size, samples, len(images)), next(network.parameters()).device
    share: dict[str, Any] = {"rank": rank(), "world_size": world_size()}
    batches = Batches(images, batch_size=size, seed=seed, device=device, **share)
    steps = samples // size
    if each_once:
        steps = min(steps, batches.steps_per_epoch)
    total, drawn = steps * size, batches.iterate(0, steps)
    bar = track(drawn, "statistics", total=total, step=size, enabled=rank() == 0)
    report = recompute_statistics(network, bar, lambda x: network(*make_views(x, generator)))
    return report, total


def make_statistics_exact(
    network: nn.Module, make_views: MakeViews, images: ImageSet, **options: Any
) -> bool:
    """Replace running statistics by exact ones if a norm has `population=exact` and is not frozen.

    Arguments are those of :func:`recompute_over_images`. Return whether statistics were replaced.

    Raises:
        UserError: the statistics cannot be recomputed.
    """
    if not any(
        isinstance(layer, BatchStatisticsNorm)
        and layer.population == "exact"
        and not isinstance(layer, FrozenStatistics)
        for layer in network.modules()
    ):
        return False
    with naming("norm"):
        report, seen = recompute_over_images(network, make_views, images, **options)
    if rank() == 0:
        say(f"exact population statistics of {seen} images: {report}")
    return True
