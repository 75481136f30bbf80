"""Ring buffer of the most recent embeddings of a run."""

from typing import Any

from torch import Tensor


class RecentRows:
    """A ring of the last `size` rows that were added; nothing here waits for the device.

    Args:
        size: rows that are kept, at least 2.

    Example:
        >>> import torch
        >>> recent = RecentRows(3)
        >>> for value in range(5):
        ...     rows = recent.add(torch.full((1, 2), float(value)))
        >>> rows[:, 0].sort().values.tolist()
        [2.0, 3.0, 4.0]
    """

    def __init__(self, size: int) -> None:
        if size < 2:
            raise ValueError(f"a spectrum needs at least 2 recent rows, got buffer_size={size}")
        self.size = size
        self._ring: Tensor | None = None
        self._added = 0

    def add(self, rows: Tensor) -> Tensor:
        """Replace the oldest rows by `rows` (N, D), and return all kept ones, (M <= size, D).

        A change of width or dtype starts over. The oldest row may be at any place.
        """
        rows = rows.detach()[-self.size :]
        ring = self._ring
        if ring is None or (ring.shape[1], ring.dtype) != (rows.shape[1], rows.dtype):
            ring, self._added = rows.new_zeros(self.size, rows.shape[1]), 0
        self._ring = ring = ring.to(rows.device)
        place = self._added % self.size
        fitting = min(len(rows), self.size - place)
        ring[place : place + fitting] = rows[:fitting]
        ring[: len(rows) - fitting] = rows[fitting:]
        self._added += len(rows)
        return ring[: min(self._added, self.size)]

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a run needs to resume exactly: a tensor and a number."""
        return {"ring": None if self._ring is None else self._ring.clone(), "added": self._added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from the result of `state_dict`; rows of another size are dropped."""
        ring = state["ring"]
        fits = ring is not None and len(ring) == self.size
        self._ring, self._added = (ring.clone(), state["added"]) if fits else (None, 0)
