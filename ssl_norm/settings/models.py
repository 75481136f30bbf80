"""The settings of each tool, and their validation."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from ssl_norm.errors import UserError
from ssl_norm.option_errors import line_of
from ssl_norm.options import QUICK, Settings
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


def validate(tool: str, values: Mapping[str, Any]) -> Any:
    """Return the settings of a tool from nested values.

    Names, types and ranges are checked first, without importing torch; then the options of the
    learner and of norms, and combinations.

    Raises:
        UserError: a setting is unknown, has a wrong value, or does not fit another one.
    """
    model = MODELS[tool]
    try:
        model.model_validate(dict(values), context=QUICK)
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UserError(line_of(error, model)) from error
