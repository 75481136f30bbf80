"""What can be said of an argument by itself, before Hydra composes the configuration."""

import re

from ssl_norm.cli.groups import groups_of, keys_of, studies
from ssl_norm.names import unknown_name

HYDRA_FLAGS = (
    "-m",
    "--multirun",
    "-c",
    "--cfg",
    "--resolve",
    "-p",
    "--package",
    "-i",
    "--info",
    "--hydra-help",
)


def complaint_about(argument: str, tool: str) -> str | None:
    """Return what is wrong with an argument of a tool, in one line; None where nothing is."""
    flag = argument.partition("=")[0]
    if argument.startswith("-"):
        if flag in HYDRA_FLAGS:
            return None
        return f"unknown flag '{flag}'; settings are given as key=value, for example {flag.lstrip('-')}=..."
    if argument.startswith(("=", "~")):
        return f"cannot read '{argument}': expected key=value"
    key, equals, value = argument.lstrip("+").partition("=")
    if not equals:
        return None
    root = re.split(r"[.@/:]", key)[0].strip()
    if root not in {*keys_of(tool), *groups_of(tool), "hydra"}:
        return unknown_name("key", root, dict.fromkeys([*keys_of(tool), *groups_of(tool)]))
    if key in groups_of(tool):
        return _complaint_about_option(key, value, tool)
    below = keys_of(tool).get(key, ())
    if below and not value.startswith("{"):
        return f"{key}: holds the keys {', '.join(below)}; set them as {key}.{below[0]}=..."
    return None


def unknown_option(group: str, option: str, options: tuple[str, ...]) -> str:
    """Return the line for an option that a group does not have."""
    message = unknown_name(group, option, options)
    return message + ("; any other encoder: encoder.name=..." if group == "encoder" else "")


def _complaint_about_option(group: str, value: str, tool: str) -> str | None:
    """Return which of the options, separated by commas in a sweep, the group does not have."""
    if re.search(r"[($]", value):  # a function or an interpolation: Hydra's to read
        return None
    options = groups_of(tool)[group]
    typed = [option.strip(" '\"") for option in value.split(",")]
    unknown = [option for option in typed if option not in options]
    if group == "study" and unknown and unknown[0] in studies():
        other = studies()[unknown[0]]
        return (
            f"study={unknown[0]} is of another tool: python tools/{other}.py -m study={unknown[0]}"
        )
    return unknown_option(group, unknown[0], options) if unknown else None
