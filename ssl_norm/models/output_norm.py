"""The norm after the output layer of a head; needs no torch."""

from ssl_norm.norms import NormLike, NormSpec, parse_norm


def output_norm(norm: NormSpec, norm_output: bool | NormLike) -> NormSpec:
    """Return the norm after the output layer.

    Args:
        norm: of the hidden layers.
        norm_output: True: the same; False: none; else another norm.

    Raises:
        ValueError, TypeError: as :func:`ssl_norm.norms.parse_norm`.

    Example:
        >>> bn = parse_norm("bn")
        >>> [str(output_norm(bn, choice)) for choice in (True, False, "iternorm")]
        ['bn', 'none', 'iternorm']
    """
    if isinstance(norm_output, bool):
        return norm if norm_output else NormSpec("none")
    return parse_norm(norm_output)
