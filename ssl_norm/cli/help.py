"""Text of `--help`: every setting with the value of a plain command and its meaning."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ssl_norm.learners import METHODS
from ssl_norm.option_errors import choices_of, model_of
from ssl_norm.registry import Registry
from ssl_norm.settings.compose import composed_values, groups_of
from ssl_norm.settings.method import NOT_SETTINGS, HeadSettings, MethodSettings
from ssl_norm.settings.models import MODELS
from ssl_norm.signature import REQUIRED, Option, declared_options

USAGE = {
    "pretrain": """Pretrain an encoder without labels, watch for collapse, end with a linear probe.

  python tools/pretrain.py                                            BYOL on a data set that comes with the package
  python tools/pretrain.py data=folder data.root=~/photos             your own images
  python tools/pretrain.py norm.projector=none norm.predictor=none    see it collapse
  python tools/pretrain.py -m norm.projector=bn,ln,none seed=0,1,2    a sweep
  python tools/pretrain.py -m study=byol_collapse data.root=...       a study: all arms, all seeds (or arm=none seed=0)
  torchrun --nproc-per-node 8 tools/pretrain.py ...                   one run on many GPUs""",
    "finetune": """Train a classifier with few or all labels, from a checkpoint or from scratch.

  python tools/finetune.py labels_per_class=4                         from scratch, four labelled images a class
  python tools/finetune.py labels_per_class=4 norm.encoder=ubn        ... with the statistics of all images
  python tools/finetune.py checkpoint=runs/x data=folder data.root=~/photos labels=0.1
  python tools/finetune.py -m study=ubn_few_labels data.root=...      a study: all arms, all seeds""",
    "linear_eval": """Evaluate the frozen encoder of a checkpoint: linear probe, k nearest neighbours.

  python tools/linear_eval.py checkpoint=runs/x/last.pt               on the data it was trained on
  python tools/linear_eval.py checkpoint=runs/x data=cifar10 data.root=...  labels=0.1
  python tools/linear_eval.py checkpoint=runs/x kept=true             accuracy over the run, for tools/report.py""",
    "diagnose": """Find out whether a checkpoint has collapsed, and at which layer the collapse begins.

  python tools/diagnose.py checkpoint=runs/x                          on images of the data it was trained on
  python tools/diagnose.py checkpoint=any.pt encoder.name=resnet50 data=folder data.root=~/photos
                                                       weights of timm, torchvision, lightly, MoCo, ...""",
    "population_stats": """Recompute batch norms' statistics exactly (PreciseBN), and compare with the moving averages.

  python tools/population_stats.py checkpoint=runs/x/last.pt          on the images it was trained on
  python tools/population_stats.py checkpoint=runs/x data=folder data.root=~/photos   on other ones""",
    "report": """Tables and figures over many runs on one page: mean and deviation over seeds, grouped by what differs.

  python tools/report.py runs=multirun/2026-11-22_10-00-00            all runs of a sweep
  python tools/report.py runs=[runs/a,runs/b] output=comparison       several folders
  python tools/report.py runs=runs/*byol* group_by=norm.projector     a glob; groups of your own""",
    "toy": """Two moons with few labels: boundaries of bn and ubn, and how much predictions depend on the batch.

  python tools/toy.py                                                 draws toy.png, prints a table over ten seeds
  python tools/toy.py labels_per_class=1 noise=0.3 ubn.gradient=false  fewer labels; statistics as constants
  python tools/toy.py control=gn seeds=40 seed=100 output=other.pdf   another control, other seeds""",
}
READS_CHECKPOINTS = ("linear_eval", "population_stats", "diagnose")
DETAILS = """Exit codes: 0 done; 2 wrong input; 3 stopped because of collapse; 4 the loss became non-finite.
`--cfg job` prints the composed configuration; `--hydra-help` explains the grammar of sweeps.
Own YAML files: `--config-dir FOLDER`, with folders method/, data/, encoder/ ... as in configs/."""


def help_text(tool: str, method: str | None = None) -> str:
    """Return usage, config groups with their options, and every key with its value and meaning.

    Args:
        tool: that is described.
        method: learner whose keys are listed; None: all that are registered.
    """
    groups = [f"  {group} = {' | '.join(found)}" for group, found in groups_of(tool).items()]
    null = " (null: as in the checkpoint, unless stated)" if tool in READS_CHECKPOINTS else ""
    model, values = MODELS[tool], composed_values(tool)
    lines = [USAGE[tool], ""]
    if Path(sys.argv[0]).name == "ssl-norm":
        lines[0] = lines[0].replace(f"python tools/{tool}.py", f"ssl-norm {tool.replace('_', '-')}")
    lines += ["Groups (files in configs/):", *groups, ""] if groups else []
    lines += [f"Keys{null}:", *_described(model, values)]
    for name in (method.split(",") if method else METHODS) if tool == "pretrain" else ():
        lines += [f"  keys of method={name}", *_method_keys(METHODS, name, values["method"])]
    norms = ["Norms: `python -m ssl_norm.norms` lists them with their options."] if groups else []
    return "\n".join([*lines, "", *norms, DETAILS])


def _described(
    model: type[BaseModel], values: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
    """Yield a line for each key of a model, nested ones included."""
    for name, field in model.model_fields.items():
        below = model_of(field.annotation)
        if below is not None and issubclass(below, MethodSettings):
            continue
        if below is not None and below.model_fields:
            yield from _described(below, values.get(name) or {}, f"{prefix}{name}.")
            continue
        extra = field.json_schema_extra
        unit = extra.get("unit") if isinstance(extra, dict) else None
        default = values.get(name, "(required)" if field.is_required() else None)
        text = " ".join(filter(None, [field.description, f"[{unit}]" if unit else ""]))
        choices = list(choices_of(field.annotation))
        if choices and not any(choice in text for choice in choices[1:]):
            text = f"{' | '.join(choices)}: {text}"
        yield _line(prefix + name, default, text)


def _method_keys(methods: Registry, name: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a line for each key of a learner, from the source of its class."""
    options = declared_options(methods, name)
    own = composed_values("pretrain", [f"method={name}"])["method"]
    heads = ["projector", *(["predictor"] if "predictor" in own else [])]
    for head in heads:
        defaults = HeadSettings().model_dump(mode="json") | own.get(head, {})
        yield from _described(HeadSettings, defaults, f"method.{head}.")
    for option in options.values():
        if option.name not in NOT_SETTINGS:
            yield _line(
                f"method.{option.name}", own.get(option.name, _default(option)), option.text
            )


def _default(option: Option) -> Any:
    return "(required)" if option.default is REQUIRED else option.default


def _line(key: str, value: object, text: str) -> str:
    return f"  {key}={_shown(value)}".ljust(44) + f" {text}".rstrip()


def _shown(value: object) -> str:
    """Return a value as the user would type it, numbers in lists rounded."""
    if isinstance(value, tuple | list):
        items = (f"{item:.4g}" if isinstance(item, float) else str(item) for item in value)
        return f"[{','.join(items)}]"
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))
