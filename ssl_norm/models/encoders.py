"""Construction of encoders: images (N, 3, H, W) to features (N, num_features)."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.models.catalogue import ENCODERS, LIBRARIES, EncoderName, find_encoder
from ssl_norm.norms.batch.freezing import evaluation_mode
from ssl_norm.text import first_line

SMALL_IMAGE_SIDE = 64  # largest side in pixels for which `small_images=None` shrinks the stem
STEM_CONVOLUTIONS = 3  # most convolutions of a stem; a max-pool after more is not part of it
# Errors of the constructors of both libraries for an unsuitable image size.
BUILD_ERRORS = (RuntimeError, ValueError, AssertionError)


def build_encoder(name: str, *, small_images: bool | None, image_size: int) -> nn.Module:
    """Return an encoder without its classifier.

    Its `num_features` is the width of the features, and its `small_images` tells whether the stem
    was shrunk. Weights are random, and nothing is downloaded.

    Args:
        name: see :func:`~ssl_norm.models.catalogue.find_encoder`; an object is called with
            `image_size` and `small_images`, if it has these parameters, and returns a module.
        small_images: whether the stem keeps the resolution (:func:`shrink_stem`). None: it does for
            images up to 64 px, if the encoder comes from timm or torchvision and its stem allows
            it. An encoder with a parameter `small_images` decides itself; `tiny` always keeps the
            resolution.
        image_size: side in pixels, on which some encoders (ViT, Swin, ...) depend.

    Raises:
        UserError: the name is unknown, the encoder cannot take images of this size, or it has no
            stem to change although `small_images` is true.

    Example:
        >>> build_encoder("tiny", small_images=None, image_size=32).num_features
        128
    """
    found, shrunk = find_encoder(name), False
    construct, taken = _constructor(name, found, image_size, small_images)
    try:
        encoder = construct()
        if not isinstance(encoder, nn.Module):
            raise UserError(
                f"encoder '{name}' is a {type(encoder).__name__}; expected an nn.Module"
            )
        if "small_images" not in taken and (found.entry in LIBRARIES or small_images):
            shrunk = _fit_stem(encoder, name, small_images, image_size)
        width = _output_width(encoder, image_size)
    except UserError:
        raise
    except BUILD_ERRORS as error:
        hint = "; encoder.small_images=false keeps its own stem" if shrunk else ""
        raise UserError(
            f"encoder '{name}' cannot be built for images of {image_size} px: {first_line(error)}{hint}"
        ) from error
    described: Any = encoder
    # timm's own num_features is not the width of the output for all of its models.
    described.num_features = width
    described.small_images = taken.get("small_images", shrunk)
    return encoder


def _constructor(
    name: str, found: EncoderName, image_size: int, small_images: bool | None
) -> tuple[Callable[[], Any], dict[str, Any]]:
    """Return the constructor of an encoder, and its options."""
    try:
        construct = ENCODERS.load(found.entry)
    except ValueError as error:
        raise UserError(str(error)) from error
    signature = inspect.signature(construct)
    offered = {"image_size": image_size, "small_images": small_images}
    taken = {key: value for key, value in offered.items() if key in signature.parameters}
    model = (found.model,) if found.model else ()
    try:
        signature.bind(*model, **taken)
    except TypeError as error:
        raise UserError(
            f"encoder '{name}' may have no other required parameters than image_size and "
            f"small_images: {error}"
        ) from error
    return partial(ENCODERS.call, found.entry, *model, **taken), taken


def _fit_stem(encoder: nn.Module, name: str, small_images: bool | None, image_size: int) -> bool:
    """Shrink the stem if requested, and return whether it was shrunk."""
    strided = has_strided_stem(encoder)
    if small_images and not strided:
        raise UserError(
            f"encoder.small_images=true: '{name}' does not begin with a strided convolution that "
            "could keep the resolution of small images; set encoder.small_images=false"
        )
    is_shrunk = strided and image_size <= SMALL_IMAGE_SIDE if small_images is None else small_images
    if is_shrunk:
        shrink_stem(encoder)
    return is_shrunk


@torch.no_grad()
def _output_width(encoder: nn.Module, image_size: int) -> int:
    """Return the width of the features of one black image in evaluation mode."""
    with evaluation_mode(encoder):
        features = encoder(torch.zeros(1, 3, image_size, image_size))
    if not isinstance(features, torch.Tensor) or features.dim() != 2:
        shape = getattr(features, "shape", type(features).__name__)
        raise ValueError(f"its output is {shape}, not features of shape (N, num_features)")
    return features.shape[1]


def has_strided_stem(model: nn.Module) -> bool:
    """Return whether the model begins with a strided convolution other than a patch embedding."""
    _, convolution = first_convolution(model)
    if convolution is None:
        return False
    is_patch_embedding = convolution.stride == convolution.kernel_size
    return max(convolution.stride) > 1 and not is_patch_embedding


def shrink_stem(model: nn.Module) -> None:
    """Set the first convolution to stride 1 and at most 3x3 in place, and remove the next max-pool.

    A convolution larger than 3x3 gets new weights (He et al.'s normal initialisation over the
    fan-out, as in ResNets); a smaller one keeps its weights. The max-pool, with the padding before
    it, is the first one up to the third convolution, or a child `maxpool` of any type, as in
    ResNets.

    Raises:
        ValueError: the model has no strided first convolution.

    Source: SimCLR, arXiv 2002.05709, appendix B.9.
    """
    name, convolution = first_convolution(model)
    if convolution is None or not has_strided_stem(model):
        raise ValueError(f"{type(model).__name__} does not begin with a strided convolution")
    convolution.stride = (1, 1)
    if max(convolution.kernel_size) > 3:
        convolution.kernel_size = (3, 3)
        # A padding of 0 stays, because the layer pads by itself ("same") or not at all.
        convolution.padding = tuple(min(int(side), 1) for side in convolution.padding)
        shape = (*convolution.weight.shape[:2], 3, 3)
        convolution.weight = nn.Parameter(convolution.weight.detach().new_empty(shape))
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    for parent, child in _pooling_after(model, name):
        setattr(parent, child, nn.Identity())


def has_open_stem(model: nn.Module) -> bool:
    """Return whether the model's weights would also fit its stem for small images."""
    _, convolution = first_convolution(model)
    fits = convolution is not None and max(convolution.kernel_size) <= 3
    return fits and has_strided_stem(model)


def first_convolution(model: nn.Module) -> tuple[str, nn.Conv2d | None]:
    """Return the name of the first convolution and the layer, or "" and None."""
    named = ((name, m) for name, m in model.named_modules() if isinstance(m, nn.Conv2d))
    return next(named, ("", None))


def _pooling_after(model: nn.Module, name: str) -> list[tuple[nn.Module, str]]:
    """Return parent and name of the stem's max-pool and of the padding before it."""
    convolutions = 1
    padding: list[tuple[nn.Module, str]] = []
    for parent, child, module in _followers(model, name):
        if child.startswith("maxpool"):
            return [*padding, (parent, child)]
        convolutions += sum(isinstance(m, nn.Conv2d) for m in module.modules())
        if convolutions > STEM_CONVOLUTIONS:
            break
        if any(isinstance(m, nn.MaxPool2d) for m in module.modules()):
            return [*padding, (parent, child)]
        if isinstance(module, nn.ConstantPad2d):
            padding.append((parent, child))
    return []


def _followers(model: nn.Module, name: str) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Yield the modules after a module: its later siblings, then those of its parent, and so on."""
    path = name.split(".")
    while path:
        child = path.pop()
        parent = model.get_submodule(".".join(path))
        children = list(parent.named_children())
        position = [sibling for sibling, _ in children].index(child)
        for sibling, module in children[position + 1 :]:
            yield parent, sibling, module


def timm_encoder(model: str, *, image_size: int) -> nn.Module:
    """Return a timm model; models that depend on the image size, such as ViT, are built for it."""
    import timm

    return _sized(
        partial(timm.create_model, model, pretrained=False, num_classes=0), img_size=image_size
    )


def torchvision_encoder(model: str, *, image_size: int) -> nn.Module:
    """Return a torchvision model without its last layer; ViT is built for the image size."""
    from torchvision.models import get_model

    # With auxiliary classifiers, the forward of Inception would return several outputs.
    auxiliary = {"aux_logits": False, "init_weights": True}
    options = auxiliary if model in ("googlenet", "inception_v3") else {}
    construct = partial(get_model, model, weights=None, **options)
    if model.startswith("maxvit"):
        network: nn.Module = construct(input_size=(image_size, image_size))
    else:
        network = _sized(construct, image_size=image_size)
    remove_classifier(network)
    return network


def _sized(construct: Callable[..., nn.Module], **size: int) -> nn.Module:
    """Build a model for an image size; if it has no such option, build it without."""
    (option,) = size
    try:
        return construct(**size)
    except TypeError as error:
        if option not in str(error):
            raise
    return construct()


def remove_classifier(model: nn.Module) -> None:
    """Replace a classifier's last layer, and the dropout right before it, by the identity.

    The last layer is the last Linear or, in a model without one (SqueezeNet), the last convolution.

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
