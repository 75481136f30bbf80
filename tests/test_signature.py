"""Options of functions and classes, imported or read from their source."""

import sys
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Interval

from ssl_norm.data.registry import DATA
from ssl_norm.learners import METHODS
from ssl_norm.norms import NORMS
from ssl_norm.registry import Registry
from ssl_norm.signature import (
    REQUIRED,
    argument_texts,
    check_options,
    declared_options,
    options_of,
    positional_of,
)

SOURCE = '''
from fractions import Fraction as Base
from ssl_norm.learners.byol import BYOL

def views(*, size: int = 3, scale=1 / 2, needed):
    """Views.

    Args:
        size: of a view.
    """

class Own(BYOL):
    """Args:
        weight: of the loss.
    """
    def __init__(self, encoder, head, *, weight: float = 2.0, **options): ...

class Plain(Own): ...
'''


class Parent:
    """Parent.

    Args:
        eps: added to
            the variance.
    """

    def __init__(self, channels: int, *, eps: Annotated[float, Interval(gt=0, le=1)] = 0.1) -> None:
        self.eps = eps


class Child(Parent):
    """Child.

    Args:
        mode: of evaluation.
    """

    def __init__(self, channels: int, *, mode: Literal["a", "b"] = "a", **options: float) -> None:
        super().__init__(channels, **options)
        self.mode = mode


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return the name of a module that is on the path and cannot be imported."""
    (tmp_path / "unimportable.py").write_text(SOURCE + "\nraise AssertionError\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "unimportable"


def test_options_follow_the_bases_with_their_texts():
    found = options_of(Child)
    assert {name: (o.default, o.text) for name, o in found.items()} == {
        "mode": ("a", "of evaluation"),
        "eps": (0.1, "added to the variance"),
    }


def test_options_are_read_without_importing(module):
    found = options_of(f"{module}:views")
    assert [(o.name, o.default, o.annotation, o.text) for o in found.values()] == [
        ("size", 3, int, "of a view"),
        ("scale", 0.5, Any, ""),
        ("needed", REQUIRED, Any, ""),
    ]
    assert module not in sys.modules


def test_texts_of_arguments_are_plain():
    texts = argument_texts("X.\n\nArgs:\n    a: see :class:`~pack.Part`.\n    b: two. Texts.\n")
    assert texts == {"a": "see `Part`", "b": "two. Texts."}


@pytest.mark.parametrize("name", ["Own", "Plain"])
def test_options_of_bases_in_other_modules_are_read(module, name):
    found = options_of(f"{module}:{name}")
    assert next(iter(found)) == "weight"
    assert {"ema_decay", "ema_schedule"} <= set(found)
    assert positional_of(f"{module}:{name}") == ("encoder", "head")


@pytest.mark.parametrize("target", ["nowhere:x", "nowhere.else:x", "math:pi", "fractions:nothing"])
def test_a_target_without_source_has_no_options(target):
    assert options_of(target) == {}
    assert positional_of(target) == ()


@pytest.mark.parametrize("registry", [NORMS, METHODS, DATA], ids=lambda registry: registry.kind)
def test_reading_finds_what_importing_finds(registry):
    for name in registry:
        assert declared_options(registry, name) == options_of(registry.load(name))
        assert positional_of(registry[name]) == positional_of(registry.load(name))


@pytest.mark.parametrize(
    ("values", "error", "parts"),
    [
        ({"epz": 1}, TypeError, ["here has no option 'epz'", "'eps'?"]),
        ({"eps": 0}, ValueError, ["here: eps=0", "(0, 1]"]),
        ({"eps": True}, ValueError, ["eps=true", "(0, 1]"]),
        ({"mode": "c"}, ValueError, ["here: unknown mode 'c'", "a, b"]),
    ],
)
def test_wrong_options_are_one_line(values, error, parts):
    with pytest.raises(error) as caught:
        check_options(Child, values, "here")
    assert [part for part in parts if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_checked_options_are_those_given():
    assert check_options(Child, {"eps": 1}, "here") == {"eps": 1.0}


def test_a_registered_object_has_the_options_of_its_signature():
    registry = Registry("shape", {})
    registry.register("child", Child)
    assert list(declared_options(registry, "child")) == ["mode", "eps"]
