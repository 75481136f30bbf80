"""The settings of a run as a run folder or a checkpoint keeps them."""

from collections.abc import Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from ssl_norm.config import SCHEMAS


def with_schema(saved: Mapping[str, Any] | DictConfig, tool: str) -> DictConfig:
    """Return saved settings as this version has them: typed, and keys that are newer at their defaults.

    Args:
        saved: nested, `method.name` among them where the tool is `pretrain`.
        tool: that they are of, `pretrain` or `finetune`.

    Raises:
        KeyError: there is no such method.
        OmegaConfBaseException: there is a key or a value that this version does not know.
    """
    schema = OmegaConf.structured(SCHEMAS[f"schema/{tool}"])
    if tool == "pretrain":
        schema.method = OmegaConf.structured(SCHEMAS[f"schema/method/{saved['method']['name']}"])
    return cast(DictConfig, OmegaConf.merge(schema, saved))
