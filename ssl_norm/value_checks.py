"""Checks of a single setting; null always passes."""

from collections.abc import Iterable

from ssl_norm.errors import UserError
from ssl_norm.intervals import Interval
from ssl_norm.names import unknown_name


def check_name(key: str, value: object, names: Iterable[str]) -> None:
    """Raise UserError unless the value is a known name; true and false count as names."""
    name = str(value).lower() if isinstance(value, bool) else value
    if value is not None and name not in (names := list(names)):
        raise UserError(unknown_name(key, name, names))


def check_number(key: str, value: object, interval: Interval) -> None:
    """Raise UserError unless the value is in the interval."""
    if value is not None and value not in interval:
        raise UserError(f"{key}={value}: {interval} expected")


def check_path(key: str, value: str | None, kind: str) -> None:
    """Raise UserError if a path is empty; `kind` describes its target."""
    if value is not None and not value.strip():
        raise UserError(f"{key} is empty; name the {kind}, or leave it out")
