"""Settings of one command, typed on a command line or given in Python."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from ssl_norm.cli.arguments import check_setting, literal, quoted
from ssl_norm.cli.arms import choose_arms
from ssl_norm.cli.resume import continued
from ssl_norm.errors import UserError
from ssl_norm.option_errors import find_field, model_of
from ssl_norm.settings.compose import choices, given_keys, groups_of, one_line_errors, typed_values
from ssl_norm.settings.models import MODELS, validate
from ssl_norm.text import as_typed

TRAINING_TOOLS = ("pretrain", "finetune")
WRITTEN = ("run_dir", "output")  # keys of the paths to which results are written


def typed_lines(tool: str, values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield `key=value` for each value of nested settings, as it is typed on a command line.

    The `name` in the section of a config group chooses its option, as `data=folder` does.
    """
    groups = groups_of(tool)
    for name, value in values.items():
        key = f"{prefix}{name}"
        field = find_field(MODELS[tool], key.split("."))[1]
        plain = _plain(key, value)
        if isinstance(plain, dict) and (key in groups or (field and model_of(field.annotation))):
            option = plain.get("name")
            is_choice = key in ("method", "data") or option in choices(key, tool)
            if key in groups and isinstance(option, str) and is_choice:
                yield f"{key}={plain.pop('name')}"
            yield from typed_lines(tool, plain, f"{key}.")
        elif plain is not None or key not in ("study", "arm"):
            is_option = key in (*groups, "arm") and isinstance(plain, str)
            yield f"{key}={plain if is_option else as_typed(plain, quoted)}"


def _plain(key: str, value: Any) -> Any:
    """Return a value in a form of YAML: a path as text, a class or function as `module:object`."""
    value = getattr(value, "setting", value)  # a parsed norm has it
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(f"{key}.{name}", item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(key, item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    name = getattr(value, "__qualname__", "<")
    if "<" in name:
        raise UserError(
            f"{key}: a plain value expected, or a class or function at the top of a module; "
            f"got {value!r}"
        )
    return f"{value.__module__}:{name}"


def checked_settings(settings: Sequence[str], tool: str, *, sweep: bool = False) -> list[str]:
    """Return the `key=value` settings of a command for Hydra, with the sweep of a chosen study."""
    settings = [line for setting in settings for line in _without_mapping(setting, tool)]
    for setting in settings:
        check_setting(setting, tool)
    settings = [literal(setting.lstrip("+"), tool) for setting in settings]
    if sweep:
        _check_places(settings, tool)
    return choose_arms(settings, tool, sweep=sweep) if "study" in groups_of(tool) else settings


def _check_places(settings: Sequence[str], tool: str) -> None:
    """Raise UserError if all runs of a sweep would write to the same path."""
    fields, given = MODELS[tool].model_fields, typed_values(settings)
    for key in (key for key in WRITTEN if key in fields):
        name = given.get(key, as_typed(fields[key].default)).strip("'\"")
        if name != "null" and "${" not in name:
            use = "hydra.sweep.dir=..." if key == "run_dir" else f"{key}=...${{seed}}..."
            raise UserError(f"{key}={name}: all runs of the sweep would write there; use {use}")


def _without_mapping(setting: str, tool: str) -> list[str]:
    """Split a mapping for a config group, `data={name: folder, ...}`, into a setting per key."""
    key, _, value = setting.lstrip("+").partition("=")
    if key not in groups_of(tool) or not value.startswith("{"):
        return [setting]
    with one_line_errors():
        (override,) = OverridesParser.create().parse_overrides([f"{key}={value}"])
    return list(typed_lines(tool, {key: override.value()}))


def command_settings(tool: str, values: dict[str, Any], typed: Sequence[str]) -> Any:
    """Return the checked settings of one run, from composed values and the typed settings."""
    values = continued(values, tool, typed) if tool in TRAINING_TOOLS else values
    return validate(tool, values, given_keys(tool, typed))
