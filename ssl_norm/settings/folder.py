"""Folders of YAML files: the folder of the package, and those that a user adds."""

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError  # type: ignore[import-untyped]

from ssl_norm.errors import UserError
from ssl_norm.text import first_line

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED, _CLONE = _PACKAGE / "configs", _PACKAGE.parent / "configs"

CONFIG_FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CLONE
_FOLDERS = [CONFIG_FOLDER]


def add_folder(location: str) -> None:
    """Add a folder of the user, which has sub-folders method/, data/, study/ ... as configs/ has.

    It is given as in hydra.searchpath: a path, `file://<path>` or `pkg://<package>`.
    """
    scheme, _, rest = location.rpartition("://")
    try:
        folder = Path(str(files(rest))) if scheme == "pkg" else Path(rest).expanduser()
    except (ModuleNotFoundError, TypeError) as error:
        raise UserError(f"there is no package {rest} to read YAML files from") from error
    if not folder.is_dir():
        raise UserError(f"there is no folder {location} of YAML files")
    if folder.resolve() not in _FOLDERS:
        _FOLDERS.insert(0, folder.resolve())


def added_folders() -> list[Path]:
    """Return the folders of the user; their files take precedence over those of the package."""
    return [folder for folder in _FOLDERS if folder != CONFIG_FOLDER]


def find_file(group: str, name: str) -> Path | None:
    """Return the YAML file of an option of a config group, or None."""
    paths = (folder / group / f"{name}.yaml" for folder in _FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def read_file(path: Path, *sections: str) -> dict[str, Any]:
    """Return the contents of a YAML file, in which `sections` are keys that hold mappings."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line}: text in UTF-8 expected") from error
    try:
        found: Any = OmegaConf.to_container(OmegaConf.create(text)) if text.strip() else {}
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise UserError(f"{path}: line {line}: {error.problem or error.context}") from error
    except (YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: {first_line(error)}") from error
    if not isinstance(found, dict) or found == {text.strip(): None}:
        raise UserError(f"{path}: line 1: a mapping expected, key: value")
    for key in sections:
        section, _, name = key.partition(".")
        value = found.get(section, {})
        if not isinstance(value[name] if name else value, dict):
            before, *_ = re.split(rf"^ *{name or section}\b", text, maxsplit=1, flags=re.MULTILINE)
            line = before.count("\n") + 1
            raise UserError(f"{path}: line {line}: {key}: a mapping expected, key: value")
    return found


def names_in(group: str) -> Iterator[str]:
    """Yield the options of a config group that have a YAML file, sorted within each folder."""
    for folder in _FOLDERS:
        yield from (path.stem for path in sorted((folder / group).glob("*.yaml")))
