"""The text of `--help`: every key with its default and the comment that stands beside it in `ssl_norm.config`."""

import dataclasses
import inspect
import re
from typing import Any, get_args, get_type_hints

from ssl_norm.cli.groups import groups_of
from ssl_norm.config import SCHEMAS
from ssl_norm.learners import METHODS

USAGE = {
    "pretrain": """Pretrain an encoder without labels, watch for collapse, end with a linear probe.

  python tools/pretrain.py                                            BYOL on an embedded data set
  python tools/pretrain.py data=folder data.root=~/photos             your own images
  python tools/pretrain.py norm.projector=none norm.predictor=none    see it collapse
  python tools/pretrain.py -m norm.projector=bn,ln,none seed=0,1,2    a sweep
  python tools/pretrain.py -m study=byol_collapse data.root=...       a study: all arms, all seeds (or arm=none seed=0)
  torchrun --nproc-per-node 8 tools/pretrain.py ...                   one run on many GPUs""",
    "linear_eval": """Evaluate the frozen encoder of a checkpoint: linear probe, k nearest neighbours.

  python tools/linear_eval.py checkpoint=runs/x/last.pt               on the data it was trained on
  python tools/linear_eval.py checkpoint=runs/x data=cifar10 data.root=...  labels=0.1""",
    "diagnose": """Tell whether a checkpoint has collapsed, and at which layer it begins.

  python tools/diagnose.py checkpoint=runs/x                          on the images it was trained on
  python tools/diagnose.py checkpoint=any.pt encoder.name=resnet50 data=folder data.root=~/photos
                                                       weights of timm, torchvision, lightly, MoCo, ...""",
    "population_stats": """Recompute the statistics of batch norms exactly, and compare with the moving averages.

  python tools/population_stats.py checkpoint=runs/x/last.pt          on the images it was trained on
  python tools/population_stats.py checkpoint=runs/x data=folder data.root=~/photos   on other ones""",
    "report": """Tables and figures over many runs on one page: mean and deviation over seeds, grouped by what differs.

  python tools/report.py runs=multirun/2026-11-22_10-00-00            all runs of a sweep
  python tools/report.py runs=[runs/a,runs/b] output=comparison       several folders
  python tools/report.py runs=runs/*byol* group_by=norm.projector     a glob; groups of your own""",
}
CHOSEN_AS_GROUP = ("method", "method.name", "study")  # by method=<name>, which brings further keys
KEYS = {
    "pretrain": "Keys:",
    "linear_eval": "Keys (null: as the checkpoint says, where nothing else is written):",
    "population_stats": "Keys (null: as the checkpoint says, where nothing else is written):",
    "diagnose": "Keys (null: as the checkpoint says, where nothing else is written):",
    "report": "Keys:",
}
# `    name: type = default  # comment`, perhaps with the default in parentheses on lines of its own.
COMMENTED_FIELD = re.compile(
    r"^    (\w+):[^\n#]*(?:\((?:\n {8}[^\n#]*|\n    \))+)?  # (.*)$", re.MULTILINE
)
DETAILS = """Exit codes: 0 done; 2 wrong input; 3 stopped because of collapse; 4 the loss became non-finite.
`--cfg job` prints the composed configuration; `--hydra-help` explains the grammar of sweeps."""


def help_text(config_name: str) -> str:
    """Return usage, the config groups with their options, and every key with default and meaning."""
    groups = [
        f"  {group} = {' | '.join(options)}" for group, options in groups_of(config_name).items()
    ]
    keys = describe(SCHEMAS[f"schema/{config_name}"])
    if config_name == "pretrain":
        for method in METHODS:
            keys += [
                f"  keys of method={method}",
                *describe(SCHEMAS[f"schema/method/{method}"], "method."),
            ]
    norms = "Norms: `python -m ssl_norm.norms` lists them with their options."
    return "\n".join(
        [
            USAGE[config_name],
            "",
            *(["Groups (files in configs/):", *groups, ""] if groups else []),
            KEYS[config_name],
            *keys,
            "",
            *([norms] if groups else []),
            DETAILS,
        ]
    )


def describe(schema: type, prefix: str = "") -> list[str]:
    """Return a line for each key of a dataclass, nested ones included."""
    comments = {
        match[1]: match[2]
        for base in reversed(schema.__mro__)
        if dataclasses.is_dataclass(base)
        for match in COMMENTED_FIELD.finditer(inspect.getsource(base))
    }
    hints = get_type_hints(schema)
    lines = []
    for field in dataclasses.fields(schema):
        key = f"{prefix}{field.name}"
        if key in CHOSEN_AS_GROUP:
            continue
        nested = next(
            (
                t
                for t in (hints[field.name], *get_args(hints[field.name]))
                if dataclasses.is_dataclass(t)
            ),
            None,
        )
        if nested is not None:
            lines += describe(nested, f"{key}.")  # type: ignore[arg-type]
        else:
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
