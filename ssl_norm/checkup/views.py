"""Statistics of views, and a comparison of distances between views of the same and other images."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool1d, adaptive_avg_pool2d

Pair = tuple[Tensor, Tensor]
_SIDE = 4  # side of a view after pooling


class Nearer(NamedTuple):
    """Share of comparisons in which the matching row is nearer than another one; chance is 0.5.

    `error` is its standard error, and `rows` is the number of rows.
    """

    share: float
    error: float
    rows: int

    @property
    def is_clear(self) -> bool:
        """Return whether matching rows are nearer by three standard errors."""
        return self.share - 3 * self.error > 0.5


def statistics(view: Tensor) -> Tensor:
    """Return (N, K) statistics of views (N, C, H, W) or (N, ...) that augmentation changes little.

    These are mean and deviation of each channel, mean absolute differences of neighbours, and the
    pixels of each standardized channel, pooled to 4 x 4.
    """
    x = view.detach().float()
    x = x if x.ndim == 4 else x.reshape(len(x), 1, -1)
    axes = tuple(range(2, x.ndim))
    mean, std = x.mean(axes, keepdim=True), x.std(axes, keepdim=True, correction=0)
    z = (x - mean) / (std + 1e-3)
    pooled = adaptive_avg_pool2d(z, _SIDE) if x.ndim == 4 else adaptive_avg_pool1d(z, _SIDE**2)
    edges = [x.mean(1).diff(dim=axis - 1).abs().flatten(1).mean(1, keepdim=True) for axis in axes]
    scaled = 0.3 * pooled.flatten(1)  # less weight, because the other statistics are few
    return torch.cat([mean.flatten(1), std.flatten(1), *edges, scaled], 1).cpu()


def nearer(pairs: Sequence[Pair]) -> Nearer:
    """Compare the distances of matching rows with those of other rows, within each batch.

    Args:
        pairs: for each batch, `statistics` of two views, both (N, K); row i of both should be of
            the same image.
    """
    shares = []
    for pair in pairs:
        rows = torch.cat(pair).double()
        first, second = ((rows - rows.mean(0)) / (rows.std(0) + 1e-6)).chunk(2)
        table = torch.cdist(first, second)
        own = table.diagonal()[:, None]
        wins = [(t > own).double() + (t == own).double() / 2 for t in (table, table.T)]
        shares.append((torch.stack(wins).mean(0).sum(1) - 0.5) / max(1, len(own) - 1))
    each = torch.cat([torch.empty(0, dtype=torch.double), *shares])
    if len(each) < 2:
        return Nearer(0.5, 1.0, len(each))
    deviation = max(float(each.std()), 0.2)
    return Nearer(float(each.mean()), deviation / len(each) ** 0.5, len(each))


def halves(joint: Sequence[Tensor]) -> list[Pair]:
    """Split statistics (2N, K) of both views of batches into pairs (N, K) of matching rows.

    Views are even and odd rows or halves; the list is empty if neither has clearly nearer rows.
    """
    even = [rows for rows in joint if len(rows) % 2 == 0]
    found = [[(rows[::2], rows[1::2]) for rows in even]]
    found += [[(rows[: len(rows) // 2], rows[len(rows) // 2 :]) for rows in even]]
    return next((pairs for pairs in found if nearer(pairs).is_clear), [])
