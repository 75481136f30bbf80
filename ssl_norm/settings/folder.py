"""Folders of YAML files: those of the package, and those that a user adds."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from ssl_norm.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED, _CLONE = _PACKAGE / "configs", _PACKAGE.parent / "configs"

CONFIG_FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CLONE
_FOLDERS = [CONFIG_FOLDER]


def add_folder(location: str) -> None:
    """Add a folder of the user, with folders method/, data/, study/ ... as in configs/.

    Args:
        location: a path, `file://<path>` or `pkg://<package>`, as in hydra.searchpath.

    Raises:
        UserError: there is no such folder.
    """
    scheme, _, rest = location.rpartition("://")
    try:
        folder = Path(str(files(rest))) if scheme == "pkg" else Path(rest).expanduser()
    except ModuleNotFoundError as error:
        raise UserError(f"there is no package {rest} to read YAML files from") from error
    if not folder.is_dir():
        raise UserError(f"there is no folder {location} of YAML files")
    if folder.resolve() not in _FOLDERS:
        _FOLDERS.insert(0, folder.resolve())


def added_folders() -> list[Path]:
    """Return the folders of the user; their files take precedence over those of the package."""
    return [folder for folder in _FOLDERS if folder != CONFIG_FOLDER]


def find_file(group: str, name: str) -> Path | None:
    """Return the YAML file of an option of a config group; None where there is none."""
    paths = (folder / group / f"{name}.yaml" for folder in _FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def names_in(group: str) -> Iterator[str]:
    """Yield the options of a config group that have a YAML file, sorted within each folder."""
    for folder in _FOLDERS:
        yield from (path.stem for path in sorted((folder / group).glob("*.yaml")))
