"""Registries of names."""

import sys
from importlib.metadata import EntryPoint

import pytest
import torch

from ssl_norm import registry as module
from ssl_norm.data.augment.extra import extra_transform
from ssl_norm.data.augment.parameters import AUGMENTATIONS
from ssl_norm.data.corruption.spec import CORRUPTIONS, Corruption
from ssl_norm.data.load import load_splits
from ssl_norm.data.registry import DATA
from ssl_norm.diagnosis.diagnosis import measure_raw
from ssl_norm.errors import UserError
from ssl_norm.learners import METHODS
from ssl_norm.losses import LOSSES
from ssl_norm.models.catalogue import ENCODERS
from ssl_norm.models.encoders import build_encoder
from ssl_norm.monitors import MONITORS, CollapseMonitor
from ssl_norm.monitors.declare import load_monitor
from ssl_norm.norms import NORMS, make_norm
from ssl_norm.registry import Registry, is_reference
from ssl_norm.reporting.figures import FIGURES
from ssl_norm.reporting.studies import all_figures, figures_named
from ssl_norm.settings.compose import with_values
from ssl_norm.settings.models import validate
from ssl_norm.train.builder import make_learner
from ssl_norm.train.loggers import Loggers
from ssl_norm.train.registry import LOGGERS
from tests.settings.refusals import START, accept


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


OBJECTS = """
import torch
from torch import nn
from ssl_norm.learners.learner import Learner, LearnerOutput
from ssl_norm.monitors.declare import monitor
from matplotlib.figure import Figure
from matplotlib.text import Text
from ssl_norm.reporting.figures.parts import FigureFile
from ssl_norm.train.loggers import Logger
FACTS = dict(prepares="nothing", cost="linear", at_collapse=1, at_even="0", equation="", source="")

class NoForward(Learner):
    def __init__(self, encoder, projector): super().__init__()

class OneView(Learner):
    def __init__(self, encoder, projector): super().__init__()
    def forward(self, view): ...

class NoHeads(Learner):
    def forward(self, view1, view2): ...

class NoSuper(Learner):
    def __init__(self, encoder, projector): self.encoder = encoder
    def forward(self, view1, view2): ...

class Empty(NoSuper):
    def __init__(self, encoder, projector): pass

class NoEncoder(NoSuper):
    def __init__(self, encoder, projector): super(NoSuper, self).__init__()

class Layer(nn.Module):
    def __init__(self, n=0): self.weight = nn.Parameter(torch.ones(n))
    def forward(self, x): return x

class NoMethod(nn.Module): ...

class NoApply:
    def draw(self, share, generator): ...

class Fails(NoApply):
    def __init__(self): self.x = missing
    def apply(self, images, params): ...

def fails(*given): return {}["x"]

def no_images(): return None

@monitor(**FACTS)
def vector(z):
    torch.linalg.cholesky(z.T @ z)  # which needs many rows that are independent
    return z.mean(0)

@monitor(**{**FACTS, "inputs": "pair"})
def of_one(z): return z.mean()

def corrupt(images, strength, generator): return images.float()
corrupt.strengths = fails.strengths = (1, 2, 3, 4, 5)

def figure(groups): yield groups["x"]

class Label(Text):
    def draw(self, renderer): raise ValueError("no glyph")

def drawn(groups):
    figure = Figure()
    figure.add_artist(Label())
    return FigureFile("drawn", figure, "")

@monitor(**FACTS)
def late(z): return z[255].mean()  # the trial has 256 rows

class Logs(Logger):
    def row(self, row): raise ValueError("no network")
"""
SUPER = "call super().__init__() first"
LACKING = {
    "NoForward": (METHODS, "without a method forward(view1, view2)"),
    "OneView": (METHODS, "without a method forward(view1, view2)"),
    "NoHeads": (METHODS, "encoder, projector and its other heads expected"),
    "NoSuper": (METHODS, SUPER),
    "Empty": (METHODS, SUPER),
    "NoEncoder": (METHODS, "set self.encoder in __init__"),
    "NoMethod": (NORMS, "without a method forward(x)"),
    "Layer": (NORMS, SUPER),
    "fails": (NORMS, "lacking.py, line 45: KeyError: 'x'"),
    "NoApply": (AUGMENTATIONS, "without a method apply(images, params)"),
    "Fails": (AUGMENTATIONS, "lacking.py, line 42: NameError: name 'missing'"),
    "vector": (MONITORS, "vector returns shape (16,); a scalar tensor expected"),
    "of_one": (MONITORS, "of_one() takes 1 positional argument but 2 were given"),
    "corrupt": (CORRUPTIONS, "returned (2, 3, 4, 4) of torch.float32; (2, 3, 4, 4) of torch.uint8"),
    "no_images": (DATA, "returned NoneType; expected ssl_norm.data.Splits"),
}
FURTHER = [
    ("Layer", ENCODERS),
    ("NoMethod", ENCODERS),
    *[("fails", r) for r in (ENCODERS, CORRUPTIONS)],
]


def use(registry, name):
    """Make and use an object as a run does."""
    uses = {
        METHODS.kind: lambda: make_learner(
            accept("pretrain", f"method.name={name} norm.predictor=none"),
            build_encoder("tiny16", small_images=None, image_size=16),
        ),
        NORMS.kind: lambda: make_norm(name, 4),
        ENCODERS.kind: lambda: build_encoder(name, small_images=None, image_size=16),
        AUGMENTATIONS.kind: lambda: extra_transform(name, 8),
        MONITORS.kind: lambda: load_monitor(name),
        CORRUPTIONS.kind: lambda: Corruption(name)(
            torch.zeros(2, 3, 4, 4, dtype=torch.uint8), None
        ),
        DATA.kind: lambda: load_splits(name),
    }
    return uses[registry.kind]()


CASES_OF_USE = [(name, registry, part) for name, (registry, part) in LACKING.items()]
CASES_OF_USE += [
    (name, registry, LACKING[name][1].replace("(x)", "(images)")) for name, registry in FURTHER
]


@pytest.mark.parametrize(
    ("name", "registry", "part"), CASES_OF_USE, ids=lambda v: getattr(v, "kind", str(v)[:9])
)
def test_an_object_that_lacks_what_its_kind_needs_is_one_line(
    tmp_path, monkeypatch, name, registry, part
):
    (tmp_path / "lacking.py").write_text(OBJECTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lacking", raising=False)
    with pytest.raises(ValueError, match=name) as caught:
        use(registry, f"lacking:{name}")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


USES_LATER = {
    "figure": (FIGURES, lambda: all_figures([], [], figures_named(["mine"]))),
    "drawn": (FIGURES, lambda: all_figures([], [], figures_named(["mine"]))),
    "late": (MONITORS, lambda: CollapseMonitor().observe(1, torch.randn(8, 4))),
    "late raw": (MONITORS, lambda: measure_raw(torch.randn(2, 8, 4))),
    "Logs": (LOGGERS, lambda: Loggers(["mine"], None, 0).each(lambda logger: logger.row({}))),
}


@pytest.mark.parametrize("case", USES_LATER)
def test_an_object_of_another_package_that_fails_in_use_is_named(
    tmp_path, monkeypatch, capsys, case
):
    registry, use_it = USES_LATER[case]
    (tmp_path / "lacking.py").write_text(OBJECTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "lacking", raising=False)
    monkeypatch.setitem(registry._entries, "mine", f"lacking:{case.split()[0]}")
    try:
        use_it()
        line = capsys.readouterr().err.rstrip()  # a run goes on without a logger
    except UserError as error:
        line = str(error)
        assert "lacking.py, line " in line
    assert f"{registry.kind} 'mine' of lacking fail" in line
    assert "Error: " in line
    assert "\n" not in line
