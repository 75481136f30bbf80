"""A run's learner or classifier from its checkpoint, for what comes after training."""

from collections.abc import Mapping
from textwrap import shorten
from typing import Any, cast

from torch import nn

from ssl_norm.errors import UserError
from ssl_norm.learners.learner import Learner
from ssl_norm.models.classifier import Classifier
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.settings.resume import restore
from ssl_norm.train.builder import initial_encoder, make_encoder, make_learner


def restore_config(saved: Mapping[str, Any]) -> PretrainSettings:
    """Return the configuration that a checkpoint holds as plain containers.

    Settings of the monitors are left out, which earlier versions had others of: no weight depends on them.

    Raises:
        UserError: it has keys or values that this version does not know.
    """
    try:
        return cast(PretrainSettings, restore("pretrain", saved))
    except (KeyError, UserError) as error:
        raise _of_another_version(error) from error


def restore_finetune_config(saved: Mapping[str, Any]) -> FinetuneSettings:
    """Return the configuration of tools/finetune.py that a checkpoint holds as plain containers.

    Raises:
        UserError: it has keys or values that this version does not know.
    """
    try:
        return cast(FinetuneSettings, restore("finetune", saved))
    except UserError as error:
        raise _of_another_version(error) from error


def restore_learner(config: PretrainSettings, weights: Mapping[str, Any]) -> Learner:
    """Return the learner of a configuration with the weights and statistics of a checkpoint.

    Raises:
        UserError: the weights are not those of this learner.
    """
    learner = make_learner(config, initial_encoder(config)[0])
    _load(learner, weights, "learner")
    return learner


def restore_classifier(contents: Mapping[str, Any]) -> Classifier:
    """Return the classifier of a checkpoint of tools/finetune.py, with its weights and statistics.

    Args:
        contents: of the checkpoint; `classes`, the names of the logits, tells it from one of a learner.

    Raises:
        UserError: the configuration is of another version, or the weights are not those of this classifier.
    """
    config = restore_finetune_config(contents["config"])
    name, small_images = config.encoder.name or "tiny", config.encoder.small_images
    size, seed = config.data.view_size, config.seed
    encoder, _ = make_encoder(name, small_images, config.norm.encoder, size, seed)
    classifier = Classifier(encoder, len(contents["classes"]), seed=seed)
    _load(classifier, contents["learner"], "classifier")
    return classifier


def _load(network: nn.Module, weights: Mapping[str, Any], kind: str) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = shorten(str(error).splitlines()[1], 160, placeholder=" ...")
        raise UserError(
            f"the checkpoint does not hold the {kind} of its configuration: {reason}"
        ) from error


def _of_another_version(error: Exception) -> UserError:
    reason = str(error).splitlines()[0]
    return UserError(f"the checkpoint's configuration is of another version: {reason}")
