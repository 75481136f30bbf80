"""Accuracies under population, exact and batch statistics."""

import pytest
import torch
from torch import nn

from ssl_norm.evaluate.population import compare_statistics
from ssl_norm.norms.batch.precise_bn import recompute_statistics


def test_each_kind_of_statistics_is_used_and_only_batches_are_random():
    generator = torch.Generator().manual_seed(0)
    network, data = nn.BatchNorm1d(1), torch.randn(64, 1, generator=generator)
    data = 5 + 2 * (data - data.mean()) / data.std(correction=0)
    calls = []

    def evaluate(network, *, random_batches=False):
        calls.append((network.eval()(data + 1).mean().item(), random_batches))

    compare_statistics(network, evaluate, lambda: (recompute_statistics(network, [data]), 64))
    means, are_random = zip(*calls, strict=True)
    # Of the data the mean is 5 and the deviation 2 (64 / 63 of the variance in the population).
    assert means == pytest.approx((6, 0.5, 0), abs=5e-3)
    assert are_random == (False, False, True)
