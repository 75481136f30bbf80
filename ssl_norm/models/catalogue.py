"""Names of encoders; the module does not import torch."""

import re
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.registry import Registry, is_reference

# An entry is a function that may have the parameters `image_size` and `small_images`, and returns
# an encoder (N, 3, H, W) -> (N, num_features). For `entry/model`, its first argument is the model.
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
    methods={"forward": ("images",)},
)
LIBRARIES = ("timm", "torchvision")  # entries that need the name of a model

# `@register_model` or `@register_model()`, perhaps further decorators, then the constructor.
_REGISTERED = re.compile(r"^@register_model\b.*\n(?:[@ )].*\n)*def (\w+)\(", re.MULTILINE)


class EncoderName(NamedTuple):
    """An entry of `ENCODERS` or `module:object`, and its model; "" if it has only one."""

    entry: str
    model: str = ""


def find_encoder(name: str) -> EncoderName:
    """Return the entry and the model of a name.

    A name is an entry (`tiny`, or `tiny16` and `tiny64` with their width), any timm model
    (`resnet18`, `resnet50.a1_in1k`), any torchvision classifier as `torchvision/resnet18`, or
    `module:object`. Models of torchvision that timm lacks need no prefix.

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
    """Return library and version of an encoder, such as `timm 1.0.20`, or None."""
    entry = find_encoder(name).entry
    return f"{entry} {version(entry)}" if entry in LIBRARIES else None


def encoder_names() -> tuple[str, ...]:
    """Return every name that needs no prefix, with entries first."""
    entries = (name for name in ENCODERS if name not in LIBRARIES)
    models = (model for library in LIBRARIES for model in library_names(library))
    return tuple(dict.fromkeys((*entries, *models)))


@cache
def library_names(library: str) -> tuple[str, ...]:
    """Return the sorted models of timm or torchvision.

    They are read from the source files, because importing the library takes seconds.
    """
    spec = find_spec(library)
    if spec is None or spec.origin is None:
        return ()
    files = (Path(spec.origin).parent / "models").glob("*.py")
    sources = (file.read_text(encoding="utf-8") for file in files)
    return tuple(sorted({name for source in sources for name in _REGISTERED.findall(source)}))
