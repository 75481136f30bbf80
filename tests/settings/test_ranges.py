"""Properties of all settings and options: meanings, ranges with two ends, refusal outside them."""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from ssl_norm.data.corruption.spec import CORRUPTIONS
from ssl_norm.data.registry import DATA
from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.models.heads import mlp_head
from ssl_norm.norms import NORMS
from ssl_norm.option_errors import Bounds, bounds_of, model_of
from ssl_norm.options import Settings
from ssl_norm.settings.compose import defaults_of, with_values
from ssl_norm.settings.method import NOT_SETTINGS, HeadSettings, method_model
from ssl_norm.settings.models import MODELS, validate
from ssl_norm.settings.sections import FROM_RUN
from ssl_norm.settings.study import Study
from ssl_norm.signature import options_of
from tests.settings.refusals import START

Key = tuple[str, Any]


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Yield dotted key and field of every setting."""
    for name, field in model.model_fields.items():
        below = model_of(field.annotation)
        if below is not None and below.model_fields:
            yield from fields_of(below, f"{prefix}{name}.")
        yield f"{prefix}{name}", field


def ranges(annotation: Any, metadata: Any = ()) -> Iterator[Bounds]:
    """Yield the bounds of every number in an annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in (int, float):
        yield bounds_of(metadata)
    elif origin is Annotated:
        yield from ranges(arguments[0], [*metadata, *arguments[1:]])
    else:
        inner = metadata if origin in (Union, types.UnionType) else ()
        for part in arguments:
            yield from ranges(part, inner)


def options() -> Iterator[Key]:
    """Yield the options of everything that is registered, and of heads."""
    for registry in (NORMS, METHODS, DATA, CORRUPTIONS):
        for name in registry:
            for option in options_of(registry.load(name)).values():
                if option.name not in {*NOT_SETTINGS, *FROM_RUN}:
                    yield f"{name}.{option.name}", option
    yield from ((f"mlp_head.{o.name}", o) for o in options_of(mlp_head).values())


SETTINGS = {tool: dict(fields_of(model)) for tool, model in MODELS.items()}
SETTINGS |= {name: dict(fields_of(method_model(name))) for name in METHODS}


@pytest.mark.parametrize("owner", SETTINGS)
def test_every_setting_has_a_meaning_and_every_number_two_ends(owner):
    for key, field in SETTINGS[owner].items():
        assert field.description, key
        for low, _, high, _ in ranges(field.annotation, field.metadata):
            assert None not in (low, high), key


def test_every_option_has_a_meaning_and_every_number_two_ends():
    for key, option in options():
        assert option.text, key
        for low, _, high, _ in ranges(option.annotation):
            assert None not in (low, high), key
    for _, field in fields_of(Study):
        assert all(None not in bounds for bounds in ranges(field.annotation, field.metadata))


def outside(bounds: list[Bounds]) -> Iterator[float]:
    """Yield a number below and a number above all ranges."""
    low, opening = min((low, opening) for low, opening, _, _ in bounds)
    high, closing = max((high, closing) for _, _, high, closing in bounds)
    yield low if opening == "(" else low - 1
    yield high if closing == ")" else high + (high if isinstance(high, float) else 1)


def filled(field: Any, number: float) -> Any:
    """Return a number, in a list where the setting is one."""
    default = field.get_default(call_default_factory=True)
    kinds = {get_origin(part) for part in (field.annotation, *get_args(field.annotation))}
    if not kinds & {tuple, list}:
        return number
    return [number, *(default or (0.5, 0.5, 0.5))[1:]]


def refusals(
    tool: str, fields: Mapping[str, Any], start: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield key and message of a value outside each end of each setting."""
    for key, field in fields.items():
        bounds = list(ranges(field.annotation, field.metadata))
        for number in outside(bounds) if bounds and not model_of(field.annotation) else ():
            with pytest.raises(UserError) as caught:
                validate(tool, with_values(tool, start, {key: filled(field, number)}))
            yield key, str(caught.value)


@pytest.mark.parametrize("tool", [tool for tool in MODELS if tool != "report"])
def test_a_value_outside_each_end_is_refused_with_its_key(tool):
    assert_named(refusals(tool, SETTINGS[tool], START.get(tool, {})))


@pytest.mark.parametrize("method", METHODS)
def test_a_value_outside_each_end_of_a_learner_is_refused_with_its_key(method):
    fields = {f"method.{key}": field for key, field in fields_of(method_model(method))}
    assert_named(refusals("pretrain", fields, {"method": {"name": method}}))


def assert_named(found: Iterator[tuple[str, str]]) -> None:
    keys = []
    for key, message in found:
        assert message.startswith(key), message
        keys.append(key)
    assert len(keys) > 1


def test_heads_have_the_defaults_of_their_module():
    of_module = {o.name: o.default for o in options_of(mlp_head).values() if o.name != "norm"}
    assert of_module == defaults_of(HeadSettings)


def models(model: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for below in model.__subclasses__():
        yield below
        yield from models(below)


def test_every_default_is_valid():
    for model in {*models(), HeadSettings}:
        required = [name for name, field in model.model_fields.items() if field.is_required()]
        if not required:
            model.model_validate(defaults_of(model))
