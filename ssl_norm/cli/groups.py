"""What may stand on the left of a setting: the groups of configs/ and the keys of a tool."""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import get_type_hints

from omegaconf import DictConfig, OmegaConf

from ssl_norm.config import SCHEMAS

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs"
USUAL_TOOL = "pretrain"  # of a study that names none


@cache
def groups_of(tool: str) -> Mapping[str, tuple[str, ...]]:
    """Return the groups that a user of the tool chooses from, and their options.

    They are the named entries of `defaults` in `configs/<tool>.yaml`; `optional` ones follow from
    other choices, and arms from the study. Of the studies those of this tool.
    """
    defaults = OmegaConf.load(CONFIG_FOLDER / f"{tool}.yaml").defaults
    names = [str(name) for entry in defaults if isinstance(entry, DictConfig) for name in entry]
    groups = {
        name: tuple(sorted(file.stem for file in (CONFIG_FOLDER / name).glob("*.yaml")))
        for name in names
        if not name.startswith("optional ") and name != "arm"
    }
    if "study" in groups:
        groups["study"] = tuple(name for name, owner in studies().items() if owner == tool)
    return groups


@cache
def keys_of(tool: str) -> Mapping[str, tuple[str, ...]]:
    """Return the keys before the first dot, with the keys below each."""
    hints = get_type_hints(SCHEMAS[f"schema/{tool}"])
    return {
        key: tuple(field.name for field in fields(hint)) if is_dataclass(hint) else ()
        for key, hint in hints.items()
    }


@cache
def studies() -> Mapping[str, str]:
    """Return every file of configs/study/ and the tool that it is for: its key `tool`, else pretrain."""
    files = sorted((CONFIG_FOLDER / "study").glob("*.yaml"))
    tools = {file.stem: re.search(r"^tool: *(\S+)", file.read_text(), re.M) for file in files}
    return {study: found[1] if found else USUAL_TOOL for study, found in tools.items()}
