"""Checks of the norms against each other and of heads against their norms; needs no torch."""

from typing import Any

from ssl_norm.config import HeadConfig, PretrainConfig
from ssl_norm.errors import UserError
from ssl_norm.intervals import Interval
from ssl_norm.learners import METHODS
from ssl_norm.norms import NormSpec, parse_norm
from ssl_norm.norms.groups import default_groups
from ssl_norm.value_checks import check_number

WIDTH = Interval(2, whole=True)


def check_heads(config: PretrainConfig) -> None:
    """Check projector and predictor, and the norms of all three parts."""
    norm_spec("norm.encoder", config.norm.encoder)
    check_head("projector", config.method.projector, norm_spec_of(config, "projector"))
    predictor_norm = norm_spec_of(config, "predictor")
    if METHODS[config.method.name].predictor:
        predictor: HeadConfig = getattr(config.method, "predictor")  # noqa: B009 - of some methods
        check_head("predictor", predictor, predictor_norm)
        check_prediction(config.method.projector, predictor)
    elif predictor_norm.name != "none":
        raise UserError(
            f"norm.predictor={predictor_norm}: {config.method.name} has no predictor; leave it at none"
        )


def norm_spec_of(config: PretrainConfig, part: str) -> NormSpec:
    """Return the norm of a part."""
    return norm_spec(f"norm.{part}", getattr(config.norm, part))


def norm_spec(key: str, value: Any) -> NormSpec:
    """Return the norm that a key names."""
    try:
        return parse_norm(value)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}: {error}") from error


def check_head(part: str, head: HeadConfig, spec: NormSpec) -> None:
    """Check the sizes of an MLP head, and that its norm can have them; no layers are the identity."""
    check_number(f"method.{part}.layers", head.layers, Interval(0, whole=True))
    widths = {"hidden_dim": head.hidden_dim, "output_dim": head.output_dim}
    for name, width in widths.items():
        check_number(f"method.{part}.{name}", width, WIDTH)
    if head.layers < 2:
        del widths["hidden_dim"]
    if head.layers == 0 or not head.norm_output:
        del widths["output_dim"]
    if spec.name == "gn":
        for name, width in widths.items():
            check_groups(f"norm.{part}", spec, f"method.{part}.{name}", width)


def check_groups(norm_key: str, spec: NormSpec, width_key: str, width: int) -> None:
    """Check that the groups of a head's norm divide a width into groups of several values."""
    groups: int = spec.options.get("groups", default_groups(width))
    if width % groups == 0 and groups < width:
        return
    fitting = max(count for count in range(1, min(groups, width - 1) + 1) if width % count == 0)
    name = "gn+ws" if spec.weight_standardization else "gn"
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
