"""What Hydra composes of configs/: the schemas and studies that it knows, and the values of a plain command."""

from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ssl_norm.cli.arms import register_studies
from ssl_norm.cli.groups import CONFIG_FOLDER
from ssl_norm.config import SCHEMAS


def register_schemas() -> None:
    """Make the dataclasses known to Hydra under their names in `SCHEMAS`, and the studies."""
    for name, schema in SCHEMAS.items():
        group, _, option = name.rpartition("/")
        ConfigStore.instance().store(option, schema, group=group)
    register_studies()


def composed_values(config_name: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Return the nested values that a tool runs with when nothing but `overrides` is typed; ??? where one is needed."""
    register_schemas()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        values = OmegaConf.to_container(compose(config_name, list(overrides)), resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
