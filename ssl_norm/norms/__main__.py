"""List of norms, changes of a norm in an encoder, and pictures of shared statistics.

python -m ssl_norm.norms                       every norm with its options and equation
python -m ssl_norm.norms resnet18 gn+ws        changes of gn+ws in an encoder, layer by layer
python -m ssl_norm.norms resnet18 '{name: gn, groups: 16}'
python -m ssl_norm.norms show '{name: bn, batch_size: 4}'     the elements that share statistics
python -m ssl_norm.norms show bn gn mypkg.norms:MyNorm --output norms.png

`show` takes a batch of 8 samples with 8 channels of 2 x 2 positions. It changes one element at a
time, and draws which outputs change with it, in training and in evaluation. --samples, --channels
and --side set another batch.

Encoders are named as for `encoder.name`: tiny, any timm model, torchvision/<classifier>. With +ws
after the name of a norm, the layers before it get weight standardization.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ssl_norm.errors import UserError
from ssl_norm.exit_code import exit_code_of, wants_help
from ssl_norm.norms.registry import NORMS
from ssl_norm.norms.spec import parse_norm
from ssl_norm.text import printable, text_table

IMAGE_SIDE = 224  # pixels; encoders that depend on it are built for it
LARGEST = 32  # samples, channels and side of a batch that is drawn


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

    The norm is a name (`gn+ws`) or, in YAML, a mapping (`{name: gn, groups: 16}`).
    """
    spec = parse_norm(_from_yaml(norm))
    # Only this command looks up encoders: norms themselves know no models.
    import torch

    from ssl_norm.models.encoders import build_encoder
    from ssl_norm.norms.swap.replace import replace_norms

    network = build_encoder(encoder, small_images=False, image_size=IMAGE_SIDE)
    example = torch.zeros(2, 3, IMAGE_SIDE, IMAGE_SIDE)
    return replace_norms(network, spec, example=example, dry_run=True).table()


def shared_statistics(arguments: Sequence[str]) -> str:
    """Draw which elements of a batch share statistics under norms, and return a line for each."""
    parser = _Parser("python -m ssl_norm.norms show")
    parser.add_argument("norms", nargs="+", help="a name (gn+ws), or a mapping in YAML")
    parser.add_argument("--output", default="norms.png", help="picture; its suffix is the format")
    for option, default in (("samples", 8), ("channels", 8), ("side", 2)):
        parser.add_argument(
            f"--{option}", type=_size, default=default, metavar="N", help=f"default: {default}"
        )
    given = parser.parse_args(arguments)

    from ssl_norm.figures.influence import influence_figure
    from ssl_norm.figures.style import save_figure
    from ssl_norm.norms.influence import measure_influence

    measured, lines = {}, []
    for norm in given.norms:
        spec = parse_norm(_from_yaml(norm))
        for mode in ("training", "evaluation"):
            sizes = {name: getattr(given, name) for name in ("samples", "channels", "side")}
            found = measure_influence(spec, training=mode == "training", **sizes)
            measured[str(spec), mode] = found
            lines.append((str(spec), mode, found.sentence()))
    save_figure(influence_figure(measured), given.output)
    table = text_table([("norm", "mode", "share statistics"), *lines])
    return f"{table}\n\nwritten to {printable(given.output)}"


def main(arguments: Sequence[str]) -> int:
    """Print the table that the arguments select, and return the exit code."""
    if wants_help(arguments):
        print(__doc__)
        return 0
    if not arguments:
        print(f"{norm_table()}\n\n{__doc__}")
        return 0
    try:
        if arguments[0] == "show":
            print(shared_statistics(arguments[1:]))
        elif len(arguments) != 2:
            given = " ".join(arguments)
            raise UserError(
                f"an encoder and a norm expected, got {given}; for example resnet18 gn+ws"
            )
        else:
            print(replacement_table(*arguments))
    except (ValueError, TypeError) as error:
        raise UserError(str(error)) from error
    return 0


class _Parser(argparse.ArgumentParser):
    """Argument parser that raises a UserError, which is printed as one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see python -m ssl_norm.norms --help)")


def _size(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text[:9]) <= LARGEST):
        raise argparse.ArgumentTypeError(f"an integer from 1 to {LARGEST} expected, got {text}")
    return int(text)


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
    sys.exit(exit_code_of(main, sys.argv[1:]))
