"""Print every norm, or what a norm would change in an encoder.

python -m ssl_norm.norms                                 every norm with its options and equation
python -m ssl_norm.norms resnet18 gn+ws                  what gn+ws would do to an encoder, layer by
layer python -m ssl_norm.norms resnet18 '{name: gn, groups: 16}'

Encoders are named as for `encoder.name`: tiny, any timm model, torchvision/<classifier>.
"""

import sys
from collections.abc import Sequence
from typing import Any

from ssl_norm.closed_pipe import unless_pipe_closes
from ssl_norm.errors import UserError
from ssl_norm.norms.registry import NORMS
from ssl_norm.norms.spec import parse_norm
from ssl_norm.text import text_table

IMAGE_SIDE = 224  # pixels; encoders that depend on it are built for it


def norm_table() -> str:
    """Return a line per norm: name, options, whether it mixes samples in training, equation."""
    rows = [("norm", "options", "mixes samples", "equation")]
    for name in NORMS:
        spec = parse_norm(name)
        mixes = "yes" if spec.batch_statistics else "no"
        equation = getattr(spec.cls, "equation", "")
        rows.append((name, ", ".join(spec.all_options) or "-", mixes, equation))
    return text_table(rows)


def replacement_table(encoder: str, norm: str) -> str:
    """Return what a norm would do to each norm layer of an encoder; nothing is downloaded.

    Args:
        encoder: its name.
        norm: a name (`gn+ws`) or, in YAML, a mapping (`{name: gn, groups: 16}`).

    Raises:
        ValueError, TypeError: a name or an option is not known, or the encoder cannot have the
        norm.
    """
    spec = parse_norm(_from_yaml(norm))
    # Only this command looks up encoders: norms themselves know no models.
    from ssl_norm.models.encoders import build_encoder
    from ssl_norm.norms.swap.replace import replace_norms

    network = build_encoder(encoder, small_images=False, image_size=IMAGE_SIDE)
    return replace_norms(network, spec, dry_run=True).table()


def main(arguments: Sequence[str]) -> int:
    """Print what the arguments ask for, and return the exit code."""
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        return 0
    if not arguments:
        print(norm_table())
        print()
        print(
            "Any of them as name+ws standardizes the weights of the layers that the norm follows."
        )
        print("With options: norm.encoder='{name: gn, groups: 16}'")
        print("What one would change in an encoder: python -m ssl_norm.norms resnet18 gn+ws")
        return 0
    try:
        if len(arguments) != 2:
            raise UserError(f"an encoder and a norm expected, got {len(arguments)} arguments")
        print(replacement_table(*arguments))
    except (ValueError, TypeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return UserError.exit_code
    return 0


def _from_yaml(norm: str) -> Any:
    """Return a name as it is, and what a text in braces says."""
    if not norm.lstrip().startswith("{"):
        return norm
    from omegaconf import OmegaConf
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        return OmegaConf.to_container(OmegaConf.create(norm))
    except YAMLError as error:
        raise UserError(
            f"{norm} is not a mapping in YAML, such as {{name: gn, groups: 16}}"
        ) from error


if __name__ == "__main__":
    sys.exit(unless_pipe_closes(main, sys.argv[1:]))
