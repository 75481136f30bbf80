"""Additions of each kind to a copy of the package: three files each, which pass all tests.

The texts are those of examples/plugin, and of CONTRIBUTING.md for the norm.
"""

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from ssl_norm.norms.kernels.native_build import SWITCH
from tests import warm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "examples" / "plugin"
COPIED = ("ssl_norm", "tests", "configs", "conftest.py", "pyproject.toml")


class Kind(NamedTuple):
    """Locations for a kind: package of the code, folder of its test, and tests of every name."""

    package: str
    tests: str
    contract: tuple[str, ...]


KINDS = {
    "norm": Kind(
        *("norms.layers", "norms/layers"),
        ("norms/test_contract.py", "norms/swap/test_transfer_state.py"),
    ),
    "loss": Kind("losses", "losses", ("losses/test_contract.py",)),
    "method": Kind("learners", "learners", ("learners/test_learners.py",)),
    "monitor": Kind("monitors", "monitors", ("monitors/test_contract.py",)),
    "source": Kind("data.sources", "data/sources", ("data/test_registry.py",)),
    "encoder": Kind("models", "models", ("models/test_encoders.py",)),
    "augmentation": Kind("data.augment", "data/augment", ("data/augment/test_extra.py",)),
    "corruption": Kind("data.corruption", "data/corruption", ("data/corruption",)),
    "logger": Kind("train", "train", ("train/test_loggers.py",)),
    "figure": Kind("reporting.figures", "reporting", ("reporting/test_figures.py",)),
}


OF_ALL_KINDS = (
    *("settings/test_ranges.py", "settings/test_refusals.py", "settings/test_schema.py"),
    "test_registry.py",
)


def entry_points():
    """Return kind, name, module and object of each entry point of the example package."""
    text = (PLUGIN / "pyproject.toml").read_text()
    point = (
        r'entry-points\."ssl_norm\.(\w+?)(?:(?<=ss)e)?s"\]\n(\w+) = "ssl_norm_example\.(\w+):(\w+)"'
    )
    return re.findall(point, text)


ADDITIONS = {kind: (name, module, target) for kind, name, module, target in entry_points()}


def inside(text):
    """Return text with imports from the locations of the additions inside the package."""
    for kind, (_, module, _) in ADDITIONS.items():
        text = text.replace(
            f"ssl_norm_example.{module}", f"ssl_norm.{KINDS[kind].package}.{module}"
        )
    return text


def add(root, kind):
    """Add a file, a line of the registry and a test."""
    (name, module, target), place = ADDITIONS[kind], KINDS[kind]
    code = inside((PLUGIN / "ssl_norm_example" / f"{module}.py").read_text())
    (root / "ssl_norm" / place.package.replace(".", "/") / f"{module}.py").write_text(code)
    test = inside((PLUGIN / "tests" / f"test_{module}.py").read_text())
    (root / "tests" / place.tests / f"test_{module}.py").write_text(test)
    file, entries = registry(root, kind)
    line = f'        "{name}": "ssl_norm.{place.package}.{module}:{target}",\n'
    file.write_text(file.read_text().replace(entries, entries + line))


def registry(root, kind):
    """Return the file that holds the registry of a kind, and its lines."""
    pattern = rf'Registry\(\n    "{kind}",\n    \{{\n((?:        ".*\n)+)'
    found = {file: re.search(pattern, file.read_text()) for file in root.glob("ssl_norm/**/*.py")}
    ((file, match),) = ((file, match) for file, match in found.items() if match)
    return file, match[1]


def contents(root):
    files = (path for name in COPIED for path in (root / name, *(root / name).rglob("*")))
    return {path: path.read_bytes() for path in files if path.is_file()}


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """Return a copy of the repository with the additions, and the files of each."""
    root = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("fixtures")  # and not the bytecode, which is valid there
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name, **({"ignore": ignored} if (ROOT / name).is_dir() else {}))
    touched = {}
    for kind in KINDS:
        before = contents(root)
        add(root, kind)
        after = contents(root)
        touched[kind] = [path for path in after if before.get(path) != after[path]]
    return root, touched


def test_each_addition_touches_three_files(extended):
    root, touched = extended
    assert KINDS.keys() == ADDITIONS.keys()
    for kind, files in touched.items():
        assert len(files) == 3
        existing = [path for path in files if (ROOT / path.relative_to(root)).exists()]
        assert existing == [registry(root, kind)[0]]
        lines, before = (place / existing[0].relative_to(root) for place in (root, ROOT))
        assert len(lines.read_text().splitlines()) == len(before.read_text().splitlines()) + 1


def run(root, *command):
    environment = {"PYTHONPATH": str(root), "XDG_CACHE_HOME": str(root / "cache"), SWITCH: "0"}
    done = warm.run(command, cwd=root, env=os.environ | environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_addition_passes_its_own_test_and_those_of_its_kind(extended):
    """The commands of the guide come first; a test checks the files that they write."""
    root, _ = extended
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    (root / "docs").mkdir()
    for module in re.findall(r"python -m (ssl_norm\.settings\.\w+)", guide):
        run(root, "-m", module)
    own = {
        kind: f"{KINDS[kind].tests}/test_{module}.py" for kind, (_, module, _) in ADDITIONS.items()
    }
    contracts = [file for place in KINDS.values() for file in place.contract]
    names = [name for name, _, _ in ADDITIONS.values()]
    output = run(
        *(root, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "-rA", "--tb=short"),
        *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of the server's
        *(
            "-k",
            " or ".join(
                [*names, *(Path(f).stem for f in own.values()), "every_option", "byl", "schema"]
            ),
        ),
        *(f"tests/{file}" for file in dict.fromkeys([*own.values(), *contracts, *OF_ALL_KINDS])),
    )
    passed = re.findall(r"^PASSED tests/(.*)$", output, re.MULTILINE)
    for kind, (name, _, _) in ADDITIONS.items():
        assert any(test.startswith(own[kind]) for test in passed), kind
        of_kind = [test for test in passed if test.startswith(KINDS[kind].contract)]
        assert [test for test in of_kind if re.search(rf"\[(?:.*\W)?{name}\b", test)], kind


def test_the_guide_names_the_file_of_each_registry():
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    for kind in KINDS:
        file, _ = registry(ROOT, kind)
        name = re.search(rf'(\w+) = Registry\(\n    "{kind}"', file.read_text())[1]
        assert f"`{name}`, `{file.relative_to(ROOT / 'ssl_norm')}`" in guide


def test_a_run_uses_all_additions(extended):
    root, _ = extended
    parts = {kind: name for kind, (name, _, _) in ADDITIONS.items()}
    run(
        *(root, "-m", "ssl_norm", "pretrain", "epochs=1", "batch_size=72", "device=cpu"),
        *("run_dir=run", "linear_probe=false", "monitor.spectral_every=1"),
        *(f"method={parts['method']}", f"data={parts['source']}"),
        *(f"encoder={parts['encoder']}", f"norm.encoder={parts['norm']}"),
        *(f"augment.view1.extra=[{parts['augmentation']}]", f"loggers=[{parts['logger']}]"),
    )
    assert parts["monitor"] in (root / "run" / "metrics.csv").read_text().splitlines()[0]
    assert len((root / "run" / "rows.jsonl").read_text().splitlines()) == 1


def test_the_example_of_the_guide_is_the_norm_of_the_example_package():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    code, test = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    name, module, target = ADDITIONS["norm"]
    assert code == (PLUGIN / "ssl_norm_example" / f"{module}.py").read_text()
    assert f'`"{name}": "ssl_norm.norms.layers.{module}:{target}",`' in text
    assert len(text.splitlines()) <= 60
    assert test == inside((PLUGIN / "tests" / f"test_{module}.py").read_text())
