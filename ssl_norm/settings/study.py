"""Studies: tables of runs in one YAML file, each row an arm with several settings."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import MinLen
from pydantic import ConfigDict, ValidationError

from ssl_norm.errors import UserError
from ssl_norm.names import unknown_name
from ssl_norm.option_errors import line_of
from ssl_norm.options import Settings, option
from ssl_norm.settings.folder import find_file, names_in, read_file
from ssl_norm.settings.sections import Seed
from ssl_norm.text import as_typed

USUAL_TOOL = "pretrain"


class Study(Settings):
    """A file in configs/study/; keys that are not fields here are settings that its runs share.

    Arms become options of a config group `arm`, so that every sweeper and launcher of Hydra can run
    them.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    name: str = option(..., "name of the file")
    arms: dict[str, list[str]] = option(
        dict, "settings of each arm, `arm: [key=value, ...]`, including groups such as method=..."
    )
    seeds: list[Seed] = option(list, "seeds with which every arm runs; empty: the default seed")
    grid: dict[str, Annotated[list[Any], MinLen(1)]] = option(
        dict, "values of further keys, `key: [value, ...]`; every arm runs with every value"
    )
    tool: Literal["pretrain", "finetune"] = option(USUAL_TOOL, "tool that runs the study")
    figures: list[dict[str, Any]] = option(list, "figures that tools/report.py draws of the runs")

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that all runs share, including Hydra's `defaults` list."""
        return {**(self.model_extra or {}), "study": self.name}

    @property
    def typed_grid(self) -> dict[str, list[str]]:
        """The values of the grid as a user would type them."""
        return {key: [as_typed(value) for value in values] for key, values in self.grid.items()}


@cache
def read_study(name: str) -> Study:
    """Return a study from its file."""
    path = find_file("study", name)
    if path is None:
        raise UserError(unknown_name("study", name, study_tools()))
    table = read_file(path)
    if isinstance(arms := table.get("arms"), dict):
        table["arms"] = {str(arm): lines for arm, lines in arms.items()}
    try:
        return Study.model_validate({**table, "name": name})
    except ValidationError as error:
        raise UserError(f"study {name}: {line_of(error, Study)}") from error


@cache
def study_tools() -> Mapping[str, str]:
    """Return the tool of every study by name; a broken file counts as one for pretraining."""
    return {name: _tool_of(find_file("study", name)) for name in names_in("study")}


def studies_of(tool: str) -> list[str]:
    """Return the studies of a tool; tools/doctor.py has those of tools/pretrain.py."""
    owner = "pretrain" if tool == "doctor" else tool
    return [name for name, found in study_tools().items() if found == owner]


def _tool_of(path: Path | None) -> str:
    """Return the value of `tool` in a file, found by its line because reading YAML is slow."""
    line = re.search(rb"^tool *: *['\"]?(\w+)", path.read_bytes() if path else b"", re.MULTILINE)
    return line[1].decode() if line else USUAL_TOOL
