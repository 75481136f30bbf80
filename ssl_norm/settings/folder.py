"""The folder of YAML files."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED, _CLONE = _PACKAGE / "configs", _PACKAGE.parent / "configs"

CONFIG_FOLDER = _INSTALLED if _INSTALLED.is_dir() else _CLONE
