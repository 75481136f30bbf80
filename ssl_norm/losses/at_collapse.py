"""The loss of constant embeddings."""

from math import log


def cross_entropy_at_collapse(candidates: int) -> float:
    """Return ln(candidates), the cross entropy of a softmax over equal similarities.

    A contrastive loss that stays there, at any temperature, has learned nothing. The candidates are
    those that the code compares: 2 N - 1 in SimCLR, 2 N where an implementation leaves the row
    itself among them, 1 + K with a queue of K keys, the prototypes of SwAV. N counts the images of
    all processes where embeddings are gathered.

    Args:
        candidates: at least 1.

    Raises:
        ValueError: fewer candidates.

    Example:
        >>> round(cross_entropy_at_collapse(2 * 128 - 1), 3)
        5.541
    """
    if candidates < 1:
        raise ValueError(f"candidates must be at least 1, got {candidates}")
    return log(candidates)
