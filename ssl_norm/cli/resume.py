"""Settings of a run that a command continues."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from ssl_norm.errors import UserError
from ssl_norm.settings.compose import groups_of, with_values
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
        before = restore(tool, saved).model_dump(mode="json")
    except UserError as error:
        raise UserError(f"{path} is not of tools/{tool}.py of this version: {error}") from error
    typed_values = {setting.key_or_group: setting.value() for setting in settings}
    merged = OmegaConf.create(with_values(tool, before, typed_values))
    plain: Any = OmegaConf.to_container(merged, resolve=True)
    return dict(plain)
