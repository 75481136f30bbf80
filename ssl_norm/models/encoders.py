"""Encoders by name: images (N, 3, H, W) to features (N, num_features)."""

import inspect
from typing import Any, cast

import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.catalogue import ENCODERS, LIBRARIES, EncoderName, find_encoder
from ssl_norm.models.libraries import BUILD_ERRORS, cannot_build
from ssl_norm.models.stem import has_strided_stem, shrink_stem

SMALL_IMAGE_SIDE = 64  # pixels up to which `small_images=None` means yes


def build_encoder(name: str, *, small_images: bool | None, image_size: int) -> nn.Module:
    """Return an encoder without its classifier; its `num_features` is the features' width.

    Weights are random; nothing is downloaded.

    Args:
        name: see :func:`~ssl_norm.models.catalogue.find_encoder`; an object is called with those
            of `image_size` and `small_images` that it takes, and returns a module.
        small_images: whether the stem keeps the resolution (:func:`shrink_stem`). None: yes for
            images up to 64 px, where the encoder is of timm or torchvision and has a stem that
            can. Encoders that take `small_images` decide for themselves; `tiny` always keeps the
            resolution.
        image_size: side in pixels; built into encoders that need to know it (ViT, Swin, ...).

    Raises:
        UserError: the name is unknown, the encoder cannot take images of this size, or it has no
            stem to change although `small_images` is true.

    Example:
        >>> build_encoder("tiny", small_images=None, image_size=32).num_features
        128
    """
    found = find_encoder(name)
    offered = {"image_size": image_size, "small_images": small_images}
    encoder, taken = _construct(name, found, offered)
    shrunk = False
    if "small_images" not in taken and (found.entry in LIBRARIES or small_images):
        shrunk = _fit_stem(encoder, name, small_images, image_size)
    try:
        width = _output_width(encoder, image_size)
    except BUILD_ERRORS as error:
        hint = "; encoder.small_images=false keeps its own stem" if shrunk else ""
        raise cannot_build(name, image_size, error, hint) from error
    # timm's own num_features is not the width of the output for all of its models.
    cast(Any, encoder).num_features = width
    return encoder


def _construct(
    name: str, found: EncoderName, offered: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the encoder, and the options that its constructor took."""
    try:
        construct = ENCODERS.load(found.entry)
    except ValueError as error:
        raise UserError(str(error)) from error
    signature = inspect.signature(construct)
    taken = {key: value for key, value in offered.items() if key in signature.parameters}
    model = (found.model,) if found.model else ()
    try:
        signature.bind(*model, **taken)
    except TypeError as error:
        raise UserError(
            f"encoder '{name}' must be callable with image_size and small_images alone, "
            f"as far as it takes them: {error}"
        ) from error
    encoder = construct(*model, **taken)
    if not isinstance(encoder, nn.Module):
        raise UserError(f"encoder '{name}' is a {type(encoder).__name__}; expected an nn.Module")
    return encoder, taken


def _fit_stem(encoder: nn.Module, name: str, small_images: bool | None, image_size: int) -> bool:
    """Shrink the stem where wanted, and return whether it was."""
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


@torch.no_grad()
def _output_width(encoder: nn.Module, image_size: int) -> int:
    """Return the width of the features, found by passing one black image in evaluation mode."""
    was_training = encoder.training
    encoder.eval()
    try:
        features = encoder(torch.zeros(1, 3, image_size, image_size))
    finally:
        encoder.train(was_training)
    if not isinstance(features, torch.Tensor) or features.dim() != 2:
        shape = getattr(features, "shape", type(features).__name__)
        raise ValueError(f"its output is {shape}, not features of shape (N, num_features)")
    return features.shape[1]
