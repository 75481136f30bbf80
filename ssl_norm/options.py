"""Base class of all settings, and the declaration of one setting."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from ssl_norm.errors import UserError
from ssl_norm.memory import Need
from ssl_norm.registry import Registry
from ssl_norm.signature import REQUIRED, Option
from ssl_norm.text import printable

T = TypeVar("T", bound=BaseModel)
VERBATIM = "verbatim"  # marks text in which Hydra's grammar has no meaning: a path, a title
Text = Annotated[str, VERBATIM]
_NO_TEXT = re.compile("[\ud800-\udfff]")  # in Python, bytes of a file name that are not UTF-8


class Settings(BaseModel):
    """Settings that refuse unknown keys, conversions between types, NaN and infinities.

    A YAML list is accepted for a tuple.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        arbitrary_types_allowed=True,
    )

    @field_validator("*", mode="before")
    @classmethod
    def _check_encoding(cls, value: Any) -> Any:
        if _NO_TEXT.search(json.dumps(value, ensure_ascii=False, default=str)):
            raise ValueError(
                f"{printable(str(value))} contains a byte that is not UTF-8, which config.yaml cannot "
                "store; for a file or folder, give a link to it"
            )
        return value

    def unused(self) -> Mapping[str, str]:
        """Return the reasons why settings of this section have no effect, by key.

        If the effect depends on one other setting, the setting declares it (`only_with` of
        `option`).
        """
        return {}

    def memory_needs(self) -> Iterator[Need]:
        """Yield settings with the fewest bytes that each needs, for a check before the run."""
        yield from ()

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        """Yield a line for each setting that does not fit another one; the first is raised."""
        yield from ()

    @model_validator(mode="after")
    def _check_faults(self, info: ValidationInfo) -> Self:
        for fault in self._faults(info):
            raise UserError(fault)
        return self

    @model_validator(mode="before")
    @classmethod
    def _tuples_of_lists(cls, values: Any) -> Any:
        """Turn the lists of YAML into tuples if the field is a tuple."""
        if not isinstance(values, Mapping):
            return values
        return {
            name: tuple(value)
            if isinstance(value, list) and name in cls.model_fields and _is_tuple(cls, name)
            else value
            for name, value in values.items()
        }


def _is_tuple(model: type[BaseModel], name: str) -> bool:
    annotation = model.model_fields[name].annotation
    return any(get_origin(part) is tuple for part in (annotation, *get_args(annotation)))


def option(
    default: Any,
    text: str,
    *,
    unit: str = "",
    resume: bool = False,
    only_with: str = "",
    **limits: Any,
) -> Any:
    """Declare a setting.

    Args:
        default: value if the user gives none; a class of settings or a function is called to make
            the value.
        text: its meaning, for `--help`, the reference page and the JSON schema.
        unit: unit of its number, for example `steps`.
        resume: whether a resumed run may have another value, because no weight depends on it.
        only_with: condition without which it has no effect: `key` (true, or not 0),
            `key=value|value` or `key>number`; the key is one of the section or of all settings.
        **limits: `ge`, `gt`, `le`, `lt`: the bounds of its range.
    """
    kind: dict[str, Any] = {"default": default}
    if isinstance(default, type) and issubclass(default, Settings):
        kind = {"default_factory": default.model_construct}  # a validation would import objects
    elif callable(default):
        kind = {"default_factory": default}
    extra: dict[str, Any] = {"resume": resume} | ({"unit": unit} if unit else {})
    extra |= {"only_with": only_with} if only_with else {}
    return Field(**kind, description=text, json_schema_extra=extra, **limits)


def model_from(
    name: str, options: Iterable[Option], base: type[BaseModel] = Settings, /, **fields: Any
) -> type[BaseModel]:
    """Return a model with a field for each option, in addition to `fields`."""
    for found in options:
        default = ... if found.default is REQUIRED else found.default
        fields[found.name] = (found.annotation, Field(default, description=found.text))
    model: type[BaseModel] = create_model(name, __base__=base, **fields)
    return model


def names_schema(registry: Registry, suffix: str = "") -> dict[str, Any]:
    """Return the JSON schema of a name or `module:object`, which may end with a suffix."""
    names = [*registry.built_in, *(f"{name}{suffix}" for name in registry.built_in if suffix)]
    pattern = r"^[\w.]+:[\w.]+" + (f"({re.escape(suffix)})?" if suffix else "") + "$"
    return {"anyOf": [{"enum": names}, {"type": "string", "pattern": pattern}]}


def check_object(registry: Registry, name: Any, info: ValidationInfo) -> None:
    """Raise ValueError unless a name is known and, in another package, of an object that fits.

    Objects are not imported in a quick validation or for the settings of an earlier run.
    """
    registry.check(name)
    if not (is_quick(info) or is_saved(info) or name in registry.built_in):
        registry.load(name)


QUICK = {"quick": True}  # context of a validation that does not import torch
SAVED = {"saved": True}  # context of a validation of the settings of an earlier run


def is_quick(info: ValidationInfo) -> bool:
    """Return whether only names, types and ranges are validated, without importing torch."""
    return bool(info.context and info.context.get("quick"))


def is_saved(info: ValidationInfo) -> bool:
    """Return whether the settings are those of an earlier run, whose files may have moved since."""
    return bool(info.context and info.context.get("saved"))


def replace(settings: T, **changes: Any) -> T:
    """Return a copy of settings with other values, which are not checked."""
    return settings.model_copy(update=changes)
