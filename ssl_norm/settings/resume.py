"""Settings of existing runs, read from their folders and checkpoints."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ssl_norm.errors import UserError
from ssl_norm.option_errors import find_field, line_of, model_of
from ssl_norm.options import SAVED
from ssl_norm.settings.models import MODELS


def restore(tool: str, saved: Mapping[str, Any]) -> Any:
    """Return the settings of a run; keys that are newer than the run have their defaults.

    Unknown keys are ignored if no weight depends on them.
    """
    model = MODELS[tool]
    known = _without_unknown(model, dict(saved))
    try:
        return model.model_validate(known, context=SAVED)
    except ValidationError as error:
        raise UserError(line_of(error, model)) from error


def _without_unknown(model: type[Any], saved: dict[str, Any]) -> dict[str, Any]:
    """Drop unknown keys of sections that may change on resume."""
    saved.pop("environment", None)
    for name, field in model.model_fields.items():
        section = model_of(field.annotation)
        if section and may_change_on_resume(model, name) and isinstance(saved.get(name), Mapping):
            saved[name] = {k: v for k, v in saved[name].items() if k in section.model_fields}
    return saved


def may_change_on_resume(tool: str | type[Any], key: str) -> bool:
    """Return whether a resumed run may have another value of a key; `tool` is a name or a model."""
    model = MODELS[tool] if isinstance(tool, str) else tool
    parts = key.split(".")
    for end in range(1, len(parts) + 1):
        field = find_field(model, parts[:end])[1]
        extra = field.json_schema_extra if field is not None else None
        if isinstance(extra, dict) and extra.get("resume"):
            return True
    return False


def differences(
    model: type[Any], saved: Mapping[str, Any], given: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Return key, value in the run and new value of settings that may not change on resume.

    If a key is newer than the run, its value in the run is the default; None: there is no value.
    """
    changed: list[tuple[str, Any, Any]] = []
    for key in dict.fromkeys([*saved, *given]):
        name, old, new = f"{prefix}{key}", saved.get(key), given.get(key)
        if key not in saved:
            field = find_field(model, name.split("."))[1]
            old = None if field is None else field.get_default(call_default_factory=True)
        if old == new or may_change_on_resume(model, name):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changed += differences(model, old, new, f"{name}.")
        else:
            changed.append((name, old, new))
    return changed
