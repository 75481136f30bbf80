"""What may stand on the left of a setting: the groups of configs/ and the keys of a tool."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import get_type_hints

from omegaconf import DictConfig, OmegaConf

from ssl_norm.config import SCHEMAS

CONFIG_FOLDER = Path(__file__).resolve().parents[2] / "configs"


@cache
def groups_of(tool: str) -> Mapping[str, tuple[str, ...]]:
    """Return the groups that a user of the tool chooses from, and their options.

    They are the named entries of `defaults` in `configs/<tool>.yaml`; `optional` ones follow from
    other choices, and arms from the study.
    """
    defaults = OmegaConf.load(CONFIG_FOLDER / f"{tool}.yaml").defaults
    names = [name for entry in defaults if isinstance(entry, DictConfig) for name in entry]
    return {
        str(name): tuple(sorted(file.stem for file in (CONFIG_FOLDER / str(name)).glob("*.yaml")))
        for name in names
        if not str(name).startswith("optional ") and str(name) != "arm"
    }


@cache
def keys_of(tool: str) -> Mapping[str, tuple[str, ...]]:
    """Return the keys before the first dot, with the keys below each."""
    hints = get_type_hints(SCHEMAS[f"schema/{tool}"])
    return {
        key: tuple(field.name for field in fields(hint)) if is_dataclass(hint) else ()
        for key, hint in hints.items()
    }
