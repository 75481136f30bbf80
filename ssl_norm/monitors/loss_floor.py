"""The loss of a constant embedding, which a collapsed run sits at."""

from math import log

from ssl_norm.names import unknown_name

METHODS = ("byol", "simsiam", "simclr", "moco_v2", "swav")


def loss_at_collapse(
    method: str,
    *,
    batch_size: int | None = None,
    queue_size: int | None = None,
    prototypes: int | None = None,
    symmetric: bool = False,
) -> float:
    """Return the loss of a network that maps every image to one direction.

        byol       0                    the least possible
        simsiam    -1                   the least possible
        simclr     ln(2 batch_size - 1)
        moco_v2    ln(1 + queue_size)   twice that if symmetric
        swav       ln(prototypes)

    For BYOL and SimSiam this is the minimum, so that a low loss alone is no progress. For the others
    it is what equal similarities cost, at any temperature: a loss that stays there has learned
    nothing. Their rule is :func:`cross_entropy_at_collapse`: the ln N that people report is the
    logarithm of however many candidates their code compares, 2 N where an implementation leaves the
    row itself among them, N where the other views of a batch are the only candidates, and N counts
    the images of all processes where embeddings are gathered.

    Args:
        method: one of `METHODS`.
        batch_size: images among which SimCLR's loss looks for a match, at least 1.
        queue_size: MoCo's negatives, at least 1.
        prototypes: of SwAV, at least 1.
        symmetric: whether MoCo's loss is the sum of both directions.

    Raises:
        ValueError: the method is not known, or the size that it needs is missing or below 1. Sizes
            that it does not need are not looked at.

    Source: the losses' equations, arXiv 2006.07733 (2), 2011.10566 (1), 2002.05709 (1), 1911.05722
    (1), 2006.09882 (2), at equal similarities.

    Example:
        >>> loss_at_collapse("byol"), round(loss_at_collapse("swav", prototypes=512), 3)
        (0.0, 6.238)
    """
    if method not in METHODS:
        raise ValueError(unknown_name("method", method, METHODS))
    if method == "byol":
        return 0.0
    if method == "simsiam":
        return -1.0
    if method == "simclr":
        return cross_entropy_at_collapse(2 * _size(method, "batch_size", batch_size) - 1)
    if method == "swav":
        return cross_entropy_at_collapse(_size(method, "prototypes", prototypes))
    one_direction = cross_entropy_at_collapse(1 + _size(method, "queue_size", queue_size))
    return 2 * one_direction if symmetric else one_direction


def cross_entropy_at_collapse(candidates: int) -> float:
    """Return ln(candidates), the cross entropy of a softmax over equal similarities."""
    return log(candidates)


def _size(method: str, name: str, value: int | None) -> int:
    """Return the size that a method's loss depends on, or raise ValueError."""
    if value is None or value < 1:
        raise ValueError(
            f"the loss of {method} at collapse needs {name} of at least 1, got {value}"
        )
    return value
