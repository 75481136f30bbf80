"""Norms as values of settings: a name, a mapping of a name and options, or for outputs a switch."""

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from ssl_norm.norms import NORMS, NormSpec, parse_norm
from ssl_norm.options import is_quick, names_schema
from ssl_norm.signature import check_options


def _parse(value: Any, info: ValidationInfo) -> NormSpec:
    try:
        spec = parse_norm(value)
        if not is_quick(info):
            return spec.checked()
        if spec.name in NORMS.built_in:
            check_options(NORMS[spec.name], spec.options, f"norm '{spec.name}'")
        return spec
    except TypeError as error:  # pydantic reports ValueError only
        raise ValueError(str(error)) from error


def _parse_output(value: Any, info: ValidationInfo) -> bool | NormSpec:
    return value if isinstance(value, bool) else _parse(value, info)


_NAME = names_schema(NORMS, "+ws")
_SCHEMAS = [
    *_NAME["anyOf"],
    {"type": "object", "properties": {"name": _NAME}, "required": ["name"]},
]
NormChoice = Annotated[
    NormSpec,
    BeforeValidator(_parse),
    PlainSerializer(lambda spec: spec.setting),
    WithJsonSchema({"anyOf": _SCHEMAS}),
]
OutputNorm = Annotated[
    bool | NormSpec,
    BeforeValidator(_parse_output),
    PlainSerializer(lambda value: value if isinstance(value, bool) else value.setting),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, *_SCHEMAS]}),
]
