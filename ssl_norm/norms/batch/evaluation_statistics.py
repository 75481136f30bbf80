"""Context managers that change the statistics of evaluation."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm, pool
from ssl_norm.norms.batch.freezing import FrozenStatistics
from ssl_norm.norms.kernels.tables import widest_dtype
from ssl_norm.norms.layers.domain_batch_norm import DomainBatchNorm
from ssl_norm.norms.layers.whitening import WhiteningNorm


@contextmanager
def kept_statistics(model: nn.Module) -> Iterator[None]:
    """Restore the values of all buffers of a model on exit."""
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, values in before:
                buffer.copy_(values)


@contextmanager
def batch_statistics_at_evaluation(model: nn.Module) -> Iterator[None]:
    """Let batch norms normalize with the statistics of the batch in evaluation mode.

    Everything else stays in evaluation mode, and no running statistics change. The features of a
    sample then depend on the other samples of its batch, so batches should be random, not sorted by
    class, and not small.

    The model is restored on exit. Frozen layers keep their statistics. Do not move the model to
    another device inside: the statistics of torch's layers are set aside.

    Source: Wu & Johnson, "Rethinking Batch in BatchNorm", arXiv 2105.07576, section 4.

    Example:
        >>> model = nn.BatchNorm1d(2).eval()
        >>> with batch_statistics_at_evaluation(model):
        ...     y = model(5 + torch.randn(8, 2))
        >>> bool(y.mean(0).abs().max() < 1e-5), model.running_mean.tolist()
        (True, [0.0, 0.0])
    """
    thawed = [layer for layer in model.modules() if not isinstance(layer, FrozenStatistics)]
    tables = [layer._buffers for layer in thawed if isinstance(layer, _BatchNorm)]
    before = [(table, dict(table)) for table in tables]
    with _evaluating(thawed, "batch"):
        try:
            for table in tables:  # torch's layers then normalize with the statistics of the batch
                table.update(running_mean=None, running_var=None)
            yield
        finally:
            for table, buffers in before:
                table.update(buffers)


def population_statistics_at_evaluation(model: nn.Module) -> AbstractContextManager[None]:
    """Let all batch norms use their running statistics, also those with `evaluation: batch`.

    Layers of torch without running statistics are unchanged. The model is restored on exit.
    """
    return _evaluating(model.modules(), "population")


@contextmanager
def _evaluating(layers: Iterable[nn.Module], statistics: str) -> Iterator[None]:
    norms = [layer for layer in layers if isinstance(layer, BatchStatisticsNorm | WhiteningNorm)]
    before = [norm.evaluation for norm in norms]
    try:
        for norm in norms:
            norm.evaluation = statistics
        yield
    finally:
        for norm, evaluation in zip(norms, before, strict=True):
            norm.evaluation = evaluation


@contextmanager
def pooled_over_domains(model: nn.Module) -> Iterator[None]:
    """Evaluate every domain with the statistics of the mixture of all domains, in equal parts.

        mean = mean_d(mean_d),  variance = mean_d(variance_d + (mean_d - mean)^2)

    This is the policy "domain for training, shared for population" of the source, which shows that
    training and evaluation must have the same one. The model is restored on exit.

    Raises:
        ValueError: no `domain` layer has statistics of each domain.

    Source: Wu & Johnson, "Rethinking Batch in BatchNorm", arXiv 2105.07576, table 5, rows 3 and 5.
    """
    layers = domain_layers(model)
    if not layers:
        raise ValueError(f"{type(model).__name__} has no domain norm with statistics to pool")
    with kept_statistics(model):
        for layer in layers:
            tables = layer.running_mean, layer.running_var
            mixture = pool(*(table.to(widest_dtype(table)) for table in tables))
            for table, pooled in zip(tables, mixture, strict=True):
                table.copy_(pooled)
        yield


def domain_layers(model: nn.Module) -> list[DomainBatchNorm]:
    """Return the layers of a model that have statistics of each domain."""
    domain = (layer for layer in model.modules() if isinstance(layer, DomainBatchNorm))
    return [layer for layer in domain if not layer.shared_statistics]
