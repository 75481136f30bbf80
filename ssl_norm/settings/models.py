"""The settings of each tool, and their validation."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError, create_model

from ssl_norm.errors import UserError
from ssl_norm.memory import check_memory
from ssl_norm.option_errors import find_field, line_of, model_of
from ssl_norm.options import QUICK, Settings
from ssl_norm.settings.effects import check_effects
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.settings.tools import (
    DiagnoseSettings,
    LinearEvalSettings,
    PopulationStatsSettings,
    ReportSettings,
    ToySettings,
)

MODELS: Mapping[str, type[Settings]] = MappingProxyType(
    {
        "pretrain": PretrainSettings,
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

    Names, types and ranges are checked first, without importing torch; then the options of the
    learner and of norms, and combinations.

    Args:
        tool: whose settings they are.
        values: nested, as composed.
        given: dotted keys that the user gave; those without effect are printed, see
            `check_effects`.

    Raises:
        UserError: a setting is unknown, has a wrong value, does not fit another one, or needs more
            memory than the machine has; a path is given that nothing reads.
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
    """Check name, type and range of one setting, without its place among others.

    Sections, and settings of a learner or a source, are left to `validate`.

    Raises:
        UserError: the value is wrong.
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
