"""Checks of single arguments before Hydra composes the settings."""

import os
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, get_args, get_origin

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.option_errors import annotation_of, find_field, is_verbatim, model_of
from ssl_norm.settings.compose import check_choice, groups_of
from ssl_norm.settings.folder import add_folder
from ssl_norm.settings.models import MODELS, check_value

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


class _Flags(ArgumentParser):
    """Parser of flags, whose errors are of one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def flag_parser() -> ArgumentParser:
    """Return the parser of the flags of all tools."""
    parser = _Flags(add_help=False, allow_abbrev=False)
    action = parser.add_mutually_exclusive_group()
    for names in (("-h", "--help"), ("-m", "--multirun"), ("--hydra-help",)):
        action.add_argument(*names, action="store_true")
    action.add_argument("-c", "--cfg", choices=("job", "hydra", "all"))
    topics = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
    action.add_argument("-i", "--info", choices=topics)
    parser.add_argument("--resolve", action="store_true")
    parser.add_argument("-p", "--package")
    parser.add_argument("-cd", "--config-dir", action="append", default=[])
    return parser


def split_flags(arguments: Sequence[str]) -> tuple[Namespace, list[str]]:
    """Return the flags and the settings, and add the user's folders of YAML files."""
    flags, others = flag_parser().parse_known_args(arguments)
    for unknown in (argument for argument in others if argument.startswith("-")):
        name = unknown.partition("=")[0].lstrip("-") or "key"
        raise UserError(f"unknown flag '{unknown}'; a setting has no dashes: {name}=...")
    if (flags.resolve or flags.package) and not flags.cfg:
        raise UserError("--resolve and --package are for --cfg; add --cfg job, or leave them out")
    settings = []
    for argument in others:
        key, _, value = argument.lstrip("+").partition("=")
        if key == "hydra.searchpath":
            flags.config_dir += [part.strip(" '\"") for part in value.strip("[]").split(",")]
        else:
            settings.append(argument)
    for folder in flags.config_dir:
        add_folder(folder)
    return flags, settings


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
