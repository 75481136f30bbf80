"""Encoders of timm and torchvision: their models without classifier and with random weights."""

from collections.abc import Callable
from typing import Any

from torch import nn

from ssl_norm.errors import UserError

# What the constructors of both libraries raise for an image size that they cannot take.
BUILD_ERRORS = (RuntimeError, ValueError, AssertionError)


def timm_encoder(model: str, *, image_size: int) -> nn.Module:
    """Return a timm model, perhaps with a tag; models such as ViT are built for the image size.

    Raises:
        UserError: there is no such tag, or the model cannot take images of this size.
    """
    import timm

    def construct(**size: Any) -> nn.Module:
        built: nn.Module = timm.create_model(model, pretrained=False, num_classes=0, **size)
        return built

    try:
        return _sized(construct, img_size=image_size)
    except BUILD_ERRORS as error:
        raise cannot_build(model, image_size, error) from error


def torchvision_encoder(model: str, *, image_size: int) -> nn.Module:
    """Return a torchvision classifier without its last layer; ViT is built for the image size.

    Raises:
        UserError: the model cannot take images of this size.
    """
    from torchvision.models import get_model

    # Inception's auxiliary classifiers would change what its forward returns.
    auxiliary = {"aux_logits": False, "init_weights": True}
    options = auxiliary if model in ("googlenet", "inception_v3") else {}

    def construct(**size: Any) -> nn.Module:
        built: nn.Module = get_model(model, weights=None, **options, **size)
        return built

    try:
        if model.startswith("maxvit"):
            network = construct(input_size=(image_size, image_size))
        else:
            network = _sized(construct, image_size=image_size)
    except BUILD_ERRORS as error:
        raise cannot_build(model, image_size, error) from error
    remove_classifier(network)
    return network


def cannot_build(name: str, image_size: int, error: Exception, hint: str = "") -> UserError:
    """Return the error for an encoder that cannot take images of a size."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return UserError(
        f"encoder '{name}' cannot be built for images of {image_size} px: {reason}{hint}"
    )


def _sized(construct: Callable[..., nn.Module], **size: int) -> nn.Module:
    """Return the model built for an image size, or without where it takes images of any size."""
    (option,) = size
    try:
        return construct(**size)
    except TypeError as error:
        if option not in str(error):
            raise
    return construct()


def remove_classifier(model: nn.Module) -> None:
    """Replace a classifier's last layer, and the dropout right before it, by the identity.

    The last layer is the last Linear of the model or, where there is none (SqueezeNet), its last
    convolution.

    Raises:
        ValueError: the model has neither.
    """
    named = list(model.named_modules())
    linear = [name for name, module in named if isinstance(module, nn.Linear)]
    last = linear or [name for name, module in named if isinstance(module, nn.Conv2d)]
    if not last:
        raise ValueError(f"{type(model).__name__} has no linear or convolutional layer to remove")
    path, _, child = last[-1].rpartition(".")
    parent = model.get_submodule(path)
    names = [name for name, _ in parent.named_children()]
    setattr(parent, child, nn.Identity())
    position = names.index(child)
    if position > 0 and isinstance(parent, nn.Sequential):
        before = names[position - 1]
        if isinstance(getattr(parent, before), nn.Dropout):
            setattr(parent, before, nn.Identity())
