"""Text of `--help`: every setting with its default and its meaning."""

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ssl_norm.learners import METHODS
from ssl_norm.option_errors import choices_of, model_of
from ssl_norm.settings.compose import (
    choices,
    composed_values,
    defaults_of,
    groups_of,
    learner_values,
)
from ssl_norm.settings.method import NOT_SETTINGS, HeadSettings, MethodSettings, heads_of
from ssl_norm.settings.models import MODELS
from ssl_norm.signature import REQUIRED, Option, declared_options
from ssl_norm.text import as_typed

READS_CHECKPOINTS = ("linear_eval", "population_stats", "diagnose")
DETAILS = """Exit codes: 0 done; 2 wrong input; 3 stopped at collapse; 4 non-finite loss; 5 failed
checks of `doctor`.
`--cfg job` prints the composed configuration; `--hydra-help` explains the grammar of sweeps.
`--config-dir FOLDER` adds a folder of YAML files with sub-folders method/, data/, ... as configs/."""


def help_text(tool: str, method: str | None = None) -> str:
    """Return the usage of a tool, its config groups, and every key with its default and meaning.

    Keys of one learner are listed, or of all if `method` is None.
    """
    groups = [f"  {group} = {' | '.join(choices(group, tool))}" for group in groups_of(tool)]
    null = " (null: as in the checkpoint by default)" if tool in READS_CHECKPOINTS else ""
    model, values = MODELS[tool], composed_values(tool)
    lines = [_usage(tool), ""]
    lines += ["Groups (files in configs/):", *groups, ""] if groups else []
    lines += [f"Keys{null}:", *_described(model, values)]
    for name in (
        (method.split(",") if method else METHODS) if "method" in model.model_fields else ()
    ):
        lines += [f"  keys of method={name}", *_method_keys(name, values["data"]["name"])]
    norms = ["Norms: `python -m ssl_norm.norms` lists them with their options."] if groups else []
    return "\n".join([*lines, "", *norms, DETAILS])


def _usage(tool: str) -> str:
    """Return the docstring of the settings, with the command that the user typed."""
    text = inspect.cleandoc(MODELS[tool].__doc__ or "")
    if Path(sys.argv[0]).name in ("ssl-norm", "__main__.py"):
        text = text.replace(f"python tools/{tool}.py", f"ssl-norm {tool.replace('_', '-')}")
    return text


def _described(
    model: type[BaseModel], values: Mapping[str, Any], prefix: str = ""
) -> Iterator[str]:
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
        choices = choices_of(field.annotation)
        if any(choice not in text for choice in choices):
            text = f"{text} ({' | '.join(choices)})"
        yield _line(prefix + name, default, text)


def _method_keys(name: str, data: str) -> Iterator[str]:
    """Yield a line for each key of a learner, whose class is parsed and not imported.

    The learner may have a recipe for the data source `data`.
    """
    own = learner_values(name, data)
    for head in heads_of(name):
        values = defaults_of(HeadSettings) | own.get(head, {})
        yield from _described(HeadSettings, values, f"method.{head}.")
    for option in declared_options(METHODS, name).values():
        if option.name not in NOT_SETTINGS:
            value = own.get(option.name, _default(option))
            yield _line(f"method.{option.name}", value, option.text)


def _default(option: Option) -> Any:
    return "(required)" if option.default is REQUIRED else option.default


def _line(key: str, value: object, text: str) -> str:
    return f"  {key}={as_typed(value)}".ljust(43) + f"  {text}".rstrip()
