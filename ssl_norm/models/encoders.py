"""Encoders by name: images (N, 3, H, W) to features (N, num_features)."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.catalogue import TINY_WIDTHS, EncoderName, find_encoder
from ssl_norm.models.stem import has_strided_stem, shrink_stem
from ssl_norm.models.tiny import TinyResNet

SMALL_IMAGE_SIDE = 64  # pixels up to which `small_images=None` means yes


def build_encoder(name: str, *, small_images: bool | None, image_size: int) -> nn.Module:
    """Return an encoder without its classifier; its `num_features` is the features' width.

    Weights are random; nothing is downloaded.

    Args:
        name: `tiny`, any timm model, any torchvision classifier; see :func:`find_encoder`.
        small_images: whether the stem keeps the resolution (:func:`shrink_stem`); None: yes for
            images up to 64 px, where the encoder has a stem that can. `tiny` always keeps it.
        image_size: side in pixels; built into encoders that need to know it (ViT, Swin, ...).

    Raises:
        UserError: the name is unknown, the encoder cannot take images of this size, or it has no stem to
            change although `small_images` is true.

    Example:
        >>> build_encoder("tiny", small_images=None, image_size=32).num_features
        128
    """
    found = find_encoder(name)
    encoder = _BUILDERS[found.library](found, image_size)
    shrunk = found.library != "tiny" and _fit_stem(encoder, name, small_images, image_size)
    try:
        width = _output_width(encoder, image_size)
    except (RuntimeError, ValueError, AssertionError) as error:
        hint = "; encoder.small_images=false keeps its own stem" if shrunk else ""
        raise UserError(_cannot_build(name, image_size, error) + hint) from error
    # timm's own num_features is not the width of the output for all of its models.
    cast(Any, encoder).num_features = width
    return encoder


def _tiny(found: EncoderName, image_size: int) -> nn.Module:
    return TinyResNet(TINY_WIDTHS[found.model])


def _timm(found: EncoderName, image_size: int) -> nn.Module:
    import timm

    try:
        return _sized(
            lambda **size: timm.create_model(found.model, pretrained=False, num_classes=0, **size),
            img_size=image_size,
        )
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(_cannot_build(found.model, image_size, error)) from error


def _torchvision(found: EncoderName, image_size: int) -> nn.Module:
    from torchvision.models import get_model

    # Inception's auxiliary classifiers would change what its forward returns.
    auxiliary = {"aux_logits": False, "init_weights": True}
    options = auxiliary if found.model in ("googlenet", "inception_v3") else {}

    def construct(**size: Any) -> nn.Module:
        model: nn.Module = get_model(found.model, weights=None, **options, **size)
        return model

    try:
        if found.model.startswith("maxvit"):
            model = construct(input_size=(image_size, image_size))
        else:
            model = _sized(construct, image_size=image_size)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(_cannot_build(found.model, image_size, error)) from error
    remove_classifier(model)
    return model


_BUILDERS: dict[str, Callable[[EncoderName, int], nn.Module]] = {
    "tiny": _tiny,
    "timm": _timm,
    "torchvision": _torchvision,
}


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
    names = {
        kind: [n for n, m in model.named_modules() if isinstance(m, kind)]
        for kind in (nn.Linear, nn.Conv2d)
    }
    last = (names[nn.Linear] or names[nn.Conv2d])[-1:]
    if not last:
        raise ValueError(f"{type(model).__name__} has no linear or convolutional layer to remove")
    path, _, child = last[0].rpartition(".")
    parent = model.get_submodule(path)
    before = list(parent.named_children())
    position = [name for name, _ in before].index(child)
    setattr(parent, child, nn.Identity())
    if position > 0 and isinstance(parent, nn.Sequential):
        name, module = before[position - 1]
        if isinstance(module, nn.Dropout):
            setattr(parent, name, nn.Identity())


def _fit_stem(encoder: nn.Module, name: str, small_images: bool | None, image_size: int) -> bool:
    """Return whether the stem was shrunk."""
    strided = has_strided_stem(encoder)
    if small_images is None:
        small_images = strided and image_size <= SMALL_IMAGE_SIDE
    if small_images and not strided:
        raise UserError(
            f"encoder.small_images=true: '{name}' does not begin with a strided convolution that "
            "could keep the resolution of small images; set encoder.small_images=false"
        )
    if small_images:
        shrink_stem(encoder)
    return small_images


def _output_width(encoder: nn.Module, image_size: int) -> int:
    """Return the width of the features, found by passing one black image in evaluation mode."""
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            features = encoder(torch.zeros(1, 3, image_size, image_size))
    finally:
        encoder.train(was_training)
    if not isinstance(features, torch.Tensor) or features.dim() != 2:
        shape = getattr(features, "shape", type(features).__name__)
        raise ValueError(f"its output is {shape}, not features of shape (N, num_features)")
    return features.shape[1]


def _cannot_build(name: str, image_size: int, error: Exception) -> str:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return f"encoder '{name}' cannot be built for images of {image_size} px: {reason}"
