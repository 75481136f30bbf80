"""JSON schemas of the YAML files in configs/, for completion and checks in an editor.

`python -m ssl_norm.settings.schema` writes configs/schema/.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import WithJsonSchema, create_model
from pydantic.json_schema import GenerateJsonSchema

from ssl_norm.data.registry import DATA
from ssl_norm.files import write_text
from ssl_norm.learners import METHODS
from ssl_norm.norms import NormSpec
from ssl_norm.options import Settings, names_schema, option
from ssl_norm.settings.finetune import FinetuneSettings
from ssl_norm.settings.folder import CONFIG_FOLDER
from ssl_norm.settings.method import MethodSettings, method_model
from ssl_norm.settings.pretrain import AugmentSettings, PretrainSettings
from ssl_norm.settings.sections import FROM_RUN, DataSettings, EncoderSettings
from ssl_norm.settings.study import Study
from ssl_norm.signature import options_model

FOLDER = CONFIG_FOLDER / "schema"
HEAD = "# yaml-language-server: $schema="

Schema = dict[str, Any]
Fields = Mapping[str, Any]


def file_schemas() -> dict[str, Schema]:
    """Return the schema of each kind of file: study, method, data, encoder, recipe and tool.

    Every key is optional, and unknown keys are refused. A name is one of this package or of the
    form `module:object`. All learners and sources are imported.
    """
    learner, source = _all_learners(), _all_sources()
    sections = {"data": (source, option(source, "the images"))}
    learners = {"method": (learner, option(learner, "the learner"))}
    pretrain = _file_model(PretrainSettings, {**sections, **learners})
    finetune = _file_model(FinetuneSettings, sections)
    study = {name: (f.annotation, f) for name, f in Study.model_fields.items() if name != "name"}
    views = create_model(
        "Views",
        __base__=Settings,
        full=(AugmentSettings, option(AugmentSettings, "photographs")),
        small=(AugmentSettings, option(AugmentSettings, "images up to 64 px")),
    )
    recipes: Any = dict[str, pretrain]  # type: ignore[valid-type]
    method = {
        "views": (views, option(views, "views of the learner")),
        "recipes": (recipes, option(dict, "settings by data set")),
    }
    of_data = {"views": (AugmentSettings, option(AugmentSettings, "views for all learners"))}
    hydra = {"hydra": (dict[str, Any], option(dict, "settings of Hydra"))}
    return {
        "study": _either(_file_model(finetune, study), _file_model(pretrain, study)),
        "method": _schema_of(_file_model(pretrain, method)),
        "data": _schema_of(_file_model(source, of_data)),
        "encoder": _schema_of(_file_model(EncoderSettings, {})),
        "recipe": _schema_of(finetune),
        "tool": _schema_of(_file_model(Settings, hydra)),
    }


def _file_model(base: type[Settings], fields: Fields) -> type[Settings]:
    """Return a model of settings with Hydra's `defaults` list and further keys."""
    defaults = (list[Any], option(list, "Hydra's list of groups and files to start from"))
    return create_model(base.__name__, __base__=base, **{"defaults": defaults, **fields})


def _all_learners() -> type[Settings]:
    fields: dict[str, Any] = {
        key: (field.annotation, field)
        for name in METHODS.built_in
        for key, field in method_model(name).model_fields.items()
    }
    name = Annotated[str, WithJsonSchema(names_schema(METHODS))]
    fields["name"] = (name, fields["name"][1])
    return create_model("Learner", __base__=MethodSettings, **fields)


def _all_sources() -> type[Settings]:
    fields: dict[str, Any] = {
        key: (field.annotation, field)
        for name in DATA.built_in
        for key, field in options_model(DATA.load(name)).model_fields.items()
        if key not in {*DataSettings.model_fields, *FROM_RUN}
    }
    return create_model("Source", __base__=DataSettings, **fields)


class _Generator(GenerateJsonSchema):
    """Writes the default of a norm in the form of a setting."""

    def encode_default(self, dft: Any) -> Any:
        return dft.setting if isinstance(dft, NormSpec) else super().encode_default(dft)


def _schema_of(model: type[Settings]) -> Schema:
    schema = model.model_json_schema(schema_generator=_Generator)
    for part in (schema, *schema.get("$defs", {}).values()):
        part.pop("required", None)
        part["additionalProperties"] = False
        for setting in part["properties"].values():
            if unit := setting.pop("unit", None):
                setting["description"] += f" [{unit}]"
            for key in ("resume", "title", "only_with"):
                setting.pop(key, None)
    return schema


def _either(finetune: type[Settings], pretrain: type[Settings]) -> Schema:
    """Return the schema of a study: that of `finetune` if its `tool` is, else of `pretrain`."""
    then, otherwise = _schema_of(finetune), _schema_of(pretrain)
    return {
        "if": {"properties": {"tool": {"const": "finetune"}}, "required": ["tool"]},
        "then": then,
        "else": otherwise,
        "$defs": then.pop("$defs") | otherwise.pop("$defs"),
    }


def schema_files() -> Iterator[tuple[Path, str]]:
    """Yield path and content of the files in configs/schema/."""
    for name, schema in file_schemas().items():
        yield FOLDER / f"{name}.json", json.dumps(schema, indent=1, sort_keys=True) + "\n"


def schema_line(path: Path) -> str:
    """Return the line by which editors find the schema of a file in configs/.

    It is the first line, or the one after Hydra's `# @package`.
    """
    if path.parent == CONFIG_FOLDER:
        return f"{HEAD}schema/tool.json"
    return f"{HEAD}../schema/{path.parent.name}.json"


if __name__ == "__main__":
    for path, content in schema_files():
        path.parent.mkdir(exist_ok=True)
        write_text(path, content)
