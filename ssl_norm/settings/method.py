"""Settings of a learner, from the signature of its class."""

from collections.abc import Iterator
from functools import cache
from typing import Any, cast

from pydantic import ValidationError, ValidationInfo

from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.memory import FLOAT, Need
from ssl_norm.option_errors import line_of
from ssl_norm.options import Settings, is_quick, model_from, option
from ssl_norm.settings.sections import OutputNorm
from ssl_norm.signature import declared_options, options_of, positional_of, read_positional

# From norm.view_statistics, the projector and the seed.
NOT_SETTINGS = ("view_statistics", "embedding_dim", "generator")


class HeadSettings(Settings):
    """An MLP head: `layers - 1` times (Linear, norm, ReLU), then a Linear for the output."""

    layers: int = option(2, "Linear layers; 0: no head", ge=0, le=100)
    hidden_dim: int = option(
        512, "width of the hidden layers", unit="channels", only_with="layers>1", ge=2, le=10**6
    )
    output_dim: int = option(
        128, "width of the embedding", unit="channels", only_with="layers", ge=2, le=10**6
    )
    norm_output: OutputNorm = option(
        False, "norm after the output layer: true (SimCLR): that of the head; or another norm"
    )

    def memory_needs(self) -> Iterator[Need]:
        """Yield the weights, their gradients and a moment of the layers after the first."""
        if self.layers > 1:
            weights = self.hidden_dim * (self.hidden_dim * (self.layers - 2) + self.output_dim)
            yield f"hidden_dim={self.hidden_dim} in layers={self.layers}", 3 * FLOAT * weights


class MethodSettings(Settings):
    """Settings of every learner; each learner adds its own heads and options."""

    name: str = option(..., "learner, chosen by method=<name>")
    projector: HeadSettings = option(HeadSettings, "head of the embeddings")


def heads_of(name: str) -> tuple[str, ...]:
    """Return the heads of a learner, its parameters after the encoder, without importing it."""
    target = METHODS.get(name, name)
    found = read_positional(target) if isinstance(target, str) else positional_of(target)
    return found[1:]


@cache
def method_model(name: str) -> type[MethodSettings]:
    """Return the settings of a learner; this imports its class unless it is of this package.

    Raises:
        ValueError: the name is unknown.
    """
    if name in METHODS.built_in:
        heads, options = heads_of(name), declared_options(METHODS, name)
    else:
        learner = METHODS.load(name)
        heads, options = positional_of(learner)[1:], options_of(learner)
    fields: dict[str, Any] = {"name": (str, option(name, "learner, chosen by method=<name>"))}
    for head in heads:
        text = "head of the embeddings" if head == "projector" else f"the head `{head}`"
        fields[head] = (HeadSettings, option(HeadSettings, text))
    settings = (found for found in options.values() if found.name not in NOT_SETTINGS)
    return cast(type[MethodSettings], model_from(name, settings, MethodSettings, **fields))


def parse_method(values: Any, info: ValidationInfo) -> Any:
    """Return the typed settings of the learner that `name` names.

    In a validation with the context `quick`, no class is imported: of learners of other packages
    only the name is checked.

    Raises:
        ValueError: there is no name, or it is unknown.
    """
    if isinstance(values, str):
        values = {"name": values}
    if not isinstance(values, dict):
        return values
    if "name" not in values:
        raise ValueError(f"choose a learner: method={' | '.join(METHODS)}")
    METHODS.check(values["name"], "method")
    if is_quick(info) and values["name"] not in METHODS.built_in:
        return MethodSettings.model_construct(**values)
    model = method_model(values["name"])
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(line_of(error, model, "method.")) from error
