"""Messages for settings that pydantic refuses, with the value and the expected values."""

from collections.abc import Mapping, Sequence
from itertools import chain
from math import inf
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.options import VERBATIM
from ssl_norm.text import as_typed

Bounds = tuple[float | None, str, float | None, str]
NUMBERS = {int: "an integer", float: "a number"}


class _Place(NamedTuple):
    """A value in nested settings: its key, its model and field, and its annotation."""

    key: str
    owner: type[BaseModel]
    field: FieldInfo | None
    annotation: Any


def line_of(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Return one line for the first error: the key, the value and the expected values.

    The message of a `UserError` stays as it is, and that of another ValueError follows the key.
    `prefix` contains the keys that lead to the model, with a trailing dot.
    """
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda item: item["type"] == "missing")
    found, kind, location = first["input"], first["type"], first["loc"]
    is_too_short = kind == "missing" and isinstance(location[-1], int)  # a tuple
    place = _place_of(model, location[:-1] if is_too_short else location)
    key, annotation = f"{prefix}{place.key}", place.annotation
    if kind == "missing" and not is_too_short:
        return f"{key}=... is needed"
    if kind == "extra_forbidden":
        section, _, name = key.rpartition(".")
        what = f"key of {section}" if section else "key"
        return unknown_name(what, name, place.owner.model_fields)
    if kind == "value_error":
        cause = first["ctx"]["error"]
        return str(cause) if isinstance(cause, UserError) or not key else f"{key}: {cause}"
    if place.field is None:
        return f"{key}: {first['msg']}"
    if found is None or isinstance(found, Mapping | list | tuple):
        return f"{key}: {expected(annotation)} expected, got {as_typed(found)}"
    if choices := choices_of(annotation):
        return unknown_name(key, as_typed(found), choices)
    return f"{key}={as_typed(found)}: {expected(annotation)} expected"


def _place_of(model: type[BaseModel], location: Sequence[str | int]) -> _Place:
    """Return the place of a location of pydantic, which includes names of branches of unions."""
    place = _Place("", model, None, model)
    for part in location:
        owner = model_of(place.annotation)
        if owner is not None:
            field = owner.model_fields.get(str(part))
            annotation = annotation_of(field)
            place = _Place(f"{place.key}.{part}".lstrip("."), owner, field, annotation)
        elif (item := _item_of(place.annotation, part)) is not None:
            added = f"[{part}]" if isinstance(part, int) else f".{part}"
            place = place._replace(key=place.key + added, annotation=item)
    return place


def annotation_of(field: FieldInfo | None) -> Any:
    """Return the annotation of a field with its metadata; None for None."""
    if field is None or not field.metadata:
        return field and field.annotation
    return Annotated[(field.annotation, *field.metadata)]


def _item_of(annotation: Any, part: str | int) -> Any:
    """Return the annotation of an item of a list, tuple or dict; None if there is no such item."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return arguments[1] if isinstance(part, str) else None
    if origin in (list, tuple):
        is_uniform = origin is list or Ellipsis in arguments
        return arguments[0 if is_uniform else part] if isinstance(part, int) else None
    items = (_item_of(choice, part) for choice in arguments)
    return next((item for item in items if item is not None), None)


def find_field(
    model: type[BaseModel], keys: Sequence[str]
) -> tuple[type[BaseModel], FieldInfo | None]:
    """Return the model that contains a nested key, and its field; None if it has no such field."""
    place = _place_of(model, keys)
    return place.owner, place.field


def is_verbatim(annotation: Any) -> bool:
    """Return whether an annotation is that of a path or other literal text."""
    parts = get_args(annotation)
    return VERBATIM in parts or any(map(is_verbatim, parts))


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation such as `Head | None`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for part in get_args(annotation) if (m := model_of(part))), None)


def expected(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Return a phrase for the values of an annotation, such as `an integer in [1, 100]`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return expected(arguments[0], [*arguments[1:], *metadata])
    if origin in (Union, UnionType):
        parts = [part for part in arguments if part is not type(None)]
        return " or ".join(dict.fromkeys(expected(part, metadata) for part in parts))
    if origin is Literal:
        return " | ".join(map(as_typed, arguments))
    if origin is list or arguments[1:] == (Ellipsis,):
        return f"a list in brackets, [...], each item {expected(arguments[0]).rstrip(',')},"
    if origin is dict:
        return f"a mapping, {{key: ...}}, each value {expected(arguments[1]).rstrip(',')},"
    if origin is tuple:
        return f"{len(arguments)} numbers in brackets, each {expected(arguments[0])}"
    if annotation in NUMBERS:
        return NUMBERS[annotation] + _range(bounds_of(metadata))
    if annotation is bool:
        return "true or false"
    if (model := model_of(annotation)) is not None and model.model_fields:
        return f"a mapping of {', '.join(model.model_fields)}"
    return "text" if annotation is str else "a value"


def bounds_of(metadata: Sequence[Any]) -> Bounds:
    """Return lower bound, bracket, upper bound and bracket; a missing bound is None."""
    ends = {
        name: end
        for item in metadata
        for name in ("ge", "gt", "le", "lt")
        if (end := getattr(item, name, None)) is not None
    }
    low, high = ends.get("ge", ends.get("gt")), ends.get("le", ends.get("lt"))
    return low, "(["["ge" in ends], high, ")]"["le" in ends]


def _range(bounds: Bounds) -> str:
    """Return an interval, with `-inf` or `inf` for a missing bound; "" if both are missing."""
    low, opening, high, closing = bounds
    ends = (-inf if low is None else low, inf if high is None else high)
    first, last = (str(end) if isinstance(end, int) else f"{end:g}" for end in ends)
    return "" if low is high is None else f" in {opening}{first}, {last}{closing}"


def choices_of(annotation: Any) -> list[str]:
    """Return the choices of an annotation as they are typed; none if other values are valid."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return list(map(as_typed, arguments))
    if origin is Annotated:
        return choices_of(arguments[0])
    parts = [part for part in arguments if part not in (type(None), Ellipsis)]
    found = [["true", "false"] if part is bool else choices_of(part) for part in parts]
    is_choice = all(found) and any(part is not bool for part in parts)
    return list(chain.from_iterable(found)) if is_choice else []
