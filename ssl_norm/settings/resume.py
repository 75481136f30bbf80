"""Settings of runs that exist: read again from their folders and checkpoints."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from pydantic import ValidationError

from ssl_norm.errors import UserError
from ssl_norm.option_errors import find_field, line_of, model_of
from ssl_norm.options import SAVED
from ssl_norm.settings.compose import groups_of
from ssl_norm.settings.models import MODELS


def restore(tool: str, saved: Mapping[str, Any]) -> Any:
    """Return the settings with which a run was made; newer keys have their defaults.

    Keys on which no weight depends are left out where this version does not know them.

    Raises:
        UserError: there is another key or a value that this version does not know.
    """
    model = MODELS[tool]
    known = _without_unknown(model, dict(saved))
    try:
        return model.model_validate(known, context=SAVED)
    except ValidationError as error:
        raise UserError(f"of another version: {line_of(error, model)}") from error


def _without_unknown(model: type[Any], saved: dict[str, Any]) -> dict[str, Any]:
    """Leave out unknown keys of sections that may change on resume."""
    saved.pop("environment", None)
    for name, field in model.model_fields.items():
        section = model_of(field.annotation)
        if section and may_change_on_resume(model, name) and isinstance(saved.get(name), Mapping):
            saved[name] = {k: v for k, v in saved[name].items() if k in section.model_fields}
    return saved


def may_change_on_resume(model: type[Any], key: str) -> bool:
    """Return whether a run may continue with another value of a dotted key."""
    parts = key.split(".")
    for end in range(1, len(parts) + 1):
        field = find_field(model, parts[:end])[1]
        extra = field.json_schema_extra if field is not None else None
        if isinstance(extra, dict) and extra.get("resume"):
            return True
    return False


class Difference(NamedTuple):
    """A setting of a run and the value that it is given now; None where there is none."""

    key: str
    old: Any
    new: Any


def differences(
    model: type[Any], saved: Mapping[str, Any], given: Mapping[str, Any], prefix: str = ""
) -> list[Difference]:
    """Return the keys that differ but may not change when a run continues."""
    changed: list[Difference] = []
    for key in dict.fromkeys([*saved, *given]):
        name, old, new = f"{prefix}{key}", saved.get(key), given.get(key)
        if old == new or may_change_on_resume(model, name):
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changed += differences(model, old, new, f"{name}.")
        else:
            changed.append(Difference(name, old, new))
    return changed


def continued(values: dict[str, Any], tool: str, typed: Sequence[str]) -> dict[str, Any]:
    """Return the values of the run to continue, overridden by those that were typed.

    If the command selects a config group, such as method=byol, the composed values count as a
    whole, because the group sets keys that the user did not type.

    Args:
        values: as composed.
        tool: `pretrain` or `finetune`.
        typed: settings of the command line.

    Raises:
        UserError: config.yaml of the run is not of this tool.
    """
    if not values.get("resume") or values.get("run_dir") is None:
        return values
    path = Path(values["run_dir"]).expanduser() / "config.yaml"
    settings = OverridesParser.create().parse_overrides(list(typed))
    groups = {*groups_of(tool), "arm"}
    if not path.is_file() or not groups.isdisjoint(setting.key_or_group for setting in settings):
        return values
    saved: Any = OmegaConf.to_container(OmegaConf.load(path))
    try:
        before = OmegaConf.create(restore(tool, saved).model_dump(mode="json"))
    except UserError as error:
        raise UserError(f"{path} is not of tools/{tool}.py of this version: {error}") from error
    assert isinstance(before, DictConfig)
    for setting in settings:
        key = setting.key_or_group
        field = find_field(MODELS[tool], key.split("."))[1]
        section = field is not None and model_of(field.annotation) is not None
        OmegaConf.update(before, key, setting.value(), merge=section, force_add=True)
    plain: Any = OmegaConf.to_container(before, resolve=True)
    return dict(plain)
