"""Checks of tools/toy.py before anything heavy is imported."""

from collections.abc import Mapping
from pathlib import Path

from ssl_norm.cli.head_checks import check_groups, check_vectors, norm_spec
from ssl_norm.cli.shared_checks import COUNT, NOT_NEGATIVE, PAIR, POSITIVE, check_values
from ssl_norm.config import ToyConfig
from ssl_norm.errors import UserError
from ssl_norm.intervals import Interval
from ssl_norm.value_checks import check_path

TOY_NUMBERS: Mapping[str, Interval] = {
    "labels_per_class": COUNT,
    "unlabelled": PAIR,
    "noise": NOT_NEGATIVE,
    "ubn.ratio": POSITIVE,
    "hidden_dim": COUNT,
    "layers": PAIR,  # with 1 there is no norm
    "steps": COUNT,
    "lr": POSITIVE,
    "draws": PAIR,
    "seed": Interval(0, 2**31, "[]", whole=True),  # below what numpy takes, as seeds count on
    "seeds": Interval(1, 2**31, "[]", whole=True),
}
PICTURES = (".png", ".pdf", ".svg")


def check_toy(config: ToyConfig) -> None:
    """Raise UserError with one line where the two moons cannot be drawn as asked."""
    check_values(config, TOY_NUMBERS, {})
    spec = norm_spec("control", config.control)
    check_vectors("control", spec)
    check_groups("control", spec, "hidden_dim", config.hidden_dim)
    if spec.batch_statistics:
        raise UserError(
            f"control={spec} has batch statistics, as bn and ubn have; "
            "use a norm without them, such as none, ln or gn"
        )
    joint = unlabelled_per_step(config)
    if joint < 1 or joint > config.unlabelled:
        labelled = 2 * config.labels_per_class
        raise UserError(
            f"ubn.ratio={config.ubn.ratio:g} of {labelled} labelled points makes {joint} unlabelled ones a step, "
            f"and unlabelled={config.unlabelled} are there; use a ratio from {1 / labelled:.3g} "
            f"to {config.unlabelled / labelled:.3g}"
        )
    check_path("output", config.output, "picture")
    if Path(config.output).suffix.lower() not in PICTURES:
        raise UserError(
            f"output={config.output}: a file name that ends in {', '.join(PICTURES)} expected"
        )


def unlabelled_per_step(config: ToyConfig) -> int:
    """Return how many unlabelled points the joint batch of a step has."""
    return round(config.ubn.ratio * 2 * config.labels_per_class)
