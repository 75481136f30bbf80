"""MLP heads: projectors and predictors."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from ssl_norm.norms import NormSpec, make_norm, parse_norm
from ssl_norm.norms.weight_standardization import standardize_weights


def mlp_head(
    in_features: int,
    *,
    hidden_dim: int,
    output_dim: int,
    layers: int,
    norm: str | Mapping[str, Any] | NormSpec,
    norm_output: bool = False,
) -> nn.Sequential:
    """Return `layers - 1` times (Linear, norm, ReLU), then an output Linear: (N, in) to (N, out).

    `+ws` in the norm standardizes the weights of the Linear layers that the norm follows.

    Args:
        in_features: width of the input.
        hidden_dim: width of every hidden layer.
        output_dim: width of the output.
        layers: number of Linear layers; with 1 a single Linear, with 0 the identity.
        norm: of each hidden layer, see :func:`ssl_norm.norms.parse_norm`.
        norm_output: whether the norm follows the output layer, too (SimCLR); BYOL and MoCo v2 have
            none there. The output layer then has no bias where the norm has a shift.

    Raises:
        ValueError: a width or `layers` is out of range, or the norm cannot have that width.

    Source: BYOL, arXiv 2006.07733, section 3.3; SimCLR, arXiv 2002.05709, its published code.
    """
    spec = parse_norm(norm)
    if layers < 0 or min(in_features, hidden_dim, output_dim) < 1:
        raise ValueError(
            f"a head needs layers >= 0 and widths >= 1, got layers={layers}, "
            f"in_features={in_features}, hidden_dim={hidden_dim}, output_dim={output_dim}"
        )
    if layers == 0:
        return _identity(in_features, output_dim)
    widths = [in_features] + [hidden_dim] * (layers - 1)
    head = nn.Sequential()
    for width in widths[:-1]:
        head.extend([*_normalized_linear(width, hidden_dim, spec), nn.ReLU()])
    if norm_output:
        norm_shifts = spec.name != "none" and spec.options.get("affine", True)
        head.extend(_normalized_linear(widths[-1], output_dim, spec, bias=not norm_shifts))
    else:
        head.append(nn.Linear(widths[-1], output_dim))
    return head


def _identity(in_features: int, output_dim: int) -> nn.Sequential:
    if output_dim != in_features:
        raise ValueError(
            f"a head of 0 layers keeps the width: set output_dim={in_features}, got {output_dim}"
        )
    return nn.Sequential()


def _normalized_linear(
    in_features: int, out_features: int, norm: NormSpec, *, bias: bool = True
) -> list[nn.Module]:
    """Return a Linear layer and the norm that follows it, if any."""
    linear: nn.Module = nn.Linear(in_features, out_features, bias=bias)
    if norm.weight_standardization:
        linear = standardize_weights(linear)
    try:
        layer = make_norm(norm, out_features)
    except ValueError as error:
        raise ValueError(
            f"a head of width {out_features} cannot have norm '{norm}': {error}"
        ) from error
    return [linear] if norm.name == "none" else [linear, layer]
