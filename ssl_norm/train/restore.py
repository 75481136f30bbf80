"""A run's learner from its checkpoint, for what comes after training."""

from collections.abc import Mapping
from textwrap import shorten
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssl_norm.config import SCHEMAS, MethodConfig, PretrainConfig
from ssl_norm.errors import UserError
from ssl_norm.learners.learner import Learner
from ssl_norm.train.build import initial_encoder, make_learner


def restore_config(saved: Mapping[str, Any]) -> PretrainConfig:
    """Return the configuration that a checkpoint holds as plain containers.

    Settings of the monitors are left out, which earlier versions had others of: no weight depends on them.

    Raises:
        UserError: it has keys or values that this version does not know.
    """
    try:
        method: MethodConfig = SCHEMAS[f"schema/method/{saved['method']['name']}"]()
        schema = OmegaConf.structured(PretrainConfig(method=method))
        known = {key: value for key, value in saved.items() if key != "monitor"}
        return cast(PretrainConfig, OmegaConf.to_object(OmegaConf.merge(schema, known)))
    except (KeyError, OmegaConfBaseException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"the checkpoint's configuration is of another version: {reason}"
        ) from error


def restore_learner(config: PretrainConfig, weights: Mapping[str, Any]) -> Learner:
    """Return the learner of a configuration with the weights and statistics of a checkpoint.

    Raises:
        UserError: the weights are not those of this learner.
    """
    learner = make_learner(config, initial_encoder(config)[0])
    try:
        learner.load_state_dict(weights)
    except RuntimeError as error:
        reason = shorten(str(error).splitlines()[1], 160, placeholder=" ...")
        raise UserError(
            f"the checkpoint does not hold the learner of its configuration: {reason}"
        ) from error
    return learner
