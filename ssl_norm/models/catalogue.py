"""Encoders by name; needs no torch."""

import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.registry import Registry, is_reference

# An entry takes `image_size`, `small_images`, both or neither, and returns an encoder (N, 3, H, W)
# -> (N, num_features). As `entry/model`, it gets the model's name first.
ENCODERS = Registry(
    "encoder",
    {
        "tiny": "ssl_norm.models.tiny:tiny",
        "tiny16": "ssl_norm.models.tiny:tiny16",
        "tiny64": "ssl_norm.models.tiny:tiny64",
        "timm": "ssl_norm.models.encoders:timm_encoder",
        "torchvision": "ssl_norm.models.encoders:torchvision_encoder",
    },
    expects="an nn.Module, or a function that returns one",
    base="torch.nn:Module",
)
LIBRARIES = ("timm", "torchvision")  # entries that need the name of a model

# `@register_model` or `@register_model()`, any other decorators, then the constructor.
_REGISTERED = re.compile(r"^@register_model\b.*\n(?:[@ )].*\n)*def (\w+)\(", re.MULTILINE)


class EncoderName(NamedTuple):
    """An entry of `ENCODERS` or `module:object`, and the model that it builds; "": its only one."""

    entry: str
    model: str = ""


def find_encoder(name: str) -> EncoderName:
    """Return the entry and the model that a name stands for.

    A name is an entry (`tiny`, `tiny16`, `tiny64`: the number is the width), any timm model
    (`resnet18`, `resnet50.a1_in1k`), any torchvision classifier as `torchvision/resnet18`, or
    `module:object`; a name that only torchvision knows needs no prefix.

    Raises:
        UserError: there is no such encoder; the message names the nearest one.

    Example:
        >>> find_encoder("torchvision/resnet18")
        EncoderName(entry='torchvision', model='resnet18')
    """
    entry, slash, model = name.partition("/")
    if slash and entry in ENCODERS:
        names = library_names(entry) if entry in LIBRARIES else (model,)
        if model.partition(".")[0] not in names:
            known = [f"{entry}/{known}" for known in names]
            raise UserError(unknown_name("encoder", name, known))
        return EncoderName(entry, model)
    if is_reference(name) or (name in ENCODERS and name not in LIBRARIES):
        return EncoderName(name)
    for library in LIBRARIES:
        if name.partition(".")[0] in library_names(library):
            return EncoderName(library, name)
    raise UserError(unknown_name("encoder", name, encoder_names()))


def library_of(name: str) -> str | None:
    """Return library and version that build an encoder, such as `timm 1.0.20`; None: no library."""
    entry = find_encoder(name).entry
    return f"{entry} {version(entry)}" if entry in LIBRARIES else None


def encoder_names() -> tuple[str, ...]:
    """Return every name that needs no prefix, entries first."""
    entries = (name for name in ENCODERS if name not in LIBRARIES)
    models = (model for library in LIBRARIES for model in library_names(library))
    return tuple(dict.fromkeys((*entries, *models)))


@cache
def library_names(library: str) -> tuple[str, ...]:
    """Return the models that timm or torchvision registers, sorted, read from its source files.

    Importing the library would take seconds.
    """
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        return ()
    files = (Path(spec.origin).parent / "models").glob("*.py")
    sources = (file.read_text(encoding="utf-8") for file in files)
    return tuple(sorted({name for source in sources for name in _REGISTERED.findall(source)}))
