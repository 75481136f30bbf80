"""Properties of all settings and options: meanings, ranges with two ends, refusal of others."""

import inspect
import re
import types
from collections.abc import Iterator
from contextlib import nullcontext
from math import inf, nextafter
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
import torch
from pydantic import BaseModel

from ssl_norm import memory
from ssl_norm.data.augment.parameters import AUGMENTATIONS, ViewParameters
from ssl_norm.data.augment.views import Views
from ssl_norm.data.corruption.spec import CORRUPTIONS
from ssl_norm.data.registry import DATA
from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.losses import LOSSES
from ssl_norm.losses.rows import Temperature
from ssl_norm.models.heads import mlp_head
from ssl_norm.monitors import MONITORS
from ssl_norm.norms import NORMS, make_norm
from ssl_norm.norms.layers.domain_batch_norm import domain_labels
from ssl_norm.option_errors import (
    Bounds,
    annotation_of,
    bounds_of,
    choices_of,
    is_verbatim,
    model_of,
)
from ssl_norm.options import Settings
from ssl_norm.settings.compose import defaults_of, with_values
from ssl_norm.settings.method import NOT_SETTINGS, HeadSettings, method_model
from ssl_norm.settings.models import MODELS, validate
from ssl_norm.settings.sections import FROM_RUN
from ssl_norm.settings.study import Study
from ssl_norm.signature import options_of
from tests.settings.refusals import START, accept

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
    for registry in (NORMS, METHODS, DATA, CORRUPTIONS, LOSSES, MONITORS, AUGMENTATIONS):
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


def is_optional(annotation: Any) -> bool:
    return type(None) in get_args(annotation)


def test_null_is_taken_only_where_it_is_the_default():
    for key, option in options():
        assert not is_optional(option.annotation) or option.default is None, key
    for owner, fields in SETTINGS.items():
        for key, field in fields.items():
            assert not is_optional(field.annotation) or field.default is None, f"{owner}: {key}"


def ends(annotation: Any) -> Iterator[float]:
    """Yield the smallest and the largest number that an annotation takes."""
    for low, opening, high, closing in ranges(annotation):
        assert low is not None
        assert high is not None
        is_integer = isinstance(low, int) and isinstance(high, int) and "int" in str(annotation)
        kind = int if is_integer else float
        yield kind(low if opening == "[" else nextafter(low, inf))
        yield kind(high if closing == "]" else nextafter(high, -inf))


NORM_ENDS = [
    (name, option.name, end)
    for name in NORMS
    for option in options_of(NORMS.load(name)).values()
    for end in ends(option.annotation)
]


@pytest.mark.parametrize(("name", "option", "end"), NORM_ENDS)
@pytest.mark.parametrize("shape", [(8, 16), (8, 16, 4, 4)])
def test_a_norm_at_each_end_of_an_option_learns_or_is_refused(name, option, end, shape):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, requires_grad=True)
    try:
        norm = make_norm({"name": name, option: end}, 16)
        with domain_labels(norm, [0] * 8) if name == "domain" else nullcontext():
            for _ in range(2):
                y = norm(x)
                y.square().sum().backward()
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
        assert y.isfinite().all()
        assert x.grad.isfinite().all()
        assert y.std() > 1e-3
    assert "\n" not in refused


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("temperature", list(ends(Temperature)))
def test_a_loss_at_each_end_of_its_temperature_has_a_gradient(name, temperature):
    loss = LOSSES.load(name)
    names = inspect.signature(loss).parameters
    options = {"temperature": temperature} if "temperature" in names else {}
    z = torch.randn(len(names) - len(options), 8, 4, requires_grad=True)
    loss(*z, **options).backward()
    assert z.grad.isfinite().all()


VIEW_ENDS = [
    (key, field, end)
    for key, field in fields_of(ViewParameters)
    for end in ends(annotation_of(field))
]


@pytest.mark.parametrize(("key", "field", "end"), VIEW_ENDS)
def test_a_view_at_each_end_of_a_parameter_is_finite(key, field, end):
    value = (end, end) if get_origin(field.annotation) is tuple else end
    strong = {"jitter": 1.0, "grey": 0.5, "blur": 1.0, "solarize": 0.5}
    parameters = ViewParameters(**{**strong, key: value})
    make = Views({"view1": parameters}, 16, (0.5,) * 3, (0.2,) * 3)
    images = torch.randint(256, (4, 3, 20, 20), dtype=torch.uint8)
    assert all(view.isfinite().all() for view in make(images, torch.Generator()))


NEEDS = {
    "pretrain": ("batch_size=1000000 data.image_size=8192", "monitor.buffer_size=1000000"),
    "finetune": ("batch_size=1000000 data.image_size=8192", "norm.encoder=ubn ubn.ratio=1000000"),
    "toy": ("hidden_dim=100000 layers=100", "unlabelled=10000000"),
}


@pytest.mark.parametrize(("tool", "typed"), [(t, s) for t, found in NEEDS.items() for s in found])
def test_settings_that_need_more_memory_than_is_free_are_refused_with_both(
    monkeypatch, tool, typed
):
    monkeypatch.setattr(memory, "free_host_bytes", lambda: 10**8)
    with pytest.raises(UserError) as caught:
        accept(tool, typed)
    assert re.search(r"\w=[\d.]+.* takes at least .* GB .* 0\.1 GB are free", str(caught.value))
    monkeypatch.setattr(memory, "free_host_bytes", lambda: 10**20)
    accept(tool, typed)


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


OUTSIDE = {tool: (SETTINGS[tool], START.get(tool, {})) for tool in MODELS if tool != "report"}
OUTSIDE |= {
    f"method={name}": (
        {f"method.{key}": field for key, field in fields_of(method_model(name))},
        {"method": {"name": name}},
    )
    for name in METHODS
}


@pytest.mark.parametrize("owner", OUTSIDE)
def test_a_value_outside_each_end_is_refused_with_its_key(owner):
    fields, start = OUTSIDE[owner]
    tool = owner if owner in MODELS else "pretrain"
    refused = []
    for key, field in fields.items():
        bounds = list(ranges(field.annotation, field.metadata))
        for number in outside(bounds) if bounds and not model_of(field.annotation) else ():
            with pytest.raises(UserError, match=f"^{key}") as caught:
                validate(tool, with_values(tool, start, {key: filled(field, number)}))
            refused.append(caught)
    assert len(refused) > 1


@pytest.mark.parametrize("tool", MODELS)
def test_another_choice_an_empty_path_and_an_unknown_key_are_refused_with_their_key(tool):
    found = []
    for key, field in SETTINGS[tool].items():
        annotation = annotation_of(field)
        if is_verbatim(annotation) and key not in ("runs", "title", "target"):
            found.append((key, "", f"{key}: an empty path"))
        elif choices_of(annotation):
            found.append((key, "nonsense", f"unknown {key} 'nonsense'"))
        section, dot, _ = key.rpartition(".")
        found.append((f"{section}{dot}nonsense", 1, "key 'nonsense'"))
    for key, wrong, part in found:
        with pytest.raises(UserError) as caught:
            validate(tool, with_values(tool, START.get(tool, {}), {key: wrong}))
        assert part in str(caught.value), key


@pytest.mark.parametrize("tool", MODELS)
def test_text_with_bytes_that_are_not_utf_8_is_refused_with_its_key(tool):
    for key, field in SETTINGS[tool].items():
        for wrong in ("caf\udce9", ["caf\udce9"], {"name": "bn", "eps": "caf\udce9"}):
            with pytest.raises(UserError) as caught:
                validate(tool, with_values(tool, START.get(tool, {}), {key: wrong}))
            assert key.split(".")[0] in str(caught.value)
            if is_verbatim(annotation_of(field)) and isinstance(wrong, str):
                assert "contains a byte that is not UTF-8" in str(caught.value)
            assert str(caught.value).isprintable(), key


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
