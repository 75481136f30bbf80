"""One set of population statistics for all domains of a network that has one for each."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ssl_norm.norms.batch.kept_statistics import kept_statistics
from ssl_norm.norms.layers.domain_batch_norm import DomainBatchNorm


@contextmanager
def pooled_over_domains(model: nn.Module) -> Iterator[None]:
    """Let every domain be evaluated with the statistics of the mixture of all domains.

    What :func:`pool_domains` makes of a layer's statistics stands in the place of each domain's. The
    statistics that go in were collected while every domain was normalized by its own, in this layer and in
    those before it; so these are the "domain for training, shared for population" rows of the source, which
    shows that the two must have the same policy: the images are not normalized as those that were trained on.

    Args:
        model: holds the `domain` layers; as before afterwards. Layers with `shared_statistics` have
            those of the mixture anyway.

    Raises:
        ValueError: no `domain` layer has statistics of each domain.

    Source: Wu & Johnson, "Rethinking Batch in BatchNorm", arXiv 2105.07576, table 5, rows 3 and 5.

    Example:
        >>> model = nn.Sequential(DomainBatchNorm(1, domains=2))
        >>> model[0].running_mean[1] = 2
        >>> with pooled_over_domains(model):
        ...     print(model[0].running_mean.tolist(), model[0].running_var.tolist())
        [[1.0], [1.0]] [[2.0], [2.0]]
    """
    layers = domain_layers(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no domain norm with statistics to pool")
    with kept_statistics(model):
        for layer in layers:
            mean, variance = pool_domains(layer.running_mean, layer.running_var)
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
        yield


def domain_layers(model: nn.Module) -> list[DomainBatchNorm]:
    """Return the layers of a model that have statistics of each domain."""
    return [
        layer
        for layer in model.modules()
        if isinstance(layer, DomainBatchNorm) and not layer.shared_statistics
    ]


def pool_domains(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and variance of a mixture of D domains in equal parts.

        mean = mean_d(mean_d),  variance = mean_d(variance_d + mean_d^2) - mean^2

    computed in float64 as mean_d(variance_d + (mean_d - mean)^2), which no large mean spoils.

    Args:
        mean: (D, C).
        variance: (D, C).

    Returns:
        (C,) each, in float64; in float32 on devices without it.
    """
    dtype = torch.float32 if mean.device.type == "mps" else torch.float64
    mean, variance = mean.to(dtype), variance.to(dtype)
    pooled = mean.mean(0)
    return pooled, (variance + (mean - pooled).square()).mean(0)
