"""Settings that were given and that nothing reads in their composition."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from ssl_norm.console import say
from ssl_norm.errors import UserError
from ssl_norm.launch import is_first_process
from ssl_norm.option_errors import annotation_of, is_verbatim
from ssl_norm.options import Settings
from ssl_norm.text import as_typed


def check_effects(settings: Settings, given: Iterable[str]) -> None:
    """Print a line for each given setting without effect.

    Args:
        settings: of a tool.
        given: dotted keys that the user gave, in whatever way.

    Raises:
        UserError: the setting is a path: what it names would be left out silently.
    """
    for key, is_path, reason in without_effect(settings, given):
        if is_path:
            raise UserError(f"{key} has no effect: {reason}; leave it out")
        if is_first_process():
            say(f"note: {key} has no effect: {reason}")


def without_effect(settings: Settings, given: Iterable[str]) -> Iterator[tuple[str, bool, str]]:
    """Yield each given setting without effect as typed, whether it is a path, and the reason."""
    for key in dict.fromkeys(given):
        reason = settings.unused().get(key, "")
        owner: Any = settings
        for name in key.split("."):
            if not isinstance(owner, Settings) or name not in type(owner).model_fields:
                break
            section, field, owner = owner, type(owner).model_fields[name], getattr(owner, name)
            extra: Any = field.json_schema_extra or {}
            reason = reason or section.unused().get(name, "")
            reason = reason or _missing(extra.get("only_with", ""), section, settings)
        if reason and owner != field.get_default(call_default_factory=True):
            value = as_typed(getattr(owner, "setting", owner))
            yield f"{key}={value}", is_verbatim(annotation_of(field)), reason


def _missing(condition: str, section: Settings, settings: Settings) -> str:
    """Return the reason why a condition of `option` does not hold; empty where it does.

    Args:
        condition: `key`, `key=value|value` or `key>number`; empty: none.
        section: in which the key is looked up first.
        settings: in which it is looked up otherwise.
    """
    if not condition:
        return ""
    key, relation, values = [*re.split("([=>])", condition), "", ""][:3]
    found: Any = section if key in type(section).model_fields else settings
    for name in key.split("."):
        found = getattr(found, name)
    if relation == ">":
        holds = found > float(values)
    else:
        holds = as_typed(found) in values.split("|") if values else bool(found)
    needed = condition.replace("|", " or ") if relation else f"{key}, which is off"
    return "" if holds else f"it needs {needed}" + f"; {key} is {as_typed(found)}" * bool(relation)
