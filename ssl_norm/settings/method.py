"""Settings of a learner, from the signature of its class, and checks of the norms of its heads."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, cast

from pydantic import ValidationError, ValidationInfo

from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.memory import FLOAT, Need
from ssl_norm.norms import NormSpec
from ssl_norm.norms.layers.groups import default_groups
from ssl_norm.option_errors import line_of
from ssl_norm.options import Settings, is_quick, model_from, option
from ssl_norm.settings.sections import OutputNorm
from ssl_norm.signature import options_of, positional_of

# Parameters of learners that follow from norm.view_statistics, the projector and the seed.
NOT_SETTINGS = ("view_statistics", "embedding_dim", "generator")
HeadNorm = tuple[str, NormSpec, str]  # key of the norm, the norm, the width that it normalizes


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
        False, "norm after the output layer; true: the same as in hidden layers, as in SimCLR"
    )

    def memory_needs(self) -> Iterator[Need]:
        """Yield the bytes of weights, gradients and one moment for all layers except the first."""
        if self.layers > 1:
            weights = self.hidden_dim * (self.hidden_dim * (self.layers - 2) + self.output_dim)
            yield f"hidden_dim={self.hidden_dim} in layers={self.layers}", 3 * FLOAT * weights


class MethodSettings(Settings):
    """Settings of every learner; each learner adds its own heads and options."""

    name: str = option(..., "learner, chosen by method=<name>")
    projector: HeadSettings = option(HeadSettings, "head of the embeddings")


def heads_of(name: str) -> tuple[str, ...]:
    """Return the heads of a learner, its parameters after the encoder, without an import of it."""
    return positional_of(METHODS.get(name, name))[1:]


@cache
def method_model(name: str) -> type[MethodSettings]:
    """Return the settings of a learner; a class of another package is imported."""
    learner = METHODS[name] if name in METHODS.built_in else METHODS.load(name)
    parts, options = positional_of(learner), options_of(learner)
    heads = parts[1:]
    if "projector" not in heads:
        raise UserError(
            f"method={name}: the parameters of its __init__ begin with {', '.join(parts) or 'none'}; "
            "encoder, projector and its other heads expected"
        )
    fields: dict[str, Any] = {"name": (str, option(name, "learner, chosen by method=<name>"))}
    for head in heads:
        text = "head of the embeddings" if head == "projector" else f"the head `{head}`"
        fields[head] = (HeadSettings, option(HeadSettings, text))
    settings = (found for found in options.values() if found.name not in NOT_SETTINGS)
    return cast(type[MethodSettings], model_from(name, settings, MethodSettings, **fields))


def parse_method(values: Any, info: ValidationInfo) -> Any:
    """Return the typed settings of the learner that `name` names.

    A validation with the context `quick` imports no class, so it checks only the name of a learner
    of another package.
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


def check_head(part: str, head: HeadSettings, norm: NormSpec) -> None:
    """Raise UserError unless the layers of a head can have their norms."""
    key = f"method.{part}"
    output_key, output = _norm_of_output(part, head, norm)
    if head.layers == 0 and output_key != f"norm.{part}":
        raise UserError(
            f"{output_key}={output}: a head of 0 layers has no output layer; set {key}.layers=1"
        )
    for norm_key, spec, width in norms_of_head(part, head, norm):
        check_vectors(norm_key, spec)
        check_groups(norm_key, spec, f"{key}.{width}", getattr(head, width))


def norms_of_head(part: str, head: HeadSettings, norm: NormSpec) -> Iterator[HeadNorm]:
    """Yield the norms of the layers of a head."""
    if head.layers > 1:
        yield f"norm.{part}", norm, "hidden_dim"
    if head.layers > 0:
        yield *_norm_of_output(part, head, norm), "output_dim"


def _norm_of_output(part: str, head: HeadSettings, norm: NormSpec) -> tuple[str, NormSpec]:
    if isinstance(head.norm_output, bool):
        return f"norm.{part}", norm if head.norm_output else NormSpec("none")
    return f"method.{part}.norm_output", head.norm_output


def check_vectors(key: str, norm: NormSpec) -> None:
    """Raise UserError unless a norm is meaningful for one value per channel."""
    if not norm.vectors:
        raise UserError(
            f"{key}={norm}: a head has one value per channel of a sample, which '{norm.name}' maps "
            f"to 0; use another norm there, such as {key}=ln"
        )


def check_groups(key: str, norm: NormSpec, width_key: str, width: int) -> None:
    """Raise UserError unless the groups of a norm divide the width of a layer.

    If a norm normalizes one sample at a time, each group must have several values.
    """
    if "groups" not in norm.all_options:
        return
    if norm.batch_statistics and norm.option("groups") is None:
        return
    groups: int = norm.option("groups") or default_groups(width)
    if width % groups == 0 and (groups < width or norm.batch_statistics):
        return
    fitting = max(count for count in range(1, min(groups, width - 1) + 1) if width % count == 0)
    name = f"{norm.name}+ws" if norm.weight_standardization else norm.name
    options: Mapping[str, object] = {"name": name, **norm.options, "groups": fitting}
    repair = ", ".join(f"{option}: {value}" for option, value in options.items())
    reason = "of one value each map it to 0" if groups == width else "do not divide it"
    raise UserError(
        f"{key}={norm} with {width_key}={width}: {groups} groups {reason}; use {fitting}: "
        f"{key}='{{{repair}}}'"
    )


def check_chunks(key: str, norm: NormSpec, samples: int, fewest: int) -> None:
    """Raise UserError if chunks of a norm would have too few of the samples in a pass."""
    domains: int | None = norm.option("domains")
    if domains is not None:
        if samples % domains:
            fitting = _nearest(domains, [d for d in range(1, samples + 1) if samples % d == 0])
            raise UserError(
                f"{key}={norm}: {samples} samples per process and pass are not {domains} equal "
                f"chunks, one for each domain; use domains: {fitting} or another batch_size"
            )
        if not norm.option("shared_statistics"):
            samples //= domains
        if samples < fewest and not norm.option("sync"):
            raise UserError(
                f"{key}={norm}: {samples} sample(s) of a domain have no batch statistics in a head; "
                "use a larger batch_size"
            )
    size: int | None = norm.option("batch_size")
    if size is None or (samples % size or size) >= fewest:
        return
    fitting = _nearest(size, [s for s in range(fewest, samples + 1) if samples % s != 1])
    raise UserError(
        f"{key}={norm}: {samples} samples leave a last ghost batch of one sample, which has no "
        f"batch statistics in a head; use {fitting}: "
        f"{key}='{{name: {norm.name}, batch_size: {fitting}}}'"
    )


def _nearest(number: int, candidates: list[int]) -> int:
    return min(candidates, key=lambda candidate: (abs(candidate - number), candidate))
