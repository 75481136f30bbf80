"""Weight standardization: layers of a model change to classes that standardize their weights, and back."""

from math import prod

from torch import nn

from ssl_norm.norms.layers.standardized_layers import STANDARDIZED, StandardizedWeights


def standardized_class(kind: type[nn.Module]) -> type[nn.Module] | None:
    """Return the class that standardizes the weights of a class of layers; None: there is none."""
    if kind.__module__.startswith("timm."):
        from ssl_norm.norms.layers.timm_convolutions import STANDARDIZED_TIMM

        return STANDARDIZED_TIMM.get(kind)
    return STANDARDIZED.get(kind)


def is_standardized(module: nn.Module) -> bool:
    """Whether a layer standardizes its weights: one of ours, or timm's StdConv2d and its kin."""
    return (
        isinstance(module, StandardizedWeights) or type(module).__module__ == "timm.layers.std_conv"
    )


def check_standardizable(module: nn.Module) -> None:
    """Raise ValueError where :func:`standardize_weights` cannot serve a layer."""
    if is_standardized(module):
        return
    if standardized_class(type(module)) is None:
        known = ", ".join(kind.__name__ for kind in STANDARDIZED)
        raise ValueError(f"can standardize the weights of {known}, not of {type(module).__name__}")
    shape = tuple(module.get_parameter("weight").shape)
    if prod(shape[1:]) < 2:
        raise ValueError(f"weights of shape {shape} have a fan-in of one and would become 0")


def standardize_weights(module: nn.Module) -> nn.Module:
    """Make one layer standardize its weights on every forward pass.

    The module changes its class, so that its parameters, their names, its hooks and its place in a
    model stay. The raw weight is what is trained, decayed and saved. A layer that standardizes
    already is left as it is.

    Args:
        module: a Conv1d, Conv2d, Conv3d or Linear, or timm's Conv2dSame.

    Returns:
        The same module.

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
    """Undo :func:`standardize_weights`; any other layer, timm's included, is left as it is.

    Returns:
        The same module.
    """
    if isinstance(module, StandardizedWeights):
        module.__class__ = module.plain_class  # type: ignore[assignment]
    return module
