"""Settings of a run that a command continues."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ssl_norm.errors import UserError
from ssl_norm.option_errors import find_field, model_of
from ssl_norm.settings.compose import groups_of
from ssl_norm.settings.models import MODELS
from ssl_norm.settings.resume import restore


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
