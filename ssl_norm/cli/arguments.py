"""Checks of single arguments before Hydra composes the settings."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.option_errors import annotation_of, find_field, is_verbatim, model_of
from ssl_norm.settings.compose import check_choice, groups_of
from ssl_norm.settings.folder import add_folder
from ssl_norm.settings.models import MODELS, check_value

INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
FLAGS: Mapping[str, tuple[str, ...] | None] = MappingProxyType(
    {  # values that a flag takes; (): no value; None: any value
        **dict.fromkeys(("-h", "--help", "-m", "--multirun", "--resolve", "--hydra-help"), ()),
        **dict.fromkeys(("-c", "--cfg"), ("job", "hydra", "all")),
        **dict.fromkeys(("-i", "--info"), INFO),
        **dict.fromkeys(("-p", "--package", "-cd", "--config-dir"), None),
    }
)
HELP_FLAGS = {"-h", "--help"}
SWEEP_FLAGS = {"-m", "--multirun"}
ACTIONS = (HELP_FLAGS, SWEEP_FLAGS, {"-c", "--cfg"}, {"-i", "--info"}, {"--hydra-help"})
OF_CFG = {"--resolve", "-p", "--package"}
# Keys of Hydra that tools do not support, and their replacements.
HYDRA_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "hydra.run.dir": "use run_dir=..., or output=...",
        "hydra.sweep.subdir": "runs are named after their settings; use hydra.sweep.dir=...",
        "hydra.mode": "use -m for a sweep",
        "hydra.job.chdir": "paths are relative to the current folder",
        "hydra.output_subdir": "config.yaml in the run folder holds the settings",
    }
)


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags with their values, and the settings."""
    flags, settings, given = [], [], set()
    remaining = iter(arguments)
    for argument in remaining:
        if not argument.startswith("-"):
            settings.append(argument)
            continue
        flag, equals, value = argument.partition("=")
        if flag not in FLAGS:
            name = flag.lstrip("-") or "key"
            raise UserError(
                f"unknown flag '{flag}'; known: {', '.join(FLAGS)}; "
                f"a setting has no dashes: {name}=..."
            )
        given.add(flag)
        choices = FLAGS[flag]
        if choices == ():
            if equals:
                raise UserError(f"{argument}: {flag} takes no value")
            flags.append(flag)
            continue
        value = value if equals else _value_of(flag, remaining)
        if choices is not None and value not in choices:
            raise UserError(unknown_name(f"value of {flag}", value, choices))
        flags += [flag, value]
    _check_together(given)
    return flags, settings


def _check_together(given: set[str]) -> None:
    """Raise UserError if flags ask for two actions, or a flag has no effect without `--cfg`."""
    asked = [flag for action in ACTIONS for flag in sorted(action & given)[:1]]
    if len(asked) > 1:
        raise UserError(f"{' and '.join(asked)} cannot be combined; give one of them")
    if given & OF_CFG and not given & {"-c", "--cfg"}:
        raise UserError(f"{min(given & OF_CFG)} is for --cfg; add --cfg job, or leave it out")


def _value_of(flag: str, remaining: Iterator[str]) -> str:
    value = next(remaining, None)
    if value is None:
        choices = FLAGS.get(flag)
        raise UserError(f"{flag} needs a value" + (f": {' | '.join(choices)}" if choices else ""))
    return value


def take_folders(arguments: Sequence[str]) -> list[str]:
    """Add the user's folders of YAML files, and return the arguments without them."""
    others = []
    remaining = iter(arguments)
    for argument in remaining:
        key, equals, value = argument.lstrip("+").partition("=")
        if key in ("-cd", "--config-dir"):
            add_folder(value if equals else _value_of(key, remaining))
        elif key == "hydra.searchpath":
            for part in value.strip("[]").split(","):
                add_folder(part.strip(" '\""))
        else:
            others.append(argument)
    return others


def check_setting(argument: str, tool: str) -> None:
    """Raise UserError unless an argument, as typed, can be a setting of a tool."""
    if argument.startswith(("=", "~")) or "=" not in argument:
        raise UserError(f"cannot read '{argument}': expected key=value{_hint(argument, tool)}")
    key, _, value = argument.lstrip("+").partition("=")
    if re.search(r"\d{400}", value):  # Python reads integers of up to 4300 digits
        raise UserError(f"{key}: a number of {len(value)} characters is out of range")
    root = _check_key(argument, tool)
    fields, groups = MODELS[tool].model_fields, groups_of(tool)
    if root == "hydra":
        return
    if key in ("method.name", "data.name") and "method" in groups:
        name = value.strip("'\"")
        raise UserError(f"{key}={name}: other settings depend on it; use {root}={name}")
    if key in groups:
        check_choice(key, value, tool)
        return
    below = model_of(fields[key].annotation) if key in fields else None
    if below and below.model_fields and not value.startswith("{") and key != "method":
        names = list(below.model_fields)
        raise UserError(
            f"{key} is a section with the keys {', '.join(names)}; set {key}.{names[0]}=..."
        )
    _check_plain_value(argument, tool)


def _hint(argument: str, tool: str) -> str:
    """Return how an argument without a key may have been meant."""
    if re.search(r"[\]},]$", argument):
        return ", with quotes around a value that has spaces"
    paths = [key for key in ("checkpoint", "runs") if key in MODELS[tool].model_fields]
    return f"; did you mean '{paths[0]}={argument}'?" if paths and Path(argument).exists() else ""


def _check_key(argument: str, tool: str) -> str:
    """Return the first part of a key: a setting of a tool, or `hydra`."""
    key = argument.lstrip("+").partition("=")[0]
    root = re.split(r"[.@/:]", key)[0].strip()
    if root == "hydra":
        for refused, repair in HYDRA_KEYS.items():
            if f"{refused}.".startswith(f"{key}."):
                raise UserError(f"{refused} is not available: {repair}")
        return root
    known = dict.fromkeys([*MODELS[tool].model_fields, *groups_of(tool)])
    if root not in known:
        others = [name for name, model in MODELS.items() if root in model.model_fields]
        hint = f" (it is a key of {', '.join(others)})" if others else ""
        raise UserError(unknown_name("key", root, known) + hint)
    if not re.fullmatch(r"\w+(\.\w[\w-]*)*", key):
        raise UserError(
            f"cannot read '{argument}': expected a key of names separated by dots; use {root}=..."
        )
    return root


def _check_plain_value(argument: str, tool: str) -> None:
    """Raise UserError if a value is wrong and this is certain before the composition."""
    try:
        (override,) = OverridesParser.create().parse_overrides(
            [literal(argument.lstrip("+"), tool)]
        )
    except OverrideParseException:
        return
    if not override.is_sweep_override() and "${" not in argument:
        check_value(tool, override.key_or_group, override.value())


def literal(argument: str, tool: str) -> str:
    """Quote a path or a title, so that `~`, spaces, brackets and commas arrive as typed."""
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
    """Return text in quotes of Hydra's grammar, with `~` expanded."""
    text = os.path.expanduser(text) if text.startswith("~/") else text
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), text) + "'"
