"""Checks of single arguments before Hydra composes the settings."""

import os
import re
from collections.abc import Iterator, Sequence
from typing import get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.option_errors import annotation_of, find_field, is_verbatim, model_of
from ssl_norm.settings.compose import check_choice, groups_of
from ssl_norm.settings.folder import add_folder
from ssl_norm.settings.models import MODELS, check_value

FLAGS = ("-m", "--multirun", "--resolve", "--hydra-help")
FLAGS_WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-i", "--info")
SWEEP_FLAGS = {"-m", "--multirun"}


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return Hydra's flags with their values, and the settings.

    Raises:
        UserError: a flag is unknown.

    Example:
        >>> split_flags(["seed=0,1", "-m", "study=deep_bn", "--cfg", "job"])
        (['-m', '--cfg', 'job'], ['seed=0,1', 'study=deep_bn'])
    """
    flags, settings = [], []
    remaining = iter(arguments)
    for argument in remaining:
        flag, equals, _ = argument.partition("=")
        if not argument.startswith("-"):
            settings.append(argument)
        elif flag in FLAGS:
            flags.append(argument)
        elif flag in FLAGS_WITH_VALUE:
            flags += [argument] if equals else [argument, *_value_of(flag, remaining)]
        else:
            raise UserError(
                f"unknown flag '{flag}'; settings are given as key=value, "
                f"for example {flag.lstrip('-')}=..."
            )
    return flags, settings


def _value_of(flag: str, remaining: Iterator[str]) -> list[str]:
    value = next(remaining, None)
    if value is None:
        raise UserError(f"{flag} needs a value")
    return [value]


def take_folders(arguments: Sequence[str]) -> list[str]:
    """Add the user's folders of YAML files, and return the arguments without them.

    Raises:
        UserError: there is no such folder.
    """
    others = []
    remaining = iter(arguments)
    for argument in remaining:
        key, equals, value = argument.lstrip("+").partition("=")
        if key in ("-cd", "--config-dir"):
            add_folder(value if equals else _value_of(key, remaining)[0])
        elif key == "hydra.searchpath":
            for part in value.strip("[]").split(","):
                add_folder(part.strip(" '\""))
        else:
            others.append(argument)
    return others


def check_setting(argument: str, tool: str) -> None:
    """Raise UserError unless an argument can be a setting of a tool.

    Args:
        argument: as typed.
        tool: that was started.
    """
    if argument.startswith(("=", "~")) or "=" not in argument:
        raise UserError(f"cannot read '{argument}': expected key=value")
    key, _, value = argument.lstrip("+").partition("=")
    if re.search(r"\d{400}", value):  # Python reads integers of up to 4300 digits
        raise UserError(f"{key}: {len(value)} characters with a number beyond every range")
    root = re.split(r"[.@/:]", key)[0].strip()
    fields, groups = MODELS[tool].model_fields, groups_of(tool)
    if root not in {*fields, *groups, "hydra"}:
        raise UserError(unknown_name("key", root, dict.fromkeys([*fields, *groups])))
    if key in ("method.name", "data.name") and "method" in groups:
        name = value.strip("'\"")
        raise UserError(f"{key}={name}: other settings follow from it; use {root}={name}")
    if key in groups:
        check_choice(key, value, tool)
        return
    below = model_of(fields[key].annotation) if key in fields else None
    is_norm_or_empty = below is None or not below.model_fields
    if not is_norm_or_empty and not value.startswith("{") and key != "method":
        names = list(below.model_fields) if below else []
        raise UserError(
            f"{key}: holds the keys {', '.join(names)}; set them as {key}.{names[0]}=..."
        )
    _check_plain_value(argument, tool)


def _check_plain_value(argument: str, tool: str) -> None:
    """Raise UserError where a value is wrong, unless only the composition can tell."""
    try:
        (override,) = OverridesParser.create().parse_overrides(
            [literal(argument.lstrip("+"), tool)]
        )
    except OverrideParseException:
        return
    if not override.is_sweep_override() and "${" not in argument:
        check_value(tool, override.key_or_group, override.value())


def literal(argument: str, tool: str) -> str:
    """Quote a path or a title, so that `~`, spaces, brackets and commas arrive as typed.

    Example:
        >>> literal("data.root=/photos/Rome (2024)", "pretrain")
        "data.root='/photos/Rome (2024)'"
    """
    key, equals, value = argument.partition("=")
    field = find_field(MODELS[tool], key.split("."))[1]
    annotation = field and annotation_of(field)
    is_list = value.startswith("[") and any(get_origin(t) is list for t in get_args(annotation))
    is_literal = not is_list and (is_verbatim(annotation) or value.startswith("~/"))
    if not equals or not is_literal or not value or value[0] in "'\"" or value == "null":
        return argument
    expanded = os.path.expanduser(value)
    is_plain = re.fullmatch(r"[A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]*)+", expanded)
    return f"{key}={expanded if is_plain else quoted(expanded)}"


def quoted(text: str) -> str:
    r"""Return text in quotes of Hydra's grammar.

    Example:
        >>> print(quoted("it's"))
        'it\'s'
    """
    text = os.path.expanduser(text) if text.startswith("~/") else text
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"
