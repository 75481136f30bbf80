"""Messages for settings that pydantic refuses: what was found, what was expected."""

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.text import as_typed

Bounds = tuple[float | None, str, float | None, str]
NUMBERS = {int: "an integer", float: "a number"}


def line_of(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Return one line for the first error: the key, the value found and the values expected.

    The message of a `UserError` is complete; that of another ValueError follows its key.

    Args:
        error: of the validation.
        model: that refused the values.
        prefix: keys that lead to the model, with a trailing dot.
    """
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda item: item["type"] == "missing")
    keys = [key for key in first["loc"] if isinstance(key, str)]
    owner, field = find_field(model, keys)
    found, kind, location = first["input"], first["type"], first["loc"]
    if kind == "missing" and isinstance(location[-1], int):  # an item of a list that is too short
        location = location[:-1]
    key = prefix + "".join(_parts_of_key(model, location)).removeprefix(".")
    if kind == "missing" and location == first["loc"]:
        return f"{key}=... is needed"
    if kind == "extra_forbidden":
        where = key.rpartition(".")[0]
        return unknown_name(f"key of {where}" if where else "key", keys[-1], owner.model_fields)
    if kind == "value_error":
        cause = first["ctx"]["error"]
        return str(cause) if isinstance(cause, UserError) or not key else f"{key}: {cause}"
    if field is None:
        return f"{key}: {first['msg']}"
    annotation = field.annotation
    phrase = expected(annotation, field.metadata)
    if isinstance(location[-1], int):
        annotation = _item_of(annotation, location[-1])
        phrase = expected(annotation)
    if found is None or isinstance(found, Mapping | list | tuple):
        return f"{key}: {phrase} expected, got {as_typed(found)}"
    if choices := list(choices_of(annotation)):
        return unknown_name(key, as_typed(found), choices)
    return f"{key}={as_typed(found)}: {phrase} expected"


def _item_of(annotation: Any, index: int) -> Any:
    """Return the annotation of an item of a list or tuple, also of an optional one."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (list, tuple):
        return arguments[min(index, len(arguments) - 1) if Ellipsis not in arguments else 0]
    return next((_item_of(part, index) for part in arguments if part is not type(None)), annotation)


def find_field(
    model: type[BaseModel], keys: Sequence[str]
) -> tuple[type[BaseModel], FieldInfo | None]:
    """Return the model that owns a nested key, and its field; None where it has no such field."""
    owner, field = model, None
    for key in keys:
        if field is not None:
            below = model_of(field.annotation)
            if below is None:
                return owner, field
            owner = below
        if key not in owner.model_fields:
            return owner, None
        field = owner.model_fields[key]
    return owner, field


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation such as `Head | None`; None without one."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for part in get_args(annotation) if (m := model_of(part))), None)


def expected(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return a phrase for the values of an annotation: `an integer in [1, 100]`, `true or false`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return expected(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, UnionType):
        parts = [part for part in arguments if part is not type(None)]
        return " or ".join(dict.fromkeys(expected(part, metadata) for part in parts))
    if origin is Literal:
        return " | ".join(map(as_typed, arguments))
    if origin is list or arguments[1:] == (Ellipsis,):
        return f"a list in brackets, [...], each item {expected(arguments[0])},"
    if origin is dict:
        return f"a mapping, {{key: ...}}, each value {expected(arguments[1])},"
    if origin is tuple:
        return f"{len(arguments)} numbers in brackets, each {expected(arguments[0])}"
    if annotation in NUMBERS:
        return NUMBERS[annotation] + _range(bounds_of(metadata))
    if annotation is bool:
        return "true or false"
    return "text" if annotation is str else "a value"


def bounds_of(metadata: Sequence[Any]) -> Bounds:
    """Return lower bound, its bracket, upper bound and its bracket; None for a side without bound."""
    low: float | None = None
    high: float | None = None
    opening, closing = "[", "]"
    for item in metadata:
        for name in ("ge", "gt"):
            if getattr(item, name, None) is not None:
                low, opening = getattr(item, name), "[" if name == "ge" else "("
        for name in ("le", "lt"):
            if getattr(item, name, None) is not None:
                high, closing = getattr(item, name), "]" if name == "le" else ")"
    return low, opening, high, closing


def _range(bounds: Bounds) -> str:
    low, opening, high, closing = bounds
    if high is None and low is not None:
        return f" {'of at least' if opening == '[' else 'above'} {_shown(low)}"
    if low is None and high is not None:
        return f" {'of at most' if closing == ']' else 'below'} {_shown(high)}"
    if low is None or high is None:
        return ""
    return f" in {opening}{_shown(low)}, {_shown(high)}{closing}"


def _shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def choices_of(annotation: Any) -> Iterator[Any]:
    """Yield the choices of all `Literal` in an annotation, as they are typed in YAML."""
    if get_origin(annotation) is Literal:
        yield from map(as_typed, get_args(annotation))
        return
    for part in get_args(annotation):
        if part is bool:
            yield from ("true", "false")
        yield from choices_of(part)


def _parts_of_key(model: type[BaseModel], location: Sequence[str | int]) -> Iterator[str]:
    """Yield `.key` and `[index]` of a location, without pydantic's names of branches of a union."""
    owner: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int):
            yield f"[{part}]"
        elif owner is not None:
            yield f".{part}"
            field = owner.model_fields.get(part)
            owner = model_of(field.annotation) if field is not None else None
