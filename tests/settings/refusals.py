"""Typed settings, and the lines that refuse wrong ones."""

import re
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ssl_norm.errors import UserError
from ssl_norm.settings.compose import with_values
from ssl_norm.settings.models import validate

START = {
    "pretrain": {"method": {"name": "byol"}},
    "doctor": {"method": {"name": "byol"}},
    "linear_eval": {"checkpoint": "x"},
    "population_stats": {"checkpoint": "x"},
    "diagnose": {"checkpoint": "x"},
    "report": {"runs": "x"},
}
SETTING = re.compile(r"[\w.]+=(?:\{.*?\}(?= |$)|\[.*?\](?= |$)|'.*?'|\S*)")


def typed_values(tool: str, typed: str) -> dict[str, Any]:
    """Return nested values: required settings, and those typed as `key=value key=value`."""
    overrides = OverridesParser.create().parse_overrides(SETTING.findall(typed))
    changes = {override.key_or_group: override.value() for override in overrides}
    return with_values(tool, START.get(tool, {}), changes)


def accept(tool: str, typed: str) -> Any:
    """Return the validated settings."""
    return validate(tool, typed_values(tool, typed))


def assert_refused(tool: str, typed: str, expected: str) -> None:
    """Assert that the last setting typed is refused in one line that names its key.

    Args:
        tool: name of the tool.
        typed: settings as `key=value key=value`.
        expected: parts of the line in their order, separated by ` ... `.
    """
    with pytest.raises(UserError) as caught:
        accept(tool, typed)
    line = str(caught.value)
    assert "\n" not in line
    assert re.search(".*".join(map(re.escape, expected.split(" ... "))), line), line
    keys = [setting.partition("=")[0] for setting in SETTING.findall(typed)]
    assert not keys or any(_names(line, key) for key in keys), line


def _names(line: str, key: str) -> bool:
    """Return whether a line names a key, or a section and the key that the section lacks."""
    parts = key.split(".")
    unknown = ((".".join(parts[:i]), f"'{parts[i]}'") for i in range(len(parts)))
    return key in line.replace(": ", ".") or any(s in line and leaf in line for s, leaf in unknown)
