"""Norms as values of settings."""

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo, WithJsonSchema

from ssl_norm.norms import NormSpec, parse_norm
from ssl_norm.options import is_quick


def _parse(value: Any, info: ValidationInfo) -> NormSpec:
    try:
        spec = parse_norm(value)
        return spec if is_quick(info) else spec.checked()
    except TypeError as error:  # pydantic reports ValueError only
        raise ValueError(str(error)) from error


NormChoice = Annotated[
    NormSpec,
    BeforeValidator(_parse),
    PlainSerializer(lambda spec: spec.setting),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                },
            ]
        }
    ),
]
