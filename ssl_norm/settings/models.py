"""Settings of each tool, their validation, and the search for those without effect."""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError, create_model

from ssl_norm.console import say
from ssl_norm.errors import UserError
from ssl_norm.launch import is_first_process
from ssl_norm.memory import check_memory
from ssl_norm.option_errors import annotation_of, find_field, is_verbatim, line_of, model_of
from ssl_norm.options import QUICK, Settings
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.settings.pretrain import DoctorSettings, PretrainSettings
from ssl_norm.settings.tools import (
    DiagnoseSettings,
    LinearEvalSettings,
    PopulationStatsSettings,
    ReportSettings,
    ToySettings,
)
from ssl_norm.text import as_typed

MODELS: Mapping[str, type[Settings]] = MappingProxyType(
    {
        "pretrain": PretrainSettings,
        "doctor": DoctorSettings,
        "finetune": FinetuneSettings,
        "linear_eval": LinearEvalSettings,
        "population_stats": PopulationStatsSettings,
        "diagnose": DiagnoseSettings,
        "report": ReportSettings,
        "toy": ToySettings,
    }
)


def validate(tool: str, values: Mapping[str, Any], given: Iterable[str] = ()) -> Any:
    """Return the settings of a tool from nested values.

    Names, types and ranges are checked first, without importing torch. Options of learners and
    norms, and combinations of settings, follow. The last check is whether the dotted keys in
    `given` have an effect.
    """
    model = MODELS[tool]
    try:
        model.model_validate(dict(values), context=QUICK)
        settings: Any = model.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(line_of(error, model)) from error
    check_memory(settings.memory_needs(), getattr(settings, "device", "cpu"))
    check_effects(settings, given)
    return settings


def check_value(tool: str, key: str, value: Any) -> None:
    """Raise UserError unless name, type and range of one setting are right.

    Sections, and settings of a learner or a source, are left to `validate`.
    """
    section, dot, name = key.rpartition(".")
    owner, field = find_field(MODELS[tool], key.split("."))
    if field is None or owner.model_fields.get(name) is not field or model_of(field.annotation):
        return
    fields: dict[str, Any] = {name: (field.annotation, field)}
    model = create_model(name, __base__=Settings, **fields)
    try:
        model.model_validate({name: value}, context=QUICK)
    except ValidationError as error:
        raise UserError(line_of(error, model, section + dot)) from error


def check_effects(settings: Settings, given: Iterable[str]) -> None:
    """Print a line for each setting without effect among the dotted keys that the user gave."""
    for key, is_path, reason in without_effect(settings, given):
        if is_path:
            raise UserError(f"{key} has no effect: {reason}; leave it out")
        if is_first_process():
            say(f"note: {key} has no effect: {reason}")


def without_effect(settings: Settings, given: Iterable[str]) -> Iterator[tuple[str, bool, str]]:
    """Yield each given setting without effect as typed, whether it is a path, and the reason."""
    for key in dict.fromkeys(given):
        reason = settings.unused().get(key, "")
        owner: Any = settings
        for name in key.split("."):
            if not isinstance(owner, Settings) or name not in type(owner).model_fields:
                break
            section, field, owner = owner, type(owner).model_fields[name], getattr(owner, name)
            extra: Any = field.json_schema_extra or {}
            reason = reason or section.unused().get(name, "")
            reason = reason or _missing(extra.get("only_with", ""), section, settings)
        if reason and owner != field.get_default(call_default_factory=True):
            value = as_typed(getattr(owner, "setting", owner))
            yield f"{key}={value}", is_verbatim(annotation_of(field)), reason


def _missing(condition: str, section: Settings, settings: Settings) -> str:
    """Return why an `only_with` condition on the section or all settings does not hold, or ""."""
    if not condition:
        return ""
    key, relation, values = [*re.split("([=>])", condition), "", ""][:3]
    found: Any = section if key in type(section).model_fields else settings
    for name in key.split("."):
        found = getattr(found, name)
    if relation == ">":
        holds = found > float(values)
    else:
        holds = as_typed(found) in values.split("|") if values else bool(found)
    needed = condition.replace("|", " or ") if relation else f"{key}, which is off"
    return "" if holds else f"it needs {needed}" + f"; {key} is {as_typed(found)}" * bool(relation)
