"""Print every norm, or the changes that a norm would make in an encoder.

python -m ssl_norm.norms                       every norm with its options and equation
python -m ssl_norm.norms resnet18 gn+ws        changes of gn+ws in an encoder, layer by layer
python -m ssl_norm.norms resnet18 '{name: gn, groups: 16}'

Encoders are named as for `encoder.name`: tiny, any timm model, torchvision/<classifier>.
"""

import sys
from collections.abc import Sequence
from typing import Any

from ssl_norm.closed_pipe import unless_pipe_closes
from ssl_norm.errors import UserError, print_error
from ssl_norm.norms.registry import NORMS
from ssl_norm.norms.spec import parse_norm
from ssl_norm.text import text_table

IMAGE_SIDE = 224  # pixels; encoders that depend on it are built for it
HINTS = """Any of them as name+ws standardizes the weights of the layers that the norm follows.
With options: norm.encoder='{name: gn, groups: 16}'
The changes of one in an encoder: python -m ssl_norm.norms resnet18 gn+ws"""


def norm_table() -> str:
    """Return a line per norm: name, options, whether it mixes samples in training, equation."""
    rows = [("norm", "options", "mixes samples", "equation")]
    for name in NORMS.load_all():
        spec = parse_norm(name)
        mixes = "yes" if spec.batch_statistics else "no"
        equation = getattr(spec.cls, "equation", "")
        rows.append((name, ", ".join(spec.all_options) or "-", mixes, equation))
    return text_table(rows)


def replacement_table(encoder: str, norm: str) -> str:
    """Return the changes that a norm makes in each norm layer of an encoder, without downloads.

    Args:
        encoder: its name.
        norm: a name (`gn+ws`) or, in YAML, a mapping (`{name: gn, groups: 16}`).

    Raises:
        ValueError, TypeError: an unknown name or option, or a norm that the encoder cannot have.
    """
    spec = parse_norm(_from_yaml(norm))
    # Only this command looks up encoders: norms themselves know no models.
    import torch

    from ssl_norm.models.encoders import build_encoder
    from ssl_norm.norms.swap.replace import replace_norms

    network = build_encoder(encoder, small_images=False, image_size=IMAGE_SIDE)
    example = torch.zeros(2, 3, IMAGE_SIDE, IMAGE_SIDE)
    return replace_norms(network, spec, example=example, dry_run=True).table()


def main(arguments: Sequence[str]) -> int:
    """Print the table that the arguments select, and return the exit code."""
    if {"--help", "-h"} & set(arguments):
        print(__doc__)
        return 0
    if not arguments:
        print(f"{norm_table()}\n\n{HINTS}")
        return 0
    try:
        if len(arguments) != 2:
            raise UserError(f"an encoder and a norm expected, got {len(arguments)} arguments")
        print(replacement_table(*arguments))
    except (ValueError, TypeError) as error:
        print_error(error)
        return UserError.exit_code
    return 0


def _from_yaml(norm: str) -> Any:
    """Return a name, or the mapping of a text in braces."""
    if not norm.lstrip().startswith("{"):
        return norm
    from omegaconf import OmegaConf
    from yaml import YAMLError  # type: ignore[import-untyped]

    try:
        return OmegaConf.to_container(OmegaConf.create(norm))
    except YAMLError as error:
        message = f"{norm} is not a mapping in YAML, such as {{name: gn, groups: 16}}"
        raise UserError(message) from error


if __name__ == "__main__":
    sys.exit(unless_pipe_closes(main, sys.argv[1:]))
