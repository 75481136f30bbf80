"""Weight standardization: classes of layers that standardize their weights, and back."""

from math import prod

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd


def standardized_weight(weight: Tensor, eps: float = 1e-6) -> Tensor:
    """Return the weight with mean 0 and variance 1 over the fan-in of each output channel.

        w'[o] = (w[o] - E[o]) / sqrt(V[o] + eps)

    E and V are the mean and the biased variance over (C_in / groups, *kernel). imbue's
    self_supervised divides by the unbiased deviation (plus 1e-5, outside the root), so its weights
    are smaller by sqrt(1 - 1 / fan_in), 2 % at a fan-in of 27; the norm after them cancels this.
    An output channel whose weights are all equal becomes zero.

    Source: Qiao et al., "Micro-Batch Training with Batch-Channel Normalization and Weight
    Standardization", arXiv 1903.10520; variance and eps as in timm 1.0's StdConv2d.
    """
    rows = weight.flatten(1)
    return F.layer_norm(rows, rows.shape[1:], eps=eps).view_as(weight).to(weight.dtype)


class StandardizedWeights:
    """Marker of the classes below; `plain_class` is the one without standardization."""

    plain_class: type[nn.Module]


class _StandardizedConv(StandardizedWeights, _ConvNd):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return self._conv_forward(input, standardized_weight(self.weight), self.bias)


class StandardizedConv1d(_StandardizedConv, nn.Conv1d):
    """Conv1d with :func:`standardized_weight`; `weight` remains the raw parameter."""

    plain_class = nn.Conv1d


class StandardizedConv2d(_StandardizedConv, nn.Conv2d):
    """Conv2d with :func:`standardized_weight`; `weight` remains the raw parameter."""

    plain_class = nn.Conv2d


class StandardizedConv3d(_StandardizedConv, nn.Conv3d):
    """Conv3d with :func:`standardized_weight`; `weight` remains the raw parameter."""

    plain_class = nn.Conv3d


class StandardizedLinear(StandardizedWeights, nn.Linear):
    """Linear layer with :func:`standardized_weight`; `weight` remains the raw parameter."""

    plain_class = nn.Linear

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Return the product with the standardized weight."""
        return F.linear(input, standardized_weight(self.weight), self.bias)


STANDARDIZED: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: StandardizedConv1d,
    nn.Conv2d: StandardizedConv2d,
    nn.Conv3d: StandardizedConv3d,
    nn.Linear: StandardizedLinear,
}


def standardized_class(kind: type[nn.Module]) -> type[nn.Module] | None:
    """Return the class that standardizes the weights of a class of layers, or None."""
    if kind.__module__.startswith("timm."):
        from ssl_norm.norms.layers.timm_convolutions import STANDARDIZED_TIMM

        return STANDARDIZED_TIMM.get(kind)
    return STANDARDIZED.get(kind)


def is_standardized(module: nn.Module) -> bool:
    """Return whether a layer standardizes its weights: ours, or timm's StdConv2d and kin."""
    return (
        isinstance(module, StandardizedWeights) or type(module).__module__ == "timm.layers.std_conv"
    )


def check_standardizable(module: nn.Module) -> None:
    """Raise ValueError unless :func:`standardize_weights` supports a layer."""
    if is_standardized(module):
        return
    if standardized_class(type(module)) is None:
        known = ", ".join(kind.__name__ for kind in STANDARDIZED)
        raise ValueError(f"can standardize the weights of {known}, not of {type(module).__name__}")
    shape = tuple(module.get_parameter("weight").shape)
    if prod(shape[1:]) < 2:
        raise ValueError(f"weights of shape {shape} have a fan-in of one and would become 0")


def standardize_weights(module: nn.Module) -> nn.Module:
    """Make one layer standardize its weights on every forward pass, and return it.

    Only the class of the module changes; its parameters, their names, its hooks and its place in a
    model stay. The raw weight is trained, decayed and saved. A layer that already standardizes its
    weights does not change.

    Raises:
        ValueError: another class, whose forward pass is not known, or a fan-in of one.

    Example:
        >>> layer = standardize_weights(nn.Linear(8, 4))
        >>> type(layer).__name__, list(layer.state_dict())
        ('StandardizedLinear', ['weight', 'bias'])
    """
    check_standardizable(module)
    if not is_standardized(module):
        module.__class__ = standardized_class(type(module))  # type: ignore[assignment]
    return module


def plain_weights(module: nn.Module) -> nn.Module:
    """Undo :func:`standardize_weights` and return the layer; other layers are unchanged."""
    if isinstance(module, StandardizedWeights):
        module.__class__ = module.plain_class  # type: ignore[assignment]
    return module
