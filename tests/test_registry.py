"""Registries of names."""

from importlib.metadata import EntryPoint

import pytest

from ssl_norm import registry as module
from ssl_norm.data.augment.parameters import AUGMENTATIONS
from ssl_norm.data.corruption.spec import CORRUPTIONS
from ssl_norm.data.registry import DATA
from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.losses import LOSSES
from ssl_norm.models.catalogue import ENCODERS
from ssl_norm.monitors import MONITORS
from ssl_norm.norms import NORMS
from ssl_norm.registry import Registry, is_reference
from ssl_norm.reporting.figures import FIGURES
from ssl_norm.settings.compose import with_values
from ssl_norm.settings.models import validate
from ssl_norm.train.registry import LOGGERS
from tests.settings.refusals import START


@pytest.fixture
def shapes():
    return Registry("shape", {"path": "pathlib:Path", "half": "fractions:Fraction"})


def test_a_registry_is_a_mapping(shapes):
    assert (list(shapes), len(shapes), "path" in shapes) == (["path", "half"], 2, True)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("paht", ["unknown shape 'paht'", "path, half", "'path'?"]),
        (3, ["unknown shape '3'"]),
        ("pathlib.Path", ["(an object of your own: 'pathlib:Path')"]),
        ("nowhere:Path", ["'nowhere:Path'", "no module 'nowhere'", "PYTHONPATH"]),
        ("pathlib:Paht", ["'pathlib:Paht'", "'Path'?"]),
        ("numbers:Sequence", ["known: ABCMeta, abstractmethod, Number,"]),  # not its module sys
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


FAILING = {
    "raising": "x = 1\nraise RuntimeError('two\\nlines')",
    "needy": "x = 1\nimport not_installed_anywhere",
    "ending": "import sys\nsys.exit(3)",
    "broken": "x = 1\ndef f(:",
}
USED = {  # a setting of each registry, and its value for a name
    METHODS.kind: ("pretrain", "method", lambda name: {"name": name}),
    DATA.kind: ("pretrain", "data.name", lambda name: name),
    ENCODERS.kind: ("pretrain", "encoder.name", lambda name: name),
    NORMS.kind: ("pretrain", "norm.encoder", lambda name: name),
    AUGMENTATIONS.kind: ("pretrain", "augment.view1.extra", lambda name: [{"name": name}]),
    LOGGERS.kind: ("pretrain", "loggers", lambda name: [name]),
    CORRUPTIONS.kind: ("finetune", "evaluation.corruptions", lambda name: [{"name": name}]),
}
REGISTRIES = (METHODS, DATA, ENCODERS, NORMS, AUGMENTATIONS, LOGGERS, CORRUPTIONS)
REGISTRIES += (LOSSES, MONITORS, FIGURES)
OTHER_KINDS = {
    "subprocess:CalledProcessError": "is the class",
    "os:path": "is a module",
    "sys:maxsize": "is a int",
    "shutil:copy": "is a function copy",
    "ssl_norm.norms:NORMS": "is a Registry",
    "nowhere:x": "no module 'nowhere'",
    "math:nothing": "unknown object 'nothing'",
    **{f"{module}:x": f"{module}.py, line 2" for module in FAILING},
}
CASES = [(r, name) for r in REGISTRIES for name in OTHER_KINDS if (r.kind, name) not in {
    ("encoder", "shutil:copy"), ("encoder", "subprocess:CalledProcessError"),  # fails when called
}]  # fmt: skip


def message(registry, name):
    """Return the message on an object, from the setting that names it."""
    if registry.kind not in USED:
        with pytest.raises(ValueError, match=f"^{registry.kind} ") as caught:
            registry.load(name)
        return str(caught.value)
    tool, key, value = USED[registry.kind]
    with pytest.raises(UserError) as caught:
        validate(tool, with_values(tool, START.get(tool, {}), {key: value(name)}))
    assert str(caught.value).startswith(key)
    return str(caught.value)


@pytest.mark.parametrize(
    ("registry", "name"), CASES, ids=lambda value: getattr(value, "kind", value)
)
def test_an_object_of_another_kind_is_one_line_with_its_setting(
    tmp_path, monkeypatch, registry, name
):
    for failing, text in FAILING.items():
        (tmp_path / f"{failing}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = message(registry, name)
    assert OTHER_KINDS[name] in found
    assert "\n" not in found
    assert not OTHER_KINDS[name].startswith("is ") or f"{registry.expects} expected" in found


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_an_entry_point_that_fails_costs_a_warning(monkeypatch, capsys, registry):
    point = EntryPoint("phantom", "nowhere:x", "group")
    monkeypatch.setattr(module, "entry_points", lambda group: [point])
    module._plugins.cache_clear()
    module._warn.cache_clear()
    try:
        assert list(registry)[-1] == "phantom"
        assert list(registry.load_all()) == list(registry.load_all()) == list(registry.built_in)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"warning: {registry.kind} 'nowhere:x': there is no module")
        assert "entry point 'phantom'" in line
        assert "no module 'nowhere'" in message(registry, "phantom")
    finally:
        module._plugins.cache_clear()


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
