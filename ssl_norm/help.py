"""The text of `--help`: every key with its default and the comment that stands beside it in `ssl_norm.config`."""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

from ssl_norm.config import SCHEMAS

USAGE = {
    "pretrain": """Pretrain an encoder without labels, watch for collapse, end with a linear probe.

  python tools/pretrain.py                                            BYOL on an embedded data set
  python tools/pretrain.py data=folder data.root=~/photos             your own images
  python tools/pretrain.py norm.projector=none norm.predictor=none    see it collapse
  python tools/pretrain.py -m norm.projector=bn,ln,none seed=0,1,2    a sweep
  torchrun --nproc-per-node 8 tools/pretrain.py ...                   one run on many GPUs""",
    "linear_eval": """Evaluate the frozen encoder of a checkpoint: linear probe, k nearest neighbours.

  python tools/linear_eval.py checkpoint=runs/x/last.pt               on the data it was trained on
  python tools/linear_eval.py checkpoint=runs/x data=cifar10 data.root=...  labels=0.1""",
}
DETAILS = """Exit codes: 0 done; 2 wrong input; 3 stopped because of collapse; 4 the loss became non-finite.
`--cfg job` prints the composed configuration; `--hydra-help` explains the grammar of sweeps."""


def help_text(config_name: str, config_folder: Path) -> str:
    """Return usage, the config groups with their options, and every key with default and meaning."""
    groups = [
        f"  {folder.name} = " + " | ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        for folder in sorted(config_folder.iterdir())
        if folder.is_dir()
    ]
    keys = describe(SCHEMAS[f"schema/{config_name}"])
    if config_name == "pretrain":
        for method in ("byol", "simclr", "moco_v2"):
            keys += [
                f"  keys of method={method}",
                *describe(SCHEMAS[f"schema/method/{method}"], "method."),
            ]
    norms = "Norms: `python -m ssl_norm.norms` lists them with their options."
    return "\n".join(
        [
            USAGE[config_name],
            "",
            "Groups (files in configs/):",
            *groups,
            "",
            "Keys:",
            *keys,
            "",
            norms,
            DETAILS,
        ]
    )


def describe(schema: type, prefix: str = "") -> list[str]:
    """Return a line for each key of a dataclass, nested ones included."""
    comments = {
        match[1]: match[2]
        for base in reversed(schema.__mro__)
        if dataclasses.is_dataclass(base)
        for match in re.finditer(r"^    (\w+):.*?  # (.*)$", inspect.getsource(base), re.MULTILINE)
    }
    hints = get_type_hints(schema)
    lines = []
    for field in dataclasses.fields(schema):
        key = f"{prefix}{field.name}"
        nested = next(
            (
                t
                for t in (hints[field.name], *get_args(hints[field.name]))
                if dataclasses.is_dataclass(t)
            ),
            None,
        )
        if nested is not None and key != "method":
            lines += describe(nested, f"{key}.")  # type: ignore[arg-type]
        elif key != "method":
            lines.append(
                f"  {key}={default_of(field)}".ljust(44)
                + f" {comments.get(field.name, '')}".rstrip()
            )
    return lines


def default_of(field: "dataclasses.Field[Any]") -> str:
    """Return a key's default as the user would type it."""
    value = (
        field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    )
    if isinstance(value, tuple | list):
        return (
            "["
            + ",".join(f"{item:.4g}" if isinstance(item, float) else str(item) for item in value)
            + "]"
        )
    return {"None": "null", "True": "true", "False": "false", "???": "(required)"}.get(
        str(value), str(value)
    )
