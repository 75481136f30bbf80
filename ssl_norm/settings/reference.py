"""Reference page of all settings.

`python -m ssl_norm.settings.reference` writes docs/settings.md.
"""

import textwrap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ssl_norm.files import write_text
from ssl_norm.learners import METHODS
from ssl_norm.option_errors import annotation_of, choices_of, expected, model_of
from ssl_norm.options import Settings
from ssl_norm.settings.method import MethodSettings, method_model
from ssl_norm.settings.models import MODELS
from ssl_norm.settings.pretrain import PretrainSettings
from ssl_norm.text import as_typed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
COLUMNS = 100
INTRODUCTION = """# Settings

All settings of all tools. `python -m ssl_norm.settings.reference` writes this page from the models
in `ssl_norm/settings`. Brackets hold the values that a setting takes, its unit, and the word
`resume` if its value may change when a run is resumed. Defaults are those of the models; files in
`configs/` change some of them for a learner or a data set, and `--help` shows the values of a
command without arguments. `python -m ssl_norm.norms` lists the options of norms."""


def page() -> str:
    """Return the page; this imports all learners."""
    parts = [INTRODUCTION]
    for tool, model in MODELS.items():
        summary = (model.__doc__ or "").partition("\n")[0]
        parts += [f"## tools/{tool}.py", summary]
        shared = PretrainSettings.model_fields if tool == "doctor" else {}
        parts += ["All settings of tools/pretrain.py, and:"] if shared else []
        parts += _sections(model, without=shared)
        if tool == "pretrain":
            for name in METHODS.built_in:
                parts += [f"### method={name}", *_sections(method_model(name), "method.")]
    return "\n\n".join(parts) + "\n"


def _sections(
    model: type[BaseModel], prefix: str = "", without: Collection[str] = ()
) -> Iterator[str]:
    own, below = [], []
    for name, field in model.model_fields.items():
        section = model_of(field.annotation)
        if name in without:
            continue
        if section is None:
            own.append(_item(f"{prefix}{name}", field))
        elif not issubclass(section, MethodSettings):
            below.append((f"{prefix}{name}.", section))
    yield "\n".join(own)
    for key, section in below:
        summary = (section.__doc__ or "").partition("\n")[0]
        yield f"#### {key[:-1]}"
        if section is not Settings:
            yield summary
        yield from _sections(section, key)


def _item(key: str, field: FieldInfo) -> str:
    annotation = annotation_of(field)
    extra: Any = field.json_schema_extra or {}
    values = " | ".join(choices_of(annotation)) or expected(annotation).rstrip(",")
    marks = [values, extra.get("unit", ""), "resume" if extra.get("resume") else ""]
    default = " (required)" if field.is_required() else f"={_default(field)}"
    text = f"- `{key}{default}` [{', '.join(filter(None, marks))}]: {field.description}"
    return textwrap.fill(
        text, COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    return as_typed(getattr(default, "setting", default))


if __name__ == "__main__":
    write_text(PAGE, page())
