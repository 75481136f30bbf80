"""Statistics of several batches (N_i, C, S_i): pooled, averaged, or moved batch by batch."""

from math import fsum

import numpy as np

from tests.reference.norms import channel_statistics, running_statistics


def joined(batches):
    """All positions of batches (N_i, C, S_i) as one array (sum of N_i * S_i, C, 1)."""
    positions = [x[n, :, s] for x in batches for n in range(x.shape[0]) for s in range(x.shape[2])]
    return np.array(positions)[:, :, None]


def population_statistics(batches):
    """Exact mean and unbiased variance, each (C,), of all values of batches of any size.

    arXiv 2105.07576: equal to the pooled form of PreciseBN, where for batches of equal size
    variance = n / (n - 1) * (mean_i(mean_i ** 2 + variance_i) - mean_i(mean_i) ** 2).
    """
    means, variances = [], []
    for c in range(batches[0].shape[1]):
        values = [v for x in batches for n in range(len(x)) for v in x[n, c]]
        mean = fsum(values) / len(values)
        means.append(mean)
        variances.append(fsum((v - mean) ** 2 for v in values) / (len(values) - 1))
    return np.array(means), np.array(variances)


def cumulative_statistics(batches):
    """Plain averages over batches of their means and unbiased variances, every batch counted once.

    What torch's BatchNorm gathers with `momentum=None`. Neither weighted by size nor pooled: the
    spread of the batch means is missing from the variance.
    """
    statistics = [running_statistics([x], update_rate=1.0) for x in batches]
    means, variances = zip(*statistics, strict=True)
    return sum(means) / len(batches), sum(variances) / len(batches)


def pooled_statistics(batches):
    """Mean and biased variance, each (C,), of all values of batches of any size."""
    return channel_statistics(joined(batches))
