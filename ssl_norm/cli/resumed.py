"""A run that goes on with the settings that it was made with, which nobody has to type again."""

from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_norm.cli.groups import groups_of
from ssl_norm.errors import UserError
from ssl_norm.saved_settings import with_schema


def with_its_settings(config: DictConfig, tool: str, typed: Sequence[str]) -> DictConfig:
    """Return the settings of the run that is to go on, with those that were typed; `config` where files were chosen.

    A typed setting may differ from the run's: whether the run can go on with it is checked where it is opened.

    Args:
        config: as composed.
        tool: that was started, `pretrain` or `finetune`.
        typed: settings of the command line. A file of a group among them, such as `method=byol`, brings settings that
            nobody typed, so that the command counts as a whole.

    Raises:
        UserError: config.yaml of the run is not of this tool and version.
    """
    if not config.resume or config.run_dir is None:
        return config
    path = Path(config.run_dir).expanduser() / "config.yaml"
    settings = OverridesParser.create().parse_overrides(list(typed))
    keys = [setting.key_or_group for setting in settings]
    groups = {*groups_of(tool), "arm"}
    if not path.is_file() or not groups.isdisjoint(keys):
        return config
    saved = OmegaConf.load(path)
    assert isinstance(saved, DictConfig)
    saved.pop("environment", None)
    try:
        goes_on = with_schema(saved, tool)
    except (KeyError, OmegaConfBaseException) as error:
        raise UserError(
            f"{path} is not of tools/{tool}.py of this version: {str(error).splitlines()[0]}"
        ) from error
    for setting in settings:
        key = setting.key_or_group
        OmegaConf.update(goes_on, key, setting.value(), merge=is_section(goes_on, key))
    return goes_on


def is_section(config: DictConfig, key: str) -> bool:
    """Whether a key holds settings of their own, and not one value, such as a norm with its options."""
    node = OmegaConf.select(config, key)
    return isinstance(node, DictConfig) and is_dataclass(OmegaConf.get_type(node))
