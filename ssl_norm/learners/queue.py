"""Queue of keys of earlier batches, the oldest replaced first."""

import torch
from torch import Tensor, nn

from ssl_norm.losses.rows import unit_rows


class KeyQueue(nn.Module):
    """Buffers `keys` (size, dim) of unit rows and `pointer`, where the next key goes.

    It starts with random unit rows. Enqueueing works on the device, without waiting for it.

    Args:
        size: number of keys, a multiple of the rows enqueued at a time.
        dim: width of a key.

    Source: MoCo, arXiv 1911.05722, section 3.2.
    """

    keys: Tensor
    pointer: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"a queue needs size >= 1 and dim >= 1, got {size} and {dim}")
        (keys,) = unit_rows(torch.randn(size, dim))
        self.register_buffer("keys", keys)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest rows by the rows of `keys` (N, dim), scaled to unit length.

        Raises:
            ValueError: the width is not the queue's, or the queue's size is no multiple of N.
        """
        size, dim = self.keys.shape
        if keys.dim() != 2 or keys.shape[1] != dim:
            raise ValueError(f"keys must have shape (N, {dim}), got {tuple(keys.shape)}")
        if len(keys) == 0 or size % len(keys) != 0:
            raise ValueError(
                f"the queue's size must be a multiple of the batch size, got {size} and {len(keys)}"
            )
        (rows,) = unit_rows(keys)
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        self.keys.index_copy_(0, places, rows.to(self.keys.dtype))
        self.pointer.add_(len(keys)).remainder_(size)
