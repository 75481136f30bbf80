"""The names of all encoders, read from the sources of timm and torchvision: needs no torch."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name

TINY_WIDTHS: Mapping[str, int] = MappingProxyType({"tiny": 32, "tiny16": 16, "tiny64": 64})
TORCHVISION_PREFIX = "torchvision/"

# `@register_model` or `@register_model()`, perhaps other decorators below it, then the constructor.
_REGISTERED = re.compile(r"^@register_model\b.*\n(?:[@ )].*\n)*def (\w+)\(", re.MULTILINE)


@dataclass(frozen=True)
class EncoderName:
    """An encoder that exists: who builds it (`tiny`, `timm` or `torchvision`), under which name."""

    library: str
    model: str


def find_encoder(name: str) -> EncoderName:
    """Return the library and model that a name stands for.

    A name is `tiny`, `tiny16` or `tiny64` (the number is the width), any timm name (`resnet18`,
    `resnet50.a1_in1k`), or any torchvision classifier as `torchvision/resnet18`; a name that only
    torchvision knows needs no prefix.

    Raises:
        UserError: there is no such encoder; the message names the nearest one.

    Example:
        >>> find_encoder("torchvision/resnet18")
        EncoderName(library='torchvision', model='resnet18')
    """
    if name in TINY_WIDTHS:
        return EncoderName("tiny", name)
    if name.startswith(TORCHVISION_PREFIX):
        model = name.removeprefix(TORCHVISION_PREFIX)
        if model not in torchvision_names():
            prefixed = [TORCHVISION_PREFIX + known for known in torchvision_names()]
            raise UserError(unknown_name("encoder", name, prefixed))
        return EncoderName("torchvision", model)
    if name.partition(".")[0] in timm_names():
        return EncoderName("timm", name)
    if name in torchvision_names():
        return EncoderName("torchvision", name)
    raise UserError(unknown_name("encoder", name, encoder_names()))


def encoder_names() -> tuple[str, ...]:
    """Return every name that needs no prefix, own ones first."""
    return tuple(dict.fromkeys((*TINY_WIDTHS, *timm_names(), *torchvision_names())))


@cache
def timm_names() -> tuple[str, ...]:
    """Return the names of all timm models, sorted."""
    return _registered_names("timm")


@cache
def torchvision_names() -> tuple[str, ...]:
    """Return the names of all torchvision classifiers, sorted."""
    return _registered_names("torchvision")


def _registered_names(package: str) -> tuple[str, ...]:
    """Return the constructors that the top-level files of `package`.models register."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return ()
    files = (Path(spec.origin).parent / "models").glob("*.py")
    sources = (file.read_text(encoding="utf-8") for file in files)
    return tuple(sorted({name for source in sources for name in _REGISTERED.findall(source)}))
