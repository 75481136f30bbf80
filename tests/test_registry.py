"""Registries of names."""

import pytest

from ssl_norm import registry as module
from ssl_norm.registry import Registry, is_reference


@pytest.fixture
def shapes():
    return Registry("shape", {"path": "pathlib:Path", "half": "fractions:Fraction"})


def test_names_load_the_objects_they_stand_for(shapes):
    assert shapes.load("path").__name__ == shapes.load("pathlib:Path").__name__ == "Path"
    assert (list(shapes), len(shapes), "path" in shapes) == (["path", "half"], 2, True)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("paht", ["unknown shape 'paht'", "path, half", "'path'?"]),
        (3, ["unknown shape '3'"]),
        ("nowhere:Path", ["'nowhere:Path'", "no module 'nowhere'", "PYTHONPATH"]),
        ("pathlib:Paht", ["'pathlib:Paht'", "'Path'?"]),
    ],
)
def test_wrong_names_are_one_line(shapes, name, parts):
    with pytest.raises(ValueError, match="shape") as caught:
        shapes.load(name)
    assert [part for part in parts if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)


def test_the_key_of_a_message_may_be_given(shapes):
    with pytest.raises(ValueError, match=r"unknown data\.shape 'paht'"):
        shapes.check("paht", "data.shape")


def test_an_error_inside_a_module_is_not_hidden(shapes, tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("import not_installed_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        shapes.load("needy:x")


def test_registered_names_stay_until_the_end_and_built_in_ones_stay_as_they_are(shapes):
    shapes.register("mine", dict)
    shapes.register("text", "builtins:str")
    assert (shapes.load("mine"), shapes.load("text")) == (dict, str)
    with pytest.raises(ValueError, match="'path' is built in"):
        shapes.register("path", dict)


def test_entry_points_of_other_packages_are_names(shapes, monkeypatch):
    point = next(iter(module.entry_points(group="console_scripts")))
    asked = []
    monkeypatch.setattr(module, "entry_points", lambda group: asked.append(group) or [point])
    module._plugins.cache_clear()
    try:
        assert point.name in shapes
        assert shapes[point.name] == point.value
    finally:
        module._plugins.cache_clear()
    assert asked == ["ssl_norm.shapes"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a.b:C.d", True), ("a", False), ("a:", False), (":b", False), ("a b:c", False), (3, False)],
)
def test_references(name, expected):
    assert is_reference(name) is expected
