"""Checks of the norms against each other and of heads against their norms; needs no torch."""

from typing import Any

from ssl_norm.config import HeadConfig, PretrainConfig
from ssl_norm.errors import UserError
from ssl_norm.intervals import Interval
from ssl_norm.models.output_norm import output_norm
from ssl_norm.norms import NormSpec, parse_norm
from ssl_norm.norms.layers.groups import default_groups
from ssl_norm.value_checks import check_number

WIDTH = Interval(2, whole=True)


def check_heads(config: PretrainConfig) -> None:
    """Check projector and predictor, and the norms of all three parts."""
    norm_spec("norm.encoder", config.norm.encoder)
    check_head("projector", config.method.projector, norm_spec_of(config, "projector"))
    predictor_norm = norm_spec_of(config, "predictor")
    predictor: HeadConfig | None = getattr(config.method, "predictor", None)
    if predictor is not None:
        check_head("predictor", predictor, predictor_norm)
        check_prediction(config.method.projector, predictor)
    elif predictor_norm.name != "none":
        raise UserError(
            f"norm.predictor={predictor_norm}: {config.method.name} has no predictor; leave it at none"
        )


def norm_spec_of(config: PretrainConfig, part: str) -> NormSpec:
    """Return the norm of a part."""
    return norm_spec(f"norm.{part}", getattr(config.norm, part))


def all_norms(config: PretrainConfig) -> dict[str, NormSpec]:
    """Return every norm of a run under its key: of the three parts, and of the heads' outputs."""
    specs = {
        f"norm.{part}": norm_spec_of(config, part) for part in ("encoder", "projector", "predictor")
    }
    for part in ("projector", "predictor"):
        head: HeadConfig | None = getattr(config.method, part, None)
        if head is not None and not isinstance(head.norm_output, bool):
            key = f"method.{part}.norm_output"
            specs[key] = norm_spec(key, head.norm_output)
    return specs


def norm_spec(key: str, value: Any) -> NormSpec:
    """Return the norm that a key names."""
    try:
        return parse_norm(value).checked()
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}") from error


def check_head(part: str, head: HeadConfig, spec: NormSpec) -> None:
    """Check the sizes of an MLP head, and that its norms can have them; no layers are the identity."""
    key = f"method.{part}"
    check_number(f"{key}.layers", head.layers, Interval(0, whole=True))
    check_number(f"{key}.hidden_dim", head.hidden_dim, WIDTH)
    check_number(f"{key}.output_dim", head.output_dim, WIDTH)
    output_key, output_spec = norm_of_output(part, head, spec)
    if head.layers == 0 and output_key != f"norm.{part}":
        raise UserError(
            f"{output_key}={output_spec}: a head of 0 layers has no output layer; set {key}.layers=1"
        )
    for norm_key, norm, width in norms_of_head(part, head, spec):
        check_vectors(norm_key, norm)
        check_groups(norm_key, norm, f"{key}.{width}", getattr(head, width))


def norms_of_head(part: str, head: HeadConfig, spec: NormSpec) -> list[tuple[str, NormSpec, str]]:
    """Return the norms that the layers of a head have: key, norm, and the name of the width that it sees."""
    norms = []
    if head.layers > 1:
        norms.append((f"norm.{part}", spec, "hidden_dim"))
    if head.layers > 0:
        norms.append((*norm_of_output(part, head, spec), "output_dim"))
    return norms


def norm_of_output(part: str, head: HeadConfig, spec: NormSpec) -> tuple[str, NormSpec]:
    """Return the norm after the output layer of a head, and the key that names it."""
    if isinstance(head.norm_output, bool):
        return f"norm.{part}", output_norm(spec, head.norm_output)
    key = f"method.{part}.norm_output"
    return key, norm_spec(key, head.norm_output)


def check_vectors(norm_key: str, spec: NormSpec) -> None:
    """Check that a norm means something where a sample has one value per channel."""
    if not spec.vectors:
        raise UserError(
            f"{norm_key}={spec}: a head has one value per channel of a sample, which '{spec.name}' makes 0 "
            f"whatever it was; use another norm there, such as {norm_key}=ln"
        )


def check_groups(norm_key: str, spec: NormSpec, width_key: str, width: int) -> None:
    """Check that the groups of a head's norm, if it has any, divide a width.

    They must be groups of several values where the norm sees one sample at a time.
    """
    if "groups" not in spec.all_options:
        return
    if spec.batch_statistics and spec.option("groups") is None:
        return
    groups: int = spec.option("groups") or default_groups(width)
    if width % groups == 0 and (groups < width or spec.batch_statistics):
        return
    fitting = max(count for count in range(1, min(groups, width - 1) + 1) if width % count == 0)
    name = f"{spec.name}+ws" if spec.weight_standardization else spec.name
    options = {"name": name, **spec.options, "groups": fitting}
    repair = ", ".join(f"{option}: {value}" for option, value in options.items())
    reason = (
        "hold one value each, which becomes 0 whatever it was"
        if groups == width
        else "do not divide it"
    )
    raise UserError(
        f"{norm_key}={spec} with {width_key}={width}: {groups} groups {reason}; {fitting} would do: "
        f"{norm_key}='{{{repair}}}'"
    )


def check_prediction(projector: HeadConfig, predictor: HeadConfig) -> None:
    """Check that predictions can be compared with projections."""
    if predictor.output_dim != projector.output_dim:
        raise UserError(
            f"method.predictor.output_dim={predictor.output_dim} differs from "
            f"method.projector.output_dim={projector.output_dim}, which it predicts; set both to the same"
        )
