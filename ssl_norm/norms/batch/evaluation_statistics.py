"""Which statistics normalize in evaluation, whatever the `evaluation` of the norms says."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssl_norm.norms.batch.batch_statistics import BatchStatisticsNorm
from ssl_norm.norms.batch.freezing import FrozenStatistics
from ssl_norm.norms.layers.whitening import WhiteningNorm


@contextmanager
def batch_statistics_at_evaluation(model: nn.Module) -> Iterator[None]:
    """Let batch norms normalize with the statistics of the batch in evaluation mode, too.

    All else is in evaluation mode still, and no statistics move. The features of a sample then
    depend on the others of its batch: batches should be random samples, not sorted by class, and
    not small.

    Args:
        model: as before afterwards. Frozen layers keep to their statistics. Do not move it to
            another device inside: the statistics of torch's layers are set aside.

    Source: Wu & Johnson, "Rethinking Batch in BatchNorm", arXiv 2105.07576, section 4.

    Example:
        >>> import torch
        >>> model = nn.BatchNorm1d(2).eval()
        >>> with batch_statistics_at_evaluation(model):
        ...     y = model(5 + torch.randn(8, 2))
        >>> bool(y.mean(0).abs().max() < 1e-5), model.running_mean.tolist()
        (True, [0.0, 0.0])
    """
    with ExitStack() as stack:
        for layer in model.modules():
            if isinstance(layer, FrozenStatistics):
                continue
            if isinstance(layer, BatchStatisticsNorm | WhiteningNorm):
                stack.enter_context(_evaluating(layer, "batch"))
            elif isinstance(layer, _BatchNorm):
                stack.enter_context(_without_statistics(layer))
        yield


@contextmanager
def population_statistics_at_evaluation(model: nn.Module) -> Iterator[None]:
    """Let batch norms normalize with their running statistics in evaluation mode, also those of `evaluation: batch`.

    Layers of torch that keep no statistics have none to go by, and stay as they are.

    Args:
        model: as before afterwards.

    Example:
        >>> import torch
        >>> from ssl_norm.norms import make_norm
        >>> model = make_norm({"name": "bn", "evaluation": "batch"}, 2).eval()
        >>> x = 5 + torch.randn(8, 2)
        >>> with population_statistics_at_evaluation(model):
        ...     y = model(x)
        >>> torch.allclose(y, x, rtol=1e-4), model.evaluation
        (True, 'batch')
    """
    with ExitStack() as stack:
        for layer in model.modules():
            if isinstance(layer, BatchStatisticsNorm | WhiteningNorm):
                stack.enter_context(_evaluating(layer, "population"))
        yield


@contextmanager
def _evaluating(layer: BatchStatisticsNorm | WhiteningNorm, statistics: str) -> Iterator[None]:
    before = layer.evaluation
    layer.evaluation = statistics
    try:
        yield
    finally:
        layer.evaluation = before


@contextmanager
def _without_statistics(layer: _BatchNorm) -> Iterator[None]:
    """Take the running statistics away: torch's layers then normalize with the batch's."""
    names = ("running_mean", "running_var")
    buffers = {name: layer._buffers[name] for name in names}
    try:
        layer._buffers.update(dict.fromkeys(names))
        yield
    finally:
        layer._buffers.update(buffers)
