"""The text of `--help`: every key with the value of a plain command and its comment in `ssl_norm.config`."""

import dataclasses
import inspect
import re
from collections.abc import Mapping
from typing import Any

from ssl_norm.cli.composed import composed_values
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
    "finetune": """Train a classifier with labels, few or all, from a checkpoint or from scratch.

  python tools/finetune.py labels_per_class=4                         from scratch, four labelled images a class
  python tools/finetune.py labels_per_class=4 norm.encoder=ubn        ... with the statistics of all images
  python tools/finetune.py checkpoint=runs/x data=folder data.root=~/photos labels=0.1
  python tools/finetune.py -m study=ubn_few_labels data.root=...      a study: all arms, all seeds""",
    "linear_eval": """Evaluate the frozen encoder of a checkpoint: linear probe, k nearest neighbours.

  python tools/linear_eval.py checkpoint=runs/x/last.pt               on the data it was trained on
  python tools/linear_eval.py checkpoint=runs/x data=cifar10 data.root=...  labels=0.1
  python tools/linear_eval.py checkpoint=runs/x kept=true               accuracy over the run, for tools/report.py""",
    "diagnose": """Tell whether a checkpoint has collapsed, and at which layer it begins.

  python tools/diagnose.py checkpoint=runs/x                          on images of the data it was trained on
  python tools/diagnose.py checkpoint=any.pt encoder.name=resnet50 data=folder data.root=~/photos
                                                       weights of timm, torchvision, lightly, MoCo, ...""",
    "population_stats": """Recompute the statistics of batch norms exactly, and compare with the moving averages.

  python tools/population_stats.py checkpoint=runs/x/last.pt          on the images it was trained on
  python tools/population_stats.py checkpoint=runs/x data=folder data.root=~/photos   on other ones""",
    "report": """Tables and figures over many runs on one page: mean and deviation over seeds, grouped by what differs.

  python tools/report.py runs=multirun/2026-11-22_10-00-00            all runs of a sweep
  python tools/report.py runs=[runs/a,runs/b] output=comparison       several folders
  python tools/report.py runs=runs/*byol* group_by=norm.projector     a glob; groups of your own""",
    "toy": """Two moons with few labels: boundaries of bn and ubn, and how much predictions hang on the batch.

  python tools/toy.py                                                 draws toy.png, prints a table over ten seeds
  python tools/toy.py labels_per_class=1 noise=0.3 ubn.gradient=false  fewer labels; statistics as constants
  python tools/toy.py control=gn seeds=40 seed=100 output=other.pdf   another control, other seeds""",
}
CHOSEN_AS_GROUP = ("method", "method.name", "study")  # by method=<name>, which brings further keys
KEYS = {
    "pretrain": "Keys:",
    "finetune": "Keys:",
    "linear_eval": "Keys (null: as the checkpoint says, where nothing else is written):",
    "population_stats": "Keys (null: as the checkpoint says, where nothing else is written):",
    "diagnose": "Keys (null: as the checkpoint says, where nothing else is written):",
    "report": "Keys:",
    "toy": "Keys:",
}
# `    name: type = default  # comment`, perhaps with the default in parentheses on lines of its own.
COMMENTED_FIELD = re.compile(
    r"^    (\w+):[^\n#]*(?:\((?:\n {8}[^\n#]*|\n    \))+)?  # (.*)$", re.MULTILINE
)
DETAILS = """Exit codes: 0 done; 2 wrong input; 3 stopped because of collapse; 4 the loss became non-finite.
`--cfg job` prints the composed configuration; `--hydra-help` explains the grammar of sweeps."""


def help_text(config_name: str) -> str:
    """Return usage, the config groups with their options, and every key with value and meaning."""
    groups = [
        f"  {group} = {' | '.join(options)}" for group, options in groups_of(config_name).items()
    ]
    keys = describe(SCHEMAS[f"schema/{config_name}"](), composed_values(config_name))
    if config_name == "pretrain":
        for method in METHODS:
            keys += [
                f"  keys of method={method}",
                *describe(
                    SCHEMAS[f"schema/method/{method}"](),
                    composed_values(config_name, [f"method={method}"])["method"],
                    "method.",
                ),
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


def describe(schema: Any, values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a line for each key of an instance of a dataclass, nested ones included, with the value that runs."""
    comments = {
        match[1]: match[2]
        for base in reversed(type(schema).__mro__)
        if dataclasses.is_dataclass(base)
        for match in COMMENTED_FIELD.finditer(inspect.getsource(base))
    }
    lines = []
    for field in dataclasses.fields(schema):
        key = f"{prefix}{field.name}"
        if key in CHOSEN_AS_GROUP:
            continue
        value, below = values[field.name], getattr(schema, field.name)
        if dataclasses.is_dataclass(below):
            lines += describe(below, value, f"{key}.")
        else:
            lines.append(
                f"  {key}={shown(value)}".ljust(44) + f" {comments.get(field.name, '')}".rstrip()
            )
    return lines


def shown(value: object) -> str:
    """Return a key's value as the user would type it, fractions of lists rounded."""
    if isinstance(value, tuple | list):
        items = (f"{item:.4g}" if isinstance(item, float) else str(item) for item in value)
        return f"[{','.join(items)}]"
    return {"None": "null", "True": "true", "False": "false", "???": "(required)"}.get(
        str(value), str(value)
    )
